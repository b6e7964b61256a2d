"""A campaign: what the run's record holds of a fleet's way. With what is seen, it is all that the next run needs.

A campaign is a value; every step gives a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from seimigrate.domain.fleet.order import Wave
from seimigrate.domain.plan import Undo
from seimigrate.domain.record import Direction, Outcome, Record

NOTHING_TO_DO = "nothing-to-do"
SKIPPED = "skipped"
MOVED = (Outcome.DONE.value, Outcome.DONE_HELD.value)
"""How a node ended that a canary has proven something with."""
PROVEN = (*MOVED, NOTHING_TO_DO)


@dataclass(frozen=True, slots=True)
class Signing:
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
    ended: Mapping[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    signing: Mapping[str, Signing] = field(default_factory=dict)
    rested: float | None = None
    passed: tuple[str, ...] = ()
    promoted: bool = False
    paused: str = ""
    stopped: str = ""
    turning: bool = False
    undo: tuple[str, ...] = ()
    job: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """Give all nodes, in order."""
        return tuple(key for wave in self.waves for key in wave.nodes)

    @property
    def halted(self) -> str:
        """Say that a stop or a pause lets nothing start, and why; empty if there is neither."""
        if self.stopped:
            return f"stops: {self.stopped}"
        return f"paused: {self.paused}" if self.paused else ""

    @property
    def present(self) -> Wave | None:
        """Give the wave whose turn it is, ``None`` after the last one."""
        return self.waves[self.wave] if self.wave < len(self.waves) else None

    def waiting(self, moving: Iterable[str]) -> list[str]:
        """Give the nodes of the present and later waves that have yet to start, in order."""
        begun = {*self.ended, *moving}
        return [key for wave in self.waves[self.wave :] for key in wave.nodes if key not in begun]

    def unfinished(self, moving: Iterable[str]) -> bool:
        """Tell whether there is something left to do."""
        on_their_way = list(moving)
        return bool(self.undo or on_their_way or (not self.stopped and self.waiting(on_their_way)))

    def wave_of(self, key: str) -> Wave | None:
        """Give a node's wave."""
        return next((wave for wave in self.waves if key in wave.nodes), None)

    def after(self, record: Record, now: float) -> Campaign:
        """Give the campaign after a node's way ended, for now."""
        key, outcome = record.key, record.outcome or Outcome.PAUSED
        failed = (*self.failed, key) if has_failed(record) and key not in self.failed else self.failed
        # Its journal says how it came forwards as long as it has yet to set out on its way back.
        returned = record.direction is Direction.BACK
        undo = tuple(other for other in self.undo if other != key or not returned)
        if key in self.undo and outcome in (Outcome.FAILED, Outcome.PAUSED):
            undo = ()  # a way back that fails is for a person, and so is the rest of it
        ended = replace(self, ended={**self.ended, key: outcome.value}, failed=failed, undo=undo)
        if key not in self.signing:
            return ended
        return ended.sign(key, replace(self.signing[key], since=now, height=0) if record.replaced else None)

    def come_out(self, outcomes: Mapping[str, str]) -> Campaign:
        """Give the campaign with nodes that ended without a way of their own."""
        return replace(self, ended={**self.ended, **outcomes})

    def pause(self, reason: str) -> Campaign:
        """Start nothing more until a person says so."""
        return replace(self, paused=reason)

    def stop(self, reason: str, undo: Undo, also: Sequence[str] = ()) -> Campaign:
        """Start nothing more at all; what moved goes back as far as it is to, those that moved last first."""
        nodes = {Undo.NONE: (), Undo.WAVE: self._wave_nodes(), Undo.ALL: self.keys}[undo]
        back = [key for key in reversed(nodes) if self.ended.get(key) in MOVED and key not in also]
        return replace(self, stopped=reason, paused="", undo=(*also, *back), turning=undo is not Undo.NONE)

    def _wave_nodes(self) -> tuple[str, ...]:
        return self.present.nodes if self.present is not None else ()

    def next_wave(self) -> Campaign:
        """Go on to the next wave."""
        return replace(self, wave=self.wave + 1, rested=None, passed=(), promoted=False)

    def sign(self, key: str, signing: Signing | None) -> Campaign:
        """Remember how a validator has to show itself again; ``None``: it has."""
        others = {k: s for k, s in self.signing.items() if k != key}
        return replace(self, signing=others if signing is None else {**others, key: signing})


def has_failed(record: Record) -> bool:
    """Tell whether a node failed, whatever became of it then."""
    return record.failure is not None or record.outcome in (Outcome.FAILED, Outcome.PAUSED)
