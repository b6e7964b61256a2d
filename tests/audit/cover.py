"""Whether a change of an object is just what an intent said, and nothing besides."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

from tests.audit.events import Json

SEGMENT = re.compile(r"([^.\[\]]+)(?:\[([^\]]*)\])?(?:\.|$)")
HOLD_PATH = "metadata.labels[seimigrate.sei.io/hold]"


class Absent:
    """What is found where nothing is."""

    def __repr__(self) -> str:
        """Say so."""
        return "absent"


ABSENT = Absent()


def uncovered(before: Json, after: Json, changes: Iterable[Json], tokens: Iterable[str] = ()) -> list[str]:
    """Tell what of a change the intent's changes do not cover; nothing if they cover all.

    ``tokens`` are the fencing tokens that the hold label may have got instead of the one in the changes.
    """
    old, new = bare(before), bare(after)
    found = []
    for change in changes:
        path = str(change["path"])
        had, has = take(old, path), take(new, path)
        retaken = path == HOLD_PATH and isinstance(has, str) and has in set(tokens)
        if not same(change.get("after"), has) and not retaken:
            found.append(f"{path} is not what the intent says it becomes")
        if not same(change.get("before"), had) and not same(change.get("after"), had) and not retaken:
            found.append(f"{path} was not what the intent says it was")
    return found + [f"{path} changed, and the intent does not say so" for path in differences(old, new)]


def bare(thing: Json) -> Json:
    """Copy an object without its status and without what the API server itself keeps in it."""
    kept = {name: copy.deepcopy(part) for name, part in thing.items() if name != "status"}
    for bookkeeping in ("managedFields", "resourceVersion", "generation"):
        kept.get("metadata", {}).pop(bookkeeping, None)
    return kept


def take(thing: Json, path: str) -> Any:
    """Remove what a path names from an object and give it; what is left empty by that goes too."""
    return _take(thing, _steps(path))


def same(expected: Any, actual: Any) -> bool:
    """Compare a value of an intent (``None``: absent) with what is there, given what the API server fills in."""
    if expected is None:
        return actual is ABSENT
    if isinstance(expected, dict) and isinstance(actual, dict):
        extra = {name: value for name, value in actual.items() if name not in expected}
        defaults = {"protocol": "TCP", "targetPort": expected.get("port", ABSENT)}
        return all(same(value, actual.get(name, ABSENT)) for name, value in expected.items()) and all(
            defaults.get(name) == value for name, value in extra.items()
        )
    return type(expected) is type(actual) and bool(expected == actual)


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Name the places at which two values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted(old.keys() | new.keys())
        inner = [(f"{path}.{name}".lstrip("."), old.get(name, ABSENT), new.get(name, ABSENT)) for name in names]
        return [place for where, was, now in inner for place in differences(was, now, where)]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [place for index, (was, now) in pairs for place in differences(was, now, f"{path}[{index}]")]
    return [] if type(old) is type(new) and old == new else [path]


def _steps(path: str) -> list[str]:
    """Split ``a.b[k=v].c`` into ``a``, ``b``, ``[k=v]``, ``c``; brackets keep their dots."""
    steps: list[str] = []
    position = 0
    while position < len(path):
        found = SEGMENT.match(path, position)
        if found is None:
            raise ValueError(f"not a path: {path!r}")
        steps.append(found[1])
        if found[2] is not None:
            steps.append(f"[{found[2]}")
        position = found.end()
    return steps


def _take(thing: Any, steps: list[str]) -> Any:
    place = _find(thing, steps[0])
    if place is None:
        return ABSENT
    if len(steps) == 1:
        return thing.pop(place)
    taken = _take(thing[place], steps[1:])
    if taken is not ABSENT and thing[place] in ({}, []):
        del thing[place]
    return taken


def _find(thing: Any, step: str) -> Any:
    """Give the key or index of what a step names in a mapping or list; ``None`` if it is not there."""
    if isinstance(thing, dict):
        name = step.removeprefix("[")
        return name if name in thing else None
    if isinstance(thing, list) and step.startswith("["):
        return next((index for index, item in enumerate(thing) if _selected(item, step[1:])), None)
    return None


def _selected(item: Any, selector: str) -> bool:
    if selector.startswith("^="):
        return isinstance(item, str) and item.startswith(selector[2:])
    if selector.startswith("*="):
        return isinstance(item, str) and selector[2:] in item
    if not isinstance(item, dict):
        return bool(item == selector)
    wanted = dict(part.partition("=")[::2] for part in selector.split(","))
    given = {"protocol": "TCP", **item}
    return all(str(given.get(name)) == value for name, value in wanted.items())
