"""The next action of a fleet: each branch of the decision with its conditions tested on both sides."""

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
MANUAL = ManualGate.model_validate({"gate": "manual", "name": "eyes", "message": "the dashboard"})
A, B, C, D, E = (f"x/n{index}" for index in range(5))
ALL = (A, B, C, D, E)


def plan(fleet: Fleet | None = None, failure: Failure | None = None, gates: tuple[Gate, ...] = ()) -> Plan:
    without_soak = Fleet(canary=Canary(soak=0), max_unavailable=MaxUnavailable(fleet="2"))
    return PLAN.model_copy(update={"fleet": fleet or without_soak, "failure": failure or Failure(), "gates": gates})


def nodes(mode: Mode = Mode.FULL_NODE, *, down: tuple[str, ...] = (), **parts: Any) -> dict[str, FleetNode]:
    return {key: FleetNode(key, mode, "pacific-1", key not in down, **parts) for key in ALL}


def observation(known_nodes: dict[str, FleetNode] | None = None, **parts: Any) -> FleetObservation:
    return FleetObservation(NOW, known_nodes or nodes(), **({"idle_since": NOW} | parts))


def campaign(*finished: str, wave: int = 0, **parts: Any) -> Campaign:
    """One canary and two waves; these nodes have finished as done."""
    waves = (Wave(WaveKind.CANARY, (A,)), Wave(WaveKind.WAVE, (B, C)), Wave(WaveKind.WAVE, (D, E)))
    return Campaign(waves, wave, finished=dict.fromkeys(finished, "done"), **parts)


def saved(action: actions.FleetAction) -> Campaign:
    assert isinstance(action, actions.SaveCampaign), action
    return action.campaign


def reasons(action: actions.FleetAction) -> str:
    assert isinstance(action, actions.FleetWait), action
    return "; ".join(action.reasons)


# Starts.


def test_nodes_of_current_wave_start_within_budget() -> None:
    assert next_action(campaign(), plan(), observation()) == actions.StartNodes((A,))
    assert next_action(campaign(A, wave=1), plan(), observation()) == actions.StartNodes((B, C))
    one_at_a_time = plan(Fleet(max_unavailable=MaxUnavailable(fleet="1")))
    assert next_action(campaign(A, wave=1), one_at_a_time, observation()) == actions.StartNodes((B,))


def test_unavailable_node_counts_and_may_start_itself() -> None:
    assert next_action(campaign(A, wave=1), plan(), observation(nodes(down=(E,)))) == actions.StartNodes((B,))
    assert next_action(campaign(A, wave=1), plan(), observation(nodes(down=(B, E)))) == actions.StartNodes((B,))


def test_exhausted_budget_names_three_unavailable_nodes_and_a_count() -> None:
    exhausted = next_action(campaign(A, wave=1), plan(), observation(nodes(down=(A, D, E))))
    assert reasons(exhausted) == f"fleet budget exhausted: 3/2 unavailable ({A}, {D}, {E})"
    with_other_node = {
        **nodes(down=(A, D, E)),
        "x/other": FleetNode("x/other", Mode.FULL_NODE, "pacific-1", available=False),
    }
    chain = plan(Fleet(max_unavailable=MaxUnavailable(fleet="4", chain="2")))
    chain_exhausted = next_action(campaign(A, wave=1), chain, observation(with_other_node))
    assert reasons(chain_exhausted) == f"chain pacific-1 budget exhausted: 4/2 unavailable ({A}, {D}, {E} and 1 more)"
    namespace = plan(Fleet(max_unavailable=MaxUnavailable(fleet="4", namespace="1")))
    assert reasons(next_action(campaign(A, wave=1), namespace, observation(nodes(down=(E,))))).startswith(
        "namespace x budget exhausted: 1/"
    )


def test_nodes_in_progress_count_against_budget() -> None:
    in_progress = {B: Direction.FORWARD}
    assert next_action(campaign(A, wave=1), plan(), observation(in_progress=in_progress)) == actions.StartNodes((C,))


def test_deleted_node_is_started() -> None:
    known_nodes = {key: node for key, node in nodes().items() if key != A}
    assert next_action(campaign(), plan(), observation(known_nodes)) == actions.StartNodes((A,))
    known_nodes = {key: node for key, node in nodes().items() if key != B}
    assert next_action(campaign(A, wave=1), plan(), observation(known_nodes)) == actions.StartNodes((B, C))


def test_no_start_until_deadline_pauses_run() -> None:
    down, limit = nodes(down=(A, D, E)), PLAN.deadlines.eviction
    waiting = next_action(campaign(A, wave=1), plan(), observation(down, idle_since=NOW - limit + 1))
    assert isinstance(waiting, actions.FleetWait)
    paused = saved(next_action(campaign(A, wave=1), plan(), observation(down, idle_since=NOW - limit))).paused
    assert f"{limit:.0f} s" in paused
    assert "3/2 unavailable" in paused
    in_progress = {B: Direction.FORWARD}
    busy = next_action(campaign(A, wave=1), plan(), observation(down, idle_since=NOW - limit, in_progress=in_progress))
    assert isinstance(busy, actions.FleetWait), "nodes in progress may still free the budget"


def test_network_child_waits_until_siblings_are_held_or_done() -> None:
    network_nodes = nodes(held=True, network="x/net")
    assert next_action(campaign(A, wave=1), plan(), observation(network_nodes)) == actions.StartNodes((B, C))
    with_unheld = {**network_nodes, A: replace(network_nodes[A], held=False)}
    assert next_action(campaign(A, wave=1), plan(), observation(with_unheld)) == actions.StartNodes((B, C)), (
        "a finished node need not be held"
    )
    with_unheld = {**network_nodes, D: replace(network_nodes[D], held=False)}
    assert reasons(next_action(campaign(A, wave=1), plan(), observation(with_unheld))).endswith(
        f"nodes not yet held: {D}"
    )


# Validators.

SIGNS = SigningStatus(NOW, address="ADDR", height=50, signs=True, signers=2, validators=3)


def validators(**parts: Any) -> tuple[Campaign, FleetObservation]:
    known_nodes = nodes(Mode.VALIDATOR)
    return Campaign((Wave(WaveKind.WAVE, ALL),)), observation(known_nodes, **parts)


def test_validator_start_requires_signing_check() -> None:
    current, fleet = validators()
    assert next_action(current, plan(), fleet) == actions.CheckSigning((A,))
    current, fleet = validators(pending_checks=frozenset({A}))
    assert reasons(next_action(current, plan(), fleet)) == f"chain pacific-1: querying signatures from {A}"


@pytest.mark.parametrize(("age", "starts"), [(signing.SIGNING_TTL - 0.1, True), (signing.SIGNING_TTL, False)])
def test_signing_check_expires(age: float, starts: bool) -> None:
    current, fleet = validators(signing={A: replace(SIGNS, time=NOW - age)})
    assert next_action(current, plan(), fleet) == (actions.StartNodes((A,)) if starts else actions.CheckSigning((A,)))


@pytest.mark.parametrize(("signers", "validators_", "starts"), [(2, 3, True), (3, 5, False), (0, 0, False)])
def test_validator_start_requires_two_thirds_signing(signers: int, validators_: int, starts: bool) -> None:
    current, fleet = validators(signing={A: replace(SIGNS, signers=signers, validators=validators_)})
    action = next_action(current, plan(), fleet)
    if starts:
        assert action == actions.StartNodes((A,))
    else:
        assert f"{signers} of {validators_}" in reasons(action)


def test_validator_without_signing_reply_does_not_start() -> None:
    current, fleet = validators(signing={A: replace(SIGNS, problem="the reply is not JSON")})
    assert reasons(next_action(current, plan(), fleet)).endswith("the reply is not JSON")


def test_unavailable_validator_prevents_start_on_its_chain() -> None:
    current, fleet = validators(signing={A: SIGNS})
    fleet = replace(fleet, nodes={**fleet.nodes, E: replace(fleet.nodes[E], available=False)})
    assert reasons(next_action(current, plan(), fleet)) == f"chain pacific-1: validator {E} is unavailable"
    elsewhere = replace(fleet, nodes={**fleet.nodes, E: replace(fleet.nodes[E], chain="atlantic-2")})
    assert next_action(current, plan(), elsewhere) == actions.StartNodes((A,))


def test_validators_of_two_chains_start_together_one_per_chain() -> None:
    current, fleet = validators(signing=dict.fromkeys(ALL, SIGNS))
    fleet = replace(fleet, nodes={**fleet.nodes, C: replace(fleet.nodes[C], chain="atlantic-2")})
    assert next_action(current, plan(), fleet) == actions.StartNodes((A, C))


def test_validator_awaiting_signature_prevents_other_start() -> None:
    current, fleet = validators(signing={key: replace(SIGNS, time=NOW) for key in ALL})
    current = replace(current, finished={A: "done"}, awaiting_signature={A: SigningBaseline("ADDR", NOW, height=50)})
    assert reasons(next_action(current, plan(), fleet)).startswith(f"chain pacific-1: validator {A} has not resumed")


AWAITING: dict[str, Any] = {"finished": {A: "done"}, "awaiting_signature": {A: SigningBaseline("ADDR", NOW - 60)}}


def test_cut_over_validator_is_checked_until_it_signs_again() -> None:
    current, fleet = validators()
    current = replace(current, **AWAITING)
    assert next_action(current, plan(), fleet) == actions.CheckSigning((A,))
    querying = replace(fleet, pending_checks=frozenset({A}))
    assert not isinstance(next_action(current, plan(), querying), actions.CheckSigning)
    first_check = replace(fleet, signing={A: SIGNS})
    assert saved(next_action(current, plan(), first_check)).awaiting_signature[A].height == 50
    with_height = replace(current, awaiting_signature={A: SigningBaseline("ADDR", NOW - 60, height=50)})
    early = replace(fleet, signing={A: replace(SIGNS, height=52)})
    assert saved_or_none(next_action(with_height, plan(), early)) is None
    resumed = replace(fleet, signing={A: replace(SIGNS, height=53)})
    assert saved(next_action(with_height, plan(), resumed)).awaiting_signature == {}


def saved_or_none(action: actions.FleetAction) -> Campaign | None:
    return action.campaign if isinstance(action, actions.SaveCampaign) else None


def test_two_awaited_validators_are_resolved_separately() -> None:
    current, fleet = validators(signing={B: replace(SIGNS, height=53)}, pending_checks=frozenset({A}))
    two = {A: SigningBaseline("ADDR", NOW, height=50), B: SigningBaseline("ADDR", NOW, height=50)}
    assert saved(next_action(replace(current, awaiting_signature=two), plan(), fleet)).awaiting_signature == {A: two[A]}


def test_signing_check_before_cutover_or_in_progress_is_ignored() -> None:
    current, fleet = validators(signing={A: replace(SIGNS, time=NOW - 1)})
    awaiting = replace(current, finished={A: "done"}, awaiting_signature={A: SigningBaseline("ADDR", NOW, height=40)})
    assert saved_or_none(next_action(awaiting, plan(), fleet)) is None
    in_progress = replace(fleet, in_progress={A: Direction.FORWARD}, signing={})
    assert not isinstance(next_action(replace(awaiting, finished={}), plan(), in_progress), actions.CheckSigning)


@pytest.mark.parametrize("age", [RECHECK_INTERVAL - 0.1, RECHECK_INTERVAL])
def test_signing_check_is_repeated_after_recheck_interval(age: float) -> None:
    current, fleet = validators(signing={A: replace(SIGNS, time=NOW - age, height=0, problem="silent")})
    action = next_action(replace(current, **AWAITING), plan(), fleet)
    assert (action == actions.CheckSigning((A,))) is (age >= RECHECK_INTERVAL)


def test_validator_that_does_not_resume_signing_pauses_run_once() -> None:
    limit = PLAN.deadlines.ready.for_mode(Mode.VALIDATOR)
    current, fleet = validators(signing={A: replace(SIGNS, signs=False)})
    late = replace(
        current, finished={A: "done"}, awaiting_signature={A: SigningBaseline("ADDR", NOW - limit, height=50)}
    )
    paused = saved(next_action(late, plan(), fleet)).paused
    assert A in paused
    assert "height 50, does not sign" in paused
    early = replace(late, awaiting_signature={A: SigningBaseline("ADDR", NOW - limit + 1, height=50)})
    assert saved_or_none(next_action(early, plan(), fleet)) is None
    assert isinstance(next_action(replace(late, paused="so it is"), plan(), fleet), actions.FleetWait)
    unchanged_height = replace(fleet, signing={A: SIGNS})
    assert "height 50, signs" in saved(next_action(late, plan(), unchanged_height)).paused
    no_reply = replace(fleet, signing={A: replace(SIGNS, problem="no answer")})
    assert saved(next_action(late, plan(), no_reply)).paused.endswith("no answer")


# Between waves.


def test_wave_end_is_recorded_before_next_wave() -> None:
    done = campaign(A)
    wave_finished = saved(next_action(done, plan(), observation()))
    assert wave_finished.wave_finished_at == NOW
    next_wave = saved(next_action(wave_finished, plan(), observation()))
    assert (next_wave.wave, next_wave.wave_finished_at) == (1, None)
    assert (
        reasons(next_action(campaign(wave=0), plan(), observation(in_progress={A: Direction.FORWARD})))
        == "nodes in progress"
    )


def test_campaign_is_done_when_all_nodes_finished() -> None:
    assert next_action(campaign(*ALL, wave=2), plan(), observation()) == actions.Done()
    last = campaign(A, B, C, D, wave=2)
    assert isinstance(next_action(last, plan(), observation(in_progress={E: Direction.FORWARD})), actions.FleetWait)


def test_next_wave_waits_for_validators_awaiting_signature() -> None:
    current = campaign(A, awaiting_signature={A: SigningBaseline("ADDR", NOW, height=50)})
    fleet = observation(signing={A: replace(SIGNS, height=50)})
    assert A in reasons(next_action(current, plan(), fleet))


def test_blocked_canary_is_followed_by_canary_of_same_mode() -> None:
    blocked = replace(campaign(), finished={A: "blocked"})
    waves = saved(next_action(blocked, plan(), observation())).waves
    assert waves == (
        Wave(WaveKind.CANARY, (A,)),
        Wave(WaveKind.CANARY, (B,)),
        Wave(WaveKind.WAVE, (C,)),
        Wave(WaveKind.WAVE, (D, E)),
    )
    modes = {**nodes(), B: FleetNode(B, Mode.ARCHIVE, "pacific-1", available=True)}
    waves = saved(next_action(blocked, plan(), observation(modes))).waves
    assert waves[1:3] == (Wave(WaveKind.CANARY, (C,)), Wave(WaveKind.WAVE, (B,))), (
        "a node of another mode cannot replace the canary"
    )
    unchanged = replace(campaign(), finished={A: "unchanged"})
    assert saved(next_action(unchanged, plan(), observation())).waves == unchanged.waves


SOAK_PLAN = plan(Fleet(canary=Canary(soak=100), max_unavailable=MaxUnavailable(fleet="2")))
HEALTHY = SoakHistory.start(HealthSample(NOW, True, "pod", 200, height=5))


def test_canary_health_is_checked_during_soak() -> None:
    soaking = campaign(A, wave_finished_at=NOW - 40)
    assert next_action(soaking, SOAK_PLAN, observation()) == actions.CheckCanaryHealth((A,))
    assert not isinstance(
        next_action(soaking, SOAK_PLAN, observation(pending_checks=frozenset({A}))), actions.CheckCanaryHealth
    )
    assert "60 s remaining" in reasons(next_action(soaking, SOAK_PLAN, observation(soak={A: HEALTHY})))
    old = SoakHistory.start(HealthSample(NOW - RECHECK_INTERVAL, True, "pod", 200, height=5))
    assert next_action(soaking, SOAK_PLAN, observation(soak={A: old})) == actions.CheckCanaryHealth((A,))
    soak_over = campaign(A, wave_finished_at=NOW - 100)
    assert saved(next_action(soak_over, SOAK_PLAN, observation(soak={A: HEALTHY}))).wave == 1
    assert saved(next_action(replace(soaking, promoted=True), SOAK_PLAN, observation(soak={A: HEALTHY}))).wave == 1


def test_only_cut_over_canaries_soak() -> None:
    assert saved(next_action(campaign(A, B, C, wave=1, wave_finished_at=NOW), SOAK_PLAN, observation())).wave == 2
    unchanged = replace(campaign(wave_finished_at=NOW), finished={A: "unchanged"})
    assert saved(next_action(unchanged, SOAK_PLAN, observation())).wave == 1


def test_unhealthy_canary_is_rolled_back_and_stops_run() -> None:
    soaking = campaign(A, wave_finished_at=NOW - 40)
    replaced_pod = replace(HEALTHY, last=HealthSample(NOW, True, "another pod", 200))
    stopped = saved(next_action(soaking, SOAK_PLAN, observation(soak={A: replaced_pod})))
    assert stopped.stopped
    assert (stopped.pending_rollbacks, stopped.failed) == ((A,), (A,))
    no_reply = replace(
        HEALTHY, last_reply_at=NOW - PLAN.deadlines.response, last=HealthSample(NOW, True, "pod", None, "timed out", 5)
    )
    assert "timed out" in saved(next_action(soaking, SOAK_PLAN, observation(soak={A: no_reply}))).paused


def test_canary_height_must_increase_in_modes_that_sync() -> None:
    soaking, unchanged_height = (
        campaign(A, wave_finished_at=NOW - 40),
        replace(HEALTHY, height_increased_at=NOW - PLAN.deadlines.stuck),
    )
    assert saved(next_action(soaking, SOAK_PLAN, observation(soak={A: unchanged_height}))).stopped
    seed = observation(nodes(Mode.SEED), soak={A: unchanged_height})
    assert isinstance(next_action(soaking, SOAK_PLAN, seed), actions.FleetWait)
    deleted = observation({key: node for key, node in nodes().items() if key != A}, soak={A: unchanged_height})
    assert isinstance(next_action(soaking, SOAK_PLAN, deleted), actions.FleetWait)


def test_soak_lasts_for_full_duration() -> None:
    last = next_action(campaign(A, wave_finished_at=NOW - 99.5), SOAK_PLAN, observation(soak={A: HEALTHY}))
    assert isinstance(last, actions.FleetWait)


def test_deleted_canary_does_not_block_others() -> None:
    deleted = observation({key: node for key, node in nodes().items() if key != A})
    assert saved(next_action(replace(campaign(), finished={A: "blocked"}), plan(), deleted)).wave_finished_at == NOW


def test_manual_promotion_is_required_after_soak() -> None:
    manual = plan(Fleet(canary=Canary(soak=0, promote="manual")))
    waiting = campaign(A, wave_finished_at=NOW)
    assert reasons(next_action(waiting, manual, observation(soak={A: HEALTHY}))).endswith("seimigrate promote")
    assert saved(next_action(replace(waiting, promoted=True), manual, observation(soak={A: HEALTHY}))).wave == 1


# Gates.


def test_gate_is_queried_and_its_verdict_decides() -> None:
    gated, wave_finished = plan(gates=(HTTP,)), campaign(A, wave_finished_at=NOW)
    assert next_action(wave_finished, gated, observation()) == actions.QueryGate("smoke")
    querying = next_action(wave_finished, gated, observation(pending_checks=frozenset({"smoke"})))
    assert querying == actions.FleetWait(("querying gate smoke",), 1.0)

    def after_verdict(verdict: Verdict, rollback_scope: RollbackScope = RollbackScope.NONE) -> Campaign:
        gate_results = {"smoke": GateResult("smoke", verdict, "because")}
        failing = plan(failure=Failure(rollback_scope=rollback_scope), gates=(HTTP,))
        return saved(next_action(wave_finished, failing, observation(gate_results=gate_results)))

    assert after_verdict(Verdict.PASS).passed_gates == ("smoke",)
    assert (after_verdict(Verdict.FAIL).stopped, after_verdict(Verdict.FAIL).pending_rollbacks) == (
        "gate smoke: because",
        (),
    )
    assert after_verdict(Verdict.FAIL, RollbackScope.ALL).pending_rollbacks == (A,)
    assert after_verdict(Verdict.INCONCLUSIVE).paused == "gate smoke: because"
    passed = replace(wave_finished, passed_gates=("smoke",))
    assert saved(next_action(passed, gated, observation())).wave == 1
    promoted = replace(wave_finished, promoted=True)
    assert saved(next_action(promoted, gated, observation())).passed_gates == ("smoke",)


def test_gate_is_queried_only_after_its_kind_of_wave() -> None:
    for timing, expected in ((GateTiming.CANARY, (True, False)), (GateTiming.WAVE, (False, True))):
        gated = plan(gates=(HTTP.model_copy(update={"after": (timing,)}),))
        after = (campaign(A, wave_finished_at=NOW), campaign(A, B, C, wave=1, wave_finished_at=NOW))
        assert (
            tuple(next_action(each, gated, observation()) == actions.QueryGate("smoke") for each in after) == expected
        )


def test_manual_gate_waits_with_its_message() -> None:
    querying = next_action(campaign(A, wave_finished_at=NOW), plan(gates=(MANUAL,)), observation())
    assert querying == actions.FleetWait(
        ("gate eyes: the dashboard; manual approval required: seimigrate promote",), RECHECK_INTERVAL
    )


# Stop and pause.


@pytest.mark.parametrize(
    ("on_exceeded", "rollback_scope"),
    [("stop", RollbackScope.NONE), ("stop", RollbackScope.ALL), ("pause", RollbackScope.ALL)],
)
def test_exceeded_failures_stop_or_pause_run(on_exceeded: str, rollback_scope: RollbackScope) -> None:
    failed = campaign(A, B, wave=1, failed=(B, C))
    allowed = plan(
        failure=Failure.model_validate(
            {"maxFailedNodes": 2, "onExceeded": on_exceeded, "rollbackScope": rollback_scope}
        )
    )
    assert isinstance(
        next_action(failed, allowed, observation()), actions.StartNodes | actions.FleetWait | actions.SaveCampaign
    )
    assert saved_or_none(next_action(failed, allowed, observation())) is None
    strict = plan(
        failure=Failure.model_validate(
            {"maxFailedNodes": 1, "onExceeded": on_exceeded, "rollbackScope": rollback_scope}
        )
    )
    updated = saved(next_action(failed, strict, observation()))
    assert f"2 failed nodes exceed maxFailedNodes (1): {B}, {C}" in (
        updated.paused if on_exceeded == "pause" else updated.stopped
    )
    assert bool(updated.pending_rollbacks) is (on_exceeded == "stop" and rollback_scope is RollbackScope.ALL)
    assert not isinstance(next_action(replace(failed, paused="already"), strict, observation()), actions.SaveCampaign)


def test_paused_run_starts_no_node() -> None:
    assert next_action(campaign(paused="by ann"), plan(), observation()) == actions.FleetWait(
        ("paused: by ann",), RECHECK_INTERVAL
    )
    assert next_action(campaign(*ALL, wave=2, paused="by ann"), plan(), observation()) == actions.Done()


def test_stopped_run_waits_for_nodes_in_progress_and_ends() -> None:
    stopped = campaign(A, wave=1, stopped="enough")
    in_progress = {B: Direction.FORWARD}
    assert next_action(stopped, plan(), observation(in_progress=in_progress)) == actions.FleetWait(
        ("stopping: enough",), RECHECK_INTERVAL
    )
    aborting = replace(stopped, roll_back_in_flight=True)
    assert next_action(aborting, plan(), observation(in_progress=in_progress)) == actions.RollBackInFlight(
        (B,), "enough"
    )
    assert next_action(aborting, plan(), observation(in_progress={B: Direction.ROLLBACK})) == actions.FleetWait(
        ("stopping: enough",), RECHECK_INTERVAL
    )
    assert next_action(stopped, plan(), observation()) == actions.Done()


def test_rollbacks_wait_for_cutovers_and_respect_budgets() -> None:
    rolling_back = campaign(A, B, C, wave=1, stopped="enough", pending_rollbacks=(C, B, A))
    assert next_action(rolling_back, plan(), observation()) == actions.RollBackNode(C, "enough")
    assert isinstance(
        next_action(rolling_back, plan(), observation(in_progress={D: Direction.FORWARD})), actions.FleetWait
    )
    assert next_action(rolling_back, plan(), observation(in_progress={C: Direction.ROLLBACK})) == actions.RollBackNode(
        B, "enough"
    )
    both = {C: Direction.ROLLBACK, B: Direction.ROLLBACK}
    assert isinstance(next_action(rolling_back, plan(), observation(in_progress=both)), actions.FleetWait)
    down = nodes(down=(D, E))
    assert next_action(rolling_back, plan(), observation(down)) == actions.RollBackNode(C, "enough"), (
        "one node may always roll back"
    )
    chain = observation(nodes(Mode.VALIDATOR), in_progress={C: Direction.ROLLBACK})
    assert isinstance(next_action(rolling_back, plan(), chain), actions.FleetWait), (
        "validators of one chain roll back one at a time"
    )
    two = {**chain.nodes, C: replace(chain.nodes[C], chain="atlantic-2")}
    assert next_action(rolling_back, plan(), replace(chain, nodes=two)) == actions.RollBackNode(B, "enough")


# The wait reason that the record alone implies.


def test_wait_reason_names_why_no_node_starts() -> None:
    assert wait_reason(campaign(A, stopped="enough"), plan(), NOW) == "stopping: enough"
    assert wait_reason(campaign(A, paused="by ann"), plan(), NOW) == "paused: by ann"
    assert wait_reason(campaign(*ALL, wave=3, wave_finished_at=NOW), SOAK_PLAN, NOW) == ""
    assert wait_reason(campaign(A), SOAK_PLAN, NOW) == ""
    assert "60 s remaining" in wait_reason(campaign(A, wave_finished_at=NOW - 40), SOAK_PLAN, NOW)
    assert wait_reason(campaign(A, wave_finished_at=NOW - 40, promoted=True), SOAK_PLAN, NOW) == ""
    assert wait_reason(campaign(A, wave_finished_at=NOW - 100), SOAK_PLAN, NOW) == ""
    assert wait_reason(replace(campaign(wave_finished_at=NOW), finished={A: "unchanged"}), SOAK_PLAN, NOW) == ""
    assert wait_reason(campaign(A, wave_finished_at=NOW), plan(gates=(HTTP,)), NOW) == "querying gate smoke"
    assert wait_reason(campaign(A, wave_finished_at=NOW), plan(gates=(MANUAL,)), NOW).startswith(
        "gate eyes: the dashboard"
    )
