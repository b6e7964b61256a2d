"""Verification: everything that is found on nodes and in the cluster. It reads, asks pods, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from seimigrate.domain import consumers, holding, live, posture, rbac, shapes
from seimigrate.domain.finding import Finding
from seimigrate.domain.kinds import Kind, Object
from seimigrate.domain.network import ground, verdict
from seimigrate.domain.network.reach import endpoint
from seimigrate.domain.plan import Plan
from seimigrate.domain.probing import Target
from seimigrate.domain.record import Record
from seimigrate.domain.seen import Answer, Seen
from seimigrate.engine.errors import Forbidden, Unreachable
from seimigrate.engine.ports import Clock, Cluster, Pods
from seimigrate.engine.survey import Survey, unread

LONGEST = 5.0
"""Seconds for one request to a pod."""


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
            answers = {check: self._ask(self._pods, view.pod, check) for check in live.checks(parameters)}
            found += live.findings(view.pod, answers)
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
            except Forbidden:
                return (unread(kind, "who may create seinodetasks"),)
        rules = rbac.Rules(*(read[kind] for kind in kinds))
        expected = (*accounts, *self._plan.parameters.access.accounts)
        return tuple(rbac.findings(rules, nodes, expected))

    def _ask(self, pods: Pods, pod: Object, check: live.Check) -> Answer:
        meta = pod["metadata"]
        try:
            answer = pods.call(
                meta["namespace"],
                meta["name"],
                check.port,
                "GET",
                check.path,
                authorised=check.authorised,
                headers=check.headers,
                timeout=LONGEST,
            )
        except Unreachable as error:
            return Answer(meta["uid"], self._clock.now(), None, reason=str(error))
        return Answer(meta["uid"], self._clock.now(), answer.status, answer.body)


def accounts_of(deployments: Iterable[Object], given: str | None) -> Iterator[str]:
    """Give the user names of the controllers: of their Deployments, and the one given as ``NAMESPACE/NAME``."""
    yield from (holding.account_of(deployment) for deployment in deployments if holding.is_controller(deployment))
    yield from named_account(given)


def named_account(given: str | None) -> list[str]:
    """Give the user name of a ServiceAccount that is given as ``NAMESPACE/NAME``, none if none is given."""
    return [f"system:serviceaccount:{given.replace('/', ':')}"] if given is not None else []
