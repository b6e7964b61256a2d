"""Rollbacks execute the steps of the runbooks in the journal, and each one-time step once."""

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
from tests.engine.harness import NAME, NAMESPACE, RUNBOOKS, Harness, make_plan, reaching
from tests.engine.invariant_monitor import Interrupted

CONFIRM = RollbackStep(StepName.CONFIRM, "really?")
PAUSE = RollbackStep(StepName.PAUSE, "call the owner")
NOTIFY = RollbackStep(StepName.NOTIFY, "rolled back")
IDLE = RollbackStep(StepName.CHECK, Precondition.IDLE, on_failure=OnFailure.PAUSE)
READY = RollbackStep(StepName.CHECK, Precondition.READY, on_failure=OnFailure.CONTINUE)


def with_steps(*before: RollbackStep, **changed: OnFailure) -> RollbackRunbooks:
    """Return the bundled rollback runbooks with steps in front, and with other values of on-failure."""

    def change(runbook: RollbackRunbook) -> RollbackRunbook:
        steps = [step for step in runbook.steps if step.action is not StepName.CONFIRM]
        steps = [replace(s, on_failure=changed.get(s.action.value.replace("-", "_"), s.on_failure)) for s in steps]
        return replace(runbook, steps=(*before, *steps))

    return RollbackRunbooks("test", tuple(change(runbook) for runbook in RUNBOOKS.runbooks))


def merged(**kwargs: Any) -> Harness:
    return Harness(strategy=Strategy.MERGED, **kwargs)


class TestConfirm:
    def test_unattended_run_continues_if_the_runbook_allows(self) -> None:
        harness = merged()
        harness.world.faults(NAMESPACE, NAME).missing_routes = frozenset({"/v0/metrics"})
        result = harness.apply(runbooks=with_steps(replace(CONFIRM, unattended=True)))
        assert result.outcome is Outcome.ROLLED_BACK
        assert "not confirmed (unattended run), continuing as the runbook allows: really?" in harness.record.notes
        harness.assert_restored()

    def test_unattended_run_pauses_if_the_runbook_requires_confirmation(self) -> None:
        harness = merged()
        harness.world.faults(NAMESPACE, NAME).missing_routes = frozenset({"/v0/metrics"})
        runbooks = with_steps(CONFIRM)
        result = harness.apply(runbooks=runbooks)
        assert result.outcome is Outcome.PAUSED
        assert harness.record.reason.startswith("confirmation required (really?)")
        assert harness.record.failure is not None
        assert harness.apply(runbooks=runbooks).outcome is Outcome.PAUSED
        assert harness.replaced_pod_count() == 1
        assert harness.rollback(runbooks=runbooks).outcome is Outcome.ROLLED_BACK
        assert "confirmed: really?" in harness.record.notes
        harness.assert_restored()

    def test_confirmed_step_is_not_prompted_again_after_a_crash(self) -> None:
        harness = merged()
        harness.interrupt(reaching(StageName.POLICY), runbooks=with_steps(CONFIRM))
        with pytest.raises(Interrupted):
            harness.rollback(until=lambda record, _: bool(record.completed_steps))
        assert harness.apply().outcome is Outcome.ROLLED_BACK
        harness.assert_restored()


def test_pause_step_is_completed_when_rollback_is_rerun() -> None:
    harness = merged()
    harness.interrupt(reaching(StageName.POLICY))
    runbooks = with_steps(PAUSE)
    result = harness.rollback(runbooks=runbooks)
    assert (result.outcome, harness.record.reason) == (Outcome.PAUSED, "call the owner")
    assert harness.replaced_pod_count() == 1
    assert harness.rollback(runbooks=runbooks).outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


def test_failed_check_pauses_the_rollback_before_any_write() -> None:
    harness = merged()
    harness.interrupt(reaching(StageName.POLICY))
    task = {
        "metadata": {"namespace": NAMESPACE, "name": "upload"},
        "spec": {"target": {"nodeRef": {"name": NAME}}},
    }
    harness.world.cluster.put(Kind.SEI_NODE_TASK, task)
    assert harness.rollback(runbooks=with_steps(IDLE)).outcome is Outcome.PAUSED
    assert harness.record.reason == "upload is running on the node"
    assert harness.shape is Shape.ENFORCED
    harness.world.cluster.put(Kind.SEI_NODE_TASK, task | {"status": {"phase": "Complete"}})
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


def test_failed_check_with_on_failure_continue_adds_a_note() -> None:
    harness = merged()
    harness.interrupt(reaching(StageName.POLICY))
    harness.world.faults(NAMESPACE, NAME).stays_unready = True
    harness.delete_pod()
    harness.world.run_until(lambda: not harness.pod_ready)
    harness.world.faults(NAMESPACE, NAME).stays_unready = False
    harness.rollback(runbooks=with_steps(READY))
    assert "the pod is not Ready" in harness.record.notes
    harness.assert_restored()


def test_notify_step_runs_once_even_if_the_run_crashes() -> None:
    harness = merged()
    harness.interrupt(reaching(StageName.POLICY))
    runbooks = with_steps(NOTIFY)
    forks = harness.forks(lambda: harness.rollback(runbooks=runbooks))
    for fork in forks[::3]:
        fork.rollback(runbooks=runbooks)
        fork.assert_restored()
        assert fork.record.notes.count("rolled back") == 1


@pytest.mark.parametrize(
    ("on_failure", "outcome"), [(OnFailure.FAIL, Outcome.FAILED), (OnFailure.PAUSE, Outcome.PAUSED)]
)
def test_failed_step_ends_with_the_outcome_of_its_on_failure(on_failure: OnFailure, outcome: Outcome) -> None:
    harness = merged()
    harness.interrupt(reaching(StageName.POLICY))
    harness.world.faults(NAMESPACE, NAME).stays_unready = True
    result = harness.rollback(runbooks=with_steps(wait=on_failure))
    assert result.outcome is outcome
    assert "the pod cannot start" in harness.record.reason or "no progress" in harness.record.reason
    harness.world.faults(NAMESPACE, NAME).stays_unready = False
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


class TestPinned:
    def test_automatic_rollback_uses_the_runbooks_bound_at_start(self) -> None:
        harness = merged()
        harness.interrupt(reaching(StageName.ENFORCE), runbooks=with_steps(NOTIFY))
        harness.world.faults(NAMESPACE, NAME).missing_routes = frozenset({"/v0/metrics"})
        assert harness.apply(runbooks=with_steps(CONFIRM)).outcome is Outcome.ROLLED_BACK
        assert "rolled back" in harness.record.notes
        assert harness.record.rollback_runbooks == with_steps(NOTIFY)

    def test_rollback_keeps_the_runbooks_with_which_it_started(self) -> None:
        harness = merged()
        harness.interrupt(reaching(StageName.POLICY), runbooks=with_steps(NOTIFY))
        with pytest.raises(Interrupted):
            harness.rollback(runbooks=with_steps(PAUSE), until=lambda record, _: record.direction is Direction.ROLLBACK)
        assert harness.record.rollback_runbooks == with_steps(PAUSE), (
            "a rollback that an operator starts uses the current runbooks"
        )
        assert harness.rollback(runbooks=with_steps(CONFIRM, NOTIFY)).outcome is Outcome.PAUSED
        assert harness.rollback(runbooks=with_steps(CONFIRM, NOTIFY)).outcome is Outcome.ROLLED_BACK
        assert harness.record.rollback_runbooks == with_steps(PAUSE)
        assert "rolled back" not in harness.record.notes

    def test_journal_without_runbooks_uses_the_current_ones(self) -> None:
        harness = merged()
        harness.interrupt(reaching(StageName.ENFORCE))
        bare = replace(harness.record, rollback_runbooks=None)
        config_map = harness.world.cluster.objects[Kind.CONFIG_MAP][NAMESPACE, f"seimigrate-{NAME}"]
        harness.world.cluster.put(Kind.CONFIG_MAP, config_map | {"data": {"record": bare.to_json()}})
        assert harness.rollback().outcome is Outcome.ROLLED_BACK
        assert harness.record.rollback_runbooks == RUNBOOKS
        harness.assert_restored()


def chosen(name: str = "chosen", *steps: RollbackStep) -> RollbackRunbooks:
    [runbook] = [runbook for runbook in RUNBOOKS.runbooks if runbook.stage is StageName.RELEASE]
    return RollbackRunbooks("test", (RollbackRunbook(name, steps or runbook.steps),))


class TestChosen:
    def test_runbook_chosen_by_name_rolls_back_from_any_stage(self) -> None:
        for stage in (StageName.EXPOSE, StageName.ENFORCE, StageName.RELEASE):
            harness = merged()
            harness.interrupt(reaching(stage))
            assert harness.rollback(runbooks=chosen()).outcome is Outcome.ROLLED_BACK
            harness.assert_restored()

    def test_runbook_without_revert_does_not_release_the_node(self) -> None:
        harness = merged()
        harness.interrupt(reaching(StageName.POLICY))
        only = RollbackStep(StepName.RELEASE, on_failure=OnFailure.STAY_HELD)
        assert harness.rollback(runbooks=chosen("hold", only)).outcome is Outcome.FAILED
        assert "is not reverted; step revert must run before release" in harness.record.reason
        assert harness.held
        assert harness.rollback(runbooks=chosen()).outcome is Outcome.ROLLED_BACK
        harness.assert_restored()

    def test_skipped_steps_do_not_run(self) -> None:
        harness = merged(plan=make_plan(release=Release(agreement_timeout=0)))
        harness.apply()
        harness.rollback(StageName.HOLD)
        run = harness.new_run(runbooks=chosen(), completed_steps=(0, 1, 2, 3, 4, 5))
        run.start()
        [result] = run.rollback([(NAMESPACE, NAME)])
        assert result.outcome is Outcome.ROLLED_BACK_HELD


ONE_TIME = (IDLE, replace(CONFIRM, unattended=True), NOTIFY, READY)


def test_rollback_with_one_time_steps_killed_at_each_write_finishes() -> None:
    harness = merged()
    runbooks = with_steps(*ONE_TIME)
    harness.interrupt(reaching(StageName.POLICY), runbooks=runbooks)
    forks = harness.forks(lambda: harness.rollback(runbooks=runbooks))
    assert len(forks) > 24
    completed: set[tuple[int, ...]] = set()
    for fork in forks:
        completed.add(fork.record.completed_steps)
        rerun = fork.apply if fork.record.unfinished and fork.record.direction is Direction.ROLLBACK else fork.rollback
        rerun(runbooks=runbooks)
        fork.assert_restored()
        assert fork.replaced_pod_count() == 2
        assert fork.record.notes.count("rolled back") == 1
    assert completed >= {(), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)}


def test_stage_without_rollback_runbook_pauses_the_rollback() -> None:
    harness = merged()
    harness.interrupt(reaching(StageName.POLICY))
    empty = RollbackRunbooks("none", ())
    assert harness.rollback(runbooks=empty).outcome is Outcome.PAUSED
    assert "has no rollback runbook for stage policy" in harness.record.reason
    assert harness.shape is Shape.ENFORCED
