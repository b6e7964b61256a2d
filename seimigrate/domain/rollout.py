"""The steps that bring a node's pod to the present template and to Ready. Both ways use the same ones.

Each step gives the next action, or ``None`` when there is nothing left for it to do.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, replace

from seimigrate.domain import checks, seen, transforms
from seimigrate.domain.actions import Action, Ask, Judge, Note, ProveHold, Wait
from seimigrate.domain.changes import Change, State
from seimigrate.domain.kinds import Object
from seimigrate.domain.plan import Mode, Plan, StageName
from seimigrate.domain.record import Direction, Do, Intent, Outcome, Record
from seimigrate.domain.seen import Answer, Judgement, Question, Seen

RECHECK = 3.0
"""Seconds before an eviction is tried again, and the most before a pod is asked again."""
SOON = 0.1
"""Seconds before a pod is asked again at first, after something was done to it."""
WELCOME = (200, 401)
"""What a pod answers whose rollout is over: to who may, and to who may not."""
PROOF_LASTS = 30.0
"""Seconds for which a seen denial counts as the proof of a hold."""
PATIENCE = 90.0
"""Seconds for which a node that is held, but not frozen, is left to its controller to be marked ready."""
SETTLES = 15.0
"""Seconds that a sidecar is given to answer 200 after it was marked ready, before it is marked again."""
MARKS = 3
"""How often a sidecar is marked ready; one that does not take it then is stuck, and its pod's deadline passes."""
_TASKS = uuid.UUID("6f1c5c59-2f0e-5d3b-9a56-8b0d5f0f7a3e")


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision is made from; ``marker`` tells apart who marks ready, where that is not the record's run."""

    record: Record
    seen: Seen
    plan: Plan
    now: float
    marker: str = ""

    @property
    def statefulset(self) -> Object:
        """Give the StatefulSet, which is there: the machine has looked."""
        assert self.seen.statefulset is not None
        return self.seen.statefulset

    @property
    def mode(self) -> Mode:
        """Give the node's mode; an unknown one gets a full node's deadlines on its way back."""
        return (seen.mode_of(self.seen.seinode) if self.seen.seinode else None) or Mode.FULL_NODE

    def late(self, seconds: float, since: float | None = None) -> bool:
        """Tell whether a deadline has passed, counted from the step's beginning if from nothing else."""
        return self.now - (self.record.since if since is None else since) >= seconds

    def fail(self, reason: str) -> Action:
        """Give up: forward turns back if the plan says so; a way back that fails is left to a person."""
        if self.record.direction is Direction.BACK:
            return Note(replace(self.record, intent=None).ended(Outcome.FAILED, reason))
        if self.plan.failure.node == "pause":
            return self.pause(reason)
        return Note(self.record.turning_back(reason, self.now))

    def pause(self, reason: str) -> Action:
        """Stop here, as it is: a person decides."""
        return Note(self.record.ended(Outcome.PAUSED, reason))

    def block(self, *reasons: str) -> Action:
        """Let a node be that cannot be moved now; one that an earlier way has changed is not brought back for that."""
        if self.record.touched:
            return self.pause("; ".join(reasons))
        record = self.record.turning_back("; ".join(reasons), self.now)
        return Note(replace(record, failure=None, blocked=reasons))

    def denied(self, what: str) -> Action:
        """Give up what somebody's admission policy does not let us do: it was not done, and would not be next time."""
        record, reason = self.record, f"{what} was denied: {self.seen.denied}"
        if record.intent is not None and record.asked in record.intent.changes:
            record = replace(record, asked=None)  # the controller was never asked: its label as it is says nothing
        if record.direction is Direction.FORWARD and record.stage is StageName.HOLD:
            return self.block(f"denied: {reason}")
        if record.direction is Direction.FORWARD and record.stage is StageName.RELEASE:
            return Note(replace(record, intent=None).ended(Outcome.DONE_HELD, reason))
        return replace(self, record=record).fail(reason)

    def intend(self, intent: Intent) -> Action:
        """Journal a write that is about to happen."""
        return Note(self.record.intending(intent, self.now))

    def unproven(self) -> Action | None:
        """Ask for the proof of the hold, unless it is fresh or there is no hold."""
        proven = self.seen.hold.proven
        if not self.record.holds or (proven is not None and self.now - proven < PROOF_LASTS):
            return None
        return self.denied("a trial of the hold") if self.seen.denied else ProveHold()

    def ask(self, *questions: Question) -> Action | None:
        """Ask for the answers that are missing or old, ``None`` if all are there."""
        old = tuple(q for q in questions if not self._fresh(q))
        return Ask(old) if old else None

    @property
    def pace(self) -> float:
        """Give the seconds before a pod is asked again: few after something was done, twice as many each time."""
        return min(RECHECK, max(SOON, (self.now - self.record.since) / 2))

    def judge(self) -> Action | None:
        """Ask for a judgement of who can reach the node, unless there is a fresh one."""
        found = self.seen.judgement
        fresh = found is not None and self.now - found.at < RECHECK and found.at >= self.record.since
        return None if fresh else Judge()

    @property
    def judgement(self) -> Judgement:
        """Give the judgement that ``judge`` has found to be there."""
        assert self.seen.judgement is not None
        return self.seen.judgement

    def _fresh(self, question: Question) -> bool:
        """Tell whether an answer still counts; one that is not as it should be is soon asked for again."""
        answer = self.seen.answer(question)
        if answer is None or answer.at < self.record.since:
            return False
        return self.now - answer.at < (RECHECK if answer.status in WELCOME else self.pace)

    def answer(self, question: Question) -> Answer:
        """Give an answer that ``ask`` has found to be there."""
        answer = self.seen.answer(question)
        assert answer is not None
        return answer


def rollout(at: Situation) -> Action | None:
    """Bring the pod to the present template and to Ready."""
    return replace_pod(at) or mark_ready(at) or wait(at)


def replace_pod(at: Situation) -> Action | None:
    """Replace a pod that was made of another template: a Ready one by eviction, one that is not by DELETE."""
    if not seen.rollout_observed(at.statefulset):
        return slow(at, "the StatefulSet controller to see the template")
    pod = at.seen.pod
    if pod is None:
        return _waiting(at, "a pod to be made")
    if seen.terminating(pod) or pod["metadata"]["uid"] in at.record.replaced:
        return _stopping(at)
    if seen.at_update_revision(pod, at.statefulset):
        return None
    if changed := disturbed(at):
        return at.fail(f"somebody else changed {', '.join(changed)}")
    return at.unproven() or at.intend(replacement(at, pod, evict=seen.pod_ready(pod)))


def disturbed(at: Situation) -> list[str]:
    """Name our fields of the template that are not as we left them: a pod made of it would not be the one meant.

    On the way back a field that somebody else changed is left alone, and no such field.
    """
    mine = (change for change in at.record.changes if change.kind == transforms.STATEFUL_SET)
    return [f"{c.kind} {c.path}" for c in mine if (c.state(at.statefulset) is State.AFTER) == goes_back(at.record, c)]


def goes_back(record: Record, change: Change) -> bool:
    """Tell whether a change of ours is to be taken back."""
    to = record.back_to
    return record.direction is Direction.BACK and (to is None or StageName(change.stage).position > to.position)


def replacement(at: Situation, pod: Object, *, evict: bool) -> Intent:
    """Give the intent to replace a pod, by eviction or by a plain delete; always with its grace."""
    grace = math.ceil(at.plan.grace.of(at.mode))
    return Intent(Do.REPLACE, pod=pod["metadata"]["uid"], name=pod["metadata"]["name"], grace=grace, evict=evict)


def refused(at: Situation) -> Action:
    """Wait for a disruption budget that refused the eviction; it must not trap a node on its way back for ever."""
    since, deadline = at.record.refused, at.plan.deadlines.eviction
    if since is None:
        return Note(replace(at.record, refused=at.now))
    if not at.late(deadline, since):
        return Wait("a disruption budget to allow the eviction", RECHECK)
    if at.record.direction is Direction.FORWARD:
        return at.fail(f"no disruption budget allowed an eviction for {deadline:.0f} s")
    assert at.seen.pod is not None
    return at.intend(replacement(at, at.seen.pod, evict=False))


def _stopping(at: Situation) -> Action:
    grace = at.plan.grace.of(at.mode) + at.plan.deadlines.gate
    if at.late(grace, max(at.record.since, at.seen.progress)):
        return at.pause("its pod is stuck in Terminating: a person decides, since two of the same must never run")
    return Wait("the old pod to stop", grace)


def mark_ready(at: Situation) -> Action | None:
    """Mark a node ready whose sidecar asks for it, while the controller cannot, and never against an intent."""
    pod = at.seen.pod
    if pod is None or seen.pod_ready(pod) or not at.record.was_ready:
        return None
    if not runs(pod, at.plan.parameters.containers.sidecar):
        return None
    if not seen.frozen(at.statefulset) and not at.late(PATIENCE):
        return None
    if (ask := at.ask(Question.HEALTH)) is not None:
        return ask
    if at.answer(Question.HEALTH).status != 503:
        return None
    marked = at.record.marked
    if marked is not None and (at.record.attempts >= MARKS or not at.late(SETTLES, marked)):
        return None
    return _mark(at, pod)


def still_asks(at: Situation) -> Action | None:
    """Look again before a mark-ready that was intended earlier: it may be done, or against somebody's intent by now."""
    if (ask := at.ask(Question.HEALTH)) is not None:
        return ask
    answer = at.answer(Question.HEALTH)
    if answer.status is None:
        return _waiting(at, f"the sidecar's health ({answer.reason})")
    return _intent_against(at) if answer.status == 503 else Note(at.record.settled(at.now, done=True))


def _intent_against(at: Situation) -> Action | None:
    """See in the sidecar's tasks, and in the cluster's, that nobody wants the node not to be ready."""
    if (ask := at.ask(Question.TASKS)) is not None:
        return ask
    answer = at.answer(Question.TASKS)
    listed = seen.tasks(answer) if answer.status == 200 else None
    if listed is None:
        return _waiting(at, f"the sidecar's tasks ({answer.reason or f'status {answer.status}'})")
    name = at.record.name
    work = [*checks.open_work(at.seen.around.tasks, name), *checks.open_work(at.seen.around.workflows, name)]
    against = checks.intent_against(listed) or (f"{work[0]} is at work on it" if work else "")
    return at.pause(f"it is not marked ready: {against}") if against else None


def _mark(at: Situation, pod: Object) -> Action | None:
    if (action := _intent_against(at)) is not None:
        return action
    task = task_id(at.record, pod, at.marker)
    return at.intend(Intent(Do.MARK_READY, task=task, pod=at.seen.pod_uid, name=pod["metadata"]["name"]))


def task_id(record: Record, pod: Object, marker: str = "") -> str:
    """Make the id of a mark-ready task from the pod, its sidecar's container and the attempt.

    A completed id is a silent no-op, also after a restart (upstream facts), so each start needs another.
    """
    return str(uuid.uuid5(_TASKS, f"{marker}{starts(pod)} {record.attempts}"))


def starts(pod: Object) -> str:
    """Name the pod and the starts of its init containers, the sidecars among them: each start loses the readiness."""
    statuses = pod.get("status", {}).get("initContainerStatuses", [])
    containers = ",".join(f"{s['name']}={s.get('containerID', '')}/{s.get('restartCount', 0)}" for s in statuses)
    return f"{pod['metadata']['uid']} {containers}"


def runs(pod: Object, container: str) -> bool:
    """Tell whether a container of a pod runs now."""
    status = pod.get("status", {})
    statuses = (*status.get("initContainerStatuses", []), *status.get("containerStatuses", []))
    return any(s["name"] == container and "running" in s.get("state", {}) for s in statuses)


def wait(at: Situation) -> Action | None:
    """Wait until the pod is Ready; the height is asked, since a node that catches up makes progress.

    Not where the sidecar says that it is unwell: no height that grows will make that pod Ready.
    """
    if seen.pod_ready(at.seen.pod):
        return None
    seid_runs = at.seen.pod is not None and runs(at.seen.pod, at.plan.parameters.containers.seid)
    health = at.seen.answer(Question.HEALTH)
    unwell = health is not None and health.status not in (None, 200)
    if seid_runs and not unwell and (ask := at.ask(Question.HEIGHT)) is not None:
        return ask
    return _waiting(at, "the pod to be Ready")


def _waiting(at: Situation, what: str) -> Action:
    """Wait for a pod: told apart are starting, stuck and out of time."""
    moved = max(at.record.since, at.seen.progress)
    trouble = _unheeded(at) or (seen.trouble(at.seen.pod) if at.seen.pod else "")
    if trouble and at.late(at.plan.deadlines.stuck, moved):
        return at.fail(f"the pod is stuck: {trouble}")
    if at.late(at.plan.deadlines.ready.of(at.mode), moved):
        return at.fail(f"the pod made no progress for {at.plan.deadlines.ready.of(at.mode):.0f} s; waited for {what}")
    return Wait(what + (f" ({trouble})" if trouble else ""), RECHECK)


def _unheeded(at: Situation) -> str:
    """Say that a sidecar does not take being marked ready: other containers' trouble only follows from that."""
    health = at.seen.answer(Question.HEALTH)
    if at.record.attempts < MARKS or health is None or health.status != 503:
        return ""
    return f"its sidecar still answers 503 for health, though it was marked ready {at.record.attempts} times"


def slow(at: Situation, what: str) -> Action:
    """Wait for what takes no time but the API server's; a person looks if it does not come."""
    if at.late(at.plan.deadlines.gate):
        return at.pause(f"waited {at.plan.deadlines.gate:.0f} s for {what}")
    return Wait(what, at.plan.deadlines.gate)
