"""A NetworkPolicy that fits the nodes of a namespace, for whoever provisions policies; nothing here applies it."""

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
    """Give the policy: the controllers and who else is permitted at the guarded ports, the others' ports as they are.

    ``nodes`` are the doors of the namespace's nodes. A port that is one node's sidecar's stays shut on all.
    """
    known = list(nodes)
    shut = {door.port for doors in known for door in doors.protected}
    others = {port for doors in known for port in doors.others if port.number not in shut}
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
    return [copy.deepcopy(each.body) for each in inventory.controllers]  # YAML would make aliases of what is the same


def _peers(given: Iterable[Any]) -> list[Any]:
    return [each.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True) for each in given]


def _port(port: Port) -> Object:
    return {"protocol": port.protocol, "port": port.number}
