"""What the machine may ask for. Each is one thing that the runner does, and after each it looks again."""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain.node.observation import PodQuery
from seimigrate.domain.node.record import Intent, Record


@dataclass(frozen=True, slots=True)
class SaveRecord:
    """Write the journal: no write of anything else happens without one before it."""

    record: Record


@dataclass(frozen=True, slots=True)
class ExecuteIntent:
    """Carry out the intent that the journal holds."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class TakeOverHold:
    """After a takeover: put the new run's token on a held object, so that every patch of the old run fails.

    ``old`` is ``None`` for an object that the old run was about to hold.
    """

    kind: str
    old: str | None
    new: str


@dataclass(frozen=True, slots=True)
class Fence:
    """After a takeover: change the pod that the old run meant to replace, so that its delete misses."""

    pod: str
    token: str


@dataclass(frozen=True, slots=True)
class VerifyHold:
    """See a write of this StatefulSet under the controller's name denied."""


@dataclass(frozen=True, slots=True)
class QueryPod:
    """Ask the node's pod."""

    queries: tuple[PodQuery, ...]


@dataclass(frozen=True, slots=True)
class ReviewAccess:
    """Look at who can reach the node's pod, and who counts on it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until something changes, at most for some seconds; the reason is for people."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing is left to do: the record's outcome says how it ended."""


Action = SaveRecord | ExecuteIntent | TakeOverHold | Fence | VerifyHold | QueryPod | ReviewAccess | Wait | Stop
