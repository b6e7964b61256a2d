"""What stands in the way of a node's cutover: each blocker with a code, the reason and the remedy.

Blockers stop the cutover, never the hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from seimigrate.domain import changes as changing
from seimigrate.domain import images, seen, selectors, shapes, transforms
from seimigrate.domain.finding import Acceptance, Severity
from seimigrate.domain.kinds import Object
from seimigrate.domain.plan import Parameters, Plan
from seimigrate.domain.seen import Seen

ACTIVE = ("pending", "running", "active", "submitted", "in_progress", "in-progress")
HARMFUL_TASKS = ("stop-seid", "reset-data", "snapshot-restore", "mark-not-ready")


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing in the way."""

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which sidecar image a node will run, and what its owner has to write down before the release."""

    image: str | None
    warnings: tuple[str, ...] = ()


def choose_image(seinode: Object, template_image: str, parameters: Parameters) -> Choice:
    """Choose the sidecar image: the SeiNode's own if it splits, else what runs if that splits, else the plan's."""
    wanted = seinode.get("spec", {}).get("sidecar", {}).get("image")
    accepted = parameters.sidecars.accepted
    if wanted and images.accepted(wanted, accepted):
        return Choice(wanted)
    image = template_image if images.accepted(template_image, accepted) else parameters.sidecars.image
    if image is None or image == seinode.get("status", {}).get("currentSidecarImage"):
        return Choice(image)
    whose = f"SeiNetwork {network}'s" if (network := seen.network_of(seinode)) else "the SeiNode's"
    where = f"{whose} spec.sidecar.image" + ("" if wanted else ", or the controller's default,")
    return Choice(image, (f"before the release, {where} must be {image}",))


def outlook(view: Seen, plan: Plan) -> transforms.Outlook:
    """Give what the cutover would still change on a node; raises ``shapes.NotWired`` for another kind of pod."""
    assert view.seinode is not None and view.statefulset is not None
    template = view.statefulset["spec"]["template"]["spec"]
    image = choose_image(view.seinode, shapes.read(template, plan.parameters).image, plan.parameters).image
    return transforms.outlook(view.statefulset, view.service or {"spec": {}}, plan, image)


def blockers(view: Seen, plan: Plan, *, accepted: Acceptance) -> list[Blocker]:
    """List everything that stands in the way of a node that has not begun to move."""
    if (absent := _absent(view)) is not None:
        return [absent]
    found = [blocker for check in _CHECKS for blocker in check(view, plan)]
    judged = view.judgement
    if judged is None:
        unjudged = Blocker("policy-unjudged", "who can reach its pod was not looked at", "run it again")
        return found if accepted.covers(Severity.UNKNOWN) else [*found, unjudged]
    against = judged.against(accepted)
    consumers = (each for each in judged.consumers if each.severity is Severity.ERROR)
    return [*found, *(Blocker(each.code, each.text, each.remedy) for each in (*against, *consumers))]


def _absent(view: Seen) -> Blocker | None:
    if view.seinode is None:
        return Blocker("seinode-absent", "there is no such SeiNode", "check the namespace and the name")
    if view.statefulset is None:
        return Blocker("statefulset-absent", "its StatefulSet does not exist", "let the controller create it first")
    if not seen.owned_by(view.statefulset, view.seinode):
        return Blocker(
            "statefulset-foreign",
            "its StatefulSet is not owned by this SeiNode",
            "find out who made it: kubectl get statefulset -o yaml",
        )
    if view.service is None:
        return Blocker("service-absent", "its Service does not exist", "let the controller create it first")
    return None


def _life(view: Seen, plan: Plan) -> Iterator[Blocker]:
    assert view.seinode is not None
    spec, status, meta = (view.seinode.get(key, {}) for key in ("spec", "status", "metadata"))
    if "deletionTimestamp" in meta:
        yield Blocker("being-deleted", "the SeiNode is being deleted", "leave it alone")
    if spec.get("paused"):
        yield Blocker("paused", "spec.paused is true", "unpause it, or leave it out")
    if status.get("phase") != "Running":
        yield Blocker("phase", f"its phase is {status.get('phase') or 'unknown'}", "wait for Running, or repair it")
    if status.get("plan", {}).get("phase") == "Active" or (
        seen.condition(view.seinode, "NodeUpdateInProgress").get("status") == "True"
    ):
        yield Blocker("plan-in-progress", "the controller is carrying out a plan on it", "wait until it has ended")
    if status.get("currentImage") and spec.get("image") != status["currentImage"]:
        yield Blocker(
            "image-drift",
            f"spec.image is {spec.get('image')}, and {status['currentImage']} runs",
            "wait until the controller has updated the node",
        )
    if seen.mode_of(view.seinode) is None:
        yield Blocker("mode-unknown", "its spec carries no mode that is known", "update seimigrate, or leave it out")


def _work(view: Seen, plan: Plan) -> Iterator[Blocker]:
    assert view.seinode is not None
    name = view.seinode["metadata"]["name"]
    for task in open_work(view.around.workflows, name):
        yield Blocker("workflow", f"SeiNodeTaskWorkflow {task} is at work on it", "wait until it has ended")
    if view.seinode.get("status", {}).get("adoptedWorkflow"):
        yield Blocker("workflow", "a SeiNodeTaskWorkflow is at work on it", "wait until it has ended")
    for task in open_work(view.around.tasks, name):
        yield Blocker("task", f"SeiNodeTask {task} is open", "wait until it has ended, or delete it")


def open_work(objects: tuple[Object, ...], name: str) -> Iterator[str]:
    """Give the names of the tasks or workflows that target a node and have not ended."""
    for each in objects:
        target = each.get("spec", {}).get("target", {}).get("nodeRef", {}).get("name")
        if target == name and each.get("status", {}).get("phase") not in ("Complete", "Failed"):
            yield each["metadata"]["name"]


def _pod(view: Seen, plan: Plan) -> Iterator[Blocker]:
    assert view.statefulset is not None
    spec = view.statefulset["spec"]
    if spec.get("replicas", 1) != 1:
        yield Blocker("replicas", f"its StatefulSet has {spec['replicas']} replicas", "scale it to 1")
    if spec["template"]["spec"].get("hostNetwork"):
        yield Blocker("host-network", "its pod is on the host's network", "leave it out: ports would collide there")
    if not seen.pod_ready(view.pod):
        yield Blocker("not-ready", "its pod is not Ready", "repair it first, or wait")
    elif seen.condition(view.seinode, "SidecarReady").get("status") == "False":
        yield Blocker("not-ready", "the controller says that its sidecar is not ready", "repair it first, or wait")
    if view.around.kube_node is not None and view.around.kube_node.get("spec", {}).get("unschedulable"):
        name = view.around.kube_node["metadata"]["name"]
        yield Blocker("cordoned", f"Kubernetes node {name} is cordoned: a new pod may fit nowhere", "uncordon it first")
    for budget in view.around.budgets:
        yield from _budget(budget, view)


def _budget(budget: Object, view: Seen) -> Iterator[Blocker]:
    if not selects(budget, view.pod):
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
    return selector is not None and selectors.parse(selector).matches(seen.labels(pod))


def _wiring(view: Seen, plan: Plan) -> Iterator[Blocker]:
    assert view.statefulset is not None and view.seinode is not None
    template = view.statefulset["spec"]["template"]["spec"]
    try:
        wiring = shapes.read(template, plan.parameters)
        ahead = outlook(view, plan)
    except shapes.NotWired as error:
        yield Blocker("unexpected-shape", str(error), "check the container names in the plan's parameters")
        return
    choice = choose_image(view.seinode, wiring.image, plan.parameters)
    if choice.image is None:
        yield Blocker(
            "sidecar-not-accepted",
            f"sidecar {wiring.image} does not split its listeners, and the plan names none to run",
            "name the image: --set sidecars.accepted=[...] --set sidecars.image=...",
        )
        return
    for problem in ahead.problems:
        yield Blocker("unexpected-shape", problem, "put it right by hand, or leave the node out")
    if not ahead.problems:
        yield from _end(view, ahead, plan)


def _end(view: Seen, ahead: transforms.Outlook, plan: Plan) -> Iterator[Blocker]:
    assert view.statefulset is not None
    writes = transforms.batches(view.statefulset, ahead.changes, plan.parameters, merged=True)
    statefulset = view.statefulset
    for _, made in writes:
        mine = [change for change in made if change.kind == transforms.STATEFUL_SET]
        statefulset = changing.apply(statefulset, mine)
    for obstacle in transforms.obstacles(statefulset, plan.parameters):
        yield Blocker("could-not-start", f"at the end, {obstacle}", "move or remove it by hand first")


_CHECKS: tuple[Callable[[Seen, Plan], Iterator[Blocker]], ...] = (_life, _work, _pod, _wiring)


def sidecar_work(tasks: list[dict[str, object]]) -> str:
    """Name the sidecar task that is in progress, empty if none is."""
    for task in tasks:
        if str(task.get("status", "")).lower() in ACTIVE:
            return f"{task.get('type')} ({task.get('id')})"
    return ""


def intent_against(tasks: list[dict[str, object]]) -> str:
    """Say what speaks against marking a node ready, empty if nothing does.

    ``tasks`` are the newest 100, newest first. mark-not-ready purges the records of mark-ready, so that their
    absence is somebody's intent, too (upstream facts).
    """
    for task in tasks:
        if task.get("type") in HARMFUL_TASKS and str(task.get("status", "")).lower() in ACTIVE:
            return f"sidecar task {task.get('type')} is in progress"
    for task in tasks:
        kind, status = task.get("type"), str(task.get("status", "")).lower()
        if kind == "mark-ready" and status in ("completed", "complete"):
            return ""
        if kind in HARMFUL_TASKS:
            return f"sidecar task {kind} ({status or 'unknown'}) is newer than the last completed mark-ready"
    return "the sidecar remembers no completed mark-ready: somebody may have marked it not ready"
