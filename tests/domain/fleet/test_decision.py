"""What is done next with a fleet, case by case: each branch of the decision at both sides of its conditions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seimigrate.domain.fleet import signing, steps
from seimigrate.domain.fleet.campaign import Campaign, Signing
from seimigrate.domain.fleet.decision import next_step, standing
from seimigrate.domain.fleet.health import Vitals, Watch
from seimigrate.domain.fleet.order import Kind, Wave
from seimigrate.domain.fleet.picture import Node, Picture
from seimigrate.domain.fleet.settings import Canary, Fleet, MaxUnavailable
from seimigrate.domain.fleet.signing import Sight
from seimigrate.domain.gates import Gate, HttpGate, Judgement, PersonGate, Verdict, When
from seimigrate.domain.plan import Failure, Mode, Plan, Undo
from seimigrate.domain.record import Direction
from seimigrate.domain.rollout import RECHECK
from tests.engine.harness import make_plan

NOW = 10_000.0
PLAN = make_plan()
HTTP = HttpGate.model_validate({"gate": "http", "name": "smoke", "at": {"url": "http://127.0.0.1"}})
PERSON = PersonGate.model_validate({"gate": "person", "name": "eyes", "ask": "the dashboard"})
A, B, C, D, E = (f"x/n{index}" for index in range(5))
ALL = (A, B, C, D, E)


def plan(fleet: Fleet | None = None, failure: Failure | None = None, gates: tuple[Gate, ...] = ()) -> Plan:
    soaked = Fleet(canary=Canary(soak=0), max_unavailable=MaxUnavailable(fleet="2"))
    return PLAN.model_copy(update={"fleet": fleet or soaked, "failure": failure or Failure(), "gates": gates})


def nodes(mode: Mode = Mode.FULL_NODE, *, down: tuple[str, ...] = (), **parts: Any) -> dict[str, Node]:
    return {key: Node(key, mode, "pacific-1", key not in down, **parts) for key in ALL}


def picture(known: dict[str, Node] | None = None, **parts: Any) -> Picture:
    return Picture(NOW, known or nodes(), **({"idle": NOW} | parts))


def campaign(*ended: str, wave: int = 0, **parts: Any) -> Campaign:
    """One canary, then two waves; those that ended are done."""
    waves = (Wave(Kind.CANARY, (A,)), Wave(Kind.WAVE, (B, C)), Wave(Kind.WAVE, (D, E)))
    return Campaign(waves, wave, ended=dict.fromkeys(ended, "done"), **parts)


def kept(step: steps.Step) -> Campaign:
    assert isinstance(step, steps.Keep), step
    return step.campaign


def reasons(step: steps.Step) -> str:
    assert isinstance(step, steps.Rest), step
    return "; ".join(step.reasons)


# Starting.


def test_the_present_waves_nodes_start_as_many_as_may_be_down() -> None:
    assert next_step(campaign(), plan(), picture()) == steps.Start((A,))
    assert next_step(campaign(A, wave=1), plan(), picture()) == steps.Start((B, C))
    one = plan(Fleet(max_unavailable=MaxUnavailable(fleet="1")))
    assert next_step(campaign(A, wave=1), one, picture()) == steps.Start((B,))


def test_a_node_that_is_down_for_another_reason_counts_and_may_itself_start() -> None:
    assert next_step(campaign(A, wave=1), plan(), picture(nodes(down=(E,)))) == steps.Start((B,))
    assert next_step(campaign(A, wave=1), plan(), picture(nodes(down=(B, E)))) == steps.Start((B,))


def test_a_full_budget_is_named_with_three_of_those_that_are_down_and_the_number_of_others() -> None:
    three = next_step(campaign(A, wave=1), plan(), picture(nodes(down=(A, D, E))))
    assert reasons(three) == f"the fleet: 3 of at most 2 unavailable ({A}, {D}, {E})"
    beside = {**nodes(down=(A, D, E)), "x/other": Node("x/other", Mode.FULL_NODE, "pacific-1", available=False)}
    chain = plan(Fleet(max_unavailable=MaxUnavailable(fleet="4", chain="2")))
    four = next_step(campaign(A, wave=1), chain, picture(beside))
    assert reasons(four) == f"chain pacific-1: 4 of at most 2 unavailable ({A}, {D}, {E} and 1 more)"
    namespace = plan(Fleet(max_unavailable=MaxUnavailable(fleet="4", namespace="1")))
    assert reasons(next_step(campaign(A, wave=1), namespace, picture(nodes(down=(E,))))).startswith("namespace x: 1 of")


def test_nodes_on_their_way_count_against_the_budget() -> None:
    moving = {B: Direction.FORWARD}
    assert next_step(campaign(A, wave=1), plan(), picture(moving=moving)) == steps.Start((C,))


def test_a_node_that_was_deleted_starts_and_is_told_so() -> None:
    known = {key: node for key, node in nodes().items() if key != A}
    assert next_step(campaign(), plan(), picture(known)) == steps.Start((A,))
    known = {key: node for key, node in nodes().items() if key != B}
    assert next_step(campaign(A, wave=1), plan(), picture(known)) == steps.Start((B, C))


def test_nothing_that_starts_for_a_while_pauses_the_run() -> None:
    down, patience = nodes(down=(A, D, E)), PLAN.deadlines.eviction
    waits = next_step(campaign(A, wave=1), plan(), picture(down, idle=NOW - patience + 1))
    assert isinstance(waits, steps.Rest)
    paused = kept(next_step(campaign(A, wave=1), plan(), picture(down, idle=NOW - patience))).paused
    assert f"{patience:.0f} s" in paused
    assert "3 of at most 2" in paused
    moving = {B: Direction.FORWARD}
    busy = next_step(campaign(A, wave=1), plan(), picture(down, idle=NOW - patience, moving=moving))
    assert isinstance(busy, steps.Rest), "what is on its way may yet free the budget"


def test_children_of_a_network_wait_until_the_others_are_held_or_done() -> None:
    family = nodes(held=True, network="x/net")
    assert next_step(campaign(A, wave=1), plan(), picture(family)) == steps.Start((B, C))
    free = {**family, A: replace(family[A], held=False)}
    assert next_step(campaign(A, wave=1), plan(), picture(free)) == steps.Start((B, C)), "it is done"
    free = {**family, D: replace(family[D], held=False)}
    assert reasons(next_step(campaign(A, wave=1), plan(), picture(free))).endswith(
        f"not all of its nodes are held ({D})"
    )


# Validators.

SIGNS = Sight(NOW, address="ADDR", height=50, signs=True, signers=2, validators=3)


def validators(**parts: Any) -> tuple[Campaign, Picture]:
    known = nodes(Mode.VALIDATOR)
    return Campaign((Wave(Kind.WAVE, ALL),)), picture(known, **parts)


def test_a_validator_is_asked_who_signs_before_it_starts() -> None:
    mine, at = validators()
    assert next_step(mine, plan(), at) == steps.Sight((A,))
    mine, at = validators(asking=frozenset({A}))
    assert reasons(next_step(mine, plan(), at)) == f"chain pacific-1: {A} is asked who signs"


@pytest.mark.parametrize(("age", "starts"), [(signing.LASTS - 0.1, True), (signing.LASTS, False)])
def test_what_it_said_counts_for_some_seconds(age: float, starts: bool) -> None:
    mine, at = validators(sights={A: replace(SIGNS, at=NOW - age)})
    assert next_step(mine, plan(), at) == (steps.Start((A,)) if starts else steps.Sight((A,)))


@pytest.mark.parametrize(("signers", "validators_", "starts"), [(2, 3, True), (3, 5, False), (0, 0, False)])
def test_less_than_two_thirds_of_the_validators_let_none_start(signers: int, validators_: int, starts: bool) -> None:
    mine, at = validators(sights={A: replace(SIGNS, signers=signers, validators=validators_)})
    step = next_step(mine, plan(), at)
    if starts:
        assert step == steps.Start((A,))
    else:
        assert f"{signers} of {validators_}" in reasons(step)


def test_a_validator_that_tells_nothing_does_not_start() -> None:
    mine, at = validators(sights={A: replace(SIGNS, problem="its answer is not JSON")})
    assert reasons(next_step(mine, plan(), at)).endswith("its answer is not JSON")


def test_beside_a_validator_that_is_down_no_other_one_of_its_chain_starts() -> None:
    mine, at = validators(sights={A: SIGNS})
    at = replace(at, nodes={**at.nodes, E: replace(at.nodes[E], available=False)})
    assert reasons(next_step(mine, plan(), at)) == f"chain pacific-1: validator {E} is unavailable"
    elsewhere = replace(at, nodes={**at.nodes, E: replace(at.nodes[E], chain="atlantic-2")})
    assert next_step(mine, plan(), elsewhere) == steps.Start((A,))


def test_validators_of_two_chains_start_side_by_side_one_of_each() -> None:
    mine, at = validators(sights=dict.fromkeys(ALL, SIGNS))
    at = replace(at, nodes={**at.nodes, C: replace(at.nodes[C], chain="atlantic-2")})
    assert next_step(mine, plan(), at) == steps.Start((A, C))


def test_beside_a_validator_that_has_yet_to_sign_again_no_other_one_starts() -> None:
    mine, at = validators(sights={key: replace(SIGNS, at=NOW) for key in ALL})
    mine = replace(mine, ended={A: "done"}, signing={A: Signing("ADDR", NOW, height=50)})
    assert reasons(next_step(mine, plan(), at)).startswith(f"chain pacific-1: validator {A} has yet")


MOVED: dict[str, Any] = {"ended": {A: "done"}, "signing": {A: Signing("ADDR", NOW - 60)}}


def test_a_validator_that_moved_is_asked_until_its_height_grew_and_it_signs() -> None:
    mine, at = validators()
    mine = replace(mine, **MOVED)
    assert next_step(mine, plan(), at) == steps.Sight((A,))
    asked = replace(at, asking=frozenset({A}))
    assert not isinstance(next_step(mine, plan(), asked), steps.Sight)
    first = replace(at, sights={A: SIGNS})
    assert kept(next_step(mine, plan(), first)).signing[A].height == 50
    seen = replace(mine, signing={A: Signing("ADDR", NOW - 60, height=50)})
    early = replace(at, sights={A: replace(SIGNS, height=52)})
    assert kept_or_none(next_step(seen, plan(), early)) is None
    back = replace(at, sights={A: replace(SIGNS, height=53)})
    assert kept(next_step(seen, plan(), back)).signing == {}


def kept_or_none(step: steps.Step) -> Campaign | None:
    return step.campaign if isinstance(step, steps.Keep) else None


def test_of_two_that_moved_each_is_seen_by_itself() -> None:
    mine, at = validators(sights={B: replace(SIGNS, height=53)}, asking=frozenset({A}))
    two = {A: Signing("ADDR", NOW, height=50), B: Signing("ADDR", NOW, height=50)}
    assert kept(next_step(replace(mine, signing=two), plan(), at)).signing == {A: two[A]}


def test_a_look_from_before_it_moved_and_one_that_is_on_its_way_count_for_nothing() -> None:
    mine, at = validators(sights={A: replace(SIGNS, at=NOW - 1)})
    moved = replace(mine, ended={A: "done"}, signing={A: Signing("ADDR", NOW, height=40)})
    assert kept_or_none(next_step(moved, plan(), at)) is None
    moving = replace(at, moving={A: Direction.FORWARD}, sights={})
    assert not isinstance(next_step(replace(moved, ended={}), plan(), moving), steps.Sight)


@pytest.mark.parametrize("age", [RECHECK - 0.1, RECHECK])
def test_it_is_asked_again_when_the_last_look_is_old(age: float) -> None:
    mine, at = validators(sights={A: replace(SIGNS, at=NOW - age, height=0, problem="silent")})
    step = next_step(replace(mine, **MOVED), plan(), at)
    assert (step == steps.Sight((A,))) is (age >= RECHECK)


def test_a_validator_that_does_not_sign_again_in_time_pauses_the_run_once() -> None:
    patience = PLAN.deadlines.ready.of(Mode.VALIDATOR)
    mine, at = validators(sights={A: replace(SIGNS, signs=False)})
    late = replace(mine, ended={A: "done"}, signing={A: Signing("ADDR", NOW - patience, height=50)})
    paused = kept(next_step(late, plan(), at)).paused
    assert A in paused
    assert "height 50, does not sign" in paused
    early = replace(late, signing={A: Signing("ADDR", NOW - patience + 1, height=50)})
    assert kept_or_none(next_step(early, plan(), at)) is None
    assert isinstance(next_step(replace(late, paused="so it is"), plan(), at), steps.Rest)
    stands = replace(at, sights={A: SIGNS})
    assert "height 50, signs" in kept(next_step(late, plan(), stands)).paused
    silent = replace(at, sights={A: replace(SIGNS, problem="no answer")})
    assert kept(next_step(late, plan(), silent)).paused.endswith("no answer")


# Between waves.


def test_a_wave_rests_then_the_next_one_begins() -> None:
    done = campaign(A)
    rested = kept(next_step(done, plan(), picture()))
    assert rested.rested == NOW
    following = kept(next_step(rested, plan(), picture()))
    assert (following.wave, following.rested) == (1, None)
    assert (
        reasons(next_step(campaign(wave=0), plan(), picture(moving={A: Direction.FORWARD}))) == "nodes are on their way"
    )


def test_when_all_have_ended_it_is_the_end_and_while_one_is_on_its_way_it_is_not() -> None:
    assert next_step(campaign(*ALL, wave=2), plan(), picture()) == steps.End()
    last = campaign(A, B, C, D, wave=2)
    assert isinstance(next_step(last, plan(), picture(moving={E: Direction.FORWARD})), steps.Rest)


def test_the_next_wave_waits_for_validators_that_have_yet_to_sign_again() -> None:
    mine = campaign(A, signing={A: Signing("ADDR", NOW, height=50)})
    at = picture(sights={A: replace(SIGNS, height=50)})
    assert A in reasons(next_step(mine, plan(), at))


def test_a_canary_that_proved_nothing_sends_the_next_of_its_mode_first() -> None:
    blocked = replace(campaign(), ended={A: "blocked"})
    waves = kept(next_step(blocked, plan(), picture())).waves
    assert waves == (Wave(Kind.CANARY, (A,)), Wave(Kind.CANARY, (B,)), Wave(Kind.WAVE, (C,)), Wave(Kind.WAVE, (D, E)))
    modes = {**nodes(), B: Node(B, Mode.ARCHIVE, "pacific-1", available=True)}
    waves = kept(next_step(blocked, plan(), picture(modes))).waves
    assert waves[1:3] == (Wave(Kind.CANARY, (C,)), Wave(Kind.WAVE, (B,))), "one of another mode proves nothing for it"
    nothing = replace(campaign(), ended={A: "nothing-to-do"})
    assert kept(next_step(nothing, plan(), picture())).waves == nothing.waves


SOAKING = plan(Fleet(canary=Canary(soak=100), max_unavailable=MaxUnavailable(fleet="2")))
WELL = Watch.begin(Vitals(NOW, True, "pod", 200, height=5))


def test_canaries_are_looked_at_while_they_soak() -> None:
    soaking = campaign(A, rested=NOW - 40)
    assert next_step(soaking, SOAKING, picture()) == steps.Look((A,))
    assert not isinstance(next_step(soaking, SOAKING, picture(asking=frozenset({A}))), steps.Look)
    assert "another 60 s" in reasons(next_step(soaking, SOAKING, picture(watches={A: WELL})))
    old = Watch.begin(Vitals(NOW - RECHECK, True, "pod", 200, height=5))
    assert next_step(soaking, SOAKING, picture(watches={A: old})) == steps.Look((A,))
    over = campaign(A, rested=NOW - 100)
    assert kept(next_step(over, SOAKING, picture(watches={A: WELL}))).wave == 1
    assert kept(next_step(replace(soaking, promoted=True), SOAKING, picture(watches={A: WELL}))).wave == 1


def test_waves_that_are_no_canaries_do_not_soak_and_canaries_that_did_not_move_neither() -> None:
    assert kept(next_step(campaign(A, B, C, wave=1, rested=NOW), SOAKING, picture())).wave == 2
    nothing = replace(campaign(rested=NOW), ended={A: "nothing-to-do"})
    assert kept(next_step(nothing, SOAKING, picture())).wave == 1


def test_a_canary_that_does_not_stay_well_goes_back_and_the_run_stops() -> None:
    soaking = campaign(A, rested=NOW - 40)
    ill = replace(WELL, last=Vitals(NOW, True, "another pod", 200))
    stopped = kept(next_step(soaking, SOAKING, picture(watches={A: ill})))
    assert stopped.stopped
    assert (stopped.undo, stopped.failed) == ((A,), (A,))
    silent = replace(WELL, heard=NOW - PLAN.deadlines.gate, last=Vitals(NOW, True, "pod", None, "timed out", 5))
    assert "timed out" in kept(next_step(soaking, SOAKING, picture(watches={A: silent}))).paused


def test_the_height_of_a_canary_must_grow_where_its_mode_says_so() -> None:
    soaking, stands = campaign(A, rested=NOW - 40), replace(WELL, rose=NOW - PLAN.deadlines.stuck)
    assert kept(next_step(soaking, SOAKING, picture(watches={A: stands}))).stopped
    seed = picture(nodes(Mode.SEED), watches={A: stands})
    assert isinstance(next_step(soaking, SOAKING, seed), steps.Rest)
    gone = picture({key: node for key, node in nodes().items() if key != A}, watches={A: stands})
    assert isinstance(next_step(soaking, SOAKING, gone), steps.Rest)


def test_the_soak_lasts_to_its_last_second() -> None:
    last = next_step(campaign(A, rested=NOW - 99.5), SOAKING, picture(watches={A: WELL}))
    assert isinstance(last, steps.Rest)


def test_a_canary_that_was_deleted_lets_the_others_go_on() -> None:
    gone = picture({key: node for key, node in nodes().items() if key != A})
    assert kept(next_step(replace(campaign(), ended={A: "blocked"}), plan(), gone)).rested == NOW


def test_after_the_soak_a_person_promotes_where_the_plan_says_so() -> None:
    manual = plan(Fleet(canary=Canary(soak=0, promote="manual")))
    waits = campaign(A, rested=NOW)
    assert reasons(next_step(waits, manual, picture(watches={A: WELL}))).endswith("seimigrate promote")
    assert kept(next_step(replace(waits, promoted=True), manual, picture(watches={A: WELL}))).wave == 1


# Gates.


def test_a_gate_is_asked_and_its_verdict_decides() -> None:
    gated, rested = plan(gates=(HTTP,)), campaign(A, rested=NOW)
    assert next_step(rested, gated, picture()) == steps.Judge("smoke")
    asked = next_step(rested, gated, picture(asking=frozenset({"smoke"})))
    assert asked == steps.Rest(("gate smoke is asked",), 1.0)

    def said(verdict: Verdict, undo: Undo = Undo.NONE) -> Campaign:
        judgements = {"smoke": Judgement("smoke", verdict, "because")}
        failing = plan(failure=Failure(undo=undo), gates=(HTTP,))
        return kept(next_step(rested, failing, picture(judgements=judgements)))

    assert said(Verdict.PASS).passed == ("smoke",)
    assert (said(Verdict.FAIL).stopped, said(Verdict.FAIL).undo) == ("gate smoke: because", ())
    assert said(Verdict.FAIL, Undo.ALL).undo == (A,)
    assert said(Verdict.INCONCLUSIVE).paused == "gate smoke: because"
    passed = replace(rested, passed=("smoke",))
    assert kept(next_step(passed, gated, picture())).wave == 1
    promoted = replace(rested, promoted=True)
    assert kept(next_step(promoted, gated, picture())).passed == ("smoke",)


def test_a_gate_is_asked_only_after_those_waves_that_it_is_for() -> None:
    for when, due in ((When.CANARY, (True, False)), (When.WAVE, (False, True))):
        gated = plan(gates=(HTTP.model_copy(update={"when": (when,)}),))
        after = (campaign(A, rested=NOW), campaign(A, B, C, wave=1, rested=NOW))
        assert tuple(next_step(each, gated, picture()) == steps.Judge("smoke") for each in after) == due


def test_a_person_is_told_what_to_look_at() -> None:
    asked = next_step(campaign(A, rested=NOW), plan(gates=(PERSON,)), picture())
    assert asked == steps.Rest(("gate eyes: the dashboard; waits for a person: seimigrate promote",), RECHECK)


# Stopping and pausing.


@pytest.mark.parametrize(("run", "undo"), [("stop", Undo.NONE), ("stop", Undo.ALL), ("pause", Undo.ALL)])
def test_more_failures_than_may_be_stop_or_pause_the_run(run: str, undo: Undo) -> None:
    failed = campaign(A, B, wave=1, failed=(B, C))
    allowed = plan(failure=Failure.model_validate({"maxFailed": 2, "run": run, "undo": undo}))
    assert isinstance(next_step(failed, allowed, picture()), steps.Start | steps.Rest | steps.Keep)
    assert kept_or_none(next_step(failed, allowed, picture())) is None
    strict = plan(failure=Failure.model_validate({"maxFailed": 1, "run": run, "undo": undo}))
    new = kept(next_step(failed, strict, picture()))
    assert f"2 failed, and at most 1 may: {B}, {C}" in (new.paused if run == "pause" else new.stopped)
    assert bool(new.undo) is (run == "stop" and undo is Undo.ALL)
    assert not isinstance(next_step(replace(failed, paused="already"), strict, picture()), steps.Keep)


def test_paused_it_starts_nothing() -> None:
    assert next_step(campaign(paused="by ann"), plan(), picture()) == steps.Rest(("paused: by ann",), RECHECK)
    assert next_step(campaign(*ALL, wave=2, paused="by ann"), plan(), picture()) == steps.End()


def test_stopped_it_waits_for_what_is_on_its_way_and_ends() -> None:
    stopped = campaign(A, wave=1, stopped="enough")
    moving = {B: Direction.FORWARD}
    assert next_step(stopped, plan(), picture(moving=moving)) == steps.Rest(("stops: enough",), RECHECK)
    turning = replace(stopped, turning=True)
    assert next_step(turning, plan(), picture(moving=moving)) == steps.Turn((B,), "enough")
    assert next_step(turning, plan(), picture(moving={B: Direction.BACK})) == steps.Rest(("stops: enough",), RECHECK)
    assert next_step(stopped, plan(), picture()) == steps.End()


def test_what_moved_goes_back_when_nothing_goes_forwards_any_more_within_the_budgets() -> None:
    undoing = campaign(A, B, C, wave=1, stopped="enough", undo=(C, B, A))
    assert next_step(undoing, plan(), picture()) == steps.Back(C, "enough")
    assert isinstance(next_step(undoing, plan(), picture(moving={D: Direction.FORWARD})), steps.Rest)
    assert next_step(undoing, plan(), picture(moving={C: Direction.BACK})) == steps.Back(B, "enough")
    both = {C: Direction.BACK, B: Direction.BACK}
    assert isinstance(next_step(undoing, plan(), picture(moving=both)), steps.Rest)
    down = nodes(down=(D, E))
    assert next_step(undoing, plan(), picture(down)) == steps.Back(C, "enough"), "one may always"
    chain = picture(nodes(Mode.VALIDATOR), moving={C: Direction.BACK})
    assert isinstance(next_step(undoing, plan(), chain), steps.Rest), "of one chain's validators one at a time"
    two = {**chain.nodes, C: replace(chain.nodes[C], chain="atlantic-2")}
    assert next_step(undoing, plan(), replace(chain, nodes=two)) == steps.Back(B, "enough")


# What the record alone tells.


def test_standing_says_why_nothing_starts() -> None:
    assert standing(campaign(A, stopped="enough"), plan(), NOW) == "stops: enough"
    assert standing(campaign(A, paused="by ann"), plan(), NOW) == "paused: by ann"
    assert standing(campaign(*ALL, wave=3, rested=NOW), SOAKING, NOW) == ""
    assert standing(campaign(A), SOAKING, NOW) == ""
    assert "another 60 s" in standing(campaign(A, rested=NOW - 40), SOAKING, NOW)
    assert standing(campaign(A, rested=NOW - 40, promoted=True), SOAKING, NOW) == ""
    assert standing(campaign(A, rested=NOW - 100), SOAKING, NOW) == ""
    assert standing(replace(campaign(rested=NOW), ended={A: "nothing-to-do"}), SOAKING, NOW) == ""
    assert standing(campaign(A, rested=NOW), plan(gates=(HTTP,)), NOW) == "gate smoke is asked"
    assert standing(campaign(A, rested=NOW), plan(gates=(PERSON,)), NOW).startswith("gate eyes: the dashboard")
