"""What brings a pod to the present template and to Ready, case by case: each condition at both of its sides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seimigrate.domain import rollout
from seimigrate.domain.actions import Ask, Judge, ProveHold, Wait
from seimigrate.domain.changes import Change
from seimigrate.domain.kinds import FREEZE_LABEL, Object
from seimigrate.domain.plan import Failure, Mode, StageName, Strategy
from seimigrate.domain.record import Direction, Do, Intent, Outcome, Record
from seimigrate.domain.rollout import MARKS, PATIENCE, PROOF_LASTS, RECHECK, SETTLES, Situation
from seimigrate.domain.seen import Answer, Hold, Judgement, Question, Seen, Surroundings
from tests.domain.actions import intended, noted
from tests.engine.harness import make_plan

NOW = 1_800_000_000.0
PLAN = make_plan()
GATE, READY = PLAN.deadlines.gate, PLAN.deadlines.ready.of(Mode.FULL_NODE)
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


def situation(now: float = NOW, record: Record = RECORD, **seen: Any) -> Situation:
    whole: dict[str, Any] = {"seinode": None, "statefulset": statefulset(), "service": None, "pod": pod()} | seen
    return Situation(record, Seen(**whole), PLAN, now)


def answers(at: float = NOW, **statuses: int | None) -> dict[Question, Answer]:
    bodies = {"tasks": '[{"type": "mark-ready", "status": "completed"}]'}
    return {
        Question(name): Answer("p-1", at, status, bodies.get(name, ""), "" if status else "no route")
        for name, status in statuses.items()
    }


# Replacing.


@pytest.mark.parametrize(("observed", "revision"), [(1, "new"), (0, "new"), (2, "")])
def test_a_template_that_was_not_seen_yet_is_waited_for_and_then_left_to_a_person(observed: int, revision: str) -> None:
    unseen = statefulset(observed=observed)
    unseen["status"]["updateRevision"] = revision
    assert rollout.rollout(situation(NOW + GATE - 1, statefulset=unseen)) == Wait(
        "the StatefulSet controller to see the template", GATE
    )
    assert noted(rollout.rollout(situation(NOW + GATE, statefulset=unseen))).outcome is Outcome.PAUSED


def test_without_a_pod_it_waits_for_one_until_the_deadline_of_readiness() -> None:
    assert rollout.rollout(situation(NOW + READY - 1, pod=None)) == Wait("a pod to be made", RECHECK)
    failed = noted(rollout.rollout(situation(NOW + READY, pod=None)))
    assert failed.direction is Direction.BACK
    assert "a pod to be made" in (failed.failure or "")
    assert isinstance(rollout.rollout(situation(NOW + READY, pod=None, progress=NOW + 1)), Wait)


def test_an_old_pod_is_waited_for_with_its_grace_and_never_forced() -> None:
    grace = PLAN.grace.of(Mode.FULL_NODE) + GATE
    for record, going in ((RECORD, True), (replace(RECORD, replaced=("p-1",)), False)):
        there = pod("old", going=going)
        assert rollout.rollout(situation(NOW + grace - 1, record, pod=there)) == Wait("the old pod to stop", grace)
        assert noted(rollout.rollout(situation(NOW + grace, record, pod=there))).outcome is Outcome.PAUSED
        assert isinstance(rollout.rollout(situation(NOW + grace, record, pod=there, progress=NOW + 1)), Wait)


@pytest.mark.parametrize("age", [PROOF_LASTS - 0.1, PROOF_LASTS, None])
def test_a_pod_is_replaced_under_a_hold_that_was_proven_lately(age: float | None) -> None:
    hold = Hold(proven=None if age is None else NOW - age)
    action = rollout.rollout(situation(pod=pod("old", ready=True), hold=hold))
    if age is None or age >= PROOF_LASTS:
        assert action == ProveHold()
    else:
        assert intended(action).do is Do.REPLACE


@pytest.mark.parametrize("ready", [True, False])
def test_a_ready_pod_is_evicted_and_another_one_deleted_with_its_grace(ready: bool) -> None:
    bare = replace(RECORD, holds=False)
    intent = intended(rollout.rollout(situation(record=bare, pod=pod("old", ready=ready))))
    assert intent == Intent(
        Do.REPLACE,
        pod="p-1",
        name="node-0-0",
        grace=int(PLAN.grace.of(Mode.FULL_NODE)),
        evict=ready,
        token="r1",
        at=NOW,
    )


def test_the_grace_is_that_of_the_nodes_mode() -> None:
    node = {"metadata": {"name": "node-0"}, "spec": {"validator": {}}}
    bare = replace(RECORD, holds=False)
    intent = intended(rollout.rollout(situation(record=bare, pod=pod("old"), seinode=node)))
    assert intent.grace == int(PLAN.grace.of(Mode.VALIDATOR))


CHANGE = Change("expose", "StatefulSet", "spec.replicas", 1, 2)


def test_no_pod_is_replaced_where_a_field_of_ours_is_not_as_we_left_it() -> None:
    proven: dict[str, Any] = {"hold": Hold(proven=NOW), "pod": pod("old")}
    ours = replace(RECORD, changes=(CHANGE,))
    assert noted(rollout.rollout(situation(record=ours, statefulset=statefulset(replicas=2), **proven))).intent
    failed = noted(rollout.rollout(situation(record=ours, statefulset=statefulset(replicas=1), **proven)))
    assert "StatefulSet spec.replicas" in (failed.failure or "")
    back = replace(ours, direction=Direction.BACK)
    assert noted(rollout.rollout(situation(record=back, statefulset=statefulset(replicas=1), **proven))).intent
    still = noted(rollout.rollout(situation(record=back, statefulset=statefulset(replicas=2), **proven)))
    assert still.outcome is Outcome.FAILED
    service = replace(RECORD, changes=(replace(CHANGE, kind="Service"),))
    assert noted(rollout.rollout(situation(record=service, statefulset=statefulset(replicas=1), **proven))).intent


def test_a_way_back_to_a_stage_takes_back_what_came_after_it() -> None:
    back = replace(RECORD, direction=Direction.BACK, back_to=StageName.EXPOSE)
    probes = replace(CHANGE, stage="probes")
    assert [rollout.goes_back(back, change) for change in (CHANGE, probes)] == [False, True]
    assert [rollout.goes_back(replace(back, back_to=None), change) for change in (CHANGE, probes)] == [True, True]
    assert not rollout.goes_back(replace(back, direction=Direction.FORWARD), probes)


def test_a_refused_eviction_is_tried_again_until_the_deadline_and_back_it_is_deleted_then() -> None:
    at = situation(pod=pod("old"), refused=True)
    assert noted(rollout.refused(at)).refused == NOW
    patience = PLAN.deadlines.eviction
    early = replace(RECORD, refused=NOW - patience + 1)
    assert rollout.refused(replace(at, record=early)) == Wait("a disruption budget to allow the eviction", RECHECK)
    late = replace(RECORD, refused=NOW - patience)
    assert noted(rollout.refused(replace(at, record=late))).direction is Direction.BACK
    back = replace(late, direction=Direction.BACK)
    intent = intended(rollout.refused(replace(at, record=back)))
    assert (intent.do, intent.evict) == (Do.REPLACE, False)


# Marking ready.

ASKS = answers(health=503, tasks=200)


def test_a_sidecar_that_asks_for_it_is_marked_ready_once_for_each_start() -> None:
    first = rollout.mark_ready(situation(answers=ASKS))
    assert intended(first).do is Do.MARK_READY
    assert (intended(first).pod, intended(first).name) == ("p-1", "node-0-0")
    again = rollout.mark_ready(situation(record=replace(RECORD, attempts=1), answers=ASKS))
    restarted = pod()
    restarted["status"]["initContainerStatuses"][0]["restartCount"] = 1
    after = rollout.mark_ready(situation(pod=restarted, answers=ASKS))
    other = rollout.mark_ready(replace(situation(answers=ASKS), marker="guard"))
    assert len({intended(each).task for each in (first, again, after, other)}) == 4
    assert intended(rollout.mark_ready(situation(answers=ASKS))).task == intended(first).task


@pytest.mark.parametrize(
    "parts",
    [
        {"pod": None},
        {"pod": pod(ready=True)},
        {"pod": pod(running=(SEID,))},
        {"record": replace(RECORD, was_ready=False)},
        {"record": replace(RECORD, attempts=MARKS, marked=NOW - 1000)},
        {"record": replace(RECORD, attempts=1, marked=NOW - SETTLES + 1)},
        {"answers": answers(health=200)},
        {"answers": answers(health=404)},
        {"statefulset": statefulset(labels=())},
    ],
)
def test_it_is_not_marked_ready_otherwise(parts: dict[str, Any]) -> None:
    assert rollout.mark_ready(situation(**({"answers": ASKS} | parts))) is None


def test_one_that_was_marked_is_marked_again_when_it_had_its_time() -> None:
    once = replace(RECORD, attempts=MARKS - 1, marked=NOW - SETTLES)
    assert intended(rollout.mark_ready(situation(record=once, answers=ASKS))).do is Do.MARK_READY


def test_where_the_node_is_not_frozen_its_controller_has_the_first_go() -> None:
    thawed = statefulset(labels=())
    late, early = NOW + PATIENCE, NOW + PATIENCE - 1
    assert rollout.mark_ready(situation(early, statefulset=thawed)) is None
    assert rollout.mark_ready(situation(late, statefulset=thawed)) == Ask((Question.HEALTH,))


def test_health_is_asked_first_and_the_tasks_when_it_says_503() -> None:
    assert rollout.mark_ready(situation()) == Ask((Question.HEALTH,))
    assert rollout.mark_ready(situation(answers=answers(health=503))) == Ask((Question.TASKS,))


def test_tasks_that_are_not_told_are_waited_for() -> None:
    for status, text in ((None, "no route"), (500, "status 500")):
        silent = rollout.mark_ready(situation(answers=answers(health=503, tasks=status)))
        assert silent == Wait(f"the sidecar's tasks ({text})", RECHECK)
    garbled = answers(health=503, tasks=200)
    garbled[Question.TASKS] = replace(garbled[Question.TASKS], body="{")
    assert isinstance(rollout.mark_ready(situation(answers=garbled)), Wait)


def test_against_an_intent_it_is_not_marked_ready() -> None:
    for body in ('[{"type": "mark-not-ready", "status": "completed"}]', "[]"):
        told = answers(health=503, tasks=200)
        told[Question.TASKS] = replace(told[Question.TASKS], body=body)
        assert noted(rollout.mark_ready(situation(answers=told))).outcome is Outcome.PAUSED
    for around in (Surroundings(tasks=(NAMED,)), Surroundings(workflows=(NAMED,))):
        paused = noted(rollout.mark_ready(situation(answers=ASKS, around=around)))
        assert (paused.outcome, "t-1" in paused.reason) == (Outcome.PAUSED, True)


def test_before_an_intended_mark_is_carried_out_it_is_looked_at_again() -> None:
    meant = replace(RECORD, intent=Intent(Do.MARK_READY, task="t"))
    assert rollout.still_asks(situation(record=meant)) == Ask((Question.HEALTH,))
    silent = rollout.still_asks(situation(record=meant, answers=answers(health=None)))
    assert silent == Wait("the sidecar's health (no route)", RECHECK)
    done = noted(rollout.still_asks(situation(record=meant, answers=answers(health=200))))
    assert (done.intent, done.attempts) == (None, 1)
    assert rollout.still_asks(situation(record=meant, answers=ASKS)) is None


# Waiting.


def test_a_ready_pod_is_not_waited_for() -> None:
    assert rollout.rollout(situation(pod=pod(ready=True))) is None


def test_the_height_is_asked_while_seid_runs_and_the_sidecar_is_not_unwell() -> None:
    both = pod(running=(SIDECAR, SEID))
    assert rollout.wait(situation(pod=both)) == Ask((Question.HEIGHT,))
    assert rollout.wait(situation(pod=both, answers=answers(health=200))) == Ask((Question.HEIGHT,))
    assert rollout.wait(situation(pod=both, answers=answers(health=None))) == Ask((Question.HEIGHT,))
    assert rollout.wait(situation(pod=both, answers=answers(health=503))) == Wait("the pod to be Ready", RECHECK)
    assert rollout.wait(situation()) == Wait("the pod to be Ready", RECHECK)
    seen = rollout.wait(situation(pod=both, answers=answers(height=200)))
    assert seen == Wait("the pod to be Ready", RECHECK)


def test_a_pod_that_is_stuck_fails_sooner_than_one_that_is_slow() -> None:
    stuck = pod()
    stuck["status"]["containerStatuses"] = [{"name": SEID, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    patience = PLAN.deadlines.stuck
    assert patience < READY
    waits = rollout.wait(situation(NOW + patience - 1, pod=stuck))
    assert waits == Wait(f"the pod to be Ready (container {SEID}: CrashLoopBackOff)", RECHECK)
    failed = noted(rollout.wait(situation(NOW + patience, pod=stuck)))
    assert "CrashLoopBackOff" in (failed.failure or "")
    assert isinstance(rollout.wait(situation(NOW + patience, pod=stuck, progress=NOW + 1)), Wait)


def test_a_sidecar_that_does_not_take_being_marked_is_stuck() -> None:
    late = NOW + PLAN.deadlines.stuck
    heard = answers(late, health=503)
    marked = replace(RECORD, attempts=MARKS, marked=NOW)
    assert noted(rollout.wait(situation(late, marked, answers=heard))).failure
    fewer = replace(marked, attempts=MARKS - 1)
    assert isinstance(rollout.wait(situation(late, fewer, answers=heard)), Wait)
    assert isinstance(rollout.wait(situation(late, marked, answers=answers(late, health=200))), Wait)


# How it ends.


def test_forwards_a_failure_turns_back_or_pauses_as_the_plan_says_and_back_it_is_left_to_a_person() -> None:
    at = situation()
    turned = noted(at.fail("why"))
    assert (turned.direction, turned.failure, turned.outcome) == (Direction.BACK, "why", None)
    pausing = replace(at, plan=make_plan(failure=Failure(node="pause")))
    assert (noted(pausing.fail("why")).outcome, noted(pausing.fail("why")).reason) == (Outcome.PAUSED, "why")
    meant = replace(RECORD, direction=Direction.BACK, intent=Intent(Do.PATCH))
    ended = noted(replace(pausing, record=meant).fail("why"))
    assert (ended.outcome, ended.reason, ended.intent) == (Outcome.FAILED, "why", None)


def test_one_that_cannot_be_moved_is_let_be_unless_something_of_it_was_changed() -> None:
    at = situation()
    blocked = noted(at.block("one", "two"))
    assert (blocked.direction, blocked.failure, blocked.blocked) == (Direction.BACK, None, ("one", "two"))
    touched = noted(replace(at, record=replace(RECORD, touched=True)).block("one", "two"))
    assert (touched.outcome, touched.reason) == (Outcome.PAUSED, "one; two")


def test_what_a_policy_denies_ends_as_the_stage_says() -> None:
    at = situation(denied="not on Fridays")
    assert noted(at.denied("a patch")).blocked == ("denied: a patch was denied: not on Fridays",)
    done = noted(replace(at, record=replace(RECORD, stage=StageName.RELEASE)).denied("a patch"))
    assert (done.outcome, done.reason) == (Outcome.DONE_HELD, "a patch was denied: not on Fridays")
    other = noted(replace(at, record=replace(RECORD, stage=StageName.EXPOSE)).denied("a patch"))
    assert (other.direction, other.failure) == (Direction.BACK, "a patch was denied: not on Fridays")
    back = replace(RECORD, direction=Direction.BACK)
    assert noted(replace(at, record=back).denied("a patch")).outcome is Outcome.FAILED
    asked = Change("release", "StatefulSet", "metadata.labels[sei.io/role]", "node", "node-asks")
    never = replace(RECORD, stage=StageName.RELEASE, asked=asked, intent=Intent(Do.PATCH, changes=(asked,)))
    assert noted(replace(at, record=never).denied("it")).asked is None
    earlier = replace(never, intent=Intent(Do.PATCH, changes=(CHANGE,)))
    assert noted(replace(at, record=earlier).denied("it")).asked == asked


def test_a_trial_of_the_hold_that_is_denied_by_others_is_no_proof() -> None:
    assert noted(situation(pod=pod("old"), denied="not on Fridays").unproven()).blocked
    assert situation(record=replace(RECORD, holds=False)).unproven() is None


@pytest.mark.parametrize(
    ("found", "now", "fresh"),
    [
        (None, NOW, False),
        (Judgement(NOW), NOW + RECHECK - 0.1, True),
        (Judgement(NOW), NOW + RECHECK, False),
        (Judgement(NOW - 0.1), NOW, False),
    ],
)
def test_a_judgement_counts_while_it_is_fresh_and_if_it_is_of_this_step(
    found: Judgement | None, now: float, fresh: bool
) -> None:
    assert situation(now, judgement=found).judge() == (None if fresh else Judge())
