"""The judgement of one node: its pod as it is, or as it will be after the cutover."""

from __future__ import annotations

from seimigrate.domain import changes, checks, shapes, transforms
from seimigrate.domain.finding import Finding
from seimigrate.domain.kinds import Object
from seimigrate.domain.network import ground
from seimigrate.domain.network.ground import Ground
from seimigrate.domain.network.judging import Judge
from seimigrate.domain.network.reach import endpoint
from seimigrate.domain.plan import Parameters, Plan
from seimigrate.domain.seen import Seen


def judge(pod: Object, parameters: Parameters, on: Ground, by: Judge) -> tuple[Finding, ...]:
    """Judge who can reach a pod of a node."""
    doors = ground.doors(pod["spec"], pod["metadata"]["namespace"], parameters, on)
    return by.judge(endpoint(pod), doors)


def after(view: Seen, plan: Plan) -> Object | None:
    """Give the pod that the present template, with what the plan still changes in it, will make.

    A rule for a port by the name that it gets then is judged as it will work then. ``None`` without a StatefulSet.
    """
    if view.seinode is None or view.statefulset is None:
        return None
    statefulset = view.statefulset
    try:
        ahead = checks.outlook(view, plan)
        mine = [change for change in ahead.changes if change.kind == transforms.STATEFUL_SET]
        statefulset = changes.apply(statefulset, mine)
    except (shapes.NotWired, changes.ConflictingChange):
        pass  # blockers name it; what can be judged is the template as it is
    meta, template = statefulset["metadata"], statefulset["spec"]["template"]
    about = {"namespace": meta["namespace"], "name": f"{meta['name']}-0"}
    labels = template.get("metadata", {}).get("labels") or {}
    return {"metadata": about | {"labels": labels}, "spec": template["spec"], "status": (view.pod or {}).get("status")}
