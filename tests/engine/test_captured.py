"""Cutover and rollback of objects captured from a real cluster, if they exist beside the checkout."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import Strategy
from seimigrate.engine.errors import Unreachable
from seimigrate.simulation.objects import copy_json
from tests.engine.harness import KEY, STRATEGIES, Harness, planned_restarts

CAPTURED = Path(__file__).resolve().parents[3] / "shared" / "upstream" / "rendered"
pytestmark = pytest.mark.skipif(not CAPTURED.is_dir(), reason="the captured objects do not exist beside this checkout")


def captured(mode: str, kind: str) -> Any:
    return yaml.safe_load((CAPTURED / f"{mode}-{kind}.yaml").read_text())


def captured_harness(mode: str, strategy: Strategy) -> Harness:
    """Return a node with the captured template and Service; no simulated controller renders them, so none runs."""
    port = next(e["value"] for e in _sidecar(mode)["env"] if e["name"] == "SEI_SIDECAR_PORT")
    harness = Harness(mode=mode, strategy=strategy, sidecar_port=int(port))
    world = harness.world
    world.stop_controller()
    template = captured(mode, "statefulset")["spec"]["template"]
    template["metadata"] = harness.statefulset["spec"]["template"]["metadata"]
    harness.edit(Kind.STATEFUL_SET, {"op": "replace", "path": "/spec/template", "value": template})
    ports = captured(mode, "service")["spec"]["ports"]
    harness.edit(Kind.SERVICE, {"op": "replace", "path": "/spec/ports", "value": ports})
    harness.delete_pod()
    world.run_until(lambda: _marked_ready(harness))
    return harness


def _marked_ready(harness: Harness) -> bool:
    """Mark the node ready, as its controller does, and return whether it is ready."""
    if harness.pod_ready:
        return True
    with contextlib.suppress(Unreachable):
        body = {"type": "mark-ready"}
        harness.world.pods.call(*KEY[:1], f"{KEY[1]}-0", 8443, "POST", "/v0/tasks", body=body, authorised=True)
    return False


def _sidecar(mode: str) -> Any:
    containers = captured(mode, "statefulset")["spec"]["template"]["spec"]["initContainers"]
    return next(container for container in containers if container["name"] == "sei-sidecar")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mode", ["fullNode", "archive", "validator", "seed"])
def test_captured_node_roundtrip_restores_its_spec(mode: str, strategy: Strategy) -> None:
    harness = captured_harness(mode, strategy)
    before, service = copy_json(harness.statefulset["spec"]), copy_json(harness.service["spec"])
    assert harness.apply().outcome is Outcome.DONE_HELD
    assert harness.shape is Shape.ENFORCED
    assert harness.pod_shape is Shape.ENFORCED
    assert len(harness.record.replaced_pods) == planned_restarts(strategy)
    # No controller runs that could confirm the old shape, so the node stays held.
    assert harness.rollback().outcome is Outcome.ROLLED_BACK_HELD
    assert (harness.statefulset["spec"], harness.service["spec"]) == (before, service)
    assert harness.pod_ready
    assert harness.apply().outcome is Outcome.DONE_HELD
    assert harness.shape is Shape.ENFORCED
