"""The project's own plan, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from seimigrate.planfile import PlanError, load_plan
from seimigrate.resources import plans_dir

TEXT = (plans_dir() / "split-listeners.yaml").read_text()

GATES = """
gates:
- gate: prometheus
  name: up
  target: {service: monitoring/prometheus, port: 9090, token: {env: PROMETHEUS_TOKEN}}
  query: up{job="sei"}
  condition: all == 1
- {gate: http, name: smoke, target: {pod: sei/probe-0, port: 80}, path: /smoke, after: [wave]}
- {gate: manual, name: look, after: [canary], message: look at the dashboards}
"""
"""A gate of each kind, to be put behind the plan."""

DIGEST = "sha256:" + "0a" * 32


MARK = "@@"
"""In a replacement: where the error is expected. It is taken out before the text is read."""


def spoiled(*changes: tuple[str, str]) -> str:
    """The plan with each first text, which must be in it, replaced by the second, once."""
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def marked(*changes: tuple[str, str]) -> tuple[str, str]:
    """The spoiled plan without its mark, and the place of the mark as messages show it."""
    before, after = spoiled(*changes).split(MARK)
    return before + after, f"p.yaml:{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}"


def errors(text: str, overrides: Sequence[str] = ()) -> list[str]:
    """The lines that a person reads when the plan is refused."""
    with pytest.raises(PlanError) as caught:
        load_plan(text, "p.yaml", overrides)
    assert len(caught.value.problems) == len({str(problem) for problem in caught.value.problems})
    return [str(problem) for problem in caught.value.problems]


def error(text: str, overrides: Sequence[str] = ()) -> str:
    """The only line."""
    [line] = errors(text, overrides)
    return line
