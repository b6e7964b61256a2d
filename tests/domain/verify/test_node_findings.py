"""Findings about shape, leftovers and holds: each has a case that causes it and one that does not."""

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
from tests.engine.harness import KEY, Harness, make_plan

PLAN = make_plan()


def cut_over_harness() -> Harness:
    harness = Harness()
    harness.world.replace_controller("new")
    harness.apply()
    harness.world.run(300)
    return harness


@pytest.fixture(scope="module")
def protected() -> NodeObservation:
    return observe(cut_over_harness().world.cache, *KEY)


def codes(observed: NodeObservation, *, in_progress: bool = False, now: float = 2e9) -> list[str]:
    return [
        finding.code for finding in node_findings.findings(observed, PLAN.parameters, in_progress=in_progress, now=now)
    ]


def test_released_node_in_new_shape_has_no_findings(protected: NodeObservation) -> None:
    assert codes(protected) == []


def test_shape_that_is_not_enforced_is_error() -> None:
    [finding] = node_findings.findings(observe(Harness().world.cache, *KEY), PLAN.parameters, in_progress=False, now=0)
    assert (finding.code, finding.severity) == ("not-enforced", FindingSeverity.ERROR)
    assert "/v0/metrics" in finding.admits


def test_pod_that_differs_from_template_is_outdated(protected: NodeObservation) -> None:
    before_cutover = observe(Harness().world.cache, *KEY)
    assert codes(replace(protected, pod=before_cutover.pod)) == ["pod-outdated"]
    assert codes(replace(before_cutover, pod=protected.pod)) == ["not-enforced", "pod-outdated"]
    assert codes(replace(protected, pod=None)) == ["no-pod"]


def test_unlisted_sidecar_is_unknown(protected: NodeObservation) -> None:
    unlisted = make_plan("sidecars.supported=[]", "sidecars.image=null").parameters
    [finding] = node_findings.findings(protected, unlisted, in_progress=False, now=0)
    assert (finding.code, finding.severity) == ("sidecar-not-accepted", FindingSeverity.UNKNOWN)


def test_missing_statefulset_or_container_is_reported(protected: NodeObservation) -> None:
    assert codes(replace(protected, statefulset=None)) == ["no-statefulset"]
    other = make_plan("containers.proxy=other").parameters
    assert [f.code for f in node_findings.findings(protected, other, in_progress=False, now=0)] == ["unexpected-shape"]


def test_hold_is_reported_with_run_and_age() -> None:
    harness = Harness()
    harness.hold()
    observed = observe(harness.world.cache, *KEY)
    later = harness.world.clock.now() + 7300
    findings = [
        f for f in node_findings.findings(observed, PLAN.parameters, in_progress=False, now=later) if f.code == "held"
    ]
    assert [each.object for each in findings] == ["StatefulSet sei/node-0", "Service sei/node-0"]
    assert all(f"run {harness.record.run} for 2 h" in each.message for each in findings)


def test_fields_of_node_in_progress_are_not_leftovers() -> None:
    harness = Harness()
    harness.apply()
    harness.rollback(StageName.EXPOSE)
    for obj, kind in ((harness.statefulset, Kind.STATEFUL_SET), (harness.service, Kind.SERVICE)):
        labels = {key: None for key in obj["metadata"]["labels"] if key.startswith("seimigrate.")}
        removals = [{"op": "remove", "path": f"/metadata/labels/{key.replace('/', '~1')}"} for key in labels]
        harness.edit(kind, *removals)
    observed = observe(harness.world.cache, *KEY)
    assert codes(observed, in_progress=True) == ["not-enforced"]
    assert "leftover-fields" in codes(observed)


def _labelled(obj: Object | None, label: str) -> Object:
    body = copy_json(obj)
    assert body is not None
    body["metadata"].setdefault("labels", {})[label] = "run-1"
    return body


def test_freeze_fence_and_port_without_hold_are_leftovers(protected: NodeObservation) -> None:
    assert codes(replace(protected, statefulset=_labelled(protected.statefulset, FREEZE_LABEL))) == ["leftover-freeze"]
    pod = copy_json(protected.pod)
    assert pod is not None
    pod["metadata"]["annotations"] = {FENCE_ANNOTATION: "run-1"}
    assert codes(replace(protected, pod=pod)) == ["leftover-fence"]
    before_cutover = observe(Harness().world.cache, *KEY)
    assert codes(replace(before_cutover, service=protected.service)) == ["not-enforced", "leftover-port"]


# Replies of a pod.


def reply_codes(**statuses: int | None) -> list[str]:
    """Codes for a pod with expected replies except these, by check name, port and last part of the path."""
    replies = {}
    for check in pod_checks.checks(PLAN.parameters):
        key = "_".join([check.name, str(check.port), check.path.rsplit("/", 1)[-1]])
        status = statuses.get(key, check.expected_statuses[0])
        replies[check] = PodReply("uid", 0.0, status, reason="" if status else "no answer")
    pod: Object = {"metadata": {"namespace": "sei", "name": "node-0-0"}}
    return [finding.code for finding in pod_checks.findings(pod, replies)]


def test_pod_checks_cover_protected_and_public_paths() -> None:
    assert reply_codes() == []
    assert reply_codes(anonymous_8443_metrics=403) == []
    assert reply_codes(anonymous_8443_metrics=200) == ["anonymous-access"]
    assert reply_codes(anonymous_8443_healthz=404, anonymous_8443_livez=200) == ["anonymous-access"]
    assert reply_codes(authorised_8443_tasks=403) == ["unexpected-response"]
    assert reply_codes(anonymous_9100_healthz=503) == ["unexpected-response"]
    assert reply_codes(anonymous_9100_healthz=None, anonymous_9100_metrics=None) == ["no-response"]
