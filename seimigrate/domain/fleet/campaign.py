"""A campaign: what the run's record holds of a fleet's way. With what is seen, it is all that the next run needs.

A campaign is a value; every step gives a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from seimigrate.domain.fleet.wave_planning import Wave
from seimigrate.domain.node.record import Direction, Outcome, Record
from seimigrate.domain.plan.plan import RollbackScope

UNCHANGED = "unchanged"
SKIPPED = "skipped"
CUT_OVER = (Outcome.DONE.value, Outcome.DONE_HELD.value)
"""How a node ended that a canary has proven something with."""
CANARY_PASSED = (*CUT_OVER, UNCHANGED)


@dataclass(frozen=True, slots=True)
class SigningBaseline:
    """A validator that moved, until its chain's commits show it again.

    ``address`` is in the commits that it signs, ``""`` if it did not sign before: then a height that grows is enough.
    ``height`` is the chain's at the first look after it moved, 0 before that; ``since`` is when it moved.
    """

    address: str
    since: float
    height: int = 0


@dataclass(frozen=True, slots=True)
class Campaign:
    """The way of a fleet; times are seconds since 1970.

    ``ended`` says of each node that is at an end how it came out; ``failed`` are those that count against the budget.
    ``rested`` is when the present wave's nodes had all ended. ``passed`` are its gates, and ``promoted`` tells that a
    person said to go on. ``stopped`` says why nothing starts any more, ``turning`` that nodes on their way turn back;
    ``undo`` are nodes that have yet to go back after that. ``job`` is the digest of the saved plan whose Job this is,
    ``""`` if it is nobody's.
    """

    waves: tuple[Wave, ...]
    wave: int = 0
    finished: Mapping[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    awaiting_signature: Mapping[str, SigningBaseline] = field(default_factory=dict)
    wave_finished_at: float | None = None
    passed_gates: tuple[str, ...] = ()
    promoted: bool = False
    paused: str = ""
    stopped: str = ""
    roll_back_in_flight: bool = False
    pending_rollbacks: tuple[str, ...] = ()
    job: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """Give all nodes, in order."""
        return tuple(key for wave in self.waves for key in wave.nodes)

    @property
    def halt_reason(self) -> str:
        """Say that a stop or a pause lets nothing start, and why; empty if there is neither."""
        if self.stopped:
            return f"stops: {self.stopped}"
        return f"paused: {self.paused}" if self.paused else ""

    @property
    def current_wave(self) -> Wave | None:
        """Give the wave whose turn it is, ``None`` after the last one."""
        return self.waves[self.wave] if self.wave < len(self.waves) else None

    def waiting(self, moving: Iterable[str]) -> list[str]:
        """Give the nodes of the present and later waves that have yet to start, in order."""
        begun = {*self.finished, *moving}
        return [key for wave in self.waves[self.wave :] for key in wave.nodes if key not in begun]

    def unfinished(self, moving: Iterable[str]) -> bool:
        """Tell whether there is something left to do."""
        on_their_way = list(moving)
        return bool(self.pending_rollbacks or on_their_way or (not self.stopped and self.waiting(on_their_way)))

    def wave_of(self, key: str) -> Wave | None:
        """Give a node's wave."""
        return next((wave for wave in self.waves if key in wave.nodes), None)

    def after(self, record: Record, now: float) -> Campaign:
        """Give the campaign after a node's way ended, for now."""
        key, outcome = record.key, record.outcome or Outcome.PAUSED
        failed = (*self.failed, key) if has_failed(record) and key not in self.failed else self.failed
        # Its journal says how it came forwards as long as it has yet to set out on its way back.
        returned = record.direction is Direction.ROLLBACK
        undo = tuple(other for other in self.pending_rollbacks if other != key or not returned)
        if key in self.pending_rollbacks and outcome in (Outcome.FAILED, Outcome.PAUSED):
            undo = ()  # a way back that fails is for a person, and so is the rest of it
        ended = replace(self, finished={**self.finished, key: outcome.value}, failed=failed, pending_rollbacks=undo)
        if key not in self.awaiting_signature:
            return ended
        return ended.expect_signature(
            key, replace(self.awaiting_signature[key], since=now, height=0) if record.replaced_pods else None
        )

    def with_finished(self, outcomes: Mapping[str, str]) -> Campaign:
        """Give the campaign with nodes that ended without a way of their own."""
        return replace(self, finished={**self.finished, **outcomes})

    def pause(self, reason: str) -> Campaign:
        """Start nothing more until a person says so."""
        return replace(self, paused=reason)

    def stop(self, reason: str, roll_back: RollbackScope, first: Sequence[str] = ()) -> Campaign:
        """Start nothing more at all; what moved goes back as far as it is to, those that moved last first."""
        nodes = {RollbackScope.NONE: (), RollbackScope.WAVE: self._wave_nodes(), RollbackScope.ALL: self.keys}[
            roll_back
        ]
        back = [key for key in reversed(nodes) if self.finished.get(key) in CUT_OVER and key not in first]
        return replace(
            self,
            stopped=reason,
            paused="",
            pending_rollbacks=(*first, *back),
            roll_back_in_flight=roll_back is not RollbackScope.NONE,
        )

    def _wave_nodes(self) -> tuple[str, ...]:
        return self.current_wave.nodes if self.current_wave is not None else ()

    def next_wave(self) -> Campaign:
        """Go on to the next wave."""
        return replace(self, wave=self.wave + 1, wave_finished_at=None, passed_gates=(), promoted=False)

    def expect_signature(self, key: str, baseline: SigningBaseline | None) -> Campaign:
        """Remember how a validator has to show itself again; ``None``: it has."""
        others = {k: s for k, s in self.awaiting_signature.items() if k != key}
        return replace(self, awaiting_signature=others if baseline is None else {**others, key: baseline})


def has_failed(record: Record) -> bool:
    """Tell whether a node failed, whatever became of it then."""
    return record.failure is not None or record.outcome in (Outcome.FAILED, Outcome.PAUSED)
