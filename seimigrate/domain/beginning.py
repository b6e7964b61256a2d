"""How a node's record begins, and how a run goes on with one that an earlier run left."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seimigrate.domain import checks, seen, transforms
from seimigrate.domain.changes import State
from seimigrate.domain.finding import Acceptance
from seimigrate.domain.kinds import Object
from seimigrate.domain.plan import Plan, StageName, Strategy
from seimigrate.domain.record import Direction, Outcome, Record
from seimigrate.domain.seen import Seen
from seimigrate.domain.steps import StepName, Ways


@dataclass(frozen=True, slots=True)
class Options:
    """What the person at the command line decided for this run.

    ``ways`` are the ways back that the runbooks bind, or the one that was chosen by its page; ``passed`` are the
    numbers of its steps that were left out.
    """

    run: str
    strategy: Strategy
    ways: Ways
    goal: StageName = StageName.RELEASE
    holds: bool = True
    accepted: Acceptance = Acceptance.NOTHING
    force: bool = False
    passed: tuple[int, ...] = ()


class AnotherPlan(Exception):  # noqa: N818 - reads as what it says
    """A node is on its way by another plan than the one given."""


def begin(view: Seen, plan: Plan, options: Options, now: float, left: Record | None = None) -> Record:
    """Give the record of a node that sets out; what an earlier way changed, and is still there, is not forgotten."""
    node, statefulset = _both(view)
    objects = {transforms.STATEFUL_SET: statefulset, transforms.SERVICE: view.service or {}}
    known = left.changes if left else ()
    changes = tuple(change for change in known if change.state(objects[change.kind]) is State.AFTER)
    return Record(
        namespace=node["metadata"]["namespace"],
        name=node["metadata"]["name"],
        uid=node["metadata"]["uid"],
        statefulset_uid=statefulset["metadata"]["uid"],
        image=node["spec"].get("image", ""),
        run=options.run,
        plan=plan.digest,
        # A node by itself is its own canary.
        strategy=Strategy.STAGED if options.strategy is Strategy.MIXED else options.strategy,
        since=now,
        goal=options.goal,
        holds=options.holds,
        held_before=seen.hold_of(statefulset) is not None,
        accepted=options.accepted,
        force=options.force,
        was_ready=left is not None and left.was_ready,
        changes=changes,
        touched=bool(changes),
        ways=options.ways,
    )


def known(record: Record | None, view: Seen) -> Record | None:
    """Give the record if it is this SeiNode's; one of the same name that was deleted has left nothing that counts."""
    node = view.seinode
    another = record is not None and node is not None and record.uid != node["metadata"]["uid"]
    return None if another else record


def go_on(record: Record, view: Seen, plan: Plan, options: Options, now: float) -> Record:
    """Give the record with which a run carries on: forwards, unless it says failed, then back.

    Raises ``AnotherPlan`` for a node that is on its way forwards by another plan.
    """
    if record.open:
        if record.plan != plan.digest and record.direction is Direction.FORWARD:
            raise AnotherPlan(record.key)
        return _adopted(record, options, now)
    complete = record.outcome is Outcome.DONE_HELD and not checks.outlook(view, plan).changes and not _outdated(view)
    if complete and options.goal is StageName.RELEASE:
        adopted = _adopted(record, options, now)
        return replace(adopted, plan=plan.digest, stage=StageName.RELEASE, ways=options.ways)
    return begin(view, plan, options, now, left=record)


def _outdated(view: Seen) -> bool:
    """Tell whether somebody changed the template after the pod was made."""
    template = view.statefulset or {}
    current = seen.rollout_observed(template) and seen.at_update_revision(view.pod or {}, template)
    return view.pod is not None and not current


def _adopted(record: Record, options: Options, now: float) -> Record:
    """Make a record this run's own; what the controller said counts on after a crash, but not after an end."""
    ended = record.outcome is not None
    return replace(
        record.taken_over(options.run),
        accepted=record.accepted.with_also(options.accepted),
        force=record.force or options.force,
        ways=record.ways or options.ways,
        outcome=None,
        reason="",
        declined="" if ended else record.declined,
        agreed=None if ended else record.agreed,
        marked=None,  # whoever runs again has looked: the sidecar may be told once more
        since=now,
    )


def go_back(record: Record, view: Seen, options: Options, to: StageName | None, now: float) -> Record:
    """Give the record of a node that a person brings back, to the end of a stage or all the way.

    Who asks for it by name has seen what is there, so the node's image of today is no surprise any more, and what the
    runbook asks a person is answered. A way back that is under way goes on by the steps that the journal holds.
    """
    node, statefulset = _both(view)
    goes_on = _goes_on(record, options.ways) and record.back_to == to and not options.passed
    adopted = replace(_adopted(record, options, now), image=node["spec"].get("image", ""), confirmed=True)
    if goes_on and record.outcome is None:
        return adopted
    return replace(
        adopted,
        statefulset_uid=statefulset["metadata"]["uid"],
        direction=Direction.BACK,
        back_to=to,
        failure=None,
        blocked=(),
        refused=None,
        declined="",
        agreed=None,
        lifting=False,
        intent=record.unasked or (record.intent if record.open else None),
        asked=None,
        stage=_stage_of(record),
        ways=adopted.ways if goes_on else options.ways,
        passed=record.passed if goes_on else options.passed,
    )


def _goes_on(record: Record, ways: Ways) -> bool:
    """Tell whether a way back is under way, and no other one was chosen by its page."""
    return record.open and record.direction is Direction.BACK and (ways == record.ways or not ways.chosen)


def _stage_of(record: Record) -> StageName:
    """Give the stage that a node goes back from; whose way ended goes back from the end of all stages."""
    return record.furthest if record.open else StageName.RELEASE


def questions(record: Record | None, ways: Ways) -> tuple[str, ...]:
    """Give what the runbook will ask a person about a node that goes back now, without what was answered before."""
    if record is None or not (record.touched or record.changes):
        return ()
    goes_on = _goes_on(record, ways)
    way = ((record.ways if goes_on else None) or ways).of(_stage_of(record))
    passed = record.passed if goes_on else ()
    numbered = enumerate(way.steps if way is not None else ())
    return tuple(step.text for n, step in numbered if step.do is StepName.CONFIRM and n not in passed)


def _both(view: Seen) -> tuple[Object, Object]:
    if view.seinode is None or view.statefulset is None:
        raise LookupError("a node without its SeiNode or StatefulSet has no record")
    return view.seinode, view.statefulset
