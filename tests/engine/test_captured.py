"""There and back on objects that were captured from a real cluster, where they are at hand beside the checkout."""

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
from tests.engine.harness import KEY, STRATEGIES, Scene, planned_restarts

CAPTURED = Path(__file__).resolve().parents[3] / "shared" / "upstream" / "rendered"
pytestmark = pytest.mark.skipif(not CAPTURED.is_dir(), reason="the captured objects are not beside this checkout")


def captured(mode: str, kind: str) -> Any:
    return yaml.safe_load((CAPTURED / f"{mode}-{kind}.yaml").read_text())


def scene_of(mode: str, strategy: Strategy) -> Scene:
    """A node whose template and Service are the captured ones; no controller renders them in memory, so none runs."""
    port = next(e["value"] for e in _sidecar(mode)["env"] if e["name"] == "SEI_SIDECAR_PORT")
    scene = Scene(mode=mode, strategy=strategy, sidecar_port=int(port))
    world = scene.world
    world.stop_controller()
    template = captured(mode, "statefulset")["spec"]["template"]
    template["metadata"] = scene.statefulset["spec"]["template"]["metadata"]
    scene.edit(Kind.STATEFUL_SET, {"op": "replace", "path": "/spec/template", "value": template})
    ports = captured(mode, "service")["spec"]["ports"]
    scene.edit(Kind.SERVICE, {"op": "replace", "path": "/spec/ports", "value": ports})
    scene.delete_pod()
    world.run_until(lambda: _marked_ready(scene))
    return scene


def _marked_ready(scene: Scene) -> bool:
    """Mark the node ready, as its controller would, and tell whether it is."""
    if scene.pod_ready:
        return True
    with contextlib.suppress(Unreachable):
        body = {"type": "mark-ready"}
        scene.world.pods.call(*KEY[:1], f"{KEY[1]}-0", 8443, "POST", "/v0/tasks", body=body, authorised=True)
    return False


def _sidecar(mode: str) -> Any:
    containers = captured(mode, "statefulset")["spec"]["template"]["spec"]["initContainers"]
    return next(container for container in containers if container["name"] == "sei-sidecar")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mode", ["fullNode", "archive", "validator", "seed"])
def test_a_captured_node_goes_there_and_back_to_exactly_what_it_was(mode: str, strategy: Strategy) -> None:
    scene = scene_of(mode, strategy)
    before, service = copy_json(scene.statefulset["spec"]), copy_json(scene.service["spec"])
    assert scene.apply().outcome is Outcome.DONE_HELD
    assert scene.shape is Shape.ENFORCED
    assert scene.pod_shape is Shape.ENFORCED
    assert len(scene.record.replaced_pods) == planned_restarts(strategy)
    # Nobody is there to say that it agrees with the old shape, so the node stays held.
    assert scene.rollback().outcome is Outcome.ROLLED_BACK_HELD
    assert (scene.statefulset["spec"], scene.service["spec"]) == (before, service)
    assert scene.pod_ready
    assert scene.apply().outcome is Outcome.DONE_HELD
    assert scene.shape is Shape.ENFORCED
