"""Ways back run by what a page says: asked, paused, checked and told once, by the pages that the journal holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seimigrate.domain.kinds import Kind
from seimigrate.domain.plan import Release, StageName, Strategy
from seimigrate.domain.record import Direction, Outcome
from seimigrate.domain.shapes import Shape
from seimigrate.domain.steps import Fact, Otherwise, Step, StepName, Way, Ways
from tests.engine.harness import NAME, NAMESPACE, WAYS, Scene, make_plan, reaching
from tests.engine.watchdog import Interrupted

CONFIRM = Step(StepName.CONFIRM, "really?")
PAUSE = Step(StepName.PAUSE, "call the owner")
NOTIFY = Step(StepName.NOTIFY, "it went back")
IDLE = Step(StepName.CHECK, Fact.IDLE, otherwise=Otherwise.PAUSE)
READY = Step(StepName.CHECK, Fact.READY, otherwise=Otherwise.GO_ON)


def ways(*before: Step, **changed: Otherwise) -> Ways:
    """The project's own ways, with other steps in front, and other words for what does not go well."""

    def one(way: Way) -> Way:
        steps = [step for step in way.steps if step.do is not StepName.CONFIRM]
        steps = [replace(s, otherwise=changed.get(s.do.value.replace("-", "_"), s.otherwise)) for s in steps]
        return replace(way, steps=(*before, *steps))

    return Ways("test", tuple(one(way) for way in WAYS.ways))


def merged(**kwargs: Any) -> Scene:
    return Scene(strategy=Strategy.MERGED, **kwargs)


class TestConfirm:
    def test_unattended_the_page_says_whether_to_go_on(self) -> None:
        scene = merged()
        scene.world.switches(NAMESPACE, NAME).missing_routes = frozenset({"/v0/metrics"})
        result = scene.apply(ways=ways(replace(CONFIRM, unattended=True)))
        assert result.outcome is Outcome.ROLLED_BACK
        assert "nobody was there to ask, and the runbook says to go on then: really?" in scene.record.notes
        scene.assert_as_before()

    def test_unattended_it_waits_for_a_person_where_the_page_says_so(self) -> None:
        scene = merged()
        scene.world.switches(NAMESPACE, NAME).missing_routes = frozenset({"/v0/metrics"})
        asked = ways(CONFIRM)
        result = scene.apply(ways=asked)
        assert result.outcome is Outcome.PAUSED
        assert scene.record.reason.startswith("a person has to confirm (really?)")
        assert scene.record.failure is not None
        assert scene.apply(ways=asked).outcome is Outcome.PAUSED
        assert scene.replaced() == 1
        assert scene.back(ways=asked).outcome is Outcome.ROLLED_BACK
        assert "confirmed: really?" in scene.record.notes
        scene.assert_as_before()

    def test_what_a_person_confirmed_is_not_asked_again_after_a_crash(self) -> None:
        scene = merged()
        scene.interrupt(reaching(StageName.POLICY), ways=ways(CONFIRM))
        with pytest.raises(Interrupted):
            scene.back(until=lambda record, _: bool(record.passed))
        assert scene.apply().outcome is Outcome.ROLLED_BACK
        scene.assert_as_before()


def test_a_pause_is_behind_whoever_runs_again() -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    paused = ways(PAUSE)
    result = scene.back(ways=paused)
    assert (result.outcome, scene.record.reason) == (Outcome.PAUSED, "call the owner")
    assert scene.replaced() == 1
    assert scene.back(ways=paused).outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_a_check_that_does_not_hold_stops_the_way_back_before_anything_is_written() -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    task = {
        "metadata": {"namespace": NAMESPACE, "name": "upload"},
        "spec": {"target": {"nodeRef": {"name": NAME}}},
    }
    scene.world.cluster.put(Kind.SEI_NODE_TASK, task)
    assert scene.back(ways=ways(IDLE)).outcome is Outcome.PAUSED
    assert scene.record.reason == "upload is at work on it"
    assert scene.shape is Shape.ENFORCED
    scene.world.cluster.put(Kind.SEI_NODE_TASK, task | {"status": {"phase": "Complete"}})
    assert scene.back().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_a_check_may_go_on_and_leaves_a_note() -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    scene.world.switches(NAMESPACE, NAME).stays_unready = True
    scene.delete_pod()
    scene.world.run_until(lambda: not scene.pod_ready)
    scene.world.switches(NAMESPACE, NAME).stays_unready = False
    scene.back(ways=ways(READY))
    assert "its pod is not Ready" in scene.record.notes
    scene.assert_as_before()


def test_a_message_is_told_once_however_often_the_run_dies() -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    told = ways(NOTIFY)
    forks = scene.forks(lambda: scene.back(ways=told))
    for fork in forks[::3]:
        fork.back(ways=told)
        fork.assert_as_before()
        assert fork.record.notes.count("it went back") == 1


@pytest.mark.parametrize(("word", "outcome"), [(Otherwise.FAIL, Outcome.FAILED), (Otherwise.PAUSE, Outcome.PAUSED)])
def test_a_step_that_does_not_succeed_ends_as_the_page_says(word: Otherwise, outcome: Outcome) -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    scene.world.switches(NAMESPACE, NAME).stays_unready = True
    result = scene.back(ways=ways(wait=word))
    assert result.outcome is outcome
    assert "waited for the pod to be Ready" in scene.record.reason or "stuck" in scene.record.reason
    scene.world.switches(NAMESPACE, NAME).stays_unready = False
    assert scene.back().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


class TestPinned:
    def test_the_automatic_way_back_is_the_one_bound_when_the_node_set_out(self) -> None:
        scene = merged()
        scene.interrupt(reaching(StageName.ENFORCE), ways=ways(NOTIFY))
        scene.world.switches(NAMESPACE, NAME).missing_routes = frozenset({"/v0/metrics"})
        assert scene.apply(ways=ways(CONFIRM)).outcome is Outcome.ROLLED_BACK
        assert "it went back" in scene.record.notes
        assert scene.record.ways == ways(NOTIFY)

    def test_a_way_back_under_way_goes_on_by_the_old_pages_and_a_new_one_by_the_new(self) -> None:
        scene = merged()
        scene.interrupt(reaching(StageName.POLICY), ways=ways(NOTIFY))
        with pytest.raises(Interrupted):
            scene.back(ways=ways(PAUSE), until=lambda record, _: record.direction is Direction.BACK)
        assert scene.record.ways == ways(PAUSE), "whoever sets out on the way back takes the pages of today"
        assert scene.back(ways=ways(CONFIRM, NOTIFY)).outcome is Outcome.PAUSED
        assert scene.back(ways=ways(CONFIRM, NOTIFY)).outcome is Outcome.ROLLED_BACK
        assert scene.record.ways == ways(PAUSE)
        assert "it went back" not in scene.record.notes

    def test_a_journal_from_before_there_were_runbooks_gets_todays(self) -> None:
        scene = merged()
        scene.interrupt(reaching(StageName.ENFORCE))
        bare = replace(scene.record, ways=None)
        config_map = scene.world.cluster.objects[Kind.CONFIG_MAP][NAMESPACE, f"seimigrate-{NAME}"]
        scene.world.cluster.put(Kind.CONFIG_MAP, config_map | {"data": {"record": bare.to_json()}})
        assert scene.back().outcome is Outcome.ROLLED_BACK
        assert scene.record.ways == WAYS
        scene.assert_as_before()


def chosen(page: str = "chosen", *steps: Step) -> Ways:
    [way] = [way for way in WAYS.ways if way.stage is StageName.RELEASE]
    return Ways("test", (Way(page, steps or way.steps),))


class TestChosen:
    def test_a_page_that_was_chosen_by_its_name_brings_a_node_back_from_any_stage(self) -> None:
        for stage in (StageName.EXPOSE, StageName.ENFORCE, StageName.RELEASE):
            scene = merged()
            scene.interrupt(reaching(stage))
            assert scene.back(ways=chosen()).outcome is Outcome.ROLLED_BACK
            scene.assert_as_before()

    def test_a_page_that_leaves_fields_as_they_are_does_not_let_the_node_go(self) -> None:
        scene = merged()
        scene.interrupt(reaching(StageName.POLICY))
        only = Step(StepName.RELEASE, otherwise=Otherwise.STAY_HELD)
        assert scene.back(ways=chosen("hold", only)).outcome is Outcome.FAILED
        assert "is still as the cutover left it: unpatch comes before release" in scene.record.reason
        assert scene.held
        assert scene.back(ways=chosen()).outcome is Outcome.ROLLED_BACK
        scene.assert_as_before()

    def test_steps_that_are_left_out_are_not_taken(self) -> None:
        scene = merged(plan=make_plan(release=Release(agreement=0)))
        scene.apply()
        scene.back(StageName.HOLD)
        run = scene.process(ways=chosen(), passed=(0, 1, 2, 3, 4, 5))
        run.start("runbook run")
        [result] = run.back([(NAMESPACE, NAME)], None)
        assert result.outcome is Outcome.ROLLED_BACK_HELD


FULL = (IDLE, replace(CONFIRM, unattended=True), NOTIFY, READY)


def test_killed_after_each_write_a_way_with_every_kind_of_step_comes_to_the_same_end() -> None:
    scene = merged()
    bound = ways(*FULL)
    scene.interrupt(reaching(StageName.POLICY), ways=bound)
    forks = scene.forks(lambda: scene.back(ways=bound))
    assert len(forks) > 24
    passed: set[tuple[int, ...]] = set()
    for fork in forks:
        passed.add(fork.record.passed)
        again = fork.apply if fork.record.open and fork.record.direction is Direction.BACK else fork.back
        again(ways=bound)
        fork.assert_as_before()
        assert fork.replaced() == 2
        assert fork.record.notes.count("it went back") == 1
    assert passed >= {(), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)}


def test_a_record_without_any_way_back_stops_instead_of_claiming_one() -> None:
    scene = merged()
    scene.interrupt(reaching(StageName.POLICY))
    empty = Ways("none", ())
    assert scene.back(ways=empty).outcome is Outcome.PAUSED
    assert "binds no way back" in scene.record.reason
    assert scene.shape is Shape.ENFORCED
