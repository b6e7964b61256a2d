"""The gates of a fleet: what must hold after the canary and between waves, and what an answer says about it.

A gate is asked again and again until it passes, at most for its ``within`` seconds: what a scrape has not seen yet is
no failure. Only what then still fails, fails; what cannot be told is inconclusive, and pauses the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, assert_never

from pydantic import Field

from seimigrate.domain import conditions
from seimigrate.domain.model import Model, Port, Seconds

Key = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


class Verdict(StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A gate's verdict and the reason for it, which a person reads."""

    gate: str
    verdict: Verdict
    reason: str


class When(StrEnum):
    """When a gate is asked."""

    CANARY = "canary"
    WAVE = "wave"


class Token(Model):
    """Where a bearer token is found when it is needed: exactly one of them; never the token itself."""

    file: str | None = None
    env: str | None = None


class At(Model):
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


class _Asked(Model):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    when: tuple[When, ...] = Field((When.CANARY, When.WAVE), description="after the canary, after each wave, or both")


class _Called(_Asked):
    at: At
    within: Seconds = Field(120, description="how long it is asked again before a verdict that is no pass counts")
    every: Annotated[float, Field(ge=1)] = Field(10, description="seconds between two questions")


class PrometheusGate(_Called):
    """A query with a condition on its answer."""

    gate: Literal["prometheus"]
    query: Annotated[str, Field(min_length=1)]
    condition: Annotated[str, Field(pattern=conditions.PATTERN)] = Field(
        description="all, any or count, a comparison and a number: all == 1, any > 0.5, count >= 6"
    )
    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/api/v1/query"


class HttpGate(_Called):
    """A GET whose answer must have a status, and may have to contain a text."""

    gate: Literal["http"]
    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/"
    status: Annotated[int, Field(ge=100, le=599)] = 200
    contains: str | None = None


class PersonGate(_Asked):
    """A person who looks and says: seimigrate promote."""

    gate: Literal["person"]
    ask: str = Field("look at the nodes that moved", description="what the person is to look at")


CalledGate = PrometheusGate | HttpGate
Gate = Annotated[PrometheusGate | HttpGate | PersonGate, Field(discriminator="gate")]


def judge(gate: CalledGate, status: int, body: str) -> Judgement:
    """Judge an HTTP answer."""
    match gate:
        case PrometheusGate():
            verdict, reason = _of_query(gate, status, body)
        case HttpGate():
            verdict, reason = _of_answer(gate, status, body)
        case _:
            assert_never(gate)
    return Judgement(gate.name, verdict, reason)


def unanswered(gate: CalledGate, reason: str) -> Judgement:
    """Give the judgement of no answer, which tells nothing."""
    return Judgement(gate.name, Verdict.INCONCLUSIVE, f"{gate.at} was not reached: {reason}")


def settled(gate: CalledGate, judgement: Judgement, first_asked: float, now: float) -> bool:
    """Tell whether a judgement counts, or the gate is to be asked again; times are seconds since 1970."""
    return judgement.verdict is Verdict.PASS or now - first_asked >= gate.within


def _of_query(gate: PrometheusGate, status: int, body: str) -> tuple[Verdict, str]:
    try:
        samples = conditions.samples(status, body)
    except conditions.NoSamples as error:
        return Verdict.INCONCLUSIVE, str(error)
    holds, reason = conditions.holds(conditions.parse(gate.condition), samples)
    return {True: Verdict.PASS, False: Verdict.FAIL, None: Verdict.INCONCLUSIVE}[holds], reason


def _of_answer(gate: HttpGate, status: int, body: str) -> tuple[Verdict, str]:
    if status != gate.status:
        return Verdict.FAIL, f"{gate.path} answered {status}, not {gate.status}"
    if gate.contains is not None and gate.contains not in body:
        return Verdict.FAIL, f'{gate.path} answered {status}, without "{gate.contains}"'
    return Verdict.PASS, f"{gate.path} answered {status}"
