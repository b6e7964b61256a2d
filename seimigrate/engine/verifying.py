"""Verification: everything that is found on nodes and in the cluster. It reads, asks pods, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable

from seimigrate.domain import consumers, live, posture, rbac, shapes
from seimigrate.domain.finding import Finding
from seimigrate.domain.kinds import Kind, Object
from seimigrate.domain.network import ground, verdict
from seimigrate.domain.network.reach import endpoint
from seimigrate.domain.plan import Plan
from seimigrate.domain.probing import Target
from seimigrate.domain.record import Record
from seimigrate.domain.seen import Answer, Seen
from seimigrate.engine import asking
from seimigrate.engine.errors import Forbidden
from seimigrate.engine.ports import Clock, Cluster, Pods
from seimigrate.engine.survey import Survey, unread


class Verification:
    """Looks at nodes one by one, and at what they share; ``pods`` is given where they are to be asked, too."""

    def __init__(self, cluster: Cluster, clock: Clock, plan: Plan, survey: Survey, pods: Pods | None) -> None:
        self._cluster = cluster
        self._clock = clock
        self._plan = plan
        self._survey = survey
        self._pods = pods

    def node(self, view: Seen, record: Record | None) -> tuple[Finding, ...]:
        """Give what is found on a node as it is now."""
        read = self._survey.read()
        parameters = self._plan.parameters
        moving = record is not None and record.open
        found = [*posture.findings(view, parameters, moving=moving, now=self._clock.now())]
        if (pod := view.pod or verdict.after(view, self._plan)) is not None:
            found += verdict.judge(pod, parameters, read.ground, read.judge)
        found += consumers.findings(view, self._plan, read.monitors)
        found += read.unread
        if self._pods is not None and view.pod is not None:
            found += live.findings(view.pod, self._answers(self._pods, view.pod))
        return tuple(found)

    def targets(self, view: Seen) -> list[Target]:
        """Give what a probe tries of a node: the ports with a guard, and p2p."""
        if view.pod is None or not (pod := endpoint(view.pod)).addresses:
            return []
        doors = ground.doors(view.pod["spec"], pod.namespace, self._plan.parameters, self._survey.read().ground)
        return [Target(pod, port) for port in (*(door.port for door in doors.guarded), doors.p2p)]

    def probe_image(self, view: Seen) -> str | None:
        """Give the image that a node's seid runs in."""
        try:
            image: str = shapes.container((view.pod or {"spec": {}})["spec"], self._plan.parameters.containers.seid)[
                "image"
            ]
        except shapes.NotWired:
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
                return (unread(kind, "who may create seinodetasks", error),)
        rules = rbac.Rules(*(read[kind] for kind in kinds))
        expected = (*accounts, *self._plan.parameters.access.accounts)
        return tuple(rbac.findings(rules, nodes, expected))

    def _answers(self, pods: Pods, pod: Object) -> dict[live.Check, Answer]:
        return {
            check: asking.get(
                pods, self._clock, pod, check.port, check.path, authorised=check.authorised, headers=check.headers
            )
            for check in live.checks(self._plan.parameters)
        }
