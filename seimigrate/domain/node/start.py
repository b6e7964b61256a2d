"""How a node's record begins, and how a run goes on with one that an earlier run left."""

from __future__ import annotations

from dataclasses import replace

from seimigrate.domain.kube.changes import State
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import observation, preflight, transforms
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.record import Direction, Outcome, Record
from seimigrate.domain.node.run_spec import RunSpec
from seimigrate.domain.plan.plan import Plan, StageName, Strategy
from seimigrate.domain.plan.rollback_steps import RollbackRunbooks, StepName


class PlanMismatch(Exception):  # noqa: N818 - reads as what it says
    """A node is on its way by another plan than the one given."""


def start(
    observed: NodeObservation, plan: Plan, spec: RunSpec, run: str, now: float, previous: Record | None = None
) -> Record:
    """Give the record of a node that sets out; what an earlier way changed, and is still there, is not forgotten."""
    node, statefulset = _require_objects(observed)
    objects = {transforms.STATEFUL_SET: statefulset, transforms.SERVICE: observed.service or {}}
    known = previous.changes if previous else ()
    changes = tuple(change for change in known if change.state(objects[change.kind]) is State.AFTER)
    return Record(
        namespace=node["metadata"]["namespace"],
        name=node["metadata"]["name"],
        uid=node["metadata"]["uid"],
        statefulset_uid=statefulset["metadata"]["uid"],
        seid_image=node["spec"].get("image", ""),
        run=run,
        plan=plan.digest,
        # A node by itself is its own canary.
        strategy=Strategy.STAGED if spec.strategy is Strategy.MIXED else spec.strategy,
        since=now,
        target_stage=spec.target_stage,
        holds=spec.holds,
        held_before=observation.hold_of(statefulset) is not None,
        accepted_findings=spec.accepted_findings,
        overwrite=spec.overwrite,
        was_ready=previous is not None and previous.was_ready,
        changes=changes,
        modified=bool(changes),
        rollback_runbooks=spec.runbooks,
    )


def current_record(record: Record | None, observed: NodeObservation) -> Record | None:
    """Give the record if it is this SeiNode's; one of the same name that was deleted has left nothing that counts."""
    node = observed.seinode
    another = record is not None and node is not None and record.uid != node["metadata"]["uid"]
    return None if another else record


def resume(record: Record, observed: NodeObservation, plan: Plan, spec: RunSpec, run: str, now: float) -> Record:
    """Give the record with which a run carries on: forwards, unless it says failed, then back.

    Raises ``AnotherPlan`` for a node that is on its way forwards by another plan.
    """
    if record.unfinished:
        if record.plan != plan.digest and record.direction is Direction.FORWARD:
            raise PlanMismatch(record.key)
        return _taken_over(record, spec, run, now)
    complete = (
        record.outcome is Outcome.DONE_HELD
        and not preflight.pending_changes(observed, plan).changes
        and not _stale_reason(observed)
    )
    if complete and spec.target_stage is StageName.RELEASE:
        adopted = _taken_over(record, spec, run, now)
        return replace(adopted, plan=plan.digest, stage=StageName.RELEASE, rollback_runbooks=spec.runbooks)
    return start(observed, plan, spec, run, now, previous=record)


def _stale_reason(observed: NodeObservation) -> bool:
    """Tell whether somebody changed the template after the pod was made."""
    template = observed.statefulset or {}
    current = observation.is_rollout_observed(template) and observation.is_at_update_revision(
        observed.pod or {}, template
    )
    return observed.pod is not None and not current


def _taken_over(record: Record, spec: RunSpec, run: str, now: float) -> Record:
    """Make a record this run's own; what the controller said counts on after a crash, but not after an end."""
    ended = record.outcome is not None
    return replace(
        record.owned_by(run),
        accepted_findings=record.accepted_findings.union(spec.accepted_findings),
        overwrite=record.overwrite or spec.overwrite,
        rollback_runbooks=record.rollback_runbooks or spec.runbooks,
        outcome=None,
        reason="",
        disagreement="" if ended else record.disagreement,
        agreed_at=None if ended else record.agreed_at,
        marked_ready_at=None,  # whoever runs again has looked: the sidecar may be told once more
        since=now,
    )


def start_rollback(
    record: Record, observed: NodeObservation, spec: RunSpec, run: str, to: StageName | None, now: float
) -> Record:
    """Give the record of a node that a person brings back, to the end of a stage or all the way.

    Who asks for it by name has seen what is there, so the node's image of today is no surprise any more, and what the
    runbook asks a person is answered. A way back that is under way goes on by the steps that the journal holds.
    """
    node, statefulset = _require_objects(observed)
    goes_on = _continues_rollback(record, spec.runbooks) and record.rollback_to == to and not spec.completed_steps
    adopted = replace(_taken_over(record, spec, run, now), seid_image=node["spec"].get("image", ""), confirmed=True)
    if goes_on and record.outcome is None:
        return adopted
    return replace(
        adopted,
        statefulset_uid=statefulset["metadata"]["uid"],
        direction=Direction.ROLLBACK,
        rollback_to=to,
        failure=None,
        blocked=(),
        eviction_blocked_since=None,
        disagreement="",
        agreed_at=None,
        removing_hold=False,
        intent=record.undo_agreement_probe or (record.intent if record.unfinished else None),
        agreement_probe=None,
        stage=_stage_to_roll_back(record),
        rollback_runbooks=adopted.rollback_runbooks if goes_on else spec.runbooks,
        completed_steps=record.completed_steps if goes_on else spec.completed_steps,
    )


def _continues_rollback(record: Record, runbooks: RollbackRunbooks) -> bool:
    """Tell whether a way back is under way, and no other one was chosen by its page."""
    return (
        record.unfinished
        and record.direction is Direction.ROLLBACK
        and (runbooks == record.rollback_runbooks or not runbooks.explicit)
    )


def _stage_to_roll_back(record: Record) -> StageName:
    """Give the stage that a node goes back from; whose way ended goes back from the end of all stages."""
    return record.last_changed_stage if record.unfinished else StageName.RELEASE


def confirmation_prompts(record: Record | None, runbooks: RollbackRunbooks) -> tuple[str, ...]:
    """Give what the runbook will ask a person about a node that goes back now, without what was answered before."""
    if record is None or not (record.modified or record.changes):
        return ()
    goes_on = _continues_rollback(record, runbooks)
    runbook = ((record.rollback_runbooks if goes_on else None) or runbooks).for_stage(_stage_to_roll_back(record))
    passed = record.completed_steps if goes_on else ()
    numbered = enumerate(runbook.steps if runbook is not None else ())
    return tuple(step.text for n, step in numbered if step.action is StepName.CONFIRM and n not in passed)


def _require_objects(observed: NodeObservation) -> tuple[Object, Object]:
    if observed.seinode is None or observed.statefulset is None:
        raise LookupError("a node without its SeiNode or StatefulSet has no record")
    return observed.seinode, observed.statefulset
