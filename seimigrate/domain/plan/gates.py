"""The gates of a fleet: what must hold after the canary and between waves, and what an answer says about it.

A gate is asked again and again until it passes, at most for its ``within`` seconds: what a scrape has not seen yet is
no failure. Only what then still fails, fails; what cannot be told is inconclusive, and pauses the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, assert_never

from pydantic import Field

from seimigrate.domain.plan import conditions
from seimigrate.domain.plan.base import Model, Port, Seconds

Key = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


class Verdict(StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate's verdict and the reason for it, which a person reads."""

    gate: str
    verdict: Verdict
    reason: str


class GateTiming(StrEnum):
    """When a gate is asked."""

    CANARY = "canary"
    WAVE = "wave"


class Token(Model):
    """Where a bearer token is found when it is needed: exactly one of them; never the token itself."""

    file: str | None = None
    env: str | None = None


class GateTarget(Model):
    """Who is asked: exactly one of url, service and pod; these two by port-forward, at a port."""

    url: str | None = Field(None, description="reached directly, like https://prometheus.example.org")
    service: Key | None = Field(None, description="namespace/name; a ready pod behind it is asked, by port-forward")
    pod: Key | None = Field(None, description="namespace/name; asked by port-forward")
    port: Port | None = Field(None, description="the Service's port, or the pod's")
    token: Token | None = None

    def __str__(self) -> str:
        """Give what to call it before people."""
        if self.url is not None:
            return self.url
        return f"service {self.service}:{self.port}" if self.service else f"pod {self.pod}:{self.port}"


class _Named(Model):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    after: tuple[GateTiming, ...] = Field(
        (GateTiming.CANARY, GateTiming.WAVE), description="after the canary, after each wave, or both"
    )


class _Automated(_Named):
    target: GateTarget
    timeout: Seconds = Field(120, description="how long it is asked again before a verdict that is no pass counts")
    interval: Annotated[float, Field(ge=1)] = Field(10, description="seconds between two questions")


class PrometheusGate(_Automated):
    """A query with a condition on its answer."""

    gate: Literal["prometheus"]
    query: Annotated[str, Field(min_length=1)]
    condition: Annotated[str, Field(pattern=conditions.PATTERN)] = Field(
        description="all, any or count, a comparison and a number: all == 1, any > 0.5, count >= 6"
    )
    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/api/v1/query"


class HttpGate(_Automated):
    """A GET whose answer must have a status, and may have to contain a text."""

    gate: Literal["http"]
    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/"
    status: Annotated[int, Field(ge=100, le=599)] = 200
    contains: str | None = None


class ManualGate(_Named):
    """A person who looks and says: seimigrate promote."""

    gate: Literal["manual"]
    message: str = Field("look at the nodes that moved", description="what the person is to look at")


AutomatedGate = PrometheusGate | HttpGate
Gate = Annotated[PrometheusGate | HttpGate | ManualGate, Field(discriminator="gate")]


def evaluate(gate: AutomatedGate, status: int, body: str) -> GateResult:
    """Judge an HTTP answer."""
    match gate:
        case PrometheusGate():
            verdict, reason = _evaluate_query(gate, status, body)
        case HttpGate():
            verdict, reason = _evaluate_response(gate, status, body)
        case _:
            assert_never(gate)
    return GateResult(gate.name, verdict, reason)


def no_response(gate: AutomatedGate, reason: str) -> GateResult:
    """Give the judgement of no answer, which tells nothing."""
    return GateResult(gate.name, Verdict.INCONCLUSIVE, f"{gate.target} was not reached: {reason}")


def is_final(gate: AutomatedGate, result: GateResult, first_queried: float, now: float) -> bool:
    """Tell whether a judgement counts, or the gate is to be asked again; times are seconds since 1970."""
    return result.verdict is Verdict.PASS or now - first_queried >= gate.timeout


def _evaluate_query(gate: PrometheusGate, status: int, body: str) -> tuple[Verdict, str]:
    try:
        samples = conditions.samples(status, body)
    except conditions.NoSamples as error:
        return Verdict.INCONCLUSIVE, str(error)
    holds, reason = conditions.is_met(conditions.parse(gate.condition), samples)
    return {True: Verdict.PASS, False: Verdict.FAIL, None: Verdict.INCONCLUSIVE}[holds], reason


def _evaluate_response(gate: HttpGate, status: int, body: str) -> tuple[Verdict, str]:
    if status != gate.status:
        return Verdict.FAIL, f"{gate.path} answered {status}, not {gate.status}"
    if gate.contains is not None and gate.contains not in body:
        return Verdict.FAIL, f'{gate.path} answered {status}, without "{gate.contains}"'
    return Verdict.PASS, f"{gate.path} answered {status}"
