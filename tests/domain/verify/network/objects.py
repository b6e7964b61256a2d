"""A node in the new shape, namespaces, a controller and a monitoring system; tests vary the policies."""

from __future__ import annotations

import copy
from typing import Any

from seimigrate.domain.findings import Finding
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.plan.plan import Plan
from seimigrate.domain.verify.network import inventory, verdict
from seimigrate.domain.verify.network.evaluate import PolicyEvaluator
from tests.domain.objects import rendered
from tests.engine.harness import make_plan

CONTROLLER = {"control-plane": "controller-manager", "app.kubernetes.io/name": "sei-k8s-controller"}
SYSTEM, MONITORING = "sei-k8s-controller-system", "monitoring"


def in_namespace(namespace: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


CONTROLLER_PEER = in_namespace(SYSTEM) | {"podSelector": {"matchLabels": CONTROLLER}}


def namespace(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}}


def pod(namespace: str, name: str, ip: str = "10.2.0.9", spec: Object | None = None, /, **labels: str) -> Object:
    status = {"podIPs": [{"ip": ip}], "phase": "Running"}
    return {"metadata": {"namespace": namespace, "name": name, "labels": labels}, "spec": spec or {}, "status": status}


def node(spec: Object | None = None, /, **labels: str) -> Object:
    """The pod of a node in the new shape."""
    template = rendered(generation="new").statefulset["spec"]["template"]
    metadata = {"namespace": "sei", "name": "node-0-0", "labels": template["metadata"]["labels"] | labels}
    return {"metadata": metadata, "spec": template["spec"] | (spec or {}), "status": {"podIPs": [{"ip": "10.1.0.7"}]}}


def deployment(**labels: str) -> Object:
    return {
        "metadata": {"namespace": SYSTEM, "name": "manager", "labels": CONTROLLER},
        "spec": {
            "selector": {"matchLabels": CONTROLLER},
            "template": {"metadata": {"labels": CONTROLLER | labels}, "spec": {}},
        },
    }


def policy(name: str = "guard", namespace: str = "sei", **spec: Any) -> Object:
    body = {"podSelector": {"matchExpressions": [{"key": "sei.io/node", "operator": "Exists"}]}, **spec}
    return {"metadata": {"namespace": namespace, "name": name}, "spec": body}


def rule(*ports: Any, peers: Any = None) -> Object:
    body: Object = {"ports": [{"port": port} for port in ports]} if ports else {}
    return body if peers is None else body | {"from": peers}


REACHABLE_PORTS = (26656, 26657, 8545, 8546, 9090, 1317, 26660, 9300)


def fitting_policy(*more: Object, **spec: Any) -> Object:
    """A policy without findings."""
    rules = [
        rule(8443, peers=[CONTROLLER_PEER]),
        rule(9100, peers=[in_namespace(MONITORING), CONTROLLER_PEER]),
        rule(*REACHABLE_PORTS),
        *more,
    ]
    default_spec: Object = {"policyTypes": ["Ingress"], "ingress": rules}
    return policy(**(default_spec | spec))


NAMESPACES = (namespace("sei"), namespace(SYSTEM), namespace(MONITORING), namespace("other", team="x"))


def findings(
    *policies: Object,
    pods: tuple[Object, ...] = (),
    deployments: tuple[Object, ...] | None = None,
    plan: Plan | None = None,
    target: Object | None = None,
    namespaces: tuple[Object, ...] = NAMESPACES,
    unsupported: tuple[Finding, ...] = (),
) -> tuple[Finding, ...]:
    """The findings for the node."""
    parameters = (plan or make_plan()).parameters
    with_default = (deployment(),) if deployments is None else deployments
    network_inventory = inventory.build_inventory(
        namespaces, [copy.deepcopy(each) for each in policies], pods, with_default, unsupported
    )
    return verdict.evaluate(
        target or node(), parameters, network_inventory, PolicyEvaluator(network_inventory, parameters)
    )


def codes(*policies: Object, **more: Any) -> list[str]:
    return [finding.code for finding in findings(*policies, **more)]
