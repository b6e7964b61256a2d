"""The way back: the steps that a runbook binds to a stage, from every state, twice if need be, to a pod as before.

What others changed meanwhile stays. Where it is the very field that we changed, it is named and left alone, unless
``--overwrite`` says that ours is to be put back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from seimigrate.domain.kube import changes as changing
from seimigrate.domain.kube import field_paths
from seimigrate.domain.kube.changes import Change, State
from seimigrate.domain.kube.kinds import FREEZE_PATH, HOLD_PATH, Object
from seimigrate.domain.node import observation, one_time_steps, transforms
from seimigrate.domain.node.actions import Action, SaveRecord, Wait
from seimigrate.domain.node.observation import PodQuery
from seimigrate.domain.node.record import Intent, IntentKind, Outcome
from seimigrate.domain.node.release import release, remove_hold, stay_held, unfreeze
from seimigrate.domain.node.rollout import NodeContext, mark_ready, must_revert, replace_pod, wait
from seimigrate.domain.plan.plan import StageName
from seimigrate.domain.plan.rollback_steps import ONE_TIME_STEPS, RollbackStep, StepName


def rollback_action(ctx: NodeContext) -> Action:
    """Give the next action on the way back: that of the first step which is not behind us."""
    record = ctx.record
    if record.removing_hold:
        return remove_hold(ctx)
    runbook = record.rollback_runbooks.for_stage(record.stage) if record.rollback_runbooks is not None else None
    if runbook is None:
        return ctx.pause(f"its journal binds no way back to stage {record.stage}; seimigrate rollback does")
    if record.modified and (action := ensure_held(ctx)) is not None:
        return action
    for number, step in enumerate(runbook.steps):
        if number not in record.completed_steps and (action := _run_step(ctx, step, number)) is not None:
            return action
    if not record.modified:
        return unfreeze(ctx) or SaveRecord(record.finished(Outcome.HELD, "; ".join(record.blocked)))
    return unfreeze(ctx) or stay_held(ctx, f"brought back to the end of stage {record.rollback_to or record.stage}")


def next_step(ctx: NodeContext) -> int | None:
    """Give the number of the first step of the way back that is not behind us, ``None`` where all are."""
    runbook = (
        ctx.record.rollback_runbooks.for_stage(ctx.record.stage) if ctx.record.rollback_runbooks is not None else None
    )
    numbered = enumerate(runbook.steps if runbook is not None else ())
    return next(
        (n for n, step in numbered if n not in ctx.record.completed_steps and _run_step(ctx, step, n) is not None), None
    )


def _run_step(ctx: NodeContext, step: RollbackStep, number: int) -> Action | None:
    """Take a step, ``None`` if there is nothing left of it; of a node that was not touched only the hold comes off."""
    if not ctx.record.modified and step.action is not StepName.RELEASE:
        return None
    if step.action in ONE_TIME_STEPS:
        return one_time_steps.run_step(ctx, step, number)
    action = _STEPS[step.action](ctx)
    if isinstance(action, SaveRecord) and action.record.outcome is Outcome.FAILED:
        return one_time_steps.on_step_failure(ctx, step, number, action.record.reason)
    return action


def ensure_held(ctx: NodeContext) -> Action | None:
    """Hold what is not held; ``None`` if both objects are."""
    for kind, obj in ((transforms.STATEFUL_SET, ctx.statefulset), (transforms.SERVICE, ctx.observed.service)):
        if obj is not None and observation.hold_of(obj) is None:
            label = Change(StageName.HOLD, kind, HOLD_PATH, None, ctx.record.run)
            return ctx.intend(Intent(IntentKind.PATCH, object_kind=kind, changes=(label,)))
    return None


def freeze_change(ctx: NodeContext) -> tuple[Change, ...]:
    """Give the change that freezes the node, none if it is frozen or not held: a node that moves is frozen first."""
    if not ctx.record.holds or observation.is_frozen(ctx.statefulset):
        return ()
    return (Change(StageName.HOLD, transforms.STATEFUL_SET, FREEZE_PATH, None, "moving"),)


def revert_changes(ctx: NodeContext) -> Action | None:
    """Put every field back that we changed, exactly as it was: the template first, in one write."""
    due = [change for change in ctx.record.changes if must_revert(ctx.record, change)]
    settled = [change for change in due if change.state(_object(ctx, change)) is State.BEFORE]
    if settled:
        left = tuple(change for change in ctx.record.changes if change not in settled)
        return SaveRecord(replace(ctx.record, changes=left))
    for kind in (transforms.STATEFUL_SET, transforms.SERVICE):
        mine = [change for change in reversed(due) if change.kind == kind]
        if (action := _revert(ctx, kind, mine)) is not None:
            return action
    return None


def _object(ctx: NodeContext, change: Change) -> Object:
    return ctx.statefulset if change.kind == transforms.STATEFUL_SET else (ctx.observed.service or {})


def _revert(ctx: NodeContext, kind: str, due: list[Change]) -> Action | None:
    foreign = [change for change in due if change.state(_object(ctx, change)) is State.OTHER]
    notes = [f"left alone, since somebody else changed it: {change.kind} {change.path}" for change in foreign]
    if foreign and not ctx.record.overwrite and not set(notes) <= set(ctx.record.notes):
        return SaveRecord(ctx.record.with_notes(*notes))
    changes = tuple(_inverse(ctx, change) for change in due if ctx.record.overwrite or change not in foreign)
    if not changes:
        return None
    if kind == transforms.SERVICE:
        return ctx.intend(Intent(IntentKind.PATCH, object_kind=kind, changes=changes))
    try:
        obstacles = transforms.start_blockers(changing.apply(ctx.statefulset, changes), ctx.plan.parameters)
    except changing.ConflictingChange as error:
        return ctx.fail(f"cannot put back {error}")
    if obstacles:
        hint = "; rollback --overwrite puts our fields back over what somebody else changed" if foreign else ""
        return ctx.fail(f"what is put back could not start: {'; '.join(obstacles)}{hint}")
    return ctx.require_hold_verified() or ctx.intend(
        Intent(IntentKind.PATCH, object_kind=kind, changes=(*freeze_change(ctx), *changes))
    )


def _inverse(ctx: NodeContext, change: Change) -> Change:
    obj = _object(ctx, change)
    if change.state(obj) is not State.OTHER:
        return change.inverse
    try:
        now = field_paths.read(obj, change.path)
    except LookupError:
        return change.inverse
    return replace(change, before=now, after=change.before)


def replace_pod_or_scale_up(ctx: NodeContext) -> Action | None:
    """Replace the pod; where a pause has scaled the node to zero, only its controller makes a pod again.

    The freeze lets it scale down, not up. With the old template back it agrees, and the hold lets it.
    """
    scaled_down = ctx.statefulset["spec"].get("replicas", 1) == 0
    return (unfreeze(ctx) if scaled_down else None) or replace_pod(ctx)


def verify(ctx: NodeContext) -> Action | None:
    """See the pod answer for health as it did before."""
    if (ask := ctx.query(PodQuery.HEALTH)) is not None:
        return ask
    reply = ctx.reply(PodQuery.HEALTH)
    if reply.status == 200:
        return None
    told = reply.reason or f"status {reply.status}"
    if not ctx.deadline_passed(ctx.plan.deadlines.response, max(ctx.record.since, ctx.observed.progressed_at)):
        return Wait(f"the sidecar to answer for health ({told})", ctx.interval)
    if reply.status is not None:
        return ctx.fail(f"the pod is Ready, but its sidecar answers {told} for health")
    note = f"the sidecar could not be asked for its health ({told}); the pod is Ready"
    return None if note in ctx.record.notes else SaveRecord(ctx.record.with_notes(note))


def _release(ctx: NodeContext) -> Action | None:
    if ctx.record.rollback_to is not None:
        return None
    if not ctx.record.modified:
        # Nothing was written but labels: the hold comes off as it came on, without asking the controller anything.
        return SaveRecord(replace(ctx.record, removing_hold=True))
    if left := [change for change in ctx.record.changes if change.state(_object(ctx, change)) is State.AFTER]:
        return ctx.fail(f"{left[0].kind} {left[0].path} is still as the cutover left it: unpatch comes before release")
    if wanted := one_time_steps.wants_split_image(ctx):
        reason = f"spec.sidecar.image is {wanted}, which splits: revert it, then roll back again"
        return unfreeze(ctx) or stay_held(ctx, reason)
    return release(ctx)


_STEPS: dict[StepName, Callable[[NodeContext], Action | None]] = {
    StepName.REVERT: revert_changes,
    StepName.REPLACE_POD: replace_pod_or_scale_up,
    StepName.MARK_READY: mark_ready,
    StepName.WAIT: wait,
    StepName.VERIFY: verify,
    StepName.RELEASE: _release,
}
