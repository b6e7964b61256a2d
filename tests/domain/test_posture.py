"""Shapes, leftovers and holds: each found, beside a node on which it is as it should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seimigrate.domain.findings import FindingSeverity
from seimigrate.domain.kube.kinds import FENCE_ANNOTATION, FREEZE_LABEL, Kind, Object
from seimigrate.domain.node.observation import NodeObservation, PodReply
from seimigrate.domain.plan.plan import StageName
from seimigrate.domain.verify import node_findings, pod_checks
from seimigrate.engine.readers import observe
from seimigrate.simulation.objects import copy_json
from tests.engine.harness import KEY, Scene, make_plan

PLAN = make_plan()


def done() -> Scene:
    scene = Scene()
    scene.world.replace_controller("new")
    scene.apply()
    scene.world.run(300)
    return scene


@pytest.fixture(scope="module")
def closed() -> NodeObservation:
    return observe(done().world.cache, *KEY)


def codes(observed: NodeObservation, *, moving: bool = False, now: float = 2e9) -> list[str]:
    return [finding.code for finding in node_findings.findings(observed, PLAN.parameters, in_progress=moving, now=now)]


def test_a_node_in_the_new_shape_that_is_the_controllers_leaves_nothing_to_find(closed: NodeObservation) -> None:
    assert codes(closed) == []


def test_a_shape_that_is_not_enforced_is_open_for_everybody() -> None:
    [finding] = node_findings.findings(observe(Scene().world.cache, *KEY), PLAN.parameters, in_progress=False, now=0)
    assert (finding.code, finding.severity) == ("not-enforced", FindingSeverity.ERROR)
    assert "/v0/metrics" in finding.admits


def test_a_pod_that_is_not_what_its_template_says(closed: NodeObservation) -> None:
    shared = observe(Scene().world.cache, *KEY)
    assert codes(replace(closed, pod=shared.pod)) == ["pod-outdated"]
    assert codes(replace(shared, pod=closed.pod)) == ["not-enforced", "pod-outdated"]
    assert codes(replace(closed, pod=None)) == ["no-pod"]


def test_a_sidecar_that_nobody_listed_is_unknown(closed: NodeObservation) -> None:
    unlisted = make_plan("sidecars.supported=[]", "sidecars.image=null").parameters
    [finding] = node_findings.findings(closed, unlisted, in_progress=False, now=0)
    assert (finding.code, finding.severity) == ("sidecar-not-accepted", FindingSeverity.UNKNOWN)


def test_no_statefulset_and_no_such_container_cannot_be_told(closed: NodeObservation) -> None:
    assert codes(replace(closed, statefulset=None)) == ["no-statefulset"]
    other = make_plan("containers.proxy=other").parameters
    assert [f.code for f in node_findings.findings(closed, other, in_progress=False, now=0)] == ["unexpected-shape"]


def test_a_hold_is_told_with_its_run_and_its_age() -> None:
    scene = Scene()
    scene.hold()
    observed = observe(scene.world.cache, *KEY)
    later = scene.world.clock.now() + 7300
    told = [
        f for f in node_findings.findings(observed, PLAN.parameters, in_progress=False, now=later) if f.code == "held"
    ]
    assert [each.object for each in told] == ["StatefulSet sei/node-0", "Service sei/node-0"]
    assert all(f"run {scene.record.run} for 2 h" in each.message for each in told)


def test_what_a_node_on_its_way_carries_is_no_leftover() -> None:
    scene = Scene()
    scene.apply()
    scene.rollback(StageName.EXPOSE)
    for obj, kind in ((scene.statefulset, Kind.STATEFUL_SET), (scene.service, Kind.SERVICE)):
        labels = {key: None for key in obj["metadata"]["labels"] if key.startswith("seimigrate.")}
        gone = [{"op": "remove", "path": f"/metadata/labels/{key.replace('/', '~1')}"} for key in labels]
        scene.edit(kind, *gone)
    observed = observe(scene.world.cache, *KEY)
    assert codes(observed, moving=True) == ["not-enforced"]
    assert "leftover-fields" in codes(observed)


def _labelled(obj: Object | None, label: str) -> Object:
    body = copy_json(obj)
    assert body is not None
    body["metadata"].setdefault("labels", {})[label] = "run-1"
    return body


def test_a_freeze_without_a_hold_a_fence_and_a_port_are_leftovers(closed: NodeObservation) -> None:
    assert codes(replace(closed, statefulset=_labelled(closed.statefulset, FREEZE_LABEL))) == ["leftover-freeze"]
    pod = copy_json(closed.pod)
    assert pod is not None
    pod["metadata"]["annotations"] = {FENCE_ANNOTATION: "run-1"}
    assert codes(replace(closed, pod=pod)) == ["leftover-fence"]
    shared = observe(Scene().world.cache, *KEY)
    assert codes(replace(shared, service=closed.service)) == ["not-enforced", "leftover-port"]


# What a pod answers.


def answers(**statuses: int | None) -> list[str]:
    """Codes for a pod that answers rightly but for some: by what is asked, and the path's last part."""
    told = {}
    for check in pod_checks.checks(PLAN.parameters):
        key = "_".join([check.name, str(check.port), check.path.rsplit("/", 1)[-1]])
        status = statuses.get(key, check.expected_statuses[0])
        told[check] = PodReply("uid", 0.0, status, reason="" if status else "no answer")
    pod: Object = {"metadata": {"namespace": "sei", "name": "node-0-0"}}
    return [finding.code for finding in pod_checks.findings(pod, told)]


def test_a_pod_is_asked_for_what_must_be_shut_and_what_must_be_open() -> None:
    assert answers() == []
    assert answers(anonymous_8443_metrics=403) == []
    assert answers(anonymous_8443_metrics=200) == ["anonymous-access"]
    assert answers(anonymous_8443_healthz=404, anonymous_8443_livez=200) == ["anonymous-access"]
    assert answers(authorised_8443_tasks=403) == ["unexpected-response"]
    assert answers(anonymous_9100_healthz=503) == ["unexpected-response"]
    assert answers(anonymous_9100_healthz=None, anonymous_9100_metrics=None) == ["no-response"]
