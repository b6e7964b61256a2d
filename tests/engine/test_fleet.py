"""Whole fleets in memory: order, waves, failures, the brake, and processes that die in the middle of a wave."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from seimigrate.domain.fleet.actions import FleetAction, FleetWait, SaveCampaign, StartNodes
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.control import ControlCommand
from seimigrate.domain.fleet.observation import FleetObservation
from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import Failure, RollbackScope
from seimigrate.simulation.cluster import Request
from tests.engine.fleet import SEI, Ships, fleet_plan
from tests.engine.watchdog import Interrupted

SIX = [
    ("full-0", "fullNode", "a"),
    ("full-1", "fullNode", "a"),
    ("full-2", "fullNode", "a"),
    ("archive-0", "archive", "a"),
    ("validator-0", "validator", "a"),
    ("validator-1", "validator", "a"),
]
FULL = [(f"full-{number}", "fullNode", "a") for number in range(4)]


def test_canaries_go_first_in_two_steps_and_soak_and_the_rest_follows_in_one() -> None:
    ships = Ships(SIX, fleet_plan(at_once="2", soak=60))
    when: dict[str, float] = {}

    def note(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        if isinstance(step, StartNodes):
            when.update(dict.fromkeys(step.keys, fleet.now))

    ships.on_step = note
    assert set(ships.outcomes().values()) == {Outcome.DONE_HELD}
    assert [wave.nodes for wave in ships.campaign().waves] == [
        ("sei/full-0",),
        ("sei/archive-0", "sei/validator-0"),
        ("sei/full-1", "sei/full-2", "sei/validator-1"),
    ]
    restarts = {name: len(ships.record(name).replaced_pods) for name, _, _ in SIX}
    assert restarts == {name: 2 if name in ("full-0", "archive-0", "validator-0") else 1 for name in restarts}
    assert when["sei/archive-0"] - when["sei/full-0"] > 60
    assert when["sei/full-1"] - when["sei/archive-0"] > 60
    assert ships.most_down == 2
    assert {ships.shape(name) for name, _, _ in SIX} == {Shape.ENFORCED}


def test_the_next_validator_of_a_chain_waits_until_the_last_one_signs_again() -> None:
    ships = Ships([("v-0", "validator", "a"), ("v-1", "validator", "a")], fleet_plan(at_once="2", soak=0))
    heights: list[str] = []

    def turn_off(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        ships.world.faults(SEI, "v-0").signs = "v-1" in ships.started or not ships.started
        heights.extend(reason for reason in getattr(step, "reasons", ()) if "signing again" in reason)
        if isinstance(step, SaveCampaign) and "signing again" in step.campaign.paused:
            raise Interrupted

    ships.on_step = turn_off
    with pytest.raises(Interrupted):
        ships.apply()
    assert ships.started == ["v-0"]
    assert heights
    assert list(ships.campaign().awaiting_signature) == ["sei/v-0"]
    ships.on_step = None
    ships.world.faults(SEI, "v-0").signs = True
    assert set(ships.outcomes().values()) == {Outcome.DONE_HELD}
    assert ships.started == ["v-0", "v-1"]
    assert list(ships.campaign().awaiting_signature) == ["sei/v-1"]  # for whoever starts the next one


def test_a_node_that_is_unavailable_for_another_reason_counts() -> None:
    ships = Ships(FULL, fleet_plan(soak=0))
    ships.world.faults(SEI, "full-3").stays_unready = True
    pod = ships.world.pod(SEI, "full-3")
    assert pod is not None
    ships.world.cluster.client("person").delete(Kind.POD, SEI, "full-3-0", uid=pod["metadata"]["uid"], grace_seconds=1)
    ships.world.run(60)
    reasons: list[str] = []

    def note(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        reasons.extend(step.reasons if isinstance(step, FleetWait) else ())
        if any("1 of at most 1 unavailable (sei/full-3)" in reason for reason in reasons):
            raise Interrupted

    ships.on_step = note
    with pytest.raises(Interrupted):
        ships.apply()
    assert ships.started == ["full-3"] or ships.started == []


@pytest.mark.parametrize("undo", list(RollbackScope))
def test_after_a_failure_nothing_starts_and_what_moved_goes_back_as_the_plan_says(undo: RollbackScope) -> None:
    ships = Ships(FULL, fleet_plan(soak=0, failure=Failure(rollback_scope=undo)))

    def fail(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        ships.world.faults(SEI, "full-2").stays_unready = ships.shape("full-2") is not Shape.SHARED

    ships.on_step = fail
    outcomes = ships.outcomes()
    assert ships.started == ["full-0", "full-1", "full-2"]
    back, there = Outcome.ROLLED_BACK, Outcome.DONE_HELD
    assert outcomes == {
        "full-0": back if undo is RollbackScope.ALL else there,
        "full-1": there if undo is RollbackScope.NONE else back,
        "full-2": back,
    }
    assert ships.campaign().failed == ("sei/full-2",)
    assert "at most 0 may" in ships.campaign().stopped


def test_within_the_budget_the_run_goes_on_after_a_failure() -> None:
    ships = Ships(FULL, fleet_plan(soak=0, failure=Failure(max_failed_nodes=1)))

    def fail(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        ships.world.faults(SEI, "full-1").stays_unready = ships.shape("full-1") is not Shape.SHARED

    ships.on_step = fail
    assert list(ships.outcomes().values()) == [
        Outcome.DONE_HELD, Outcome.ROLLED_BACK, Outcome.DONE_HELD, Outcome.DONE_HELD,
    ]  # fmt: skip


def test_a_canary_that_does_not_stay_well_goes_back_and_nothing_follows() -> None:
    ships = Ships(FULL, fleet_plan(soak=300))

    def restart(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        pod = ships.world.pod(SEI, "full-0")
        if (
            campaign.wave_finished_at is not None
            and fleet.now > campaign.wave_finished_at + 100
            and pod is not None
            and not campaign.stopped
        ):
            uid = pod["metadata"]["uid"]
            ships.world.cluster.client("person").delete(Kind.POD, SEI, "full-0-0", uid=uid, grace_seconds=1)

    ships.on_step = restart
    result = ships.apply()
    assert ships.started == ["full-0"]
    assert result["full-0"].outcome is Outcome.ROLLED_BACK
    assert "canary sei/full-0" in (result["full-0"].record.failure or "")  # type: ignore[union-attr]
    assert ships.shape("full-0") is Shape.SHARED


@pytest.mark.parametrize("every", [29, 61])
def test_killed_again_and_again_in_the_middle_of_waves_it_comes_to_the_same_end(every: int) -> None:
    ships = Ships(SIX, fleet_plan(at_once="3", soak=20))
    killed = 0
    while True:
        ships.die_after(every)
        try:
            outcomes = ships.outcomes()
            break
        except Interrupted:
            killed += 1
            assert killed < 40
    assert killed > 4
    assert set(outcomes.values()) == {Outcome.DONE_HELD}
    assert sorted(outcomes) == sorted(name for name, _, _ in SIX)
    assert ships.most_down <= 3
    restarts = {name: len(ships.record(name).replaced_pods) for name, _, _ in SIX}
    assert restarts == {name: 2 if name in ("full-0", "archive-0", "validator-0") else 1 for name in restarts}


def test_paused_nothing_starts_until_it_is_resumed() -> None:
    ships = Ships(FULL, fleet_plan(soak=0))
    paused_at: list[float] = []

    def person(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        if len(ships.started) == 2 and not paused_at:
            paused_at.append(fleet.now)
            ships.wish(ControlCommand.PAUSE)
        elif campaign.paused and not fleet.in_progress and fleet.now > paused_at[0] + 500:
            assert len(ships.started) == 2
            ships.wish(ControlCommand.RESUME)

    ships.on_step = person
    assert set(ships.outcomes().values()) == {Outcome.DONE_HELD}
    assert paused_at
    assert len(ships.started) == 4


def test_aborted_with_rollback_every_node_is_as_it_was() -> None:
    ships = Ships(FULL, fleet_plan(soak=0, at_once="2"))
    before = {name: ships.world.statefulset(SEI, name)["spec"] for name, _, _ in FULL}

    def person(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        if len(ships.started) == 3 and not campaign.stopped and ships.shape(ships.started[2]) is not Shape.SHARED:
            ships.wish(ControlCommand.ABORT, rollback=True)

    ships.on_step = person
    assert set(ships.outcomes().values()) == {Outcome.ROLLED_BACK}
    assert {name: ships.world.statefulset(SEI, name)["spec"] for name, _, _ in FULL} == before
    assert not any(ships.held(name) for name, _, _ in FULL)


def test_aborted_with_rollback_and_killed_again_and_again_no_node_is_forgotten() -> None:
    ships = Ships(FULL, fleet_plan(soak=0, at_once="2"))

    def person(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        if len(campaign.finished) == 3 and not campaign.stopped:
            ships.wish(ControlCommand.ABORT, rollback=True)

    ships.on_step = person
    killed = 0
    while True:
        ships.die_after(23)
        try:
            outcomes = ships.outcomes()
            break
        except Interrupted:
            killed += 1
            assert killed < 60
    assert killed > 4
    assert set(outcomes.values()) <= {Outcome.ROLLED_BACK, None}
    assert {ships.shape(name) for name, _, _ in FULL} == {Shape.SHARED}
    assert not any(ships.held(name) for name, _, _ in FULL)
    assert ships.most_down <= 2


@pytest.mark.parametrize("at_once", ["1", "3"])
def test_a_rollback_of_many_keeps_the_budgets_and_of_a_chain_one_validator_goes_at_a_time(at_once: str) -> None:
    ships = Ships(SIX, fleet_plan(at_once="3", soak=0))
    ships.apply()
    ships.plan = fleet_plan(at_once=at_once)
    ships.most_down = 0
    together: list[set[str]] = []
    count = ships.world.cluster.after_request
    assert count is not None

    def watch(request: Request) -> None:
        count(request)
        together.append(ships.down() & {"validator-0", "validator-1"})

    ships.world.cluster.after_request = watch
    assert ships.rollback() == {name: Outcome.ROLLED_BACK for name, _, _ in SIX}
    assert ships.most_down == int(at_once)
    assert max(map(len, together)) == 1
    assert {ships.shape(name) for name, _, _ in SIX} == {Shape.SHARED}


def test_what_others_have_down_does_not_keep_a_node_from_going_back() -> None:
    ships = Ships(FULL, fleet_plan(soak=0))
    ships.apply()
    ships.world.faults(SEI, "full-3").stays_unready = True
    uid = ships.world.pod(SEI, "full-3")["metadata"]["uid"]  # type: ignore[index]
    ships.world.cluster.client("person").delete(Kind.POD, SEI, "full-3-0", uid=uid, grace_seconds=1)
    ships.world.run(60)
    assert "full-3" in ships.down()
    run = ships.process()
    run.start()
    [result] = run.rollback([(SEI, "full-0")])
    assert result.outcome is Outcome.ROLLED_BACK


def test_a_node_that_is_skipped_stays_as_it_is_and_one_that_is_retried_moves() -> None:
    ships = Ships(FULL, fleet_plan(soak=0, failure=Failure(on_exceeded="pause")))
    broken = True

    def person(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        nonlocal broken
        ships.world.faults(SEI, "full-1").stays_unready = broken and ships.shape("full-1") is not Shape.SHARED
        if campaign.paused and broken:
            broken = False
            ships.world.faults(SEI, "full-1").stays_unready = False
            for command, node in (
                (ControlCommand.SKIP, "full-3"),
                (ControlCommand.RETRY, "full-1"),
                (ControlCommand.RESUME, ""),
            ):
                ships.wish(command, node)

    ships.on_step = person
    outcomes = ships.outcomes()
    assert outcomes == dict.fromkeys(["full-0", "full-1", "full-2"], Outcome.DONE_HELD)
    assert ships.campaign().finished["sei/full-3"] == "skipped"
    assert ships.shape("full-3") is Shape.SHARED


def test_all_children_of_a_network_are_held_before_the_first_one_moves() -> None:
    ships = Ships(FULL, fleet_plan(soak=0))
    own(ships, FULL[:3])

    def watch(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        if isinstance(step, StartNodes):
            assert all(ships.held(name) for name, _, _ in FULL[:3])
            assert ships.held("full-3") == ("full-3" in ships.started[:-1])

    ships.on_step = watch
    assert set(ships.outcomes().values()) == {Outcome.DONE_HELD}


def test_children_of_a_network_that_were_handed_back_are_not_held_again() -> None:
    ships = Ships(FULL, fleet_plan(soak=0))
    own(ships, FULL)
    ships.outcomes()
    ships.world.replace_controller("new")
    assert set(ships.outcomes().values()) == {Outcome.DONE}
    run = ships.process()
    run.start()
    assert all(result.unchanged for result in run.apply(ships.keys))
    assert not any(ships.held(name) for name, _, _ in FULL)
    assert {ships.record(name).outcome for name, _, _ in FULL} == {Outcome.DONE}


def own(ships: Ships, nodes: Sequence[tuple[str, str, str]]) -> None:
    """Let a SeiNetwork own nodes."""
    owner = {"apiVersion": "sei.io/v1alpha1", "kind": "SeiNetwork", "name": "net", "uid": "n", "controller": True}
    for name, _, _ in nodes:
        node = ships.world.seinode(SEI, name)
        ships.world.cluster.put(Kind.SEI_NODE, node | {"metadata": node["metadata"] | {"ownerReferences": [owner]}})


def test_left_by_a_person_the_next_run_goes_on_with_every_node() -> None:
    ships = Ships(FULL, fleet_plan(soak=0, at_once="2"))
    run = ships.process()
    run.start()

    def leave(campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        if len(fleet.in_progress) == 2:
            run.request_stop()

    ships.on_step = leave
    assert len(run.apply(ships.keys)) < 4
    assert len(ships.campaign().waiting(())) == 3
    ships.on_step = None
    assert set(ships.outcomes().values()) == {Outcome.DONE_HELD}
    assert ships.most_down <= 2
