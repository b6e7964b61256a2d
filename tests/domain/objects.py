"""A node's objects in the forms that tests need: rendered by the simulation and, if present, captured."""

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
"""Objects that a real controller rendered; tests that need them are skipped without them."""


class Node(NamedTuple):
    """The objects of a node."""

    seinode: Object
    statefulset: Object
    service: Object


def rendered(
    mode: str = "fullNode", *, sidecar_port: int = 7777, image: str = SHARED_IMAGE, generation: str = "old"
) -> Node:
    """Return a node's objects as the simulated controller applies them, with the API server's defaults."""
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
    """Return the captured nodes by mode; none if the captures are missing."""
    nodes = []
    for mode in MODES:
        files = [CAPTURED / f"{mode}-{kind}.yaml" for kind in ("seinode", "statefulset", "service")]
        if all(file.exists() for file in files):
            nodes.append((f"captured-{mode}", Node(*(yaml.safe_load(file.read_text()) for file in files))))
    return nodes


def all_nodes() -> list[tuple[str, Node]]:
    """Return a node of each mode, with the default and another sidecar port, and the captured nodes."""
    rendered_nodes = [
        (f"{mode}-{port}", rendered(mode, sidecar_port=port)) for mode, port in itertools.product(MODES, (7777, 7070))
    ]
    return [*rendered_nodes, *captured()]


def plan_of(public: int = 9100) -> Plan:
    """Return the bundled plan with this public port."""
    return make_plan(f"ports.public={public}")


def template(obj: Object) -> Object:
    spec: Object = obj["spec"]["template"]["spec"]
    return spec


def container(obj: Object, name: str) -> Object:
    """Return a container of a template, which the caller may change in place."""
    spec = template(obj)
    return next(c for c in [*spec["initContainers"], *spec["containers"]] if c["name"] == name)


def copy_of(node: Node) -> Node:
    return Node(*(copy_json(each) for each in node))


__all__ = [
    "CAPTURED",
    "SHARED_IMAGE",
    "SPLIT_IMAGE",
    "Node",
    "all_nodes",
    "captured",
    "container",
    "copy_of",
    "plan_of",
    "rendered",
    "template",
]
