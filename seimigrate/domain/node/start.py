"""The first record of a node, and how a run resumes the record of an earlier run."""

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


class PlanMismatch(Exception):  # noqa: N818 - the name states the condition
    """A node is in progress under another plan."""


def start(
    observed: NodeObservation, plan: Plan, spec: RunSpec, run: str, now: float, previous: Record | None = None
) -> Record:
    """Return the record of a node that starts; changes of an earlier run that are still in place are kept."""
    node, statefulset = _require_objects(observed)
    objects = {transforms.STATEFUL_SET: statefulset, transforms.SERVICE: observed.service or {}}
    recorded = previous.changes if previous else ()
    changes = tuple(change for change in recorded if change.state(objects[change.kind]) is State.AFTER)
    return Record(
        namespace=node["metadata"]["namespace"],
        name=node["metadata"]["name"],
        uid=node["metadata"]["uid"],
        statefulset_uid=statefulset["metadata"]["uid"],
        seid_image=node["spec"].get("image", ""),
        run=run,
        plan=plan.digest,
        # ``mixed`` is resolved per wave; a single node is its own canary.
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
    """Return the record if it belongs to this SeiNode, ``None`` if to a deleted one of the same name."""
    node = observed.seinode
    other_uid = record is not None and node is not None and record.uid != node["metadata"]["uid"]
    return None if other_uid else record


def resume(record: Record, observed: NodeObservation, plan: Plan, spec: RunSpec, run: str, now: float) -> Record:
    """Return the record with which this run resumes, in its recorded direction, or starts.

    Raises ``PlanMismatch`` if the node's cutover is in progress under another plan.
    """
    if record.unfinished:
        if record.plan != plan.digest and record.direction is Direction.FORWARD:
            raise PlanMismatch(record.key)
        return _taken_over(record, spec, run, now)
    complete = (
        record.outcome is Outcome.DONE_HELD
        and not preflight.pending_changes(observed, plan).changes
        and not _is_pod_outdated(observed)
    )
    if complete and spec.target_stage is StageName.RELEASE:
        adopted = _taken_over(record, spec, run, now)
        return replace(adopted, plan=plan.digest, stage=StageName.RELEASE, rollback_runbooks=spec.runbooks)
    return start(observed, plan, spec, run, now, previous=record)


def _is_pod_outdated(observed: NodeObservation) -> bool:
    """Return whether the template was changed after the pod was created."""
    template = observed.statefulset or {}
    current = observation.is_rollout_observed(template) and observation.is_at_update_revision(
        observed.pod or {}, template
    )
    return observed.pod is not None and not current


def _taken_over(record: Record, spec: RunSpec, run: str, now: float) -> Record:
    """Return the record owned by this run; a confirmation of the controller is kept unless the node finished."""
    finished = record.outcome is not None
    return replace(
        record.owned_by(run),
        accepted_findings=record.accepted_findings.union(spec.accepted_findings),
        overwrite=record.overwrite or spec.overwrite,
        rollback_runbooks=record.rollback_runbooks or spec.runbooks,
        outcome=None,
        reason="",
        disagreement="" if finished else record.disagreement,
        agreed_at=None if finished else record.agreed_at,
        marked_ready_at=None,  # a rerun may mark the sidecar ready again
        since=now,
    )


def start_rollback(
    record: Record, observed: NodeObservation, spec: RunSpec, run: str, to: StageName | None, now: float
) -> Record:
    """Return the record of a node that an operator rolls back, completely or to the end of a stage.

    The operator named the node, so its current image is accepted and the runbook's confirmations count as given. A
    rollback in progress continues with the steps in the journal.
    """
    node, statefulset = _require_objects(observed)
    continues = _continues_rollback(record, spec.runbooks) and record.rollback_to == to and not spec.completed_steps
    adopted = replace(_taken_over(record, spec, run, now), seid_image=node["spec"].get("image", ""), confirmed=True)
    if continues and record.outcome is None:
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
        rollback_runbooks=adopted.rollback_runbooks if continues else spec.runbooks,
        completed_steps=record.completed_steps if continues else spec.completed_steps,
    )


def _continues_rollback(record: Record, runbooks: RollbackRunbooks) -> bool:
    """Return whether a rollback is in progress and the operator chose no other runbook."""
    return (
        record.unfinished
        and record.direction is Direction.ROLLBACK
        and (runbooks == record.rollback_runbooks or not runbooks.explicit)
    )


def _stage_to_roll_back(record: Record) -> StageName:
    """Return the stage that a rollback starts from: for a finished node, the last stage."""
    return record.last_changed_stage if record.unfinished else StageName.RELEASE


def confirmation_prompts(record: Record | None, runbooks: RollbackRunbooks) -> tuple[str, ...]:
    """Return the confirmations that the runbook asks for a node that rolls back now, without those already given."""
    if record is None or not (record.modified or record.changes):
        return ()
    continues = _continues_rollback(record, runbooks)
    runbook = ((record.rollback_runbooks if continues else None) or runbooks).for_stage(_stage_to_roll_back(record))
    completed = record.completed_steps if continues else ()
    indexed = enumerate(runbook.steps if runbook is not None else ())
    return tuple(step.text for n, step in indexed if step.action is StepName.CONFIRM and n not in completed)


def _require_objects(observed: NodeObservation) -> tuple[Object, Object]:
    if observed.seinode is None or observed.statefulset is None:
        raise LookupError("the SeiNode or its StatefulSet does not exist")
    return observed.seinode, observed.statefulset
