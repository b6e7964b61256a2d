"""What a judgement stands on: the cluster's policies and pods, who the controllers are, and who is permitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube import selectors
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.kube.selectors import Selector, Values
from seimigrate.domain.node import shapes
from seimigrate.domain.plan.plan import Access, Parameters
from seimigrate.domain.verify.network import policies
from seimigrate.domain.verify.network.policies import Peer
from seimigrate.domain.verify.network.reachability import NAME_LABEL, Endpoint, Network, Port, declared_ports, endpoint

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
class NetworkInventory:
    """Everything that a node is judged on; ``beyond`` says what else decides there and is not judged."""

    network: Network
    controllers: tuple[Controller, ...]
    unsupported_policies: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ProtectedPort:
    """A port that not everybody may reach, and who may."""

    name: str
    port: int
    permitted: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class NodePorts:
    """A node's ports: those with a guard, and those that stay as they are."""

    protected: tuple[ProtectedPort, ...]
    others: tuple[Port, ...]

    @property
    def p2p(self) -> int:
        """Give the port at which other nodes call."""
        return next((port.number for port in self.others if port.name == "p2p"), P2P)


def build_inventory(
    namespaces: Iterable[Object],
    found: Iterable[Object],
    pods: Iterable[Object],
    deployments: Iterable[Object],
    unsupported: Sequence[Finding] = (),
) -> NetworkInventory:
    """Make the ground of objects as the API gives them; ``deployments`` are the controllers'.

    Pods that have ended are left out: nothing comes from them and nobody can reach them.
    """
    labels = {o["metadata"]["name"]: {NAME_LABEL: o["metadata"]["name"]} | _labels(o) for o in namespaces}
    alive = (pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"))
    network = Network(labels, map(policies.read, found), map(endpoint, alive))
    return NetworkInventory(network, tuple(map(_controller, deployments)), tuple(unsupported))


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


def node_ports(spec: Object, namespace: str, parameters: Parameters, inventory: NetworkInventory) -> NodePorts:
    """Give the doors of a node whose pod has this spec."""
    try:
        sidecar = shapes.read(spec, parameters).sidecar_port
    except shapes.NotASeiNodePod:
        sidecar = shapes.DEFAULT_SIDECAR_PORT
    access: Access = parameters.access
    controllers = tuple(each.peer for each in inventory.controllers)
    guarded = (
        ProtectedPort("proxy", parameters.ports.proxy, (*controllers, *peers(access.clients, namespace))),
        ProtectedPort("public", parameters.ports.public, (*controllers, *peers(access.monitoring, namespace))),
        ProtectedPort("sidecar", sidecar, ()),
    )
    taken = {door.port for door in guarded}
    return NodePorts(guarded, tuple(port for port in declared_ports(spec) if port.number not in taken))


def unsupported_kind(kind: str, names: Sequence[str]) -> Finding:
    """Say that objects of a kind decide, too, what gets through, and are not judged."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Finding(
        "policy-kind-unsupported",
        FindingSeverity.UNKNOWN,
        f"{kind} {shown}",
        "has a say in who reaches the nodes, and is not judged",
        f"look at it yourself: kubectl get {kind} -A; plan and apply go on with --accept-unknown-policies",
    )
