"""What to do next with a fleet: a pure function of its campaign, the plan and what is seen.

Read top-down: first what ends a run, then what pauses it, then the present wave. Every budget is a property of
``next_step`` and can be checked for all its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from seimigrate.domain.fleet import signing, soak
from seimigrate.domain.fleet.actions import (
    CheckCanaryHealth,
    CheckSigning,
    Done,
    FleetAction,
    FleetWait,
    QueryGate,
    RollBackInFlight,
    RollBackNode,
    SaveCampaign,
    StartNodes,
)
from seimigrate.domain.fleet.budget import RollbackBudget, may_start
from seimigrate.domain.fleet.campaign import CANARY_PASSED, CUT_OVER, Campaign
from seimigrate.domain.fleet.observation import FleetObservation
from seimigrate.domain.fleet.wave_planning import Wave, WaveKind
from seimigrate.domain.node.record import Direction
from seimigrate.domain.node.rollout import RECHECK_INTERVAL
from seimigrate.domain.plan.gates import Gate, GateTiming, ManualGate, Verdict
from seimigrate.domain.plan.plan import Mode, Plan

NODES_IN_PROGRESS = "nodes are on their way"
APPROVAL_REQUIRED = "waits for a person: seimigrate promote"


def next_action(campaign: Campaign, plan: Plan, fleet: FleetObservation) -> FleetAction:
    """Decide what to do next with a fleet."""
    if campaign.stopped:
        return _stopping(campaign, plan, fleet)
    return _failing(campaign, plan) or _signing(campaign, plan, fleet) or _wave(campaign, plan, fleet)


def wait_reason(campaign: Campaign, plan: Plan, now: float) -> str:
    """Say why nothing starts just now, as far as the run's record alone tells; empty where it does not."""
    if campaign.halt_reason:
        return campaign.halt_reason
    wave = campaign.current_wave
    if wave is None or campaign.wave_finished_at is None or campaign.promoted:
        return ""
    if _cut_over_nodes(campaign, wave) and (reason := _soak_remaining(campaign, wave, plan, now)):
        return reason
    gate = next(iter(_pending_gates(campaign, wave, plan)), None)
    return _gate_prompt(gate) if gate is not None else ""


def _stopping(campaign: Campaign, plan: Plan, fleet: FleetObservation) -> FleetAction:
    """Start nothing more: what is on its way ends it, or turns back; then those go back that are to, within budgets."""
    forwards = tuple(key for key, direction in fleet.in_progress.items() if direction is Direction.FORWARD)
    if campaign.roll_back_in_flight and forwards:
        return RollBackInFlight(forwards, campaign.stopped)
    returns = RollbackBudget(campaign.keys, plan.fleet.max_unavailable, fleet)
    waiting = [key for key in campaign.pending_rollbacks if key not in fleet.in_progress] if not forwards else []
    if (key := next((key for key in waiting if returns.allows(key)), None)) is not None:
        return RollBackNode(key, campaign.stopped)
    return FleetWait((campaign.halt_reason,), RECHECK_INTERVAL) if fleet.in_progress else Done()


def _failing(campaign: Campaign, plan: Plan) -> FleetAction | None:
    """Stop, or pause, when more nodes have failed than the run may go on after."""
    failed, allowed = campaign.failed, plan.failure.max_failed_nodes
    if len(failed) <= allowed or campaign.paused:
        return None
    reason = f"{len(failed)} failed, and at most {allowed} may: {', '.join(failed)}"
    if plan.failure.on_exceeded == "pause":
        return SaveCampaign(campaign.pause(reason))
    return SaveCampaign(campaign.stop(reason, plan.failure.rollback_scope))


def _signing(campaign: Campaign, plan: Plan, fleet: FleetObservation) -> FleetAction | None:
    """See whether validators that moved sign again."""
    due = {key: each for key, each in campaign.awaiting_signature.items() if key not in fleet.in_progress}
    old = (key for key in due if key not in fleet.signing or fleet.now - fleet.signing[key].time >= RECHECK_INTERVAL)
    if ask := tuple(key for key in old if key not in fleet.pending_checks):
        return CheckSigning(ask)
    for key, each in due.items():
        seen = fleet.signing.get(key)
        if seen is None or seen.time < each.since:
            continue
        if not each.height and seen.height:
            return SaveCampaign(campaign.expect_signature(key, replace(each, height=seen.height)))
        if signing.signs_again(each, seen):
            return SaveCampaign(campaign.expect_signature(key, None))
        if not campaign.paused and fleet.now - each.since >= plan.deadlines.ready.for_mode(Mode.VALIDATOR):
            told = seen.problem or f"height {seen.height}, {'signs' if seen.signs else 'does not sign'}"
            return SaveCampaign(campaign.pause(f"validator {key} has not been seen signing again: {told}"))
    return None


def _wave(campaign: Campaign, plan: Plan, fleet: FleetObservation) -> FleetAction:
    left = campaign.waiting(fleet.in_progress)
    if not left and not fleet.in_progress:
        return Done()
    if campaign.paused:
        return FleetWait((campaign.halt_reason,), RECHECK_INTERVAL)
    wave = campaign.current_wave
    assert wave is not None
    waiting = [key for key in wave.nodes if key in set(left)]
    if waiting:
        return _start(campaign, waiting, plan, fleet)
    if any(key in fleet.in_progress for key in wave.nodes) or not left:
        return FleetWait((NODES_IN_PROGRESS,), RECHECK_INTERVAL)
    if campaign.awaiting_signature:
        return FleetWait(
            (f"validator {', '.join(campaign.awaiting_signature)} has yet to be seen signing again",), RECHECK_INTERVAL
        )
    return _between_waves(campaign, wave, plan, fleet)


def _start(campaign: Campaign, waiting: list[str], plan: Plan, fleet: FleetObservation) -> FleetAction:
    decision = may_start(campaign, waiting, plan.fleet.max_unavailable, fleet)
    if decision.startable:
        return StartNodes(tuple(decision.startable))
    if decision.check_signing:
        return CheckSigning(tuple(decision.check_signing))
    if not fleet.in_progress and fleet.now - fleet.idle_since >= plan.deadlines.eviction:
        return SaveCampaign(
            campaign.pause(
                f"nothing could start for {fleet.now - fleet.idle_since:.0f} s: {'; '.join(decision.wait_reasons)}"
            )
        )
    return FleetWait(tuple(decision.wait_reasons), RECHECK_INTERVAL)


def _between_waves(campaign: Campaign, wave: Wave, plan: Plan, fleet: FleetObservation) -> FleetAction:
    """Soak, promotion and gates, in this order, between a wave whose nodes have ended and the next one."""
    if wave.kind is WaveKind.CANARY and (heralds := _modes_without_canary(campaign, wave, fleet)):
        return SaveCampaign(_with_canaries(campaign, heralds))
    if campaign.wave_finished_at is None:
        return SaveCampaign(replace(campaign, wave_finished_at=fleet.now))
    if _cut_over_nodes(campaign, wave) and (step := _soak(campaign, wave, plan, fleet)):
        return step
    return _gates(campaign, wave, plan, fleet) or SaveCampaign(campaign.next_wave())


def _modes_without_canary(campaign: Campaign, wave: Wave, fleet: FleetObservation) -> tuple[str, ...]:
    """Give the next node of each mode whose canary did not come through: its others must not go without one."""

    def mode(key: str) -> Mode | None:
        return fleet.nodes[key].mode if key in fleet.nodes else None

    proven = {mode(key) for key in wave.nodes if campaign.finished.get(key) in CANARY_PASSED}
    left = campaign.waiting(fleet.in_progress)
    missing = dict.fromkeys(mode(key) for key in wave.nodes if mode(key) not in proven)
    return tuple(key for each in missing for key in [k for k in left if mode(k) is each][:1])


def _with_canaries(campaign: Campaign, keys: tuple[str, ...]) -> Campaign:
    done, rest = campaign.waves[: campaign.wave + 1], campaign.waves[campaign.wave + 1 :]
    thinned = (replace(wave, nodes=tuple(key for key in wave.nodes if key not in keys)) for wave in rest)
    waves = (*done, Wave(WaveKind.CANARY, keys), *(wave for wave in thinned if wave.nodes))
    return replace(campaign, waves=waves).next_wave()


def _cut_over_nodes(campaign: Campaign, wave: Wave) -> list[str]:
    return [key for key in wave.nodes if campaign.finished.get(key) in CUT_OVER]


def _soak_remaining(campaign: Campaign, wave: Wave, plan: Plan, now: float) -> str:
    """Say for how long canaries are still watched, or that a person has to say so; empty if that is over."""
    if wave.kind is not WaveKind.CANARY or campaign.wave_finished_at is None or campaign.promoted:
        return ""
    left = campaign.wave_finished_at + plan.fleet.canary.soak - now
    if left > 0:
        return f"soak: canaries are watched for another {left:.0f} s"
    return APPROVAL_REQUIRED if plan.fleet.canary.promote == "manual" else ""


def _soak(campaign: Campaign, wave: Wave, plan: Plan, fleet: FleetObservation) -> FleetAction | None:
    """Watch the canaries until they have been well for long enough; one that is not goes back, and the run stops."""
    reason, moved = _soak_remaining(campaign, wave, plan, fleet.now), _cut_over_nodes(campaign, wave)
    if not reason:
        return None
    old = (key for key in moved if key not in fleet.soak or fleet.now - fleet.soak[key].last.time >= RECHECK_INTERVAL)
    if ask := tuple(key for key in old if key not in fleet.pending_checks):
        return CheckCanaryHealth(ask)
    for key in (key for key in moved if key in fleet.soak):
        said = soak.evaluate(
            key, fleet.nodes[key].mode if key in fleet.nodes else None, fleet.soak[key], plan.deadlines
        )
        if said.verdict is Verdict.FAIL:
            stopped = campaign.stop(said.reason, plan.failure.rollback_scope, first=(key,))
            return SaveCampaign(replace(stopped, failed=(*campaign.failed, key)))
        if said.verdict is Verdict.INCONCLUSIVE:
            return SaveCampaign(campaign.pause(said.reason))
    return FleetWait((reason,), RECHECK_INTERVAL)


def _gates(campaign: Campaign, wave: Wave, plan: Plan, fleet: FleetObservation) -> FleetAction | None:
    for gate in _pending_gates(campaign, wave, plan):
        passed = replace(campaign, passed_gates=(*campaign.passed_gates, gate.name))
        if campaign.promoted:
            return SaveCampaign(passed)
        if isinstance(gate, ManualGate):
            return FleetWait((_gate_prompt(gate),), RECHECK_INTERVAL)
        said = fleet.gate_results.get(gate.name)
        if said is None:
            return FleetWait((_gate_prompt(gate),), 1.0) if gate.name in fleet.pending_checks else QueryGate(gate.name)
        reason = f"gate {gate.name}: {said.reason}"
        match said.verdict:
            case Verdict.PASS:
                return SaveCampaign(passed)
            case Verdict.FAIL:
                return SaveCampaign(campaign.stop(reason, plan.failure.rollback_scope))
            case Verdict.INCONCLUSIVE:
                return SaveCampaign(campaign.pause(reason))
    return None


def _pending_gates(campaign: Campaign, wave: Wave, plan: Plan) -> Iterator[Gate]:
    """Give the gates after this wave that have yet to be passed."""
    when = GateTiming.CANARY if wave.kind is WaveKind.CANARY else GateTiming.WAVE
    return (gate for gate in plan.gates if when in gate.after and gate.name not in campaign.passed_gates)


def _gate_prompt(gate: Gate) -> str:
    return (
        f"gate {gate.name}: {gate.message}; {APPROVAL_REQUIRED}"
        if isinstance(gate, ManualGate)
        else f"gate {gate.name} is asked"
    )
