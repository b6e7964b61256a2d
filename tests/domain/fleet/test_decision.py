"""What is done next with a fleet, case by case: each branch of the decision at both sides of its conditions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seimigrate.domain.fleet import actions, signing
from seimigrate.domain.fleet.campaign import Campaign, SigningBaseline
from seimigrate.domain.fleet.observation import FleetNode, FleetObservation
from seimigrate.domain.fleet.reconcile import next_action, wait_reason
from seimigrate.domain.fleet.signing import SigningStatus
from seimigrate.domain.fleet.soak import HealthSample, SoakHistory
from seimigrate.domain.fleet.wave_planning import Wave, WaveKind
from seimigrate.domain.node.record import Direction
from seimigrate.domain.node.rollout import RECHECK_INTERVAL
from seimigrate.domain.plan.fleet import Canary, Fleet, MaxUnavailable
from seimigrate.domain.plan.gates import Gate, GateResult, GateTiming, HttpGate, ManualGate, Verdict
from seimigrate.domain.plan.plan import Failure, Mode, Plan, RollbackScope
from tests.engine.harness import make_plan

NOW = 10_000.0
PLAN = make_plan()
HTTP = HttpGate.model_validate({"gate": "http", "name": "smoke", "target": {"url": "http://127.0.0.1"}})
PERSON = ManualGate.model_validate({"gate": "manual", "name": "eyes", "message": "the dashboard"})
A, B, C, D, E = (f"x/n{index}" for index in range(5))
ALL = (A, B, C, D, E)


def plan(fleet: Fleet | None = None, failure: Failure | None = None, gates: tuple[Gate, ...] = ()) -> Plan:
    soaked = Fleet(canary=Canary(soak=0), max_unavailable=MaxUnavailable(fleet="2"))
    return PLAN.model_copy(update={"fleet": fleet or soaked, "failure": failure or Failure(), "gates": gates})


def nodes(mode: Mode = Mode.FULL_NODE, *, down: tuple[str, ...] = (), **parts: Any) -> dict[str, FleetNode]:
    return {key: FleetNode(key, mode, "pacific-1", key not in down, **parts) for key in ALL}


def picture(known: dict[str, FleetNode] | None = None, **parts: Any) -> FleetObservation:
    return FleetObservation(NOW, known or nodes(), **({"idle_since": NOW} | parts))


def campaign(*ended: str, wave: int = 0, **parts: Any) -> Campaign:
    """One canary, then two waves; those that ended are done."""
    waves = (Wave(WaveKind.CANARY, (A,)), Wave(WaveKind.WAVE, (B, C)), Wave(WaveKind.WAVE, (D, E)))
    return Campaign(waves, wave, finished=dict.fromkeys(ended, "done"), **parts)


def kept(step: actions.FleetAction) -> Campaign:
    assert isinstance(step, actions.SaveCampaign), step
    return step.campaign


def reasons(step: actions.FleetAction) -> str:
    assert isinstance(step, actions.FleetWait), step
    return "; ".join(step.reasons)


# Starting.


def test_the_present_waves_nodes_start_as_many_as_may_be_down() -> None:
    assert next_action(campaign(), plan(), picture()) == actions.StartNodes((A,))
    assert next_action(campaign(A, wave=1), plan(), picture()) == actions.StartNodes((B, C))
    one = plan(Fleet(max_unavailable=MaxUnavailable(fleet="1")))
    assert next_action(campaign(A, wave=1), one, picture()) == actions.StartNodes((B,))


def test_a_node_that_is_down_for_another_reason_counts_and_may_itself_start() -> None:
    assert next_action(campaign(A, wave=1), plan(), picture(nodes(down=(E,)))) == actions.StartNodes((B,))
    assert next_action(campaign(A, wave=1), plan(), picture(nodes(down=(B, E)))) == actions.StartNodes((B,))


def test_a_full_budget_is_named_with_three_of_those_that_are_down_and_the_number_of_others() -> None:
    three = next_action(campaign(A, wave=1), plan(), picture(nodes(down=(A, D, E))))
    assert reasons(three) == f"the fleet: 3 of at most 2 unavailable ({A}, {D}, {E})"
    beside = {**nodes(down=(A, D, E)), "x/other": FleetNode("x/other", Mode.FULL_NODE, "pacific-1", available=False)}
    chain = plan(Fleet(max_unavailable=MaxUnavailable(fleet="4", chain="2")))
    four = next_action(campaign(A, wave=1), chain, picture(beside))
    assert reasons(four) == f"chain pacific-1: 4 of at most 2 unavailable ({A}, {D}, {E} and 1 more)"
    namespace = plan(Fleet(max_unavailable=MaxUnavailable(fleet="4", namespace="1")))
    assert reasons(next_action(campaign(A, wave=1), namespace, picture(nodes(down=(E,))))).startswith(
        "namespace x: 1 of"
    )


def test_nodes_on_their_way_count_against_the_budget() -> None:
    moving = {B: Direction.FORWARD}
    assert next_action(campaign(A, wave=1), plan(), picture(in_progress=moving)) == actions.StartNodes((C,))


def test_a_node_that_was_deleted_starts_and_is_told_so() -> None:
    known = {key: node for key, node in nodes().items() if key != A}
    assert next_action(campaign(), plan(), picture(known)) == actions.StartNodes((A,))
    known = {key: node for key, node in nodes().items() if key != B}
    assert next_action(campaign(A, wave=1), plan(), picture(known)) == actions.StartNodes((B, C))


def test_nothing_that_starts_for_a_while_pauses_the_run() -> None:
    down, patience = nodes(down=(A, D, E)), PLAN.deadlines.eviction
    waits = next_action(campaign(A, wave=1), plan(), picture(down, idle_since=NOW - patience + 1))
    assert isinstance(waits, actions.FleetWait)
    paused = kept(next_action(campaign(A, wave=1), plan(), picture(down, idle_since=NOW - patience))).paused
    assert f"{patience:.0f} s" in paused
    assert "3 of at most 2" in paused
    moving = {B: Direction.FORWARD}
    busy = next_action(campaign(A, wave=1), plan(), picture(down, idle_since=NOW - patience, in_progress=moving))
    assert isinstance(busy, actions.FleetWait), "what is on its way may yet free the budget"


def test_children_of_a_network_wait_until_the_others_are_held_or_done() -> None:
    family = nodes(held=True, network="x/net")
    assert next_action(campaign(A, wave=1), plan(), picture(family)) == actions.StartNodes((B, C))
    free = {**family, A: replace(family[A], held=False)}
    assert next_action(campaign(A, wave=1), plan(), picture(free)) == actions.StartNodes((B, C)), "it is done"
    free = {**family, D: replace(family[D], held=False)}
    assert reasons(next_action(campaign(A, wave=1), plan(), picture(free))).endswith(
        f"not all of its nodes are held ({D})"
    )


# Validators.

SIGNS = SigningStatus(NOW, address="ADDR", height=50, signs=True, signers=2, validators=3)


def validators(**parts: Any) -> tuple[Campaign, FleetObservation]:
    known = nodes(Mode.VALIDATOR)
    return Campaign((Wave(WaveKind.WAVE, ALL),)), picture(known, **parts)


def test_a_validator_is_asked_who_signs_before_it_starts() -> None:
    mine, fleet = validators()
    assert next_action(mine, plan(), fleet) == actions.CheckSigning((A,))
    mine, fleet = validators(pending_checks=frozenset({A}))
    assert reasons(next_action(mine, plan(), fleet)) == f"chain pacific-1: {A} is asked who signs"


@pytest.mark.parametrize(("age", "starts"), [(signing.SIGNING_TTL - 0.1, True), (signing.SIGNING_TTL, False)])
def test_what_it_said_counts_for_some_seconds(age: float, starts: bool) -> None:
    mine, fleet = validators(signing={A: replace(SIGNS, time=NOW - age)})
    assert next_action(mine, plan(), fleet) == (actions.StartNodes((A,)) if starts else actions.CheckSigning((A,)))


@pytest.mark.parametrize(("signers", "validators_", "starts"), [(2, 3, True), (3, 5, False), (0, 0, False)])
def test_less_than_two_thirds_of_the_validators_let_none_start(signers: int, validators_: int, starts: bool) -> None:
    mine, fleet = validators(signing={A: replace(SIGNS, signers=signers, validators=validators_)})
    step = next_action(mine, plan(), fleet)
    if starts:
        assert step == actions.StartNodes((A,))
    else:
        assert f"{signers} of {validators_}" in reasons(step)


def test_a_validator_that_tells_nothing_does_not_start() -> None:
    mine, fleet = validators(signing={A: replace(SIGNS, problem="its answer is not JSON")})
    assert reasons(next_action(mine, plan(), fleet)).endswith("its answer is not JSON")


def test_beside_a_validator_that_is_down_no_other_one_of_its_chain_starts() -> None:
    mine, fleet = validators(signing={A: SIGNS})
    fleet = replace(fleet, nodes={**fleet.nodes, E: replace(fleet.nodes[E], available=False)})
    assert reasons(next_action(mine, plan(), fleet)) == f"chain pacific-1: validator {E} is unavailable"
    elsewhere = replace(fleet, nodes={**fleet.nodes, E: replace(fleet.nodes[E], chain="atlantic-2")})
    assert next_action(mine, plan(), elsewhere) == actions.StartNodes((A,))


def test_validators_of_two_chains_start_side_by_side_one_of_each() -> None:
    mine, fleet = validators(signing=dict.fromkeys(ALL, SIGNS))
    fleet = replace(fleet, nodes={**fleet.nodes, C: replace(fleet.nodes[C], chain="atlantic-2")})
    assert next_action(mine, plan(), fleet) == actions.StartNodes((A, C))


def test_beside_a_validator_that_has_yet_to_sign_again_no_other_one_starts() -> None:
    mine, fleet = validators(signing={key: replace(SIGNS, time=NOW) for key in ALL})
    mine = replace(mine, finished={A: "done"}, awaiting_signature={A: SigningBaseline("ADDR", NOW, height=50)})
    assert reasons(next_action(mine, plan(), fleet)).startswith(f"chain pacific-1: validator {A} has yet")


MOVED: dict[str, Any] = {"finished": {A: "done"}, "awaiting_signature": {A: SigningBaseline("ADDR", NOW - 60)}}


def test_a_validator_that_moved_is_asked_until_its_height_grew_and_it_signs() -> None:
    mine, fleet = validators()
    mine = replace(mine, **MOVED)
    assert next_action(mine, plan(), fleet) == actions.CheckSigning((A,))
    asked = replace(fleet, pending_checks=frozenset({A}))
    assert not isinstance(next_action(mine, plan(), asked), actions.CheckSigning)
    first = replace(fleet, signing={A: SIGNS})
    assert kept(next_action(mine, plan(), first)).awaiting_signature[A].height == 50
    seen = replace(mine, awaiting_signature={A: SigningBaseline("ADDR", NOW - 60, height=50)})
    early = replace(fleet, signing={A: replace(SIGNS, height=52)})
    assert kept_or_none(next_action(seen, plan(), early)) is None
    back = replace(fleet, signing={A: replace(SIGNS, height=53)})
    assert kept(next_action(seen, plan(), back)).awaiting_signature == {}


def kept_or_none(step: actions.FleetAction) -> Campaign | None:
    return step.campaign if isinstance(step, actions.SaveCampaign) else None


def test_of_two_that_moved_each_is_seen_by_itself() -> None:
    mine, fleet = validators(signing={B: replace(SIGNS, height=53)}, pending_checks=frozenset({A}))
    two = {A: SigningBaseline("ADDR", NOW, height=50), B: SigningBaseline("ADDR", NOW, height=50)}
    assert kept(next_action(replace(mine, awaiting_signature=two), plan(), fleet)).awaiting_signature == {A: two[A]}


def test_a_look_from_before_it_moved_and_one_that_is_on_its_way_count_for_nothing() -> None:
    mine, fleet = validators(signing={A: replace(SIGNS, time=NOW - 1)})
    moved = replace(mine, finished={A: "done"}, awaiting_signature={A: SigningBaseline("ADDR", NOW, height=40)})
    assert kept_or_none(next_action(moved, plan(), fleet)) is None
    moving = replace(fleet, in_progress={A: Direction.FORWARD}, signing={})
    assert not isinstance(next_action(replace(moved, finished={}), plan(), moving), actions.CheckSigning)


@pytest.mark.parametrize("age", [RECHECK_INTERVAL - 0.1, RECHECK_INTERVAL])
def test_it_is_asked_again_when_the_last_look_is_old(age: float) -> None:
    mine, fleet = validators(signing={A: replace(SIGNS, time=NOW - age, height=0, problem="silent")})
    step = next_action(replace(mine, **MOVED), plan(), fleet)
    assert (step == actions.CheckSigning((A,))) is (age >= RECHECK_INTERVAL)


def test_a_validator_that_does_not_sign_again_in_time_pauses_the_run_once() -> None:
    patience = PLAN.deadlines.ready.for_mode(Mode.VALIDATOR)
    mine, fleet = validators(signing={A: replace(SIGNS, signs=False)})
    late = replace(
        mine, finished={A: "done"}, awaiting_signature={A: SigningBaseline("ADDR", NOW - patience, height=50)}
    )
    paused = kept(next_action(late, plan(), fleet)).paused
    assert A in paused
    assert "height 50, does not sign" in paused
    early = replace(late, awaiting_signature={A: SigningBaseline("ADDR", NOW - patience + 1, height=50)})
    assert kept_or_none(next_action(early, plan(), fleet)) is None
    assert isinstance(next_action(replace(late, paused="so it is"), plan(), fleet), actions.FleetWait)
    stands = replace(fleet, signing={A: SIGNS})
    assert "height 50, signs" in kept(next_action(late, plan(), stands)).paused
    silent = replace(fleet, signing={A: replace(SIGNS, problem="no answer")})
    assert kept(next_action(late, plan(), silent)).paused.endswith("no answer")


# Between waves.


def test_a_wave_rests_then_the_next_one_begins() -> None:
    done = campaign(A)
    rested = kept(next_action(done, plan(), picture()))
    assert rested.wave_finished_at == NOW
    following = kept(next_action(rested, plan(), picture()))
    assert (following.wave, following.wave_finished_at) == (1, None)
    assert (
        reasons(next_action(campaign(wave=0), plan(), picture(in_progress={A: Direction.FORWARD})))
        == "nodes are on their way"
    )


def test_when_all_have_ended_it_is_the_end_and_while_one_is_on_its_way_it_is_not() -> None:
    assert next_action(campaign(*ALL, wave=2), plan(), picture()) == actions.Done()
    last = campaign(A, B, C, D, wave=2)
    assert isinstance(next_action(last, plan(), picture(in_progress={E: Direction.FORWARD})), actions.FleetWait)


def test_the_next_wave_waits_for_validators_that_have_yet_to_sign_again() -> None:
    mine = campaign(A, awaiting_signature={A: SigningBaseline("ADDR", NOW, height=50)})
    fleet = picture(signing={A: replace(SIGNS, height=50)})
    assert A in reasons(next_action(mine, plan(), fleet))


def test_a_canary_that_proved_nothing_sends_the_next_of_its_mode_first() -> None:
    blocked = replace(campaign(), finished={A: "blocked"})
    waves = kept(next_action(blocked, plan(), picture())).waves
    assert waves == (
        Wave(WaveKind.CANARY, (A,)),
        Wave(WaveKind.CANARY, (B,)),
        Wave(WaveKind.WAVE, (C,)),
        Wave(WaveKind.WAVE, (D, E)),
    )
    modes = {**nodes(), B: FleetNode(B, Mode.ARCHIVE, "pacific-1", available=True)}
    waves = kept(next_action(blocked, plan(), picture(modes))).waves
    assert waves[1:3] == (Wave(WaveKind.CANARY, (C,)), Wave(WaveKind.WAVE, (B,))), (
        "one of another mode proves nothing for it"
    )
    nothing = replace(campaign(), finished={A: "unchanged"})
    assert kept(next_action(nothing, plan(), picture())).waves == nothing.waves


SOAKING = plan(Fleet(canary=Canary(soak=100), max_unavailable=MaxUnavailable(fleet="2")))
WELL = SoakHistory.start(HealthSample(NOW, True, "pod", 200, height=5))


def test_canaries_are_looked_at_while_they_soak() -> None:
    soaking = campaign(A, wave_finished_at=NOW - 40)
    assert next_action(soaking, SOAKING, picture()) == actions.CheckCanaryHealth((A,))
    assert not isinstance(
        next_action(soaking, SOAKING, picture(pending_checks=frozenset({A}))), actions.CheckCanaryHealth
    )
    assert "another 60 s" in reasons(next_action(soaking, SOAKING, picture(soak={A: WELL})))
    old = SoakHistory.start(HealthSample(NOW - RECHECK_INTERVAL, True, "pod", 200, height=5))
    assert next_action(soaking, SOAKING, picture(soak={A: old})) == actions.CheckCanaryHealth((A,))
    over = campaign(A, wave_finished_at=NOW - 100)
    assert kept(next_action(over, SOAKING, picture(soak={A: WELL}))).wave == 1
    assert kept(next_action(replace(soaking, promoted=True), SOAKING, picture(soak={A: WELL}))).wave == 1


def test_waves_that_are_no_canaries_do_not_soak_and_canaries_that_did_not_move_neither() -> None:
    assert kept(next_action(campaign(A, B, C, wave=1, wave_finished_at=NOW), SOAKING, picture())).wave == 2
    nothing = replace(campaign(wave_finished_at=NOW), finished={A: "unchanged"})
    assert kept(next_action(nothing, SOAKING, picture())).wave == 1


def test_a_canary_that_does_not_stay_well_goes_back_and_the_run_stops() -> None:
    soaking = campaign(A, wave_finished_at=NOW - 40)
    ill = replace(WELL, last=HealthSample(NOW, True, "another pod", 200))
    stopped = kept(next_action(soaking, SOAKING, picture(soak={A: ill})))
    assert stopped.stopped
    assert (stopped.pending_rollbacks, stopped.failed) == ((A,), (A,))
    silent = replace(
        WELL, last_reply_at=NOW - PLAN.deadlines.response, last=HealthSample(NOW, True, "pod", None, "timed out", 5)
    )
    assert "timed out" in kept(next_action(soaking, SOAKING, picture(soak={A: silent}))).paused


def test_the_height_of_a_canary_must_grow_where_its_mode_says_so() -> None:
    soaking, stands = (
        campaign(A, wave_finished_at=NOW - 40),
        replace(WELL, height_increased_at=NOW - PLAN.deadlines.stuck),
    )
    assert kept(next_action(soaking, SOAKING, picture(soak={A: stands}))).stopped
    seed = picture(nodes(Mode.SEED), soak={A: stands})
    assert isinstance(next_action(soaking, SOAKING, seed), actions.FleetWait)
    gone = picture({key: node for key, node in nodes().items() if key != A}, soak={A: stands})
    assert isinstance(next_action(soaking, SOAKING, gone), actions.FleetWait)


def test_the_soak_lasts_to_its_last_second() -> None:
    last = next_action(campaign(A, wave_finished_at=NOW - 99.5), SOAKING, picture(soak={A: WELL}))
    assert isinstance(last, actions.FleetWait)


def test_a_canary_that_was_deleted_lets_the_others_go_on() -> None:
    gone = picture({key: node for key, node in nodes().items() if key != A})
    assert kept(next_action(replace(campaign(), finished={A: "blocked"}), plan(), gone)).wave_finished_at == NOW


def test_after_the_soak_a_person_promotes_where_the_plan_says_so() -> None:
    manual = plan(Fleet(canary=Canary(soak=0, promote="manual")))
    waits = campaign(A, wave_finished_at=NOW)
    assert reasons(next_action(waits, manual, picture(soak={A: WELL}))).endswith("seimigrate promote")
    assert kept(next_action(replace(waits, promoted=True), manual, picture(soak={A: WELL}))).wave == 1


# Gates.


def test_a_gate_is_asked_and_its_verdict_decides() -> None:
    gated, rested = plan(gates=(HTTP,)), campaign(A, wave_finished_at=NOW)
    assert next_action(rested, gated, picture()) == actions.QueryGate("smoke")
    asked = next_action(rested, gated, picture(pending_checks=frozenset({"smoke"})))
    assert asked == actions.FleetWait(("gate smoke is asked",), 1.0)

    def said(verdict: Verdict, undo: RollbackScope = RollbackScope.NONE) -> Campaign:
        judgements = {"smoke": GateResult("smoke", verdict, "because")}
        failing = plan(failure=Failure(rollback_scope=undo), gates=(HTTP,))
        return kept(next_action(rested, failing, picture(gate_results=judgements)))

    assert said(Verdict.PASS).passed_gates == ("smoke",)
    assert (said(Verdict.FAIL).stopped, said(Verdict.FAIL).pending_rollbacks) == ("gate smoke: because", ())
    assert said(Verdict.FAIL, RollbackScope.ALL).pending_rollbacks == (A,)
    assert said(Verdict.INCONCLUSIVE).paused == "gate smoke: because"
    passed = replace(rested, passed_gates=("smoke",))
    assert kept(next_action(passed, gated, picture())).wave == 1
    promoted = replace(rested, promoted=True)
    assert kept(next_action(promoted, gated, picture())).passed_gates == ("smoke",)


def test_a_gate_is_asked_only_after_those_waves_that_it_is_for() -> None:
    for when, due in ((GateTiming.CANARY, (True, False)), (GateTiming.WAVE, (False, True))):
        gated = plan(gates=(HTTP.model_copy(update={"after": (when,)}),))
        after = (campaign(A, wave_finished_at=NOW), campaign(A, B, C, wave=1, wave_finished_at=NOW))
        assert tuple(next_action(each, gated, picture()) == actions.QueryGate("smoke") for each in after) == due


def test_a_person_is_told_what_to_look_at() -> None:
    asked = next_action(campaign(A, wave_finished_at=NOW), plan(gates=(PERSON,)), picture())
    assert asked == actions.FleetWait(
        ("gate eyes: the dashboard; waits for a person: seimigrate promote",), RECHECK_INTERVAL
    )


# Stopping and pausing.


@pytest.mark.parametrize(
    ("run", "undo"), [("stop", RollbackScope.NONE), ("stop", RollbackScope.ALL), ("pause", RollbackScope.ALL)]
)
def test_more_failures_than_may_be_stop_or_pause_the_run(run: str, undo: RollbackScope) -> None:
    failed = campaign(A, B, wave=1, failed=(B, C))
    allowed = plan(failure=Failure.model_validate({"maxFailedNodes": 2, "onExceeded": run, "rollbackScope": undo}))
    assert isinstance(
        next_action(failed, allowed, picture()), actions.StartNodes | actions.FleetWait | actions.SaveCampaign
    )
    assert kept_or_none(next_action(failed, allowed, picture())) is None
    strict = plan(failure=Failure.model_validate({"maxFailedNodes": 1, "onExceeded": run, "rollbackScope": undo}))
    new = kept(next_action(failed, strict, picture()))
    assert f"2 failed, and at most 1 may: {B}, {C}" in (new.paused if run == "pause" else new.stopped)
    assert bool(new.pending_rollbacks) is (run == "stop" and undo is RollbackScope.ALL)
    assert not isinstance(next_action(replace(failed, paused="already"), strict, picture()), actions.SaveCampaign)


def test_paused_it_starts_nothing() -> None:
    assert next_action(campaign(paused="by ann"), plan(), picture()) == actions.FleetWait(
        ("paused: by ann",), RECHECK_INTERVAL
    )
    assert next_action(campaign(*ALL, wave=2, paused="by ann"), plan(), picture()) == actions.Done()


def test_stopped_it_waits_for_what_is_on_its_way_and_ends() -> None:
    stopped = campaign(A, wave=1, stopped="enough")
    moving = {B: Direction.FORWARD}
    assert next_action(stopped, plan(), picture(in_progress=moving)) == actions.FleetWait(
        ("stops: enough",), RECHECK_INTERVAL
    )
    turning = replace(stopped, roll_back_in_flight=True)
    assert next_action(turning, plan(), picture(in_progress=moving)) == actions.RollBackInFlight((B,), "enough")
    assert next_action(turning, plan(), picture(in_progress={B: Direction.ROLLBACK})) == actions.FleetWait(
        ("stops: enough",), RECHECK_INTERVAL
    )
    assert next_action(stopped, plan(), picture()) == actions.Done()


def test_what_moved_goes_back_when_nothing_goes_forwards_any_more_within_the_budgets() -> None:
    undoing = campaign(A, B, C, wave=1, stopped="enough", pending_rollbacks=(C, B, A))
    assert next_action(undoing, plan(), picture()) == actions.RollBackNode(C, "enough")
    assert isinstance(next_action(undoing, plan(), picture(in_progress={D: Direction.FORWARD})), actions.FleetWait)
    assert next_action(undoing, plan(), picture(in_progress={C: Direction.ROLLBACK})) == actions.RollBackNode(
        B, "enough"
    )
    both = {C: Direction.ROLLBACK, B: Direction.ROLLBACK}
    assert isinstance(next_action(undoing, plan(), picture(in_progress=both)), actions.FleetWait)
    down = nodes(down=(D, E))
    assert next_action(undoing, plan(), picture(down)) == actions.RollBackNode(C, "enough"), "one may always"
    chain = picture(nodes(Mode.VALIDATOR), in_progress={C: Direction.ROLLBACK})
    assert isinstance(next_action(undoing, plan(), chain), actions.FleetWait), "of one chain's validators one at a time"
    two = {**chain.nodes, C: replace(chain.nodes[C], chain="atlantic-2")}
    assert next_action(undoing, plan(), replace(chain, nodes=two)) == actions.RollBackNode(B, "enough")


# What the record alone tells.


def test_standing_says_why_nothing_starts() -> None:
    assert wait_reason(campaign(A, stopped="enough"), plan(), NOW) == "stops: enough"
    assert wait_reason(campaign(A, paused="by ann"), plan(), NOW) == "paused: by ann"
    assert wait_reason(campaign(*ALL, wave=3, wave_finished_at=NOW), SOAKING, NOW) == ""
    assert wait_reason(campaign(A), SOAKING, NOW) == ""
    assert "another 60 s" in wait_reason(campaign(A, wave_finished_at=NOW - 40), SOAKING, NOW)
    assert wait_reason(campaign(A, wave_finished_at=NOW - 40, promoted=True), SOAKING, NOW) == ""
    assert wait_reason(campaign(A, wave_finished_at=NOW - 100), SOAKING, NOW) == ""
    assert wait_reason(replace(campaign(wave_finished_at=NOW), finished={A: "unchanged"}), SOAKING, NOW) == ""
    assert wait_reason(campaign(A, wave_finished_at=NOW), plan(gates=(HTTP,)), NOW) == "gate smoke is asked"
    assert wait_reason(campaign(A, wave_finished_at=NOW), plan(gates=(PERSON,)), NOW).startswith(
        "gate eyes: the dashboard"
    )
