"""What a guard does next for a held node: a pure function that applies the same mark-ready rules as a run.

The guard only marks a sidecar ready that reports 503, and only while the controller cannot. Everything else is left to
the run that processes the node, to the controller, or to an operator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import observation
from seimigrate.domain.node.actions import Action, ExecuteIntent, QueryPod, SaveRecord, Wait
from seimigrate.domain.node.observation import NodeObservation, PodQuery
from seimigrate.domain.node.record import Direction, Intent, Record
from seimigrate.domain.node.rollout import (
    CONTROLLER_READY_TIMEOUT,
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
"""Prefix of the guard's task ids, which keeps them distinct from a run's: a completed id is a silent no-op."""
RECHECK_INTERVAL = 10.0
"""Seconds between two health queries of a sidecar that is not ready."""


@dataclass(frozen=True, slots=True)
class MarkReadyState:
    """The guard's journal entry of a node: the restart fingerprint of its pod, and the mark-ready attempts since then.

    ``marked`` is the time of the last attempt. ``intent`` is the mark-ready that is journaled before it is sent.
    """

    starts: str = ""
    attempts: int = 0
    marked: float | None = None
    intent: Intent | None = None


@dataclass(frozen=True, slots=True)
class UnreadySince:
    """The time since which a sidecar has continuously returned 503 for health, without a restart."""

    starts: str
    since: float


@dataclass(frozen=True, slots=True)
class GuardedNode:
    """A held node as a guard observes it; ``run`` is true while a live run covers the node."""

    record: Record | None
    observed: NodeObservation
    state: MarkReadyState
    token: str
    unready: UnreadySince | None = None
    run: bool = False


@dataclass(frozen=True, slots=True)
class SaveGuardState:
    """Write the guard's journal; every mark-ready is journaled before it is sent."""

    state: MarkReadyState


@dataclass(frozen=True, slots=True)
class SendMarkReady:
    """Send the mark-ready in the guard's journal."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class GuardWait:
    """Wait; ``pending`` is true if a mark-ready may follow."""

    reason: str
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """Leave the node alone; ``needs_operator`` is true if an operator has to act, false if a run covers the node."""

    reason: str
    needs_operator: bool = True


GuardAction = QueryPod | SaveGuardState | SendMarkReady | GuardWait | Skip


def track_unready(before: UnreadySince | None, observed: NodeObservation) -> UnreadySince | None:
    """Return since when the sidecar reports 503: a failed query changes nothing, any other status resets it."""
    health = observed.reply(PodQuery.HEALTH)
    if observed.pod is None or health is None:
        return None
    now = restart_fingerprint(observed.pod)
    before = before if before is not None and before.starts == now else None
    if health.status is None:
        return before
    return (before or UnreadySince(now, health.at)) if health.status == 503 else None


def next_step(node: GuardedNode, plan: Plan, now: float) -> GuardAction:
    """Return what a guard does next for a node; ``now`` is in seconds since 1970."""
    observed, pod, intent = node.observed, node.observed.pod, node.state.intent
    if observation.hold_of(observed.statefulset) is None:
        return GuardWait("the node is not held")
    if pod is None or observation.is_terminating(pod):
        return GuardWait("the pod is absent or terminating")
    if intent is not None and node.state.starts != restart_fingerprint(pod):
        return SaveGuardState(MarkReadyState())
    if observation.is_ready(pod):
        return SaveGuardState(_resolved(node.state, now)) if intent is not None else GuardWait("the pod is Ready")
    if (skip := _skip_reason(node)) is not None:
        return skip
    startup_error = observation.startup_error(pod)
    if not is_running(pod, plan.parameters.containers.sidecar):
        return Skip(startup_error) if startup_error else GuardWait("the sidecar is not running")
    health = observed.reply(PodQuery.HEALTH)
    if health is None or now - health.at >= RECHECK_INTERVAL:
        return QueryPod((PodQuery.HEALTH,))
    if health.status is None:
        return Skip(f"sidecar health is unavailable: {health.reason}")
    if health.status == 503:
        return _reports_unready(node, pod, plan, now)
    if intent is not None:
        return SaveGuardState(_resolved(node.state, now))
    if health.status != 200:
        return Skip(f"sidecar health returned {health.status}, expected 200 or 503")
    return Skip(startup_error) if startup_error else GuardWait("the sidecar is ready, the pod is not Ready")


def _resolved(state: MarkReadyState, now: float) -> MarkReadyState:
    return replace(state, intent=None, attempts=state.attempts + 1, marked=now)


def _skip_reason(node: GuardedNode) -> Skip | None:
    """Return why the guard leaves this node to a run or to an operator, ``None`` if it does not."""
    record = node.record
    if record is None:
        return Skip("held without a journal; not known to have been ready")
    if node.run:
        return Skip("a live run covers this node", needs_operator=False)
    if record.outcome is None and record.intent is not None:
        return Skip(f"a run was interrupted during a write; resume it: seimigrate apply --node {record.key}")
    if reason := _was_replaced(record, node.observed):
        return Skip(reason)
    if not record.was_ready:
        return Skip("the node was not ready when it was held")
    return None


def _was_replaced(record: Record, observed: NodeObservation) -> str:
    node, statefulset = observed.seinode, observed.statefulset
    if node is None or node["metadata"]["uid"] != record.uid or "deletionTimestamp" in node["metadata"]:
        return "the SeiNode was deleted or recreated"
    if statefulset is None or statefulset["metadata"]["uid"] != record.statefulset_uid:
        return "the StatefulSet was deleted or recreated"
    spec = node.get("spec", {})
    if spec.get("paused"):
        return "spec.paused was set by the owner"
    if spec.get("image") != record.seid_image:
        return f"spec.image was changed to {spec.get('image')}; release the node so that the controller can upgrade it"
    return ""


def _reports_unready(node: GuardedNode, pod: Object, plan: Plan, now: float) -> GuardAction:
    """Handle a sidecar that reports 503 with the delays, queries and limits of a run."""
    assert node.record is not None
    unready = node.unready
    if unready is None or unready.starts != restart_fingerprint(pod):
        return QueryPod((PodQuery.HEALTH,))
    state = node.state if node.state.starts == unready.starts else MarkReadyState(unready.starts)
    record = replace(
        node.record,
        run=node.token,
        direction=Direction.ROLLBACK,  # a failure requires operator action here, never a rollback
        outcome=None,
        since=unready.since,
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
        return Skip(f"sidecar health still returns 503 after {state.attempts} mark-ready attempts")
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
            return GuardWait(f"waiting: {reason}", pending=True)
        case _:
            seconds = f"{CONTROLLER_READY_TIMEOUT:.0f} s"
            return GuardWait(f"sidecar not ready; giving the controller {seconds} to mark it ready", pending=True)


def held_nodes(statefulsets: list[Object]) -> list[tuple[str, str]]:
    """Return namespace and name of the held nodes among some StatefulSets, sorted."""
    return sorted(
        (s["metadata"]["namespace"], s["metadata"]["name"]) for s in statefulsets if observation.hold_of(s) is not None
    )
