"""Findings about a node's objects: shapes, holds, and leftovers of earlier attempts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube.kinds import FENCE_ANNOTATION, HOLD_LABEL, MANAGER, Object
from seimigrate.domain.node import observation, shapes
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.shapes import ListenerLayout, Shape
from seimigrate.domain.plan.plan import Parameters


def findings(observed: NodeObservation, parameters: Parameters, *, in_progress: bool, now: float) -> Iterator[Finding]:
    """Yield the findings of a node; ``in_progress`` means an unfinished record, so seimigrate's marks are expected."""
    assert observed.seinode is not None
    meta = observed.seinode["metadata"]
    about = f"SeiNode {meta['namespace']}/{meta['name']}"
    if observed.statefulset is None:
        remedy = "wait for the controller to create it"
        yield Finding("no-statefulset", FindingSeverity.UNKNOWN, about, "has no StatefulSet", remedy)
        return
    try:
        layout = shapes.read(observed.statefulset["spec"]["template"]["spec"], parameters)
        yield from _template(about, layout)
        yield from _pod(observed, about, layout, parameters)
        yield from _service(observed, layout)
    except shapes.NotASeiNodePod as error:
        remedy = "check the container names in the plan's parameters"
        yield Finding("unexpected-shape", FindingSeverity.UNKNOWN, about, str(error), remedy)
    for obj in (observed.statefulset, observed.service):
        if obj is not None:
            yield from _marks(obj, in_progress=in_progress, now=now)
    if not in_progress and FENCE_ANNOTATION in ((observed.pod or {}).get("metadata", {}).get("annotations") or {}):
        what = "has the fence annotation of a run that lost its lock"
        remedy = "no action is required: the annotation is harmless and is removed with the pod"
        yield Finding(
            "leftover-fence", FindingSeverity.WARNING, f"Pod {meta['namespace']}/{meta['name']}-0", what, remedy
        )


def _template(about: str, layout: ListenerLayout) -> Iterator[Finding]:
    if layout.shape is not Shape.ENFORCED:
        paths = ", ".join(sorted(layout.ignored))
        who = f"any client can read {paths} through :{layout.proxy_port}" if paths else ""
        yield Finding(
            "not-enforced",
            FindingSeverity.ERROR,
            about,
            f"the template's shape is {layout.shape}, expected enforced",
            "cut the node over: seimigrate plan, then seimigrate apply",
            admits=who,
        )
    elif not layout.splits:
        yield Finding(
            "sidecar-not-accepted",
            FindingSeverity.UNKNOWN,
            about,
            f"cannot determine whether sidecar {layout.image} splits its listeners: the plan does not list it",
            "list the image: --set sidecars.supported=[...]",
        )


def _pod(observed: NodeObservation, about: str, template: ListenerLayout, parameters: Parameters) -> Iterator[Finding]:
    if observed.pod is None:
        yield Finding("no-pod", FindingSeverity.WARNING, about, "has no pod", "retry when the pod runs")
        return
    shape = shapes.read(observed.pod["spec"], parameters).shape
    if shape is not template.shape:
        yield Finding(
            "pod-outdated",
            FindingSeverity.ERROR if Shape.ENFORCED in (shape, template.shape) else FindingSeverity.WARNING,
            about,
            f"the pod's shape is {shape}, the template's shape is {template.shape}",
            "check whether the node is in progress: seimigrate status; to continue: seimigrate apply",
        )


def _service(observed: NodeObservation, layout: ListenerLayout) -> Iterator[Finding]:
    ports = (observed.service or {}).get("spec", {}).get("ports") or ()
    meta = (observed.service or {}).get("metadata", {})
    if layout.shape is Shape.SHARED and any(port["port"] == layout.plan_port for port in ports):
        yield Finding(
            "leftover-port",
            FindingSeverity.WARNING,
            f"Service {meta['namespace']}/{meta['name']}",
            f"has port {layout.plan_port}, which the template does not have",
            f"seimigrate rollback --node {meta['namespace']}/{meta['name']}, or remove the port",
        )


def _marks(obj: Object, *, in_progress: bool, now: float) -> Iterator[Finding]:
    meta = obj["metadata"]
    about = f"{obj['kind']} {meta['namespace']}/{meta['name']}"
    node = f"--node {meta['namespace']}/{meta['name']}"
    token = observation.hold_of(obj)
    if token is not None:
        age = _age(obj, now)
        since = f" for {_duration(age)}" if age is not None else ""
        what = f"is held by run {token}{since}: the controller cannot change it"
        remedy = f"release it: seimigrate apply {node}, or seimigrate rollback {node}"
        yield Finding("held", FindingSeverity.WARNING, about, what, remedy)
        return
    if observation.is_frozen(obj):
        remedy = f"kubectl -n {meta['namespace']} label {obj['kind'].lower()} {meta['name']} seimigrate.sei.io/freeze-"
        yield Finding("leftover-freeze", FindingSeverity.WARNING, about, "has the freeze label but is not held", remedy)
    if not in_progress and any(entry.get("manager") == MANAGER for entry in meta.get("managedFields") or ()):
        what = "has fields owned by seimigrate, which no other client removes"
        remedy = f"hand them over: seimigrate apply {node}; or revert them: seimigrate rollback {node}"
        yield Finding("leftover-fields", FindingSeverity.WARNING, about, what, remedy, field="metadata.managedFields")


def _age(obj: Object, now: float) -> float | None:
    """Return the seconds since the hold label was last written, from managedFields; ``None`` if unknown."""
    for entry in obj["metadata"].get("managedFields") or ():
        written = entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:labels", {})
        if entry.get("manager") == MANAGER and f"f:{HOLD_LABEL}" in written and entry.get("time"):
            return max(0.0, now - datetime.fromisoformat(entry["time"]).timestamp())
    return None


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
