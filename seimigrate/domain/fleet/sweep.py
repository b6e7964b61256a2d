"""What to do next in a sweep (``hold``, ``rollback``): a pure function, as ``reconcile`` is for a cutover.

A sweep processes its nodes in order, in one wave, without canaries, soak or gates. It has a campaign of its own, which
is never mixed with the cutover's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from seimigrate.domain.fleet.actions import Done, FleetAction, FleetWait, StartNodes
from seimigrate.domain.fleet.budget import RollbackBudget
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.observation import FleetObservation
from seimigrate.domain.fleet.wave_planning import Wave, WaveKind
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.node.rollout import RECHECK_INTERVAL
from seimigrate.domain.plan.fleet import MaxUnavailable

MAX_IN_PROGRESS = 12
"""Nodes of a sweep without a budget that are in progress at the same time."""
_FAILURES = (Outcome.FAILED.value, Outcome.PAUSED.value)


@dataclass(frozen=True, slots=True)
class Sweep:
    """The rules of a sweep.

    ``budget`` limits the nodes that are unavailable at the same time; ``None`` if no pod restarts.
    ``stops_on_failure`` means that no node starts after one failed.
    """

    budget: MaxUnavailable | None = None
    stops_on_failure: bool = False

    def next_action(self, campaign: Campaign, fleet: FleetObservation) -> FleetAction:
        """Return the next action; nodes in progress always finish."""
        failed = [key for key, outcome in campaign.finished.items() if outcome in _FAILURES]
        halt = f"{', '.join(failed)} failed: no more nodes start" if self.stops_on_failure and failed else ""
        waiting = campaign.waiting(fleet.in_progress) if not (campaign.stopped or halt) else []
        if not waiting and not fleet.in_progress:
            return Done()
        if reason := campaign.halt_reason or halt:
            return FleetWait((reason,), RECHECK_INTERVAL)
        if startable := self._startable(campaign, waiting, fleet):
            return StartNodes(startable)
        return FleetWait(("nodes in progress",), RECHECK_INTERVAL)

    def _startable(self, campaign: Campaign, waiting: list[str], fleet: FleetObservation) -> tuple[str, ...]:
        if self.budget is None:
            return tuple(waiting[: max(0, MAX_IN_PROGRESS - len(fleet.in_progress))])
        budget = RollbackBudget(campaign.keys, self.budget, fleet)
        # One node per action: the next one is evaluated against a fleet in which this one is in progress.
        return next(((key,) for key in waiting if budget.allows(key)), ())


def sweep_campaign(keys: Iterable[str]) -> Campaign:
    """Return the campaign of a sweep over some nodes, in this order."""
    return Campaign((Wave(WaveKind.WAVE, tuple(keys)),))
