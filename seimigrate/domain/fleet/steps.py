"""What the decision about a fleet may ask for. Each is one thing that the engine does, and then it looks again."""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain.fleet.campaign import Campaign


@dataclass(frozen=True, slots=True)
class Keep:
    """Write the run's record."""

    campaign: Campaign


@dataclass(frozen=True, slots=True)
class Start:
    """Let nodes set out; the run's record says so before they do."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Back:
    """Bring back a node that had moved, for a reason."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Turn:
    """Let nodes turn back that are on their way."""

    keys: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Sight:
    """Ask validators about themselves and their chain."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """See how canaries do."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judge:
    """Ask a gate."""

    gate: str


@dataclass(frozen=True, slots=True)
class Rest:
    """Wait; the reasons are for people, and ``seconds`` is when at the latest to decide anew."""

    reasons: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left to do: the campaign says how it ended."""


Step = Keep | Start | Back | Turn | Sight | Look | Judge | Rest | End
