"""Whole fleets in memory: order, waves, failures, control requests, and processes that die during a wave."""

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
from tests.engine.fleet import SEI, FleetHarness, fleet_plan
from tests.engine.invariant_monitor import Interrupted

SIX = [
    ("full-0", "fullNode", "a"),
    ("full-1", "fullNode", "a"),
    ("full-2", "fullNode", "a"),
    ("archive-0", "archive", "a"),
    ("validator-0", "validator", "a"),
    ("validator-1", "validator", "a"),
]
FULL = [(f"full-{number}", "fullNode", "a") for number in range(4)]


def test_canaries_soak_with_two_restarts_and_waves_follow_with_one() -> None:
    harness = FleetHarness(SIX, fleet_plan(max_unavailable="2", soak=60))
    when: dict[str, float] = {}

    def note(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if isinstance(action, StartNodes):
            when.update(dict.fromkeys(action.keys, fleet.now))

    harness.on_action = note
    assert set(harness.outcomes().values()) == {Outcome.DONE_HELD}
    assert [wave.nodes for wave in harness.campaign().waves] == [
        ("sei/full-0",),
        ("sei/archive-0", "sei/validator-0"),
        ("sei/full-1", "sei/full-2", "sei/validator-1"),
    ]
    restarts = {name: len(harness.record(name).replaced_pods) for name, _, _ in SIX}
    assert restarts == {name: 2 if name in ("full-0", "archive-0", "validator-0") else 1 for name in restarts}
    assert when["sei/archive-0"] - when["sei/full-0"] > 60
    assert when["sei/full-1"] - when["sei/archive-0"] > 60
    assert harness.max_down == 2
    assert {harness.shape(name) for name, _, _ in SIX} == {Shape.ENFORCED}


def test_next_validator_of_a_chain_waits_until_the_last_one_signs() -> None:
    harness = FleetHarness(
        [("v-0", "validator", "a"), ("v-1", "validator", "a")], fleet_plan(max_unavailable="2", soak=0)
    )
    reasons: list[str] = []

    def stop_signing(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        harness.world.faults(SEI, "v-0").signs = "v-1" in harness.started or not harness.started
        reasons.extend(reason for reason in getattr(action, "reasons", ()) if "resumed signing" in reason)
        if isinstance(action, SaveCampaign) and "resumed signing" in action.campaign.paused:
            raise Interrupted

    harness.on_action = stop_signing
    with pytest.raises(Interrupted):
        harness.apply()
    assert harness.started == ["v-0"]
    assert reasons
    assert list(harness.campaign().awaiting_signature) == ["sei/v-0"]
    harness.on_action = None
    harness.world.faults(SEI, "v-0").signs = True
    assert set(harness.outcomes().values()) == {Outcome.DONE_HELD}
    assert harness.started == ["v-0", "v-1"]
    assert list(harness.campaign().awaiting_signature) == ["sei/v-1"]  # for the run that starts the next one


def test_node_unavailable_for_another_reason_uses_the_budget() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0))
    harness.world.faults(SEI, "full-3").stays_unready = True
    pod = harness.world.pod(SEI, "full-3")
    assert pod is not None
    harness.world.cluster.client("other-client").delete(
        Kind.POD, SEI, "full-3-0", uid=pod["metadata"]["uid"], grace_seconds=1
    )
    harness.world.run(60)
    reasons: list[str] = []

    def note(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        reasons.extend(action.reasons if isinstance(action, FleetWait) else ())
        if any("1/1 unavailable (sei/full-3)" in reason for reason in reasons):
            raise Interrupted

    harness.on_action = note
    with pytest.raises(Interrupted):
        harness.apply()
    assert harness.started == ["full-3"] or harness.started == []


@pytest.mark.parametrize("scope", list(RollbackScope))
def test_failure_stops_the_run_and_rolls_back_by_rollback_scope(scope: RollbackScope) -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0, failure=Failure(rollback_scope=scope)))

    def fail(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        harness.world.faults(SEI, "full-2").stays_unready = harness.shape("full-2") is not Shape.SHARED

    harness.on_action = fail
    outcomes = harness.outcomes()
    assert harness.started == ["full-0", "full-1", "full-2"]
    rolled_back, done = Outcome.ROLLED_BACK, Outcome.DONE_HELD
    assert outcomes == {
        "full-0": rolled_back if scope is RollbackScope.ALL else done,
        "full-1": done if scope is RollbackScope.NONE else rolled_back,
        "full-2": rolled_back,
    }
    assert harness.campaign().failed == ("sei/full-2",)
    assert "exceeds maxFailedNodes (0)" in harness.campaign().stopped


def test_failure_within_max_failed_nodes_lets_the_run_continue() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0, failure=Failure(max_failed_nodes=1)))

    def fail(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        harness.world.faults(SEI, "full-1").stays_unready = harness.shape("full-1") is not Shape.SHARED

    harness.on_action = fail
    assert list(harness.outcomes().values()) == [
        Outcome.DONE_HELD, Outcome.ROLLED_BACK, Outcome.DONE_HELD, Outcome.DONE_HELD,
    ]  # fmt: skip


def test_unhealthy_canary_is_rolled_back_and_no_node_follows() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=300))

    def restart(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        pod = harness.world.pod(SEI, "full-0")
        if (
            campaign.wave_finished_at is not None
            and fleet.now > campaign.wave_finished_at + 100
            and pod is not None
            and not campaign.stopped
        ):
            uid = pod["metadata"]["uid"]
            harness.world.cluster.client("other-client").delete(Kind.POD, SEI, "full-0-0", uid=uid, grace_seconds=1)

    harness.on_action = restart
    result = harness.apply()
    assert harness.started == ["full-0"]
    assert result["full-0"].outcome is Outcome.ROLLED_BACK
    assert "canary sei/full-0" in (result["full-0"].record.failure or "")  # type: ignore[union-attr]
    assert harness.shape("full-0") is Shape.SHARED


@pytest.mark.parametrize("every", [29, 61])
def test_run_killed_repeatedly_during_waves_finishes(every: int) -> None:
    harness = FleetHarness(SIX, fleet_plan(max_unavailable="3", soak=20))
    deaths = 0
    while True:
        harness.crash_after(every)
        try:
            outcomes = harness.outcomes()
            break
        except Interrupted:
            deaths += 1
            assert deaths < 40
    assert deaths > 4
    assert set(outcomes.values()) == {Outcome.DONE_HELD}
    assert sorted(outcomes) == sorted(name for name, _, _ in SIX)
    assert harness.max_down <= 3
    restarts = {name: len(harness.record(name).replaced_pods) for name, _, _ in SIX}
    assert restarts == {name: 2 if name in ("full-0", "archive-0", "validator-0") else 1 for name in restarts}


def test_paused_run_starts_no_node_until_resumed() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0))
    paused_at: list[float] = []

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(harness.started) == 2 and not paused_at:
            paused_at.append(fleet.now)
            harness.send(ControlCommand.PAUSE)
        elif campaign.paused and not fleet.in_progress and fleet.now > paused_at[0] + 500:
            assert len(harness.started) == 2
            harness.send(ControlCommand.RESUME)

    harness.on_action = operator
    assert set(harness.outcomes().values()) == {Outcome.DONE_HELD}
    assert paused_at
    assert len(harness.started) == 4


def test_abort_with_rollback_restores_every_node() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0, max_unavailable="2"))
    before = {name: harness.world.statefulset(SEI, name)["spec"] for name, _, _ in FULL}

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(harness.started) == 3 and not campaign.stopped and harness.shape(harness.started[2]) is not Shape.SHARED:
            harness.send(ControlCommand.ABORT, rollback=True)

    harness.on_action = operator
    assert set(harness.outcomes().values()) == {Outcome.ROLLED_BACK}
    assert {name: harness.world.statefulset(SEI, name)["spec"] for name, _, _ in FULL} == before
    assert not any(harness.held(name) for name, _, _ in FULL)


def test_abort_with_rollback_killed_repeatedly_restores_every_node() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0, max_unavailable="2"))

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(campaign.finished) == 3 and not campaign.stopped:
            harness.send(ControlCommand.ABORT, rollback=True)

    harness.on_action = operator
    deaths = 0
    while True:
        harness.crash_after(23)
        try:
            outcomes = harness.outcomes()
            break
        except Interrupted:
            deaths += 1
            assert deaths < 60
    assert deaths > 4
    assert set(outcomes.values()) <= {Outcome.ROLLED_BACK, None}
    assert {harness.shape(name) for name, _, _ in FULL} == {Shape.SHARED}
    assert not any(harness.held(name) for name, _, _ in FULL)
    assert harness.max_down <= 2


@pytest.mark.parametrize("max_unavailable", ["1", "3"])
def test_rollback_respects_budgets_and_one_validator_per_chain(max_unavailable: str) -> None:
    harness = FleetHarness(SIX, fleet_plan(max_unavailable="3", soak=0))
    harness.apply()
    harness.plan = fleet_plan(max_unavailable=max_unavailable)
    harness.max_down = 0
    down: list[set[str]] = []
    count = harness.world.cluster.after_request
    assert count is not None

    def watch(request: Request) -> None:
        count(request)
        down.append(harness.down() & {"validator-0", "validator-1"})

    harness.world.cluster.after_request = watch
    assert harness.rollback() == {name: Outcome.ROLLED_BACK for name, _, _ in SIX}
    assert harness.max_down == int(max_unavailable)
    assert max(map(len, down)) == 1
    assert {harness.shape(name) for name, _, _ in SIX} == {Shape.SHARED}


def test_unavailable_other_node_does_not_block_a_rollback() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0))
    harness.apply()
    harness.world.faults(SEI, "full-3").stays_unready = True
    uid = harness.world.pod(SEI, "full-3")["metadata"]["uid"]  # type: ignore[index]
    harness.world.cluster.client("other-client").delete(Kind.POD, SEI, "full-3-0", uid=uid, grace_seconds=1)
    harness.world.run(60)
    assert "full-3" in harness.down()
    run = harness.new_run()
    run.start()
    [result] = run.rollback([(SEI, "full-0")])
    assert result.outcome is Outcome.ROLLED_BACK


def test_skipped_node_stays_unchanged_and_retried_node_is_cut_over() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0, failure=Failure(on_exceeded="pause")))
    broken = True

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        nonlocal broken
        harness.world.faults(SEI, "full-1").stays_unready = broken and harness.shape("full-1") is not Shape.SHARED
        if campaign.paused and broken:
            broken = False
            harness.world.faults(SEI, "full-1").stays_unready = False
            for command, node in (
                (ControlCommand.SKIP, "full-3"),
                (ControlCommand.RETRY, "full-1"),
                (ControlCommand.RESUME, ""),
            ):
                harness.send(command, node)

    harness.on_action = operator
    outcomes = harness.outcomes()
    assert outcomes == dict.fromkeys(["full-0", "full-1", "full-2"], Outcome.DONE_HELD)
    assert harness.campaign().finished["sei/full-3"] == "skipped"
    assert harness.shape("full-3") is Shape.SHARED


def test_nodes_of_a_network_are_all_held_before_the_first_one_starts() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0))
    set_owner(harness, FULL[:3])

    def watch(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if isinstance(action, StartNodes):
            assert all(harness.held(name) for name, _, _ in FULL[:3])
            assert harness.held("full-3") == ("full-3" in harness.started[:-1])

    harness.on_action = watch
    assert set(harness.outcomes().values()) == {Outcome.DONE_HELD}


def test_released_nodes_of_a_network_are_not_held_again() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0))
    set_owner(harness, FULL)
    harness.outcomes()
    harness.world.replace_controller("new")
    assert set(harness.outcomes().values()) == {Outcome.DONE}
    run = harness.new_run()
    run.start()
    assert all(result.unchanged for result in run.apply(harness.keys))
    assert not any(harness.held(name) for name, _, _ in FULL)
    assert {harness.record(name).outcome for name, _, _ in FULL} == {Outcome.DONE}


def set_owner(harness: FleetHarness, nodes: Sequence[tuple[str, str, str]]) -> None:
    """Make a SeiNetwork the owner of nodes."""
    owner = {"apiVersion": "sei.io/v1alpha1", "kind": "SeiNetwork", "name": "net", "uid": "n", "controller": True}
    for name, _, _ in nodes:
        node = harness.world.seinode(SEI, name)
        harness.world.cluster.put(Kind.SEI_NODE, node | {"metadata": node["metadata"] | {"ownerReferences": [owner]}})


def test_stopped_run_is_resumed_with_every_node() -> None:
    harness = FleetHarness(FULL, fleet_plan(soak=0, max_unavailable="2"))
    run = harness.new_run()
    run.start()

    def stop(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(fleet.in_progress) == 2:
            run.request_stop()

    harness.on_action = stop
    assert len(run.apply(harness.keys)) < 4
    assert len(harness.campaign().waiting(())) == 3
    harness.on_action = None
    assert set(harness.outcomes().values()) == {Outcome.DONE_HELD}
    assert harness.max_down <= 2
