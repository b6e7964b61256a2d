"""Reads what decides who reaches the nodes, and who counts on them, and has the domain judge it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node import hold_policies
from seimigrate.domain.node.observation import AccessReview, NodeObservation
from seimigrate.domain.plan.plan import Plan
from seimigrate.domain.verify import consumers
from seimigrate.domain.verify.network import inventory, verdict
from seimigrate.domain.verify.network.evaluate import PolicyEvaluator
from seimigrate.domain.verify.network.inventory import NetworkInventory
from seimigrate.engine.errors import ApiError, Forbidden, NotFound
from seimigrate.engine.ports import Clock, Cluster

POLICIES_TTL = 5.0
"""Seconds for which what was read serves for further nodes."""
UNSUPPORTED_POLICY_KINDS = (
    Kind.ADMIN_NETWORK_POLICY,
    Kind.BASELINE_ADMIN_NETWORK_POLICY,
    Kind.CLUSTER_NETWORK_POLICY,
    Kind.CALICO_POLICY,
    Kind.CALICO_GLOBAL_POLICY,
    Kind.CALICO_OWN_POLICY,
    Kind.CALICO_OWN_GLOBAL_POLICY,
    Kind.CILIUM_POLICY,
    Kind.CILIUM_CLUSTERWIDE_POLICY,
    Kind.ANTREA_POLICY,
    Kind.ANTREA_CLUSTER_POLICY,
)
"""Policies that decide, too, and are not judged; a cluster may lack all of these kinds."""
MONITORS = (Kind.POD_MONITOR, Kind.SERVICE_MONITOR, Kind.PROBE, Kind.SCRAPE_CONFIG)
"""What a Prometheus operator scrapes by; a cluster may lack these kinds."""


@dataclass(frozen=True)
class ClusterPolicies:
    """What was read at once: the ground to judge on, with its judge, and the monitors."""

    time: float
    inventory: NetworkInventory
    evaluator: PolicyEvaluator
    monitors: tuple[Object, ...]
    unreadable: tuple[Finding, ...]


class AccessReviewer:
    """Judges nodes by what the cluster shows now.

    ``accounts`` are user names of controllers that their Deployments' labels do not tell.
    """

    def __init__(self, cluster: Cluster, clock: Clock, plan: Plan, accounts: Sequence[str] = ()) -> None:
        self._cluster = cluster
        self._clock = clock
        self._plan = plan
        self._accounts = accounts
        self._read: ClusterPolicies | None = None
        self._lock = threading.Lock()

    def review(self, observed: NodeObservation) -> AccessReview:
        """Judge who can reach a node as it will be after its cutover, and who counts on what goes away.

        Raises ``ApiError`` where the cluster does not tell.
        """
        read = self.read()
        pod = verdict.after(observed, self._plan)
        if pod is None:
            return AccessReview(self._clock.now(), tuple(read.inventory.unsupported_policies))
        policy = verdict.evaluate(pod, self._plan.parameters, read.inventory, read.evaluator)
        found = (*consumers.findings(observed, self._plan, read.monitors), *read.unreadable)
        return AccessReview(self._clock.now(), policy, found)

    def read(self) -> ClusterPolicies:
        """Give what the cluster shows, read anew if it is old."""
        with self._lock:  # many nodes are judged side by side, by what was read once
            if self._read is None or self._clock.now() - self._read.time >= POLICIES_TTL:
                self._read = self._read_policies()
            return self._read

    def _read_policies(self) -> ClusterPolicies:
        cluster = self._cluster
        beyond = [finding for kind in UNSUPPORTED_POLICY_KINDS for finding in self._unsupported(kind)]
        monitors: list[Object] = []
        problems: list[Finding] = []
        for kind in MONITORS:
            try:
                monitors += cluster.list(kind)
            except NotFound:
                continue
            except ApiError as error:
                problems.append(unreadable(kind, "what it scrapes", error))
        laid = inventory.build_inventory(
            cluster.list(Kind.NAMESPACE),
            cluster.list(Kind.NETWORK_POLICY),
            cluster.list(Kind.POD),
            self._controllers(),
            beyond,
        )
        return ClusterPolicies(
            self._clock.now(), laid, PolicyEvaluator(laid, self._plan.parameters), tuple(monitors), tuple(problems)
        )

    def _controllers(self) -> Sequence[Object]:
        found = self._cluster.list(Kind.DEPLOYMENT)
        return [
            each
            for each in found
            if hold_policies.is_controller(each) or hold_policies.account_of(each) in self._accounts
        ]

    def _unsupported(self, kind: Kind) -> list[Finding]:
        try:
            found = self._cluster.list(kind)
        except NotFound:
            return []
        except ApiError as error:
            return [unreadable(kind, "what it lets through", error)]
        names = ["/".join(filter(None, (o["metadata"].get("namespace"), o["metadata"]["name"]))) for o in found]
        return [inventory.unsupported_kind(kind.resource.qualified, names)] if names else []


def unreadable(kind: Kind, what: str, error: ApiError) -> Finding:
    """Say that a kind cannot be listed, and what is not known therefore."""
    about = kind.resource.qualified
    if isinstance(error, Forbidden):
        why = "may not be listed"
        remedy = "bind ClusterRoles seimigrate-plan and seimigrate-verify of deploy/rbac.yaml to your user"
    else:
        why, remedy = f"could not be listed ({error})", f"see what is the matter: kubectl get {about} -A"
    return Finding(
        "forbidden-or-unreadable", FindingSeverity.UNKNOWN, about, f"{why}, so that {what} is not known", remedy
    )
