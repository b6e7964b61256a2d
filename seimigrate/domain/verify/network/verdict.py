"""The judgement of one node: its pod as it is, or as it will be after the cutover."""

from __future__ import annotations

from seimigrate.domain.findings import Finding
from seimigrate.domain.kube import changes
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import preflight, shapes, transforms
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.plan.plan import Parameters, Plan
from seimigrate.domain.verify.network import inventory
from seimigrate.domain.verify.network.evaluate import PolicyEvaluator
from seimigrate.domain.verify.network.inventory import NetworkInventory
from seimigrate.domain.verify.network.reachability import endpoint


def evaluate(pod: Object, parameters: Parameters, on: NetworkInventory, by: PolicyEvaluator) -> tuple[Finding, ...]:
    """Judge who can reach a pod of a node."""
    doors = inventory.node_ports(pod["spec"], pod["metadata"]["namespace"], parameters, on)
    return by.evaluate(endpoint(pod), doors)


def after(observed: NodeObservation, plan: Plan) -> Object | None:
    """Give the pod that the present template, with what the plan still changes in it, will make.

    A rule for a port by the name that it gets then is judged as it will work then. ``None`` without a StatefulSet.
    """
    if observed.seinode is None or observed.statefulset is None:
        return None
    statefulset = observed.statefulset
    try:
        ahead = preflight.pending_changes(observed, plan)
        mine = [change for change in ahead.changes if change.kind == transforms.STATEFUL_SET]
        statefulset = changes.apply(statefulset, mine)
    except (shapes.NotASeiNodePod, changes.ConflictingChange):
        pass  # blockers name it; what can be judged is the template as it is
    meta, template = statefulset["metadata"], statefulset["spec"]["template"]
    about = {"namespace": meta["namespace"], "name": f"{meta['name']}-0"}
    labels = template.get("metadata", {}).get("labels") or {}
    return {
        "metadata": about | {"labels": labels},
        "spec": template["spec"],
        "status": (observed.pod or {}).get("status"),
    }
