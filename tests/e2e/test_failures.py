"""What goes wrong on real pods: sidecars that fail, a budget that never yields, a template that could not start."""

from __future__ import annotations

import json

import pytest
import yaml

from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.plan.plan import StageName
from tests.commandline import OPERATOR
from tests.e2e.killing import NAME, assert_as_before, kill_at
from tests.e2e.scene import MISSING_IMAGE, Scene

FAILURES = {
    "crashes": ("crash.split", None, "merged"),
    "never-gets-ready": ("unready.split", None, "staged"),
    "cannot-be-pulled": ("no-switch", MISSING_IMAGE, "merged"),
}
"""What the split sidecar does: the switch that makes it do so, its image, and the strategy that it is met with."""


@pytest.mark.parametrize("failure", FAILURES)
def test_a_node_whose_split_sidecar_fails_is_brought_back_to_ready(node: Scene, failure: str) -> None:
    switch, image, strategy = FAILURES[failure]
    before, restarts = node.specs(NAME), node.restarts(NAME)
    node.fleet.switch(node.namespace, NAME, switch)
    node.plan(image)
    done = node.run("apply", "--strategy", strategy)
    node.fleet.unswitch(node.namespace, NAME, switch)
    node.plan()
    assert done.code == 6
    assert done.json["nodes"][0]["outcome"] == "rolled-back"
    assert node.restarts(NAME) - restarts == 2
    assert_as_before(node, before)


def test_a_budget_that_never_allows_an_eviction_does_not_trap_the_way_back(node: Scene) -> None:
    before, restarts = node.specs(NAME), node.restarts(NAME)
    reached = kill_at(node, StageName.RELEASE)
    node.cluster.apply(json.dumps(_never(node.namespace, NAME)))
    try:
        assert node.run("rollback").code == 0
    finally:
        node.cluster.kubectl("-n", node.namespace, "delete", "poddisruptionbudget", "never")
    refused = [event for event in node.events() if _refused_eviction(event)]
    print(f"killed at {reached}; {len(refused)} evictions were refused")
    assert refused
    assert node.restarts(NAME) - restarts == 2
    assert_as_before(node, before)


def test_a_start_gate_left_unmoved_is_impossible_to_write(node: Scene) -> None:
    """seid's gate would ask where nobody answers for health, and no pod of such a template would ever start."""
    before, restarts, since = node.specs(NAME), node.restarts(NAME), len(node.events())
    node.cli.plan.write_text(_without_the_gate(node.cli.plan.read_text()))
    done = node.run("apply")
    node.plan()
    print(done.json["nodes"][0]["blockers"])
    assert done.code == 4
    assert "start gate queries port 7777" in str(done.json["nodes"][0]["blockers"])
    assert [event["requestURI"] for event in node.events()[since:] if _patched(event)] == []
    assert node.restarts(NAME) == restarts
    assert_as_before(node, before)


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
