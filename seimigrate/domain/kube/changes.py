"""One field of one object, before and after: what is written, journaled, shown and taken back.

A change and its inverse are the same thing with before and after swapped, so a way back is no second code path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from seimigrate.domain.kube import field_paths
from seimigrate.domain.kube.field_paths import Key, Pointer, Value
from seimigrate.domain.kube.kinds import Object

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
            current = field_paths.read(obj, self.path)
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
    for change in changes:
        if change.state(result) is State.BEFORE:
            tests, edit = _planned(result, change)
            operations += [test for test in tests if test not in operations]
            operations.append(edit.operation)
            result = edit.made(result)
    return operations, result


@dataclass(frozen=True, slots=True)
class _Edit:
    """One operation of a JSON Patch at a concrete place; ``-`` at its end is the end of a list."""

    op: str
    pointer: Pointer
    value: Value = None

    @property
    def operation(self) -> Operation:
        """Give the operation as a JSON Patch has it."""
        operation = {"op": self.op, "path": field_paths.json_pointer(self.pointer)}
        return operation if self.op == "remove" else {**operation, "value": self.value}

    def made(self, obj: Any, depth: int = 0) -> Any:
        """Give the object with this done; only the maps and lists on the way to the place are new."""
        result, step = obj.copy(), self.pointer[depth]
        if depth + 1 < len(self.pointer):
            result[step] = self.made(obj[step], depth + 1)
        elif self.op == "remove":
            del result[step]
        elif isinstance(result, list) and self.op == "add":
            result.insert(len(result) if step == "-" else int(step), self.value)
        else:
            result[step] = self.value
        return result


def _planned(obj: Object, change: Change) -> tuple[list[Operation], _Edit]:
    """Give tests of the entries that a change is in and of what it replaces, and the edit itself."""
    pointer = field_paths.locate(obj, field_paths.parse(change.path))
    if pointer is None:
        edit = _addition(obj, change)
        return _names_on_the_way(obj, edit.pointer), edit
    replaced = {"op": "test", "path": field_paths.json_pointer(pointer), "value": change.before}
    tests = [*_names_on_the_way(obj, pointer), replaced]
    if change.after is not None:
        return tests, _Edit("replace", pointer, change.after)
    last_of_list = isinstance(pointer[-1], int) and len(field_paths.at(obj, pointer[:-1])) == 1
    # The API server stores no empty list: the last entry goes with its list, as it came.
    return tests, _Edit("remove", pointer[:-1] if last_of_list else pointer)


def _addition(obj: Object, change: Change) -> _Edit:
    *parents, last = field_paths.parse(change.path)
    known = len(parents)
    while (pointer := field_paths.locate(obj, parents[:known])) is None:
        known -= 1
    missing = parents[known:]
    if any(not isinstance(token, Key) for token in missing):
        raise ConflictingChange([change])
    value = change.after
    if missing:
        value = {last.name: value} if isinstance(last, Key) else [value]
        for token in reversed(missing[1:]):
            value = {token.name: value}  # type: ignore[union-attr]
        return _Edit("add", (*pointer, missing[0].name), value)  # type: ignore[union-attr]
    if isinstance(last, Key):
        return _Edit("add", (*pointer, last.name), value)
    length = len(field_paths.at(obj, pointer))
    place = "-" if change.index is None or change.index > length else change.index
    return _Edit("add", (*pointer, place), value)


def _names_on_the_way(obj: Object, pointer: Pointer) -> list[Operation]:
    """Test the name of every list entry that the pointer goes through: an index alone may mean another by then."""
    tests: list[Operation] = []
    for end in range(1, len(pointer)):
        entry = field_paths.at(obj, pointer[:end])
        if isinstance(pointer[end - 1], int) and isinstance(entry, dict) and "name" in entry:
            where = field_paths.json_pointer((*pointer[:end], "name"))
            tests.append({"op": "test", "path": where, "value": entry["name"]})
    return tests
