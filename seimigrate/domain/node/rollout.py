"""The steps that bring a node's pod to the present template and to Ready. Both ways use the same ones.

Each step gives the next action, or ``None`` when there is nothing left for it to do.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, replace

from seimigrate.domain.kube.changes import Change, State
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import observation, preflight, transforms
from seimigrate.domain.node.actions import Action, QueryPod, ReviewAccess, SaveRecord, VerifyHold, Wait
from seimigrate.domain.node.observation import AccessReview, NodeObservation, PodQuery, PodReply
from seimigrate.domain.node.record import Direction, Intent, IntentKind, Outcome, Record
from seimigrate.domain.plan.plan import Mode, Plan, StageName

RECHECK_INTERVAL = 3.0
"""Seconds before an eviction is tried again, and the most before a pod is asked again."""
SHORT_INTERVAL = 0.1
"""Seconds before a pod is asked again at first, after something was done to it."""
EXPECTED_STATUSES = (200, 401)
"""What a pod answers whose rollout is over: to who may, and to who may not."""
HOLD_PROOF_TTL = 30.0
"""Seconds for which a seen denial counts as the proof of a hold."""
CONTROLLER_READY_TIMEOUT = 90.0
"""Seconds for which a node that is held, but not frozen, is left to its controller to be marked ready."""
MARK_READY_GRACE = 15.0
"""Seconds that a sidecar is given to answer 200 after it was marked ready, before it is marked again."""
MAX_MARK_READY_ATTEMPTS = 3
"""How often a sidecar is marked ready; one that does not take it then is stuck, and its pod's deadline passes."""
_TASKS = uuid.UUID("6f1c5c59-2f0e-5d3b-9a56-8b0d5f0f7a3e")


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What a decision is made from; ``marker`` tells apart who marks ready, where that is not the record's run."""

    record: Record
    observed: NodeObservation
    plan: Plan
    now: float
    marker: str = ""

    @property
    def statefulset(self) -> Object:
        """Give the StatefulSet, which is there: the machine has looked."""
        assert self.observed.statefulset is not None
        return self.observed.statefulset

    @property
    def mode(self) -> Mode:
        """Give the node's mode; an unknown one gets a full node's deadlines on its way back."""
        return (observation.mode_of(self.observed.seinode) if self.observed.seinode else None) or Mode.FULL_NODE

    def deadline_passed(self, seconds: float, since: float | None = None) -> bool:
        """Tell whether a deadline has passed, counted from the step's beginning if from nothing else."""
        return self.now - (self.record.since if since is None else since) >= seconds

    def fail(self, reason: str) -> Action:
        """Give up: forward turns back if the plan says so; a way back that fails is left to a person."""
        if self.record.direction is Direction.ROLLBACK:
            return SaveRecord(replace(self.record, intent=None).finished(Outcome.FAILED, reason))
        if self.plan.failure.on_node_failure == "pause":
            return self.pause(reason)
        return SaveRecord(self.record.rolling_back(reason, self.now))

    def pause(self, reason: str) -> Action:
        """Stop here, as it is: a person decides."""
        return SaveRecord(self.record.finished(Outcome.PAUSED, reason))

    def block(self, *reasons: str) -> Action:
        """Let a node be that cannot be moved now; one that an earlier way has changed is not brought back for that."""
        if self.record.modified:
            return self.pause("; ".join(reasons))
        record = self.record.rolling_back("; ".join(reasons), self.now)
        return SaveRecord(replace(record, failure=None, blocked=reasons))

    def denied(self, what: str) -> Action:
        """Give up what somebody's admission policy does not let us do: it was not done, and would not be next time."""
        record, reason = self.record, f"{what} was denied: {self.observed.admission_denial}"
        if record.intent is not None and record.agreement_probe in record.intent.changes:
            record = replace(
                record, agreement_probe=None
            )  # the controller was never asked: its label as it is says nothing
        if record.direction is Direction.FORWARD and record.stage is StageName.HOLD:
            return self.block(f"denied: {reason}")
        if record.direction is Direction.FORWARD and record.stage is StageName.RELEASE:
            return SaveRecord(replace(record, intent=None).finished(Outcome.DONE_HELD, reason))
        return replace(self, record=record).fail(reason)

    def intend(self, intent: Intent) -> Action:
        """Journal a write that is about to happen."""
        return SaveRecord(self.record.intending(intent, self.now))

    def require_hold_verified(self) -> Action | None:
        """Ask for the proof of the hold, unless it is fresh or there is no hold."""
        proven = self.observed.hold.verified_at
        if not self.record.holds or (proven is not None and self.now - proven < HOLD_PROOF_TTL):
            return None
        return self.denied("a trial of the hold") if self.observed.admission_denial else VerifyHold()

    def query(self, *questions: PodQuery) -> Action | None:
        """Ask for the answers that are missing or old, ``None`` if all are there."""
        old = tuple(q for q in questions if not self._fresh(q))
        return QueryPod(old) if old else None

    @property
    def interval(self) -> float:
        """Give the seconds before a pod is asked again: few after something was done, twice as many each time."""
        return min(RECHECK_INTERVAL, max(SHORT_INTERVAL, (self.now - self.record.since) / 2))

    def review_access(self) -> Action | None:
        """Ask for a judgement of who can reach the node, unless there is a fresh one."""
        found = self.observed.access_review
        fresh = found is not None and self.now - found.at < RECHECK_INTERVAL and found.at >= self.record.since
        return None if fresh else ReviewAccess()

    @property
    def access_review(self) -> AccessReview:
        """Give the judgement that ``judge`` has found to be there."""
        assert self.observed.access_review is not None
        return self.observed.access_review

    def _fresh(self, query: PodQuery) -> bool:
        """Tell whether an answer still counts; one that is not as it should be is soon asked for again."""
        reply = self.observed.reply(query)
        if reply is None or reply.at < self.record.since:
            return False
        return self.now - reply.at < (RECHECK_INTERVAL if reply.status in EXPECTED_STATUSES else self.interval)

    def reply(self, query: PodQuery) -> PodReply:
        """Give an answer that ``ask`` has found to be there."""
        reply = self.observed.reply(query)
        assert reply is not None
        return reply


def rollout(ctx: NodeContext) -> Action | None:
    """Bring the pod to the present template and to Ready."""
    return replace_pod(ctx) or mark_ready(ctx) or wait(ctx)


def replace_pod(ctx: NodeContext) -> Action | None:
    """Replace a pod that was made of another template: a Ready one by eviction, one that is not by DELETE."""
    if not observation.is_rollout_observed(ctx.statefulset):
        return wait_or_pause(ctx, "the StatefulSet controller to see the template")
    pod = ctx.observed.pod
    if pod is None:
        return _waiting(ctx, "a pod to be made")
    if observation.is_terminating(pod) or pod["metadata"]["uid"] in ctx.record.replaced_pods:
        return _await_termination(ctx)
    if observation.is_at_update_revision(pod, ctx.statefulset):
        return None
    if changed := drifted_fields(ctx):
        return ctx.fail(f"somebody else changed {', '.join(changed)}")
    return ctx.require_hold_verified() or ctx.intend(replacement(ctx, pod, evict=observation.is_ready(pod)))


def drifted_fields(ctx: NodeContext) -> list[str]:
    """Name our fields of the template that are not as we left them: a pod made of it would not be the one meant.

    On the way back a field that somebody else changed is left alone, and no such field.
    """
    mine = (change for change in ctx.record.changes if change.kind == transforms.STATEFUL_SET)
    return [
        f"{c.kind} {c.path}" for c in mine if (c.state(ctx.statefulset) is State.AFTER) == must_revert(ctx.record, c)
    ]


def must_revert(record: Record, change: Change) -> bool:
    """Tell whether a change of ours is to be taken back."""
    to = record.rollback_to
    return record.direction is Direction.ROLLBACK and (to is None or StageName(change.stage).position > to.position)


def replacement(ctx: NodeContext, pod: Object, *, evict: bool) -> Intent:
    """Give the intent to replace a pod, by eviction or by a plain delete; always with its grace."""
    grace = math.ceil(ctx.plan.termination_grace_period.for_mode(ctx.mode))
    return Intent(
        IntentKind.REPLACE, pod=pod["metadata"]["uid"], name=pod["metadata"]["name"], grace=grace, evict=evict
    )


def eviction_blocked(ctx: NodeContext) -> Action:
    """Wait for a disruption budget that refused the eviction; it must not trap a node on its way back for ever."""
    since, deadline = ctx.record.eviction_blocked_since, ctx.plan.deadlines.eviction
    if since is None:
        return SaveRecord(replace(ctx.record, eviction_blocked_since=ctx.now))
    if not ctx.deadline_passed(deadline, since):
        return Wait("a disruption budget to allow the eviction", RECHECK_INTERVAL)
    if ctx.record.direction is Direction.FORWARD:
        return ctx.fail(f"no disruption budget allowed an eviction for {deadline:.0f} s")
    assert ctx.observed.pod is not None
    return ctx.intend(replacement(ctx, ctx.observed.pod, evict=False))


def _await_termination(ctx: NodeContext) -> Action:
    grace = ctx.plan.termination_grace_period.for_mode(ctx.mode) + ctx.plan.deadlines.response
    if ctx.deadline_passed(grace, max(ctx.record.since, ctx.observed.progressed_at)):
        return ctx.pause("its pod is stuck in Terminating: a person decides, since two of the same must never run")
    return Wait("the old pod to stop", grace)


def mark_ready(ctx: NodeContext) -> Action | None:
    """Mark a node ready whose sidecar asks for it, while the controller cannot, and never against an intent."""
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
    """Look again before a mark-ready that was intended earlier: it may be done, or against somebody's intent by now."""
    if (ask := ctx.query(PodQuery.HEALTH)) is not None:
        return ask
    reply = ctx.reply(PodQuery.HEALTH)
    if reply.status is None:
        return _waiting(ctx, f"the sidecar's health ({reply.reason})")
    return (
        _conflicting_task(ctx) if reply.status == 503 else SaveRecord(ctx.record.intent_resolved(ctx.now, applied=True))
    )


def _conflicting_task(ctx: NodeContext) -> Action | None:
    """See in the sidecar's tasks, and in the cluster's, that nobody wants the node not to be ready."""
    if (ask := ctx.query(PodQuery.TASKS)) is not None:
        return ask
    reply = ctx.reply(PodQuery.TASKS)
    listed = observation.tasks(reply) if reply.status == 200 else None
    if listed is None:
        return _waiting(ctx, f"the sidecar's tasks ({reply.reason or f'status {reply.status}'})")
    name = ctx.record.name
    work = [
        *preflight.open_work(ctx.observed.related.tasks, name),
        *preflight.open_work(ctx.observed.related.workflows, name),
    ]
    against = preflight.conflicting_task(listed) or (f"{work[0]} is at work on it" if work else "")
    return ctx.pause(f"it is not marked ready: {against}") if against else None


def _mark_ready_intent(ctx: NodeContext, pod: Object) -> Action | None:
    if (action := _conflicting_task(ctx)) is not None:
        return action
    task = task_id(ctx.record, pod, ctx.marker)
    return ctx.intend(Intent(IntentKind.MARK_READY, task=task, pod=ctx.observed.pod_uid, name=pod["metadata"]["name"]))


def task_id(record: Record, pod: Object, marker: str = "") -> str:
    """Make the id of a mark-ready task from the pod, its sidecar's container and the attempt.

    A completed id is a silent no-op, also after a restart (upstream facts), so each start needs another.
    """
    return str(uuid.uuid5(_TASKS, f"{marker}{restart_fingerprint(pod)} {record.mark_ready_attempts}"))


def restart_fingerprint(pod: Object) -> str:
    """Name the pod and the starts of its init containers, the sidecars among them: each start loses the readiness."""
    statuses = pod.get("status", {}).get("initContainerStatuses", [])
    containers = ",".join(f"{s['name']}={s.get('containerID', '')}/{s.get('restartCount', 0)}" for s in statuses)
    return f"{pod['metadata']['uid']} {containers}"


def is_running(pod: Object, container: str) -> bool:
    """Tell whether a container of a pod runs now."""
    status = pod.get("status", {})
    statuses = (*status.get("initContainerStatuses", []), *status.get("containerStatuses", []))
    return any(s["name"] == container and "running" in s.get("state", {}) for s in statuses)


def wait(ctx: NodeContext) -> Action | None:
    """Wait until the pod is Ready; the height is asked, since a node that catches up makes progress.

    Not where the sidecar says that it is unwell: no height that grows will make that pod Ready.
    """
    if observation.is_ready(ctx.observed.pod):
        return None
    seid_runs = ctx.observed.pod is not None and is_running(ctx.observed.pod, ctx.plan.parameters.containers.seid)
    health = ctx.observed.reply(PodQuery.HEALTH)
    unwell = health is not None and health.status not in (None, 200)
    if seid_runs and not unwell and (ask := ctx.query(PodQuery.HEIGHT)) is not None:
        return ask
    return _waiting(ctx, "the pod to be Ready")


def _waiting(ctx: NodeContext, what: str) -> Action:
    """Wait for a pod: told apart are starting, stuck and out of time."""
    moved = max(ctx.record.since, ctx.observed.progressed_at)
    trouble = _mark_ready_ignored(ctx) or (observation.startup_error(ctx.observed.pod) if ctx.observed.pod else "")
    if trouble and ctx.deadline_passed(ctx.plan.deadlines.stuck, moved):
        return ctx.fail(f"the pod is stuck: {trouble}")
    if ctx.deadline_passed(ctx.plan.deadlines.ready.for_mode(ctx.mode), moved):
        return ctx.fail(
            f"the pod made no progress for {ctx.plan.deadlines.ready.for_mode(ctx.mode):.0f} s; waited for {what}"
        )
    return Wait(what + (f" ({trouble})" if trouble else ""), RECHECK_INTERVAL)


def _mark_ready_ignored(ctx: NodeContext) -> str:
    """Say that a sidecar does not take being marked ready: other containers' trouble only follows from that."""
    health = ctx.observed.reply(PodQuery.HEALTH)
    if ctx.record.mark_ready_attempts < MAX_MARK_READY_ATTEMPTS or health is None or health.status != 503:
        return ""
    return (
        f"its sidecar still answers 503 for health, though it was marked ready {ctx.record.mark_ready_attempts} times"
    )


def wait_or_pause(ctx: NodeContext, what: str) -> Action:
    """Wait for what takes no time but the API server's; a person looks if it does not come."""
    if ctx.deadline_passed(ctx.plan.deadlines.response):
        return ctx.pause(f"waited {ctx.plan.deadlines.response:.0f} s for {what}")
    return Wait(what, ctx.plan.deadlines.response)
