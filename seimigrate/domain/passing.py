"""The steps of a way back that change nothing: each is passed once, and the journal remembers it by its number."""

from __future__ import annotations

from dataclasses import replace

from seimigrate.domain import checks, images, seen
from seimigrate.domain.actions import Action, Note
from seimigrate.domain.record import Outcome, Record
from seimigrate.domain.rollout import Situation
from seimigrate.domain.steps import Fact, Otherwise, Step, StepName


def take(at: Situation, step: Step, number: int) -> Action:
    """Pass a step, or say in the record's outcome why not."""
    if step.do is StepName.NOTIFY:
        return go_past(at, number, step.text)
    if step.do is StepName.PAUSE:
        # Whoever runs again has read the reason: the step is behind them then.
        return Note(replace(_past(at, number), outcome=Outcome.PAUSED, reason=step.text))
    if step.do is StepName.CONFIRM:
        return _confirm(at, step, number)
    problem = amiss(at, Fact(step.text))
    return otherwise(at, step, number, problem) if problem else go_past(at, number)


def go_past(at: Situation, number: int, *notes: str) -> Action:
    """Journal that a step is behind us."""
    return Note(_past(at, number).noted(*notes))


def _past(at: Situation, number: int) -> Record:
    return replace(at.record, passed=(*at.record.passed, number))


def otherwise(at: Situation, step: Step, number: int, reason: str) -> Action:
    """Do what the page says of a step that does not go as expected."""
    match step.otherwise:
        case Otherwise.GO_ON:
            return go_past(at, number, reason)
        case Otherwise.PAUSE:
            return Note(replace(at.record, intent=None).ended(Outcome.PAUSED, reason))
        case _:
            return at.fail(reason)


def _confirm(at: Situation, step: Step, number: int) -> Action:
    if at.record.confirmed:
        return go_past(at, number, f"confirmed: {step.text}")
    if step.unattended:
        return go_past(at, number, f"nobody was there to ask, and the runbook says to go on then: {step.text}")
    return at.pause(f"a person has to confirm ({step.text}): seimigrate rollback asks, and goes on")


def amiss(at: Situation, fact: Fact) -> str:
    """Say how a fact is not as a check expects it; empty if it is."""
    if fact is Fact.READY:
        return "" if seen.pod_ready(at.seen.pod) else "its pod is not Ready"
    if fact is Fact.OLD_IMAGE:
        wanted = wants_split_image(at)
        return f"spec.sidecar.image is {wanted}, which splits" if wanted else ""
    around = at.seen.around
    work = [*checks.open_work(around.tasks, at.record.name), *checks.open_work(around.workflows, at.record.name)]
    return f"{work[0]} is at work on it" if work else ""


def wants_split_image(at: Situation) -> str:
    """Give the split sidecar image that the SeiNode itself asks for, ``""`` if it asks for none."""
    wanted: str = (at.seen.seinode or {}).get("spec", {}).get("sidecar", {}).get("image") or ""
    return wanted if wanted and images.accepted(wanted, at.plan.parameters.sidecars.accepted) else ""
