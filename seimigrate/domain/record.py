"""A node's record: what was done to it, what is being done, and what is to come. The journal keeps it.

A record is a value; every step gives a new one. With what the cluster shows it is all that a run needs to go on, or
back, after a crash at any instant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from seimigrate.domain.changes import Change
from seimigrate.domain.finding import Acceptance
from seimigrate.domain.kinds import HOLD_PATH
from seimigrate.domain.plan import StageName, Strategy
from seimigrate.domain.steps import Ways

VERSION = 1


class Direction(StrEnum):
    """Whether a node is on its way to the new shape or back to the old one."""

    FORWARD = "forward"
    BACK = "back"


class Outcome(StrEnum):
    """How a node's way ended, for now."""

    HELD = "held"
    DONE = "done"
    DONE_HELD = "done-held"
    ROLLED_BACK = "rolled-back"
    ROLLED_BACK_HELD = "rolled-back-held"
    BLOCKED = "blocked"
    PAUSED = "paused"
    FAILED = "failed"

    @property
    def held(self) -> bool:
        """Tell whether the controller is still kept off such a node."""
        return self not in (Outcome.DONE, Outcome.ROLLED_BACK, Outcome.BLOCKED)


class Do(StrEnum):
    """What an intent is to do."""

    PATCH = "patch"
    REPLACE = "replace"
    MARK_READY = "mark-ready"


@dataclass(frozen=True, slots=True)
class Intent:
    """One write that is about to happen, journaled before it does.

    A patch has ``kind`` and ``changes``, and ``disown`` where our managedFields entries go too; a replacement has
    the pod's uid, its name, the grace in seconds and whether it is an eviction; a mark-ready has the task's id and
    the pod's uid and name. ``token`` is that of the run that intended it.
    """

    do: Do
    kind: str = ""
    changes: tuple[Change, ...] = ()
    disown: bool = False
    pod: str = ""
    name: str = ""
    grace: int = 0
    evict: bool = False
    task: str = ""
    token: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that is known of a node's way; times are seconds since 1970.

    ``run`` is the fencing token of the run that may act on it. ``back_to`` is the stage at whose end a way back
    stops, ``None`` for all the way. ``changes`` are the fields that we changed and did not take back, in order.
    ``attempts`` counts how often this pod was marked ready, and ``marked`` is when it last was. ``ways`` are the ways
    back as the runbooks bound them when the node set out, ``passed`` the numbers of the steps that are behind us (of
    those that leave no trace elsewhere), and ``confirmed`` tells that a person asked for the way back.
    """

    namespace: str
    name: str
    uid: str
    statefulset_uid: str
    image: str
    run: str
    plan: str
    strategy: Strategy
    since: float
    goal: StageName = StageName.RELEASE
    stage: StageName = StageName.HOLD
    direction: Direction = Direction.FORWARD
    back_to: StageName | None = None
    holds: bool = True
    held_before: bool = False
    was_ready: bool = False
    accepted: Acceptance = Acceptance.NOTHING
    force: bool = False
    changes: tuple[Change, ...] = ()
    touched: bool = False
    intent: Intent | None = None
    replaced: tuple[str, ...] = ()
    attempts: int = 0
    marked: float | None = None
    asked: Change | None = None
    agreed: float | None = None
    refused: float | None = None
    declined: str = ""
    lifting: bool = False
    blocked: tuple[str, ...] = ()
    failure: str | None = None
    outcome: Outcome | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    ways: Ways | None = None
    confirmed: bool = False
    passed: tuple[int, ...] = ()
    version: int = field(default=VERSION)

    @property
    def key(self) -> str:
        """Give ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def open(self) -> bool:
        """Tell whether the node is on its way, or stopped in the middle of it."""
        return self.outcome in (None, Outcome.PAUSED, Outcome.FAILED)

    def taken_over(self, run: str) -> Record:
        """Give the record as another run's; a hold that it is about to put on or take off has that run's token."""
        return replace(self, run=run, intent=_with_token(self.intent, run) if self.intent else None)

    @property
    def furthest(self) -> StageName:
        """Give the stage whose way back takes back all that is changed, an earlier way's changes among it."""
        return max((self.stage, *(StageName(change.stage) for change in self.changes)), key=lambda s: s.position)

    @property
    def reached(self) -> StageName:
        """Give the last stage to whose end the node has come: a way back can stop there or before, and not ahead."""
        if self.outcome in (Outcome.DONE, Outcome.DONE_HELD):
            return StageName.RELEASE
        if self.outcome in (Outcome.HELD, Outcome.ROLLED_BACK, Outcome.ROLLED_BACK_HELD):
            return self.back_to or StageName.HOLD
        before = list(StageName)[max(self.furthest.position - 1, 0)]
        merged = self.strategy is Strategy.MERGED and before.position < StageName.ENFORCE.position
        if self._patched or not (merged or self.direction is Direction.BACK):
            return before
        # Its template was not written yet, or was put back already: there was, or is, nothing in between.
        return self.back_to or min(StageName.CHECK, before, key=lambda stage: stage.position)

    @property
    def _patched(self) -> bool:
        """Tell whether our changes are in the template, as far as the journal knows."""
        intended = self.intent is not None and _of_template(self.intent.changes)
        kept = _of_template(self.changes)
        return kept and not intended if self.direction is Direction.BACK else kept or intended

    @property
    def unasked(self) -> Intent | None:
        """Give the intent to take back what the controller was asked: its word on one shape is none on another."""
        if self.asked is None:
            return None
        return Intent(Do.PATCH, kind=self.asked.kind, changes=(self.asked.inverse,), token=self.run)

    def at_stage(self, stage: StageName, now: float) -> Record:
        """Give the record at the beginning of a stage."""
        return replace(self, stage=stage, since=now)

    def intending(self, intent: Intent, now: float) -> Record:
        """Give the record with a write that is about to happen."""
        return replace(self, intent=replace(intent, token=self.run, at=now), touched=self.touched or _touches(intent))

    def settled(self, now: float, *, done: bool) -> Record:
        """Give the record after its intent was carried out, or given up."""
        if self.intent is not None and self.intent.do is Do.MARK_READY:
            # A sidecar that is told again and again makes no progress: the pod's deadline goes on.
            return replace(self, intent=None, attempts=self.attempts + done, marked=now if done else self.marked)
        record = replace(self, intent=None, since=now)
        if self.intent is None or not done:
            return record
        if self.intent.do is Do.REPLACE:
            return replace(record, replaced=(*self.replaced, self.intent.pod), attempts=0, marked=None, refused=None)
        return replace(record, changes=merged(self.changes, self.intent.changes))

    def turning_back(self, reason: str, now: float) -> Record:
        """Give the record of a node that failed and goes back; its hold stays if it was held before."""
        back_to = StageName.HOLD if self.held_before else None
        back = replace(self, direction=Direction.BACK, back_to=back_to, failure=reason, confirmed=False, passed=())
        return replace(back, stage=self.furthest, intent=self.unasked, since=now, agreed=None, asked=None, refused=None)

    def ended(self, outcome: Outcome, reason: str = "") -> Record:
        """Give the record of a node whose way ended, for now."""
        return replace(self, outcome=outcome, reason=reason)

    def noted(self, *notes: str) -> Record:
        """Give the record with notes for its reader, each once."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note not in self.notes)))

    def to_json(self) -> str:
        """Write the record as the journal keeps it: a line for each field, for people who read the ConfigMap."""
        values = {name: _WRITER.encode(getattr(self, name)) for name in _names(Record)}
        return "{\n" + ",\n".join(f' "{name}": {value}' for name, value in values.items()) + "\n}"


@cache
def _names(of: Any) -> tuple[str, ...]:
    return tuple(sorted(each.name for each in fields(of)))


def _fields(value: Any) -> dict[str, Any]:
    """Give a dataclass as JSON has it, without a copy of all that it holds."""
    return {name: getattr(value, name) for name in _names(value.__class__)}


_WRITER = json.JSONEncoder(default=_fields, sort_keys=True)


def merged(known: tuple[Change, ...], new: Iterable[Change]) -> tuple[Change, ...]:
    """Add changes to those that are known; a change and its inverse cancel out, labels of ours are not kept.

    The value before is the first one that was seen: what the field was before we touched it.
    """
    result = list(known)
    for change in new:
        if change.path.startswith("metadata."):
            continue
        earlier = next((c for c in result if (c.kind, c.path) == (change.kind, change.path)), None)
        if earlier is None:
            result.append(change)
        elif change.after == earlier.before:
            result.remove(earlier)
        else:
            result[result.index(earlier)] = replace(earlier, after=change.after)
    return tuple(result)


def _of_template(changes: tuple[Change, ...]) -> bool:
    return any(change.path.startswith("spec.template.") for change in changes)


def _with_token(intent: Intent, token: str) -> Intent:
    changes = (
        replace(c, before=c.before and token, after=c.after and token) if c.path == HOLD_PATH else c
        for c in intent.changes
    )
    return replace(intent, changes=tuple(changes))


def _touches(intent: Intent) -> bool:
    return intent.do is not Do.PATCH or any(not c.path.startswith("metadata.") for c in intent.changes)


class BadRecord(ValueError):  # noqa: N818 - reads as what it says
    """A journal that is damaged, or not of a version that is understood."""


_READER = TypeAdapter(Record)


def parse(text: str) -> Record:
    """Read a record from the journal; raises ``BadRecord`` saying what is wrong with it."""
    try:
        record = _READER.validate_json(text)
    except ValidationError as error:
        raise BadRecord(first_of(error)) from None
    if record.version != VERSION:
        raise BadRecord(f"its version is {record.version}, and {VERSION} is understood")
    return record


def first_of(error: ValidationError) -> str:
    """Give the first thing that is wrong with what was read, and its place."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg']}"
