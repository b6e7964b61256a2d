"""What to do next with a fleet: a pure function of its campaign, the plan and what is seen.

Read top-down: first what ends a run, then what pauses it, then the present wave. Every budget is a property of
``next_step`` and can be checked for all its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from seimigrate.domain.fleet import health, signing
from seimigrate.domain.fleet.budget import Returns, may_start
from seimigrate.domain.fleet.campaign import MOVED, PROVEN, Campaign
from seimigrate.domain.fleet.order import Kind, Wave
from seimigrate.domain.fleet.picture import Picture
from seimigrate.domain.fleet.steps import Back, End, Judge, Keep, Look, Rest, Sight, Start, Step, Turn
from seimigrate.domain.gates import Gate, PersonGate, Verdict, When
from seimigrate.domain.plan import Mode, Plan
from seimigrate.domain.record import Direction
from seimigrate.domain.rollout import RECHECK

ON_THEIR_WAY = "nodes are on their way"
PROMOTE = "waits for a person: seimigrate promote"


def next_step(campaign: Campaign, plan: Plan, at: Picture) -> Step:
    """Decide what to do next with a fleet."""
    if campaign.stopped:
        return _stopping(campaign, plan, at)
    return _failing(campaign, plan) or _signing(campaign, plan, at) or _wave(campaign, plan, at)


def standing(campaign: Campaign, plan: Plan, now: float) -> str:
    """Say why nothing starts just now, as far as the run's record alone tells; empty where it does not."""
    if campaign.halted:
        return campaign.halted
    wave = campaign.present
    if wave is None or campaign.rested is None or campaign.promoted:
        return ""
    if _moved(campaign, wave) and (reason := _soaking(campaign, wave, plan, now)):
        return reason
    gate = next(iter(_due(campaign, wave, plan)), None)
    return _asked(gate) if gate is not None else ""


def _stopping(campaign: Campaign, plan: Plan, at: Picture) -> Step:
    """Start nothing more: what is on its way ends it, or turns back; then those go back that are to, within budgets."""
    forwards = tuple(key for key, direction in at.moving.items() if direction is Direction.FORWARD)
    if campaign.turning and forwards:
        return Turn(forwards, campaign.stopped)
    returns = Returns(campaign.keys, plan.fleet.max_unavailable, at)
    waiting = [key for key in campaign.undo if key not in at.moving] if not forwards else []
    if (key := next((key for key in waiting if returns.may(key)), None)) is not None:
        return Back(key, campaign.stopped)
    return Rest((campaign.halted,), RECHECK) if at.moving else End()


def _failing(campaign: Campaign, plan: Plan) -> Step | None:
    """Stop, or pause, when more nodes have failed than the run may go on after."""
    failed, allowed = campaign.failed, plan.failure.max_failed
    if len(failed) <= allowed or campaign.paused:
        return None
    reason = f"{len(failed)} failed, and at most {allowed} may: {', '.join(failed)}"
    if plan.failure.run == "pause":
        return Keep(campaign.pause(reason))
    return Keep(campaign.stop(reason, plan.failure.undo))


def _signing(campaign: Campaign, plan: Plan, at: Picture) -> Step | None:
    """See whether validators that moved sign again."""
    due = {key: each for key, each in campaign.signing.items() if key not in at.moving}
    old = (key for key in due if key not in at.sights or at.now - at.sights[key].at >= RECHECK)
    if ask := tuple(key for key in old if key not in at.asking):
        return Sight(ask)
    for key, each in due.items():
        seen = at.sights.get(key)
        if seen is None or seen.at < each.since:
            continue
        if not each.height and seen.height:
            return Keep(campaign.sign(key, replace(each, height=seen.height)))
        if signing.is_back(each, seen):
            return Keep(campaign.sign(key, None))
        if not campaign.paused and at.now - each.since >= plan.deadlines.ready.of(Mode.VALIDATOR):
            told = seen.problem or f"height {seen.height}, {'signs' if seen.signs else 'does not sign'}"
            return Keep(campaign.pause(f"validator {key} has not been seen signing again: {told}"))
    return None


def _wave(campaign: Campaign, plan: Plan, at: Picture) -> Step:
    left = campaign.waiting(at.moving)
    if not left and not at.moving:
        return End()
    if campaign.paused:
        return Rest((campaign.halted,), RECHECK)
    wave = campaign.present
    assert wave is not None
    waiting = [key for key in wave.nodes if key in set(left)]
    if waiting:
        return _start(campaign, waiting, plan, at)
    if any(key in at.moving for key in wave.nodes) or not left:
        return Rest((ON_THEIR_WAY,), RECHECK)
    if campaign.signing:
        return Rest((f"validator {', '.join(campaign.signing)} has yet to be seen signing again",), RECHECK)
    return _after(campaign, wave, plan, at)


def _start(campaign: Campaign, waiting: list[str], plan: Plan, at: Picture) -> Step:
    turn = may_start(campaign, waiting, plan.fleet.max_unavailable, at)
    if turn.keys:
        return Start(tuple(turn.keys))
    if turn.ask:
        return Sight(tuple(turn.ask))
    if not at.moving and at.now - at.idle >= plan.deadlines.eviction:
        return Keep(campaign.pause(f"nothing could start for {at.now - at.idle:.0f} s: {'; '.join(turn.reasons)}"))
    return Rest(tuple(turn.reasons), RECHECK)


def _after(campaign: Campaign, wave: Wave, plan: Plan, at: Picture) -> Step:
    """Soak, promotion and gates, in this order, between a wave whose nodes have ended and the next one."""
    if wave.kind is Kind.CANARY and (heralds := _unproven(campaign, wave, at)):
        return Keep(_with_canaries(campaign, heralds))
    if campaign.rested is None:
        return Keep(replace(campaign, rested=at.now))
    if _moved(campaign, wave) and (step := _soak(campaign, wave, plan, at)):
        return step
    return _gates(campaign, wave, plan, at) or Keep(campaign.next_wave())


def _unproven(campaign: Campaign, wave: Wave, at: Picture) -> tuple[str, ...]:
    """Give the next node of each mode whose canary did not come through: its others must not go without one."""

    def mode(key: str) -> Mode | None:
        return at.nodes[key].mode if key in at.nodes else None

    proven = {mode(key) for key in wave.nodes if campaign.ended.get(key) in PROVEN}
    left = campaign.waiting(at.moving)
    missing = dict.fromkeys(mode(key) for key in wave.nodes if mode(key) not in proven)
    return tuple(key for each in missing for key in [k for k in left if mode(k) is each][:1])


def _with_canaries(campaign: Campaign, keys: tuple[str, ...]) -> Campaign:
    done, rest = campaign.waves[: campaign.wave + 1], campaign.waves[campaign.wave + 1 :]
    thinned = (replace(wave, nodes=tuple(key for key in wave.nodes if key not in keys)) for wave in rest)
    waves = (*done, Wave(Kind.CANARY, keys), *(wave for wave in thinned if wave.nodes))
    return replace(campaign, waves=waves).next_wave()


def _moved(campaign: Campaign, wave: Wave) -> list[str]:
    return [key for key in wave.nodes if campaign.ended.get(key) in MOVED]


def _soaking(campaign: Campaign, wave: Wave, plan: Plan, now: float) -> str:
    """Say for how long canaries are still watched, or that a person has to say so; empty if that is over."""
    if wave.kind is not Kind.CANARY or campaign.rested is None or campaign.promoted:
        return ""
    left = campaign.rested + plan.fleet.canary.soak - now
    if left > 0:
        return f"soak: canaries are watched for another {left:.0f} s"
    return PROMOTE if plan.fleet.canary.promote == "manual" else ""


def _soak(campaign: Campaign, wave: Wave, plan: Plan, at: Picture) -> Step | None:
    """Watch the canaries until they have been well for long enough; one that is not goes back, and the run stops."""
    reason, moved = _soaking(campaign, wave, plan, at.now), _moved(campaign, wave)
    if not reason:
        return None
    old = (key for key in moved if key not in at.watches or at.now - at.watches[key].last.at >= RECHECK)
    if ask := tuple(key for key in old if key not in at.asking):
        return Look(ask)
    for key in (key for key in moved if key in at.watches):
        said = health.judge(key, at.nodes[key].mode if key in at.nodes else None, at.watches[key], plan.deadlines)
        if said.verdict is Verdict.FAIL:
            stopped = campaign.stop(said.reason, plan.failure.undo, also=(key,))
            return Keep(replace(stopped, failed=(*campaign.failed, key)))
        if said.verdict is Verdict.INCONCLUSIVE:
            return Keep(campaign.pause(said.reason))
    return Rest((reason,), RECHECK)


def _gates(campaign: Campaign, wave: Wave, plan: Plan, at: Picture) -> Step | None:
    for gate in _due(campaign, wave, plan):
        passed = replace(campaign, passed=(*campaign.passed, gate.name))
        if campaign.promoted:
            return Keep(passed)
        if isinstance(gate, PersonGate):
            return Rest((_asked(gate),), RECHECK)
        said = at.judgements.get(gate.name)
        if said is None:
            return Rest((_asked(gate),), 1.0) if gate.name in at.asking else Judge(gate.name)
        reason = f"gate {gate.name}: {said.reason}"
        match said.verdict:
            case Verdict.PASS:
                return Keep(passed)
            case Verdict.FAIL:
                return Keep(campaign.stop(reason, plan.failure.undo))
            case Verdict.INCONCLUSIVE:
                return Keep(campaign.pause(reason))
    return None


def _due(campaign: Campaign, wave: Wave, plan: Plan) -> Iterator[Gate]:
    """Give the gates after this wave that have yet to be passed."""
    when = When.CANARY if wave.kind is Kind.CANARY else When.WAVE
    return (gate for gate in plan.gates if when in gate.when and gate.name not in campaign.passed)


def _asked(gate: Gate) -> str:
    return f"gate {gate.name}: {gate.ask}; {PROMOTE}" if isinstance(gate, PersonGate) else f"gate {gate.name} is asked"
