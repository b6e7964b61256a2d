"""A campaign: the state of a fleet's cutover in the run's record.

A campaign is an immutable value; every step returns a new one. The campaign and the observation are all that the next
run needs to resume.
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
"""The outcomes of a node that was cut over."""
CANARY_PASSED = (*CUT_OVER, UNCHANGED)


@dataclass(frozen=True, slots=True)
class SigningBaseline:
    """A validator that was cut over and has not been observed signing since.

    ``address`` is its address in commits, ``""`` if it did not sign before; then a growing height is sufficient.
    ``height`` is the chain's height at the first observation after the cutover, 0 until then. ``since`` is when the
    cutover finished.
    """

    address: str
    since: float
    height: int = 0


@dataclass(frozen=True, slots=True)
class Campaign:
    """The state of a fleet's cutover; times are seconds since 1970.

    ``finished`` maps finished nodes to their outcomes; ``failed`` are the nodes that count against ``maxFailedNodes``.
    ``wave_finished_at`` is when the last node of the current wave finished. ``passed_gates`` are the gates passed after
    it, and ``promoted`` is true if an operator promoted it. ``stopped`` is why no node starts any more, ``paused`` why
    none starts until the run is resumed. ``roll_back_in_flight`` is true if nodes in progress roll back, and
    ``pending_rollbacks`` are the nodes to roll back after that. ``job`` is the digest of the saved plan whose Job
    started the campaign, ``""`` without a Job.
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
        """Return all nodes, in order."""
        return tuple(key for wave in self.waves for key in wave.nodes)

    @property
    def halt_reason(self) -> str:
        """Return the reason of a stop or a pause; empty if there is neither."""
        if self.stopped:
            return f"stopping: {self.stopped}"
        return f"paused: {self.paused}" if self.paused else ""

    @property
    def current_wave(self) -> Wave | None:
        """Return the current wave, ``None`` after the last one."""
        return self.waves[self.wave] if self.wave < len(self.waves) else None

    def waiting(self, in_progress: Iterable[str]) -> list[str]:
        """Return the nodes of the current and later waves that have not started, in order."""
        started = {*self.finished, *in_progress}
        return [key for wave in self.waves[self.wave :] for key in wave.nodes if key not in started]

    def unfinished(self, in_progress: Iterable[str]) -> bool:
        """Return whether a node is in progress, has not started, or has to be rolled back."""
        nodes = list(in_progress)
        return bool(self.pending_rollbacks or nodes or (not self.stopped and self.waiting(nodes)))

    def wave_of(self, key: str) -> Wave | None:
        """Return a node's wave."""
        return next((wave for wave in self.waves if key in wave.nodes), None)

    def after(self, record: Record, now: float) -> Campaign:
        """Return the campaign after a node finished."""
        key, outcome = record.key, record.outcome or Outcome.PAUSED
        failed = (*self.failed, key) if has_failed(record) and key not in self.failed else self.failed
        # Until the rollback starts, the journal has the outcome of the cutover.
        rolled_back = record.direction is Direction.ROLLBACK
        pending = tuple(other for other in self.pending_rollbacks if other != key or not rolled_back)
        if key in self.pending_rollbacks and outcome in (Outcome.FAILED, Outcome.PAUSED):
            pending = ()  # a failed rollback requires operator action before any further one
        after = replace(self, finished={**self.finished, key: outcome.value}, failed=failed, pending_rollbacks=pending)
        if key not in self.awaiting_signature:
            return after
        return after.expect_signature(
            key, replace(self.awaiting_signature[key], since=now, height=0) if record.replaced_pods else None
        )

    def with_finished(self, outcomes: Mapping[str, str]) -> Campaign:
        """Return the campaign with outcomes of nodes that finished without a cutover."""
        return replace(self, finished={**self.finished, **outcomes})

    def pause(self, reason: str) -> Campaign:
        """Return the campaign paused: no node starts until an operator resumes it."""
        return replace(self, paused=reason)

    def stop(self, reason: str, roll_back: RollbackScope, first: Sequence[str] = ()) -> Campaign:
        """Return the campaign stopped; the nodes in the rollback scope roll back, the last ones first."""
        nodes = {RollbackScope.NONE: (), RollbackScope.WAVE: self._wave_nodes(), RollbackScope.ALL: self.keys}[
            roll_back
        ]
        rollbacks = [key for key in reversed(nodes) if self.finished.get(key) in CUT_OVER and key not in first]
        return replace(
            self,
            stopped=reason,
            paused="",
            pending_rollbacks=(*first, *rollbacks),
            roll_back_in_flight=roll_back is not RollbackScope.NONE,
        )

    def _wave_nodes(self) -> tuple[str, ...]:
        return self.current_wave.nodes if self.current_wave is not None else ()

    def next_wave(self) -> Campaign:
        """Return the campaign at the next wave."""
        return replace(self, wave=self.wave + 1, wave_finished_at=None, passed_gates=(), promoted=False)

    def expect_signature(self, key: str, baseline: SigningBaseline | None) -> Campaign:
        """Return the campaign with a validator's signing baseline; ``None``: it has resumed signing."""
        others = {k: base for k, base in self.awaiting_signature.items() if k != key}
        return replace(self, awaiting_signature=others if baseline is None else {**others, key: baseline})


def has_failed(record: Record) -> bool:
    """Return whether a node failed, regardless of a later rollback."""
    return record.failure is not None or record.outcome in (Outcome.FAILED, Outcome.PAUSED)
