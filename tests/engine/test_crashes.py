"""A process that dies at any of its writes: the next one goes on to the same end, and restarts nothing twice."""

from __future__ import annotations

import pytest

from seimigrate.domain.node.record import Direction, Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import Release, StageName, Strategy
from tests.engine.harness import KEY, STRATEGIES, Scene, make_plan, planned_restarts, reaching

QUICK = make_plan(release=Release(agreement_timeout=0))
"""The plan without the release, which has its own tests here."""


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_forward_the_next_run_goes_on_from_each_write(strategy: Strategy) -> None:
    scene = Scene(strategy=strategy, plan=QUICK)
    forks = scene.forks(scene.apply)
    assert len(forks) > 30
    # Staged writes are the merged ones and more of the same: every second is enough.
    for fork in forks[:: 2 if strategy is Strategy.STAGED else 1]:
        assert fork.apply().outcome is Outcome.DONE_HELD
        assert fork.shape is fork.pod_shape is Shape.ENFORCED
        assert fork.pod_ready
        assert fork.replaced() == planned_restarts(strategy)


@pytest.mark.parametrize("again", ["apply", "rollback"])
def test_on_the_way_back_the_next_run_goes_on_from_each_write(again: str) -> None:
    scene = Scene(strategy=Strategy.MERGED)
    scene.interrupt(reaching(StageName.POLICY))
    forks = scene.forks(scene.rollback)
    assert len(forks) > 20
    for fork in forks:
        if again == "apply" and fork.record.unfinished and fork.record.direction is Direction.ROLLBACK:
            assert fork.apply().outcome is Outcome.ROLLED_BACK
        else:
            fork.rollback()
        fork.assert_as_before()
        assert fork.replaced() == 2


def test_a_node_that_failed_goes_back_from_each_write() -> None:
    scene = Scene(strategy=Strategy.MERGED)
    scene.interrupt(reaching(StageName.ENFORCE))
    scene.world.faults(*KEY).missing_routes = frozenset({"/v0/metrics"})
    forks = scene.forks(scene.apply)
    assert len(forks) > 30
    for fork in forks[::2]:
        if fork.record.unfinished:
            assert fork.apply().outcome is Outcome.ROLLED_BACK
        fork.assert_as_before()
        assert fork.record.failure is not None
        assert fork.replaced() == 2


def test_the_release_goes_on_from_each_write() -> None:
    scene = Scene(strategy=Strategy.MERGED, plan=QUICK)
    scene.apply()
    scene.world.replace_controller("new")
    scene.plan = make_plan()
    forks = scene.forks(scene.apply)
    assert len(forks) > 8
    for fork in forks:
        result = fork.apply()
        assert result.unchanged or result.outcome is Outcome.DONE
        fork.assert_done()
        assert fork.replaced() == 1
        assert not fork.controller_deletes()


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_after_each_step_in_turn_it_comes_to_its_end(strategy: Strategy, direction: Direction) -> None:
    scene = Scene(strategy=strategy, plan=make_plan() if direction is Direction.ROLLBACK else QUICK)
    if direction is Direction.ROLLBACK:
        scene.apply()
    deaths = 0
    while scene.dies_at_its_first_step(scene.rollback if direction is Direction.ROLLBACK else scene.apply):
        deaths += 1
        assert deaths < 60
    assert deaths > 15
    assert scene.replaced() == planned_restarts(strategy) + (direction is Direction.ROLLBACK)
    if direction is Direction.ROLLBACK:
        scene.assert_as_before()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_nothing_catches_the_end_of_the_process(after: bool) -> None:
    scene = Scene(strategy=Strategy.MERGED, plan=QUICK)
    deaths = 0
    while scene.crash(14, after=after, run=scene.apply):
        deaths += 1
        assert deaths < 30
    assert deaths
    assert scene.apply().outcome is Outcome.DONE_HELD
    assert scene.replaced() == 1


def test_a_run_that_dies_while_it_takes_over_is_taken_over_in_turn() -> None:
    scene = Scene(strategy=Strategy.MERGED, plan=QUICK)
    scene.interrupt(lambda record, _: bool(record.intent and record.intent.pod and not record.replaced_pods))
    forks = scene.forks(lambda: scene.process().start())
    assert len(forks) > 4
    for fork in forks:
        assert fork.apply().outcome is Outcome.DONE_HELD
        assert fork.replaced() == 1
