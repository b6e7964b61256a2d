"""The actions that the reconciler can return.

The executor carries out one action, then observes the node again.
"""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain.node.observation import PodQuery
from seimigrate.domain.node.record import Intent, Record


@dataclass(frozen=True, slots=True)
class SaveRecord:
    """Write the journal; every other write is journaled first."""

    record: Record


@dataclass(frozen=True, slots=True)
class ExecuteIntent:
    """Execute the intent in the journal."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class TakeOverHold:
    """Replace the old run's token on a held object after a takeover, so that every patch of the old run fails.

    ``old`` is ``None`` for an object on which the old run was about to place the hold.
    """

    kind: str
    old: str | None
    new: str


@dataclass(frozen=True, slots=True)
class Fence:
    """Annotate the pod that the old run was about to replace, so that the old run's delete fails its precondition."""

    pod: str
    token: str


@dataclass(frozen=True, slots=True)
class VerifyHold:
    """Verify that a dry-run write of this StatefulSet under the controller's field manager is denied."""


@dataclass(frozen=True, slots=True)
class QueryPod:
    """Query the node's pod."""

    queries: tuple[PodQuery, ...]


@dataclass(frozen=True, slots=True)
class ReviewAccess:
    """Review which clients can reach the node's pod and which consumers depend on it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a change, at most ``seconds``; ``reason`` is the state that operators see."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop; the record's outcome is the result."""


Action = SaveRecord | ExecuteIntent | TakeOverHold | Fence | VerifyHold | QueryPod | ReviewAccess | Wait | Stop
