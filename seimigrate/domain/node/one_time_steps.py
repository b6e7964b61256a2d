"""The rollback steps without an observable effect: each runs once, and the journal stores its index."""

from __future__ import annotations

from dataclasses import replace

from seimigrate.domain.node import observation, preflight
from seimigrate.domain.node.actions import Action, SaveRecord
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.node.rollout import NodeContext
from seimigrate.domain.plan import images
from seimigrate.domain.plan.rollback_steps import OnFailure, Precondition, RollbackStep, StepName


def run_step(ctx: NodeContext, step: RollbackStep, number: int) -> Action:
    """Run a step; if it does not complete, the record's outcome has the reason."""
    if step.action is StepName.NOTIFY:
        return mark_completed(ctx, number, step.text)
    if step.action is StepName.PAUSE:
        # The step counts as completed: an operator who reruns the command has read the reason.
        return SaveRecord(replace(_completed(ctx, number), outcome=Outcome.PAUSED, reason=step.text))
    if step.action is StepName.CONFIRM:
        return _confirm(ctx, step, number)
    problem = failed_precondition(ctx, Precondition(step.text))
    return on_step_failure(ctx, step, number, problem) if problem else mark_completed(ctx, number)


def mark_completed(ctx: NodeContext, number: int, *notes: str) -> Action:
    """Journal that a step is completed."""
    return SaveRecord(_completed(ctx, number).with_notes(*notes))


def _completed(ctx: NodeContext, number: int) -> Record:
    return replace(ctx.record, completed_steps=(*ctx.record.completed_steps, number))


def on_step_failure(ctx: NodeContext, step: RollbackStep, number: int, reason: str) -> Action:
    """Apply the runbook's ``on-failure`` to a step that failed."""
    match step.on_failure:
        case OnFailure.CONTINUE:
            return mark_completed(ctx, number, reason)
        case OnFailure.PAUSE:
            return SaveRecord(replace(ctx.record, intent=None).finished(Outcome.PAUSED, reason))
        case _:
            return ctx.fail(reason)


def _confirm(ctx: NodeContext, step: RollbackStep, number: int) -> Action:
    if ctx.record.confirmed:
        return mark_completed(ctx, number, f"confirmed: {step.text}")
    if step.unattended:
        return mark_completed(
            ctx, number, f"not confirmed (unattended run), continuing as the runbook allows: {step.text}"
        )
    return ctx.pause(f"confirmation required ({step.text}): run `seimigrate rollback`")


def failed_precondition(ctx: NodeContext, precondition: Precondition) -> str:
    """Return why a precondition of a step does not hold; empty if it holds."""
    if precondition is Precondition.READY:
        return "" if observation.is_ready(ctx.observed.pod) else "the pod is not Ready"
    if precondition is Precondition.OLD_IMAGE:
        wanted = wants_split_image(ctx)
        return f"spec.sidecar.image is {wanted}, a split image" if wanted else ""
    related = ctx.observed.related
    work = [
        *preflight.open_work(related.tasks, ctx.record.name),
        *preflight.open_work(related.workflows, ctx.record.name),
    ]
    return f"{work[0]} is running on the node" if work else ""


def wants_split_image(ctx: NodeContext) -> str:
    """Return the split sidecar image that the SeiNode's spec names, ``""`` if it names none."""
    wanted: str = (ctx.observed.seinode or {}).get("spec", {}).get("sidecar", {}).get("image") or ""
    return wanted if wanted and images.accepted(wanted, ctx.plan.parameters.sidecars.supported) else ""
