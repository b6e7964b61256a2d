"""The health of a canary during the soak: Ready, not restarted, healthy on the public port, height advancing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seimigrate.domain.plan.gates import GateResult, Verdict
from seimigrate.domain.plan.plan import Deadlines, Mode

SYNCING_MODES = (Mode.FULL_NODE, Mode.ARCHIVE, Mode.VALIDATOR)
"""The modes whose height must advance: a seed follows no chain, and a replayer may have finished."""


@dataclass(frozen=True, slots=True)
class HealthSample:
    """The health of a node at one time; ``starts`` identifies its pod and the starts of its containers.

    ``health`` is the status of the public ``/v0/healthz``; if there is no reply, it is ``None`` and ``reason`` is set.
    """

    time: float
    ready: bool
    starts: str
    health: int | None
    reason: str = ""
    height: int = 0


@dataclass(frozen=True, slots=True)
class SoakHistory:
    """The samples of a node since the soak started, with the times of its last height increase and its last reply."""

    first: HealthSample
    last: HealthSample
    height_increased_at: float
    last_reply_at: float

    @classmethod
    def start(cls, sample: HealthSample) -> SoakHistory:
        """Return the history of the first sample."""
        return cls(sample, sample, sample.time, sample.time)

    def add(self, sample: HealthSample) -> SoakHistory:
        """Return the history with another sample."""
        highest = max(self.first.height, self.last.height)
        increased = sample.time if sample.height > highest else self.height_increased_at
        height = max(sample.height, self.last.height)
        replied = sample.time if sample.health is not None else self.last_reply_at
        return SoakHistory(self.first, replace(sample, height=height), increased, replied)


def evaluate(key: str, mode: Mode | None, history: SoakHistory, deadlines: Deadlines) -> GateResult:
    """Evaluate a canary by its last sample; a canary without a reply for a while is inconclusive."""
    first, last = history.first, history.last

    def result(verdict: Verdict, reason: str) -> GateResult:
        return GateResult("soak", verdict, f"canary {key}: {reason}")

    if last.starts != first.starts:
        return result(Verdict.FAIL, "its pod or a container restarted")
    if not last.ready:
        return result(Verdict.FAIL, "its pod is not Ready")
    if last.health not in (200, None):
        return result(Verdict.FAIL, f"its public health returned {last.health}, expected 200")
    stalled = last.time - history.height_increased_at
    if mode in SYNCING_MODES and stalled >= deadlines.stuck:
        return result(Verdict.FAIL, f"its block height has not advanced from {last.height} for {stalled:.0f} s")
    if last.health is None and last.time - history.last_reply_at >= deadlines.response:
        return result(Verdict.INCONCLUSIVE, f"its health endpoint is unreachable: {last.reason}")
    return result(Verdict.PASS, "is healthy")
