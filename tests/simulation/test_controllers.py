"""The controllers' models fight, obey and hang as the real one did."""

from __future__ import annotations

import pytest

from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER, FREEZE_LABEL, Kind
from seimigrate.domain.plan.plan import Mode
from seimigrate.engine.errors import Denied
from seimigrate.simulation.objects import condition, container
from seimigrate.simulation.world import SHARED_IMAGE, SPLIT_IMAGE, World
from tests.simulation.helpers import SEI, add_policies, delete_pod, label, new_pod, set_template, split_template


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("controller", ["old", "new"])
def test_a_node_of_every_mode_gets_ready_under_both_controllers(mode: Mode, controller: str) -> None:
    world = World(controller=controller)
    node = world.add_node(SEI, "n-0", mode.value, sidecar_port=7790)
    image = SPLIT_IMAGE if controller == "new" else SHARED_IMAGE
    assert node["status"]["currentSidecarImage"] == image
    exporter = container(world.statefulset(SEI, "n-0")["spec"]["template"], "cosmos-exporter")
    assert (exporter is None) == (mode is Mode.SEED)
    posts = world.log.posts("n-0-0")
    assert [post["body"]["type"] for post in posts] == ["mark-ready"]
    assert posts[0]["status"] == 201


def test_the_old_controller_reverts_what_is_not_held() -> None:
    world = World()
    world.add_node(SEI, "a-0")
    before = world.statefulset(SEI, "a-0")["spec"]
    set_template(world, "a-0", split_template(world, "a-0"))
    assert world.statefulset(SEI, "a-0")["spec"] != before
    world.run(0.1)
    proxy = container(world.statefulset(SEI, "a-0")["spec"]["template"], "kube-rbac-proxy")
    assert proxy == container(before["template"], "kube-rbac-proxy")


def test_the_old_controller_is_denied_what_is_held_and_does_nothing_else_for_that_node() -> None:
    world = World()
    for name in ("a-0", "b-0"):
        world.add_node(SEI, name)
    add_policies(world)
    label(world, Kind.STATEFUL_SET, "a-0")
    template = split_template(world, "a-0")
    set_template(world, "a-0", template)
    held = world.statefulset(SEI, "a-0")["spec"]
    asked = len(world.log.entries)
    world.run(20)
    assert world.statefulset(SEI, "a-0")["spec"] == held
    assert world.controller is not None
    assert 4 <= len(world.controller.denials) <= 12
    assert {(where, why) for _, where, why in world.controller.denials} == {("sei/a-0", "Denied")}
    world.run(60)
    health = [entry for entry in world.log.entries[asked:] if entry.get("source") == "controller"]
    assert {entry["pod"] for entry in health} == {"b-0-0"}


def test_an_identical_write_passes_the_hold_and_scaling_to_zero_passes_the_freeze() -> None:
    world = World()
    world.add_node(SEI, "a-0")
    add_policies(world)
    label(world, Kind.STATEFUL_SET, "a-0")
    world.run(65)
    assert world.controller is not None
    assert world.controller.denials == []
    label(world, Kind.STATEFUL_SET, "a-0", FREEZE_LABEL)
    world.run(5)
    assert world.controller.denials
    world.edit_seinode(SEI, "a-0", {"paused": True})
    world.run_until(lambda: world.pod(SEI, "a-0") is None)
    assert world.statefulset(SEI, "a-0")["spec"]["replicas"] == 0


def test_a_dry_run_with_the_controllers_field_manager_proves_the_hold() -> None:
    world = World()
    world.add_node(SEI, "a-0")
    operation = {"op": "replace", "path": "/spec/updateStrategy/type", "value": "RollingUpdate"}

    def probe() -> None:
        world.cluster.patch(Kind.STATEFUL_SET, SEI, "a-0", [operation], manager=CONTROLLER_MANAGER, dry_run=True)

    label(world, Kind.STATEFUL_SET, "a-0")
    probe()
    add_policies(world)
    with pytest.raises(Denied, match="held by seimigrate"):
        probe()


def test_the_new_controller_replaces_a_pod_whose_template_it_agrees_with_unless_it_is_frozen() -> None:
    for frozen in (False, True):
        world = World()
        world.add_node(SEI, "a-0")
        world.stop_controller()
        add_policies(world)
        label(world, Kind.STATEFUL_SET, "a-0")
        if frozen:
            label(world, Kind.STATEFUL_SET, "a-0", FREEZE_LABEL)
        old = world.pod(SEI, "a-0")
        assert old is not None
        world.replace_controller("new")
        world.run(60)
        assert world.pod(SEI, "a-0") == old
        set_template(world, "a-0", split_template(world, "a-0"))
        world.run(90)
        assert new_pod(world, "a-0", old["metadata"]["uid"]) == (not frozen)


def test_image_drift_starts_a_node_update_that_ends_with_the_new_image_ready() -> None:
    world = World()
    world.add_node(SEI, "a-0")
    before = world.pod(SEI, "a-0")
    assert before is not None
    world.replace_controller("new")
    world.run_until(lambda: condition(world.seinode(SEI, "a-0"), "NodeUpdateInProgress") == "True")
    world.run_until(lambda: new_pod(world, "a-0", before["metadata"]["uid"]) and world.is_ready(SEI, "a-0"))
    node = world.seinode(SEI, "a-0")
    assert node["status"]["currentSidecarImage"] == SPLIT_IMAGE
    assert condition(node, "NodeUpdateInProgress") == "False"
    service = world.cache.get(Kind.SERVICE, SEI, "a-0")
    assert service is not None
    assert service["spec"]["ports"][-1]["name"] == "public"


def test_a_denied_service_blocks_the_plan_and_no_mark_ready_comes() -> None:
    world = World()
    world.add_node(SEI, "a-0")
    add_policies(world)
    label(world, Kind.SERVICE, "a-0")
    posts = len(world.log.posts())
    world.replace_controller("new")
    world.run(120)
    assert condition(world.seinode(SEI, "a-0"), "NodeUpdateInProgress") == "True"
    assert len(world.log.posts()) == posts
    assert world.controller is not None
    assert {why for _, _, why in world.controller.denials} == {"Denied"}


def test_a_controller_that_cannot_reach_the_public_port_never_marks_a_node_ready() -> None:
    world = World(controller="new")
    assert world.controller is not None
    world.controller.reaches_public = False
    world.add_node(SEI, "a-0", until_ready=False)
    world.run(300)
    assert world.log.posts() == []
    assert condition(world.seinode(SEI, "a-0"), "SidecarReady") == "Unknown"


def test_an_old_controller_with_a_split_sidecar_hangs_the_restart() -> None:
    world = World()
    world.add_node(SEI, "a-0")
    before = world.log.posts()
    world.edit_seinode(SEI, "a-0", {"sidecar": {"image": SPLIT_IMAGE}})
    world.run(600)
    pod = world.pod(SEI, "a-0")
    assert pod is not None
    assert condition(pod, "Ready") == "False"
    # The NodeUpdate's own mark-ready is all that it gets; seid's gate asks a port that no longer serves health.
    assert [post["status"] for post in world.log.posts()[len(before) :]].count(201) == 1
    assert world.log.events("seid-serving")[-1]["uid"] != pod["metadata"]["uid"]
    assert condition(world.seinode(SEI, "a-0"), "SidecarReady") == "Unknown"


def test_a_pod_deleted_under_a_controller_that_agrees_is_marked_ready_again() -> None:
    world = World()
    world.add_node(SEI, "a-0")
    add_policies(world)
    label(world, Kind.STATEFUL_SET, "a-0")
    uid = delete_pod(world, "a-0")
    world.run_until(lambda: new_pod(world, "a-0", uid) and world.is_ready(SEI, "a-0"), limit=180)
