"""The release of a node, which requires that its controller confirmed the template."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seimigrate.domain.kube.changes import Change
from seimigrate.domain.kube.kinds import FREEZE_LABEL, HOLD_LABEL, MANAGER, Object
from seimigrate.domain.node import release
from seimigrate.domain.node.actions import Wait
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.record import Direction, IntentKind, Outcome, Record
from seimigrate.domain.node.rollout import RECHECK_INTERVAL, NodeContext
from seimigrate.domain.node.transforms import pending_changes
from seimigrate.domain.plan.plan import StageName, Strategy
from tests.domain.actions import saved_intent, saved_record
from tests.domain.objects import SPLIT_IMAGE, container, rendered
from tests.engine.harness import make_plan

NOW = 1_800_000_000.0
PLAN = make_plan()
AGREEMENT_TIMEOUT, STABILIZATION, RESPONSE_DEADLINE = (
    PLAN.release.agreement_timeout,
    PLAN.release.stabilization,
    PLAN.deadlines.response,
)
RECORD = Record("sei", "node-0", "u-1", "s-1", "sei:v6", "r1", "", Strategy.STAGED, NOW, stage=StageName.RELEASE)
ROLLING_BACK = replace(RECORD, direction=Direction.ROLLBACK)


def context(now: float = NOW, record: Record = RECORD, **parts: Any) -> NodeContext:
    """A held, Ready node in the new shape, whose controller reports no problem."""
    node = rendered(image=SPLIT_IMAGE, generation="new")
    labels = node.statefulset["metadata"]["labels"] | {HOLD_LABEL: "r1"} | parts.pop("labels", {})
    metadata = node.statefulset["metadata"] | {"labels": labels, "generation": 2, "uid": "s-1"}
    status = {"observedGeneration": parts.pop("observed", 2), "updateRevision": "new"}
    sidecar = {"type": "SidecarReady", "status": "True"}
    seinode = node.seinode | {"status": {"currentSidecarImage": SPLIT_IMAGE, "conditions": [sidecar]}}
    pod = {
        "metadata": {"uid": "p-1", "labels": {"controller-revision-hash": parts.pop("revision", "new")}},
        "status": {"conditions": [{"type": "Ready", "status": str(parts.pop("ready", True))}]},
    }
    objects: dict[str, Any] = {
        "seinode": seinode,
        "statefulset": node.statefulset | {"metadata": metadata, "status": status},
        "service": node.service,
        "pod": pod,
    }
    plan = parts.pop("plan", PLAN)
    return NodeContext(record, NodeObservation(**(objects | parts)), plan, now)


def reported(**parts: Any) -> Object:
    """The SeiNode with another status, spec or metadata."""
    ctx = context()
    assert ctx.observed.seinode is not None
    status: Object = ctx.observed.seinode["status"]
    node: Object = ctx.observed.seinode | {"status": status | parts.pop("status", {})}
    return node | {"spec": node["spec"] | parts.pop("spec", {}), "metadata": node["metadata"] | parts}


# Before the agreement probe.


def test_freeze_label_is_removed_first() -> None:
    intent = saved_intent(release.release(context(labels={FREEZE_LABEL: "moving"})))
    [change] = intent.changes
    assert (change.path, change.before, change.after) == (f"metadata.labels[{FREEZE_LABEL}]", "moving", None)


def test_node_without_hold_is_released_without_probe() -> None:
    assert saved_record(release.release(context(record=replace(RECORD, holds=False)))).removing_hold


def test_disagreement_or_disabled_release_ends_held() -> None:
    disagreed = saved_record(release.release(context(record=replace(RECORD, disagreement="no sign"))))
    assert (disagreed.outcome, disagreed.reason) == (Outcome.DONE_HELD, "no sign")
    rolling_back = saved_record(release.release(context(record=replace(ROLLING_BACK, disagreement="no sign"))))
    assert rolling_back.outcome is Outcome.ROLLED_BACK_HELD
    disabled = PLAN.model_copy(update={"release": PLAN.release.model_copy(update={"agreement_timeout": 0})})
    assert saved_record(release.release(context(plan=disabled))).outcome is Outcome.DONE_HELD


def test_outdated_or_drifted_node_ends_held_without_probe() -> None:
    unseen = release.release(context(observed=1))
    assert unseen == Wait("StatefulSet controller has not observed the new template", RESPONSE_DEADLINE)
    outdated = saved_record(release.release(context(revision="old")))
    assert outdated.outcome is Outcome.DONE_HELD
    ours = replace(RECORD, changes=(Change("expose", "StatefulSet", "spec.replicas", 5, 6),))
    drifted = saved_record(release.release(context(record=ours)))
    assert (drifted.outcome, "spec.replicas" in drifted.reason) == (Outcome.DONE_HELD, True)
    assert saved_intent(release.release(context(record=ROLLING_BACK, revision="old"))).kind is IntentKind.PATCH, (
        "a rollback still probes for agreement"
    )
    without_pod = saved_record(release.release(context(pod=None)))
    assert without_pod.intent is not None


def test_other_sidecar_image_in_seinode_spec_ends_held() -> None:
    other = saved_record(release.release(context(seinode=reported(spec={"sidecar": {"image": "other:v1"}}))))
    assert other.outcome is Outcome.DONE_HELD
    assert "other:v1" in other.reason
    assert SPLIT_IMAGE in other.reason
    same = release.release(context(seinode=reported(spec={"sidecar": {"image": SPLIT_IMAGE}})))
    assert saved_record(same).intent is not None
    network_child = reported(
        spec={"sidecar": {"image": "other:v1"}}, ownerReferences=[{"kind": "SeiNetwork", "name": "net"}]
    )
    assert "SeiNetwork sei/net" in saved_record(release.release(context(seinode=network_child))).reason


# The agreement probe.


def test_agreement_probe_changes_a_controller_label() -> None:
    record = saved_record(release.release(context()))
    assert record.agreement_probe is not None
    assert record.intent is not None
    assert record.intent.changes == (record.agreement_probe,)
    assert record.agreement_probe.before != record.agreement_probe.after
    assert len(str(record.agreement_probe.after)) <= 63
    labels = context().statefulset["metadata"]["labels"]
    assert record.agreement_probe.path in [f"metadata.labels[{name}]" for name in labels if name.startswith("sei.io/")]
    ctx = context()
    no_sei_labels = ctx.statefulset | {"metadata": ctx.statefulset["metadata"] | {"labels": {HOLD_LABEL: "r1"}}}
    assert saved_record(release.release(context(statefulset=no_sei_labels))).outcome is Outcome.DONE_HELD


PROBE = Change("release", "StatefulSet", "metadata.labels[sei.io/role]", "node", "node-seimigrate-asks")
WAITING = replace(RECORD, agreement_probe=PROBE)


def test_restored_label_confirms_agreement() -> None:
    agreed = saved_record(release.release(context(NOW + 2, WAITING, labels={"sei.io/role": "node"})))
    assert (agreed.agreed_at, agreed.agreement_probe, agreed.since) == (NOW + 2, None, NOW + 2)


@pytest.mark.parametrize("label", ["node-seimigrate-asks", "something-else"])
def test_label_not_restored_in_time_is_disagreement(label: str) -> None:
    early = release.release(context(NOW + AGREEMENT_TIMEOUT - 0.1, WAITING, labels={"sei.io/role": label}))
    late = saved_record(release.release(context(NOW + AGREEMENT_TIMEOUT, WAITING, labels={"sei.io/role": label})))
    if label == PROBE.after:
        assert early == Wait("controller has not confirmed the new template", AGREEMENT_TIMEOUT)
        assert late.intent is not None
        assert late.intent.changes == (PROBE.inverse,)
    else:
        assert saved_record(early).disagreement
        assert late.intent is not None
        assert late.intent.changes == ()
    assert (bool(late.disagreement), late.agreement_probe) == (True, None)


def test_disagreement_names_fields_rendered_differently() -> None:
    image = "spec.template.spec.initContainers[name=sei-sidecar].image"
    ours = (Change("expose", "StatefulSet", image, "sei:old", SPLIT_IMAGE),)
    ctx = context(NOW + AGREEMENT_TIMEOUT, replace(WAITING, changes=ours), labels={"sei.io/role": PROBE.after})
    assert saved_record(release._probe_agreement(ctx)).disagreement.endswith("sei-sidecar: image")
    added = replace(ctx, record=replace(WAITING, changes=(replace(ours[0], before=None),)))
    assert "differently" not in saved_record(release._probe_agreement(added)).disagreement
    rolling_back = replace(ctx, record=replace(ctx.record, direction=Direction.ROLLBACK))
    assert "differently" not in saved_record(release._probe_agreement(rolling_back)).disagreement


# Stabilization.

AGREED = replace(RECORD, agreed_at=NOW)


def test_hold_is_removed_after_stabilization() -> None:
    assert release.release(context(NOW + STABILIZATION - 0.1, AGREED)) == Wait(
        "stabilizing: two controller polls must pass", RECHECK_INTERVAL
    )
    assert saved_record(release.release(context(NOW + STABILIZATION, AGREED))).removing_hold


def condition(name: str, status: str, **more: str) -> list[Object]:
    ready = {"type": "SidecarReady", "status": "True"}
    own = {"type": name, "status": status} | more
    return [own] if name == "SidecarReady" else [ready, own]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"seinode": reported(status={"conditions": []})}, "unknown"),
        (
            {"seinode": reported(status={"conditions": condition("SidecarReady", "False", reason="NotReady")})},
            "NotReady",
        ),
        (
            {"seinode": reported(status={"conditions": condition("SidecarReady", "Unknown", message="no route")})},
            "no route",
        ),
        ({"seinode": reported(status={"conditions": condition("NodeUpdateInProgress", "True")})}, "NodeUpdate"),
        ({"seinode": reported(status={"currentSidecarImage": "other:v1"})}, "other:v1"),
        ({"ready": False}, "Ready"),
    ],
)
def test_release_blocker_waits_then_ends_held(parts: dict[str, Any], reason: str) -> None:
    early = release.release(context(NOW + STABILIZATION + RESPONSE_DEADLINE - 0.1, AGREED, **parts))
    assert isinstance(early, Wait)
    assert (reason in early.reason, early.seconds) == (True, RECHECK_INTERVAL)
    late = saved_record(release.release(context(NOW + STABILIZATION + RESPONSE_DEADLINE, AGREED, **parts)))
    assert (late.outcome, reason in late.reason) == (Outcome.DONE_HELD, True)


# Removal of the hold.

REMOVING = replace(RECORD, removing_hold=True)


def test_hold_removal_starts_with_labels_and_entries_of_service() -> None:
    ctx = context(record=REMOVING, labels={FREEZE_LABEL: "moving"})
    service = rendered(generation="new").service
    held = service | {"metadata": service["metadata"] | {"labels": {HOLD_LABEL: "r1"}}}
    first = saved_intent(release.release(replace(ctx, observed=replace(ctx.observed, service=held))))
    assert (first.object_kind, first.disown, [change.before for change in first.changes]) == ("Service", True, ["r1"])
    second = saved_intent(release.release(ctx))
    assert (second.object_kind, [change.before for change in second.changes]) == ("StatefulSet", ["moving", "r1"])
    with_our_entry = service | {"metadata": service["metadata"] | {"managedFields": [{"manager": MANAGER}]}}
    third = saved_intent(release.release(replace(ctx, observed=replace(ctx.observed, service=with_our_entry))))
    assert (third.object_kind, third.changes, third.disown) == ("Service", (), True)


def finished(record: Record = REMOVING, **parts: Any) -> Record:
    ctx = context(record=record, **parts)
    metadata = ctx.statefulset["metadata"]
    others = {name: value for name, value in metadata["labels"].items() if not name.startswith("seimigrate.")}
    return saved_record(
        release.release(
            replace(
                ctx,
                observed=replace(
                    ctx.observed, statefulset=ctx.statefulset | {"metadata": metadata | {"labels": others}}
                ),
            )
        )
    )


def test_node_without_labels_and_entries_is_finished() -> None:
    ctx = context(record=REMOVING)
    assert pending_changes(ctx.statefulset, ctx.observed.service or {}, PLAN, SPLIT_IMAGE).changes == ()
    assert finished().outcome is Outcome.DONE
    assert finished(replace(REMOVING, direction=Direction.ROLLBACK, failure="why")).reason == "why"
    assert finished(replace(REMOVING, direction=Direction.ROLLBACK)).outcome is Outcome.ROLLED_BACK
    blocked = finished(replace(REMOVING, direction=Direction.ROLLBACK, blocked=("one", "two")))
    assert (blocked.outcome, blocked.reason) == (Outcome.BLOCKED, "one; two")


def test_change_reverted_by_controller_after_release_is_failure() -> None:
    ctx = context(record=REMOVING)
    reverted = rendered(image=SPLIT_IMAGE, generation="new").statefulset
    container(reverted, "kube-rbac-proxy")["args"].append("--ignore-paths=/v0/healthz,/v0/metrics")
    failed = saved_record(release.release(replace(ctx, observed=replace(ctx.observed, statefulset=reverted))))
    assert failed.outcome is Outcome.FAILED
    assert "kube-rbac-proxy" in failed.reason
