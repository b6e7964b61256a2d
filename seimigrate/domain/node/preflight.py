"""The blockers of a node's cutover, each with a code, a reason and a remedy.

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
    """A condition that blocks a node's cutover."""

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """The sidecar image that a node will run, and what its owner has to set before the release."""

    image: str | None
    warnings: tuple[str, ...] = ()


def choose_image(seinode: Object, template_image: str, parameters: Parameters) -> ImageChoice:
    """Return the SeiNode's sidecar image if it splits, otherwise the template's if it splits, otherwise the plan's."""
    wanted = seinode.get("spec", {}).get("sidecar", {}).get("image")
    supported = parameters.sidecars.supported
    if wanted and images.accepted(wanted, supported):
        return ImageChoice(wanted)
    image = template_image if images.accepted(template_image, supported) else parameters.sidecars.image
    if image is None or image == seinode.get("status", {}).get("currentSidecarImage"):
        return ImageChoice(image)
    owner = f"SeiNetwork {network}'s" if (network := observation.network_of(seinode)) else "the SeiNode's"
    field = f"{owner} spec.sidecar.image" + ("" if wanted else ", or the controller's default,")
    return ImageChoice(image, (f"before the release, {field} must be {image}",))


def pending_changes(observed: NodeObservation, plan: Plan) -> transforms.PendingChanges:
    """Return what the cutover would still change; raises ``shapes.NotASeiNodePod`` for another kind of pod."""
    assert observed.seinode is not None and observed.statefulset is not None
    template = observed.statefulset["spec"]["template"]["spec"]
    image = choose_image(observed.seinode, shapes.read(template, plan.parameters).image, plan.parameters).image
    return transforms.pending_changes(observed.statefulset, observed.service or {"spec": {}}, plan, image)


def blockers(observed: NodeObservation, plan: Plan, *, accepted: AcceptedFindings) -> list[Blocker]:
    """Return all blockers of a node whose cutover has not started."""
    if (absent := _check_existence(observed)) is not None:
        return [absent]
    found = [blocker for check in _CHECKS for blocker in check(observed, plan)]
    review = observed.access_review
    if review is None:
        unreviewed = Blocker("policy-kind-unsupported", "access to the pod was not reviewed", "rerun the command")
        return found if accepted.accepts(FindingSeverity.UNKNOWN) else [*found, unreviewed]
    unaccepted = review.unaccepted(accepted)
    consumers = (finding for finding in review.consumers if finding.severity is FindingSeverity.ERROR)
    return [*found, *(Blocker(finding.code, finding.text, finding.remedy) for finding in (*unaccepted, *consumers))]


def _check_existence(observed: NodeObservation) -> Blocker | None:
    if observed.seinode is None:
        return Blocker("seinode-not-found", "the SeiNode does not exist", "check the namespace and the name")
    if observed.statefulset is None:
        return Blocker(
            "statefulset-not-found", "the StatefulSet does not exist", "wait until the controller has created it"
        )
    if not observation.owned_by(observed.statefulset, observed.seinode):
        return Blocker(
            "statefulset-not-owned",
            "the StatefulSet is not owned by this SeiNode",
            "find its creator: kubectl get statefulset -o yaml",
        )
    if observed.service is None:
        return Blocker("service-not-found", "the Service does not exist", "wait for the controller to create it")
    return None


def _check_lifecycle(observed: NodeObservation, plan: Plan) -> Iterator[Blocker]:
    assert observed.seinode is not None
    spec, status, meta = (observed.seinode.get(key, {}) for key in ("spec", "status", "metadata"))
    if "deletionTimestamp" in meta:
        yield Blocker("being-deleted", "the SeiNode is being deleted", "exclude the node")
    if spec.get("paused"):
        yield Blocker("paused", "spec.paused is true", "unpause the node, or exclude it")
    if status.get("phase") != "Running":
        yield Blocker(
            "phase",
            f"phase is {status.get('phase') or 'unknown'}, expected Running",
            "wait for Running, or repair the node",
        )
    if status.get("plan", {}).get("phase") == "Active" or (
        observation.condition(observed.seinode, "NodeUpdateInProgress").get("status") == "True"
    ):
        yield Blocker("plan-in-progress", "the controller is executing a plan on the node", "wait until it finishes")
    if status.get("currentImage") and spec.get("image") != status["currentImage"]:
        yield Blocker(
            "image-drift",
            f"spec.image is {spec.get('image')}, but the node runs {status['currentImage']}",
            "wait until the controller has updated the node",
        )
    if observation.mode_of(observed.seinode) is None:
        yield Blocker("unknown-mode", "the spec has no known mode", "update seimigrate, or exclude the node")


def _check_open_work(observed: NodeObservation, plan: Plan) -> Iterator[Blocker]:
    assert observed.seinode is not None
    name = observed.seinode["metadata"]["name"]
    for task in open_work(observed.related.workflows, name):
        yield Blocker("workflow", f"SeiNodeTaskWorkflow {task} is running on the node", "wait until it finishes")
    if observed.seinode.get("status", {}).get("adoptedWorkflow"):
        yield Blocker("workflow", "a SeiNodeTaskWorkflow is running on the node", "wait until it finishes")
    for task in open_work(observed.related.tasks, name):
        yield Blocker("task", f"SeiNodeTask {task} is not finished", "wait until it finishes, or delete it")


def open_work(objects: tuple[Object, ...], name: str) -> Iterator[str]:
    """Yield the names of the unfinished tasks or workflows that target a node."""
    for obj in objects:
        target = obj.get("spec", {}).get("target", {}).get("nodeRef", {}).get("name")
        if target == name and obj.get("status", {}).get("phase") not in ("Complete", "Failed"):
            yield obj["metadata"]["name"]


def _check_pod(observed: NodeObservation, plan: Plan) -> Iterator[Blocker]:
    assert observed.statefulset is not None
    spec = observed.statefulset["spec"]
    if spec.get("replicas", 1) != 1:
        yield Blocker("replicas", f"the StatefulSet has {spec['replicas']} replicas, expected 1", "scale it to 1")
    if spec["template"]["spec"].get("hostNetwork"):
        yield Blocker("host-network", "the pod is on the host's network, where ports would collide", "exclude the node")
    if not observation.is_ready(observed.pod):
        yield Blocker("not-ready", "the pod is not Ready", "wait, or repair the node")
    elif observation.condition(observed.seinode, "SidecarReady").get("status") == "False":
        yield Blocker("not-ready", "the controller reports the sidecar as not ready", "wait, or repair the node")
    if observed.related.kube_node is not None and observed.related.kube_node.get("spec", {}).get("unschedulable"):
        name = observed.related.kube_node["metadata"]["name"]
        yield Blocker(
            "cordoned", f"Kubernetes node {name} is cordoned; a new pod may not be scheduled", "uncordon it first"
        )
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
            "change the budget, or exclude the node",
        )


def selects(budget: Object, pod: Object | None) -> bool:
    """Return whether a budget's selector matches a pod; an empty selector matches every pod (policy/v1)."""
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
            f"sidecar {wiring.image} does not split its listeners, and the plan names no image that does",
            "name an image: --set sidecars.supported=[...] --set sidecars.image=...",
        )
        return
    for problem in ahead.problems:
        yield Blocker("unexpected-shape", problem, "fix it manually, or exclude the node")
    if not ahead.problems:
        yield from _check_final_template(observed, ahead, plan)


def _check_final_template(observed: NodeObservation, ahead: transforms.PendingChanges, plan: Plan) -> Iterator[Blocker]:
    assert observed.statefulset is not None
    writes = transforms.batches(observed.statefulset, ahead.changes, plan.parameters, merged=True)
    statefulset = observed.statefulset
    for _, batch in writes:
        template_changes = [change for change in batch if change.kind == transforms.STATEFUL_SET]
        statefulset = changing.apply(statefulset, template_changes)
    for obstacle in transforms.start_blockers(statefulset, plan.parameters):
        yield Blocker("could-not-start", f"in the final template, {obstacle}", "move or remove it manually first")


_CHECKS: tuple[Callable[[NodeObservation, Plan], Iterator[Blocker]], ...] = (
    _check_lifecycle,
    _check_open_work,
    _check_pod,
    _check_listeners,
)


def open_tasks(tasks: list[dict[str, object]]) -> str:
    """Return the sidecar task that is in progress, empty if none is."""
    for task in tasks:
        if str(task.get("status", "")).lower() in ACTIVE_PHASES:
            return f"{task.get('type')} ({task.get('id')})"
    return ""


def conflicting_task(tasks: list[dict[str, object]]) -> str:
    """Return why a node must not be marked ready, empty if nothing conflicts.

    ``tasks`` are the newest 100, newest first. mark-not-ready purges the records of mark-ready, so a missing record may
    mean that a client wants the node to be unready (upstream facts).
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
    return "the sidecar has no record of a completed mark-ready: a client may have marked the node not ready"
