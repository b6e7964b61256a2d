"""The reconciler of a fleet: a pure function of its campaign, the plan and the observation.

It checks first what stops a run, then what pauses it, then the current wave. Every budget is a property of
``next_action`` and can be checked for all its inputs.
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

NODES_IN_PROGRESS = "nodes in progress"
APPROVAL_REQUIRED = "manual approval required: seimigrate promote"


def next_action(campaign: Campaign, plan: Plan, fleet: FleetObservation) -> FleetAction:
    """Return the next action for a fleet."""
    if campaign.stopped:
        return _stopping(campaign, plan, fleet)
    return _failing(campaign, plan) or _signing(campaign, plan, fleet) or _wave(campaign, plan, fleet)


def wait_reason(campaign: Campaign, plan: Plan, now: float) -> str:
    """Return why no node starts now, as far as the run's record shows; empty if it shows no reason."""
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
    """Finish or roll back the nodes in progress, then run the pending rollbacks within the budgets."""
    forward = tuple(key for key, direction in fleet.in_progress.items() if direction is Direction.FORWARD)
    if campaign.roll_back_in_flight and forward:
        return RollBackInFlight(forward, campaign.stopped)
    budget = RollbackBudget(campaign.keys, plan.fleet.max_unavailable, fleet)
    waiting = [key for key in campaign.pending_rollbacks if key not in fleet.in_progress] if not forward else []
    if (key := next((key for key in waiting if budget.allows(key)), None)) is not None:
        return RollBackNode(key, campaign.stopped)
    return FleetWait((campaign.halt_reason,), RECHECK_INTERVAL) if fleet.in_progress else Done()


def _failing(campaign: Campaign, plan: Plan) -> FleetAction | None:
    """Stop or pause the run if more nodes failed than the plan allows."""
    failed, allowed = campaign.failed, plan.failure.max_failed_nodes
    if len(failed) <= allowed or campaign.paused:
        return None
    exceed = "failed node exceeds" if len(failed) == 1 else "failed nodes exceed"
    reason = f"{len(failed)} {exceed} maxFailedNodes ({allowed}): {', '.join(failed)}"
    if plan.failure.on_exceeded == "pause":
        return SaveCampaign(campaign.pause(reason))
    return SaveCampaign(campaign.stop(reason, plan.failure.rollback_scope))


def _signing(campaign: Campaign, plan: Plan, fleet: FleetObservation) -> FleetAction | None:
    """Check whether validators that were cut over have resumed signing."""
    due = {key: base for key, base in campaign.awaiting_signature.items() if key not in fleet.in_progress}
    stale = (key for key in due if key not in fleet.signing or fleet.now - fleet.signing[key].time >= RECHECK_INTERVAL)
    if check := tuple(key for key in stale if key not in fleet.pending_checks):
        return CheckSigning(check)
    for key, baseline in due.items():
        status = fleet.signing.get(key)
        if status is None or status.time < baseline.since:
            continue
        if not baseline.height and status.height:
            return SaveCampaign(campaign.expect_signature(key, replace(baseline, height=status.height)))
        if signing.signs_again(baseline, status):
            return SaveCampaign(campaign.expect_signature(key, None))
        if not campaign.paused and fleet.now - baseline.since >= plan.deadlines.ready.for_mode(Mode.VALIDATOR):
            detail = status.problem or f"height {status.height}, {'signs' if status.signs else 'does not sign'}"
            return SaveCampaign(campaign.pause(f"validator {key} has not resumed signing: {detail}"))
    return None


def _wave(campaign: Campaign, plan: Plan, fleet: FleetObservation) -> FleetAction:
    remaining = campaign.waiting(fleet.in_progress)
    if not remaining and not fleet.in_progress:
        return Done()
    if campaign.paused:
        return FleetWait((campaign.halt_reason,), RECHECK_INTERVAL)
    wave = campaign.current_wave
    assert wave is not None
    waiting = [key for key in wave.nodes if key in set(remaining)]
    if waiting:
        return _start(campaign, waiting, plan, fleet)
    if any(key in fleet.in_progress for key in wave.nodes) or not remaining:
        return FleetWait((NODES_IN_PROGRESS,), RECHECK_INTERVAL)
    if campaign.awaiting_signature:
        return FleetWait(
            (f"validator {', '.join(campaign.awaiting_signature)} has not resumed signing",), RECHECK_INTERVAL
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
                f"no node could start for {fleet.now - fleet.idle_since:.0f} s: {'; '.join(decision.wait_reasons)}"
            )
        )
    return FleetWait(tuple(decision.wait_reasons), RECHECK_INTERVAL)


def _between_waves(campaign: Campaign, wave: Wave, plan: Plan, fleet: FleetObservation) -> FleetAction:
    """Run soak, manual promotion and gates, in this order, between a finished wave and the next one."""
    if wave.kind is WaveKind.CANARY and (canaries := _next_canaries(campaign, wave, fleet)):
        return SaveCampaign(_with_canaries(campaign, canaries))
    if campaign.wave_finished_at is None:
        return SaveCampaign(replace(campaign, wave_finished_at=fleet.now))
    if _cut_over_nodes(campaign, wave) and (step := _soak(campaign, wave, plan, fleet)):
        return step
    return _gates(campaign, wave, plan, fleet) or SaveCampaign(campaign.next_wave())


def _next_canaries(campaign: Campaign, wave: Wave, fleet: FleetObservation) -> tuple[str, ...]:
    """Return the next node of each mode whose canary did not pass, because each mode needs a passed canary."""

    def mode(key: str) -> Mode | None:
        return fleet.nodes[key].mode if key in fleet.nodes else None

    passed = {mode(key) for key in wave.nodes if campaign.finished.get(key) in CANARY_PASSED}
    remaining = campaign.waiting(fleet.in_progress)
    missing = dict.fromkeys(mode(key) for key in wave.nodes if mode(key) not in passed)
    return tuple(key for each in missing for key in [k for k in remaining if mode(k) is each][:1])


def _with_canaries(campaign: Campaign, keys: tuple[str, ...]) -> Campaign:
    done, rest = campaign.waves[: campaign.wave + 1], campaign.waves[campaign.wave + 1 :]
    reduced = (replace(wave, nodes=tuple(key for key in wave.nodes if key not in keys)) for wave in rest)
    waves = (*done, Wave(WaveKind.CANARY, keys), *(wave for wave in reduced if wave.nodes))
    return replace(campaign, waves=waves).next_wave()


def _cut_over_nodes(campaign: Campaign, wave: Wave) -> list[str]:
    return [key for key in wave.nodes if campaign.finished.get(key) in CUT_OVER]


def _soak_remaining(campaign: Campaign, wave: Wave, plan: Plan, now: float) -> str:
    """Return the remaining soak time or that manual approval is required; empty if the soak is complete."""
    if wave.kind is not WaveKind.CANARY or campaign.wave_finished_at is None or campaign.promoted:
        return ""
    remaining = campaign.wave_finished_at + plan.fleet.canary.soak - now
    if remaining > 0:
        return f"canary soak: {remaining:.0f} s remaining"
    return APPROVAL_REQUIRED if plan.fleet.canary.promote == "manual" else ""


def _soak(campaign: Campaign, wave: Wave, plan: Plan, fleet: FleetObservation) -> FleetAction | None:
    """Check the canaries during the soak; an unhealthy canary is rolled back and the run stops."""
    reason, canaries = _soak_remaining(campaign, wave, plan, fleet.now), _cut_over_nodes(campaign, wave)
    if not reason:
        return None
    stale = (k for k in canaries if k not in fleet.soak or fleet.now - fleet.soak[k].last.time >= RECHECK_INTERVAL)
    if check := tuple(key for key in stale if key not in fleet.pending_checks):
        return CheckCanaryHealth(check)
    for key in (key for key in canaries if key in fleet.soak):
        result = soak.evaluate(
            key, fleet.nodes[key].mode if key in fleet.nodes else None, fleet.soak[key], plan.deadlines
        )
        if result.verdict is Verdict.FAIL:
            stopped = campaign.stop(result.reason, plan.failure.rollback_scope, first=(key,))
            return SaveCampaign(replace(stopped, failed=(*campaign.failed, key)))
        if result.verdict is Verdict.INCONCLUSIVE:
            return SaveCampaign(campaign.pause(result.reason))
    return FleetWait((reason,), RECHECK_INTERVAL)


def _gates(campaign: Campaign, wave: Wave, plan: Plan, fleet: FleetObservation) -> FleetAction | None:
    for gate in _pending_gates(campaign, wave, plan):
        passed = replace(campaign, passed_gates=(*campaign.passed_gates, gate.name))
        if campaign.promoted:
            return SaveCampaign(passed)
        if isinstance(gate, ManualGate):
            return FleetWait((_gate_prompt(gate),), RECHECK_INTERVAL)
        result = fleet.gate_results.get(gate.name)
        if result is None:
            return FleetWait((_gate_prompt(gate),), 1.0) if gate.name in fleet.pending_checks else QueryGate(gate.name)
        reason = f"gate {gate.name}: {result.reason}"
        match result.verdict:
            case Verdict.PASS:
                return SaveCampaign(passed)
            case Verdict.FAIL:
                return SaveCampaign(campaign.stop(reason, plan.failure.rollback_scope))
            case Verdict.INCONCLUSIVE:
                return SaveCampaign(campaign.pause(reason))
    return None


def _pending_gates(campaign: Campaign, wave: Wave, plan: Plan) -> Iterator[Gate]:
    """Return the gates after this wave that have not passed."""
    timing = GateTiming.CANARY if wave.kind is WaveKind.CANARY else GateTiming.WAVE
    return (gate for gate in plan.gates if timing in gate.after and gate.name not in campaign.passed_gates)


def _gate_prompt(gate: Gate) -> str:
    return (
        f"gate {gate.name}: {gate.message}; {APPROVAL_REQUIRED}"
        if isinstance(gate, ManualGate)
        else f"querying gate {gate.name}"
    )
