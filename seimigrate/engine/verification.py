"""Verification: everything that is found on nodes and in the cluster. It reads, asks pods, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable

from seimigrate.domain.findings import Finding
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node import shapes
from seimigrate.domain.node.observation import NodeObservation, PodReply
from seimigrate.domain.node.record import Record
from seimigrate.domain.plan.plan import Plan
from seimigrate.domain.verify import consumers, node_findings, pod_checks, rbac
from seimigrate.domain.verify.network import inventory, verdict
from seimigrate.domain.verify.network.reachability import endpoint
from seimigrate.domain.verify.network_probe import Target
from seimigrate.engine import pod_client
from seimigrate.engine.access_review import AccessReviewer, unreadable
from seimigrate.engine.errors import Forbidden
from seimigrate.engine.ports import Clock, Cluster, PodClient


class Verification:
    """Looks at nodes one by one, and at what they share; ``pods`` is given where they are to be asked, too."""

    def __init__(
        self, cluster: Cluster, clock: Clock, plan: Plan, access_reviewer: AccessReviewer, pod_client: PodClient | None
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._plan = plan
        self._survey = access_reviewer
        self._pods = pod_client

    def node(self, observed: NodeObservation, record: Record | None) -> tuple[Finding, ...]:
        """Give what is found on a node as it is now."""
        read = self._survey.read()
        parameters = self._plan.parameters
        moving = record is not None and record.unfinished
        found = [*node_findings.findings(observed, parameters, in_progress=moving, now=self._clock.now())]
        if (pod := observed.pod or verdict.after(observed, self._plan)) is not None:
            found += verdict.evaluate(pod, parameters, read.inventory, read.evaluator)
        found += consumers.findings(observed, self._plan, read.monitors)
        found += read.unreadable
        if self._pods is not None and observed.pod is not None:
            found += pod_checks.findings(observed.pod, self._pod_findings(self._pods, observed.pod))
        return tuple(found)

    def targets(self, observed: NodeObservation) -> list[Target]:
        """Give what a probe tries of a node: the ports with a guard, and p2p."""
        if observed.pod is None or not (pod := endpoint(observed.pod)).addresses:
            return []
        doors = inventory.node_ports(
            observed.pod["spec"], pod.namespace, self._plan.parameters, self._survey.read().inventory
        )
        return [Target(pod, port) for port in (*(door.port for door in doors.protected), doors.p2p)]

    def probe_image(self, observed: NodeObservation) -> str | None:
        """Give the image that a node's seid runs in."""
        try:
            image: str = shapes.container(
                (observed.pod or {"spec": {}})["spec"], self._plan.parameters.containers.seid
            )["image"]
        except shapes.NotASeiNodePod:
            return None
        return image

    def cluster(self, nodes: Iterable[tuple[str, str]], accounts: Iterable[str]) -> tuple[Finding, ...]:
        """Give what is found of those who may create tasks on the nodes."""
        kinds = (Kind.CLUSTER_ROLE, Kind.ROLE, Kind.CLUSTER_ROLE_BINDING, Kind.ROLE_BINDING)
        read: dict[Kind, list[Object]] = {}
        for kind in kinds:
            try:
                read[kind] = self._cluster.list(kind)
            except Forbidden as error:
                return (unreadable(kind, "who may create seinodetasks", error),)
        rules = rbac.Rules(*(read[kind] for kind in kinds))
        expected = (*accounts, *self._plan.parameters.access.accounts)
        return tuple(rbac.findings(rules, nodes, expected))

    def _pod_findings(self, pods: PodClient, pod: Object) -> dict[pod_checks.Check, PodReply]:
        return {
            check: pod_client.get(
                pods, self._clock, pod, check.port, check.path, authorised=check.authorised, headers=check.headers
            )
            for check in pod_checks.checks(self._plan.parameters)
        }
