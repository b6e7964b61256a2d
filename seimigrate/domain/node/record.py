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

from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.kube.changes import Change
from seimigrate.domain.kube.kinds import HOLD_PATH
from seimigrate.domain.plan.plan import StageName, Strategy
from seimigrate.domain.plan.rollback_steps import RollbackRunbooks

VERSION = 1


class Direction(StrEnum):
    """Whether a node is on its way to the new shape or back to the old one."""

    FORWARD = "forward"
    ROLLBACK = "rollback"


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


class IntentKind(StrEnum):
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

    kind: IntentKind
    object_kind: str = ""
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
    seid_image: str
    run: str
    plan: str
    strategy: Strategy
    since: float
    target_stage: StageName = StageName.RELEASE
    stage: StageName = StageName.HOLD
    direction: Direction = Direction.FORWARD
    rollback_to: StageName | None = None
    holds: bool = True
    held_before: bool = False
    was_ready: bool = False
    accepted_findings: AcceptedFindings = AcceptedFindings.NOTHING
    overwrite: bool = False
    changes: tuple[Change, ...] = ()
    modified: bool = False
    intent: Intent | None = None
    replaced_pods: tuple[str, ...] = ()
    mark_ready_attempts: int = 0
    marked_ready_at: float | None = None
    agreement_probe: Change | None = None
    agreed_at: float | None = None
    eviction_blocked_since: float | None = None
    disagreement: str = ""
    removing_hold: bool = False
    blocked: tuple[str, ...] = ()
    failure: str | None = None
    outcome: Outcome | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    rollback_runbooks: RollbackRunbooks | None = None
    confirmed: bool = False
    completed_steps: tuple[int, ...] = ()
    version: int = field(default=VERSION)

    @property
    def key(self) -> str:
        """Give ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def unfinished(self) -> bool:
        """Tell whether the node is on its way, or stopped in the middle of it."""
        return self.outcome in (None, Outcome.PAUSED, Outcome.FAILED)

    def owned_by(self, run: str) -> Record:
        """Give the record as another run's; a hold that it is about to put on or take off has that run's token."""
        return replace(self, run=run, intent=_with_token(self.intent, run) if self.intent else None)

    @property
    def last_changed_stage(self) -> StageName:
        """Give the stage whose way back takes back all that is changed, an earlier way's changes among it."""
        return max((self.stage, *(StageName(change.stage) for change in self.changes)), key=lambda s: s.position)

    @property
    def reached(self) -> StageName:
        """Give the last stage to whose end the node has come: a way back can stop there or before, and not ahead."""
        if self.outcome in (Outcome.DONE, Outcome.DONE_HELD):
            return StageName.RELEASE
        if self.outcome in (Outcome.HELD, Outcome.ROLLED_BACK, Outcome.ROLLED_BACK_HELD):
            return self.rollback_to or StageName.HOLD
        before = list(StageName)[max(self.last_changed_stage.position - 1, 0)]
        merged = self.strategy is Strategy.MERGED and before.position < StageName.ENFORCE.position
        if self._patched or not (merged or self.direction is Direction.ROLLBACK):
            return before
        # Its template was not written yet, or was put back already: there was, or is, nothing in between.
        return self.rollback_to or min(StageName.CHECK, before, key=lambda stage: stage.position)

    @property
    def _patched(self) -> bool:
        """Tell whether our changes are in the template, as far as the journal knows."""
        intended = self.intent is not None and _changes_template(self.intent.changes)
        kept = _changes_template(self.changes)
        return kept and not intended if self.direction is Direction.ROLLBACK else kept or intended

    @property
    def undo_agreement_probe(self) -> Intent | None:
        """Give the intent to take back what the controller was asked: its word on one shape is none on another."""
        if self.agreement_probe is None:
            return None
        return Intent(
            IntentKind.PATCH,
            object_kind=self.agreement_probe.kind,
            changes=(self.agreement_probe.inverse,),
            token=self.run,
        )

    def entering(self, stage: StageName, now: float) -> Record:
        """Give the record at the beginning of a stage."""
        return replace(self, stage=stage, since=now)

    def intending(self, intent: Intent, now: float) -> Record:
        """Give the record with a write that is about to happen."""
        return replace(
            self, intent=replace(intent, token=self.run, at=now), modified=self.modified or _modifies(intent)
        )

    def intent_resolved(self, now: float, *, applied: bool) -> Record:
        """Give the record after its intent was carried out, or given up."""
        if self.intent is not None and self.intent.kind is IntentKind.MARK_READY:
            # A sidecar that is told again and again makes no progress: the pod's deadline goes on.
            return replace(
                self,
                intent=None,
                mark_ready_attempts=self.mark_ready_attempts + applied,
                marked_ready_at=now if applied else self.marked_ready_at,
            )
        record = replace(self, intent=None, since=now)
        if self.intent is None or not applied:
            return record
        if self.intent.kind is IntentKind.REPLACE:
            return replace(
                record,
                replaced_pods=(*self.replaced_pods, self.intent.pod),
                mark_ready_attempts=0,
                marked_ready_at=None,
                eviction_blocked_since=None,
            )
        return replace(record, changes=merged(self.changes, self.intent.changes))

    def rolling_back(self, reason: str, now: float) -> Record:
        """Give the record of a node that failed and goes back; its hold stays if it was held before."""
        back_to = StageName.HOLD if self.held_before else None
        back = replace(
            self, direction=Direction.ROLLBACK, rollback_to=back_to, failure=reason, confirmed=False, completed_steps=()
        )
        return replace(
            back,
            stage=self.last_changed_stage,
            intent=self.undo_agreement_probe,
            since=now,
            agreed_at=None,
            agreement_probe=None,
            eviction_blocked_since=None,
        )

    def finished(self, outcome: Outcome, reason: str = "") -> Record:
        """Give the record of a node whose way ended, for now."""
        return replace(self, outcome=outcome, reason=reason)

    def with_notes(self, *notes: str) -> Record:
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


def _changes_template(changes: tuple[Change, ...]) -> bool:
    return any(change.path.startswith("spec.template.") for change in changes)


def _with_token(intent: Intent, token: str) -> Intent:
    changes = (
        replace(c, before=c.before and token, after=c.after and token) if c.path == HOLD_PATH else c
        for c in intent.changes
    )
    return replace(intent, changes=tuple(changes))


def _modifies(intent: Intent) -> bool:
    return intent.kind is not IntentKind.PATCH or any(not c.path.startswith("metadata.") for c in intent.changes)


class InvalidRecord(ValueError):  # noqa: N818 - reads as what it says
    """A journal that is damaged, or not of a version that is understood."""


_READER = TypeAdapter(Record)


def parse(text: str) -> Record:
    """Read a record from the journal; raises ``BadRecord`` saying what is wrong with it."""
    try:
        record = _READER.validate_json(text)
    except ValidationError as error:
        raise InvalidRecord(first_error(error)) from None
    if record.version != VERSION:
        raise InvalidRecord(f"its version is {record.version}, and {VERSION} is understood")
    return record


def first_error(error: ValidationError) -> str:
    """Give the first thing that is wrong with what was read, and its place."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg']}"
