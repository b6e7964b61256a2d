"""Ways back of real pods: from failures of the split sidecar, and from every stage at which a run was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from seimigrate.domain.kinds import Object
from seimigrate.domain.plan import StageName
from seimigrate.engine.errors import NotFound
from tests.cluster.conftest import OpenScene
from tests.cluster.scene import MISSING_IMAGE, Scene
from tests.commandline import OPERATOR, finish, free_lock

FAILURES = {
    "crashes": ("crash.split", None, "merged"),
    "never-gets-ready": ("unready.split", None, "staged"),
    "cannot-be-pulled": ("no-switch", MISSING_IMAGE, "merged"),
}
"""What the split sidecar does: the switch that makes it do so, its image, and the strategy that it is met with."""

STAGES = ("hold", "check", "expose", "probes", "ready", "enforce")
"""Where a run is killed; the stages after these have nothing that the budget's story does not have."""


@pytest.fixture(scope="module")
def node(open_scene: OpenScene) -> Iterator[Scene]:
    """Give a scene with one node, which each story leaves as it found it."""
    with open_scene() as scene:
        scene.add(back="fullNode")
        yield scene


@pytest.mark.parametrize("failure", FAILURES)
def test_a_node_whose_split_sidecar_fails_is_brought_back_to_ready(node: Scene, failure: str) -> None:
    switch, image, strategy = FAILURES[failure]
    before, restarts = node.specs("back"), node.restarts("back")
    node.fleet.switch(node.namespace, "back", switch)
    node.plan(image)
    done = node.run("apply", "--strategy", strategy)
    node.fleet.unswitch(node.namespace, "back", switch)
    node.plan()
    assert done.code == 6
    assert done.json["nodes"][0]["outcome"] == "rolled-back"
    assert node.restarts("back") - restarts == 2
    assert_as_before(node, before)


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_at_a_stage_is_rolled_back(node: Scene, stage: str) -> None:
    before, restarts = node.specs("back"), node.restarts("back")
    reached = _kill_at(node, StageName(stage))
    assert node.run("rollback").code == 0
    print(f"killed at {reached}: {node.restarts('back') - restarts} restarts, there and back")
    assert_as_before(node, before)


def test_a_budget_that_never_allows_an_eviction_does_not_trap_the_way_back(node: Scene) -> None:
    before, restarts = node.specs("back"), node.restarts("back")
    reached = _kill_at(node, StageName.RELEASE)
    node.cluster.apply(json.dumps(_never(node.namespace, "back")))
    try:
        assert node.run("rollback").code == 0
    finally:
        node.cluster.kubectl("-n", node.namespace, "delete", "poddisruptionbudget", "never")
    refused = [event for event in node.events() if _refused_eviction(event)]
    print(f"killed at {reached}; {len(refused)} evictions were refused")
    assert refused
    assert node.restarts("back") - restarts == 2
    assert_as_before(node, before)


def test_a_start_gate_left_unmoved_is_impossible_to_write(node: Scene) -> None:
    """seid's gate would ask where nobody answers for health, and no pod of such a template would ever start."""
    before, restarts, since = node.specs("back"), node.restarts("back"), len(node.events())
    node.cli.plan.write_text(_without_the_gate(node.cli.plan.read_text()))
    done = node.run("apply")
    node.plan()
    print(done.json["nodes"][0]["blockers"])
    assert done.code == 4
    assert "start gate asks port 7777" in str(done.json["nodes"][0]["blockers"])
    assert [event["requestURI"] for event in node.events()[since:] if _patched(event)] == []
    assert node.restarts("back") == restarts
    assert_as_before(node, before)


def assert_as_before(node: Scene, before: tuple[Object, Object]) -> None:
    """See the node in its old shape, Ready, with nothing of ours on it, and everything done as it must be."""
    assert node.specs("back") == before
    assert node.ours("back") == []
    node.fleet.await_ready(node.namespace, "back", seconds=60)
    node.judge()


def _kill_at(node: Scene, stage: StageName) -> str:
    """Kill a run when the journal shows a stage, in enforce when the new pod is there; give what it shows then."""
    uid, before = node.uid("back"), _record(node).get("run")
    run = node.start("apply", "--strategy", "staged" if stage.position <= StageName.READY.position else "merged")

    def reached() -> bool:
        record = _record(node)
        if run.poll() is not None or record.get("run") == before:
            return run.poll() is not None
        new_pod = stage is not StageName.ENFORCE or node.uid("back") not in (uid, "")
        return new_pod and StageName(record["stage"]).position >= stage.position

    try:
        node.wait_for(reached, f"stage {stage}", 240)
        assert run.poll() is None, finish(run)
    finally:
        run.kill()
        run.communicate()
    free_lock(node.cluster.admin)
    return str(_record(node)["stage"])


def _record(node: Scene) -> dict[str, Any]:
    try:
        record: dict[str, Any] = node.record("back")
    except NotFound:
        return {}
    return record


def _without_the_gate(text: str) -> str:
    plan = yaml.safe_load(text)
    for stage in plan["stages"]:
        kept = [each for each in stage.pop("transforms", []) if each["do"] != "replace-in-argument"]
        stage |= {"transforms": kept} if kept else {}
    return yaml.safe_dump(plan, sort_keys=False)


def _patched(event: Object) -> bool:
    return (event["user"]["username"], event["verb"]) == (OPERATOR, "patch")


def _never(namespace: str, node: str) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "never", "namespace": namespace},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"sei.io/node": node}}},
    }


def _refused_eviction(event: Object) -> bool:
    target = event.get("objectRef") or {}
    return target.get("subresource") == "eviction" and event["responseStatus"]["code"] == 429
