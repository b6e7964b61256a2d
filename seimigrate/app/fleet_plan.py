"""What a cutover would be as a whole: each node's prospect, the waves, and how long it may take."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from seimigrate.app.snapshot import ClusterSnapshot
from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.fleet import estimate, wave_planning
from seimigrate.domain.fleet.wave_planning import UnknownCanary, Wave
from seimigrate.domain.node import observation
from seimigrate.domain.node.preview import NodePlan
from seimigrate.domain.plan.fleet import max_count
from seimigrate.domain.plan.plan import Strategy
from seimigrate.engine import preflight
from seimigrate.engine.errors import UsageError


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The nodes in the order of the command, the waves of those that are to move, and an estimate in seconds."""

    nodes: tuple[NodePlan, ...]
    waves: tuple[Wave, ...]
    seconds: float


def plan_fleet(
    snapshot: ClusterSnapshot, strategy: Strategy, *, accepted: AcceptedFindings, canary: str | None = None
) -> FleetPlan:
    """Say what a cutover of the nodes would be; raises ``UsageError`` if the canary is none of them."""
    # Mixed is merged for most nodes: only the canaries, which nobody knows yet, are looked at once more.
    most = Strategy.MERGED if strategy is Strategy.MIXED else strategy
    found = {f"{p.namespace}/{p.name}": p for p in snapshot.node_plans(most, accepted=accepted)}
    moving = {key: p for key, p in found.items() if not p.done or _held(snapshot, p)}
    waves = plan_waves(snapshot, [*moving.values()], canary, found.keys() - moving.keys())
    for wave in waves:
        way = wave.strategy(strategy)
        if way is not most:
            keys = [(p.namespace, p.name) for p in map(found.__getitem__, wave.nodes)]
            again = snapshot.node_plans(way, accepted=accepted, only=keys)
            found |= {f"{p.namespace}/{p.name}": p for p in again}
    lines = tuple(found.values())
    return FleetPlan(lines, waves, _seconds(snapshot, lines, waves))


def _held(snapshot: ClusterSnapshot, node: NodePlan) -> bool:
    return observation.hold_of(snapshot.observe((node.namespace, node.name)).statefulset) is not None


def plan_waves(
    snapshot: ClusterSnapshot, lines: list[NodePlan], canary: str | None, done: Collection[str]
) -> tuple[Wave, ...]:
    """Put the nodes that are to move into waves; raises ``UsageError`` if the canary is neither of them nor done."""
    views = [(node, snapshot.observe((node.namespace, node.name))) for node in lines]
    candidates = [preflight.candidate(observed, ready=not node.blockers) for node, observed in views]
    if not candidates:
        return ()
    try:
        return wave_planning.plan_waves(candidates, snapshot.plan.fleet, canary, done)
    except UnknownCanary as error:
        raise UsageError(
            f"the canary {error} is none of the nodes that are to move", hint="name another: --canary NS/NAME"
        ) from error


def _seconds(snapshot: ClusterSnapshot, lines: tuple[NodePlan, ...], waves: tuple[Wave, ...]) -> float:
    plan = snapshot.plan
    views = [(node, snapshot.observe((node.namespace, node.name))) for node in lines]
    told = [
        (
            f"{node.namespace}/{node.name}",
            observation.mode_of(observed.seinode) if observed.seinode else None,
            observed.pod,
        )
        for node, observed in views
    ]
    starts = estimate.start_durations(told, plan)
    moving = {f"{node.namespace}/{node.name}": node for node in lines if not node.done and not node.blockers}
    seconds = {key: estimate.of_node(plan, starts[key], node.restarts) for key, node in moving.items()}
    return estimate.of_run(plan, waves, seconds, max_count(plan.fleet.max_unavailable.fleet, len(lines)))
