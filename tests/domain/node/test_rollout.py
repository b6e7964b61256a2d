"""The rollout of the current template to a Ready pod, with each condition tested on both sides."""

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
from tests.domain.actions import saved_intent, saved_record
from tests.engine.harness import make_plan

NOW = 1_800_000_000.0
PLAN = make_plan()
GATE, READY = PLAN.deadlines.response, PLAN.deadlines.ready.for_mode(Mode.FULL_NODE)
RECORD = Record("sei", "node-0", "n-1", "s-1", "sei:v6", "r1", "", Strategy.STAGED, NOW, was_ready=True)
SIDECAR, SEID = PLAN.parameters.containers.sidecar, PLAN.parameters.containers.seid
TARGETS_NODE = {"metadata": {"name": "t-1"}, "spec": {"target": {"nodeRef": {"name": "node-0"}}}}


def statefulset(*, observed: int = 2, labels: tuple[str, ...] = (FREEZE_LABEL,), **spec: Any) -> Object:
    metadata = {"generation": 2, "labels": dict.fromkeys(labels, "moving")}
    return {"metadata": metadata, "spec": spec, "status": {"observedGeneration": observed, "updateRevision": "new"}}


def pod(
    revision: str = "new", *, ready: bool = False, terminating: bool = False, running: tuple[str, ...] = (SIDECAR,)
) -> Object:
    metadata: Object = {"uid": "p-1", "name": "node-0-0", "labels": {"controller-revision-hash": revision}}
    if terminating:
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    statuses = [{"name": name, "state": {"running": {}}} for name in running]
    status = {"conditions": [{"type": "Ready", "status": str(ready)}], "initContainerStatuses": statuses}
    return {"metadata": metadata, "status": status}


def context(now: float = NOW, record: Record = RECORD, **overrides: Any) -> NodeContext:
    objects: dict[str, Any] = {"seinode": None, "statefulset": statefulset(), "service": None, "pod": pod()} | overrides
    return NodeContext(record, NodeObservation(**objects), PLAN, now)


def replies(at: float = NOW, **statuses: int | None) -> dict[PodQuery, PodReply]:
    bodies = {"tasks": '[{"type": "mark-ready", "status": "completed"}]'}
    return {
        PodQuery(name): PodReply("p-1", at, status, bodies.get(name, ""), "" if status else "no route")
        for name, status in statuses.items()
    }


# Pod replacement.


@pytest.mark.parametrize(("observed", "revision"), [(1, "new"), (0, "new"), (2, "")])
def test_unobserved_template_waits_then_pauses(observed: int, revision: str) -> None:
    unseen = statefulset(observed=observed)
    unseen["status"]["updateRevision"] = revision
    assert rollout.rollout(context(NOW + GATE - 1, statefulset=unseen)) == Wait(
        "StatefulSet controller has not observed the new template", GATE
    )
    assert saved_record(rollout.rollout(context(NOW + GATE, statefulset=unseen))).outcome is Outcome.PAUSED


def test_missing_pod_waits_until_ready_deadline_then_fails() -> None:
    assert rollout.rollout(context(NOW + READY - 1, pod=None)) == Wait("pod does not exist yet", RECHECK_INTERVAL)
    failed = saved_record(rollout.rollout(context(NOW + READY, pod=None)))
    assert failed.direction is Direction.ROLLBACK
    assert "pod does not exist yet" in (failed.failure or "")
    assert isinstance(rollout.rollout(context(NOW + READY, pod=None, progressed_at=NOW + 1)), Wait)


def test_terminating_pod_waits_for_grace_period_then_pauses() -> None:
    grace = PLAN.termination_grace_period.for_mode(Mode.FULL_NODE) + GATE
    for record, terminating in ((RECORD, True), (replace(RECORD, replaced_pods=("p-1",)), False)):
        old_pod = pod("old", terminating=terminating)
        assert rollout.rollout(context(NOW + grace - 1, record, pod=old_pod)) == Wait("old pod is terminating", grace)
        assert saved_record(rollout.rollout(context(NOW + grace, record, pod=old_pod))).outcome is Outcome.PAUSED
        assert isinstance(rollout.rollout(context(NOW + grace, record, pod=old_pod, progressed_at=NOW + 1)), Wait)


@pytest.mark.parametrize("age", [HOLD_PROOF_TTL - 0.1, HOLD_PROOF_TTL, None])
def test_pod_replacement_requires_recently_verified_hold(age: float | None) -> None:
    hold = HoldStatus(verified_at=None if age is None else NOW - age)
    action = rollout.rollout(context(pod=pod("old", ready=True), hold=hold))
    if age is None or age >= HOLD_PROOF_TTL:
        assert action == VerifyHold()
    else:
        assert saved_intent(action).kind is IntentKind.REPLACE


@pytest.mark.parametrize("ready", [True, False])
def test_ready_pod_is_evicted_and_unready_pod_is_deleted(ready: bool) -> None:
    without_hold = replace(RECORD, holds=False)
    intent = saved_intent(rollout.rollout(context(record=without_hold, pod=pod("old", ready=ready))))
    assert intent == Intent(
        IntentKind.REPLACE,
        pod="p-1",
        name="node-0-0",
        grace=int(PLAN.termination_grace_period.for_mode(Mode.FULL_NODE)),
        evict=ready,
        token="r1",
        at=NOW,
    )


def test_grace_period_depends_on_mode() -> None:
    node = {"metadata": {"name": "node-0"}, "spec": {"validator": {}}}
    without_hold = replace(RECORD, holds=False)
    intent = saved_intent(rollout.rollout(context(record=without_hold, pod=pod("old"), seinode=node)))
    assert intent.grace == int(PLAN.termination_grace_period.for_mode(Mode.VALIDATOR))


CHANGE = Change("expose", "StatefulSet", "spec.replicas", 1, 2)


def test_drifted_statefulset_field_prevents_pod_replacement() -> None:
    verified: dict[str, Any] = {"hold": HoldStatus(verified_at=NOW), "pod": pod("old")}
    with_change = replace(RECORD, changes=(CHANGE,))
    assert saved_record(
        rollout.rollout(context(record=with_change, statefulset=statefulset(replicas=2), **verified))
    ).intent
    failed = saved_record(rollout.rollout(context(record=with_change, statefulset=statefulset(replicas=1), **verified)))
    assert "StatefulSet spec.replicas" in (failed.failure or "")
    rolling_back = replace(with_change, direction=Direction.ROLLBACK)
    assert saved_record(
        rollout.rollout(context(record=rolling_back, statefulset=statefulset(replicas=1), **verified))
    ).intent
    unreverted = saved_record(
        rollout.rollout(context(record=rolling_back, statefulset=statefulset(replicas=2), **verified))
    )
    assert unreverted.outcome is Outcome.FAILED
    service = replace(RECORD, changes=(replace(CHANGE, kind="Service"),))
    assert saved_record(
        rollout.rollout(context(record=service, statefulset=statefulset(replicas=1), **verified))
    ).intent


def test_rollback_to_stage_reverts_changes_of_later_stages_only() -> None:
    rolling_back = replace(RECORD, direction=Direction.ROLLBACK, rollback_to=StageName.EXPOSE)
    probes = replace(CHANGE, stage="probes")
    assert [rollout.must_revert(rolling_back, change) for change in (CHANGE, probes)] == [False, True]
    assert [rollout.must_revert(replace(rolling_back, rollback_to=None), change) for change in (CHANGE, probes)] == [
        True,
        True,
    ]
    assert not rollout.must_revert(replace(rolling_back, direction=Direction.FORWARD), probes)


def test_blocked_eviction_fails_at_deadline_and_deletes_on_rollback() -> None:
    ctx = context(pod=pod("old"), eviction_blocked=True)
    assert saved_record(rollout.eviction_blocked(ctx)).eviction_blocked_since == NOW
    limit = PLAN.deadlines.eviction
    early = replace(RECORD, eviction_blocked_since=NOW - limit + 1)
    assert rollout.eviction_blocked(replace(ctx, record=early)) == Wait(
        "eviction blocked by a PodDisruptionBudget", RECHECK_INTERVAL
    )
    late = replace(RECORD, eviction_blocked_since=NOW - limit)
    assert saved_record(rollout.eviction_blocked(replace(ctx, record=late))).direction is Direction.ROLLBACK
    rolling_back = replace(late, direction=Direction.ROLLBACK)
    intent = saved_intent(rollout.eviction_blocked(replace(ctx, record=rolling_back)))
    assert (intent.kind, intent.evict) == (IntentKind.REPLACE, False)


# Mark-ready.

UNREADY = replies(health=503, tasks=200)


def test_mark_ready_task_id_is_unique_per_start_attempt_and_marker() -> None:
    first = rollout.mark_ready(context(replies=UNREADY))
    assert saved_intent(first).kind is IntentKind.MARK_READY
    assert (saved_intent(first).pod, saved_intent(first).name) == ("p-1", "node-0-0")
    second_attempt = rollout.mark_ready(context(record=replace(RECORD, mark_ready_attempts=1), replies=UNREADY))
    restarted = pod()
    restarted["status"]["initContainerStatuses"][0]["restartCount"] = 1
    after_restart = rollout.mark_ready(context(pod=restarted, replies=UNREADY))
    by_guard = rollout.mark_ready(replace(context(replies=UNREADY), marker="guard"))
    assert len({saved_intent(each).task for each in (first, second_attempt, after_restart, by_guard)}) == 4
    assert saved_intent(rollout.mark_ready(context(replies=UNREADY))).task == saved_intent(first).task


@pytest.mark.parametrize(
    "parts",
    [
        {"pod": None},
        {"pod": pod(ready=True)},
        {"pod": pod(running=(SEID,))},
        {"record": replace(RECORD, was_ready=False)},
        {"record": replace(RECORD, mark_ready_attempts=MAX_MARK_READY_ATTEMPTS, marked_ready_at=NOW - 1000)},
        {"record": replace(RECORD, mark_ready_attempts=1, marked_ready_at=NOW - MARK_READY_GRACE + 1)},
        {"replies": replies(health=200)},
        {"replies": replies(health=404)},
        {"statefulset": statefulset(labels=())},
    ],
)
def test_mark_ready_is_not_sent_if_a_condition_is_missing(parts: dict[str, Any]) -> None:
    assert rollout.mark_ready(context(**({"replies": UNREADY} | parts))) is None


def test_mark_ready_is_repeated_after_its_grace_time() -> None:
    once = replace(RECORD, mark_ready_attempts=MAX_MARK_READY_ATTEMPTS - 1, marked_ready_at=NOW - MARK_READY_GRACE)
    assert saved_intent(rollout.mark_ready(context(record=once, replies=UNREADY))).kind is IntentKind.MARK_READY


def test_unfrozen_node_is_left_to_controller_until_timeout() -> None:
    not_frozen = statefulset(labels=())
    late, early = NOW + CONTROLLER_READY_TIMEOUT, NOW + CONTROLLER_READY_TIMEOUT - 1
    assert rollout.mark_ready(context(early, statefulset=not_frozen)) is None
    assert rollout.mark_ready(context(late, statefulset=not_frozen)) == QueryPod((PodQuery.HEALTH,))


def test_health_is_queried_first_and_tasks_after_503() -> None:
    assert rollout.mark_ready(context()) == QueryPod((PodQuery.HEALTH,))
    assert rollout.mark_ready(context(replies=replies(health=503))) == QueryPod((PodQuery.TASKS,))


def test_unavailable_task_list_is_waited_for() -> None:
    for status, text in ((None, "no route"), (500, "status 500")):
        silent = rollout.mark_ready(context(replies=replies(health=503, tasks=status)))
        assert silent == Wait(f"sidecar task list is unavailable ({text})", RECHECK_INTERVAL)
    garbled = replies(health=503, tasks=200)
    garbled[PodQuery.TASKS] = replace(garbled[PodQuery.TASKS], body="{")
    assert isinstance(rollout.mark_ready(context(replies=garbled)), Wait)


def test_conflicting_task_pauses_instead_of_mark_ready() -> None:
    for body in ('[{"type": "mark-not-ready", "status": "completed"}]', "[]"):
        listed = replies(health=503, tasks=200)
        listed[PodQuery.TASKS] = replace(listed[PodQuery.TASKS], body=body)
        assert saved_record(rollout.mark_ready(context(replies=listed))).outcome is Outcome.PAUSED
    for related in (RelatedObjects(tasks=(TARGETS_NODE,)), RelatedObjects(workflows=(TARGETS_NODE,))):
        paused = saved_record(rollout.mark_ready(context(replies=UNREADY, related=related)))
        assert (paused.outcome, "t-1" in paused.reason) == (Outcome.PAUSED, True)


def test_journaled_mark_ready_rechecks_health_before_execution() -> None:
    with_intent = replace(RECORD, intent=Intent(IntentKind.MARK_READY, task="t"))
    assert rollout.recheck_unready(context(record=with_intent)) == QueryPod((PodQuery.HEALTH,))
    silent = rollout.recheck_unready(context(record=with_intent, replies=replies(health=None)))
    assert silent == Wait("sidecar health is unavailable (no route)", RECHECK_INTERVAL)
    done = saved_record(rollout.recheck_unready(context(record=with_intent, replies=replies(health=200))))
    assert (done.intent, done.mark_ready_attempts) == (None, 1)
    assert rollout.recheck_unready(context(record=with_intent, replies=UNREADY)) is None


# Waiting.


def test_ready_pod_ends_rollout() -> None:
    assert rollout.rollout(context(pod=pod(ready=True))) is None


def test_height_is_queried_while_seid_runs_and_health_is_not_503() -> None:
    both = pod(running=(SIDECAR, SEID))
    assert rollout.wait(context(pod=both)) == QueryPod((PodQuery.HEIGHT,))
    assert rollout.wait(context(pod=both, replies=replies(health=200))) == QueryPod((PodQuery.HEIGHT,))
    assert rollout.wait(context(pod=both, replies=replies(health=None))) == QueryPod((PodQuery.HEIGHT,))
    assert rollout.wait(context(pod=both, replies=replies(health=503))) == Wait("pod is not Ready", RECHECK_INTERVAL)
    assert rollout.wait(context()) == Wait("pod is not Ready", RECHECK_INTERVAL)
    with_height = rollout.wait(context(pod=both, replies=replies(height=200)))
    assert with_height == Wait("pod is not Ready", RECHECK_INTERVAL)


def test_stuck_pod_fails_at_stuck_deadline() -> None:
    stuck = pod()
    stuck["status"]["containerStatuses"] = [{"name": SEID, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    limit = PLAN.deadlines.stuck
    assert limit < READY
    early = rollout.wait(context(NOW + limit - 1, pod=stuck))
    assert early == Wait(f"pod is not Ready (container {SEID}: CrashLoopBackOff)", RECHECK_INTERVAL)
    failed = saved_record(rollout.wait(context(NOW + limit, pod=stuck)))
    assert "CrashLoopBackOff" in (failed.failure or "")
    assert isinstance(rollout.wait(context(NOW + limit, pod=stuck, progressed_at=NOW + 1)), Wait)


def test_sidecar_unready_after_all_attempts_is_stuck() -> None:
    late = NOW + PLAN.deadlines.stuck
    unready = replies(late, health=503)
    marked = replace(RECORD, mark_ready_attempts=MAX_MARK_READY_ATTEMPTS, marked_ready_at=NOW)
    assert saved_record(rollout.wait(context(late, marked, replies=unready))).failure
    fewer = replace(marked, mark_ready_attempts=MAX_MARK_READY_ATTEMPTS - 1)
    assert isinstance(rollout.wait(context(late, fewer, replies=unready)), Wait)
    assert isinstance(rollout.wait(context(late, marked, replies=replies(late, health=200))), Wait)


# Results.


def test_failure_rolls_back_or_pauses_by_plan_and_ends_a_rollback() -> None:
    ctx = context()
    failed = saved_record(ctx.fail("why"))
    assert (failed.direction, failed.failure, failed.outcome) == (Direction.ROLLBACK, "why", None)
    pausing = replace(ctx, plan=make_plan(failure=Failure(on_node_failure="pause")))
    assert (saved_record(pausing.fail("why")).outcome, saved_record(pausing.fail("why")).reason) == (
        Outcome.PAUSED,
        "why",
    )
    with_intent = replace(RECORD, direction=Direction.ROLLBACK, intent=Intent(IntentKind.PATCH))
    ended = saved_record(replace(pausing, record=with_intent).fail("why"))
    assert (ended.outcome, ended.reason, ended.intent) == (Outcome.FAILED, "why", None)


def test_blocked_node_rolls_back_unless_modified_then_pauses() -> None:
    ctx = context()
    blocked = saved_record(ctx.block("one", "two"))
    assert (blocked.direction, blocked.failure, blocked.blocked) == (Direction.ROLLBACK, None, ("one", "two"))
    modified = saved_record(replace(ctx, record=replace(RECORD, modified=True)).block("one", "two"))
    assert (modified.outcome, modified.reason) == (Outcome.PAUSED, "one; two")


DENIED = "a patch was denied by an admission policy: not on Fridays"


def test_admission_denial_result_depends_on_stage() -> None:
    ctx = context(admission_denial="not on Fridays")
    assert saved_record(ctx.denied("a patch")).blocked == (f"denied: {DENIED}",)
    done = saved_record(replace(ctx, record=replace(RECORD, stage=StageName.RELEASE)).denied("a patch"))
    assert (done.outcome, done.reason) == (Outcome.DONE_HELD, DENIED)
    exposing = saved_record(replace(ctx, record=replace(RECORD, stage=StageName.EXPOSE)).denied("a patch"))
    assert (exposing.direction, exposing.failure) == (Direction.ROLLBACK, DENIED)
    rolling_back = replace(RECORD, direction=Direction.ROLLBACK)
    assert saved_record(replace(ctx, record=rolling_back).denied("a patch")).outcome is Outcome.FAILED
    probe = Change("release", "StatefulSet", "metadata.labels[sei.io/role]", "node", "node-asks")
    probing = replace(
        RECORD, stage=StageName.RELEASE, agreement_probe=probe, intent=Intent(IntentKind.PATCH, changes=(probe,))
    )
    assert saved_record(replace(ctx, record=probing).denied("it")).agreement_probe is None
    earlier = replace(probing, intent=Intent(IntentKind.PATCH, changes=(CHANGE,)))
    assert saved_record(replace(ctx, record=earlier).denied("it")).agreement_probe == probe


def test_denied_dry_run_blocks_hold_verification() -> None:
    assert saved_record(context(pod=pod("old"), admission_denial="not on Fridays").require_hold_verified()).blocked
    assert context(record=replace(RECORD, holds=False)).require_hold_verified() is None


@pytest.mark.parametrize(
    ("review", "now", "fresh"),
    [
        (None, NOW, False),
        (AccessReview(NOW), NOW + RECHECK_INTERVAL - 0.1, True),
        (AccessReview(NOW), NOW + RECHECK_INTERVAL, False),
        (AccessReview(NOW - 0.1), NOW, False),
    ],
)
def test_access_review_counts_if_recent_and_after_the_step_start(
    review: AccessReview | None, now: float, fresh: bool
) -> None:
    assert context(now, access_review=review).review_access() == (None if fresh else ReviewAccess())
