"""The way back: the steps that a runbook binds to a stage, from every state, twice if need be, to a pod as before.

What others changed meanwhile stays. Where it is the very field that we changed, it is named and left alone, unless
``--force`` says that ours is to be put back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from seimigrate.domain import changes as changing
from seimigrate.domain import passing, paths, seen, transforms
from seimigrate.domain.actions import Action, Note, Wait
from seimigrate.domain.changes import Change, State
from seimigrate.domain.kinds import FREEZE_PATH, HOLD_PATH, Object
from seimigrate.domain.plan import StageName
from seimigrate.domain.record import Do, Intent, Outcome
from seimigrate.domain.releasing import lift, release, stay, unfreeze
from seimigrate.domain.rollout import Situation, goes_back, mark_ready, replace_pod, wait
from seimigrate.domain.seen import Question
from seimigrate.domain.steps import PASSED, Step, StepName


def way_back(at: Situation) -> Action:
    """Give the next action on the way back: that of the first step which is not behind us."""
    record = at.record
    if record.lifting:
        return lift(at)
    way = record.ways.of(record.stage) if record.ways is not None else None
    if way is None:
        return at.pause(f"its journal binds no way back to stage {record.stage}; seimigrate rollback does")
    if record.touched and (action := hold(at)) is not None:
        return action
    for number, step in enumerate(way.steps):
        if number not in record.passed and (action := _take(at, step, number)) is not None:
            return action
    if not record.touched:
        return unfreeze(at) or Note(record.ended(Outcome.HELD, "; ".join(record.blocked)))
    return unfreeze(at) or stay(at, f"brought back to the end of stage {record.back_to or record.stage}")


def next_step(at: Situation) -> int | None:
    """Give the number of the first step of the way back that is not behind us, ``None`` where all are."""
    way = at.record.ways.of(at.record.stage) if at.record.ways is not None else None
    numbered = enumerate(way.steps if way is not None else ())
    return next((n for n, step in numbered if n not in at.record.passed and _take(at, step, n) is not None), None)


def _take(at: Situation, step: Step, number: int) -> Action | None:
    """Take a step, ``None`` if there is nothing left of it; of a node that was not touched only the hold comes off."""
    if not at.record.touched and step.do is not StepName.RELEASE:
        return None
    if step.do in PASSED:
        return passing.take(at, step, number)
    action = _STEPS[step.do](at)
    if isinstance(action, Note) and action.record.outcome is Outcome.FAILED:
        return passing.otherwise(at, step, number, action.record.reason)
    return action


def hold(at: Situation) -> Action | None:
    """Hold what is not held; ``None`` if both objects are."""
    for kind, obj in ((transforms.STATEFUL_SET, at.statefulset), (transforms.SERVICE, at.seen.service)):
        if obj is not None and seen.hold_of(obj) is None:
            label = Change(StageName.HOLD, kind, HOLD_PATH, None, at.record.run)
            return at.intend(Intent(Do.PATCH, kind=kind, changes=(label,)))
    return None


def freeze(at: Situation) -> tuple[Change, ...]:
    """Give the change that freezes the node, none if it is frozen or not held: a node that moves is frozen first."""
    if not at.record.holds or seen.frozen(at.statefulset):
        return ()
    return (Change(StageName.HOLD, transforms.STATEFUL_SET, FREEZE_PATH, None, "moving"),)


def unpatch(at: Situation) -> Action | None:
    """Put every field back that we changed, exactly as it was: the template first, in one write."""
    due = [change for change in at.record.changes if goes_back(at.record, change)]
    settled = [change for change in due if change.state(_object(at, change)) is State.BEFORE]
    if settled:
        left = tuple(change for change in at.record.changes if change not in settled)
        return Note(replace(at.record, changes=left))
    for kind in (transforms.STATEFUL_SET, transforms.SERVICE):
        mine = [change for change in reversed(due) if change.kind == kind]
        if (action := _put_back(at, kind, mine)) is not None:
            return action
    return None


def _object(at: Situation, change: Change) -> Object:
    return at.statefulset if change.kind == transforms.STATEFUL_SET else (at.seen.service or {})


def _put_back(at: Situation, kind: str, due: list[Change]) -> Action | None:
    foreign = [change for change in due if change.state(_object(at, change)) is State.OTHER]
    notes = [f"left alone, since somebody else changed it: {change.kind} {change.path}" for change in foreign]
    if foreign and not at.record.force and not set(notes) <= set(at.record.notes):
        return Note(at.record.noted(*notes))
    changes = tuple(_inverse(at, change) for change in due if at.record.force or change not in foreign)
    if not changes:
        return None
    if kind == transforms.SERVICE:
        return at.intend(Intent(Do.PATCH, kind=kind, changes=changes))
    try:
        obstacles = transforms.obstacles(changing.apply(at.statefulset, changes), at.plan.parameters)
    except changing.ConflictingChange as error:
        return at.fail(f"cannot put back {error}")
    if obstacles:
        hint = "; rollback --force puts our fields back over what somebody else changed" if foreign else ""
        return at.fail(f"what is put back could not start: {'; '.join(obstacles)}{hint}")
    return at.unproven() or at.intend(Intent(Do.PATCH, kind=kind, changes=(*freeze(at), *changes)))


def _inverse(at: Situation, change: Change) -> Change:
    obj = _object(at, change)
    if change.state(obj) is not State.OTHER:
        return change.inverse
    try:
        now = paths.read(obj, change.path)
    except LookupError:
        return change.inverse
    return replace(change, before=now, after=change.before)


def replace_or_let_scale(at: Situation) -> Action | None:
    """Replace the pod; where a pause has scaled the node to zero, only its controller makes a pod again.

    The freeze lets it scale down, not up. With the old template back it agrees, and the hold lets it.
    """
    scaled_down = at.statefulset["spec"].get("replicas", 1) == 0
    return (unfreeze(at) if scaled_down else None) or replace_pod(at)


def verify(at: Situation) -> Action | None:
    """See the pod answer for health as it did before."""
    if (ask := at.ask(Question.HEALTH)) is not None:
        return ask
    answer = at.answer(Question.HEALTH)
    if answer.status == 200:
        return None
    told = answer.reason or f"status {answer.status}"
    if not at.late(at.plan.deadlines.gate, max(at.record.since, at.seen.progress)):
        return Wait(f"the sidecar to answer for health ({told})", at.pace)
    if answer.status is not None:
        return at.fail(f"the pod is Ready, but its sidecar answers {told} for health")
    note = f"the sidecar could not be asked for its health ({told}); the pod is Ready"
    return None if note in at.record.notes else Note(at.record.noted(note))


def _release(at: Situation) -> Action | None:
    if at.record.back_to is not None:
        return None
    if not at.record.touched:
        # Nothing was written but labels: the hold comes off as it came on, without asking the controller anything.
        return Note(replace(at.record, lifting=True))
    if left := [change for change in at.record.changes if change.state(_object(at, change)) is State.AFTER]:
        return at.fail(f"{left[0].kind} {left[0].path} is still as the cutover left it: unpatch comes before release")
    if wanted := passing.wants_split_image(at):
        reason = f"spec.sidecar.image is {wanted}, which splits: revert it, then roll back again"
        return unfreeze(at) or stay(at, reason)
    return release(at)


_STEPS: dict[StepName, Callable[[Situation], Action | None]] = {
    StepName.UNPATCH: unpatch,
    StepName.REPLACE_POD: replace_or_let_scale,
    StepName.MARK_READY: mark_ready,
    StepName.WAIT: wait,
    StepName.VERIFY: verify,
    StepName.RELEASE: _release,
}
