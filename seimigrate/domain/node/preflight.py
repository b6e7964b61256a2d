"""What stands in the way of a node's cutover: each blocker with a code, the reason and the remedy.

Blockers stop the cutover, never the hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from seimigrate.domain.findings import AcceptedFindings, FindingSeverity
from seimigrate.domain.kube import changes as changing
from seimigrate.domain.kube import selectors
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import observation, shapes, transforms
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.plan import images
from seimigrate.domain.plan.plan import Parameters, Plan

ACTIVE_PHASES = ("pending", "running", "active", "submitted", "in_progress", "in-progress")
DISRUPTIVE_TASKS = ("stop-seid", "reset-data", "snapshot-restore", "mark-not-ready")


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing in the way."""

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """Which sidecar image a node will run, and what its owner has to write down before the release."""

    image: str | None
    warnings: tuple[str, ...] = ()


def choose_image(seinode: Object, template_image: str, parameters: Parameters) -> ImageChoice:
    """Choose the sidecar image: the SeiNode's own if it splits, else what runs if that splits, else the plan's."""
    wanted = seinode.get("spec", {}).get("sidecar", {}).get("image")
    accepted = parameters.sidecars.supported
    if wanted and images.accepted(wanted, accepted):
        return ImageChoice(wanted)
    image = template_image if images.accepted(template_image, accepted) else parameters.sidecars.image
    if image is None or image == seinode.get("status", {}).get("currentSidecarImage"):
        return ImageChoice(image)
    whose = f"SeiNetwork {network}'s" if (network := observation.network_of(seinode)) else "the SeiNode's"
    where = f"{whose} spec.sidecar.image" + ("" if wanted else ", or the controller's default,")
    return ImageChoice(image, (f"before the release, {where} must be {image}",))


def pending_changes(observed: NodeObservation, plan: Plan) -> transforms.PendingChanges:
    """Give what the cutover would still change on a node; raises ``shapes.NotWired`` for another kind of pod."""
    assert observed.seinode is not None and observed.statefulset is not None
    template = observed.statefulset["spec"]["template"]["spec"]
    image = choose_image(observed.seinode, shapes.read(template, plan.parameters).image, plan.parameters).image
    return transforms.pending_changes(observed.statefulset, observed.service or {"spec": {}}, plan, image)


def blockers(observed: NodeObservation, plan: Plan, *, accepted: AcceptedFindings) -> list[Blocker]:
    """List everything that stands in the way of a node that has not begun to move."""
    if (absent := _check_existence(observed)) is not None:
        return [absent]
    found = [blocker for check in _CHECKS for blocker in check(observed, plan)]
    judged = observed.access_review
    if judged is None:
        unjudged = Blocker("policy-kind-unsupported", "who can reach its pod was not looked at", "run it again")
        return found if accepted.accepts(FindingSeverity.UNKNOWN) else [*found, unjudged]
    against = judged.unaccepted(accepted)
    consumers = (each for each in judged.consumers if each.severity is FindingSeverity.ERROR)
    return [*found, *(Blocker(each.code, each.text, each.remedy) for each in (*against, *consumers))]


def _check_existence(observed: NodeObservation) -> Blocker | None:
    if observed.seinode is None:
        return Blocker("seinode-not-found", "there is no such SeiNode", "check the namespace and the name")
    if observed.statefulset is None:
        return Blocker("statefulset-not-found", "its StatefulSet does not exist", "let the controller create it first")
    if not observation.owned_by(observed.statefulset, observed.seinode):
        return Blocker(
            "statefulset-not-owned",
            "its StatefulSet is not owned by this SeiNode",
            "find out who made it: kubectl get statefulset -o yaml",
        )
    if observed.service is None:
        return Blocker("service-not-found", "its Service does not exist", "let the controller create it first")
    return None


def _check_lifecycle(observed: NodeObservation, plan: Plan) -> Iterator[Blocker]:
    assert observed.seinode is not None
    spec, status, meta = (observed.seinode.get(key, {}) for key in ("spec", "status", "metadata"))
    if "deletionTimestamp" in meta:
        yield Blocker("being-deleted", "the SeiNode is being deleted", "leave it alone")
    if spec.get("paused"):
        yield Blocker("paused", "spec.paused is true", "unpause it, or leave it out")
    if status.get("phase") != "Running":
        yield Blocker("phase", f"its phase is {status.get('phase') or 'unknown'}", "wait for Running, or repair it")
    if status.get("plan", {}).get("phase") == "Active" or (
        observation.condition(observed.seinode, "NodeUpdateInProgress").get("status") == "True"
    ):
        yield Blocker("plan-in-progress", "the controller is carrying out a plan on it", "wait until it has ended")
    if status.get("currentImage") and spec.get("image") != status["currentImage"]:
        yield Blocker(
            "image-drift",
            f"spec.image is {spec.get('image')}, and {status['currentImage']} runs",
            "wait until the controller has updated the node",
        )
    if observation.mode_of(observed.seinode) is None:
        yield Blocker("unknown-mode", "its spec carries no mode that is known", "update seimigrate, or leave it out")


def _check_open_work(observed: NodeObservation, plan: Plan) -> Iterator[Blocker]:
    assert observed.seinode is not None
    name = observed.seinode["metadata"]["name"]
    for task in open_work(observed.related.workflows, name):
        yield Blocker("workflow", f"SeiNodeTaskWorkflow {task} is at work on it", "wait until it has ended")
    if observed.seinode.get("status", {}).get("adoptedWorkflow"):
        yield Blocker("workflow", "a SeiNodeTaskWorkflow is at work on it", "wait until it has ended")
    for task in open_work(observed.related.tasks, name):
        yield Blocker("task", f"SeiNodeTask {task} is open", "wait until it has ended, or delete it")


def open_work(objects: tuple[Object, ...], name: str) -> Iterator[str]:
    """Give the names of the tasks or workflows that target a node and have not ended."""
    for each in objects:
        target = each.get("spec", {}).get("target", {}).get("nodeRef", {}).get("name")
        if target == name and each.get("status", {}).get("phase") not in ("Complete", "Failed"):
            yield each["metadata"]["name"]


def _check_pod(observed: NodeObservation, plan: Plan) -> Iterator[Blocker]:
    assert observed.statefulset is not None
    spec = observed.statefulset["spec"]
    if spec.get("replicas", 1) != 1:
        yield Blocker("replicas", f"its StatefulSet has {spec['replicas']} replicas", "scale it to 1")
    if spec["template"]["spec"].get("hostNetwork"):
        yield Blocker("host-network", "its pod is on the host's network", "leave it out: ports would collide there")
    if not observation.is_ready(observed.pod):
        yield Blocker("not-ready", "its pod is not Ready", "repair it first, or wait")
    elif observation.condition(observed.seinode, "SidecarReady").get("status") == "False":
        yield Blocker("not-ready", "the controller says that its sidecar is not ready", "repair it first, or wait")
    if observed.related.kube_node is not None and observed.related.kube_node.get("spec", {}).get("unschedulable"):
        name = observed.related.kube_node["metadata"]["name"]
        yield Blocker("cordoned", f"Kubernetes node {name} is cordoned: a new pod may fit nowhere", "uncordon it first")
    for budget in observed.related.budgets:
        yield from _check_budget(budget, observed)


def _check_budget(budget: Object, observed: NodeObservation) -> Iterator[Blocker]:
    if not selects(budget, observed.pod):
        return
    status = budget.get("status", {})
    expected, desired = status.get("expectedPods", 0), status.get("desiredHealthy", 0)
    if expected and desired >= expected:
        name = budget["metadata"]["name"]
        yield Blocker(
            "disruption-budget",
            f"PodDisruptionBudget {name} never allows an eviction ({desired} of {expected} pods must be healthy)",
            "change the budget, or leave the node out",
        )


def selects(budget: Object, pod: Object | None) -> bool:
    """Tell whether a disruption budget's selector matches a pod; an empty selector matches every pod (policy/v1)."""
    if pod is None:
        return False
    selector = budget.get("spec", {}).get("selector")
    return selector is not None and selectors.parse(selector).matches(observation.labels(pod))


def _check_listeners(observed: NodeObservation, plan: Plan) -> Iterator[Blocker]:
    assert observed.statefulset is not None and observed.seinode is not None
    template = observed.statefulset["spec"]["template"]["spec"]
    try:
        wiring = shapes.read(template, plan.parameters)
        ahead = pending_changes(observed, plan)
    except shapes.NotASeiNodePod as error:
        yield Blocker("unexpected-shape", str(error), "check the container names in the plan's parameters")
        return
    image_choice = choose_image(observed.seinode, wiring.image, plan.parameters)
    if image_choice.image is None:
        yield Blocker(
            "sidecar-not-accepted",
            f"sidecar {wiring.image} does not split its listeners, and the plan names none to run",
            "name the image: --set sidecars.supported=[...] --set sidecars.image=...",
        )
        return
    for problem in ahead.problems:
        yield Blocker("unexpected-shape", problem, "put it right by hand, or leave the node out")
    if not ahead.problems:
        yield from _check_final_template(observed, ahead, plan)


def _check_final_template(observed: NodeObservation, ahead: transforms.PendingChanges, plan: Plan) -> Iterator[Blocker]:
    assert observed.statefulset is not None
    writes = transforms.batches(observed.statefulset, ahead.changes, plan.parameters, merged=True)
    statefulset = observed.statefulset
    for _, made in writes:
        mine = [change for change in made if change.kind == transforms.STATEFUL_SET]
        statefulset = changing.apply(statefulset, mine)
    for obstacle in transforms.start_blockers(statefulset, plan.parameters):
        yield Blocker("could-not-start", f"at the end, {obstacle}", "move or remove it by hand first")


_CHECKS: tuple[Callable[[NodeObservation, Plan], Iterator[Blocker]], ...] = (
    _check_lifecycle,
    _check_open_work,
    _check_pod,
    _check_listeners,
)


def open_tasks(tasks: list[dict[str, object]]) -> str:
    """Name the sidecar task that is in progress, empty if none is."""
    for task in tasks:
        if str(task.get("status", "")).lower() in ACTIVE_PHASES:
            return f"{task.get('type')} ({task.get('id')})"
    return ""


def conflicting_task(tasks: list[dict[str, object]]) -> str:
    """Say what speaks against marking a node ready, empty if nothing does.

    ``tasks`` are the newest 100, newest first. mark-not-ready purges the records of mark-ready, so that their
    absence is somebody's intent, too (upstream facts).
    """
    for task in tasks:
        if task.get("type") in DISRUPTIVE_TASKS and str(task.get("status", "")).lower() in ACTIVE_PHASES:
            return f"sidecar task {task.get('type')} is in progress"
    for task in tasks:
        kind, status = task.get("type"), str(task.get("status", "")).lower()
        if kind == "mark-ready" and status in ("completed", "complete"):
            return ""
        if kind in DISRUPTIVE_TASKS:
            return f"sidecar task {kind} ({status or 'unknown'}) is newer than the last completed mark-ready"
    return "the sidecar remembers no completed mark-ready: somebody may have marked it not ready"
