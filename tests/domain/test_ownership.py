"""Who owns a field, and how our own entries leave."""

from __future__ import annotations

import jsonpatch
import pytest

from seimigrate.domain.kube import managed_fields
from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER, MANAGER, Kind
from tests.domain.objects import captured
from tests.engine.harness import KEY, NAME, NAMESPACE, Scene

SIDECAR = "spec.template.spec.initContainers[name=sei-sidecar]"


def test_the_controller_owns_what_it_applied_and_we_own_what_we_wrote() -> None:
    scene = Scene()
    scene.world.stop_controller()
    scene.watchdog.strict = False
    path = "/spec/template/spec/initContainers/1/image"
    patched = scene.world.cluster.patch(
        Kind.STATEFUL_SET, NAMESPACE, NAME, [{"op": "replace", "path": path, "value": "x:1"}]
    )
    assert managed_fields.owns(patched, MANAGER, f"{SIDECAR}.image")
    assert not managed_fields.owns(patched, CONTROLLER_MANAGER, f"{SIDECAR}.image")
    assert managed_fields.owns(patched, CONTROLLER_MANAGER, f"{SIDECAR}.ports[containerPort=7777,protocol=TCP]")
    assert not managed_fields.owns(patched, MANAGER, f"{SIDECAR}.ports[containerPort=7777,protocol=TCP]")
    assert managed_fields.owns(patched, CONTROLLER_MANAGER, "metadata.labels[sei.io/role]")

    operations = managed_fields.disown(patched, MANAGER)
    left = scene.world.cluster.patch(Kind.STATEFUL_SET, NAMESPACE, NAME, operations)
    assert not managed_fields.owns(left, MANAGER, f"{SIDECAR}.image")
    assert left["spec"] == patched["spec"]
    assert managed_fields.disown(left, MANAGER) == []
    assert scene.world.statefulset(*KEY) == left


def test_disowning_takes_all_of_our_entries_and_nobody_elses() -> None:
    entry = {"manager": MANAGER, "operation": "Update", "fieldsV1": {"f:spec": {}}}
    other = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}}
    obj = {"metadata": {"managedFields": [entry, other, entry | {"operation": "Apply"}]}}
    assert jsonpatch.apply_patch(obj, managed_fields.disown(obj, MANAGER))["metadata"]["managedFields"] == [other]


def test_an_entry_that_has_moved_makes_the_patch_fail() -> None:
    mine = {"manager": MANAGER, "fieldsV1": {}}
    other = {"manager": "kubectl", "fieldsV1": {}}
    operations = managed_fields.disown({"metadata": {"managedFields": [other, mine]}}, MANAGER)
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch({"metadata": {"managedFields": [mine, other]}}, operations)


@pytest.mark.parametrize("name", [name for name, _ in captured()] or [None])
def test_on_a_captured_object_the_controller_owns_what_the_cutover_takes(name: str | None) -> None:
    if name is None:
        pytest.skip("the captured objects are not there")
    statefulset = dict(captured())[name].statefulset
    for path in (f"{SIDECAR}.image", "spec.template.spec.containers[name=seid].args[*=/dev/tcp/localhost/]"):
        assert managed_fields.owns(statefulset, CONTROLLER_MANAGER, path)
        assert not managed_fields.owns(statefulset, MANAGER, path)
