"""What a cutover would be as a whole: each node's prospect, the waves, and how long it may take."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from seimigrate.cli.looking import Look
from seimigrate.domain import estimate, seen
from seimigrate.domain.finding import Acceptance
from seimigrate.domain.fleet import order
from seimigrate.domain.fleet.order import UnknownCanary, Wave
from seimigrate.domain.fleet.settings import at_most
from seimigrate.domain.plan import Strategy
from seimigrate.domain.prospect import Prospect
from seimigrate.engine import muster
from seimigrate.engine.errors import UsageError


@dataclass(frozen=True, slots=True)
class Outline:
    """The nodes in the order of the command, the waves of those that are to move, and an estimate in seconds."""

    lines: tuple[Prospect, ...]
    waves: tuple[Wave, ...]
    seconds: float


def outline(look: Look, strategy: Strategy, *, accepted: Acceptance, canary: str | None = None) -> Outline:
    """Say what a cutover of the nodes would be; raises ``UsageError`` if the canary is none of them."""
    # Mixed is merged for most nodes: only the canaries, which nobody knows yet, are looked at once more.
    most = Strategy.MERGED if strategy is Strategy.MIXED else strategy
    found = {f"{p.namespace}/{p.name}": p for p in look.prospects(most, accepted=accepted)}
    moving = {key: p for key, p in found.items() if not p.done or _held(look, p)}
    waves = arrange(look, [*moving.values()], canary, found.keys() - moving.keys())
    for wave in waves:
        way = wave.strategy(strategy)
        if way is not most:
            keys = [(p.namespace, p.name) for p in map(found.__getitem__, wave.nodes)]
            again = look.prospects(way, accepted=accepted, only=keys)
            found |= {f"{p.namespace}/{p.name}": p for p in again}
    lines = tuple(found.values())
    return Outline(lines, waves, _seconds(look, lines, waves))


def _held(look: Look, line: Prospect) -> bool:
    return seen.hold_of(look.at((line.namespace, line.name)).statefulset) is not None


def arrange(look: Look, lines: list[Prospect], canary: str | None, done: Collection[str]) -> tuple[Wave, ...]:
    """Put the nodes that are to move into waves; raises ``UsageError`` if the canary is neither of them nor done."""
    views = [(line, look.at((line.namespace, line.name))) for line in lines]
    candidates = [muster.candidate(view, ready=not line.blockers) for line, view in views]
    if not candidates:
        return ()
    try:
        return order.arrange(candidates, look.plan.fleet, canary, done)
    except UnknownCanary as error:
        raise UsageError(
            f"the canary {error} is none of the nodes that are to move", hint="name another: --canary NS/NAME"
        ) from error


def _seconds(look: Look, lines: tuple[Prospect, ...], waves: tuple[Wave, ...]) -> float:
    plan = look.plan
    views = [(line, look.at((line.namespace, line.name))) for line in lines]
    told = [
        (f"{line.namespace}/{line.name}", seen.mode_of(view.seinode) if view.seinode else None, view.pod)
        for line, view in views
    ]
    starts = estimate.starts(told, plan)
    moving = {f"{line.namespace}/{line.name}": line for line in lines if not line.done and not line.blockers}
    seconds = {key: estimate.of_node(plan, starts[key], line.restarts) for key, line in moving.items()}
    return estimate.of_run(plan, waves, seconds, at_most(plan.fleet.max_unavailable.fleet, len(lines)))
