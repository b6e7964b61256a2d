"""Load a plan: from text to a ``Plan``, or to everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path as FilePath

from pydantic import ValidationError

from seimigrate import resources
from seimigrate.domain.plan.plan import Plan
from seimigrate.planfile.explain import explain
from seimigrate.planfile.overrides import override
from seimigrate.planfile.problems import Path, Place, PlanError, Problem, short, suggest
from seimigrate.planfile.rules import check_rules
from seimigrate.planfile.tree import Tree, read_tree

_MAX_BYTES = 1 << 20
_HINT = "the format: seimigrate schema"
_HINT_OTHER_PLAN = "name a plan file, or the plan that came along: -f split-listeners"


def load_plan(text: str, source: str, overrides: Sequence[str] = ()) -> Plan:
    """Make a plan of a plan file's text and of the ``key=value`` overrides of its parameters.

    ``source`` names the file in messages. Raises ``PlanError`` with all that is wrong.
    """
    tree = read_tree(text, source)
    for assignment in overrides:
        override(tree, assignment)
    if () in tree.broken:
        raise PlanError(source, tree.problems, hint=_HINT)
    plan, problems = _validate(tree)
    if plan is None or problems:
        raise PlanError(source, problems, hint=_HINT)
    return plan


def read_plan(reference: str, overrides: Sequence[str] = ()) -> Plan:
    """Load a plan from a file, or by its name from the plans that seimigrate brings along.

    Raises ``PlanError`` when it cannot be read, too.
    """
    file = _find(reference)
    source = short(str(reference), 200) or '""'
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise _unreadable(source, f"cannot be read: {reason}") from error
    if len(data) > _MAX_BYTES:
        raise _unreadable(source, f"has more than {_MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        place = Place(source, before.count(b"\n") + 1, column)
        problem = Problem(place, (), f"byte 0x{data[error.start]:02x} is not UTF-8")
        raise PlanError(source, [problem], hint=_HINT_OTHER_PLAN) from error
    return load_plan(text, source, overrides)


def _find(reference: str) -> FilePath:
    """Give the file that a reference means: a path, or the name of a plan that came along."""
    file = FilePath(reference)
    try:
        if "/" in reference or file.suffix in (".yaml", ".yml") or file.exists():
            return file
        plans = {found.stem: found for found in sorted(resources.plans_dir().glob("*.yaml"))}
    except (OSError, ValueError):
        return file
    if reference not in plans:
        raise _unreadable(
            short(reference, 200), f"no such file, and no plan of that name: {suggest(reference, [*plans])}"
        )
    return plans[reference]


def _unreadable(source: str, message: str) -> PlanError:
    return PlanError(source, [Problem(Place(source), (), message)], hint=_HINT_OTHER_PLAN)


def _validate(tree: Tree) -> tuple[Plan | None, list[Problem]]:
    plan: Plan | None = None
    refused: list[Problem] = []
    if not isinstance(tree.value, dict):
        message = "must be a mapping that begins with version: 1"
        return None, [*tree.problems, Problem(tree.places.of(()), (), message)]
    try:
        # As JSON and strict: "9100" is no port and true no number, here as in the JSON Schema.
        plan = Plan.model_validate_json(json.dumps(tree.value), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        refused = [explain(detail, tree.value, tree.places) for detail in details]
    off = {problem.path for problem in refused} | {problem.path for problem in tree.problems} | tree.broken

    def sound(path: Path) -> bool:
        return not any(_within(path, other) or _within(other, path) for other in off if other)

    fresh = [problem for problem in refused if not any(_within(problem.path, broken) for broken in tree.broken)]
    return plan, [*tree.problems, *fresh, *check_rules(tree.value, tree.places, sound)]


def _within(path: Path, around: Path) -> bool:
    return path[: len(around)] == around
