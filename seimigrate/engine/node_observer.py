"""Puts together what the machine sees of a node: the cluster's objects, the pod's answers, the proof of the hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node import observation as seeing
from seimigrate.domain.node.observation import (
    AccessReview,
    HoldStatus,
    NodeObservation,
    PodQuery,
    PodReply,
    RelatedObjects,
)
from seimigrate.domain.node.record import Intent
from seimigrate.domain.node.rollout import RECHECK_INTERVAL
from seimigrate.engine.ports import Clock, ObjectCache

WATCHED = (
    Kind.SEI_NODE,
    Kind.STATEFUL_SET,
    Kind.SERVICE,
    Kind.POD,
    Kind.DISRUPTION_BUDGET,
    Kind.NODE,
    Kind.SEI_NODE_TASK,
    Kind.SEI_NODE_WORKFLOW,
)
"""The kinds that say how a node is; the tasks' and workflows' may be absent from a cluster."""
OPTIONAL = (Kind.SEI_NODE_TASK, Kind.SEI_NODE_WORKFLOW)


@dataclass
class NodeCache:
    """What this process alone knows of a node; losing it costs a question asked again, never a wrong step."""

    replies: dict[PodQuery, PodReply] = field(default_factory=dict)
    hold_verified_at: float | None = None
    executed_intent: Intent | None = None
    admission_denial: str = ""
    eviction_blocked_at: float | None = None
    progress_score: tuple[str, int] = ("", 0)
    progressed_at: float = 0.0
    access_review: AccessReview | None = None
    conflicts: int = 0
    hold_unverified_since: float | None = None


class Observer:
    """Looks at nodes through a view, and remembers what was asked and proven."""

    def __init__(self, cache: ObjectCache, clock: Clock, hold_problem: Callable[[], str]) -> None:
        self._view = cache
        self._clock = clock
        self._hold_problem = hold_problem
        self._memory: dict[tuple[str, str], NodeCache] = {}

    def cache(self, namespace: str, name: str) -> NodeCache:
        """Give what is remembered of a node, to be written to."""
        return self._memory.setdefault((namespace, name), NodeCache())

    def versions(self, namespace: str, name: str) -> tuple[str, ...]:
        """Give what tells whether anything of a node has changed."""
        kinds = (Kind.SEI_NODE, Kind.STATEFUL_SET, Kind.SERVICE)
        found = [*(self._view.get(kind, namespace, name) for kind in kinds)]
        found.append(self._view.get(Kind.POD, namespace, f"{name}-0"))
        return tuple(obj["metadata"]["resourceVersion"] if obj else "" for obj in found)

    def observe(self, namespace: str, name: str) -> NodeObservation:
        """See a node as it is now."""
        memory = self.cache(namespace, name)
        pod = self._view.get(Kind.POD, namespace, f"{name}-0")
        self._note_progress(memory, pod)
        now = self._clock.now()
        return NodeObservation(
            seinode=self._view.get(Kind.SEI_NODE, namespace, name),
            statefulset=self._view.get(Kind.STATEFUL_SET, namespace, name),
            service=self._view.get(Kind.SERVICE, namespace, name),
            pod=pod,
            hold=HoldStatus(self._hold_problem(), memory.hold_verified_at),
            replies=dict(memory.replies),
            related=related_objects(self._view, namespace, pod),
            executed_intent=memory.executed_intent,
            admission_denial=memory.admission_denial,
            eviction_blocked=memory.eviction_blocked_at is not None
            and now - memory.eviction_blocked_at < RECHECK_INTERVAL,
            progressed_at=memory.progressed_at,
            access_review=memory.access_review,
        )

    def _note_progress(self, memory: NodeCache, pod: Object | None) -> None:
        uid = pod["metadata"]["uid"] if pod else ""
        score = _progress_score(pod, memory.replies.get(PodQuery.HEIGHT))
        if (uid, score) != memory.progress_score and (
            uid != memory.progress_score[0] or score > memory.progress_score[1]
        ):
            memory.progress_score, memory.progressed_at = (uid, score), self._clock.now()


def related_objects(cache: ObjectCache, namespace: str, pod: Object | None) -> RelatedObjects:
    """Give what else decides whether a node may be moved: budgets, its Kubernetes node, tasks and workflows."""
    host = (pod or {}).get("spec", {}).get("nodeName")
    return RelatedObjects(
        budgets=tuple(cache.list(Kind.DISRUPTION_BUDGET, namespace)),
        kube_node=cache.get(Kind.NODE, "", host) if host else None,
        tasks=tuple(cache.list(Kind.SEI_NODE_TASK, namespace)),
        workflows=tuple(cache.list(Kind.SEI_NODE_WORKFLOW, namespace)),
    )


def _progress_score(pod: Object | None, height: PodReply | None) -> int:
    """Count how far a pod has come; only a higher count than ever is progress, so a crash loop makes none."""
    if pod is None:
        return 0
    status = pod.get("status", {})
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    score = sum(bool(c.get("started")) + bool(c.get("ready")) for c in containers)
    score += 1000 * seeing.is_terminating(pod) + bool(pod.get("spec", {}).get("nodeName"))
    return score + 10_000 * (seeing.height(height) if height is not None else 0)
