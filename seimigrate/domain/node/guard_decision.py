"""What a guard does next for a held node: a pure function, by the very rules by which a run marks a node ready.

It does one thing, and only while the controller cannot: it marks a sidecar ready that asks for it. All else is left to
whom it belongs: to the run that is on its way with the node, to the controller, or to people.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import observation
from seimigrate.domain.node.actions import Action, ExecuteIntent, QueryPod, SaveRecord, Wait
from seimigrate.domain.node.observation import NodeObservation, PodQuery
from seimigrate.domain.node.record import Direction, Intent, Record
from seimigrate.domain.node.rollout import (
    MARK_READY_GRACE,
    MAX_MARK_READY_ATTEMPTS,
    NodeContext,
    is_running,
    mark_ready,
    recheck_unready,
    restart_fingerprint,
)
from seimigrate.domain.plan.plan import Plan

TASK_ID_PREFIX = "guard "
"""In the ids of the guard's tasks, so that none is one that a run has used: a completed id is a silent no-op."""
RECHECK_INTERVAL = 10.0
"""Seconds before a sidecar that is not ready is asked for its health again."""


@dataclass(frozen=True, slots=True)
class MarkReadyState:
    """What the guard's journal holds of a node: the pod and its containers' starts, and how often it was marked.

    ``intent`` is the mark-ready that is about to be sent, journaled before it is.
    """

    starts: str = ""
    attempts: int = 0
    marked: float | None = None
    intent: Intent | None = None


@dataclass(frozen=True, slots=True)
class UnreadySince:
    """Since when a sidecar has answered 503 for health, in one go and without having been started again."""

    starts: str
    since: float


@dataclass(frozen=True, slots=True)
class GuardedNode:
    """A held node as a guard sees it; ``token`` is the guard's, ``run`` tells that a run looks after this node."""

    record: Record | None
    observed: NodeObservation
    state: MarkReadyState
    token: str
    unready: UnreadySince | None = None
    run: bool = False


@dataclass(frozen=True, slots=True)
class SaveGuardState:
    """Write the guard's journal: nothing is sent without one before it."""

    state: MarkReadyState


@dataclass(frozen=True, slots=True)
class SendMarkReady:
    """Send the mark-ready that the journal holds."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class GuardWait:
    """Nothing is to be done now; ``pending`` tells that the guard waits for its turn."""

    reason: str
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """Leave the node to others: to a run, or (``people``) to a person, who has to know why."""

    reason: str
    needs_operator: bool = True


GuardAction = QueryPod | SaveGuardState | SendMarkReady | GuardWait | Skip


def track_unready(before: UnreadySince | None, observed: NodeObservation) -> UnreadySince | None:
    """Take the last answer for health in: no answer is no verdict, any other one than 503 ends the asking."""
    health = observed.reply(PodQuery.HEALTH)
    if observed.pod is None or health is None:
        return None
    now = restart_fingerprint(observed.pod)
    before = before if before is not None and before.starts == now else None
    if health.status is None:
        return before
    return (before or UnreadySince(now, health.at)) if health.status == 503 else None


def next_step(node: GuardedNode, plan: Plan, now: float) -> GuardAction:
    """Decide what a guard does next for a node; ``now`` is in seconds since 1970."""
    observed, pod, intent = node.observed, node.observed.pod, node.state.intent
    if observation.hold_of(observed.statefulset) is None:
        return GuardWait("it is not held")
    if pod is None or observation.is_terminating(pod):
        return GuardWait("there is no pod now")
    if intent is not None and node.state.starts != restart_fingerprint(pod):
        return SaveGuardState(MarkReadyState())
    if observation.is_ready(pod):
        return SaveGuardState(_resolved(node.state, now)) if intent is not None else GuardWait("it is ready")
    if (others := _not_ours(node)) is not None:
        return others
    trouble = observation.startup_error(pod)
    if not is_running(pod, plan.parameters.containers.sidecar):
        return Skip(trouble) if trouble else GuardWait("its sidecar does not run yet")
    health = observed.reply(PodQuery.HEALTH)
    if health is None or now - health.at >= RECHECK_INTERVAL:
        return QueryPod((PodQuery.HEALTH,))
    if health.status is None:
        return Skip(f"its sidecar cannot be asked: {health.reason}")
    if health.status == 503:
        return _reports_unready(node, pod, plan, now)
    if intent is not None:
        return SaveGuardState(_resolved(node.state, now))
    if health.status != 200:
        return Skip(f"its sidecar answers {health.status} for health")
    return Skip(trouble) if trouble else GuardWait("its sidecar is ready, and its pod not yet")


def _resolved(state: MarkReadyState, now: float) -> MarkReadyState:
    return replace(state, intent=None, attempts=state.attempts + 1, marked=now)


def _not_ours(node: GuardedNode) -> Skip | None:
    """See whether somebody else has this node in hand, or has to decide about it."""
    record = node.record
    if record is None:
        return Skip("it is held, and no journal says by whom: it was never seen ready")
    if node.run:
        return Skip("a run looks after it", needs_operator=False)
    if record.outcome is None and record.intent is not None:
        return Skip(f"a run ended in the middle of a write; it has to go on: seimigrate apply --node {record.key}")
    if reason := _was_replaced(record, node.observed):
        return Skip(reason)
    if not record.was_ready:
        return Skip("it was not ready when it was held")
    return None


def _was_replaced(record: Record, observed: NodeObservation) -> str:
    node, statefulset = observed.seinode, observed.statefulset
    if node is None or node["metadata"]["uid"] != record.uid or "deletionTimestamp" in node["metadata"]:
        return "its SeiNode was deleted, or made anew"
    if statefulset is None or statefulset["metadata"]["uid"] != record.statefulset_uid:
        return "its StatefulSet was deleted, or made anew"
    spec = node.get("spec", {})
    if spec.get("paused"):
        return "spec.paused is set: its owner wants it stopped"
    if spec.get("image") != record.seid_image:
        return f"spec.image was changed to {spec.get('image')}: release it, so that its controller can upgrade it"
    return ""


def _reports_unready(node: GuardedNode, pod: Object, plan: Plan, now: float) -> GuardAction:
    """Deal with a sidecar that asks to be marked ready, as a run would: its patience, its questions, its limits."""
    assert node.record is not None
    asked = node.unready
    if asked is None or asked.starts != restart_fingerprint(pod):
        return QueryPod((PodQuery.HEALTH,))
    state = node.state if node.state.starts == asked.starts else MarkReadyState(asked.starts)
    record = replace(
        node.record,
        run=node.token,
        direction=Direction.ROLLBACK,  # what a run would turn back for is a person's here
        outcome=None,
        since=asked.since,
        intent=state.intent,
        mark_ready_attempts=state.attempts,
        marked_ready_at=state.marked,
    )
    ctx = NodeContext(record, node.observed, plan, now, marker=TASK_ID_PREFIX)
    if state.intent is not None:
        return _to_guard_action(_resolve(ctx, state.intent), state)
    if (
        state.attempts >= MAX_MARK_READY_ATTEMPTS
        and state.marked is not None
        and ctx.deadline_passed(MARK_READY_GRACE, state.marked)
    ):
        return Skip(f"its sidecar still answers 503 for health, though it was marked ready {state.attempts} times")
    return _to_guard_action(mark_ready(ctx), state)


def _resolve(ctx: NodeContext, intent: Intent) -> Action | None:
    if ctx.observed.executed_intent == intent:
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=True))
    return recheck_unready(ctx) or ExecuteIntent(intent)


def _to_guard_action(action: Action | None, state: MarkReadyState) -> GuardAction:
    match action:
        case QueryPod():
            return action
        case ExecuteIntent(intent=intent):
            return SendMarkReady(intent)
        case SaveRecord(record=record) if record.outcome is None:
            return SaveGuardState(
                MarkReadyState(state.starts, record.mark_ready_attempts, record.marked_ready_at, record.intent)
            )
        case SaveRecord(record=record):
            return Skip(record.reason) if state.intent is None else SaveGuardState(replace(state, intent=None))
        case Wait(reason=reason):
            return GuardWait(f"waits for {reason}", pending=True)
        case _:
            return GuardWait("its sidecar asks to be marked ready; its controller has the first go", pending=True)


def held_nodes(statefulsets: list[Object]) -> list[tuple[str, str]]:
    """Give namespace and name of the held nodes among some StatefulSets, sorted."""
    return sorted(
        (s["metadata"]["namespace"], s["metadata"]["name"]) for s in statefulsets if observation.hold_of(s) is not None
    )
