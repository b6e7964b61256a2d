"""A node in the new shape among namespaces, a controller and a monitoring system; policies are what tests vary."""

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


def named(namespace: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


CONTROLLER_PEER = named(SYSTEM) | {"podSelector": {"matchLabels": CONTROLLER}}


def namespace(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}}


def pod(where: str, name: str, ip: str = "10.2.0.9", spec: Object | None = None, /, **labels: str) -> Object:
    status = {"podIPs": [{"ip": ip}], "phase": "Running"}
    return {"metadata": {"namespace": where, "name": name, "labels": labels}, "spec": spec or {}, "status": status}


def node(spec: Object | None = None, /, **labels: str) -> Object:
    """The pod of a node in the new shape."""
    template = rendered(generation="new").statefulset["spec"]["template"]
    about = {"namespace": "sei", "name": "node-0-0", "labels": template["metadata"]["labels"] | labels}
    return {"metadata": about, "spec": template["spec"] | (spec or {}), "status": {"podIPs": [{"ip": "10.1.0.7"}]}}


def deployment(**labels: str) -> Object:
    return {
        "metadata": {"namespace": SYSTEM, "name": "manager", "labels": CONTROLLER},
        "spec": {
            "selector": {"matchLabels": CONTROLLER},
            "template": {"metadata": {"labels": CONTROLLER | labels}, "spec": {}},
        },
    }


def policy(name: str = "guard", where: str = "sei", **spec: Any) -> Object:
    body = {"podSelector": {"matchExpressions": [{"key": "sei.io/node", "operator": "Exists"}]}, **spec}
    return {"metadata": {"namespace": where, "name": name}, "spec": body}


def rule(*ports: Any, peers: Any = None) -> Object:
    made: Object = {"ports": [{"port": port} for port in ports]} if ports else {}
    return made if peers is None else made | {"from": peers}


OPEN = (26656, 26657, 8545, 8546, 9090, 1317, 26660, 9300)


def tight(*more: Object, **spec: Any) -> Object:
    """A policy that fits."""
    rules = [
        rule(8443, peers=[CONTROLLER_PEER]),
        rule(9100, peers=[named(MONITORING), CONTROLLER_PEER]),
        rule(*OPEN),
        *more,
    ]
    fitting: Object = {"policyTypes": ["Ingress"], "ingress": rules}
    return policy(**(fitting | spec))


NAMESPACES = (namespace("sei"), namespace(SYSTEM), namespace(MONITORING), namespace("other", team="x"))


def judged(
    *policies: Object,
    pods: tuple[Object, ...] = (),
    deployments: tuple[Object, ...] | None = None,
    plan: Plan | None = None,
    of: Object | None = None,
    namespaces: tuple[Object, ...] = NAMESPACES,
    beyond: tuple[Finding, ...] = (),
) -> tuple[Finding, ...]:
    """What is found for the node."""
    parameters = (plan or make_plan()).parameters
    there = (deployment(),) if deployments is None else deployments
    laid = inventory.build_inventory(namespaces, [copy.deepcopy(each) for each in policies], pods, there, beyond)
    return verdict.evaluate(of or node(), parameters, laid, PolicyEvaluator(laid, parameters))


def codes(*policies: Object, **more: Any) -> list[str]:
    return [finding.code for finding in judged(*policies, **more)]
