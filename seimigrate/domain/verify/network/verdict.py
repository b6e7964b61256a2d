"""The policy evaluation of one node, for its current pod or its pod after the cutover."""

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


def evaluate(
    pod: Object, parameters: Parameters, known: NetworkInventory, evaluator: PolicyEvaluator
) -> tuple[Finding, ...]:
    """Return the findings about the clients that can reach a node's pod."""
    ports = inventory.node_ports(pod["spec"], pod["metadata"]["namespace"], parameters, known)
    return evaluator.evaluate(endpoint(pod), ports)


def after(observed: NodeObservation, plan: Plan) -> Object | None:
    """Return the pod of the current template with the plan's pending changes; ``None`` without a StatefulSet.

    Port names of the new template are used, so that rules with named ports are evaluated as they will apply.
    """
    if observed.seinode is None or observed.statefulset is None:
        return None
    statefulset = observed.statefulset
    try:
        ahead = preflight.pending_changes(observed, plan)
        template_changes = [change for change in ahead.changes if change.kind == transforms.STATEFUL_SET]
        statefulset = changes.apply(statefulset, template_changes)
    except (shapes.NotASeiNodePod, changes.ConflictingChange):
        pass  # a blocker reports the error; the current template is evaluated instead
    meta, template = statefulset["metadata"], statefulset["spec"]["template"]
    identity = {"namespace": meta["namespace"], "name": f"{meta['name']}-0"}
    labels = template.get("metadata", {}).get("labels") or {}
    return {
        "metadata": identity | {"labels": labels},
        "spec": template["spec"],
        "status": (observed.pod or {}).get("status"),
    }
