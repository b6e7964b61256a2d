"""What a node looks like to whoever asks whether it is closed: shapes, leftovers of older attempts, holds."""

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
    """Give what is found on a node; ``moving`` tells that its record is open, so that traces of ours belong there."""
    assert observed.seinode is not None
    meta = observed.seinode["metadata"]
    about = f"SeiNode {meta['namespace']}/{meta['name']}"
    if observed.statefulset is None:
        remedy = "let the controller create it"
        yield Finding("no-statefulset", FindingSeverity.UNKNOWN, about, "has no StatefulSet to look at", remedy)
        return
    try:
        wiring = shapes.read(observed.statefulset["spec"]["template"]["spec"], parameters)
        yield from _template(about, wiring)
        yield from _pod(observed, about, wiring, parameters)
        yield from _service(observed, wiring)
    except shapes.NotASeiNodePod as error:
        remedy = "check the container names in the plan's parameters"
        yield Finding("unexpected-shape", FindingSeverity.UNKNOWN, about, str(error), remedy)
    for obj in (observed.statefulset, observed.service):
        if obj is not None:
            yield from _traces(obj, in_progress=in_progress, now=now)
    if not in_progress and FENCE_ANNOTATION in ((observed.pod or {}).get("metadata", {}).get("annotations") or {}):
        what = "carries the fence of a run that lost its lock"
        remedy = "it does no harm, and goes with the pod"
        yield Finding(
            "leftover-fence", FindingSeverity.WARNING, f"Pod {meta['namespace']}/{meta['name']}-0", what, remedy
        )


def _template(about: str, wiring: ListenerLayout) -> Iterator[Finding]:
    if wiring.shape is not Shape.ENFORCED:
        who = f"{', '.join(sorted(wiring.ignored))} through :{wiring.proxy_port}, by anybody" if wiring.ignored else ""
        yield Finding(
            "not-enforced",
            FindingSeverity.ERROR,
            about,
            f"its template's shape is {wiring.shape}, not enforced",
            "cut it over: seimigrate plan, then seimigrate apply",
            admits=who,
        )
    elif not wiring.splits:
        yield Finding(
            "sidecar-not-accepted",
            FindingSeverity.UNKNOWN,
            about,
            f"whether its sidecar {wiring.image} splits its listeners is not known: the plan does not list it",
            "list it: --set sidecars.supported=[...]",
        )


def _pod(observed: NodeObservation, about: str, template: ListenerLayout, parameters: Parameters) -> Iterator[Finding]:
    if observed.pod is None:
        yield Finding("no-pod", FindingSeverity.WARNING, about, "has no pod now", "look again when it runs")
        return
    shape = shapes.read(observed.pod["spec"], parameters).shape
    if shape is not template.shape:
        yield Finding(
            "pod-outdated",
            FindingSeverity.ERROR if Shape.ENFORCED in (shape, template.shape) else FindingSeverity.WARNING,
            about,
            f"its pod's shape is {shape}, its template's {template.shape}",
            "seimigrate status shows whether it is on its way; seimigrate apply goes on",
        )


def _service(observed: NodeObservation, wiring: ListenerLayout) -> Iterator[Finding]:
    ports = (observed.service or {}).get("spec", {}).get("ports") or ()
    meta = (observed.service or {}).get("metadata", {})
    if wiring.shape is Shape.SHARED and any(port["port"] == wiring.plan_port for port in ports):
        yield Finding(
            "leftover-port",
            FindingSeverity.WARNING,
            f"Service {meta['namespace']}/{meta['name']}",
            f"has port {wiring.plan_port}, where nobody answers: its template does not have it",
            f"seimigrate rollback --node {meta['namespace']}/{meta['name']}, or take the port out",
        )


def _traces(obj: Object, *, in_progress: bool, now: float) -> Iterator[Finding]:
    meta = obj["metadata"]
    about = f"{obj['kind']} {meta['namespace']}/{meta['name']}"
    node = f"--node {meta['namespace']}/{meta['name']}"
    token = observation.hold_of(obj)
    if token is not None:
        age = _age(obj, now)
        since = f" for {_duration(age)}" if age is not None else ""
        what = f"is held by run {token}{since}: its controller may not change it"
        yield Finding(
            "held", FindingSeverity.WARNING, about, what, f"seimigrate apply {node} hands it back, or rollback"
        )
        return
    if observation.is_frozen(obj):
        remedy = f"kubectl -n {meta['namespace']} label {obj['kind'].lower()} {meta['name']} seimigrate.sei.io/freeze-"
        yield Finding(
            "leftover-freeze", FindingSeverity.WARNING, about, "has the freeze label, and is not held", remedy
        )
    if not in_progress and any(entry.get("manager") == MANAGER for entry in meta.get("managedFields") or ()):
        what = "has fields that seimigrate owns, and so nobody else would ever remove"
        remedy = f"seimigrate apply {node} hands them over, or seimigrate rollback {node} takes them back"
        yield Finding("leftover-fields", FindingSeverity.WARNING, about, what, remedy, field="metadata.managedFields")


def _age(obj: Object, now: float) -> float | None:
    """Give the seconds since the hold label was last written, as managedFields tell."""
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
