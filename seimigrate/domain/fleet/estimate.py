"""How long a run may take, judged by how long the pods that run now took to get ready."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from statistics import median

from seimigrate.domain.fleet.wave_planning import Wave, WaveKind
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import observation
from seimigrate.domain.plan.plan import Mode, Plan

STOP_SECONDS = 15.0
"""Seconds that a pod is thought to take to stop."""
DEFAULT_START_SECONDS = 120.0
"""Seconds that a pod is thought to take to get ready where no pod tells it."""


def start_of(pod: Object | None, longest: float) -> float | None:
    """Give the seconds from a pod's creation until it was Ready; ``None`` if that cannot be told.

    A pod that was unready later on tells nothing: its condition is newer than its start, and would be ``longest`` off.
    """
    ready = observation.condition(pod, "Ready")
    if pod is None or ready.get("status") != "True":
        return None
    try:
        began = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        took = (datetime.fromisoformat(ready["lastTransitionTime"]) - began).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None
    return took if 0 <= took <= longest else None


def of_node(plan: Plan, start: float, restarts: int) -> float:
    """Give the seconds that a node may take: its restarts, and what a release waits for."""
    return restarts * (STOP_SECONDS + start) + (plan.release.stabilization if plan.release.agreement_timeout else 0)


def of_run(plan: Plan, waves: Iterable[Wave], seconds: Mapping[str, float], at_once: int) -> float:
    """Give the seconds that a run may take with so many nodes at once; ``seconds`` are those of the nodes that move.

    After canaries comes the soak; gates and people are thought to take no time.
    """
    total = 0.0
    for wave in waves:
        times = sorted((seconds[key] for key in wave.nodes if key in seconds), reverse=True)
        # The slowest of each handful that moves together: no better than the real order, and no worse by much.
        total += sum(times[::at_once])
        total += plan.fleet.canary.soak if times and wave.kind is WaveKind.CANARY else 0
    return total


def start_durations(pods: Iterable[tuple[str, Mode | None, Object | None]], plan: Plan) -> dict[str, float]:
    """Give how long each node (by its key) may take to get ready: as last time, else as its mode, else as any."""
    listed = list(pods)
    known = {key: took for key, mode, pod in listed if (took := start_of(pod, _longest(plan, mode))) is not None}
    modes = {key: mode for key, mode, _ in listed}
    anyone = median(known.values()) if known else DEFAULT_START_SECONDS

    def guess(mode: Mode | None) -> float:
        alike = [took for key, took in known.items() if modes[key] is mode]
        return median(alike) if alike else anyone

    return {key: known[key] if key in known else guess(mode) for key, mode, _ in listed}


def _longest(plan: Plan, mode: Mode | None) -> float:
    return plan.deadlines.ready.default if mode is None else plan.deadlines.ready.for_mode(mode)
