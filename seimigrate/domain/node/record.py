"""The record of a node: what was done, what is in flight, and the goal. The journal stores it.

A record is an immutable value; every step returns a new one. The record and the observation are all that a run needs to
resume or roll back after a crash at any point.
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
    """The direction of a node: cutover (forward) or rollback."""

    FORWARD = "forward"
    ROLLBACK = "rollback"


class Outcome(StrEnum):
    """The result of a node's cutover or rollback."""

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
        """Return whether a node with this outcome is still held."""
        return self not in (Outcome.DONE, Outcome.ROLLED_BACK, Outcome.BLOCKED)


class IntentKind(StrEnum):
    """The kind of write of an intent."""

    PATCH = "patch"
    REPLACE = "replace"
    MARK_READY = "mark-ready"


@dataclass(frozen=True, slots=True)
class Intent:
    """One write, journaled before it is executed.

    A patch has ``object_kind`` and ``changes``, and ``disown`` if it also removes seimigrate's managedFields entries. A
    replacement has the pod's uid and name, the grace period in seconds, and whether it is an eviction. A mark-ready has
    the task's id and the pod's uid and name. ``token`` is the fencing token of the run that intended it.
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
    """The state of a node's cutover or rollback; times are seconds since 1970.

    ``run`` is the fencing token of the run that may act on the node. ``rollback_to`` is the stage at whose end a
    rollback stops, ``None`` for a complete rollback. ``changes`` are the fields that were changed and not reverted, in
    order. ``mark_ready_attempts`` counts the mark-readies of this pod, and ``marked_ready_at`` is the time of the last
    one. ``rollback_runbooks`` are the runbooks bound to the stages when the node started. ``completed_steps`` are the
    indexes of completed steps without an observable effect. ``confirmed`` is true if an operator asked for the
    rollback.
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
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def unfinished(self) -> bool:
        """Return whether the node is in progress, paused or failed."""
        return self.outcome in (None, Outcome.PAUSED, Outcome.FAILED)

    def owned_by(self, run: str) -> Record:
        """Return the record with another run's token, which also replaces the token in an intent about the hold."""
        return replace(self, run=run, intent=_with_token(self.intent, run) if self.intent else None)

    @property
    def last_changed_stage(self) -> StageName:
        """Return the last stage with changes, whose rollback reverts all changes, including those of earlier runs."""
        return max((self.stage, *(StageName(change.stage) for change in self.changes)), key=lambda s: s.position)

    @property
    def reached(self) -> StageName:
        """Return the last completed stage: a rollback can stop at its end or earlier, never later."""
        if self.outcome in (Outcome.DONE, Outcome.DONE_HELD):
            return StageName.RELEASE
        if self.outcome in (Outcome.HELD, Outcome.ROLLED_BACK, Outcome.ROLLED_BACK_HELD):
            return self.rollback_to or StageName.HOLD
        before = list(StageName)[max(self.last_changed_stage.position - 1, 0)]
        merged = self.strategy is Strategy.MERGED and before.position < StageName.ENFORCE.position
        if self._patched or not (merged or self.direction is Direction.ROLLBACK):
            return before
        # The template is unwritten or already reverted, so there is no intermediate state to stop at.
        return self.rollback_to or min(StageName.CHECK, before, key=lambda stage: stage.position)

    @property
    def _patched(self) -> bool:
        """Return whether the template has changes of the cutover, according to the journal."""
        intended = self.intent is not None and _changes_template(self.intent.changes)
        recorded = _changes_template(self.changes)
        return recorded and not intended if self.direction is Direction.ROLLBACK else recorded or intended

    @property
    def undo_agreement_probe(self) -> Intent | None:
        """Return the intent to revert the agreement probe, whose result is valid for one template only."""
        if self.agreement_probe is None:
            return None
        return Intent(
            IntentKind.PATCH,
            object_kind=self.agreement_probe.kind,
            changes=(self.agreement_probe.inverse,),
            token=self.run,
        )

    def entering(self, stage: StageName, now: float) -> Record:
        """Return the record at the start of a stage."""
        return replace(self, stage=stage, since=now)

    def intending(self, intent: Intent, now: float) -> Record:
        """Return the record with an intended write."""
        return replace(
            self, intent=replace(intent, token=self.run, at=now), modified=self.modified or _modifies(intent)
        )

    def intent_resolved(self, now: float, *, applied: bool) -> Record:
        """Return the record after its intent was executed or dropped."""
        if self.intent is not None and self.intent.kind is IntentKind.MARK_READY:
            # ``since`` stays, because a repeated mark-ready is not progress: the pod's deadline keeps running.
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
        """Return the record of a failed node that rolls back; a hold that existed before the run stays."""
        rollback_to = StageName.HOLD if self.held_before else None
        return replace(
            self,
            direction=Direction.ROLLBACK,
            rollback_to=rollback_to,
            failure=reason,
            confirmed=False,
            completed_steps=(),
            stage=self.last_changed_stage,
            intent=self.undo_agreement_probe,
            since=now,
            agreed_at=None,
            agreement_probe=None,
            eviction_blocked_since=None,
        )

    def finished(self, outcome: Outcome, reason: str = "") -> Record:
        """Return the record with an outcome."""
        return replace(self, outcome=outcome, reason=reason)

    def with_notes(self, *notes: str) -> Record:
        """Return the record with added notes, without duplicates."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note not in self.notes)))

    def to_json(self) -> str:
        """Serialize the record for the journal, one line per field, so that the ConfigMap is readable."""
        values = {name: _WRITER.encode(getattr(self, name)) for name in _names(Record)}
        return "{\n" + ",\n".join(f' "{name}": {value}' for name, value in values.items()) + "\n}"


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(sorted(each.name for each in fields(cls)))


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass for JSON, without a deep copy."""
    return {name: getattr(value, name) for name in _names(value.__class__)}


_WRITER = json.JSONEncoder(default=_fields, sort_keys=True)


def merged(recorded: tuple[Change, ...], new: Iterable[Change]) -> tuple[Change, ...]:
    """Return the recorded changes with new ones added; a change and its inverse cancel out, labels are dropped.

    ``before`` stays the value that the field had before the cutover.
    """
    result = list(recorded)
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


class InvalidRecord(ValueError):  # noqa: N818 - the name states the condition
    """The journal is damaged or has an unsupported version."""


_READER = TypeAdapter(Record)


def parse(text: str) -> Record:
    """Parse a record from the journal; raises ``InvalidRecord`` with the first error."""
    try:
        record = _READER.validate_json(text)
    except ValidationError as error:
        raise InvalidRecord(first_error(error)) from None
    if record.version != VERSION:
        raise InvalidRecord(f"version is {record.version}, expected {VERSION}")
    return record


def first_error(error: ValidationError) -> str:
    """Return the first validation error with its location."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg']}"
