"""The steps that roll a node's pod out to the current template and to Ready, for cutover and rollback.

Each step returns the next action, or ``None`` if it is complete.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from seimigrate.domain.kube.changes import Change, State
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import observation, preflight, transforms
from seimigrate.domain.node.actions import Action, QueryPod, ReviewAccess, SaveRecord, VerifyHold, Wait
from seimigrate.domain.node.observation import AccessReview, NodeObservation, PodQuery, PodReply
from seimigrate.domain.node.record import Direction, Intent, IntentKind, Outcome, Record
from seimigrate.domain.plan.plan import Mode, Plan, StageName

RECHECK_INTERVAL = 3.0
"""Seconds between two attempts to evict, and the longest interval between two queries of a pod."""
SHORT_INTERVAL = 0.1
"""Seconds between two queries of a pod right after a write."""
EXPECTED_STATUSES = (200, 401)
"""Statuses that a pod returns after its rollout, to authorized and to anonymous requests."""
HOLD_PROOF_TTL = 30.0
"""Seconds for which an observed denial counts as proof of the hold."""
CONTROLLER_READY_TIMEOUT = 90.0
"""Seconds that the controller has to mark a node ready that is held but not frozen."""
MARK_READY_GRACE = 15.0
"""Seconds that a sidecar has to return 200 after a mark-ready, before the next attempt."""
MAX_MARK_READY_ATTEMPTS = 3
"""Mark-ready attempts per pod start; a sidecar that still returns 503 afterwards counts as stuck."""
_TASKS = uuid.UUID("6f1c5c59-2f0e-5d3b-9a56-8b0d5f0f7a3e")


@dataclass(frozen=True, slots=True)
class NodeContext:
    """The input of a decision; ``marker`` distinguishes the task ids of a guard from those of a run."""

    record: Record
    observed: NodeObservation
    plan: Plan
    now: float
    marker: str = ""

    @property
    def statefulset(self) -> Object:
        """Return the StatefulSet, whose presence the reconciler has checked."""
        assert self.observed.statefulset is not None
        return self.observed.statefulset

    @property
    def mode(self) -> Mode:
        """Return the node's mode; on rollback an unknown mode gets the deadlines of a full node."""
        return (observation.mode_of(self.observed.seinode) if self.observed.seinode else None) or Mode.FULL_NODE

    def deadline_passed(self, seconds: float, since: float | None = None) -> bool:
        """Return whether a deadline has passed, counted from the start of the step unless ``since`` is given."""
        return self.now - (self.record.since if since is None else since) >= seconds

    def fail(self, reason: str) -> Action:
        """Fail: a cutover rolls back or pauses, as the plan defines; a failed rollback requires operator action."""
        if self.record.direction is Direction.ROLLBACK:
            return SaveRecord(replace(self.record, intent=None).finished(Outcome.FAILED, reason))
        if self.plan.failure.on_node_failure == "pause":
            return self.pause(reason)
        return SaveRecord(self.record.rolling_back(reason, self.now))

    def pause(self, reason: str) -> Action:
        """Pause in the current state; operator action is required."""
        return SaveRecord(self.record.finished(Outcome.PAUSED, reason))

    def block(self, *reasons: str) -> Action:
        """Report a node as blocked; a node that an earlier run modified pauses instead of rolling back."""
        if self.record.modified:
            return self.pause("; ".join(reasons))
        record = self.record.rolling_back("; ".join(reasons), self.now)
        return SaveRecord(replace(record, failure=None, blocked=reasons))

    def denied(self, what: str) -> Action:
        """Fail a write that an admission policy denied: it was not executed, and a retry would be denied again."""
        record, reason = self.record, f"{what} was denied by an admission policy: {self.observed.admission_denial}"
        if record.intent is not None and record.agreement_probe in record.intent.changes:
            # The probe was never written, so an unchanged label proves nothing.
            record = replace(record, agreement_probe=None)
        if record.direction is Direction.FORWARD and record.stage is StageName.HOLD:
            return self.block(f"denied: {reason}")
        if record.direction is Direction.FORWARD and record.stage is StageName.RELEASE:
            return SaveRecord(replace(record, intent=None).finished(Outcome.DONE_HELD, reason))
        return replace(self, record=record).fail(reason)

    def intend(self, intent: Intent) -> Action:
        """Journal a write that is about to happen."""
        return SaveRecord(self.record.intending(intent, self.now))

    def require_hold_verified(self) -> Action | None:
        """Return the action that verifies the hold; ``None`` if the proof is fresh or the run does not hold."""
        verified = self.observed.hold.verified_at
        if not self.record.holds or (verified is not None and self.now - verified < HOLD_PROOF_TTL):
            return None
        return self.denied("the dry run of the hold") if self.observed.admission_denial else VerifyHold()

    def query(self, *queries: PodQuery) -> Action | None:
        """Return the query for replies that are missing or stale, ``None`` if all are fresh."""
        stale = tuple(query for query in queries if not self._fresh(query))
        return QueryPod(stale) if stale else None

    @property
    def interval(self) -> float:
        """Return the seconds before the next query of the pod: short after a write, then half of the elapsed time."""
        return min(RECHECK_INTERVAL, max(SHORT_INTERVAL, (self.now - self.record.since) / 2))

    def review_access(self) -> Action | None:
        """Return the action that reviews access to the node; ``None`` if a fresh review exists."""
        review = self.observed.access_review
        fresh = review is not None and self.now - review.at < RECHECK_INTERVAL and review.at >= self.record.since
        return None if fresh else ReviewAccess()

    @property
    def access_review(self) -> AccessReview:
        """Return the access review, whose presence ``review_access`` has checked."""
        assert self.observed.access_review is not None
        return self.observed.access_review

    def _fresh(self, query: PodQuery) -> bool:
        """Return whether a reply is fresh; an unexpected status becomes stale sooner."""
        reply = self.observed.reply(query)
        if reply is None or reply.at < self.record.since:
            return False
        return self.now - reply.at < (RECHECK_INTERVAL if reply.status in EXPECTED_STATUSES else self.interval)

    def reply(self, query: PodQuery) -> PodReply:
        """Return a reply whose presence ``query`` has checked."""
        reply = self.observed.reply(query)
        assert reply is not None
        return reply


def rollout(ctx: NodeContext) -> Action | None:
    """Roll the pod out to the current template and to Ready."""
    return replace_pod(ctx) or mark_ready(ctx) or wait(ctx)


def replace_pod(ctx: NodeContext) -> Action | None:
    """Replace a pod of another template: evict it if it is Ready, otherwise delete it."""
    if not observation.is_rollout_observed(ctx.statefulset):
        return wait_or_pause(ctx, "StatefulSet controller has not observed the new template")
    pod = ctx.observed.pod
    if pod is None:
        return _waiting(ctx, "pod does not exist yet")
    if observation.is_terminating(pod) or pod["metadata"]["uid"] in ctx.record.replaced_pods:
        return _await_termination(ctx)
    if observation.is_at_update_revision(pod, ctx.statefulset):
        return None
    if changed := drifted_fields(ctx):
        return ctx.fail(external_change(changed))
    return ctx.require_hold_verified() or ctx.intend(replacement(ctx, pod, evict=observation.is_ready(pod)))


def drifted_fields(ctx: NodeContext) -> list[str]:
    """Return the changed template fields that drifted: a pod of this template would not be the intended one.

    On rollback a field that another client changed is not reverted and does not count as drifted.
    """
    recorded = (change for change in ctx.record.changes if change.kind == transforms.STATEFUL_SET)
    return [
        f"{c.kind} {c.path}"
        for c in recorded
        if (c.state(ctx.statefulset) is State.AFTER) == must_revert(ctx.record, c)
    ]


def external_change(names: Sequence[str], verb: str = "modified") -> str:
    """Return the message about fields that another client modified or reverted."""
    return f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} {verb} by another client"


def must_revert(record: Record, change: Change) -> bool:
    """Return whether the rollback has to revert this change."""
    to = record.rollback_to
    return record.direction is Direction.ROLLBACK and (to is None or StageName(change.stage).position > to.position)


def replacement(ctx: NodeContext, pod: Object, *, evict: bool) -> Intent:
    """Return the intent to replace a pod, by eviction or by delete, always with its grace period."""
    grace = math.ceil(ctx.plan.termination_grace_period.for_mode(ctx.mode))
    return Intent(
        IntentKind.REPLACE, pod=pod["metadata"]["uid"], name=pod["metadata"]["name"], grace=grace, evict=evict
    )


def eviction_blocked(ctx: NodeContext) -> Action:
    """Wait for the budget that refused the eviction; after the deadline fail, or on rollback delete the pod."""
    since, deadline = ctx.record.eviction_blocked_since, ctx.plan.deadlines.eviction
    if since is None:
        return SaveRecord(replace(ctx.record, eviction_blocked_since=ctx.now))
    if not ctx.deadline_passed(deadline, since):
        return Wait("eviction blocked by a PodDisruptionBudget", RECHECK_INTERVAL)
    if ctx.record.direction is Direction.FORWARD:
        return ctx.fail(f"eviction was blocked by a PodDisruptionBudget for {deadline:.0f} s")
    assert ctx.observed.pod is not None
    return ctx.intend(replacement(ctx, ctx.observed.pod, evict=False))


def _await_termination(ctx: NodeContext) -> Action:
    grace = ctx.plan.termination_grace_period.for_mode(ctx.mode) + ctx.plan.deadlines.response
    if ctx.deadline_passed(grace, max(ctx.record.since, ctx.observed.progressed_at)):
        return ctx.pause("the pod is stuck in Terminating; operator action required (two instances must never run)")
    return Wait("old pod is terminating", grace)


def mark_ready(ctx: NodeContext) -> Action | None:
    """Mark a node ready whose sidecar reports 503, only while the controller cannot and no task conflicts."""
    pod = ctx.observed.pod
    if pod is None or observation.is_ready(pod) or not ctx.record.was_ready:
        return None
    if not is_running(pod, ctx.plan.parameters.containers.sidecar):
        return None
    if not observation.is_frozen(ctx.statefulset) and not ctx.deadline_passed(CONTROLLER_READY_TIMEOUT):
        return None
    if (ask := ctx.query(PodQuery.HEALTH)) is not None:
        return ask
    if ctx.reply(PodQuery.HEALTH).status != 503:
        return None
    marked = ctx.record.marked_ready_at
    if marked is not None and (
        ctx.record.mark_ready_attempts >= MAX_MARK_READY_ATTEMPTS or not ctx.deadline_passed(MARK_READY_GRACE, marked)
    ):
        return None
    return _mark_ready_intent(ctx, pod)


def recheck_unready(ctx: NodeContext) -> Action | None:
    """Query the sidecar again before an earlier mark-ready: it may be ready by now, or a task may conflict."""
    if (ask := ctx.query(PodQuery.HEALTH)) is not None:
        return ask
    reply = ctx.reply(PodQuery.HEALTH)
    if reply.status is None:
        return _waiting(ctx, f"sidecar health is unavailable ({reply.reason})")
    return (
        _conflicting_task(ctx) if reply.status == 503 else SaveRecord(ctx.record.intent_resolved(ctx.now, applied=True))
    )


def _conflicting_task(ctx: NodeContext) -> Action | None:
    """Pause if a task of the sidecar or of the cluster conflicts with marking the node ready."""
    if (ask := ctx.query(PodQuery.TASKS)) is not None:
        return ask
    reply = ctx.reply(PodQuery.TASKS)
    listed = observation.tasks(reply) if reply.status == 200 else None
    if listed is None:
        return _waiting(ctx, f"sidecar task list is unavailable ({reply.reason or f'status {reply.status}'})")
    name = ctx.record.name
    work = [
        *preflight.open_work(ctx.observed.related.tasks, name),
        *preflight.open_work(ctx.observed.related.workflows, name),
    ]
    conflict = preflight.conflicting_task(listed) or (f"{work[0]} is running on the node" if work else "")
    return ctx.pause(f"not marking the node ready: {conflict}") if conflict else None


def _mark_ready_intent(ctx: NodeContext, pod: Object) -> Action | None:
    if (action := _conflicting_task(ctx)) is not None:
        return action
    task = task_id(ctx.record, pod, ctx.marker)
    return ctx.intend(Intent(IntentKind.MARK_READY, task=task, pod=ctx.observed.pod_uid, name=pod["metadata"]["name"]))


def task_id(record: Record, pod: Object, marker: str = "") -> str:
    """Return the id of a mark-ready task, derived from the pod, its container starts and the attempt.

    A completed id is a silent no-op, even after a restart (upstream facts), so each start needs a new id.
    """
    return str(uuid.uuid5(_TASKS, f"{marker}{restart_fingerprint(pod)} {record.mark_ready_attempts}"))


def restart_fingerprint(pod: Object) -> str:
    """Identify the pod and the starts of its init containers, including sidecars: each start loses the readiness."""
    statuses = pod.get("status", {}).get("initContainerStatuses", [])
    containers = ",".join(f"{s['name']}={s.get('containerID', '')}/{s.get('restartCount', 0)}" for s in statuses)
    return f"{pod['metadata']['uid']} {containers}"


def is_running(pod: Object, container: str) -> bool:
    """Return whether a container of a pod is running."""
    status = pod.get("status", {})
    statuses = (*status.get("initContainerStatuses", []), *status.get("containerStatuses", []))
    return any(s["name"] == container and "running" in s.get("state", {}) for s in statuses)


def wait(ctx: NodeContext) -> Action | None:
    """Wait until the pod is Ready; query the height, because a node that is catching up makes progress.

    The height is not queried while the sidecar is not ready: a growing height cannot make that pod Ready.
    """
    if observation.is_ready(ctx.observed.pod):
        return None
    seid_runs = ctx.observed.pod is not None and is_running(ctx.observed.pod, ctx.plan.parameters.containers.seid)
    health = ctx.observed.reply(PodQuery.HEALTH)
    sidecar_unready = health is not None and health.status not in (None, 200)
    if seid_runs and not sidecar_unready and (ask := ctx.query(PodQuery.HEIGHT)) is not None:
        return ask
    return _waiting(ctx, "pod is not Ready")


def _waiting(ctx: NodeContext, reason: str) -> Action:
    """Wait for a pod; fail if it is stuck or exceeds the deadline without progress."""
    progressed = max(ctx.record.since, ctx.observed.progressed_at)
    error = _mark_ready_ignored(ctx) or (observation.startup_error(ctx.observed.pod) if ctx.observed.pod else "")
    if error and ctx.deadline_passed(ctx.plan.deadlines.stuck, progressed):
        return ctx.fail(f"the pod cannot start: {error}")
    deadline = ctx.plan.deadlines.ready.for_mode(ctx.mode)
    if ctx.deadline_passed(deadline, progressed):
        return ctx.fail(f"no progress for {deadline:.0f} s (last wait: {reason})")
    return Wait(reason + (f" ({error})" if error else ""), RECHECK_INTERVAL)


def _mark_ready_ignored(ctx: NodeContext) -> str:
    """Return that the sidecar ignores mark-ready; errors of other containers only follow from that."""
    health = ctx.observed.reply(PodQuery.HEALTH)
    if ctx.record.mark_ready_attempts < MAX_MARK_READY_ATTEMPTS or health is None or health.status != 503:
        return ""
    return f"sidecar health still returns 503 after {ctx.record.mark_ready_attempts} mark-ready attempts"


def wait_or_pause(ctx: NodeContext, reason: str) -> Action:
    """Wait for a controller of the control plane; pause after the response deadline."""
    if ctx.deadline_passed(ctx.plan.deadlines.response):
        return ctx.pause(f"no progress for {ctx.plan.deadlines.response:.0f} s (last wait: {reason})")
    return Wait(reason, ctx.plan.deadlines.response)
