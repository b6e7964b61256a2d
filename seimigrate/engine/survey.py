"""Reads what decides who reaches the nodes, and who counts on them, and has the domain judge it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from seimigrate.domain import consumers, holding
from seimigrate.domain.finding import Finding, Severity
from seimigrate.domain.kinds import Kind, Object
from seimigrate.domain.network import ground, verdict
from seimigrate.domain.network.ground import Ground
from seimigrate.domain.network.judging import Judge
from seimigrate.domain.plan import Plan
from seimigrate.domain.seen import Judgement, Seen
from seimigrate.engine.errors import ApiError, Forbidden, NotFound
from seimigrate.engine.ports import Clock, Cluster

LASTS = 5.0
"""Seconds for which what was read serves for further nodes."""
BEYOND = (
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
class Read:
    """What was read at once: the ground to judge on, with its judge, and the monitors."""

    at: float
    ground: Ground
    judge: Judge
    monitors: tuple[Object, ...]
    unread: tuple[Finding, ...]


class Survey:
    """Judges nodes by what the cluster shows now.

    ``accounts`` are user names of controllers that their Deployments' labels do not tell.
    """

    def __init__(self, cluster: Cluster, clock: Clock, plan: Plan, accounts: Sequence[str] = ()) -> None:
        self._cluster = cluster
        self._clock = clock
        self._plan = plan
        self._accounts = accounts
        self._read: Read | None = None
        self._lock = threading.Lock()

    def judge(self, view: Seen) -> Judgement:
        """Judge who can reach a node as it will be after its cutover, and who counts on what goes away.

        Raises ``ApiError`` where the cluster does not tell.
        """
        read = self.read()
        pod = verdict.after(view, self._plan)
        if pod is None:
            return Judgement(self._clock.now(), tuple(read.ground.beyond))
        policy = verdict.judge(pod, self._plan.parameters, read.ground, read.judge)
        found = (*consumers.findings(view, self._plan, read.monitors), *read.unread)
        return Judgement(self._clock.now(), policy, found)

    def read(self) -> Read:
        """Give what the cluster shows, read anew if it is old."""
        with self._lock:  # many nodes are judged side by side, by what was read once
            if self._read is None or self._clock.now() - self._read.at >= LASTS:
                self._read = self._look()
            return self._read

    def _look(self) -> Read:
        cluster = self._cluster
        beyond = [finding for kind in BEYOND for finding in self._beyond(kind)]
        monitors: list[Object] = []
        unreadable: list[Finding] = []
        for kind in MONITORS:
            try:
                monitors += cluster.list(kind)
            except NotFound:
                continue
            except ApiError as error:
                unreadable.append(unread(kind, "what it scrapes", error))
        laid = ground.lay(
            cluster.list(Kind.NAMESPACE),
            cluster.list(Kind.NETWORK_POLICY),
            cluster.list(Kind.POD),
            self._controllers(),
            beyond,
        )
        return Read(self._clock.now(), laid, Judge(laid, self._plan.parameters), tuple(monitors), tuple(unreadable))

    def _controllers(self) -> Sequence[Object]:
        found = self._cluster.list(Kind.DEPLOYMENT)
        return [each for each in found if holding.is_controller(each) or holding.account_of(each) in self._accounts]

    def _beyond(self, kind: Kind) -> list[Finding]:
        try:
            found = self._cluster.list(kind)
        except NotFound:
            return []
        except ApiError as error:
            return [unread(kind, "what it lets through", error)]
        names = ["/".join(filter(None, (o["metadata"].get("namespace"), o["metadata"]["name"]))) for o in found]
        return [ground.unjudged(kind.resource.qualified, names)] if names else []


def unread(kind: Kind, what: str, error: ApiError) -> Finding:
    """Say that a kind cannot be listed, and what is not known therefore."""
    about = kind.resource.qualified
    if isinstance(error, Forbidden):
        why = "may not be listed"
        remedy = "bind ClusterRoles seimigrate-plan and seimigrate-verify of deploy/rbac.yaml to your user"
    else:
        why, remedy = f"could not be listed ({error})", f"see what is the matter: kubectl get {about} -A"
    return Finding("not-readable", Severity.UNKNOWN, about, f"{why}, so that {what} is not known", remedy)
