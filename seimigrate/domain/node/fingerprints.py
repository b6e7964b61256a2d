"""The fingerprint of a node: its identity, its images, and the fields that a saved plan tests or writes.

A field is named by its object's kind and its path. Status, resourceVersions and managedFields are excluded: they
change continuously and do not make a plan stale.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seimigrate.domain.kube import field_paths
from seimigrate.domain.kube.changes import Change
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import shapes
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.record import Record

Fields = Mapping[str, str | int | None]
"""Values by ``Kind path``: numbers, images and uids in plain text, other values as a digest, ``None`` if absent."""

POD = "Pod metadata.uid"
_IDENTITY = ("SeiNode metadata.uid", "SeiNode metadata.generation", "StatefulSet metadata.uid", POD)
_PLAIN = ("uid", "generation", "image")
"""The last path segments whose values are shown in plain text; other values could be sensitive."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that has changed since the plan was saved."""

    field: str
    was: str | int | None
    now: str | int | None


def fingerprint(observed: NodeObservation, changes: Iterable[Change]) -> Fields:
    """Return a node's fingerprint while these changes are pending."""
    template = (observed.statefulset or {}).get("spec", {}).get("template", {}).get("spec", {})
    names = [*_IDENTITY, *(_image(template, container) for container in shapes.containers(template))]
    names += [f"{change.kind} {change.path}" for change in changes]
    return {name: _read(observed, name) for name in names}


def differences(
    saved: Fields, observed: NodeObservation, changes: Sequence[Change], record: Record | None
) -> list[Difference]:
    """Return the fields that changed since the plan was saved, without changes made by an earlier run of this plan.

    ``record`` is the node's record from such a run, if there is one. An unfinished node is resumed from its journal, a
    finished node has no pending changes, and a rolled-back node is expected to have a new pod.
    """
    if record is not None and (record.unfinished or not changes):
        return []
    names = [name for name in saved if not (record is not None and record.replaced_pods and name == POD)]
    changed = [
        Difference(name, saved[name], value) for name in names if (value := _read(observed, name)) != saved[name]
    ]
    # A change that is pending now and was not when the plan was saved: another client restored an old value.
    now = fingerprint(observed, changes)
    return changed + [Difference(name, None, now[name]) for name in now if name not in saved]


def digest(fields: Fields) -> str:
    """Return a short digest of a fingerprint."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def _image(spec: Object, container: Object) -> str:
    kind = "initContainers" if container in spec.get("initContainers", []) else "containers"
    return f"StatefulSet spec.template.spec.{kind}[name={container['name']}].image"


def _read(observed: NodeObservation, name: str) -> str | int | None:
    kind, _, path = name.partition(" ")
    obj = {
        "SeiNode": observed.seinode,
        "StatefulSet": observed.statefulset,
        "Service": observed.service,
        "Pod": observed.pod,
    }[kind]
    try:
        return _shortened(path, field_paths.read(obj, path))
    except LookupError:
        return "ambiguous"


def _shortened(path: str, value: Any) -> str | int | None:
    if value is None or isinstance(value, int) or (isinstance(value, str) and path.rpartition(".")[2] in _PLAIN):
        return value
    return "sha256:" + hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
