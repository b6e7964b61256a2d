"""Puts together what the machine sees of a node: the cluster's objects, the pod's answers, the proof of the hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from seimigrate.domain import seen as seeing
from seimigrate.domain.kinds import Kind, Object
from seimigrate.domain.record import Intent
from seimigrate.domain.rollout import RECHECK
from seimigrate.domain.seen import Answer, Hold, Judgement, Question, Seen, Surroundings
from seimigrate.engine.ports import Clock, View

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
class Memory:
    """What this process alone knows of a node; losing it costs a question asked again, never a wrong step."""

    answers: dict[Question, Answer] = field(default_factory=dict)
    proven: float | None = None
    performed: Intent | None = None
    denied: str = ""
    refused_at: float | None = None
    score: tuple[str, int] = ("", 0)
    progress: float = 0.0
    judgement: Judgement | None = None
    conflicts: int = 0
    unproven_since: float | None = None


class Observer:
    """Looks at nodes through a view, and remembers what was asked and proven."""

    def __init__(self, view: View, clock: Clock, hold_problem: Callable[[], str]) -> None:
        self._view = view
        self._clock = clock
        self._hold_problem = hold_problem
        self._memory: dict[tuple[str, str], Memory] = {}

    def memory(self, namespace: str, name: str) -> Memory:
        """Give what is remembered of a node, to be written to."""
        return self._memory.setdefault((namespace, name), Memory())

    def versions(self, namespace: str, name: str) -> tuple[str, ...]:
        """Give what tells whether anything of a node has changed."""
        kinds = (Kind.SEI_NODE, Kind.STATEFUL_SET, Kind.SERVICE)
        found = [*(self._view.get(kind, namespace, name) for kind in kinds)]
        found.append(self._view.get(Kind.POD, namespace, f"{name}-0"))
        return tuple(obj["metadata"]["resourceVersion"] if obj else "" for obj in found)

    def look(self, namespace: str, name: str) -> Seen:
        """See a node as it is now."""
        memory = self.memory(namespace, name)
        pod = self._view.get(Kind.POD, namespace, f"{name}-0")
        self._note_progress(memory, pod)
        now = self._clock.now()
        return Seen(
            seinode=self._view.get(Kind.SEI_NODE, namespace, name),
            statefulset=self._view.get(Kind.STATEFUL_SET, namespace, name),
            service=self._view.get(Kind.SERVICE, namespace, name),
            pod=pod,
            hold=Hold(self._hold_problem(), memory.proven),
            answers=dict(memory.answers),
            around=surroundings(self._view, namespace, pod),
            performed=memory.performed,
            denied=memory.denied,
            refused=memory.refused_at is not None and now - memory.refused_at < RECHECK,
            progress=memory.progress,
            judgement=memory.judgement,
        )

    def _note_progress(self, memory: Memory, pod: Object | None) -> None:
        uid = pod["metadata"]["uid"] if pod else ""
        score = _score(pod, memory.answers.get(Question.HEIGHT))
        if (uid, score) != memory.score and (uid != memory.score[0] or score > memory.score[1]):
            memory.score, memory.progress = (uid, score), self._clock.now()


def surroundings(view: View, namespace: str, pod: Object | None) -> Surroundings:
    """Give what else decides whether a node may be moved: budgets, its Kubernetes node, tasks and workflows."""
    host = (pod or {}).get("spec", {}).get("nodeName")
    return Surroundings(
        budgets=tuple(view.list(Kind.DISRUPTION_BUDGET, namespace)),
        kube_node=view.get(Kind.NODE, "", host) if host else None,
        tasks=tuple(view.list(Kind.SEI_NODE_TASK, namespace)),
        workflows=tuple(view.list(Kind.SEI_NODE_WORKFLOW, namespace)),
    )


def _score(pod: Object | None, height: Answer | None) -> int:
    """Count how far a pod has come; only a higher count than ever is progress, so a crash loop makes none."""
    if pod is None:
        return 0
    status = pod.get("status", {})
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    score = sum(bool(c.get("started")) + bool(c.get("ready")) for c in containers)
    score += 1000 * seeing.terminating(pod) + bool(pod.get("spec", {}).get("nodeName"))
    return score + 10_000 * (seeing.height(height) if height is not None else 0)
