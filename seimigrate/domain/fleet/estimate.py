"""The estimated duration of a run, from the time that the current pods took to become Ready."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from statistics import median

from seimigrate.domain.fleet.wave_planning import Wave, WaveKind
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import observation
from seimigrate.domain.plan.plan import Mode, Plan

STOP_SECONDS = 15.0
"""Assumed seconds until a pod stops."""
DEFAULT_START_SECONDS = 120.0
"""Assumed seconds until a pod is Ready, if no current pod shows it."""


def start_of(pod: Object | None, longest: float) -> float | None:
    """Return the seconds from a pod's creation until it was Ready; ``None`` if unknown.

    A pod that became unready later has a newer condition; a result above ``longest`` is therefore ignored.
    """
    ready = observation.condition(pod, "Ready")
    if pod is None or ready.get("status") != "True":
        return None
    try:
        created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        duration = (datetime.fromisoformat(ready["lastTransitionTime"]) - created).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None
    return duration if 0 <= duration <= longest else None


def of_node(plan: Plan, start: float, restarts: int) -> float:
    """Return the estimated seconds of a node: its restarts and the stabilization of its release."""
    return restarts * (STOP_SECONDS + start) + (plan.release.stabilization if plan.release.agreement_timeout else 0)


def of_run(plan: Plan, waves: Iterable[Wave], seconds: Mapping[str, float], concurrency: int) -> float:
    """Return the estimated seconds of a run with ``concurrency`` nodes in progress at the same time.

    ``seconds`` are those of the nodes to cut over, by key. Canary waves include the soak; gates and manual approval
    are excluded.
    """
    total = 0.0
    for wave in waves:
        times = sorted((seconds[key] for key in wave.nodes if key in seconds), reverse=True)
        # The slowest of each batch, in sorted order: a lower bound close to the real order.
        total += sum(times[::concurrency])
        total += plan.fleet.canary.soak if times and wave.kind is WaveKind.CANARY else 0
    return total


def start_durations(pods: Iterable[tuple[str, Mode | None, Object | None]], plan: Plan) -> dict[str, float]:
    """Return per node key the estimated seconds to Ready: its own last time, or the median of its mode or of all."""
    listed = list(pods)
    measured = {key: time for key, mode, pod in listed if (time := start_of(pod, _longest(plan, mode))) is not None}
    modes = {key: mode for key, mode, _ in listed}
    overall = median(measured.values()) if measured else DEFAULT_START_SECONDS

    def typical(mode: Mode | None) -> float:
        same_mode = [time for key, time in measured.items() if modes[key] is mode]
        return median(same_mode) if same_mode else overall

    return {key: measured[key] if key in measured else typical(mode) for key, mode, _ in listed}


def _longest(plan: Plan, mode: Mode | None) -> float:
    return plan.deadlines.ready.default if mode is None else plan.deadlines.ready.for_mode(mode)
