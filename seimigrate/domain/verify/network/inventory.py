"""The input of a policy evaluation: the cluster's policies and pods, the controllers, and the permitted peers."""

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
"""seid's p2p port, if a pod declares no port named p2p."""


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller's Deployment: its pods as a peer, and a pod modelled from its template."""

    name: str
    peer: Peer
    body: Mapping[str, Any]
    """The peer in the format of a NetworkPolicy."""
    model: Endpoint


@dataclass(frozen=True)
class NetworkInventory:
    """The input of a policy evaluation; ``unsupported_policies`` are findings about policies of other kinds."""

    network: Network
    controllers: tuple[Controller, ...]
    unsupported_policies: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ProtectedPort:
    """A port with restricted access, and the permitted peers."""

    name: str
    port: int
    permitted: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class NodePorts:
    """A node's ports: protected ports and unrestricted ones."""

    protected: tuple[ProtectedPort, ...]
    others: tuple[Port, ...]

    @property
    def p2p(self) -> int:
        """Return the p2p port."""
        return next((port.number for port in self.others if port.name == "p2p"), P2P)


def build_inventory(
    namespaces: Iterable[Object],
    network_policies: Iterable[Object],
    pods: Iterable[Object],
    deployments: Iterable[Object],
    unsupported: Sequence[Finding] = (),
) -> NetworkInventory:
    """Return the inventory of objects from the API; ``deployments`` are the controllers'.

    Finished pods are excluded, because they neither send nor receive traffic.
    """
    labels = {o["metadata"]["name"]: {NAME_LABEL: o["metadata"]["name"]} | _labels(o) for o in namespaces}
    running = (pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"))
    network = Network(labels, map(policies.read, network_policies), map(endpoint, running))
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
    """Return the plan's peers; a peer without namespaceSelector selects pods of the nodes' namespace."""
    parsed = (policies.read_peer(peer.model_dump(by_alias=True, exclude_none=True)) for peer in given)
    own = Selector(((NAME_LABEL, Values(frozenset({namespace}))),))
    return tuple(p if p.block or p.namespaces else Peer(own, p.pods or selectors.EVERYTHING) for p in parsed)


def node_ports(spec: Object, namespace: str, parameters: Parameters, inventory: NetworkInventory) -> NodePorts:
    """Return the ports of a node whose pod has this spec."""
    try:
        sidecar = shapes.read(spec, parameters).sidecar_port
    except shapes.NotASeiNodePod:
        sidecar = shapes.DEFAULT_SIDECAR_PORT
    access: Access = parameters.access
    controllers = tuple(controller.peer for controller in inventory.controllers)
    protected = (
        ProtectedPort("proxy", parameters.ports.proxy, (*controllers, *peers(access.clients, namespace))),
        ProtectedPort("public", parameters.ports.public, (*controllers, *peers(access.monitoring, namespace))),
        ProtectedPort("sidecar", sidecar, ()),
    )
    numbers = {port.port for port in protected}
    return NodePorts(protected, tuple(port for port in declared_ports(spec) if port.number not in numbers))


def unsupported_kind(kind: str, names: Sequence[str]) -> Finding:
    """Return the finding that objects of a kind affect access and are not evaluated."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Finding(
        "policy-kind-unsupported",
        FindingSeverity.UNKNOWN,
        f"{kind} {shown}",
        "affects access to the nodes and is not evaluated",
        f"review it: kubectl get {kind} -A; to proceed: --accept-unknown-policies",
    )
