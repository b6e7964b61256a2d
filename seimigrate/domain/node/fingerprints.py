"""What a saved plan depends on: of each node the fields that are tested or written, its images, and who it is.

A field is named by its object's kind and its path. Status, resourceVersions and managedFields are no part of it: they
change all the time, and a plan still fits.
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
"""By ``Kind path``: a number, an image or a uid as it is, anything else as a digest, ``None`` where it is absent."""

POD = "Pod metadata.uid"
_IDENTITY = ("SeiNode metadata.uid", "SeiNode metadata.generation", "StatefulSet metadata.uid", POD)
_PLAIN = ("uid", "generation", "image")
"""The last words of the paths whose values may be shown: the others may hold anything."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that is not as it was when the plan was saved."""

    field: str
    was: str | int | None
    now: str | int | None


def fingerprint(observed: NodeObservation, changes: Iterable[Change]) -> Fields:
    """Give a node's fingerprint, as long as these changes are to be made to it."""
    template = (observed.statefulset or {}).get("spec", {}).get("template", {}).get("spec", {})
    names = [*_IDENTITY, *(_image(template, each) for each in shapes.containers(template))]
    names += [f"{change.kind} {change.path}" for change in changes]
    return {name: _read(observed, name) for name in names}


def differences(
    saved: Fields, observed: NodeObservation, changes: Sequence[Change], record: Record | None
) -> list[Difference]:
    """Say what is not as it was when the plan was saved; what a run by this very plan did is no difference.

    ``record`` is what such a run left of the node, if one did: who is on the way is judged by its journal, who is done
    has nothing left to change, and who was brought back has another pod.
    """
    if record is not None and (record.unfinished or not changes):
        return []
    names = [name for name in saved if not (record is not None and record.replaced_pods and name == POD)]
    found = [Difference(name, saved[name], value) for name in names if (value := _read(observed, name)) != saved[name]]
    # What was not to be changed then, and is to be changed now: somebody put an old value there.
    now = fingerprint(observed, changes)
    return found + [Difference(name, None, now[name]) for name in now if name not in saved]


def digest(fields: Fields) -> str:
    """Give a short digest of a fingerprint."""
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
