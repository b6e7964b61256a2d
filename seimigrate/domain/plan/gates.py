"""The gates of a fleet: conditions after the canary and between waves, and the evaluation of their replies.

A gate is queried repeatedly until it passes, at most for ``timeout`` seconds, because a scrape may lag behind. A result
that is not a pass takes effect only after that; an inconclusive one pauses the run.
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
    """The verdict of a gate."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate's verdict with its reason."""

    gate: str
    verdict: Verdict
    reason: str


class GateTiming(StrEnum):
    """When a gate is queried."""

    CANARY = "canary"
    WAVE = "wave"


class Token(Model):
    """The source of a bearer token: exactly one of file and env; never the token itself."""

    file: str | None = None
    env: str | None = None


class GateTarget(Model):
    """The target of a gate: exactly one of url, service and pod; the latter two by port-forward to ``port``."""

    url: str | None = Field(None, description="URL that is queried directly, such as https://prometheus.example.org")
    service: Key | None = Field(None, description="namespace/name; one of its ready pods is queried by port-forward")
    pod: Key | None = Field(None, description="namespace/name; queried by port-forward")
    port: Port | None = Field(None, description="port of the Service or of the pod")
    token: Token | None = None

    def __str__(self) -> str:
        """Return a readable name."""
        if self.url is not None:
            return self.url
        return f"service {self.service}:{self.port}" if self.service else f"pod {self.pod}:{self.port}"


class _Named(Model):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    after: tuple[GateTiming, ...] = Field(
        (GateTiming.CANARY, GateTiming.WAVE),
        description="queried after the canary, after each wave, or both",
    )


class _Automated(_Named):
    target: GateTarget
    timeout: Seconds = Field(120, description="seconds after which a fail or inconclusive result takes effect")
    interval: Annotated[float, Field(ge=1)] = Field(10, description="seconds between two queries")


class PrometheusGate(_Automated):
    """A Prometheus query with a condition on its result."""

    gate: Literal["prometheus"]
    query: Annotated[str, Field(min_length=1)]
    condition: Annotated[str, Field(pattern=conditions.PATTERN)] = Field(
        description="all, any or count, a comparison and a number, such as: all == 1, any > 0.5, count >= 6"
    )
    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/api/v1/query"


class HttpGate(_Automated):
    """A GET request whose response must have a status and may have to contain a text."""

    gate: Literal["http"]
    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/"
    status: Annotated[int, Field(ge=100, le=599)] = 200
    contains: str | None = None


class ManualGate(_Named):
    """A manual approval by an operator: seimigrate promote."""

    gate: Literal["manual"]
    message: str = Field("inspect the nodes that were cut over", description="what the operator has to check")


AutomatedGate = PrometheusGate | HttpGate
Gate = Annotated[PrometheusGate | HttpGate | ManualGate, Field(discriminator="gate")]


def evaluate(gate: AutomatedGate, status: int, body: str) -> GateResult:
    """Return the result of a gate for an HTTP response."""
    match gate:
        case PrometheusGate():
            verdict, reason = _evaluate_query(gate, status, body)
        case HttpGate():
            verdict, reason = _evaluate_response(gate, status, body)
        case _:
            assert_never(gate)
    return GateResult(gate.name, verdict, reason)


def no_response(gate: AutomatedGate, reason: str) -> GateResult:
    """Return the inconclusive result of a gate that did not respond."""
    return GateResult(gate.name, Verdict.INCONCLUSIVE, f"{gate.target} is unreachable: {reason}")


def is_final(gate: AutomatedGate, result: GateResult, first_queried: float, now: float) -> bool:
    """Return whether a result takes effect; otherwise the gate is queried again. Times are seconds since 1970."""
    return result.verdict is Verdict.PASS or now - first_queried >= gate.timeout


def _evaluate_query(gate: PrometheusGate, status: int, body: str) -> tuple[Verdict, str]:
    try:
        samples = conditions.samples(status, body)
    except conditions.NoSamples as error:
        return Verdict.INCONCLUSIVE, str(error)
    is_met, reason = conditions.is_met(conditions.parse(gate.condition), samples)
    return {True: Verdict.PASS, False: Verdict.FAIL, None: Verdict.INCONCLUSIVE}[is_met], reason


def _evaluate_response(gate: HttpGate, status: int, body: str) -> tuple[Verdict, str]:
    if status != gate.status:
        return Verdict.FAIL, f"{gate.path} returned {status}, expected {gate.status}"
    if gate.contains is not None and gate.contains not in body:
        return Verdict.FAIL, f'{gate.path} returned {status} without the expected text "{gate.contains}"'
    return Verdict.PASS, f"{gate.path} returned {status}"
