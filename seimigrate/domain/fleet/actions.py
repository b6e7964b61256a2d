"""The actions that the fleet reconciler can return.

The engine executes one action, then observes the fleet again.
"""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain.fleet.campaign import Campaign


@dataclass(frozen=True, slots=True)
class SaveCampaign:
    """Write the run's record."""

    campaign: Campaign


@dataclass(frozen=True, slots=True)
class StartNodes:
    """Start nodes; the run's record stores this before they start."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RollBackNode:
    """Roll back a node that was cut over."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class RollBackInFlight:
    """Roll back nodes in progress."""

    keys: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class CheckSigning:
    """Query the signing status of validators and their chain."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckCanaryHealth:
    """Check the health of canaries."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QueryGate:
    """Query a gate."""

    gate: str


@dataclass(frozen=True, slots=True)
class FleetWait:
    """Wait for a change, at most ``seconds``; ``reasons`` are the states that operators see."""

    reasons: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do; the campaign has the results."""


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
