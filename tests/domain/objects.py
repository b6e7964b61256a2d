"""A node's objects in every form that the tests need: as the simulation renders them, and as captured, if there."""

from __future__ import annotations

import itertools
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.plan.plan import Plan
from seimigrate.simulation import defaults
from seimigrate.simulation.objects import copy_json
from seimigrate.simulation.render import Generation, render
from seimigrate.simulation.world import SEID_IMAGE, SHARED_IMAGE, SPLIT_IMAGE
from tests.engine.harness import MODES, make_plan

CAPTURED = Path(__file__).resolve().parents[2].parent / "shared" / "upstream" / "rendered"
"""What a real controller rendered; the project stands without it."""


class Node(NamedTuple):
    """What a node is made of."""

    seinode: Object
    statefulset: Object
    service: Object


def rendered(
    mode: str = "fullNode", *, sidecar_port: int = 7777, image: str = SHARED_IMAGE, generation: str = "old"
) -> Node:
    """Give a node's objects as the simulated controller applies them, with the API server's defaults."""
    spec: Object = {"chainId": "pacific-1", "image": SEID_IMAGE, mode: {}}
    if sidecar_port != 7777:
        spec["sidecar"] = {"port": sidecar_port}
    seinode: Object = {"metadata": {"namespace": "sei", "name": "node-0", "uid": "u-1"}, "spec": spec}
    statefulset, service, _ = render(seinode, Generation(generation), image)
    defaults.fill(Kind.STATEFUL_SET, statefulset)
    defaults.fill(Kind.SERVICE, service)
    return Node(seinode, statefulset, service)


@lru_cache(maxsize=1)
def captured() -> list[tuple[str, Node]]:
    """Give the captured nodes by their mode, none where the captures are not there."""
    found = []
    for mode in MODES:
        files = [CAPTURED / f"{mode}-{kind}.yaml" for kind in ("seinode", "statefulset", "service")]
        if all(file.exists() for file in files):
            found.append((f"captured-{mode}", Node(*(yaml.safe_load(file.read_text()) for file in files))))
    return found


def all_nodes() -> list[tuple[str, Node]]:
    """Give a node of each mode, with its own sidecar port and without, and the captured ones."""
    made = [
        (f"{mode}-{port}", rendered(mode, sidecar_port=port)) for mode, port in itertools.product(MODES, (7777, 7070))
    ]
    return [*made, *captured()]


def plan_of(public: int = 9100) -> Plan:
    """Give the project's plan with a public port of one's own."""
    return make_plan(f"ports.public={public}")


def template(obj: Object) -> Object:
    spec: Object = obj["spec"]["template"]["spec"]
    return spec


def container(obj: Object, name: str) -> Object:
    """Give a container of a template, to be changed in place."""
    spec = template(obj)
    return next(c for c in [*spec["initContainers"], *spec["containers"]] if c["name"] == name)


def copied(node: Node) -> Node:
    return Node(*(copy_json(each) for each in node))


__all__ = [
    "CAPTURED",
    "SHARED_IMAGE",
    "SPLIT_IMAGE",
    "Node",
    "all_nodes",
    "captured",
    "container",
    "copied",
    "plan_of",
    "rendered",
    "template",
]
