"""One node, there and back, on a real API server with a controller that fights back."""

from __future__ import annotations

import pytest

from seimigrate.domain.kube.kinds import Kind
from tests.apiserver.conftest import MakeScene
from tests.apiserver.scene import Scene

MODES = ("fullNode", "archive", "replayer", "validator", "seed")


@pytest.mark.parametrize("strategy", ["staged", "merged"])
@pytest.mark.parametrize("mode", MODES)
def test_a_node_is_cut_over_held_and_brought_back_exactly_as_it_was(
    make_scene: MakeScene, mode: str, strategy: str
) -> None:
    scene = make_scene(mode, sidecar_port=7778 if mode == "validator" else 7777)
    before, service = scene.statefulset["spec"], scene.service["spec"]
    there = scene.run("apply", "--strategy", strategy, "-o", "json")
    assert there.code == 9, there.err
    node = there.json["nodes"][0]
    assert (node["outcome"], node["restarts"]) == ("done-held", 2 if strategy == "staged" else 1)
    shown = scene.run("status", "-o", "json").json["nodes"][0]
    assert shown["held"] is True
    assert shown["shape"] == {"template": "enforced", "pod": "enforced"}
    back = scene.run("rollback", "-o", "json")
    assert back.code == 0, back.err
    assert back.json["nodes"][0]["outcome"] == "rolled-back"
    assert (scene.statefulset["spec"], scene.service["spec"]) == (before, service)
    assert scene.ours() == []
    assert scene.ready


def test_the_new_controller_takes_the_node_back_and_restarts_nothing(scene: Scene) -> None:
    assert scene.run("apply").code == 9
    uid = scene.pod["metadata"]["uid"]
    scene.models.swap_controller("new")
    assert scene.run("apply").code == 0
    assert scene.ours() == []
    polls = scene.models.controller
    assert polls is not None
    scene.edit(Kind.STATEFUL_SET, {"op": "add", "path": "/metadata/labels/poke", "value": "1"})
    scene.wait_for(lambda: scene.ready, "the controller to have looked at it")
    assert scene.pod["metadata"]["uid"] == uid
    assert "--ignore-paths" not in str(scene.statefulset["spec"])


@pytest.mark.parametrize("strategy", ["staged", "merged"])
def test_a_new_controller_that_agrees_the_moment_we_enforce_does_not_get_to_replace_the_pod(
    make_scene: MakeScene, strategy: str
) -> None:
    scene = make_scene()
    assert scene.run("hold").code == 0
    scene.models.swap_controller("new")
    done = scene.run("apply", "--strategy", strategy, "-o", "json")
    assert done.code == 0, done.err
    node = done.json["nodes"][0]
    assert (node["outcome"], node["restarts"]) == ("done", 2 if strategy == "staged" else 1)
    assert scene.ours() == []


def test_what_is_not_held_is_reverted_and_what_is_held_is_not(scene: Scene) -> None:
    controller = scene.models.controller
    assert controller is not None
    verbose = {"op": "replace", "path": "/spec/template/spec/initContainers/2/args/5", "value": "--v=7"}
    quiet = verbose | {"value": "--v=0"}
    scene.edit(Kind.STATEFUL_SET, verbose)
    scene.wait_for(lambda: "--v=7" not in str(scene.statefulset["spec"]), "the controller to revert it")
    assert scene.run("hold").code == 0
    denials = len(controller.denials)
    scene.edit(Kind.STATEFUL_SET, verbose)
    scene.wait_for(lambda: len(controller.denials) > denials, "the controller to be denied")
    assert "--v=7" in str(scene.statefulset["spec"])
    scene.edit(Kind.STATEFUL_SET, quiet)
    scene.edit(Kind.STATEFUL_SET, {"op": "replace", "path": "/metadata/labels/sei.io~1role", "value": "altered"})
    restored = lambda: scene.statefulset["metadata"]["labels"]["sei.io/role"] == "node"  # noqa: E731
    scene.wait_for(restored, "a write that changes nothing else to pass")


def test_rollback_to_a_stage_leaves_the_node_there_and_apply_goes_on(scene: Scene) -> None:
    assert scene.run("apply").code == 9
    assert scene.run("rollback", "--to", "expose").code == 0
    status = scene.run("status", "-o", "json").json["nodes"][0]
    assert status["shape"] == {"template": "exposed", "pod": "exposed"}
    assert status["held"] is True
    assert scene.run("apply", "--strategy", "merged").code == 9
    assert scene.run("rollback").code == 0
    assert scene.ours() == []


def test_plan_says_what_will_change_and_changes_nothing(scene: Scene) -> None:
    mark = scene.controlplane.audit_mark()
    planned = scene.run("plan", "-o", "json")
    assert planned.code == 0
    node = planned.json["nodes"][0]
    assert node["restarts"] == 2
    assert node["shape"] == {"template": "shared", "pod": "shared"}
    assert [change["stage"] for change in node["changes"]] == ["expose"] * 3 + ["probes"] * 5 + ["enforce"]
    assert node["blockers"] == []
    assert scene.run("plan", "--detailed-exitcode").code == 3
    writes = [
        event
        for event in scene.controlplane.audit_events(mark)
        if event["user"]["username"] == "operator" and event["verb"] not in ("get", "list", "watch")
    ]
    assert writes == []
