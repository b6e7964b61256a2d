"""A lock in memory that somebody else can take over, for tests of what a run does then."""

from __future__ import annotations

from dataclasses import dataclass, field

from seimigrate.engine.errors import LockHeld


@dataclass(slots=True)
class _Holder:
    number: int = 1


@dataclass(slots=True)
class FakeLock:
    """A lock held from the start (``engine.ports.Lock``); the number in the token grows with each takeover."""

    seconds: float = 60.0
    number: int = 1
    _holder: _Holder = field(default_factory=_Holder)

    @property
    def token(self) -> str:
        """Give the fencing token."""
        return f"run-{self.number}"

    def check(self) -> float:
        """Give the seconds for which the lock is ours; raises ``LockedByAnother`` after a takeover."""
        if self._holder.number != self.number:
            raise LockHeld(f"run-{self._holder.number} has taken the lock over")
        return self.seconds

    def take_over(self) -> FakeLock:
        """Take the lock away from whoever holds it; give the new holder's."""
        self._holder.number += 1
        return FakeLock(self.seconds, self._holder.number, self._holder)
