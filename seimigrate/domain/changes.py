"""One field of one object, before and after: what is written, journaled, shown and taken back.

A change and its inverse are the same thing with before and after swapped, so a way back is no second code path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

import jsonpatch

from seimigrate.domain import paths
from seimigrate.domain.kinds import Object
from seimigrate.domain.paths import Key, Pointer, Value

Operation = dict[str, Any]


class State(Enum):
    """Where an object stands with regard to a change."""

    BEFORE = "before"
    AFTER = "after"
    OTHER = "other"
    """Neither: somebody else changed the field."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field's value before and after; ``None`` is absent.

    ``kind`` is StatefulSet or Service, ``index`` the place in its list of an entry that is removed, so that it
    can come back there.
    """

    stage: str
    kind: str
    path: str
    before: Value
    after: Value
    index: int | None = None

    @property
    def inverse(self) -> Change:
        """Give the change that takes this one back."""
        return replace(self, before=self.after, after=self.before)

    def state(self, obj: Object) -> State:
        """Tell whether an object is as before the change, as after it, or as neither."""
        try:
            current = paths.read(obj, self.path)
        except LookupError:
            return State.OTHER
        if current == self.after:
            return State.AFTER
        return State.BEFORE if current == self.before else State.OTHER

    def to_json(self) -> dict[str, Any]:
        """Give the change as the journal keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Change:
        """Read a change from the journal; raises ``TypeError`` for other fields than its own."""
        return cls(**data)


class ConflictingChange(Exception):  # noqa: N818 - it names what it is about, and the engine's Conflict is another
    """Some fields are neither as before nor as after: somebody else changed them."""

    def __init__(self, changes: Sequence[Change]) -> None:
        super().__init__(", ".join(f"{c.kind} {c.path}" for c in changes))
        self.changes = tuple(changes)


def to_patch(obj: Object, changes: Iterable[Change]) -> list[Operation]:
    """Give the JSON Patch that makes the changes to an object, with a test on everything that it replaces.

    Changes that the object shows already are left out, so that nothing is added twice. Raises
    ``ConflictingChange`` naming every change whose field is neither as before nor as after.
    """
    return _patched(obj, changes)[0]


def apply(obj: Object, changes: Iterable[Change]) -> Object:
    """Give the object with the changes made; the given one stays as it is, and is given back if nothing is to do."""
    return _patched(obj, changes)[1]


def _patched(obj: Object, changes: Iterable[Change]) -> tuple[list[Operation], Object]:
    changes = list(changes)
    conflicts = [change for change in changes if change.state(obj) is State.OTHER]
    if conflicts:
        raise ConflictingChange(conflicts)
    operations: list[Operation] = []
    result = obj
    # Only what the changes are about is copied: managedFields and status are most of an object.
    roots = {change.path.partition(".")[0] for change in changes} & obj.keys()
    for change in changes:
        if change.state(result) is State.BEFORE:
            steps = _operations(result, change)
            # One copy of the object for all steps; one of the steps, whose values would become parts of it.
            result = {**obj, **{root: _copied(obj[root]) for root in roots}} if result is obj else result
            result = jsonpatch.apply_patch(result, _copied(steps), in_place=True)
            operations += [step for step in steps if step["op"] != "test" or step not in operations]
    return operations, result


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item if isinstance(item, str) else _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _operations(obj: Object, change: Change) -> list[Operation]:
    tokens = paths.parse(change.path)
    pointer = paths.locate(obj, tokens)
    if pointer is None:
        return _add(obj, change)
    where = paths.json_pointer(pointer)
    steps = [*_names_on_the_way(obj, pointer), {"op": "test", "path": where, "value": change.before}]
    if change.after is not None:
        return [*steps, {"op": "replace", "path": where, "value": change.after}]
    last_of_list = isinstance(pointer[-1], int) and len(paths.at(obj, pointer[:-1])) == 1
    # The API server stores no empty list: the last entry goes with its list, as it came.
    return [*steps, {"op": "remove", "path": paths.json_pointer(pointer[:-1]) if last_of_list else where}]


def _add(obj: Object, change: Change) -> list[Operation]:
    *parents, last = paths.parse(change.path)
    known = len(parents)
    while (pointer := paths.locate(obj, parents[:known])) is None:
        known -= 1
    missing = parents[known:]
    if any(not isinstance(token, Key) for token in missing):
        raise ConflictingChange([change])
    steps = _names_on_the_way(obj, pointer)
    value = change.after
    if missing:
        value = {last.name: value} if isinstance(last, Key) else [value]
        for token in reversed(missing[1:]):
            value = {token.name: value}  # type: ignore[union-attr]
        return [*steps, {"op": "add", "path": paths.json_pointer((*pointer, missing[0].name)), "value": value}]  # type: ignore[union-attr]
    if isinstance(last, Key):
        return [*steps, {"op": "add", "path": paths.json_pointer((*pointer, last.name)), "value": value}]
    length = len(paths.at(obj, pointer))
    place = "-" if change.index is None or change.index > length else change.index
    return [*steps, {"op": "add", "path": paths.json_pointer((*pointer, place)), "value": value}]


def _names_on_the_way(obj: Object, pointer: Pointer) -> list[Operation]:
    """Test the name of every list entry that the pointer goes through: an index alone may mean another by then."""
    tests: list[Operation] = []
    for end in range(1, len(pointer)):
        entry = paths.at(obj, pointer[:end])
        if isinstance(pointer[end - 1], int) and isinstance(entry, dict) and "name" in entry:
            where = paths.json_pointer((*pointer[:end], "name"))
            tests.append({"op": "test", "path": where, "value": entry["name"]})
    return tests
