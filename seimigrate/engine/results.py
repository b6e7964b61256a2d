"""How nodes came out of a run."""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain.fleet.campaign import has_failed
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.record import Outcome, Record

Key = tuple[str, str]
"""A node's namespace and name."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a node came out of a run; ``record`` is ``None`` where nothing was begun."""

    namespace: str
    name: str
    record: Record | None = None
    blockers: tuple[Blocker, ...] = ()
    unchanged: bool = False

    @property
    def outcome(self) -> Outcome | None:
        """Give the outcome, ``None`` where there was nothing to do."""
        if self.record is not None:
            return self.record.outcome
        return Outcome.BLOCKED if self.blockers else None

    @property
    def failed(self) -> bool:
        """Tell whether the node failed, whatever became of it then."""
        return self.record is not None and has_failed(self.record)
