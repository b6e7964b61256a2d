"""Rollback: the steps of the stage's runbook, from any state, until the pod runs the old template; idempotent.

External changes to other fields are kept. A field of the cutover that another client changed is reported and not
reverted, except with ``--overwrite``.
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
    """Return the next action of a rollback: that of the first step that is not complete."""
    record = ctx.record
    if record.removing_hold:
        return remove_hold(ctx)
    runbook = record.rollback_runbooks.for_stage(record.stage) if record.rollback_runbooks is not None else None
    if runbook is None:
        return ctx.pause(f"the journal has no rollback runbook for stage {record.stage}; run `seimigrate rollback`")
    if record.modified and (action := ensure_held(ctx)) is not None:
        return action
    for number, step in enumerate(runbook.steps):
        if number not in record.completed_steps and (action := _run_step(ctx, step, number)) is not None:
            return action
    if not record.modified:
        return unfreeze(ctx) or SaveRecord(record.finished(Outcome.HELD, "; ".join(record.blocked)))
    return unfreeze(ctx) or stay_held(ctx, f"rolled back to the end of stage {record.rollback_to or record.stage}")


def next_step(ctx: NodeContext) -> int | None:
    """Return the index of the first rollback step that is not complete, ``None`` if all are."""
    runbook = (
        ctx.record.rollback_runbooks.for_stage(ctx.record.stage) if ctx.record.rollback_runbooks is not None else None
    )
    indexed = enumerate(runbook.steps if runbook is not None else ())
    return next(
        (n for n, step in indexed if n not in ctx.record.completed_steps and _run_step(ctx, step, n) is not None), None
    )


def _run_step(ctx: NodeContext, step: RollbackStep, number: int) -> Action | None:
    """Return the action of a step, ``None`` if it is complete; an unmodified node is only released."""
    if not ctx.record.modified and step.action is not StepName.RELEASE:
        return None
    if step.action in ONE_TIME_STEPS:
        return one_time_steps.run_step(ctx, step, number)
    action = _STEPS[step.action](ctx)
    if isinstance(action, SaveRecord) and action.record.outcome is Outcome.FAILED:
        return one_time_steps.on_step_failure(ctx, step, number, action.record.reason)
    return action


def ensure_held(ctx: NodeContext) -> Action | None:
    """Place the hold on objects without it; return ``None`` if both are held."""
    for kind, obj in ((transforms.STATEFUL_SET, ctx.statefulset), (transforms.SERVICE, ctx.observed.service)):
        if obj is not None and observation.hold_of(obj) is None:
            label = Change(StageName.HOLD, kind, HOLD_PATH, None, ctx.record.run)
            return ctx.intend(Intent(IntentKind.PATCH, object_kind=kind, changes=(label,)))
    return None


def freeze_change(ctx: NodeContext) -> tuple[Change, ...]:
    """Return the change that freezes the node before a template change; empty if it is frozen or not held."""
    if not ctx.record.holds or observation.is_frozen(ctx.statefulset):
        return ()
    return (Change(StageName.HOLD, transforms.STATEFUL_SET, FREEZE_PATH, None, "moving"),)


def revert_changes(ctx: NodeContext) -> Action | None:
    """Revert every changed field to its exact former value: the template first, in one write."""
    due = [change for change in ctx.record.changes if must_revert(ctx.record, change)]
    reverted = [change for change in due if change.state(_object(ctx, change)) is State.BEFORE]
    if reverted:
        remaining = tuple(change for change in ctx.record.changes if change not in reverted)
        return SaveRecord(replace(ctx.record, changes=remaining))
    for kind in (transforms.STATEFUL_SET, transforms.SERVICE):
        newest_first = [change for change in reversed(due) if change.kind == kind]
        if (action := _revert(ctx, kind, newest_first)) is not None:
            return action
    return None


def _object(ctx: NodeContext, change: Change) -> Object:
    return ctx.statefulset if change.kind == transforms.STATEFUL_SET else (ctx.observed.service or {})


def _revert(ctx: NodeContext, kind: str, due: list[Change]) -> Action | None:
    external = [change for change in due if change.state(_object(ctx, change)) is State.OTHER]
    notes = [f"not reverted (modified by another client): {change.kind} {change.path}" for change in external]
    if external and not ctx.record.overwrite and not set(notes) <= set(ctx.record.notes):
        return SaveRecord(ctx.record.with_notes(*notes))
    changes = tuple(_inverse(ctx, change) for change in due if ctx.record.overwrite or change not in external)
    if not changes:
        return None
    if kind == transforms.SERVICE:
        return ctx.intend(Intent(IntentKind.PATCH, object_kind=kind, changes=changes))
    try:
        obstacles = transforms.start_blockers(changing.apply(ctx.statefulset, changes), ctx.plan.parameters)
    except changing.ConflictingChange as error:
        return ctx.fail(f"cannot revert {error}")
    if obstacles:
        hint = "; `rollback --overwrite` also reverts fields changed by other clients" if external else ""
        return ctx.fail(f"a pod of the restored template would not become Ready: {'; '.join(obstacles)}{hint}")
    return ctx.require_hold_verified() or ctx.intend(
        Intent(IntentKind.PATCH, object_kind=kind, changes=(*freeze_change(ctx), *changes))
    )


def _inverse(ctx: NodeContext, change: Change) -> Change:
    obj = _object(ctx, change)
    if change.state(obj) is not State.OTHER:
        return change.inverse
    try:
        current = field_paths.read(obj, change.path)
    except LookupError:
        return change.inverse
    return replace(change, before=current, after=change.before)


def replace_pod_or_scale_up(ctx: NodeContext) -> Action | None:
    """Replace the pod; if ``spec.paused`` scaled the node to zero, unfreeze it first.

    The freeze admits scaling down only. With the old template restored, the hold admits that the controller scales up.
    """
    scaled_down = ctx.statefulset["spec"].get("replicas", 1) == 0
    return (unfreeze(ctx) if scaled_down else None) or replace_pod(ctx)


def verify(ctx: NodeContext) -> Action | None:
    """Verify that the sidecar's health check returns 200."""
    if (ask := ctx.query(PodQuery.HEALTH)) is not None:
        return ask
    reply = ctx.reply(PodQuery.HEALTH)
    if reply.status == 200:
        return None
    result = reply.reason or f"status {reply.status}"
    if not ctx.deadline_passed(ctx.plan.deadlines.response, max(ctx.record.since, ctx.observed.progressed_at)):
        return Wait(f"sidecar health check has not passed ({result})", ctx.interval)
    if reply.status is not None:
        return ctx.fail(f"the pod is Ready, but sidecar health returned {result}, expected 200")
    note = f"sidecar health is unavailable ({result}); the pod is Ready"
    return None if note in ctx.record.notes else SaveRecord(ctx.record.with_notes(note))


def _release(ctx: NodeContext) -> Action | None:
    if ctx.record.rollback_to is not None:
        return None
    if not ctx.record.modified:
        # Only labels were written, so the hold is removed without an agreement probe.
        return SaveRecord(replace(ctx.record, removing_hold=True))
    if remaining := [change for change in ctx.record.changes if change.state(_object(ctx, change)) is State.AFTER]:
        return ctx.fail(f"{remaining[0].kind} {remaining[0].path} is not reverted; step revert must run before release")
    if wanted := one_time_steps.wants_split_image(ctx):
        reason = f"spec.sidecar.image is {wanted}, a split image; revert it, then rerun `seimigrate rollback`"
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
