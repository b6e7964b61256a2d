"""A process that dies at any of its writes: the next one reaches the same result, and restarts no pod twice."""

from __future__ import annotations

import pytest

from seimigrate.domain.node.record import Direction, Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import Release, StageName, Strategy
from tests.engine.harness import KEY, STRATEGIES, Harness, make_plan, planned_restarts, reaching

QUICK = make_plan(release=Release(agreement_timeout=0))
"""The plan without the release, which is tested separately."""


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cutover_killed_at_each_write_is_completed_by_the_next_run(strategy: Strategy) -> None:
    harness = Harness(strategy=strategy, plan=QUICK)
    forks = harness.forks(harness.apply)
    assert len(forks) > 30
    # Staged writes are the merged ones and more of the same kind: every second is enough.
    for fork in forks[:: 2 if strategy is Strategy.STAGED else 1]:
        assert fork.apply().outcome is Outcome.DONE_HELD
        assert fork.shape is fork.pod_shape is Shape.ENFORCED
        assert fork.pod_ready
        assert fork.replaced_pod_count() == planned_restarts(strategy)


@pytest.mark.parametrize("again", ["apply", "rollback"])
def test_rollback_killed_at_each_write_is_completed_by_the_next_run(again: str) -> None:
    harness = Harness(strategy=Strategy.MERGED)
    harness.interrupt(reaching(StageName.POLICY))
    forks = harness.forks(harness.rollback)
    assert len(forks) > 20
    for fork in forks:
        if again == "apply" and fork.record.unfinished and fork.record.direction is Direction.ROLLBACK:
            assert fork.apply().outcome is Outcome.ROLLED_BACK
        else:
            fork.rollback()
        fork.assert_restored()
        assert fork.replaced_pod_count() == 2


def test_failed_cutover_killed_at_each_write_is_rolled_back() -> None:
    harness = Harness(strategy=Strategy.MERGED)
    harness.interrupt(reaching(StageName.ENFORCE))
    harness.world.faults(*KEY).missing_routes = frozenset({"/v0/metrics"})
    forks = harness.forks(harness.apply)
    assert len(forks) > 30
    for fork in forks[::2]:
        if fork.record.unfinished:
            assert fork.apply().outcome is Outcome.ROLLED_BACK
        fork.assert_restored()
        assert fork.record.failure is not None
        assert fork.replaced_pod_count() == 2


def test_release_killed_at_each_write_is_completed_by_the_next_run() -> None:
    harness = Harness(strategy=Strategy.MERGED, plan=QUICK)
    harness.apply()
    harness.world.replace_controller("new")
    harness.plan = make_plan()
    forks = harness.forks(harness.apply)
    assert len(forks) > 8
    for fork in forks:
        result = fork.apply()
        assert result.unchanged or result.outcome is Outcome.DONE
        fork.assert_done()
        assert fork.replaced_pod_count() == 1
        assert not fork.controller_deletes()


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_run_killed_after_every_step_finishes(strategy: Strategy, direction: Direction) -> None:
    harness = Harness(strategy=strategy, plan=make_plan() if direction is Direction.ROLLBACK else QUICK)
    if direction is Direction.ROLLBACK:
        harness.apply()
    deaths = 0
    while harness.crashes_at_next_step(harness.rollback if direction is Direction.ROLLBACK else harness.apply):
        deaths += 1
        assert deaths < 60
    assert deaths > 15
    assert harness.replaced_pod_count() == planned_restarts(strategy) + (direction is Direction.ROLLBACK)
    if direction is Direction.ROLLBACK:
        harness.assert_restored()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_run_killed_at_every_14th_write_finishes(after: bool) -> None:
    harness = Harness(strategy=Strategy.MERGED, plan=QUICK)
    deaths = 0
    while harness.crash(14, after=after, run=harness.apply):
        deaths += 1
        assert deaths < 30
    assert deaths
    assert harness.apply().outcome is Outcome.DONE_HELD
    assert harness.replaced_pod_count() == 1


def test_takeover_killed_at_each_write_is_taken_over() -> None:
    harness = Harness(strategy=Strategy.MERGED, plan=QUICK)
    harness.interrupt(lambda record, _: bool(record.intent and record.intent.pod and not record.replaced_pods))
    forks = harness.forks(lambda: harness.new_run().start())
    assert len(forks) > 4
    for fork in forks:
        assert fork.apply().outcome is Outcome.DONE_HELD
        assert fork.replaced_pod_count() == 1
