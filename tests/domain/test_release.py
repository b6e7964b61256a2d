"""Handing a node back, case by case: on proof that its controller agrees, and never on hope."""

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
from tests.domain.actions import intended, noted
from tests.domain.objects import SPLIT_IMAGE, container, rendered
from tests.engine.harness import make_plan

NOW = 1_800_000_000.0
PLAN = make_plan()
AGREEMENT, SETTLE, GATE = PLAN.release.agreement_timeout, PLAN.release.stabilization, PLAN.deadlines.response
RECORD = Record("sei", "node-0", "u-1", "s-1", "sei:v6", "r1", "", Strategy.STAGED, NOW, stage=StageName.RELEASE)
BACK = replace(RECORD, direction=Direction.ROLLBACK)


def situation(now: float = NOW, record: Record = RECORD, **parts: Any) -> NodeContext:
    """A node in the new shape, held, ready, and as its controller reports it when all is well."""
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
    whole: dict[str, Any] = {
        "seinode": seinode,
        "statefulset": node.statefulset | {"metadata": metadata, "status": status},
        "service": node.service,
        "pod": pod,
    }
    plan = parts.pop("plan", PLAN)
    return NodeContext(record, NodeObservation(**(whole | parts)), plan, now)


def reported(**parts: Any) -> Object:
    """The SeiNode with another condition, or another image in its spec or status."""
    ctx = situation()
    assert ctx.observed.seinode is not None
    status: Object = ctx.observed.seinode["status"]
    node: Object = ctx.observed.seinode | {"status": status | parts.pop("status", {})}
    return node | {"spec": node["spec"] | parts.pop("spec", {}), "metadata": node["metadata"] | parts}


# Before the controller is asked.


def test_a_frozen_node_is_thawed_first() -> None:
    intent = intended(release.release(situation(labels={FREEZE_LABEL: "moving"})))
    [change] = intent.changes
    assert (change.path, change.before, change.after) == (f"metadata.labels[{FREEZE_LABEL}]", "moving", None)


def test_a_node_that_was_never_held_asks_nobody() -> None:
    assert noted(release.release(situation(record=replace(RECORD, holds=False)))).removing_hold


def test_what_the_controller_declined_or_the_plan_forbids_stays_held() -> None:
    declined = noted(release.release(situation(record=replace(RECORD, disagreement="no sign"))))
    assert (declined.outcome, declined.reason) == (Outcome.DONE_HELD, "no sign")
    back = noted(release.release(situation(record=replace(BACK, disagreement="no sign"))))
    assert back.outcome is Outcome.ROLLED_BACK_HELD
    never = PLAN.model_copy(update={"release": PLAN.release.model_copy(update={"agreement_timeout": 0})})
    assert noted(release.release(situation(plan=never))).outcome is Outcome.DONE_HELD


def test_nobody_is_asked_to_agree_with_what_somebody_else_changed() -> None:
    unseen = release.release(situation(observed=1))
    assert unseen == Wait("StatefulSet controller has not observed the new template", GATE)
    stale = noted(release.release(situation(revision="old")))
    assert stale.outcome is Outcome.DONE_HELD
    ours = replace(RECORD, changes=(Change("expose", "StatefulSet", "spec.replicas", 5, 6),))
    edited = noted(release.release(situation(record=ours)))
    assert (edited.outcome, "spec.replicas" in edited.reason) == (Outcome.DONE_HELD, True)
    assert intended(release.release(situation(record=BACK, revision="old"))).kind is IntentKind.PATCH, (
        "back it is asked"
    )
    gone = noted(release.release(situation(pod=None)))
    assert gone.intent is not None


def test_a_node_whose_owner_wants_another_sidecar_stays_held() -> None:
    other = noted(release.release(situation(seinode=reported(spec={"sidecar": {"image": "other:v1"}}))))
    assert other.outcome is Outcome.DONE_HELD
    assert "other:v1" in other.reason
    assert SPLIT_IMAGE in other.reason
    same = release.release(situation(seinode=reported(spec={"sidecar": {"image": SPLIT_IMAGE}})))
    assert noted(same).intent is not None
    child = reported(spec={"sidecar": {"image": "other:v1"}}, ownerReferences=[{"kind": "SeiNetwork", "name": "net"}])
    assert "SeiNetwork sei/net" in noted(release.release(situation(seinode=child))).reason


# Asking.


def test_the_controller_is_asked_with_a_label_of_its_own() -> None:
    record = noted(release.release(situation()))
    assert record.agreement_probe is not None
    assert record.intent is not None
    assert record.intent.changes == (record.agreement_probe,)
    assert record.agreement_probe.before != record.agreement_probe.after
    assert len(str(record.agreement_probe.after)) <= 63
    labels = situation().statefulset["metadata"]["labels"]
    assert record.agreement_probe.path in [f"metadata.labels[{name}]" for name in labels if name.startswith("sei.io/")]
    bare = situation()
    without = bare.statefulset | {"metadata": bare.statefulset["metadata"] | {"labels": {HOLD_LABEL: "r1"}}}
    assert noted(release.release(situation(statefulset=without))).outcome is Outcome.DONE_HELD


ASKED = Change("release", "StatefulSet", "metadata.labels[sei.io/role]", "node", "node-seimigrate-asks")
WAITING = replace(RECORD, agreement_probe=ASKED)


def test_a_label_that_came_back_is_the_controllers_word() -> None:
    restored = noted(release.release(situation(NOW + 2, WAITING, labels={"sei.io/role": "node"})))
    assert (restored.agreed_at, restored.agreement_probe, restored.since) == (NOW + 2, None, NOW + 2)


@pytest.mark.parametrize("label", ["node-seimigrate-asks", "something-else"])
def test_a_label_that_does_not_come_back_in_time_is_none(label: str) -> None:
    early = release.release(situation(NOW + AGREEMENT - 0.1, WAITING, labels={"sei.io/role": label}))
    late = noted(release.release(situation(NOW + AGREEMENT, WAITING, labels={"sei.io/role": label})))
    if label == ASKED.after:
        assert early == Wait("controller has not confirmed the new template", AGREEMENT)
        assert late.intent is not None
        assert late.intent.changes == (ASKED.inverse,)
    else:
        assert noted(early).disagreement
        assert late.intent is not None
        assert late.intent.changes == ()
    assert (bool(late.disagreement), late.agreement_probe) == (True, None)


def test_it_is_said_what_the_controller_wrote_otherwise() -> None:
    image = "spec.template.spec.initContainers[name=sei-sidecar].image"
    ours = (Change("expose", "StatefulSet", image, "sei:old", SPLIT_IMAGE),)
    ctx = situation(NOW + AGREEMENT, replace(WAITING, changes=ours), labels={"sei.io/role": ASKED.after})
    assert noted(release._probe_agreement(ctx)).disagreement.endswith("sei-sidecar: image")
    added = replace(ctx, record=replace(WAITING, changes=(replace(ours[0], before=None),)))
    assert "otherwise" not in noted(release._probe_agreement(added)).disagreement
    back = replace(ctx, record=replace(ctx.record, direction=Direction.ROLLBACK))
    assert "otherwise" not in noted(release._probe_agreement(back)).disagreement


# Two polls.

AGREED = replace(RECORD, agreed_at=NOW)


def test_after_two_polls_without_a_doubt_it_is_handed_back() -> None:
    assert release.release(situation(NOW + SETTLE - 0.1, AGREED)) == Wait(
        "stabilizing: two controller polls must pass", RECHECK_INTERVAL
    )
    assert noted(release.release(situation(NOW + SETTLE, AGREED))).removing_hold


def condition(name: str, status: str, **more: str) -> list[Object]:
    ready = {"type": "SidecarReady", "status": "True"}
    own = {"type": name, "status": status} | more
    return [own] if name == "SidecarReady" else [ready, own]


@pytest.mark.parametrize(
    ("parts", "word"),
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
def test_a_doubt_is_waited_for_and_then_the_node_stays_held(parts: dict[str, Any], word: str) -> None:
    waits = release.release(situation(NOW + SETTLE + GATE - 0.1, AGREED, **parts))
    assert isinstance(waits, Wait)
    assert (word in waits.reason, waits.seconds) == (True, RECHECK_INTERVAL)
    held = noted(release.release(situation(NOW + SETTLE + GATE, AGREED, **parts)))
    assert (held.outcome, word in held.reason) == (Outcome.DONE_HELD, True)


# Lifting.

LIFTING = replace(RECORD, removing_hold=True)


def test_the_labels_and_our_entries_come_off_the_service_first() -> None:
    ctx = situation(record=LIFTING, labels={FREEZE_LABEL: "moving"})
    service = rendered(generation="new").service
    held = service | {"metadata": service["metadata"] | {"labels": {HOLD_LABEL: "r1"}}}
    first = intended(release.release(replace(ctx, observed=replace(ctx.observed, service=held))))
    assert (first.object_kind, first.disown, [change.before for change in first.changes]) == ("Service", True, ["r1"])
    second = intended(release.release(ctx))
    assert (second.object_kind, [change.before for change in second.changes]) == ("StatefulSet", ["moving", "r1"])
    mine = service | {"metadata": service["metadata"] | {"managedFields": [{"manager": MANAGER}]}}
    third = intended(release.release(replace(ctx, observed=replace(ctx.observed, service=mine))))
    assert (third.object_kind, third.changes, third.disown) == ("Service", (), True)


def lifted(record: Record = LIFTING, **parts: Any) -> Record:
    ctx = situation(record=record, **parts)
    metadata = ctx.statefulset["metadata"]
    bare = {name: value for name, value in metadata["labels"].items() if not name.startswith("seimigrate.")}
    return noted(
        release.release(
            replace(
                ctx,
                observed=replace(ctx.observed, statefulset=ctx.statefulset | {"metadata": metadata | {"labels": bare}}),
            )
        )
    )


def test_what_has_nothing_of_ours_any_more_has_come_to_its_end() -> None:
    ctx = situation(record=LIFTING)
    assert pending_changes(ctx.statefulset, ctx.observed.service or {}, PLAN, SPLIT_IMAGE).changes == ()
    assert lifted().outcome is Outcome.DONE
    assert lifted(replace(LIFTING, direction=Direction.ROLLBACK, failure="why")).reason == "why"
    assert lifted(replace(LIFTING, direction=Direction.ROLLBACK)).outcome is Outcome.ROLLED_BACK
    blocked = lifted(replace(LIFTING, direction=Direction.ROLLBACK, blocked=("one", "two")))
    assert (blocked.outcome, blocked.reason) == (Outcome.BLOCKED, "one; two")


def test_what_the_controller_took_back_after_the_release_is_a_failure() -> None:
    ctx = situation(record=LIFTING)
    taken = rendered(image=SPLIT_IMAGE, generation="new").statefulset
    container(taken, "kube-rbac-proxy")["args"].append("--ignore-paths=/v0/healthz,/v0/metrics")
    failed = noted(release.release(replace(ctx, observed=replace(ctx.observed, statefulset=taken))))
    assert failed.outcome is Outcome.FAILED
    assert "kube-rbac-proxy" in failed.reason
