"""What happens in a run, as those who watch it are told: each change of stage, each reason to wait, each end, once.

Everything that shows a run - log lines, the tree on a terminal, the stream of JSON events, Kubernetes Events, metrics -
is told the same. The values of fields are never in a text: a person's secrets may stand beside what we change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from seimigrate.domain.fleet.actions import FleetAction, FleetWait
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.reconcile import NODES_IN_PROGRESS
from seimigrate.domain.fleet.wave_planning import WaveKind
from seimigrate.domain.node.actions import (
    Action,
    ExecuteIntent,
    Fence,
    QueryPod,
    ReviewAccess,
    SaveRecord,
    TakeOverHold,
    VerifyHold,
    Wait,
)
from seimigrate.domain.node.record import Direction, Intent, IntentKind, Outcome, Record


class EventType(StrEnum):
    """The kinds of happenings."""

    STAGE = "stage"
    """A node enters a stage, forwards or on its way back."""
    WAITING = "waiting"
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
class RunEvent:
    """One thing that happened; ``record`` is the node's, none where it is about the run as a whole.

    ``serious`` means that a person should look at it.
    """

    type: EventType
    message: str
    record: Record | None = None
    is_warning: bool = False


@dataclass
class _Reported:
    stage: tuple[str, str] = ("", "")
    texts: set[str] = field(default_factory=set)
    notes: set[str] = field(default_factory=set)


class EventDeduplicator:
    """What was told already, so that nothing is told twice while a node stays in its stage."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Reported] = {}
        self._campaign: Campaign | None = None
        self._fleet: tuple[str, bool] = ("", False)

    def node_events(self, record: Record, action: Action) -> list[RunEvent]:
        """Give what is new about an action that is about to be done for a node."""
        told = self._nodes.setdefault(record.key, _Reported(notes=set(record.notes)))
        return [*_stage(record, told), *_action_events(record, action, told)]

    def fleet_events(self, campaign: Campaign, step: FleetAction) -> list[RunEvent]:
        """Give what is new about a fleet: a wave, a gate, a pause, or why it waits."""
        texts = [*_campaign_events(self._campaign, campaign), *_fleet_action_events(campaign, step)]
        self._campaign = campaign
        new = [each for each in texts if each != self._fleet]
        if new:
            self._fleet = new[-1]
        return [RunEvent(EventType.FLEET, text, is_warning=serious) for text, serious in new]


def _stage(record: Record, told: _Reported) -> Iterator[RunEvent]:
    stage = (record.stage.value, record.direction.value)
    if told.stage == stage or record.outcome is not None:
        return
    told.stage, told.texts = stage, set()
    yield RunEvent(EventType.STAGE, "goes back" if record.direction is Direction.ROLLBACK else "begins", record)


def _action_events(record: Record, action: Action, told: _Reported) -> Iterator[RunEvent]:
    match action:
        case Wait(reason=reason) if reason not in told.texts:
            told.texts.add(reason)
            yield RunEvent(EventType.WAITING, reason, record)
        case SaveRecord(record=new):
            yield from _new_notes(record, new, told)
        case TakeOverHold(kind=kind, old=old):
            yield RunEvent(EventType.NOTE, f"takes the hold of the {kind} over from run {old}", record)
        case Fence(pod=pod):
            yield RunEvent(EventType.NOTE, f"fences pod {pod} off from the run before", record)
        case ExecuteIntent(intent=intent):
            yield RunEvent(EventType.STEP, describe_intent(intent), record)
        case VerifyHold():
            yield RunEvent(EventType.STEP, "proves the hold", record)
        case ReviewAccess():
            yield RunEvent(EventType.STEP, "looks at who can reach the pod", record)
        case QueryPod(queries=questions):
            yield RunEvent(EventType.STEP, f"asks the pod: {', '.join(questions)}", record)
        case _:
            pass


def _campaign_events(old: Campaign | None, new: Campaign) -> Iterator[tuple[str, bool]]:
    if new.stopped and (old is None or old.stopped != new.stopped):
        yield f"stops: {new.stopped}", True
    elif new.paused and (old is None or old.paused != new.paused):
        yield f"paused: {new.paused}", True
    elif old is not None and old.paused and not new.paused and not new.stopped:
        yield "goes on", False
    if old is not None and new.wave == old.wave:
        yield from ((f"gate {gate}: passed", False) for gate in new.passed_gates if gate not in old.passed_gates)
    wave = new.current_wave
    if wave is not None and (old is None or old.wave != new.wave) and not new.stopped and len(new.keys) > 1:
        what = "canary" if wave.kind is WaveKind.CANARY else f"wave {new.wave + 1} of {len(new.waves)}"
        few = ", ".join(wave.nodes[:3]) + (f" and {len(wave.nodes) - 3} more" if len(wave.nodes) > 3 else "")
        yield f"{what} begins: {few}", False


def _fleet_action_events(campaign: Campaign, step: FleetAction) -> Iterator[tuple[str, bool]]:
    """Tell why nothing starts; seconds that count down are no news each time, and a pause has been told of."""
    known = ((), (NODES_IN_PROGRESS,), (campaign.halt_reason,))
    if isinstance(step, FleetWait) and step.reasons not in known:
        yield "waits: " + re.sub(r"for another \d+ s", "for a while", "; ".join(step.reasons)), False


def _new_notes(old: Record, new: Record, told: _Reported) -> Iterator[RunEvent]:
    if new.failure and new.failure != old.failure:
        yield RunEvent(EventType.FAILED, new.failure, new, is_warning=True)
    for note in new.notes:
        if note not in told.notes:
            told.notes.add(note)
            yield RunEvent(EventType.NOTE, note, new)
    if new.intent is not None and new.intent != old.intent:
        yield RunEvent(EventType.STEP, f"journal: {describe_intent(new.intent)}", new)
    if new.outcome is not None and old.outcome is None:
        text = f"{new.outcome.value}: {new.reason}" if new.reason else new.outcome.value
        yield RunEvent(EventType.OUTCOME, text, new, is_warning=new.outcome in (Outcome.FAILED, Outcome.PAUSED))


def describe_intent(intent: Intent) -> str:
    """Say what an intent does; never with the values."""
    if intent.kind is IntentKind.PATCH:
        fields = ", ".join(change.path for change in intent.changes) or "our managedFields entries"
        return f"writes {intent.object_kind}: {fields}"
    if intent.kind is IntentKind.REPLACE:
        how = "evicts" if intent.evict else "deletes"
        return f"{how} pod {intent.name} ({intent.pod}), with {intent.grace} s to stop"
    return f"marks the sidecar of pod {intent.name} ready, task {intent.task}"
