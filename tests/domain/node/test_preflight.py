"""Blockers and the preview of a node: each blocker has a case that causes it and a similar one that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from seimigrate.domain.findings import AcceptedFindings, Finding, FindingSeverity
from seimigrate.domain.kube import changes as changing
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node import preflight
from seimigrate.domain.node.fingerprints import Fields
from seimigrate.domain.node.observation import AccessReview, NodeObservation, RelatedObjects
from seimigrate.domain.node.preview import NodePlan, plan_node
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import StageName, Strategy
from seimigrate.engine.readers import observe
from seimigrate.planfile import load_plan
from seimigrate.resources import plans_dir
from seimigrate.simulation.objects import copy_json
from seimigrate.simulation.world import SHARED_IMAGE, SPLIT_IMAGE
from tests.engine.harness import KEY, NAME, Harness, make_plan, reaching

PLAN = make_plan()
NO_IMAGE = load_plan((plans_dir() / "split-listeners.yaml").read_text(), "p.yaml", [])
Edit = Callable[[Any], object]


def codes(observed: NodeObservation, *, accept: bool = True, plan: Any = PLAN) -> list[str]:
    blockers = preflight.blockers(
        observed, plan, accepted=AcceptedFindings.UNKNOWN if accept else AcceptedFindings.NOTHING
    )
    assert all(blocker.reason and blocker.remedy for blocker in blockers)
    return [blocker.code for blocker in blockers]


@pytest.fixture(scope="module")
def ready() -> NodeObservation:
    return observe(Harness().world.cache, *KEY)


def edited(observed: NodeObservation, part: str, edit: Edit) -> NodeObservation:
    body = copy_json(getattr(observed, part))
    edit(body)
    return replace(observed, **{part: body})


def _condition(kind: str, status: str) -> Edit:
    def edit(body: Object) -> None:
        conditions = body["status"]["conditions"]
        conditions[:] = [c for c in conditions if c["type"] != kind] + [{"type": kind, "status": status}]

    return edit


def _budget(desired: int, expected: int = 3, **selector: Any) -> Object:
    selector = selector or {"matchLabels": {"sei.io/node": NAME}}
    status = {"expectedPods": expected, "desiredHealthy": desired, "disruptionsAllowed": 0}
    return {"metadata": {"name": "b"}, "spec": {"selector": selector}, "status": status}


def _work(phase: str | None, node: str = NAME) -> Object:
    status = {"phase": phase} if phase else {}
    return {"metadata": {"name": "t"}, "spec": {"target": {"nodeRef": {"name": node}}}, "status": status}


def _related(observed: NodeObservation, **parts: Any) -> NodeObservation:
    return replace(observed, related=replace(observed.related, **parts))


def _container(container: str, **parts: Any) -> Edit:
    def edit(body: Object) -> None:
        spec = body["spec"]["template"]["spec"]
        next(c for c in [*spec["initContainers"], *spec["containers"]] if c["name"] == container).update(parts)

    return edit


def _plan_phase(phase: str) -> Edit:
    return lambda body: body["status"].update(plan={"phase": phase})


def _owner(kind: str) -> Edit:
    return lambda body: body["metadata"].update(ownerReferences=[{"kind": kind, "name": "n"}])


def _spec(**parts: Any) -> Edit:
    return lambda body: body["spec"].update(parts)


def _status(**parts: Any) -> Edit:
    return lambda body: body["status"].update(parts)


CASES: list[tuple[str, Callable[[NodeObservation], NodeObservation], Callable[[NodeObservation], NodeObservation]]] = [
    ("seinode-not-found", lambda v: replace(v, seinode=None), lambda v: v),
    ("statefulset-not-found", lambda v: replace(v, statefulset=None), lambda v: v),
    ("service-not-found", lambda v: replace(v, service=None), lambda v: v),
    (
        "statefulset-not-owned",
        lambda v: edited(v, "statefulset", lambda b: b["metadata"]["ownerReferences"][0].update(uid="x")),
        lambda v: edited(
            v, "statefulset", lambda b: b["metadata"]["ownerReferences"].append({"kind": "X", "uid": "x"})
        ),
    ),
    (
        "being-deleted",
        lambda v: edited(v, "seinode", lambda b: b["metadata"].update(deletionTimestamp="2030-01-01T00:00:00Z")),
        lambda v: edited(v, "seinode", lambda b: b["metadata"].update(creationTimestamp="2030-01-01T00:00:00Z")),
    ),
    (
        "paused",
        lambda v: edited(v, "seinode", _spec(paused=True)),
        lambda v: edited(v, "seinode", _spec(paused=False)),
    ),
    (
        "phase",
        lambda v: edited(v, "seinode", _status(phase="Failed")),
        lambda v: edited(v, "seinode", _status(phase="Running")),
    ),
    (
        "plan-in-progress",
        lambda v: edited(v, "seinode", _plan_phase("Active")),
        lambda v: edited(v, "seinode", _plan_phase("Complete")),
    ),
    (
        "plan-in-progress",
        lambda v: edited(v, "seinode", _condition("NodeUpdateInProgress", "True")),
        lambda v: edited(v, "seinode", _condition("NodeUpdateInProgress", "False")),
    ),
    (
        "image-drift",
        lambda v: edited(v, "seinode", _status(currentImage="sei:old")),
        lambda v: edited(v, "seinode", lambda b: b["status"].pop("currentImage")),
    ),
    (
        "unknown-mode",
        lambda v: edited(v, "seinode", lambda b: b["spec"].pop("fullNode")),
        lambda v: edited(v, "seinode", lambda b: b["spec"].update(fullNode={})),
    ),
    (
        "workflow",
        lambda v: _related(v, workflows=(_work("Running"),)),
        lambda v: _related(v, workflows=(_work("Failed"),)),
    ),
    (
        "workflow",
        lambda v: edited(v, "seinode", _status(adoptedWorkflow={"name": "w"})),
        lambda v: _related(v, workflows=(_work("Running", "other"),)),
    ),
    ("task", lambda v: _related(v, tasks=(_work(None),)), lambda v: _related(v, tasks=(_work("Complete"),))),
    (
        "replicas",
        lambda v: edited(v, "statefulset", _spec(replicas=2)),
        lambda v: edited(v, "statefulset", lambda b: b["spec"].pop("replicas")),
    ),
    (
        "host-network",
        lambda v: edited(v, "statefulset", lambda b: b["spec"]["template"]["spec"].update(hostNetwork=True)),
        lambda v: edited(v, "statefulset", lambda b: b["spec"]["template"]["spec"].update(hostNetwork=False)),
    ),
    ("not-ready", lambda v: replace(v, pod=None), lambda v: v),
    (
        "not-ready",
        lambda v: edited(v, "pod", _condition("Ready", "False")),
        lambda v: edited(v, "pod", _condition("Else", "False")),
    ),
    (
        "not-ready",
        lambda v: edited(v, "seinode", _condition("SidecarReady", "False")),
        lambda v: edited(v, "seinode", _condition("SidecarReady", "Unknown")),
    ),
    (
        "cordoned",
        lambda v: _related(v, kube_node={"metadata": {"name": "n"}, "spec": {"unschedulable": True}}),
        lambda v: _related(v, kube_node={"metadata": {"name": "n"}, "spec": {}}),
    ),
    ("disruption-budget", lambda v: _related(v, budgets=(_budget(3),)), lambda v: _related(v, budgets=(_budget(2),))),
    (
        "disruption-budget",
        lambda v: _related(v, budgets=(_budget(3, matchExpressions=[{"key": "sei.io/node", "operator": "Exists"}]),)),
        lambda v: _related(v, budgets=(_budget(3, matchLabels={"sei.io/node": "other"}),)),
    ),
    (
        "unexpected-shape",
        lambda v: edited(v, "statefulset", _container("kube-rbac-proxy", name="proxy")),
        lambda v: edited(v, "statefulset", _container("cosmos-exporter", name="exporter")),
    ),
    (
        "unexpected-shape",
        lambda v: edited(v, "statefulset", _container("kube-rbac-proxy", args=["--ignore-paths", "/v0/healthz"])),
        lambda v: edited(v, "statefulset", _container("cosmos-exporter", args=["--ignore-paths", "/v0/healthz"])),
    ),
    (
        "could-not-start",
        lambda v: edited(
            v,
            "statefulset",
            _container("cosmos-exporter", startupProbe={"httpGet": {"path": "/v0/healthz", "port": 8443}}),
        ),
        lambda v: edited(
            v,
            "statefulset",
            _container("cosmos-exporter", startupProbe={"httpGet": {"path": "/healthz", "port": 8443}}),
        ),
    ),
]


@pytest.mark.parametrize(("code", "cause", "without"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_blocker_is_reported_only_if_its_cause_is_present(
    ready: NodeObservation,
    code: str,
    cause: Callable[[NodeObservation], NodeObservation],
    without: Callable[[NodeObservation], NodeObservation],
) -> None:
    assert codes(ready) == []
    assert code in codes(cause(ready))
    assert codes(without(ready)) == []


def test_plan_without_split_image_blocks(ready: NodeObservation) -> None:
    assert codes(ready, plan=NO_IMAGE) == ["sidecar-not-accepted"]


def test_unknown_policies_block_unless_accepted(ready: NodeObservation) -> None:
    assert codes(ready, accept=False) == ["policy-kind-unsupported"]


@pytest.mark.parametrize("severity", [FindingSeverity.ERROR, FindingSeverity.UNKNOWN, FindingSeverity.WARNING])
@pytest.mark.parametrize("accepted", AcceptedFindings)
def test_policy_finding_blocks_or_is_reported_as_accepted(
    ready: NodeObservation, severity: FindingSeverity, accepted: AcceptedFindings
) -> None:
    finding = Finding("some-code", severity, "NetworkPolicy sei/guard", "is odd", "review it")
    node_plan = plan_node(
        replace(ready, access_review=AccessReview(0, (finding,))), PLAN, Strategy.STAGED, None, accepted=accepted
    )
    accepted_by = {
        FindingSeverity.ERROR: (AcceptedFindings.VIOLATIONS,),
        FindingSeverity.UNKNOWN: (AcceptedFindings.VIOLATIONS, AcceptedFindings.UNKNOWN),
        FindingSeverity.WARNING: tuple(AcceptedFindings),
    }[severity]
    assert [blocker.code for blocker in node_plan.blockers] == ([] if accepted in accepted_by else ["some-code"])
    warnings = [each for each in node_plan.warnings if "is odd" in each]
    assert len(warnings) == (accepted in accepted_by)
    assert all(each.startswith("accepted: ") == (severity is not FindingSeverity.WARNING) for each in warnings)


def test_all_blockers_are_reported_together(ready: NodeObservation) -> None:
    observed = edited(edited(ready, "seinode", _spec(paused=True)), "statefulset", _spec(replicas=3))
    assert codes(observed, accept=False) == ["paused", "replicas", "policy-kind-unsupported"]


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([], "no record of a completed mark-ready"),
        ([{"type": "mark-ready", "status": "completed"}], ""),
        ([{"type": "snapshot", "status": "running"}, {"type": "mark-ready", "status": "completed"}], ""),
        ([{"type": "mark-ready", "status": "completed"}, {"type": "reset-data", "status": "completed"}], ""),
        ([{"type": "reset-data", "status": "failed"}, {"type": "mark-ready", "status": "completed"}], "reset-data"),
        ([{"type": "mark-ready", "status": "failed"}, {"type": "stop-seid", "status": "completed"}], "stop-seid"),
        ([{"type": "mark-not-ready", "status": "completed"}], "mark-not-ready"),
        ([{"type": "mark-ready", "status": "completed"}, {"type": "reset-data", "status": "running"}], "in progress"),
    ],
)
def test_conflicting_task_for_mark_ready(tasks: list[Object], expected: str) -> None:
    conflict = preflight.conflicting_task(tasks)
    assert bool(conflict) == bool(expected)
    assert expected in conflict


def test_image_is_chosen_from_seinode_then_pod_then_plan() -> None:
    parameters = PLAN.parameters
    spec_image = {"spec": {"sidecar": {"image": SPLIT_IMAGE}}}
    assert preflight.choose_image(spec_image, SHARED_IMAGE, parameters) == preflight.ImageChoice(SPLIT_IMAGE)
    running = "mirror/seictl@" + SPLIT_IMAGE.partition("@")[2]
    assert preflight.choose_image({"spec": {}}, running, parameters).image == running
    chosen = preflight.choose_image({"spec": {"sidecar": {"image": SHARED_IMAGE}}}, SHARED_IMAGE, parameters)
    assert chosen.image == SPLIT_IMAGE
    assert "spec.sidecar.image" in chosen.warnings[0]
    status = {"currentSidecarImage": SPLIT_IMAGE}
    assert preflight.choose_image({"spec": {}, "status": status}, SHARED_IMAGE, parameters).warnings == ()


# The preview of a node.


def preview(harness: Harness, strategy: Strategy = Strategy.STAGED) -> NodePlan:
    observed = observe(harness.world.cache, *KEY)
    key = ("sei", f"seimigrate-{NAME}")
    record = harness.record if key in harness.world.cluster.objects[Kind.CONFIG_MAP] else None
    return plan_node(observed, PLAN, strategy, record, accepted=AcceptedFindings.UNKNOWN)


def test_preview_equals_changes_and_restarts_of_the_run() -> None:
    for strategy, restarts in ((Strategy.STAGED, 2), (Strategy.MERGED, 1)):
        harness = Harness(strategy=strategy)
        node_plan = preview(harness, strategy)
        assert (node_plan.template, node_plan.pod, node_plan.stage) == (Shape.SHARED, Shape.SHARED, StageName.EXPOSE)
        assert (node_plan.mode, node_plan.chain, node_plan.restarts) == ("fullNode", "pacific-1", restarts)
        assert not node_plan.done
        harness.apply()
        assert harness.replaced_pod_count() == restarts
        assert {(c.kind, c.path) for c in node_plan.changes} == {(c.kind, c.path) for c in harness.record.changes}
        finished = preview(harness, strategy)
        assert (finished.template, finished.pod, finished.stage, finished.restarts) == (
            Shape.ENFORCED,
            Shape.ENFORCED,
            "done",
            0,
        )
        assert finished.done
        assert not finished.blockers


@pytest.mark.parametrize(("stage", "restarts"), [("probes", 2), ("ready", 2), ("enforce", 1), ("policy", 0)])
def test_preview_of_node_in_progress_has_stage_and_restarts_left(stage: str, restarts: int) -> None:
    harness = Harness()
    harness.interrupt(reaching(StageName(stage)))
    node_plan = preview(harness)
    assert node_plan.stage == stage
    assert node_plan.restarts == restarts


def test_preview_of_written_template_has_one_restart() -> None:
    harness = Harness(strategy=Strategy.MERGED)
    forks = harness.forks(harness.apply)
    template_written = next(fork for fork in forks if fork.shape is Shape.ENFORCED and fork.pod_shape is Shape.SHARED)
    node_plan = preview(template_written, Strategy.MERGED)
    assert not node_plan.changes
    assert node_plan.restarts == 1
    assert not node_plan.done


def test_preview_of_blocked_node_has_its_changes(ready: NodeObservation) -> None:
    observed = edited(ready, "seinode", _spec(paused=True))
    blocked = plan_node(observed, PLAN, Strategy.STAGED, None, accepted=AcceptedFindings.UNKNOWN)
    assert [b.code for b in blocked.blockers] == ["paused"]
    assert len(blocked.changes) == 9


def test_fingerprint_ignores_versions_and_managed_fields(ready: NodeObservation) -> None:
    def fingerprint(observed: NodeObservation) -> Fields:
        return plan_node(observed, PLAN, Strategy.STAGED, None, accepted=AcceptedFindings.UNKNOWN).fields

    bookkeeping_changed = edited(
        ready, "statefulset", lambda b: b["metadata"].update(resourceVersion="9", managedFields=[])
    )
    assert fingerprint(bookkeeping_changed) == fingerprint(ready)
    assert fingerprint(edited(ready, "statefulset", _container("seid", image="x:y"))) != fingerprint(ready)
    assert fingerprint(edited(ready, "seinode", lambda b: b["metadata"].update(generation=7))) != fingerprint(ready)
    assert fingerprint(edited(ready, "pod", lambda b: b["metadata"].update(uid="x"))) != fingerprint(ready)


def test_node_managed_by_gitops_has_warning(ready: NodeObservation) -> None:
    observed = edited(
        ready,
        "seinode",
        lambda b: b["metadata"].setdefault("annotations", {}).update({"argocd.argoproj.io/tracking-id": "x"}),
    )
    warnings = plan_node(observed, PLAN, Strategy.STAGED, None, accepted=AcceptedFindings.UNKNOWN).warnings
    assert any("Argo CD" in warning for warning in warnings)


def test_node_without_objects_has_preview(ready: NodeObservation) -> None:
    without_objects = replace(ready, statefulset=None, service=None, pod=None, related=RelatedObjects())
    node_plan = plan_node(without_objects, PLAN, Strategy.STAGED, None, accepted=AcceptedFindings.UNKNOWN)
    assert [b.code for b in node_plan.blockers] == ["statefulset-not-found"]
    assert node_plan.template is node_plan.pod is None
    assert changing.to_patch({}, node_plan.changes) == []
