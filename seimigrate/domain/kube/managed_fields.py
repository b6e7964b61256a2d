"""Field ownership: parsing managedFields, and the patch that removes a manager's entries.

The format is Kubernetes' FieldsV1: ``f:name`` for a key, ``k:{...}`` for a list entry by its merge keys, and an
empty map for a field owned as a whole (a list of arguments is one field).
"""

from __future__ import annotations

import json
from typing import Any

from seimigrate.domain.kube import field_paths
from seimigrate.domain.kube.field_paths import Entry, Key, Text
from seimigrate.domain.kube.kinds import Object


def owns(obj: Object, manager: str, path: str) -> bool:
    """Return whether a manager owns the field at a path of an object."""
    return any(
        _covers(entry.get("fieldsV1", {}), field_paths.parse(path))
        for entry in obj["metadata"].get("managedFields", [])
        if entry.get("manager") == manager
    )


def _covers(fields: dict[str, Any], tokens: tuple[field_paths.Token, ...]) -> bool:
    for token in tokens:
        if not fields or isinstance(token, Text):
            return True
        if isinstance(token, Key):
            name = f"f:{token.name}"
            if name not in fields:
                return False
            fields = fields[name]
        else:
            entries = [value for key, value in fields.items() if _is_entry(key, token)]
            if not entries:
                return False
            fields = entries[0]
    return True


def _is_entry(key: str, token: Entry) -> bool:
    return key.startswith("k:") and token.matches(json.loads(key[2:]))


def disown(obj: Object, manager: str) -> list[dict[str, Any]]:
    """Return the JSON Patch that removes a manager's entries from managedFields; empty if it has none.

    Kubernetes stores managedFields from an update unchanged (server-side apply documentation, "Clearing
    managedFields"). The patch fails if the entries have moved since.
    """
    entries = obj["metadata"].get("managedFields", [])
    operations: list[dict[str, Any]] = []
    for index in reversed(range(len(entries))):
        if entries[index].get("manager") == manager:
            path = f"/metadata/managedFields/{index}"
            operations.append({"op": "test", "path": f"{path}/manager", "value": manager})
            operations.append({"op": "remove", "path": path})
    return operations
