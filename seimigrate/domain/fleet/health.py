"""Whether a canary stays well: ready, not restarted, healthy on its public port, and its height grows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seimigrate.domain.gates import Judgement, Verdict
from seimigrate.domain.plan import Deadlines, Mode

RISING = (Mode.FULL_NODE, Mode.ARCHIVE, Mode.VALIDATOR)
"""The modes whose height must grow: a seed follows no chain, and a replayer may be at its end."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a node does at one moment; ``starts`` names its pod and its containers' starts.

    ``health`` is the status of the public ``/v0/healthz``, ``None`` without an answer: then ``reason`` says why.
    """

    at: float
    ready: bool
    starts: str
    health: int | None
    reason: str = ""
    height: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """A node from the first look on; ``rose`` is when its height last grew, ``heard`` when it last answered."""

    first: Vitals
    last: Vitals
    rose: float
    heard: float

    @classmethod
    def begin(cls, vitals: Vitals) -> Watch:
        """Begin to watch."""
        return cls(vitals, vitals, vitals.at, vitals.at)

    def seeing(self, vitals: Vitals) -> Watch:
        """Take in another look."""
        rose = vitals.at if vitals.height > max(self.first.height, self.last.height) else self.rose
        height = max(vitals.height, self.last.height)
        heard = vitals.at if vitals.health is not None else self.heard
        return Watch(self.first, replace(vitals, height=height), rose, heard)


def judge(key: str, mode: Mode | None, watch: Watch, deadlines: Deadlines) -> Judgement:
    """Judge a canary by the last look; what cannot be reached for a while is inconclusive."""
    first, last = watch.first, watch.last

    def said(verdict: Verdict, reason: str) -> Judgement:
        return Judgement("soak", verdict, f"canary {key}: {reason}")

    if last.starts != first.starts:
        return said(Verdict.FAIL, "its pod or one of its containers was started again")
    if not last.ready:
        return said(Verdict.FAIL, "its pod is not Ready")
    if last.health not in (200, None):
        return said(Verdict.FAIL, f"its public health answers {last.health}")
    if mode in RISING and last.at - watch.rose >= deadlines.stuck:
        return said(Verdict.FAIL, f"its height has stood at {last.height} for {last.at - watch.rose:.0f} s")
    if last.health is None and last.at - watch.heard >= deadlines.gate:
        return said(Verdict.INCONCLUSIVE, f"its health is not to be had: {last.reason}")
    return said(Verdict.PASS, "is well")
