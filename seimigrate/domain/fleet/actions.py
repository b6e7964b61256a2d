"""What the decision about a fleet may ask for. Each is one thing that the engine does, and then it looks again."""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain.fleet.campaign import Campaign


@dataclass(frozen=True, slots=True)
class SaveCampaign:
    """Write the run's record."""

    campaign: Campaign


@dataclass(frozen=True, slots=True)
class StartNodes:
    """Let nodes set out; the run's record says so before they do."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RollBackNode:
    """Bring back a node that had moved, for a reason."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class RollBackInFlight:
    """Let nodes turn back that are on their way."""

    keys: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class CheckSigning:
    """Ask validators about themselves and their chain."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckCanaryHealth:
    """See how canaries do."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QueryGate:
    """Ask a gate."""

    gate: str


@dataclass(frozen=True, slots=True)
class FleetWait:
    """Wait; the reasons are for people, and ``seconds`` is when at the latest to decide anew."""

    reasons: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do: the campaign says how it ended."""


FleetAction = (
    SaveCampaign
    | StartNodes
    | RollBackNode
    | RollBackInFlight
    | CheckSigning
    | CheckCanaryHealth
    | QueryGate
    | FleetWait
    | Done
)
