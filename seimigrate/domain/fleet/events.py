"""The events of a run: each stage change, wait reason and outcome is reported once.

All outputs get the same events: log lines, the tree on a terminal, the stream of JSON events, Kubernetes Events and
metrics. No text contains field values, because they could be sensitive.
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
    """The type of an event."""

    STAGE = "stage"
    """A node enters a stage, in a cutover or a rollback."""
    WAITING = "waiting"
    """A node waits, for a reason that is new in this stage."""
    STEP = "step"
    """A single step, such as a write or a query; for debugging."""
    NOTE = "note"
    """A note about a node."""
    FAILED = "failed"
    """A node failed; a later event reports the consequence."""
    OUTCOME = "outcome"
    """A node finished."""
    FLEET = "fleet"
    """An event of the whole run: a wave, a gate, a pause."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One event; ``record`` is the node's record, ``None`` for an event of the whole run.

    ``is_warning`` is true if the event needs an operator's attention.
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
    """The events reported so far; it drops repeated events while a node stays in a stage."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Reported] = {}
        self._campaign: Campaign | None = None
        self._fleet: tuple[str, bool] = ("", False)

    def node_events(self, record: Record, action: Action) -> list[RunEvent]:
        """Return the new events of an action that is about to be executed for a node."""
        reported = self._nodes.setdefault(record.key, _Reported(notes=set(record.notes)))
        return [*_stage_events(record, reported), *_action_events(record, action, reported)]

    def fleet_events(self, campaign: Campaign, step: FleetAction) -> list[RunEvent]:
        """Return the new events of a fleet: a wave, a gate, a pause, or a wait reason."""
        texts = [*_campaign_events(self._campaign, campaign), *_fleet_action_events(campaign, step)]
        self._campaign = campaign
        new = [text for text in texts if text != self._fleet]
        if new:
            self._fleet = new[-1]
        return [RunEvent(EventType.FLEET, text, is_warning=is_warning) for text, is_warning in new]


def _stage_events(record: Record, reported: _Reported) -> Iterator[RunEvent]:
    stage = (record.stage.value, record.direction.value)
    if reported.stage == stage or record.outcome is not None:
        return
    reported.stage, reported.texts = stage, set()
    text = "rollback started" if record.direction is Direction.ROLLBACK else "stage started"
    yield RunEvent(EventType.STAGE, text, record)


def _action_events(record: Record, action: Action, reported: _Reported) -> Iterator[RunEvent]:
    match action:
        case Wait(reason=reason) if reason not in reported.texts:
            reported.texts.add(reason)
            yield RunEvent(EventType.WAITING, reason, record)
        case SaveRecord(record=new):
            yield from _record_events(record, new, reported)
        case TakeOverHold(kind=kind, old=old):
            yield RunEvent(EventType.NOTE, f"took over the hold of the {kind} from run {old}", record)
        case Fence(pod=pod):
            yield RunEvent(EventType.NOTE, f"fenced pod {pod} against the previous run", record)
        case ExecuteIntent(intent=intent):
            yield RunEvent(EventType.STEP, describe_intent(intent), record)
        case VerifyHold():
            yield RunEvent(EventType.STEP, "verifying the hold", record)
        case ReviewAccess():
            yield RunEvent(EventType.STEP, "reviewing access to the pod", record)
        case QueryPod(queries=queries):
            yield RunEvent(EventType.STEP, f"querying the pod: {', '.join(queries)}", record)
        case _:
            pass


def _campaign_events(old: Campaign | None, new: Campaign) -> Iterator[tuple[str, bool]]:
    if new.stopped and (old is None or old.stopped != new.stopped):
        yield f"stopping: {new.stopped}", True
    elif new.paused and (old is None or old.paused != new.paused):
        yield f"paused: {new.paused}", True
    elif old is not None and old.paused and not new.paused and not new.stopped:
        yield "resumed", False
    if old is not None and new.wave == old.wave:
        yield from ((f"gate {gate}: passed", False) for gate in new.passed_gates if gate not in old.passed_gates)
    wave = new.current_wave
    if wave is not None and (old is None or old.wave != new.wave) and not new.stopped and len(new.keys) > 1:
        kind = "canary" if wave.kind is WaveKind.CANARY else f"wave {new.wave + 1} of {len(new.waves)}:"
        nodes = ", ".join(wave.nodes[:3]) + (f" and {len(wave.nodes) - 3} more" if len(wave.nodes) > 3 else "")
        yield f"starting {kind} {nodes}", False


def _fleet_action_events(campaign: Campaign, step: FleetAction) -> Iterator[tuple[str, bool]]:
    """Yield why no node starts; a countdown is reported once, and a pause is reported elsewhere."""
    reported = ((), (NODES_IN_PROGRESS,), (campaign.halt_reason,))
    if isinstance(step, FleetWait) and step.reasons not in reported:
        yield "waiting: " + re.sub(r": \d+ s remaining", "", "; ".join(step.reasons)), False


def _record_events(old: Record, new: Record, reported: _Reported) -> Iterator[RunEvent]:
    if new.failure and new.failure != old.failure:
        yield RunEvent(EventType.FAILED, new.failure, new, is_warning=True)
    for note in new.notes:
        if note not in reported.notes:
            reported.notes.add(note)
            yield RunEvent(EventType.NOTE, note, new)
    if new.intent is not None and new.intent != old.intent:
        yield RunEvent(EventType.STEP, f"journal: {describe_intent(new.intent)}", new)
    if new.outcome is not None and old.outcome is None:
        text = f"{new.outcome.value}: {new.reason}" if new.reason else new.outcome.value
        yield RunEvent(EventType.OUTCOME, text, new, is_warning=new.outcome in (Outcome.FAILED, Outcome.PAUSED))


def describe_intent(intent: Intent) -> str:
    """Return what an intent does, without values."""
    if intent.kind is IntentKind.PATCH:
        fields = ", ".join(change.path for change in intent.changes) or "removal of seimigrate's managedFields entries"
        return f"patch {intent.object_kind}: {fields}"
    if intent.kind is IntentKind.REPLACE:
        verb = "evict" if intent.evict else "delete"
        return f"{verb} pod {intent.name} ({intent.pod}), grace period {intent.grace} s"
    return f"mark the sidecar of pod {intent.name} ready, task {intent.task}"
