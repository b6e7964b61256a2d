"""What the cluster in memory promises of an API server."""

from __future__ import annotations

import pytest

from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER, HOLD_LABEL, Kind, Object
from seimigrate.engine.errors import Conflict, EvictionBlocked, Invalid, NotFound
from seimigrate.simulation.cluster import FakeCluster, Request
from seimigrate.simulation.fields import decode, owned
from seimigrate.simulation.objects import container, copy_json
from seimigrate.simulation.world import World

SEI = "sei"


@pytest.fixture
def world() -> World:
    world = World()
    world.add_node(SEI, "full-0")
    world.stop_controller()
    return world


def statefulset(world: World) -> Object:
    body = world.cluster.get(Kind.STATEFUL_SET, SEI, "full-0")
    assert body is not None
    return copy_json(body)


def patch(world: World, *operations: Object, dry_run: bool = False) -> Object:
    return world.cluster.patch(Kind.STATEFUL_SET, SEI, "full-0", operations, dry_run=dry_run)


GRACE = "/spec/template/spec/terminationGracePeriodSeconds"


def test_a_failed_test_is_a_conflict_and_leaves_everything_as_it_was(world: World) -> None:
    before = statefulset(world)
    with pytest.raises(Conflict):
        patch(world, {"op": "replace", "path": GRACE, "value": 1}, {"op": "test", "path": GRACE, "value": 77})
    assert statefulset(world) == before


def test_a_changed_spec_counts_the_generation_and_a_label_does_not(world: World) -> None:
    before = statefulset(world)["metadata"]["generation"]
    patch(world, {"op": "add", "path": "/metadata/labels/x", "value": "y"})
    assert statefulset(world)["metadata"]["generation"] == before
    patch(world, {"op": "replace", "path": GRACE, "value": 31})
    assert statefulset(world)["metadata"]["generation"] == before + 1


def test_a_dry_run_changes_nothing_but_answers_as_if(world: World) -> None:
    before = statefulset(world)
    answer = patch(world, {"op": "replace", "path": GRACE, "value": 31}, dry_run=True)
    assert answer["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 31
    assert statefulset(world) == before


def test_the_same_port_name_twice_is_invalid(world: World) -> None:
    ports = "/spec/template/spec/initContainers/1/ports/-"
    operation = {"op": "add", "path": ports, "value": {"name": "public", "containerPort": 9100}}
    patch(world, operation)
    with pytest.raises(Invalid, match="Duplicate value: public"):
        patch(world, operation)


def test_an_empty_map_or_list_is_not_kept(world: World) -> None:
    world.cluster.create(Kind.CONFIG_MAP, {"metadata": {"namespace": SEI, "name": "c", "labels": {"a": "b"}}})
    answer = world.cluster.patch(Kind.CONFIG_MAP, SEI, "c", [{"op": "remove", "path": "/metadata/labels/a"}])
    assert "labels" not in answer["metadata"]


def test_an_update_takes_a_field_from_the_controller_and_its_entry_can_be_removed(world: World) -> None:
    field = ("f:spec", "f:template", "f:spec", "f:terminationGracePeriodSeconds")
    assert field in owned(statefulset(world), CONTROLLER_MANAGER, "Apply")
    body = patch(world, {"op": "replace", "path": GRACE, "value": 31})
    assert owned(body, "seimigrate", "Update") == {field}
    assert field not in owned(body, CONTROLLER_MANAGER, "Apply")

    entries = body["metadata"]["managedFields"]
    index = next(n for n, entry in enumerate(entries) if entry["manager"] == "seimigrate")
    body = patch(world, {"op": "remove", "path": f"/metadata/managedFields/{index}"})
    assert [entry["manager"] for entry in body["metadata"]["managedFields"]] == [CONTROLLER_MANAGER]


def test_the_controllers_entry_covers_what_it_applied_and_no_defaults(world: World) -> None:
    fields = owned(statefulset(world), CONTROLLER_MANAGER, "Apply")
    texts = {"/".join(path) for path in fields}
    seid = 'f:spec/f:template/f:spec/f:containers/k:{"name":"seid"}'
    assert {f"{seid}/f:args", f"{seid}/.", f"{seid}/f:startupProbe/f:httpGet/f:port", "f:spec/f:selector"} <= texts
    assert not any(text.endswith(("f:imagePullPolicy", "f:scheme")) for text in texts)
    entry = statefulset(world)["metadata"]["managedFields"][0]
    assert decode(entry["fieldsV1"]) == fields


def test_a_forced_apply_takes_its_fields_back_and_keeps_what_it_does_not_name(world: World) -> None:
    sidecar = "/spec/template/spec/initContainers/1"
    patch(
        world,
        {"op": "replace", "path": GRACE, "value": 31},
        {"op": "add", "path": f"{sidecar}/ports/-", "value": {"name": "public", "containerPort": 9100}},
        {"op": "add", "path": f"{sidecar}/env/-", "value": {"name": "SEI_SIDECAR_PUBLIC_PORT", "value": "9100"}},
        {"op": "add", "path": f"/metadata/labels/{HOLD_LABEL.replace('/', '~1')}", "value": "run-1"},
    )
    world.replace_controller("old")
    world.run(1)
    body = statefulset(world)
    entry = container(body["spec"]["template"], "sei-sidecar")
    assert entry is not None
    assert body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    assert [port["name"] for port in entry["ports"]] == ["sidecar", "public"]
    assert entry["env"][-1]["name"] == "SEI_SIDECAR_PUBLIC_PORT"
    assert body["metadata"]["labels"][HOLD_LABEL] == "run-1"
    assert ("f:spec", "f:template", "f:spec", "f:terminationGracePeriodSeconds") not in owned(
        body, "seimigrate", "Update"
    )


def test_a_field_that_the_controller_no_longer_applies_goes_away(world: World) -> None:
    world.replace_controller("new", default_sidecar_image="ghcr.io/sei-protocol/seictl@sha256:" + "a" * 64)
    world.run(1)
    assert len(container(statefulset(world)["spec"]["template"], "sei-sidecar")["ports"]) == 2  # type: ignore[index]
    world.replace_controller("old")
    world.run(1)
    entry = container(statefulset(world)["spec"]["template"], "sei-sidecar")
    assert entry is not None
    assert [port["name"] for port in entry["ports"]] == ["sidecar"]
    assert "SEI_SIDECAR_PUBLIC_PORT" not in [item["name"] for item in entry["env"]]


def test_an_identical_apply_leaves_no_trace(world: World) -> None:
    before = statefulset(world)
    world.replace_controller("old")
    world.run(65)
    assert statefulset(world)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_deletes_and_evictions_of_another_pod_are_refused(world: World) -> None:
    pod = world.pod(SEI, "full-0")
    assert pod is not None
    version = pod["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        world.cluster.delete(Kind.POD, SEI, "full-0-0", uid="other")
    with pytest.raises(Conflict):
        world.cluster.evict(SEI, "full-0-0", uid=pod["metadata"]["uid"], resource_version="1", grace_seconds=30)
    budget = {"metadata": {"namespace": SEI, "name": "b"}, "status": {"disruptionsAllowed": 0}}
    world.cluster.put(
        Kind.DISRUPTION_BUDGET, budget | {"spec": {"selector": {"matchLabels": {"sei.io/node": "full-0"}}}}
    )
    with pytest.raises(EvictionBlocked):
        world.cluster.evict(SEI, "full-0-0", uid=pod["metadata"]["uid"], resource_version=version, grace_seconds=30)
    assert world.pod(SEI, "full-0") == pod


def test_create_needs_the_namespace_and_the_name_only_once(world: World) -> None:
    body = {"metadata": {"namespace": "nowhere", "name": "c"}}
    with pytest.raises(NotFound):
        world.cluster.create(Kind.CONFIG_MAP, body)
    body["metadata"]["namespace"] = SEI
    created = world.cluster.create(Kind.CONFIG_MAP, body)
    with pytest.raises(Conflict):
        world.cluster.create(Kind.CONFIG_MAP, body)
    world.cluster.replace(Kind.CONFIG_MAP, created | {"data": {"a": "b"}})
    with pytest.raises(Conflict):
        world.cluster.replace(Kind.CONFIG_MAP, created | {"data": {"a": "c"}})


def test_every_request_is_recorded_and_hooks_see_it_before_and_after() -> None:
    cluster = FakeCluster(lambda: 0.0)
    seen: list[str] = []

    def fail(request: Request) -> None:
        seen.append(request.verb)
        if request.verb == "create":
            raise KeyboardInterrupt

    cluster.after_request = fail
    body = {"metadata": {"name": "n"}}
    with pytest.raises(KeyboardInterrupt):
        cluster.create(Kind.NAMESPACE, body)
    assert cluster.get(Kind.NAMESPACE, "", "n") is not None
    cluster.before_request, cluster.after_request = fail, None
    with pytest.raises(KeyboardInterrupt):
        cluster.create(Kind.NAMESPACE, {"metadata": {"name": "m"}})
    assert cluster.get(Kind.NAMESPACE, "", "m") is None
    assert [(one.verb, one.outcome) for one in cluster.requests] == [
        ("create", "ok"),
        ("get", "ok"),
        ("create", "KeyboardInterrupt"),
        ("get", "ok"),
    ]
