"""Ways back run by what a page says: asked, paused, checked and told once, by the pages that the journal holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node.record import Direction, Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import Release, StageName, Strategy
from seimigrate.domain.plan.rollback_steps import (
    OnFailure,
    Precondition,
    RollbackRunbook,
    RollbackRunbooks,
    RollbackStep,
    StepName,
)
from tests.engine.harness import NAME, NAMESPACE, WAYS, Scene, make_plan, reaching
from tests.engine.watchdog import Interrupted

CONFIRM = RollbackStep(StepName.CONFIRM, "really?")
PAUSE = RollbackStep(StepName.PAUSE, "call the owner")
NOTIFY = RollbackStep(StepName.NOTIFY, "it went back")
IDLE = RollbackStep(StepName.CHECK, Precondition.IDLE, on_failure=OnFailure.PAUSE)
READY = RollbackStep(StepName.CHECK, Precondition.READY, on_failure=OnFailure.CONTINUE)


def ways(*before: RollbackStep, **changed: OnFailure) -> RollbackRunbooks:
    """The project's own ways, with other steps in front, and other words for what does not go well."""

    def one(runbook: RollbackRunbook) -> RollbackRunbook:
        steps = [step for step in runbook.steps if step.action is not StepName.CONFIRM]
        steps = [replace(s, on_failure=changed.get(s.action.value.replace("-", "_"), s.on_failure)) for s in steps]
        return replace(runbook, steps=(*before, *steps))

    return RollbackRunbooks("test", tuple(one(runbook) for runbook in WAYS.runbooks))


def merged(**kwargs: Any) -> Scene:
    return Scene(strategy=Strategy.MERGED, **kwargs)


class TestConfirm:
    def test_unattended_the_page_says_whether_to_go_on(self) -> None:
        scene = merged()
        scene.world.faults(NAMESPACE, NAME).missing_routes = frozenset({"/v0/metrics"})
        result = scene.apply(runbooks=ways(replace(CONFIRM, unattended=True)))
        assert result.outcome is Outcome.ROLLED_BACK
        assert "not confirmed (unattended run), continuing as the runbook allows: really?" in scene.record.notes
        scene.assert_as_before()

    def test_unattended_it_waits_for_a_person_where_the_page_says_so(self) -> None:
        scene = merged()
        scene.world.faults(NAMESPACE, NAME).missing_routes = frozenset({"/v0/metrics"})
        asked = ways(CONFIRM)
        result = scene.apply(runbooks=asked)
        assert result.outcome is Outcome.PAUSED
        assert scene.record.reason.startswith("confirmation required (really?)")
        assert scene.record.failure is not None
        assert scene.apply(runbooks=asked).outcome is Outcome.PAUSED
        assert scene.replaced() == 1
        assert scene.rollback(runbooks=asked).outcome is Outcome.ROLLED_BACK
        assert "confirmed: really?" in scene.record.notes
        scene.assert_as_before()

    def test_what_a_person_confirmed_is_not_asked_again_after_a_crash(self) -> None:
        scene = merged()
        scene.interrupt(reaching(StageName.POLICY), runbooks=ways(CONFIRM))
        with pytest.raises(Interrupted):
            scene.rollback(until=lambda record, _: bool(record.completed_steps))
        assert scene.apply().outcome is Outcome.ROLLED_BACK
        scene.assert_as_before()


def test_a_pause_is_behind_whoever_runs_again() -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    paused = ways(PAUSE)
    result = scene.rollback(runbooks=paused)
    assert (result.outcome, scene.record.reason) == (Outcome.PAUSED, "call the owner")
    assert scene.replaced() == 1
    assert scene.rollback(runbooks=paused).outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_a_check_that_does_not_hold_stops_the_way_back_before_anything_is_written() -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    task = {
        "metadata": {"namespace": NAMESPACE, "name": "upload"},
        "spec": {"target": {"nodeRef": {"name": NAME}}},
    }
    scene.world.cluster.put(Kind.SEI_NODE_TASK, task)
    assert scene.rollback(runbooks=ways(IDLE)).outcome is Outcome.PAUSED
    assert scene.record.reason == "upload is running on the node"
    assert scene.shape is Shape.ENFORCED
    scene.world.cluster.put(Kind.SEI_NODE_TASK, task | {"status": {"phase": "Complete"}})
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_a_check_may_go_on_and_leaves_a_note() -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    scene.world.faults(NAMESPACE, NAME).stays_unready = True
    scene.delete_pod()
    scene.world.run_until(lambda: not scene.pod_ready)
    scene.world.faults(NAMESPACE, NAME).stays_unready = False
    scene.rollback(runbooks=ways(READY))
    assert "the pod is not Ready" in scene.record.notes
    scene.assert_as_before()


def test_a_message_is_told_once_however_often_the_run_dies() -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    told = ways(NOTIFY)
    forks = scene.forks(lambda: scene.rollback(runbooks=told))
    for fork in forks[::3]:
        fork.rollback(runbooks=told)
        fork.assert_as_before()
        assert fork.record.notes.count("it went back") == 1


@pytest.mark.parametrize(("word", "outcome"), [(OnFailure.FAIL, Outcome.FAILED), (OnFailure.PAUSE, Outcome.PAUSED)])
def test_a_step_that_does_not_succeed_ends_as_the_page_says(word: OnFailure, outcome: Outcome) -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    scene.world.faults(NAMESPACE, NAME).stays_unready = True
    result = scene.rollback(runbooks=ways(wait=word))
    assert result.outcome is outcome
    assert "the pod cannot start" in scene.record.reason or "no progress" in scene.record.reason
    scene.world.faults(NAMESPACE, NAME).stays_unready = False
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


class TestPinned:
    def test_the_automatic_way_back_is_the_one_bound_when_the_node_set_out(self) -> None:
        scene = merged()
        scene.interrupt(reaching(StageName.ENFORCE), runbooks=ways(NOTIFY))
        scene.world.faults(NAMESPACE, NAME).missing_routes = frozenset({"/v0/metrics"})
        assert scene.apply(runbooks=ways(CONFIRM)).outcome is Outcome.ROLLED_BACK
        assert "it went back" in scene.record.notes
        assert scene.record.rollback_runbooks == ways(NOTIFY)

    def test_a_way_back_under_way_goes_on_by_the_old_pages_and_a_new_one_by_the_new(self) -> None:
        scene = merged()
        scene.interrupt(reaching(StageName.POLICY), runbooks=ways(NOTIFY))
        with pytest.raises(Interrupted):
            scene.rollback(runbooks=ways(PAUSE), until=lambda record, _: record.direction is Direction.ROLLBACK)
        assert scene.record.rollback_runbooks == ways(PAUSE), (
            "whoever sets out on the way back takes the pages of today"
        )
        assert scene.rollback(runbooks=ways(CONFIRM, NOTIFY)).outcome is Outcome.PAUSED
        assert scene.rollback(runbooks=ways(CONFIRM, NOTIFY)).outcome is Outcome.ROLLED_BACK
        assert scene.record.rollback_runbooks == ways(PAUSE)
        assert "it went back" not in scene.record.notes

    def test_a_journal_from_before_there_were_runbooks_gets_todays(self) -> None:
        scene = merged()
        scene.interrupt(reaching(StageName.ENFORCE))
        bare = replace(scene.record, rollback_runbooks=None)
        config_map = scene.world.cluster.objects[Kind.CONFIG_MAP][NAMESPACE, f"seimigrate-{NAME}"]
        scene.world.cluster.put(Kind.CONFIG_MAP, config_map | {"data": {"record": bare.to_json()}})
        assert scene.rollback().outcome is Outcome.ROLLED_BACK
        assert scene.record.rollback_runbooks == WAYS
        scene.assert_as_before()


def chosen(page: str = "chosen", *steps: RollbackStep) -> RollbackRunbooks:
    [runbook] = [runbook for runbook in WAYS.runbooks if runbook.stage is StageName.RELEASE]
    return RollbackRunbooks("test", (RollbackRunbook(page, steps or runbook.steps),))


class TestChosen:
    def test_a_page_that_was_chosen_by_its_name_brings_a_node_back_from_any_stage(self) -> None:
        for stage in (StageName.EXPOSE, StageName.ENFORCE, StageName.RELEASE):
            scene = merged()
            scene.interrupt(reaching(stage))
            assert scene.rollback(runbooks=chosen()).outcome is Outcome.ROLLED_BACK
            scene.assert_as_before()

    def test_a_page_that_leaves_fields_as_they_are_does_not_let_the_node_go(self) -> None:
        scene = merged()
        scene.interrupt(reaching(StageName.POLICY))
        only = RollbackStep(StepName.RELEASE, on_failure=OnFailure.STAY_HELD)
        assert scene.rollback(runbooks=chosen("hold", only)).outcome is Outcome.FAILED
        assert "is not reverted; step revert must run before release" in scene.record.reason
        assert scene.held
        assert scene.rollback(runbooks=chosen()).outcome is Outcome.ROLLED_BACK
        scene.assert_as_before()

    def test_steps_that_are_left_out_are_not_taken(self) -> None:
        scene = merged(plan=make_plan(release=Release(agreement_timeout=0)))
        scene.apply()
        scene.rollback(StageName.HOLD)
        run = scene.process(runbooks=chosen(), passed=(0, 1, 2, 3, 4, 5))
        run.start()
        [result] = run.rollback([(NAMESPACE, NAME)])
        assert result.outcome is Outcome.ROLLED_BACK_HELD


FULL = (IDLE, replace(CONFIRM, unattended=True), NOTIFY, READY)


def test_killed_after_each_write_a_way_with_every_kind_of_step_comes_to_the_same_end() -> None:
    scene = merged()
    bound = ways(*FULL)
    scene.interrupt(reaching(StageName.POLICY), runbooks=bound)
    forks = scene.forks(lambda: scene.rollback(runbooks=bound))
    assert len(forks) > 24
    passed: set[tuple[int, ...]] = set()
    for fork in forks:
        passed.add(fork.record.completed_steps)
        again = fork.apply if fork.record.unfinished and fork.record.direction is Direction.ROLLBACK else fork.rollback
        again(runbooks=bound)
        fork.assert_as_before()
        assert fork.replaced() == 2
        assert fork.record.notes.count("it went back") == 1
    assert passed >= {(), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)}


def test_a_record_without_any_way_back_stops_instead_of_claiming_one() -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    empty = RollbackRunbooks("none", ())
    assert scene.rollback(runbooks=empty).outcome is Outcome.PAUSED
    assert "has no rollback runbook for stage policy" in scene.record.reason
    assert scene.shape is Shape.ENFORCED
