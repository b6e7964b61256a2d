"""Conditions on the answer to a Prometheus query: ``all == 1``, ``any > 0.5``, ``count >= 6``.

``all`` (also where no word stands) and ``any`` look at the values of an instant vector, and an empty one tells
nothing; ``count`` looks at how many samples it has, which may be none. The answer's format is that of Prometheus'
HTTP API, https://prometheus.io/docs/prometheus/latest/querying/api/.
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
_PARTS = re.compile(rf" *(?:(?P<which>all|any|count) +)?(?P<how>==|!=|>=|<=|>|<) *(?P<number>{_NUMBER}) *")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_NAMED = 3
"""Samples that a reason names."""


class NoSamples(Exception):  # noqa: N818 - reads as what it says
    """The answer holds nothing that could be judged."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition, taken apart; ``how`` is a comparison."""

    quantifier: str
    operator: str
    threshold: float

    def is_met_by(self, value: float) -> bool:
        """Compare one value."""
        return _COMPARE[self.operator](value, self.threshold)

    def __str__(self) -> str:
        """Give the comparison as it is written."""
        return f"{self.operator} {self.threshold:g}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of an instant vector: its series, as PromQL writes it, and its value."""

    series: str
    value: float


def parse(text: str) -> Condition:
    """Take a condition apart; raises ``ValueError`` if it is none."""
    found = _PARTS.fullmatch(text)
    if found is None:
        raise ValueError(f"not a condition: {text!r}")
    return Condition(found["which"] or "all", found["how"], float(found["number"]))


def samples(status: int, body: str) -> list[Sample]:
    """Read the answer to an instant query; raises ``NoSamples`` with the reason where there is no vector to judge."""
    try:
        answer = json.loads(body)
        state = answer["status"]
    except (ValueError, TypeError, KeyError):
        raise NoSamples(f"it answered {status}, and not as Prometheus does") from None
    if state != "success" or status != 200:
        said = f"{answer.get('errorType')}: {answer.get('error')}"[:200]
        raise NoSamples(f"the query was not answered ({status}): {said}")
    if answer.get("warnings"):
        raise NoSamples(f"the answer may be partial: {str(answer['warnings'][0])[:200]}")
    try:
        return _vector(answer["data"])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise NoSamples("the answer is not what Prometheus gives") from None


def _vector(data: dict[str, Any]) -> list[Sample]:
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return [Sample("scalar", float(result[1]))]
    if kind != "vector":
        raise NoSamples(f"the query gives a {kind}, not a vector of samples")
    if any("histogram" in each for each in result):
        raise NoSamples("the query gives histograms, which cannot be compared with a number")
    return [Sample(_series(each["metric"]), float(each["value"][1])) for each in result]


def _series(metric: dict[str, str]) -> str:
    labels = ", ".join(f'{name}="{value}"' for name, value in sorted(metric.items()) if name != "__name__")
    return f"{metric.get('__name__', '')}{{{labels}}}"[:160]


def is_met(condition: Condition, found: Sequence[Sample]) -> tuple[bool | None, str]:
    """Tell whether a condition holds, ``None`` where that cannot be told, and why."""
    if condition.quantifier == "count":
        number = len(found)
        met = condition.is_met_by(number)
        return met, f"{number} samples, " + ("" if met else "not ") + str(condition)
    if not found:
        return None, "the query found no samples"
    if condition.quantifier == "any":
        return _any(condition, found)
    return _all(condition, found)


def _all(condition: Condition, found: Sequence[Sample]) -> tuple[bool | None, str]:
    off = [each for each in found if not condition.is_met_by(each.value) and not math.isnan(each.value)]
    if off:
        return False, f"{len(off)} of {len(found)} samples not {condition}: {_few(off)}"
    unknown = [each for each in found if math.isnan(each.value)]
    if unknown:
        return None, f"{len(unknown)} of {len(found)} samples have no value: {_few(unknown)}"
    return True, f"{len(found)} of {len(found)} samples {condition}"


def _any(condition: Condition, found: Sequence[Sample]) -> tuple[bool | None, str]:
    met = [each for each in found if condition.is_met_by(each.value) and not math.isnan(each.value)]
    if met:
        return True, f"{len(met)} of {len(found)} samples {condition}: {_few(met)}"
    unknown = [each for each in found if math.isnan(each.value)]
    if unknown:
        return None, f"{len(unknown)} of {len(found)} samples have no value: {_few(unknown)}"
    return False, f"none of {len(found)} samples {condition}: {_few(found)}"


def _few(found: Sequence[Sample]) -> str:
    named = ", ".join(f"{each.series} is {each.value:g}" for each in found[:_NAMED])
    return named + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
