"""The changes that each transform of a plan makes to a node's StatefulSet and Service.

A transform is idempotent: a field that already has the target value is skipped, so a partially changed node gets only
the missing changes. A transform rejects an unexpected object with an error instead of changing it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from seimigrate.domain.kube import changes as changing
from seimigrate.domain.kube import field_paths
from seimigrate.domain.kube.changes import Change
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import shapes
from seimigrate.domain.plan.plan import (
    AddPort,
    AddServicePort,
    ContainerName,
    MoveProbe,
    Parameters,
    Plan,
    PortName,
    RemoveArgument,
    ReplaceInArgument,
    SetEnv,
    SetImage,
    StageName,
)

STATEFUL_SET = "StatefulSet"
SERVICE = "Service"


class TransformError(Exception):
    """The object is not as the transform expects; operator action is required."""


@dataclass(frozen=True, slots=True)
class TransformContext:
    """The input of a transform: the node's objects after the preceding changes, and the plan's parameters."""

    statefulset: Object
    service: Object
    parameters: Parameters
    image: str | None
    """The sidecar image that the node will run; ``None`` if no supported image is known."""

    @property
    def spec(self) -> Object:
        """Return the pod spec of the template."""
        spec: Object = self.statefulset["spec"]["template"]["spec"]
        return spec

    def port(self, name: PortName) -> int:
        """Return the number of a port that a transform names."""
        if name is PortName.SIDECAR:
            return shapes.sidecar_port(self.spec, self.parameters)
        return self.parameters.ports.public if name is PortName.PUBLIC else self.parameters.ports.proxy

    def name_of(self, which: ContainerName) -> str:
        """Return a container's name in the pods."""
        name: str = getattr(self.parameters.containers, which.value)
        return name

    def container(self, which: ContainerName) -> Object:
        """Return a container of the template."""
        return shapes.container(self.spec, self.name_of(which))

    def path(self, which: ContainerName) -> str:
        """Return the path of a container of the template."""
        name = self.name_of(which)
        inits = self.spec.get("initContainers", [])
        field = "initContainers" if any(c["name"] == name for c in inits) else "containers"
        return f"spec.template.spec.{field}[name={name}]"


Edit = tuple[str, Any, Any, int | None]
"""Path, value before, value after, index in its list."""


def _add_service_port(site: TransformContext, do: AddServicePort) -> Iterable[Edit]:
    port = site.port(do.port)
    for entry in site.service["spec"].get("ports", []):
        same_port = entry["port"] == port and entry.get("protocol", "TCP") == "TCP"
        if same_port and entry.get("targetPort", port) in (port, do.name):
            return
        if same_port or entry.get("name") == do.name:
            raise TransformError(
                f"the Service's port {entry.get('name', entry['port'])} conflicts with port {port} {do.name}"
            )
    entry = {"name": do.name, "port": port, "protocol": "TCP", "targetPort": port}
    yield f"spec.ports[port={port},protocol=TCP]", None, entry, None


def _add_port(site: TransformContext, do: AddPort) -> Iterable[Edit]:
    port = site.port(do.port)
    if shapes.sidecar_port(site.spec, site.parameters) == port:
        raise TransformError(f"port {port} is the sidecar's own port and cannot be port {do.name}")
    own = site.name_of(do.container)
    for container in shapes.containers(site.spec):
        for entry in container.get("ports", []):
            if entry["containerPort"] == port and container["name"] == own:
                return
            if entry["containerPort"] == port or (entry.get("name") == do.name and container["name"] == own):
                name = entry.get("name", entry["containerPort"])
                raise TransformError(
                    f"port {name} of container {container['name']} conflicts with port {port} {do.name}"
                )
    entry = {"name": do.name, "containerPort": port, "protocol": "TCP"}
    yield f"{site.path(do.container)}.ports[containerPort={port},protocol=TCP]", None, entry, None


def _set_env(site: TransformContext, do: SetEnv) -> Iterable[Edit]:
    value = str(site.port(do.port))
    path = f"{site.path(do.container)}.env[name={do.name}]"
    entry = field_paths.read(site.statefulset, path)
    if entry is None:
        yield path, None, {"name": do.name, "value": value}, None
    elif "valueFrom" in entry:
        raise TransformError(f"{do.name} of container {site.name_of(do.container)} is set by valueFrom, not by value")
    elif entry.get("value") != value:
        yield f"{path}.value", entry.get("value"), value, None


def _set_image(site: TransformContext, do: SetImage) -> Iterable[Edit]:
    before = site.container(do.container)["image"]
    if site.image is not None and before != site.image:
        yield f"{site.path(do.container)}.image", before, site.image, None


def _move_probe(site: TransformContext, do: MoveProbe) -> Iterable[Edit]:
    container = site.container(do.container)
    probe = container.get(do.probe) or {}
    if probe.get("httpGet", {}).get("path") not in site.parameters.health_paths:
        return
    current, to = shapes.probe_port(container, probe), site.port(do.to)
    if current == to:
        return
    if current != (expected := site.parameters.ports.proxy):
        port = probe["httpGet"]["port"]
        raise TransformError(f"{do.probe} of container {container['name']} queries port {port}, expected {expected}")
    yield f"{site.path(do.container)}.{do.probe}.httpGet.port", probe["httpGet"]["port"], to, None


def _replace_in_argument(site: TransformContext, do: ReplaceInArgument) -> Iterable[Edit]:
    container, to = site.container(do.container), site.port(do.to)
    gates = [argument for argument in container.get("args", []) if do.after in argument]
    if not gates:
        return
    if len(gates) > 1:
        raise TransformError(f"{len(gates)} arguments of container {container['name']} contain {do.after}, expected 1")
    expected = {to, site.port(PortName.SIDECAR)}
    pattern = re.compile(f"({re.escape(do.after)})(\\d+)")
    unexpected = [port for _, port in pattern.findall(gates[0]) if int(port) not in expected]
    if unexpected:
        raise TransformError(
            f"an argument of container {container['name']} polls port {unexpected[0]} after {do.after}, "
            f"expected {' or '.join(str(port) for port in sorted(expected))}"
        )
    moved = pattern.sub(rf"\g<1>{to}", gates[0])
    if moved != gates[0]:
        yield f"{site.path(do.container)}.args[*={do.after}]", gates[0], moved, None


def _remove_argument(site: TransformContext, do: RemoveArgument) -> Iterable[Edit]:
    container = site.container(do.container)
    arguments = container.get("args", [])
    if do.prefix.rstrip("=") in arguments:
        raise TransformError(f"{do.prefix} of container {container['name']} is split into two arguments, expected one")
    indexes = [index for index, argument in enumerate(arguments) if argument.startswith(do.prefix)]
    if len(indexes) > 1:
        raise TransformError(f"container {container['name']} has {len(indexes)} arguments {do.prefix}, expected 1")
    for index in indexes:
        yield f"{site.path(do.container)}.args[^={do.prefix}]", arguments[index], None, index


_EDITS: dict[type, Callable[[TransformContext, Any], Iterable[Edit]]] = {
    AddServicePort: _add_service_port,
    AddPort: _add_port,
    SetEnv: _set_env,
    SetImage: _set_image,
    MoveProbe: _move_probe,
    ReplaceInArgument: _replace_in_argument,
    RemoveArgument: _remove_argument,
}


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """The changes that the cutover would make to a node, and the problems that an operator has to fix first."""

    changes: tuple[Change, ...]
    problems: tuple[str, ...]


def pending_changes(statefulset: Object, service: Object, plan: Plan, image: str | None) -> PendingChanges:
    """Return all changes from the current objects to the end of the cutover, in the order of the stages.

    ``image`` is the sidecar image that the node will run. A transform that fails is reported as a problem and skipped,
    so that the remaining changes can still be shown.
    """
    pending: list[Change] = []
    problems: list[str] = []
    for stage in plan.stages:
        for do in stage.transforms:
            kind = SERVICE if isinstance(do, AddServicePort) else STATEFUL_SET
            site = TransformContext(statefulset, service, plan.parameters, image)
            try:
                new = [Change(stage.stage, kind, *edit) for edit in _EDITS[type(do)](site, do)]
                if kind == SERVICE:
                    service = changing.apply(service, new)
                else:
                    statefulset = changing.apply(statefulset, new)
            except (TransformError, shapes.NotASeiNodePod, LookupError, changing.ConflictingChange) as error:
                problems.append(f"{stage.stage}: {error}")
                continue
            pending += new
    return PendingChanges(tuple(pending), tuple(problems))


def batches(
    statefulset: Object, changes: Iterable[Change], parameters: Parameters, *, merged: bool
) -> list[tuple[StageName, list[Change]]]:
    """Group a node's changes into writes, each named by the last stage that it completes.

    A drain or a crash can create a pod of the current template at any time. Stages are therefore joined until a pod of
    the template could become Ready: for example expose and probes, if the template's image already splits. With
    ``merged``, all stages are joined.
    """
    batch: list[Change] = []
    writes: list[tuple[StageName, list[Change]]] = []
    changes = list(changes)
    last = max((StageName(change.stage).position for change in changes), default=-1)
    for stage in StageName:
        new = [change for change in changes if change.stage == stage]
        batch += new
        statefulset = changing.apply(statefulset, (change for change in new if change.kind == STATEFUL_SET))
        if not batch or (stage.position < last and (merged or start_blockers(statefulset, parameters))):
            continue
        writes.append((stage, batch))
        batch = []
    return writes


def start_blockers(statefulset: Object, parameters: Parameters) -> list[str]:
    """Return why a pod of a StatefulSet's template could never become Ready; empty if it could."""
    try:
        return shapes.read(statefulset["spec"]["template"]["spec"], parameters).start_blockers()
    except shapes.NotASeiNodePod as error:
        return [str(error)]
