"""Runs that are killed, doubled, or put to sleep while somebody takes their lock."""

from __future__ import annotations

import os
import signal

import pytest

from seimigrate.domain.kube.kinds import Kind
from seimigrate.simulation.world import SPLIT_IMAGE
from tests.apiserver.conftest import MakeScene
from tests.apiserver.killing import MARK_READY, Killer
from tests.apiserver.scene import Scene, frozen_process


@pytest.mark.parametrize("strategy", ["staged", "merged"])
def test_killed_after_each_write_in_turn_it_goes_on_to_the_same_end(make_scene: MakeScene, strategy: str) -> None:
    scene = make_scene(judged=False)
    before, service = scene.statefulset["spec"], scene.service["spec"]
    there = Killer(scene)
    done = there.run("apply", "--strategy", strategy)
    assert done.code == 9, done.err
    assert len(there.killed) > 20, there.killed
    restarts = 2 if strategy == "staged" else 1
    assert len(scene.record["replaced_pods"]) == restarts
    assert there.killed.count(MARK_READY) >= restarts
    print(f"{strategy}: killed {len(there.killed)} times on the way there, {restarts} restarts")
    back = Killer(scene)
    done = back.run("rollback")
    assert done.code == 0, done.err
    assert len(back.killed) > 20, back.killed
    assert MARK_READY in back.killed
    assert len(scene.record["replaced_pods"]) == restarts + 1
    print(f"{strategy}: killed {len(back.killed)} times on the way back")
    assert (scene.statefulset["spec"], scene.service["spec"]) == (before, service)
    assert scene.ours() == []
    scene.judge()


def test_of_two_applies_at_once_one_works_and_the_other_exits_7(scene: Scene) -> None:
    first = scene.start("apply")
    scene.wait_for(lambda: "seimigrate.sei.io/hold" in str(scene.statefulset["metadata"]), "the first one to begin")
    second = scene.run("apply")
    assert second.code == 7, second.err
    assert "hint:" in second.err
    first.communicate(timeout=120)
    assert first.returncode == 9


@pytest.mark.parametrize("stage", ["expose", "ready", "release"])
def test_a_run_that_slept_through_the_loss_of_its_lock_changes_nothing_more(scene: Scene, stage: str) -> None:
    sleeper = scene.start("apply")
    try:
        scene.wait_for(lambda: scene.stage == stage, f"stage {stage}")
        frozen_process(sleeper)
        token = scene.record["run"]
        assert scene.run("rollback").code == 0
        mark = scene.controlplane.audit_mark()
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    _, err = sleeper.communicate(timeout=120)
    assert sleeper.returncode == 7, err
    changed = [
        event["requestURI"]
        for event in scene.controlplane.audit_events(mark)
        if event["user"]["username"] == "operator"
        and event["verb"] in ("create", "update", "patch", "delete")
        and "dryRun" not in event["requestURI"]
        and event["responseStatus"]["code"] < 300
        and "reviews" not in event["requestURI"]
    ]
    assert changed == []
    assert scene.record["run"] != token
    assert scene.ours() == []


def test_a_node_that_failed_before_the_kill_goes_back_afterwards(scene: Scene) -> None:
    run = scene.start("apply")
    scene.wait_for(lambda: scene.stage not in ("", "hold", "check"), "the node to begin to move")
    scene.models.kubelet.faults(scene.namespace, "node-0").stays_unready = True
    scene.wait_for(lambda: scene.record["failure"] is not None, "the node to fail")
    run.kill()
    run.communicate()
    scene.models.kubelet.faults(scene.namespace, "node-0").stays_unready = False
    done = scene.run("apply")
    assert done.code == 6, done.err
    assert scene.ours() == []
    assert scene.ready
    assert scene.models.get(Kind.POD, scene.namespace, "node-0-0")


def test_a_failed_node_whose_way_back_is_killed_after_each_write_in_turn_comes_back(make_scene: MakeScene) -> None:
    scene = make_scene(judged=False)
    before, service = scene.statefulset["spec"], scene.service["spec"]
    scene.models.settings.broken_images.add(SPLIT_IMAGE)
    killer = Killer(scene, only_back=True)
    done = killer.run("apply", "--strategy", "merged")
    assert done.code == 6, done.err
    assert len(killer.killed) > 15, killer.killed
    assert MARK_READY in killer.killed
    assert "ImagePull" in scene.record["failure"]
    print(f"killed {len(killer.killed)} times on the way back of a node that failed")
    assert (scene.statefulset["spec"], scene.service["spec"]) == (before, service)
    assert scene.ours() == []
    assert scene.ready
    scene.judge()
