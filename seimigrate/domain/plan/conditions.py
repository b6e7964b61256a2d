"""Conditions on the result of a Prometheus query: ``all == 1``, ``any > 0.5``, ``count >= 6``.

``all`` (the default) and ``any`` compare the values of an instant vector; an empty vector is inconclusive. ``count``
compares the number of samples, which may be 0. The format is that of Prometheus' HTTP API,
https://prometheus.io/docs/prometheus/latest/querying/api/.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_NUMBER = r"[-+]?[0-9]{1,15}(?:\.[0-9]{1,15})?(?:[eE][-+]?[0-9]{1,2})?"
PATTERN = rf"^ *(?:(?:all|any|count) +)?(?:==|!=|>=|<=|>|<) *{_NUMBER} *$"
_PARTS = re.compile(rf" *(?:(?P<quantifier>all|any|count) +)?(?P<operator>==|!=|>=|<=|>|<) *(?P<threshold>{_NUMBER}) *")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_SHOWN = 3
"""Maximum number of samples that a reason names."""


class NoSamples(Exception):  # noqa: N818 - the name states the condition
    """The response has no samples to evaluate."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition; ``operator`` is a comparison."""

    quantifier: str
    operator: str
    threshold: float

    def is_met_by(self, value: float) -> bool:
        """Return whether one value meets the condition."""
        return _COMPARE[self.operator](value, self.threshold)

    def __str__(self) -> str:
        """Return the comparison in its notation."""
        return f"{self.operator} {self.threshold:g}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of an instant vector: its series in PromQL notation, and its value."""

    series: str
    value: float


def parse(text: str) -> Condition:
    """Parse a condition; raises ``ValueError`` if it is invalid."""
    match = _PARTS.fullmatch(text)
    if match is None:
        raise ValueError(f"not a condition: {text!r}")
    return Condition(match["quantifier"] or "all", match["operator"], float(match["threshold"]))


def samples(status: int, body: str) -> list[Sample]:
    """Parse the response to an instant query; raises ``NoSamples`` with the reason if it has no vector."""
    try:
        response = json.loads(body)
        state = response["status"]
    except (ValueError, TypeError, KeyError):
        raise NoSamples(f"the response (status {status}) is not a Prometheus API response") from None
    if state != "success" or status != 200:
        error = f"{response.get('errorType')}: {response.get('error')}"[:200]
        raise NoSamples(f"the query failed ({status}): {error}")
    if response.get("warnings"):
        raise NoSamples(f"the result may be partial: {str(response['warnings'][0])[:200]}")
    try:
        return _vector(response["data"])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise NoSamples("the result is not in Prometheus' format") from None


def _vector(data: dict[str, Any]) -> list[Sample]:
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return [Sample("scalar", float(result[1]))]
    if kind != "vector":
        raise NoSamples(f"the query returned a {kind}, expected an instant vector")
    if any("histogram" in sample for sample in result):
        raise NoSamples("the query returned histograms, which cannot be compared with a number")
    return [Sample(_series(sample["metric"]), float(sample["value"][1])) for sample in result]


def _series(metric: dict[str, str]) -> str:
    labels = ", ".join(f'{name}="{value}"' for name, value in sorted(metric.items()) if name != "__name__")
    return f"{metric.get('__name__', '')}{{{labels}}}"[:160]


def is_met(condition: Condition, vector: Sequence[Sample]) -> tuple[bool | None, str]:
    """Return whether a condition is met (``None``: inconclusive), with the reason."""
    if condition.quantifier == "count":
        number = len(vector)
        met = condition.is_met_by(number)
        return met, f"{number} samples, " + ("" if met else "not ") + str(condition)
    if not vector:
        return None, "the query returned no samples"
    if condition.quantifier == "any":
        return _any(condition, vector)
    return _all(condition, vector)


def _all(condition: Condition, vector: Sequence[Sample]) -> tuple[bool | None, str]:
    unmet = [sample for sample in vector if not condition.is_met_by(sample.value) and not math.isnan(sample.value)]
    if unmet:
        return False, f"{len(unmet)} of {len(vector)} samples not {condition}: {_few(unmet)}"
    unknown = [sample for sample in vector if math.isnan(sample.value)]
    if unknown:
        return None, f"{len(unknown)} of {len(vector)} samples are NaN: {_few(unknown)}"
    return True, f"{len(vector)} of {len(vector)} samples {condition}"


def _any(condition: Condition, vector: Sequence[Sample]) -> tuple[bool | None, str]:
    met = [sample for sample in vector if condition.is_met_by(sample.value) and not math.isnan(sample.value)]
    if met:
        return True, f"{len(met)} of {len(vector)} samples {condition}: {_few(met)}"
    unknown = [sample for sample in vector if math.isnan(sample.value)]
    if unknown:
        return None, f"{len(unknown)} of {len(vector)} samples are NaN: {_few(unknown)}"
    return False, f"none of {len(vector)} samples {condition}: {_few(vector)}"


def _few(vector: Sequence[Sample]) -> str:
    shown = ", ".join(f"{sample.series} is {sample.value:g}" for sample in vector[:_SHOWN])
    return shown + (f" and {len(vector) - _SHOWN} more" if len(vector) > _SHOWN else "")
