"""What happens in a run, as those who watch it are told: each change of stage, each reason to wait, each end, once.

Everything that shows a run - log lines, the tree on a terminal, the stream of JSON events, Kubernetes Events, metrics -
is told the same. The values of fields are never in a text: a person's secrets may stand beside what we change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from seimigrate.domain.actions import Action, Ask, Fence, Judge, Note, Perform, ProveHold, Relabel, Wait
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.decision import ON_THEIR_WAY
from seimigrate.domain.fleet.order import Kind
from seimigrate.domain.fleet.steps import Rest, Step
from seimigrate.domain.record import Direction, Do, Intent, Outcome, Record


class What(StrEnum):
    """The kinds of happenings."""

    STAGE = "stage"
    """A node enters a stage, forwards or on its way back."""
    WAITS = "waits"
    """A node waits, for a reason that it did not have before in this stage."""
    STEP = "step"
    """A single step: a write, a question. Only who debugs wants to know."""
    NOTE = "note"
    """Something to know about a node."""
    FAILED = "failed"
    """A node failed; what becomes of it comes next."""
    OUTCOME = "outcome"
    """A node's way ended, for now."""
    FLEET = "fleet"
    """Something about the run as a whole: a wave, a gate, a pause."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened; ``record`` is the node's, none where it is about the run as a whole.

    ``serious`` means that a person should look at it.
    """

    what: What
    text: str
    record: Record | None = None
    serious: bool = False


@dataclass
class _Told:
    stage: tuple[str, str] = ("", "")
    texts: set[str] = field(default_factory=set)
    notes: set[str] = field(default_factory=set)


class Story:
    """What was told already, so that nothing is told twice while a node stays in its stage."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Told] = {}
        self._campaign: Campaign | None = None
        self._fleet: tuple[str, bool] = ("", False)

    def of(self, record: Record, action: Action) -> list[Happening]:
        """Give what is new about an action that is about to be done for a node."""
        told = self._nodes.setdefault(record.key, _Told(notes=set(record.notes)))
        return [*_stage(record, told), *_of(record, action, told)]

    def of_fleet(self, campaign: Campaign, step: Step) -> list[Happening]:
        """Give what is new about a fleet: a wave, a gate, a pause, or why it waits."""
        texts = [*_of_campaign(self._campaign, campaign), *_of_step(campaign, step)]
        self._campaign = campaign
        new = [each for each in texts if each != self._fleet]
        if new:
            self._fleet = new[-1]
        return [Happening(What.FLEET, text, serious=serious) for text, serious in new]


def _stage(record: Record, told: _Told) -> Iterator[Happening]:
    stage = (record.stage.value, record.direction.value)
    if told.stage == stage or record.outcome is not None:
        return
    told.stage, told.texts = stage, set()
    yield Happening(What.STAGE, "goes back" if record.direction is Direction.BACK else "begins", record)


def _of(record: Record, action: Action, told: _Told) -> Iterator[Happening]:
    match action:
        case Wait(reason=reason) if reason not in told.texts:
            told.texts.add(reason)
            yield Happening(What.WAITS, reason, record)
        case Note(record=new):
            yield from _noted(record, new, told)
        case Relabel(kind=kind, old=old):
            yield Happening(What.NOTE, f"takes the hold of the {kind} over from run {old}", record)
        case Fence(pod=pod):
            yield Happening(What.NOTE, f"fences pod {pod} off from the run before", record)
        case Perform(intent=intent):
            yield Happening(What.STEP, doing(intent), record)
        case ProveHold():
            yield Happening(What.STEP, "proves the hold", record)
        case Judge():
            yield Happening(What.STEP, "looks at who can reach the pod", record)
        case Ask(questions=questions):
            yield Happening(What.STEP, f"asks the pod: {', '.join(questions)}", record)
        case _:
            pass


def _of_campaign(old: Campaign | None, new: Campaign) -> Iterator[tuple[str, bool]]:
    if new.stopped and (old is None or old.stopped != new.stopped):
        yield f"stops: {new.stopped}", True
    elif new.paused and (old is None or old.paused != new.paused):
        yield f"paused: {new.paused}", True
    elif old is not None and old.paused and not new.paused and not new.stopped:
        yield "goes on", False
    if old is not None and new.wave == old.wave:
        yield from ((f"gate {gate}: passed", False) for gate in new.passed if gate not in old.passed)
    wave = new.present
    if wave is not None and (old is None or old.wave != new.wave) and not new.stopped and len(new.keys) > 1:
        what = "canary" if wave.kind is Kind.CANARY else f"wave {new.wave + 1} of {len(new.waves)}"
        few = ", ".join(wave.nodes[:3]) + (f" and {len(wave.nodes) - 3} more" if len(wave.nodes) > 3 else "")
        yield f"{what} begins: {few}", False


def _of_step(campaign: Campaign, step: Step) -> Iterator[tuple[str, bool]]:
    """Tell why nothing starts; seconds that count down are no news each time, and a pause has been told of."""
    known = ((), (ON_THEIR_WAY,), (campaign.halted,))
    if isinstance(step, Rest) and step.reasons not in known:
        yield "waits: " + re.sub(r"for another \d+ s", "for a while", "; ".join(step.reasons)), False


def _noted(old: Record, new: Record, told: _Told) -> Iterator[Happening]:
    if new.failure and new.failure != old.failure:
        yield Happening(What.FAILED, new.failure, new, serious=True)
    for note in new.notes:
        if note not in told.notes:
            told.notes.add(note)
            yield Happening(What.NOTE, note, new)
    if new.intent is not None and new.intent != old.intent:
        yield Happening(What.STEP, f"journal: {doing(new.intent)}", new)
    if new.outcome is not None and old.outcome is None:
        text = f"{new.outcome.value}: {new.reason}" if new.reason else new.outcome.value
        yield Happening(What.OUTCOME, text, new, serious=new.outcome in (Outcome.FAILED, Outcome.PAUSED))


def doing(intent: Intent) -> str:
    """Say what an intent does; never with the values."""
    if intent.do is Do.PATCH:
        fields = ", ".join(change.path for change in intent.changes) or "our managedFields entries"
        return f"writes {intent.kind}: {fields}"
    if intent.do is Do.REPLACE:
        how = "evicts" if intent.evict else "deletes"
        return f"{how} pod {intent.name} ({intent.pod}), with {intent.grace} s to stop"
    return f"marks the sidecar of pod {intent.name} ready, task {intent.task}"
