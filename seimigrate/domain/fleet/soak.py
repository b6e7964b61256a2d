"""Whether a canary stays well: ready, not restarted, healthy on its public port, and its height grows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seimigrate.domain.plan.gates import GateResult, Verdict
from seimigrate.domain.plan.plan import Deadlines, Mode

MODES_THAT_SYNC = (Mode.FULL_NODE, Mode.ARCHIVE, Mode.VALIDATOR)
"""The modes whose height must grow: a seed follows no chain, and a replayer may be at its end."""


@dataclass(frozen=True, slots=True)
class HealthSample:
    """How a node does at one moment; ``starts`` names its pod and its containers' starts.

    ``health`` is the status of the public ``/v0/healthz``, ``None`` without an answer: then ``reason`` says why.
    """

    time: float
    ready: bool
    starts: str
    health: int | None
    reason: str = ""
    height: int = 0


@dataclass(frozen=True, slots=True)
class SoakHistory:
    """A node from the first look on; ``rose`` is when its height last grew, ``heard`` when it last answered."""

    first: HealthSample
    last: HealthSample
    height_increased_at: float
    last_reply_at: float

    @classmethod
    def start(cls, sample: HealthSample) -> SoakHistory:
        """Begin to watch."""
        return cls(sample, sample, sample.time, sample.time)

    def add(self, sample: HealthSample) -> SoakHistory:
        """Take in another look."""
        rose = sample.time if sample.height > max(self.first.height, self.last.height) else self.height_increased_at
        height = max(sample.height, self.last.height)
        heard = sample.time if sample.health is not None else self.last_reply_at
        return SoakHistory(self.first, replace(sample, height=height), rose, heard)


def evaluate(key: str, mode: Mode | None, history: SoakHistory, deadlines: Deadlines) -> GateResult:
    """Judge a canary by the last look; what cannot be reached for a while is inconclusive."""
    first, last = history.first, history.last

    def said(verdict: Verdict, reason: str) -> GateResult:
        return GateResult("soak", verdict, f"canary {key}: {reason}")

    if last.starts != first.starts:
        return said(Verdict.FAIL, "its pod or one of its containers was started again")
    if not last.ready:
        return said(Verdict.FAIL, "its pod is not Ready")
    if last.health not in (200, None):
        return said(Verdict.FAIL, f"its public health answers {last.health}")
    if mode in MODES_THAT_SYNC and last.time - history.height_increased_at >= deadlines.stuck:
        return said(
            Verdict.FAIL, f"its height has stood at {last.height} for {last.time - history.height_increased_at:.0f} s"
        )
    if last.health is None and last.time - history.last_reply_at >= deadlines.response:
        return said(Verdict.INCONCLUSIVE, f"its health is not to be had: {last.reason}")
    return said(Verdict.PASS, "is well")
