"""What happens meanwhile: one quiet line for each change of stage and for each reason to wait, the rest in debug.

It is told each action before it is done, and says nothing twice while a node stays in its stage. The values of fields
are never in a line: a person's secrets may stand beside what we change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from seimigrate.domain.actions import Action, Ask, Fence, Judge, Note, Perform, ProveHold, Relabel, Wait
from seimigrate.domain.record import Direction, Do, Intent, Outcome, Record


class Log(Protocol):
    """As much of a structlog logger as is used here."""

    def debug(self, event: str, **context: Any) -> Any:
        """Log what only ``-v`` shows."""

    def info(self, event: str, **context: Any) -> Any:
        """Log what happens."""

    def warning(self, event: str, **context: Any) -> Any:
        """Log what a person should look at."""


@dataclass
class _Told:
    stage: tuple[str, str] = ("", "")
    texts: set[str] = field(default_factory=set)
    notes: set[str] = field(default_factory=set)


class Lines:
    """The engine's ``Report``: tells a log what a run does."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._nodes: dict[str, _Told] = {}

    def __call__(self, record: Record, action: Action) -> None:
        """Tell of an action that is about to be done for a node."""
        told = self._nodes.setdefault(record.key, _Told(notes=set(record.notes)))
        self._stage(record, told)
        where = _where(record)
        match action:
            case Wait(reason=reason) if reason not in told.texts:
                told.texts.add(reason)
                self._log.info(f"waits: {reason}", **where)
            case Note(record=new):
                self._noted(record, new, told)
            case Relabel(kind=kind, old=old):
                self._log.info(f"takes the hold of the {kind} over from run {old}", **where)
            case Fence(pod=pod):
                self._log.info(f"fences pod {pod} off from the run before", **where)
            case Perform(intent=intent):
                self._log.debug(_doing(intent), **where)
            case ProveHold():
                self._log.debug("proves the hold", **where)
            case Judge():
                self._log.debug("looks at who can reach the pod", **where)
            case Ask(questions=questions):
                self._log.debug(f"asks the pod: {', '.join(questions)}", **where)
            case _:
                pass

    def _stage(self, record: Record, told: _Told) -> None:
        stage = (record.stage.value, record.direction.value)
        if told.stage == stage or record.outcome is not None:
            return
        told.stage, told.texts = stage, set()
        self._log.info("goes back" if record.direction is Direction.BACK else "begins", **_where(record))

    def _noted(self, old: Record, new: Record, told: _Told) -> None:
        where = _where(new)
        if new.failure and new.failure != old.failure:
            self._log.warning(f"failed: {new.failure}", **where)
        for note in new.notes:
            if note not in told.notes:
                told.notes.add(note)
                self._log.info(note, **where)
        if new.intent is not None and new.intent != old.intent:
            self._log.debug(f"journal: {_doing(new.intent)}", **where)
        if new.outcome is not None and old.outcome is None:
            text = f"{new.outcome.value}: {new.reason}" if new.reason else new.outcome.value
            bad = new.outcome in (Outcome.FAILED, Outcome.PAUSED)
            (self._log.warning if bad else self._log.info)(text, **where)


def _where(record: Record) -> dict[str, str]:
    return {"node": record.key, "stage": record.stage.value, "direction": record.direction.value}


def _doing(intent: Intent) -> str:
    if intent.do is Do.PATCH:
        fields = ", ".join(change.path for change in intent.changes) or "our managedFields entries"
        return f"writes {intent.kind}: {fields}"
    if intent.do is Do.REPLACE:
        how = "evicts" if intent.evict else "deletes"
        return f"{how} pod {intent.name} ({intent.pod}), with {intent.grace} s to stop"
    return f"marks the sidecar of pod {intent.name} ready, task {intent.task}"
