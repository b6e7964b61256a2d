"""What a judgement stands on: the cluster's policies and pods, who the controllers are, and who is permitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seimigrate.domain import selectors, shapes
from seimigrate.domain.finding import Finding, Severity
from seimigrate.domain.kinds import Object
from seimigrate.domain.network import policies
from seimigrate.domain.network.policies import Peer
from seimigrate.domain.network.reach import NAME_LABEL, Endpoint, Network, Port, declared, endpoint
from seimigrate.domain.plan import Access, Parameters
from seimigrate.domain.selectors import Selector, Values

P2P = 26656
"""seid's port for its peers, where a pod declares none named p2p."""


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller's Deployment: its pods as a peer, and one of them as it would be."""

    name: str
    peer: Peer
    body: Mapping[str, Any]
    """The peer as a NetworkPolicy has it."""
    model: Endpoint


@dataclass(frozen=True)
class Ground:
    """Everything that a node is judged on; ``beyond`` says what else decides there and is not judged."""

    network: Network
    controllers: tuple[Controller, ...]
    beyond: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Door:
    """A port that not everybody may reach, and who may."""

    name: str
    port: int
    permitted: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class Doors:
    """A node's ports: those with a guard, and those that stay as they are."""

    guarded: tuple[Door, ...]
    others: tuple[Port, ...]

    @property
    def p2p(self) -> int:
        """Give the port at which other nodes call."""
        return next((port.number for port in self.others if port.name == "p2p"), P2P)


def lay(
    namespaces: Iterable[Object],
    found: Iterable[Object],
    pods: Iterable[Object],
    deployments: Iterable[Object],
    beyond: Sequence[Finding] = (),
) -> Ground:
    """Make the ground of objects as the API gives them; ``deployments`` are the controllers'.

    Pods that have ended are left out: nothing comes from them and nobody can reach them.
    """
    labels = {o["metadata"]["name"]: {NAME_LABEL: o["metadata"]["name"]} | _labels(o) for o in namespaces}
    alive = (pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"))
    network = Network(labels, map(policies.read, found), map(endpoint, alive))
    return Ground(network, tuple(map(_controller, deployments)), tuple(beyond))


def _labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def _controller(deployment: Object) -> Controller:
    namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
    spec = deployment["spec"]
    selector = spec.get("selector") or {}
    body = {"namespaceSelector": {"matchLabels": {NAME_LABEL: namespace}}, "podSelector": selector}
    labels = spec["template"].get("metadata", {}).get("labels") or selector.get("matchLabels") or {}
    on_host = bool(spec["template"].get("spec", {}).get("hostNetwork"))
    model = Endpoint(namespace, name, labels, on_host=on_host)
    return Controller(f"{namespace}/{name}", policies.read_peer(body), body, model)


def peers(given: Iterable[Any], namespace: str) -> tuple[Peer, ...]:
    """Give the plan's peers; one without namespaceSelector means the pods of the nodes' namespace."""
    found = (policies.read_peer(each.model_dump(by_alias=True, exclude_none=True)) for each in given)
    own = Selector(((NAME_LABEL, Values(frozenset({namespace}))),))
    return tuple(p if p.block or p.namespaces else Peer(own, p.pods or selectors.EVERYTHING) for p in found)


def doors(spec: Object, namespace: str, parameters: Parameters, ground: Ground) -> Doors:
    """Give the doors of a node whose pod has this spec."""
    try:
        sidecar = shapes.read(spec, parameters).sidecar_port
    except shapes.NotWired:
        sidecar = shapes.DEFAULT_SIDECAR_PORT
    access: Access = parameters.access
    controllers = tuple(each.peer for each in ground.controllers)
    guarded = (
        Door("proxy", parameters.ports.proxy, (*controllers, *peers(access.clients, namespace))),
        Door("public", parameters.ports.public, (*controllers, *peers(access.monitoring, namespace))),
        Door("sidecar", sidecar, ()),
    )
    taken = {door.port for door in guarded}
    return Doors(guarded, tuple(port for port in declared(spec) if port.number not in taken))


def unjudged(kind: str, names: Sequence[str]) -> Finding:
    """Say that objects of a kind decide, too, what gets through, and are not judged."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Finding(
        "policy-unjudged",
        Severity.UNKNOWN,
        f"{kind} {shown}",
        "has a say in who reaches the nodes, and is not judged",
        f"look at it yourself: kubectl get {kind} -A; plan and apply go on with --accept-unjudged-policy",
    )
