"""What a guard does next for a held node: a pure function, by the very rules by which a run marks a node ready.

It does one thing, and only while the controller cannot: it marks a sidecar ready that asks for it. All else is left to
whom it belongs: to the run that is on its way with the node, to the controller, or to people.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from seimigrate.domain import seen
from seimigrate.domain.actions import Action, Ask, Note, Perform, Wait
from seimigrate.domain.kinds import Object
from seimigrate.domain.plan import Plan
from seimigrate.domain.record import Direction, Intent, Record
from seimigrate.domain.rollout import MARKS, SETTLES, Situation, mark_ready, runs, starts, still_asks
from seimigrate.domain.seen import Question, Seen

MARKER = "guard "
"""In the ids of the guard's tasks, so that none is one that a run has used: a completed id is a silent no-op."""
LOOK_AGAIN = 10.0
"""Seconds before a sidecar that is not ready is asked for its health again."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What the guard's journal holds of a node: the pod and its containers' starts, and how often it was marked.

    ``intent`` is the mark-ready that is about to be sent, journaled before it is.
    """

    starts: str = ""
    attempts: int = 0
    marked: float | None = None
    intent: Intent | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """Since when a sidecar has answered 503 for health, in one go and without having been started again."""

    starts: str
    since: float


@dataclass(frozen=True, slots=True)
class Charge:
    """A held node as a guard sees it; ``token`` is the guard's, ``run`` tells that a run looks after this node."""

    record: Record | None
    seen: Seen
    marks: Marks
    token: str
    asking: Asking | None = None
    run: bool = False


@dataclass(frozen=True, slots=True)
class Journal:
    """Write the guard's journal: nothing is sent without one before it."""

    marks: Marks


@dataclass(frozen=True, slots=True)
class Tell:
    """Send the mark-ready that the journal holds."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is to be done now; ``pending`` tells that the guard waits for its turn."""

    reason: str
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the node to others: to a run, or (``people``) to a person, who has to know why."""

    reason: str
    people: bool = True


Step = Ask | Journal | Tell | Rest | Leave


def asking(before: Asking | None, view: Seen) -> Asking | None:
    """Take the last answer for health in: no answer is no verdict, any other one than 503 ends the asking."""
    health = view.answer(Question.HEALTH)
    if view.pod is None or health is None:
        return None
    now = starts(view.pod)
    before = before if before is not None and before.starts == now else None
    if health.status is None:
        return before
    return (before or Asking(now, health.at)) if health.status == 503 else None


def next_step(charge: Charge, plan: Plan, now: float) -> Step:
    """Decide what a guard does next for a node; ``now`` is in seconds since 1970."""
    view, pod, intent = charge.seen, charge.seen.pod, charge.marks.intent
    if seen.hold_of(view.statefulset) is None:
        return Rest("it is not held")
    if pod is None or seen.terminating(pod):
        return Rest("there is no pod now")
    if intent is not None and charge.marks.starts != starts(pod):
        return Journal(Marks())
    if seen.pod_ready(pod):
        return Journal(_settled(charge.marks, now)) if intent is not None else Rest("it is ready")
    if (others := _belongs_to_others(charge)) is not None:
        return others
    trouble = seen.trouble(pod)
    if not runs(pod, plan.parameters.containers.sidecar):
        return Leave(trouble) if trouble else Rest("its sidecar does not run yet")
    health = view.answer(Question.HEALTH)
    if health is None or now - health.at >= LOOK_AGAIN:
        return Ask((Question.HEALTH,))
    if health.status is None:
        return Leave(f"its sidecar cannot be asked: {health.reason}")
    if health.status == 503:
        return _asks(charge, pod, plan, now)
    if intent is not None:
        return Journal(_settled(charge.marks, now))
    if health.status != 200:
        return Leave(f"its sidecar answers {health.status} for health")
    return Leave(trouble) if trouble else Rest("its sidecar is ready, and its pod not yet")


def _settled(marks: Marks, now: float) -> Marks:
    return replace(marks, intent=None, attempts=marks.attempts + 1, marked=now)


def _belongs_to_others(charge: Charge) -> Leave | None:
    """See whether somebody else has this node in hand, or has to decide about it."""
    record = charge.record
    if record is None:
        return Leave("it is held, and no journal says by whom: it was never seen ready")
    if charge.run:
        return Leave("a run looks after it", people=False)
    if record.outcome is None and record.intent is not None:
        return Leave(f"a run ended in the middle of a write; it has to go on: seimigrate apply --node {record.key}")
    if reason := _changed(record, charge.seen):
        return Leave(reason)
    if not record.was_ready:
        return Leave("it was not ready when it was held")
    return None


def _changed(record: Record, view: Seen) -> str:
    node, statefulset = view.seinode, view.statefulset
    if node is None or node["metadata"]["uid"] != record.uid or "deletionTimestamp" in node["metadata"]:
        return "its SeiNode was deleted, or made anew"
    if statefulset is None or statefulset["metadata"]["uid"] != record.statefulset_uid:
        return "its StatefulSet was deleted, or made anew"
    spec = node.get("spec", {})
    if spec.get("paused"):
        return "spec.paused is set: its owner wants it stopped"
    if spec.get("image") != record.image:
        return f"spec.image was changed to {spec.get('image')}: release it, so that its controller can upgrade it"
    return ""


def _asks(charge: Charge, pod: Object, plan: Plan, now: float) -> Step:
    """Deal with a sidecar that asks to be marked ready, as a run would: its patience, its questions, its limits."""
    assert charge.record is not None
    asked = charge.asking
    if asked is None or asked.starts != starts(pod):
        return Ask((Question.HEALTH,))
    marks = charge.marks if charge.marks.starts == asked.starts else Marks(asked.starts)
    record = replace(
        charge.record,
        run=charge.token,
        direction=Direction.BACK,  # what a run would turn back for is a person's here
        outcome=None,
        since=asked.since,
        intent=marks.intent,
        attempts=marks.attempts,
        marked=marks.marked,
    )
    at = Situation(record, charge.seen, plan, now, marker=MARKER)
    if marks.intent is not None:
        return _translated(_settle(at, marks.intent), marks)
    if marks.attempts >= MARKS and marks.marked is not None and at.late(SETTLES, marks.marked):
        return Leave(f"its sidecar still answers 503 for health, though it was marked ready {marks.attempts} times")
    return _translated(mark_ready(at), marks)


def _settle(at: Situation, intent: Intent) -> Action | None:
    if at.seen.performed == intent:
        return Note(at.record.settled(at.now, done=True))
    return still_asks(at) or Perform(intent)


def _translated(action: Action | None, marks: Marks) -> Step:
    match action:
        case Ask():
            return action
        case Perform(intent=intent):
            return Tell(intent)
        case Note(record=record) if record.outcome is None:
            return Journal(Marks(marks.starts, record.attempts, record.marked, record.intent))
        case Note(record=record):
            return Leave(record.reason) if marks.intent is None else Journal(replace(marks, intent=None))
        case Wait(reason=reason):
            return Rest(f"waits for {reason}", pending=True)
        case _:
            return Rest("its sidecar asks to be marked ready; its controller has the first go", pending=True)


def charges(statefulsets: list[Object]) -> list[tuple[str, str]]:
    """Give namespace and name of the held nodes among some StatefulSets, sorted."""
    return sorted(
        (s["metadata"]["namespace"], s["metadata"]["name"]) for s in statefulsets if seen.hold_of(s) is not None
    )
