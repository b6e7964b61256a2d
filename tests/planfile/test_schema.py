"""The JSON Schema that ``seimigrate schema`` prints says the same as the loader."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from seimigrate.planfile import PlanError, load_plan, plan_schema
from tests.planfile.files import GATES, TEXT

SCHEMA = plan_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PLAN = yaml.safe_load(TEXT + GATES)

RULES = (
    "is there already", "must have", "changes nothing", "is missing: it belongs", "is misplaced", "must come before",
    "the two must differ", "the containers must differ", "is not a container's name", "must begin with",
    "means nobody", "make two entries of it", "is no block of addresses", "must be empty for", "is none of system:",
    "must name at least", "is not an image reference", "is not known to split",
    "is the name of", "must have exactly", "must have a port", "is not a url", "must have neither", "must be https",
    "must have canary", "must have no place",
)  # fmt: skip
"""What the rules say, which the schema cannot."""


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for key, child in below for inner in paths(child, (*path, key)))]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70000),
    st.sampled_from([0.5, -0.5]),
    st.sampled_from(["", "sidecar", "public", "expose", "release", "merged", "set-env", "v1.2.3", "x", "/x", "a b"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["do", "tag", "x"]), inner, max_size=2),
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The plan with a few values replaced, taken out or added anywhere."""
    plan = copy.deepcopy(PLAN)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(plan)[1:]))
        parent = plan
        for part in path[:-1]:
            parent = parent[part]
        how = draw(st.sampled_from(["replace", "drop", "add", "rename"]))
        if how == "replace":
            parent[path[-1]] = draw(VALUES)
        elif how == "drop":
            del parent[path[-1]]
        elif isinstance(parent, list):
            parent.append(draw(VALUES))
        elif how == "add":
            parent[draw(st.sampled_from(["archive", "digest", "image", "x", "transforms"]))] = draw(VALUES)
        else:
            parent[str(path[-1]) + "s"] = parent.pop(path[-1])
    return plan


def test_the_schema_is_one_and_names_itself() -> None:
    VALIDATOR.check_schema(SCHEMA)
    assert SCHEMA["$schema"].endswith("2020-12/schema")
    assert SCHEMA["$id"]
    assert SCHEMA["title"] == "seimigrate plan"


def test_the_schema_passes_the_projects_own_plan() -> None:
    VALIDATOR.validate(PLAN)


@given(mutated())
@example({**PLAN, "version": True})
@example({**PLAN, "stages": None})
def test_the_loader_refuses_what_the_schema_refuses_and_beyond_that_only_by_its_rules(plan: Any) -> None:
    valid = VALIDATOR.is_valid(plan)
    try:
        load_plan(json.dumps(plan), "p.yaml")
    except PlanError as error:
        messages = [problem.message for problem in error.problems]
        assert "is not valid here" not in messages, error
        if valid:
            assert all(any(rule in message for rule in RULES) for message in messages), error
    else:
        assert valid
