"""Who owns which field: server-side apply and managedFields, as far as the simulation needs them.

A field's path is a tuple of the elements that ``fieldsV1`` uses: ``f:name`` for a member, ``k:{...}`` for an item of
a list that is merged by key, ``.`` for the presence of such an item. The rules are those that the real server showed
for StatefulSets and Services; kinds with other list keys are not covered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from seimigrate.domain.kube.kinds import Object
from seimigrate.simulation.objects import copy_json

Path = tuple[str, ...]
Leaves = dict[Path, Any]
"""The fields of an object that managers can own, by their paths."""

_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
}
_ATOMIC = frozenset({"selector", "nodeSelector", "requiredDuringSchedulingIgnoredDuringExecution", "secretKeyRef"})
_OWNED_METADATA = ("labels", "annotations", "ownerReferences")
_DROPPED_WHEN_EMPTY = frozenset({"labels", "annotations", "env", "ports", "args", "command", "volumeMounts"})


def list_keys(name: str, items: list[Any]) -> tuple[str, ...] | None:
    """Give the members by which a list's items are told apart, ``None`` for a list that is one value."""
    if name == "ports":
        return ("containerPort" if items and "containerPort" in items[0] else "port", "protocol")
    return _KEYS.get(name)


def item_key(item: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """Write an item's key as ``fieldsV1`` writes it."""
    return _write_key(keys, tuple(item.get(key, "TCP" if key == "protocol" else None) for key in keys))


@lru_cache(maxsize=4096)
def _write_key(keys: tuple[str, ...], values: tuple[Any, ...]) -> str:
    return "k:" + json.dumps(dict(zip(keys, values, strict=True)), separators=(",", ":"))


def leaves(body: Object) -> Leaves:
    """Give every field of an object that a manager can own, by its path; status is left out."""
    found: Leaves = {}
    metadata = body.get("metadata", {})
    for name in _OWNED_METADATA:
        if name in metadata:
            _walk(metadata[name], name, ("f:metadata", f"f:{name}"), found)
    for name, value in body.items():
        if name not in ("apiVersion", "kind", "metadata", "status"):
            _walk(value, name, (f"f:{name}",), found)
    return found


def _walk(value: Any, name: str, path: Path, found: Leaves) -> None:
    if isinstance(value, dict) and value and name not in _ATOMIC:
        for key, item in value.items():
            _walk(item, key, (*path, f"f:{key}"), found)
        return
    keys = list_keys(name, value) if isinstance(value, list) else None
    if keys is None or name in _ATOMIC:
        found[path] = value
        return
    for item in value:
        place = (*path, item_key(item, keys))
        if name == "ownerReferences":
            found[place] = item
            continue
        found[(*place, ".")] = None
        for key, member in item.items():
            _walk(member, key, (*place, f"f:{key}"), found)


def encode(paths: Iterable[Path]) -> Object:
    """Write paths as a ``fieldsV1`` tree."""
    tree: Object = {}
    for path in sorted(paths):
        place = tree
        for element in path:
            place = place.setdefault(element, {})
    return tree


def decode(tree: Mapping[str, Any]) -> frozenset[Path]:
    """Read the paths of a ``fieldsV1`` tree."""
    found: set[Path] = set()

    def walk(place: Mapping[str, Any], path: Path) -> None:
        if not place:
            found.add(path)
        for element, below in place.items():
            walk(below, (*path, element))

    for element, below in tree.items():
        walk(below, (element,))
    return frozenset(found)


def merge(live: Any, applied: Any, name: str = "") -> Any:
    """Lay an applied configuration over what is there; what it does not name stays."""
    if isinstance(live, dict) and isinstance(applied, dict) and name not in _ATOMIC:
        return live | {key: merge(live.get(key), value, key) for key, value in applied.items()}
    keys = list_keys(name, applied) if isinstance(applied, list) and isinstance(live, list) else None
    if keys is None:
        return copy_json(applied)
    items = {item_key(item, keys): item for item in live}
    for item in applied:
        key = item_key(item, keys)
        items[key] = merge(items.get(key), item)
    return list(items.values())


def remove(body: Object, paths: Iterable[Path], kept: frozenset[Path]) -> Object:
    """Take fields out of an object; a list's item goes with its presence unless somebody still owns a part of it."""
    result: Object = copy_json(body)
    # Whole items first: an item that has lost its key can no longer be found.
    for path in sorted(paths, key=lambda path: path[-1] != "."):
        target = path[:-1] if path[-1] == "." else path
        if path[-1] == "." and any(other[: len(target)] == target for other in kept):
            continue
        _remove_one(result, target)
    return result


def _remove_one(body: Object, path: Path) -> None:
    place: Any = body
    for depth, element in enumerate(path):
        last = depth == len(path) - 1
        if element.startswith("f:"):
            name = element[2:]
            if not isinstance(place, dict) or name not in place:
                return
            if last:
                if not (depth and path[depth - 1].startswith("k:") and name in json.loads(path[depth - 1][2:])):
                    del place[name]
                return
            place = place[name]
            continue
        wanted = json.loads(element[2:])
        index = next((n for n, item in enumerate(place) if _has(item, wanted)), None)
        if index is None:
            return
        if last:
            del place[index]
            return
        place = place[index]


def _has(item: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(item.get(key, "TCP" if key == "protocol" else None) == value for key, value in wanted.items())


def without_empties(value: Any) -> Any:
    """Leave out maps and lists that the API server does not keep when they are empty."""
    if isinstance(value, list):
        return [without_empties(item) if isinstance(item, dict | list) else item for item in value]
    result = {}
    for key, item in value.items():
        kept = without_empties(item) if isinstance(item, dict | list) and key != "managedFields" else item
        if kept or key not in _DROPPED_WHEN_EMPTY:
            result[key] = kept
    return result


def owned(body: Object, manager: str, operation: str) -> frozenset[Path]:
    """Give what a manager's entry says that it owns."""
    for entry in body["metadata"].get("managedFields", ()):
        if entry["manager"] == manager and entry["operation"] == operation and not entry.get("subresource"):
            return decode(entry["fieldsV1"])
    return frozenset()


def record_update(new: Object, before: Leaves, after: Leaves, manager: str, time: str) -> None:
    """Give the changed fields of ``new`` to a manager's Update entry and take them from everybody else."""
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    gone = before.keys() - after.keys()
    if changed or gone:
        mine = (owned(new, manager, "Update") | changed) - gone
        _set_entry(new, manager, "Update", mine, changed | gone, time)


def record_apply(new: Object, before: Leaves, after: Leaves, applied: frozenset[Path], manager: str, time: str) -> None:
    """Make a manager's Apply entry own what it applied, and take what that changed from everybody else."""
    taken = {path for path, value in after.items() if path in before and before[path] != value}
    _set_entry(new, manager, "Apply", applied, taken | (before.keys() - after.keys()), time)


def _set_entry(body: Object, manager: str, operation: str, mine: Iterable[Path], taken: set[Path], time: str) -> None:
    entries = []
    for entry in body["metadata"].get("managedFields", ()):
        if entry["manager"] == manager and entry["operation"] == operation and not entry.get("subresource"):
            continue
        fields = decode(entry["fieldsV1"])
        if fields & taken:
            entry = entry | {"fieldsV1": encode(fields - taken)}
        if entry["fieldsV1"]:
            entries.append(entry)
    tree = encode(mine)
    if tree:
        entry = {"manager": manager, "operation": operation, "apiVersion": body["apiVersion"], "time": time}
        entries.append(entry | {"fieldsType": "FieldsV1", "fieldsV1": tree})
    if entries:
        body["metadata"]["managedFields"] = entries
    else:
        body["metadata"].pop("managedFields", None)
