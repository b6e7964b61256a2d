"""Changes: one field of one object, before and after, as written, journaled, shown and reverted.

The inverse of a change has before and after swapped, so a rollback uses the same code as a cutover.
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
    """The state of an object with respect to a change."""

    BEFORE = "before"
    AFTER = "after"
    OTHER = "other"
    """Neither: another client changed the field."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field's value before and after; ``None`` is absent.

    ``kind`` is StatefulSet or Service. ``index`` is the position of a removed list entry, at which the inverse restores
    the entry.
    """

    stage: str
    kind: str
    path: str
    before: Value
    after: Value
    index: int | None = None

    @property
    def inverse(self) -> Change:
        """Return the change that reverts this one."""
        return replace(self, before=self.after, after=self.before)

    def state(self, obj: Object) -> State:
        """Return whether the field has the value before the change, after it, or neither."""
        try:
            current = field_paths.read(obj, self.path)
        except LookupError:
            return State.OTHER
        if current == self.after:
            return State.AFTER
        return State.BEFORE if current == self.before else State.OTHER

    def to_json(self) -> dict[str, Any]:
        """Return the change in the journal's format."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Change:
        """Parse a change from the journal; raises ``TypeError`` for unknown fields."""
        return cls(**data)


class ConflictingChange(Exception):  # noqa: N818 - it names what it is about, and the engine's Conflict is another
    """Fields have neither the value before nor the value after: another client changed them."""

    def __init__(self, changes: Sequence[Change]) -> None:
        super().__init__(", ".join(f"{c.kind} {c.path}" for c in changes))
        self.changes = tuple(changes)


def to_patch(obj: Object, changes: Iterable[Change]) -> list[Operation]:
    """Return the JSON Patch that applies the changes to an object, with a test of every value it replaces.

    Changes that are already applied are skipped, so that nothing is added twice. Raises ``ConflictingChange`` with all
    changes whose field has neither value.
    """
    return _patched(obj, changes)[0]


def apply(obj: Object, changes: Iterable[Change]) -> Object:
    """Return the object with the changes applied; the input is not modified, and returned if nothing changes."""
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
            tests, edit = _plan_edit(result, change)
            operations += [test for test in tests if test not in operations]
            operations.append(edit.operation)
            result = edit.apply(result)
    return operations, result


@dataclass(frozen=True, slots=True)
class _Edit:
    """One operation of a JSON Patch; a pointer that ends with ``-`` is the end of a list."""

    op: str
    pointer: Pointer
    value: Value = None

    @property
    def operation(self) -> Operation:
        """Return the operation in JSON Patch format."""
        operation = {"op": self.op, "path": field_paths.json_pointer(self.pointer)}
        return operation if self.op == "remove" else {**operation, "value": self.value}

    def apply(self, obj: Any, depth: int = 0) -> Any:
        """Return the object with the edit applied; only the maps and lists along the pointer are copied."""
        result, step = obj.copy(), self.pointer[depth]
        if depth + 1 < len(self.pointer):
            result[step] = self.apply(obj[step], depth + 1)
        elif self.op == "remove":
            del result[step]
        elif isinstance(result, list) and self.op == "add":
            result.insert(len(result) if step == "-" else int(step), self.value)
        else:
            result[step] = self.value
        return result


def _plan_edit(obj: Object, change: Change) -> tuple[list[Operation], _Edit]:
    """Return the tests of the enclosing list entries and of the replaced value, and the edit itself."""
    pointer = field_paths.locate(obj, field_paths.parse(change.path))
    if pointer is None:
        edit = _addition(obj, change)
        return _name_tests(obj, edit.pointer), edit
    replaced = {"op": "test", "path": field_paths.json_pointer(pointer), "value": change.before}
    tests = [*_name_tests(obj, pointer), replaced]
    if change.after is not None:
        return tests, _Edit("replace", pointer, change.after)
    last_of_list = isinstance(pointer[-1], int) and len(field_paths.at(obj, pointer[:-1])) == 1
    # The API server stores no empty list, so the last entry is removed together with its list.
    return tests, _Edit("remove", pointer[:-1] if last_of_list else pointer)


def _addition(obj: Object, change: Change) -> _Edit:
    *parents, last = field_paths.parse(change.path)
    existing = len(parents)
    while (pointer := field_paths.locate(obj, parents[:existing])) is None:
        existing -= 1
    missing = parents[existing:]
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
    position = "-" if change.index is None or change.index > length else change.index
    return _Edit("add", (*pointer, position), value)


def _name_tests(obj: Object, pointer: Pointer) -> list[Operation]:
    """Return tests of the names of all list entries along the pointer, because indexes can shift."""
    tests: list[Operation] = []
    for end in range(1, len(pointer)):
        entry = field_paths.at(obj, pointer[:end])
        if isinstance(pointer[end - 1], int) and isinstance(entry, dict) and "name" in entry:
            path = field_paths.json_pointer((*pointer[:end], "name"))
            tests.append({"op": "test", "path": path, "value": entry["name"]})
    return tests
