"""Renders a NetworkPolicy for the nodes of a namespace; seimigrate never applies it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.plan.plan import Access, Parameters
from seimigrate.domain.verify.network.inventory import NetworkInventory, NodePorts
from seimigrate.domain.verify.network.reachability import Port

NAME = "seinode"
NODE_LABEL = "sei.io/node"


def policy(namespace: str, nodes: Iterable[NodePorts], parameters: Parameters, inventory: NetworkInventory) -> Object:
    """Return the policy: controllers and permitted peers at the protected ports, any peer at the other ports.

    ``nodes`` are the ports of the namespace's nodes. The sidecar's own port of any node is admitted on none.
    """
    listed = list(nodes)
    protected = {port.port for node in listed for port in node.protected}
    others = {port for node in listed for port in node.others if port.number not in protected}
    access: Access = parameters.access
    ports = parameters.ports
    rules: list[Object] = [
        _rule(ports.proxy, [*_controllers(inventory), *_peers(access.clients)]),
        _rule(ports.public, [*_peers(access.monitoring), *_controllers(inventory)]),
    ]
    if others:
        rules.append({"ports": [_port(port) for port in sorted(others, key=lambda p: (p.number, p.protocol))]})
    return {
        "apiVersion": Kind.NETWORK_POLICY.resource.api_version,
        "kind": Kind.NETWORK_POLICY.resource.kind,
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "podSelector": {"matchExpressions": [{"key": NODE_LABEL, "operator": "Exists"}]},
            "policyTypes": ["Ingress"],
            "ingress": [rule for rule in rules if rule.get("from") != []],
        },
    }


def _rule(port: int, peers: list[Any]) -> Object:
    return {"from": peers, "ports": [{"protocol": "TCP", "port": port}]}


def _controllers(inventory: NetworkInventory) -> list[Any]:
    return [copy.deepcopy(controller.body) for controller in inventory.controllers]  # avoids YAML aliases


def _peers(given: Iterable[Any]) -> list[Any]:
    return [peer.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True) for peer in given]


def _port(port: Port) -> Object:
    return {"protocol": port.protocol, "port": port.number}
