"""The steps of a way back that change nothing: each is passed once, and the journal remembers it by its number."""

from __future__ import annotations

from dataclasses import replace

from seimigrate.domain.node import observation, preflight
from seimigrate.domain.node.actions import Action, SaveRecord
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.node.rollout import NodeContext
from seimigrate.domain.plan import images
from seimigrate.domain.plan.rollback_steps import OnFailure, Precondition, RollbackStep, StepName


def run_step(ctx: NodeContext, step: RollbackStep, number: int) -> Action:
    """Pass a step, or say in the record's outcome why not."""
    if step.action is StepName.NOTIFY:
        return mark_completed(ctx, number, step.text)
    if step.action is StepName.PAUSE:
        # Whoever runs again has read the reason: the step is behind them then.
        return SaveRecord(replace(_completed(ctx, number), outcome=Outcome.PAUSED, reason=step.text))
    if step.action is StepName.CONFIRM:
        return _confirm(ctx, step, number)
    problem = failed_precondition(ctx, Precondition(step.text))
    return on_step_failure(ctx, step, number, problem) if problem else mark_completed(ctx, number)


def mark_completed(ctx: NodeContext, number: int, *notes: str) -> Action:
    """Journal that a step is behind us."""
    return SaveRecord(_completed(ctx, number).with_notes(*notes))


def _completed(ctx: NodeContext, number: int) -> Record:
    return replace(ctx.record, completed_steps=(*ctx.record.completed_steps, number))


def on_step_failure(ctx: NodeContext, step: RollbackStep, number: int, reason: str) -> Action:
    """Do what the page says of a step that does not go as expected."""
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
        return mark_completed(ctx, number, f"nobody was there to ask, and the runbook says to go on then: {step.text}")
    return ctx.pause(f"a person has to confirm ({step.text}): seimigrate rollback asks, and goes on")


def failed_precondition(ctx: NodeContext, fact: Precondition) -> str:
    """Say how a fact is not as a check expects it; empty if it is."""
    if fact is Precondition.READY:
        return "" if observation.is_ready(ctx.observed.pod) else "its pod is not Ready"
    if fact is Precondition.OLD_IMAGE:
        wanted = wants_split_image(ctx)
        return f"spec.sidecar.image is {wanted}, which splits" if wanted else ""
    around = ctx.observed.related
    work = [
        *preflight.open_work(around.tasks, ctx.record.name),
        *preflight.open_work(around.workflows, ctx.record.name),
    ]
    return f"{work[0]} is at work on it" if work else ""


def wants_split_image(ctx: NodeContext) -> str:
    """Give the split sidecar image that the SeiNode itself asks for, ``""`` if it asks for none."""
    wanted: str = (ctx.observed.seinode or {}).get("spec", {}).get("sidecar", {}).get("image") or ""
    return wanted if wanted and images.accepted(wanted, ctx.plan.parameters.sidecars.supported) else ""
