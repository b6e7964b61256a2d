"""Scenes on a simulated world that several tests play: policies, holds, and templates patched by hand."""

from __future__ import annotations

from seimigrate.domain.kube.kinds import HOLD_LABEL, Kind, Object
from seimigrate.simulation.admission import POLICIES
from seimigrate.simulation.render import Generation, render
from seimigrate.simulation.world import SPLIT_IMAGE, World

SEI = "sei"


def escaped(key: str) -> str:
    """Write a key as JSON pointers need it."""
    return key.replace("~", "~0").replace("/", "~1")


def add_policies(world: World) -> None:
    """Create the two policies and their bindings."""
    for name in POLICIES.values():
        world.cluster.create(Kind.ADMISSION_POLICY, {"metadata": {"name": name}})
        world.cluster.create(Kind.ADMISSION_BINDING, {"metadata": {"name": name}})


def label(world: World, kind: Kind, name: str, key: str = HOLD_LABEL) -> None:
    """Put a label on an object."""
    world.cluster.patch(kind, SEI, name, [{"op": "add", "path": f"/metadata/labels/{escaped(key)}", "value": "run-1"}])


def set_template(world: World, name: str, template: Object) -> None:
    """Put a whole template into a StatefulSet."""
    world.cluster.patch(Kind.STATEFUL_SET, SEI, name, [{"op": "replace", "path": "/spec/template", "value": template}])


def split_template(world: World, name: str) -> Object:
    """Give the template that the new controller would render for a node, with a split sidecar."""
    body, _, _ = render(world.seinode(SEI, name), Generation.NEW, SPLIT_IMAGE)
    template: Object = body["spec"]["template"]
    return template


def delete_pod(world: World, name: str, grace: int = 300) -> str:
    """Delete a node's pod with a grace, and give its uid."""
    pod = world.pod(SEI, name)
    assert pod is not None
    uid: str = pod["metadata"]["uid"]
    world.cluster.delete(Kind.POD, SEI, f"{name}-0", uid=uid, grace_seconds=grace)
    return uid


def new_pod(world: World, name: str, old_uid: str) -> bool:
    """Tell whether a node has another pod than before."""
    pod = world.pod(SEI, name)
    return pod is not None and pod["metadata"]["uid"] != old_uid
