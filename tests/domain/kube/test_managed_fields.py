"""The owner of a field, and how seimigrate removes its own managedFields entries."""

from __future__ import annotations

import jsonpatch
import pytest

from seimigrate.domain.kube import managed_fields
from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER, MANAGER, Kind
from tests.domain.objects import captured
from tests.engine.harness import KEY, NAME, NAMESPACE, Harness

SIDECAR = "spec.template.spec.initContainers[name=sei-sidecar]"


def test_fields_are_owned_by_the_client_that_wrote_them() -> None:
    harness = Harness()
    harness.world.stop_controller()
    harness.monitor.strict = False
    path = "/spec/template/spec/initContainers/1/image"
    patched = harness.world.cluster.patch(
        Kind.STATEFUL_SET, NAMESPACE, NAME, [{"op": "replace", "path": path, "value": "x:1"}]
    )
    assert managed_fields.owns(patched, MANAGER, f"{SIDECAR}.image")
    assert not managed_fields.owns(patched, CONTROLLER_MANAGER, f"{SIDECAR}.image")
    assert managed_fields.owns(patched, CONTROLLER_MANAGER, f"{SIDECAR}.ports[containerPort=7777,protocol=TCP]")
    assert not managed_fields.owns(patched, MANAGER, f"{SIDECAR}.ports[containerPort=7777,protocol=TCP]")
    assert managed_fields.owns(patched, CONTROLLER_MANAGER, "metadata.labels[sei.io/role]")

    operations = managed_fields.disown(patched, MANAGER)
    disowned = harness.world.cluster.patch(Kind.STATEFUL_SET, NAMESPACE, NAME, operations)
    assert not managed_fields.owns(disowned, MANAGER, f"{SIDECAR}.image")
    assert disowned["spec"] == patched["spec"]
    assert managed_fields.disown(disowned, MANAGER) == []
    assert harness.world.statefulset(*KEY) == disowned


def test_disown_removes_all_own_entries_and_no_others() -> None:
    entry = {"manager": MANAGER, "operation": "Update", "fieldsV1": {"f:spec": {}}}
    other = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}}
    obj = {"metadata": {"managedFields": [entry, other, entry | {"operation": "Apply"}]}}
    assert jsonpatch.apply_patch(obj, managed_fields.disown(obj, MANAGER))["metadata"]["managedFields"] == [other]


def test_disown_patch_fails_if_entry_index_changed() -> None:
    ours = {"manager": MANAGER, "fieldsV1": {}}
    other = {"manager": "kubectl", "fieldsV1": {}}
    operations = managed_fields.disown({"metadata": {"managedFields": [other, ours]}}, MANAGER)
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch({"metadata": {"managedFields": [ours, other]}}, operations)


@pytest.mark.parametrize("name", [name for name, _ in captured()] or [None])
def test_controller_owns_cutover_fields_of_captured_objects(name: str | None) -> None:
    if name is None:
        pytest.skip("the captured objects are missing")
    statefulset = dict(captured())[name].statefulset
    for path in (f"{SIDECAR}.image", "spec.template.spec.containers[name=seid].args[*=/dev/tcp/localhost/]"):
        assert managed_fields.owns(statefulset, CONTROLLER_MANAGER, path)
        assert not managed_fields.owns(statefulset, MANAGER, path)
