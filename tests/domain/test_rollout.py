"""What brings a pod to the present template and to Ready, case by case: each condition at both of its sides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seimigrate.domain.kube.changes import Change
from seimigrate.domain.kube.kinds import FREEZE_LABEL, Object
from seimigrate.domain.node import rollout
from seimigrate.domain.node.actions import QueryPod, ReviewAccess, VerifyHold, Wait
from seimigrate.domain.node.observation import (
    AccessReview,
    HoldStatus,
    NodeObservation,
    PodQuery,
    PodReply,
    RelatedObjects,
)
from seimigrate.domain.node.record import Direction, Intent, IntentKind, Outcome, Record
from seimigrate.domain.node.rollout import (
    CONTROLLER_READY_TIMEOUT,
    HOLD_PROOF_TTL,
    MARK_READY_GRACE,
    MAX_MARK_READY_ATTEMPTS,
    RECHECK_INTERVAL,
    NodeContext,
)
from seimigrate.domain.plan.plan import Failure, Mode, StageName, Strategy
from tests.domain.actions import intended, noted
from tests.engine.harness import make_plan

NOW = 1_800_000_000.0
PLAN = make_plan()
GATE, READY = PLAN.deadlines.response, PLAN.deadlines.ready.for_mode(Mode.FULL_NODE)
RECORD = Record("sei", "node-0", "n-1", "s-1", "sei:v6", "r1", "", Strategy.STAGED, NOW, was_ready=True)
SIDECAR, SEID = PLAN.parameters.containers.sidecar, PLAN.parameters.containers.seid
NAMED = {"metadata": {"name": "t-1"}, "spec": {"target": {"nodeRef": {"name": "node-0"}}}}


def statefulset(*, observed: int = 2, labels: tuple[str, ...] = (FREEZE_LABEL,), **spec: Any) -> Object:
    metadata = {"generation": 2, "labels": dict.fromkeys(labels, "moving")}
    return {"metadata": metadata, "spec": spec, "status": {"observedGeneration": observed, "updateRevision": "new"}}


def pod(
    revision: str = "new", *, ready: bool = False, going: bool = False, running: tuple[str, ...] = (SIDECAR,)
) -> Object:
    metadata: Object = {"uid": "p-1", "name": "node-0-0", "labels": {"controller-revision-hash": revision}}
    if going:
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    statuses = [{"name": name, "state": {"running": {}}} for name in running]
    status = {"conditions": [{"type": "Ready", "status": str(ready)}], "initContainerStatuses": statuses}
    return {"metadata": metadata, "status": status}


def situation(now: float = NOW, record: Record = RECORD, **seen: Any) -> NodeContext:
    whole: dict[str, Any] = {"seinode": None, "statefulset": statefulset(), "service": None, "pod": pod()} | seen
    return NodeContext(record, NodeObservation(**whole), PLAN, now)


def answers(at: float = NOW, **statuses: int | None) -> dict[PodQuery, PodReply]:
    bodies = {"tasks": '[{"type": "mark-ready", "status": "completed"}]'}
    return {
        PodQuery(name): PodReply("p-1", at, status, bodies.get(name, ""), "" if status else "no route")
        for name, status in statuses.items()
    }


# Replacing.


@pytest.mark.parametrize(("observed", "revision"), [(1, "new"), (0, "new"), (2, "")])
def test_a_template_that_was_not_seen_yet_is_waited_for_and_then_left_to_a_person(observed: int, revision: str) -> None:
    unseen = statefulset(observed=observed)
    unseen["status"]["updateRevision"] = revision
    assert rollout.rollout(situation(NOW + GATE - 1, statefulset=unseen)) == Wait(
        "StatefulSet controller has not observed the new template", GATE
    )
    assert noted(rollout.rollout(situation(NOW + GATE, statefulset=unseen))).outcome is Outcome.PAUSED


def test_without_a_pod_it_waits_for_one_until_the_deadline_of_readiness() -> None:
    assert rollout.rollout(situation(NOW + READY - 1, pod=None)) == Wait("pod does not exist yet", RECHECK_INTERVAL)
    failed = noted(rollout.rollout(situation(NOW + READY, pod=None)))
    assert failed.direction is Direction.ROLLBACK
    assert "pod does not exist yet" in (failed.failure or "")
    assert isinstance(rollout.rollout(situation(NOW + READY, pod=None, progressed_at=NOW + 1)), Wait)


def test_an_old_pod_is_waited_for_with_its_grace_and_never_forced() -> None:
    grace = PLAN.termination_grace_period.for_mode(Mode.FULL_NODE) + GATE
    for record, going in ((RECORD, True), (replace(RECORD, replaced_pods=("p-1",)), False)):
        there = pod("old", going=going)
        assert rollout.rollout(situation(NOW + grace - 1, record, pod=there)) == Wait("old pod is terminating", grace)
        assert noted(rollout.rollout(situation(NOW + grace, record, pod=there))).outcome is Outcome.PAUSED
        assert isinstance(rollout.rollout(situation(NOW + grace, record, pod=there, progressed_at=NOW + 1)), Wait)


@pytest.mark.parametrize("age", [HOLD_PROOF_TTL - 0.1, HOLD_PROOF_TTL, None])
def test_a_pod_is_replaced_under_a_hold_that_was_proven_lately(age: float | None) -> None:
    hold = HoldStatus(verified_at=None if age is None else NOW - age)
    action = rollout.rollout(situation(pod=pod("old", ready=True), hold=hold))
    if age is None or age >= HOLD_PROOF_TTL:
        assert action == VerifyHold()
    else:
        assert intended(action).kind is IntentKind.REPLACE


@pytest.mark.parametrize("ready", [True, False])
def test_a_ready_pod_is_evicted_and_another_one_deleted_with_its_grace(ready: bool) -> None:
    bare = replace(RECORD, holds=False)
    intent = intended(rollout.rollout(situation(record=bare, pod=pod("old", ready=ready))))
    assert intent == Intent(
        IntentKind.REPLACE,
        pod="p-1",
        name="node-0-0",
        grace=int(PLAN.termination_grace_period.for_mode(Mode.FULL_NODE)),
        evict=ready,
        token="r1",
        at=NOW,
    )


def test_the_grace_is_that_of_the_nodes_mode() -> None:
    node = {"metadata": {"name": "node-0"}, "spec": {"validator": {}}}
    bare = replace(RECORD, holds=False)
    intent = intended(rollout.rollout(situation(record=bare, pod=pod("old"), seinode=node)))
    assert intent.grace == int(PLAN.termination_grace_period.for_mode(Mode.VALIDATOR))


CHANGE = Change("expose", "StatefulSet", "spec.replicas", 1, 2)


def test_no_pod_is_replaced_where_a_field_of_ours_is_not_as_we_left_it() -> None:
    proven: dict[str, Any] = {"hold": HoldStatus(verified_at=NOW), "pod": pod("old")}
    ours = replace(RECORD, changes=(CHANGE,))
    assert noted(rollout.rollout(situation(record=ours, statefulset=statefulset(replicas=2), **proven))).intent
    failed = noted(rollout.rollout(situation(record=ours, statefulset=statefulset(replicas=1), **proven)))
    assert "StatefulSet spec.replicas" in (failed.failure or "")
    back = replace(ours, direction=Direction.ROLLBACK)
    assert noted(rollout.rollout(situation(record=back, statefulset=statefulset(replicas=1), **proven))).intent
    still = noted(rollout.rollout(situation(record=back, statefulset=statefulset(replicas=2), **proven)))
    assert still.outcome is Outcome.FAILED
    service = replace(RECORD, changes=(replace(CHANGE, kind="Service"),))
    assert noted(rollout.rollout(situation(record=service, statefulset=statefulset(replicas=1), **proven))).intent


def test_a_way_back_to_a_stage_takes_back_what_came_after_it() -> None:
    back = replace(RECORD, direction=Direction.ROLLBACK, rollback_to=StageName.EXPOSE)
    probes = replace(CHANGE, stage="probes")
    assert [rollout.must_revert(back, change) for change in (CHANGE, probes)] == [False, True]
    assert [rollout.must_revert(replace(back, rollback_to=None), change) for change in (CHANGE, probes)] == [True, True]
    assert not rollout.must_revert(replace(back, direction=Direction.FORWARD), probes)


def test_a_refused_eviction_is_tried_again_until_the_deadline_and_back_it_is_deleted_then() -> None:
    ctx = situation(pod=pod("old"), eviction_blocked=True)
    assert noted(rollout.eviction_blocked(ctx)).eviction_blocked_since == NOW
    patience = PLAN.deadlines.eviction
    early = replace(RECORD, eviction_blocked_since=NOW - patience + 1)
    assert rollout.eviction_blocked(replace(ctx, record=early)) == Wait(
        "eviction blocked by a PodDisruptionBudget", RECHECK_INTERVAL
    )
    late = replace(RECORD, eviction_blocked_since=NOW - patience)
    assert noted(rollout.eviction_blocked(replace(ctx, record=late))).direction is Direction.ROLLBACK
    back = replace(late, direction=Direction.ROLLBACK)
    intent = intended(rollout.eviction_blocked(replace(ctx, record=back)))
    assert (intent.kind, intent.evict) == (IntentKind.REPLACE, False)


# Marking ready.

ASKS = answers(health=503, tasks=200)


def test_a_sidecar_that_asks_for_it_is_marked_ready_once_for_each_start() -> None:
    first = rollout.mark_ready(situation(replies=ASKS))
    assert intended(first).kind is IntentKind.MARK_READY
    assert (intended(first).pod, intended(first).name) == ("p-1", "node-0-0")
    again = rollout.mark_ready(situation(record=replace(RECORD, mark_ready_attempts=1), replies=ASKS))
    restarted = pod()
    restarted["status"]["initContainerStatuses"][0]["restartCount"] = 1
    after = rollout.mark_ready(situation(pod=restarted, replies=ASKS))
    other = rollout.mark_ready(replace(situation(replies=ASKS), marker="guard"))
    assert len({intended(each).task for each in (first, again, after, other)}) == 4
    assert intended(rollout.mark_ready(situation(replies=ASKS))).task == intended(first).task


@pytest.mark.parametrize(
    "parts",
    [
        {"pod": None},
        {"pod": pod(ready=True)},
        {"pod": pod(running=(SEID,))},
        {"record": replace(RECORD, was_ready=False)},
        {"record": replace(RECORD, mark_ready_attempts=MAX_MARK_READY_ATTEMPTS, marked_ready_at=NOW - 1000)},
        {"record": replace(RECORD, mark_ready_attempts=1, marked_ready_at=NOW - MARK_READY_GRACE + 1)},
        {"replies": answers(health=200)},
        {"replies": answers(health=404)},
        {"statefulset": statefulset(labels=())},
    ],
)
def test_it_is_not_marked_ready_otherwise(parts: dict[str, Any]) -> None:
    assert rollout.mark_ready(situation(**({"replies": ASKS} | parts))) is None


def test_one_that_was_marked_is_marked_again_when_it_had_its_time() -> None:
    once = replace(RECORD, mark_ready_attempts=MAX_MARK_READY_ATTEMPTS - 1, marked_ready_at=NOW - MARK_READY_GRACE)
    assert intended(rollout.mark_ready(situation(record=once, replies=ASKS))).kind is IntentKind.MARK_READY


def test_where_the_node_is_not_frozen_its_controller_has_the_first_go() -> None:
    thawed = statefulset(labels=())
    late, early = NOW + CONTROLLER_READY_TIMEOUT, NOW + CONTROLLER_READY_TIMEOUT - 1
    assert rollout.mark_ready(situation(early, statefulset=thawed)) is None
    assert rollout.mark_ready(situation(late, statefulset=thawed)) == QueryPod((PodQuery.HEALTH,))


def test_health_is_asked_first_and_the_tasks_when_it_says_503() -> None:
    assert rollout.mark_ready(situation()) == QueryPod((PodQuery.HEALTH,))
    assert rollout.mark_ready(situation(replies=answers(health=503))) == QueryPod((PodQuery.TASKS,))


def test_tasks_that_are_not_told_are_waited_for() -> None:
    for status, text in ((None, "no route"), (500, "status 500")):
        silent = rollout.mark_ready(situation(replies=answers(health=503, tasks=status)))
        assert silent == Wait(f"sidecar task list is unavailable ({text})", RECHECK_INTERVAL)
    garbled = answers(health=503, tasks=200)
    garbled[PodQuery.TASKS] = replace(garbled[PodQuery.TASKS], body="{")
    assert isinstance(rollout.mark_ready(situation(replies=garbled)), Wait)


def test_against_an_intent_it_is_not_marked_ready() -> None:
    for body in ('[{"type": "mark-not-ready", "status": "completed"}]', "[]"):
        told = answers(health=503, tasks=200)
        told[PodQuery.TASKS] = replace(told[PodQuery.TASKS], body=body)
        assert noted(rollout.mark_ready(situation(replies=told))).outcome is Outcome.PAUSED
    for around in (RelatedObjects(tasks=(NAMED,)), RelatedObjects(workflows=(NAMED,))):
        paused = noted(rollout.mark_ready(situation(replies=ASKS, related=around)))
        assert (paused.outcome, "t-1" in paused.reason) == (Outcome.PAUSED, True)


def test_before_an_intended_mark_is_carried_out_it_is_looked_at_again() -> None:
    meant = replace(RECORD, intent=Intent(IntentKind.MARK_READY, task="t"))
    assert rollout.recheck_unready(situation(record=meant)) == QueryPod((PodQuery.HEALTH,))
    silent = rollout.recheck_unready(situation(record=meant, replies=answers(health=None)))
    assert silent == Wait("sidecar health is unavailable (no route)", RECHECK_INTERVAL)
    done = noted(rollout.recheck_unready(situation(record=meant, replies=answers(health=200))))
    assert (done.intent, done.mark_ready_attempts) == (None, 1)
    assert rollout.recheck_unready(situation(record=meant, replies=ASKS)) is None


# Waiting.


def test_a_ready_pod_is_not_waited_for() -> None:
    assert rollout.rollout(situation(pod=pod(ready=True))) is None


def test_the_height_is_asked_while_seid_runs_and_the_sidecar_is_not_unwell() -> None:
    both = pod(running=(SIDECAR, SEID))
    assert rollout.wait(situation(pod=both)) == QueryPod((PodQuery.HEIGHT,))
    assert rollout.wait(situation(pod=both, replies=answers(health=200))) == QueryPod((PodQuery.HEIGHT,))
    assert rollout.wait(situation(pod=both, replies=answers(health=None))) == QueryPod((PodQuery.HEIGHT,))
    assert rollout.wait(situation(pod=both, replies=answers(health=503))) == Wait("pod is not Ready", RECHECK_INTERVAL)
    assert rollout.wait(situation()) == Wait("pod is not Ready", RECHECK_INTERVAL)
    seen = rollout.wait(situation(pod=both, replies=answers(height=200)))
    assert seen == Wait("pod is not Ready", RECHECK_INTERVAL)


def test_a_pod_that_is_stuck_fails_sooner_than_one_that_is_slow() -> None:
    stuck = pod()
    stuck["status"]["containerStatuses"] = [{"name": SEID, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    patience = PLAN.deadlines.stuck
    assert patience < READY
    waits = rollout.wait(situation(NOW + patience - 1, pod=stuck))
    assert waits == Wait(f"pod is not Ready (container {SEID}: CrashLoopBackOff)", RECHECK_INTERVAL)
    failed = noted(rollout.wait(situation(NOW + patience, pod=stuck)))
    assert "CrashLoopBackOff" in (failed.failure or "")
    assert isinstance(rollout.wait(situation(NOW + patience, pod=stuck, progressed_at=NOW + 1)), Wait)


def test_a_sidecar_that_does_not_take_being_marked_is_stuck() -> None:
    late = NOW + PLAN.deadlines.stuck
    heard = answers(late, health=503)
    marked = replace(RECORD, mark_ready_attempts=MAX_MARK_READY_ATTEMPTS, marked_ready_at=NOW)
    assert noted(rollout.wait(situation(late, marked, replies=heard))).failure
    fewer = replace(marked, mark_ready_attempts=MAX_MARK_READY_ATTEMPTS - 1)
    assert isinstance(rollout.wait(situation(late, fewer, replies=heard)), Wait)
    assert isinstance(rollout.wait(situation(late, marked, replies=answers(late, health=200))), Wait)


# How it ends.


def test_forwards_a_failure_turns_back_or_pauses_as_the_plan_says_and_back_it_is_left_to_a_person() -> None:
    ctx = situation()
    turned = noted(ctx.fail("why"))
    assert (turned.direction, turned.failure, turned.outcome) == (Direction.ROLLBACK, "why", None)
    pausing = replace(ctx, plan=make_plan(failure=Failure(on_node_failure="pause")))
    assert (noted(pausing.fail("why")).outcome, noted(pausing.fail("why")).reason) == (Outcome.PAUSED, "why")
    meant = replace(RECORD, direction=Direction.ROLLBACK, intent=Intent(IntentKind.PATCH))
    ended = noted(replace(pausing, record=meant).fail("why"))
    assert (ended.outcome, ended.reason, ended.intent) == (Outcome.FAILED, "why", None)


def test_one_that_cannot_be_moved_is_let_be_unless_something_of_it_was_changed() -> None:
    ctx = situation()
    blocked = noted(ctx.block("one", "two"))
    assert (blocked.direction, blocked.failure, blocked.blocked) == (Direction.ROLLBACK, None, ("one", "two"))
    touched = noted(replace(ctx, record=replace(RECORD, modified=True)).block("one", "two"))
    assert (touched.outcome, touched.reason) == (Outcome.PAUSED, "one; two")


DENIED = "a patch was denied by an admission policy: not on Fridays"


def test_what_a_policy_denies_ends_as_the_stage_says() -> None:
    ctx = situation(admission_denial="not on Fridays")
    assert noted(ctx.denied("a patch")).blocked == (f"denied: {DENIED}",)
    done = noted(replace(ctx, record=replace(RECORD, stage=StageName.RELEASE)).denied("a patch"))
    assert (done.outcome, done.reason) == (Outcome.DONE_HELD, DENIED)
    other = noted(replace(ctx, record=replace(RECORD, stage=StageName.EXPOSE)).denied("a patch"))
    assert (other.direction, other.failure) == (Direction.ROLLBACK, DENIED)
    back = replace(RECORD, direction=Direction.ROLLBACK)
    assert noted(replace(ctx, record=back).denied("a patch")).outcome is Outcome.FAILED
    asked = Change("release", "StatefulSet", "metadata.labels[sei.io/role]", "node", "node-asks")
    never = replace(
        RECORD, stage=StageName.RELEASE, agreement_probe=asked, intent=Intent(IntentKind.PATCH, changes=(asked,))
    )
    assert noted(replace(ctx, record=never).denied("it")).agreement_probe is None
    earlier = replace(never, intent=Intent(IntentKind.PATCH, changes=(CHANGE,)))
    assert noted(replace(ctx, record=earlier).denied("it")).agreement_probe == asked


def test_a_trial_of_the_hold_that_is_denied_by_others_is_no_proof() -> None:
    assert noted(situation(pod=pod("old"), admission_denial="not on Fridays").require_hold_verified()).blocked
    assert situation(record=replace(RECORD, holds=False)).require_hold_verified() is None


@pytest.mark.parametrize(
    ("found", "now", "fresh"),
    [
        (None, NOW, False),
        (AccessReview(NOW), NOW + RECHECK_INTERVAL - 0.1, True),
        (AccessReview(NOW), NOW + RECHECK_INTERVAL, False),
        (AccessReview(NOW - 0.1), NOW, False),
    ],
)
def test_a_judgement_counts_while_it_is_fresh_and_if_it_is_of_this_step(
    found: AccessReview | None, now: float, fresh: bool
) -> None:
    assert situation(now, access_review=found).review_access() == (None if fresh else ReviewAccess())
