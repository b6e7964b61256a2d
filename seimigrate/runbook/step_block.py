"""Read one step for the program: a fenced block of YAML with its arguments, what it expects and what if not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from seimigrate.domain.plan.rollback_steps import ALLOWED_ON_FAILURE, OnFailure, Precondition, RollbackStep, StepName
from seimigrate.planfile.problems import Place, Problem, short, suggest
from seimigrate.planfile.tree import read_tree
from seimigrate.runbook.model import RunbookStep

_TEXTS: Mapping[StepName, str] = {
    StepName.CHECK: "that",
    StepName.CONFIRM: "prompt",
    StepName.PAUSE: "reason",
    StepName.NOTIFY: "say",
}
"""The argument that says what a step is about."""

_UNATTENDED = ("continue", "pause")


def arguments(step: StepName) -> tuple[str, ...]:
    """Give the keys that a step must have beside ``do``."""
    text = (_TEXTS[step],) if step in _TEXTS else ()
    if step is StepName.CONFIRM:
        return (*text, "unattended")
    return (*text, "expect", "on-failure") if ALLOWED_ON_FAILURE[step] else text


def read_step(text: str, source: str, line: int) -> tuple[RunbookStep | None, list[Problem]]:
    """Read a step; ``text`` has as many empty lines before it as its file has, so that places are right."""
    tree = read_tree(text, source)
    if tree.problems:
        return None, tree.problems
    data = tree.value
    if not isinstance(data, dict) or "do" not in data:
        message = f"must say what to do: {', '.join(f'do: {name}' for name in list(StepName)[:2])}, ..."
        return None, [Problem(Place(source, line, 1), (), message)]
    found = [
        Problem(tree.places.of_key((key,)) if key in data else Place(source, line, 1), (key,), message)
        for key, message in _problems(data)
    ]
    return (None, found) if found else (RunbookStep(line, _step(data), data.get("expect", "")), [])


def _problems(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name = data["do"]
    if name not in set(StepName):
        yield "do", f'unknown step "{short(str(name))}": {suggest(str(name), list(StepName))}'
        return
    step = StepName(name)
    wanted = arguments(step)
    for key in data:
        if key != "do" and key not in wanted:
            yield key, f"is no argument of {step}: {suggest(str(key), wanted)}"
    for key in wanted:
        value = data.get(key)
        if key not in data:
            yield key, f"is missing: {step} has {', '.join(wanted)}"
        elif not isinstance(value, str) or not value:
            yield key, "must be text"
        elif (valid := _valid(step, key)) and value not in valid:
            yield key, f'unknown value "{short(value)}": {suggest(value, valid)}'


def _valid(step: StepName, key: str) -> tuple[str, ...]:
    """Give the values that an argument may have, none where any text will do."""
    if key == "that":
        return tuple(Precondition)
    return {"unattended": _UNATTENDED, "on-failure": tuple(ALLOWED_ON_FAILURE[step])}.get(key, ())


def _step(data: Mapping[str, Any]) -> RollbackStep:
    name = StepName(data["do"])
    return RollbackStep(
        name,
        text=data[_TEXTS[name]] if name in _TEXTS else "",
        unattended=data.get("unattended") == "continue",
        on_failure=OnFailure(data["on-failure"]) if "on-failure" in data else None,
    )
