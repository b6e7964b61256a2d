"""What there is to show, for tables and for JSON alike: the commands fill these, and nothing here asks anybody."""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain.checks import Blocker
from seimigrate.domain.prospect import Prospect


@dataclass(frozen=True, slots=True)
class PlanPage:
    """What ``plan`` found; ``next`` is the command to type then."""

    migration: str
    cluster: str
    server: str
    strategy: str
    fingerprint: str
    lines: tuple[Prospect, ...]
    next: str

    @property
    def done(self) -> int:
        """Count the nodes on which nothing is left to change."""
        return sum(line.done for line in self.lines)

    @property
    def blocked(self) -> int:
        """Count the nodes that cannot be moved now."""
        return sum(bool(line.blockers) and not line.done for line in self.lines)

    @property
    def pending(self) -> int:
        """Count the nodes that can be moved."""
        return len(self.lines) - self.done - self.blocked

    @property
    def restarts(self) -> int:
        """Count the restarts of pods that are to come, also of nodes that are blocked now."""
        return sum(line.restarts for line in self.lines)


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The present run, or the last one; ``live`` tells that it holds the lock and renews it."""

    token: str
    holder: str
    command: str
    plan: str
    started: str
    live: bool


@dataclass(frozen=True, slots=True)
class StatusLine:
    """One node: where it is on its way, and whether its controller is kept off it."""

    namespace: str
    name: str
    mode: str
    chain: str
    template: str | None
    pod: str | None
    stage: str | None
    direction: str | None
    outcome: str | None
    held: bool
    guarded: bool
    reason: str
    failure: str | None
    notes: tuple[str, ...]

    @property
    def key(self) -> str:
        """Give ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def open(self) -> bool:
        """Tell whether the node is on its way, or stopped in the middle of it."""
        return self.stage is not None and self.outcome in (None, "paused", "failed")


@dataclass(frozen=True, slots=True)
class StatusPage:
    """What ``status`` found; ``safe`` is ``None`` where not the whole cluster was looked at, ``doubts`` say why not."""

    run: RunInfo | None
    lines: tuple[StatusLine, ...]
    safe: bool | None
    doubts: tuple[str, ...]
    next: str


@dataclass(frozen=True, slots=True)
class EndedLine:
    """How one node came out of a run."""

    namespace: str
    name: str
    outcome: str | None
    stage: str | None
    reason: str
    failure: str | None
    blockers: tuple[Blocker, ...]
    held: bool
    restarts: int
    notes: tuple[str, ...]

    @property
    def key(self) -> str:
        """Give ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class EndedPage:
    """How a run ended: its token, its nodes in order, and what to do now."""

    run: str
    command: str
    lines: tuple[EndedLine, ...]
    next: str
