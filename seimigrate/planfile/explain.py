"""Say in the words of the plan file what its models refuse."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from seimigrate.planfile import schema
from seimigrate.planfile.problems import Path, Places, Problem, dotted, nearest, short, suggest

_KINDS: Mapping[type, str] = {
    type(None): "nothing",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}

_PATTERNS: Mapping[str, str] = {
    "migration": "lower-case letters, digits and dashes, at most 63, like split-listeners",
    "digest": "sha256: and 64 lower-case hexadecimal digits",
    "minimumVersion": "a version like v1.2.3",
    "condition": "all, any or count, a comparison and a number, like all == 1 or count >= 6",
    "name": "lower-case letters, digits and dashes, at most 63, like sidecars-up",
    "path": "a path that begins with /, without spaces",
    "service": "NAMESPACE/NAME",
    "pod": "NAMESPACE/NAME",
    "node": "NAMESPACE/NAME",
    "order": "mode, chain, namespace or label:KEY",
}
"""What the models' patterns ask for, by the last key."""

_TAGS: Mapping[str, str] = {"do": "transform", "gate": "kind of gate"}
"""The keys that choose between models, and what each names."""


def explain(error: ErrorDetails, data: object, places: Places) -> Problem:
    """Make a problem of one of the models' errors."""
    path = _path(error["loc"], data)
    kind = error["type"]
    if kind == "extra_forbidden":
        return Problem(places.of_key(path), path, _unknown_key(path, data))
    if kind == "missing":
        return Problem(places.of(path[:-1]), path, "is missing")
    if kind == "union_tag_not_found":
        tag = _tag(error)
        return Problem(places.of(path), (*path, tag), f"is missing: it names the {_TAGS[tag]}")
    if kind == "union_tag_invalid":
        path = (*path, _tag(error))
        return Problem(
            places.of(path), path, _unknown_value(_value(path, data), _quoted(error["ctx"]["expected_tags"]))
        )
    say = _MESSAGES.get(kind)
    value = _value(path, data)
    message = say(value, error.get("ctx", {}), path) if say is not None else "is not valid here"
    return Problem(places.of(path), path, message)


def _tag(error: ErrorDetails) -> str:
    return str(error["ctx"]["discriminator"]).strip("'")


Message = Callable[[Any, Mapping[str, Any], Path], str]


def _must_be(what: str) -> Message:
    def say(value: Any, _: Mapping[str, Any], __: Path) -> str:
        return f"must be {what}, not {_what(value)}"

    return say


def _choice(value: Any, context: Mapping[str, Any], path: Path) -> str:
    if path == ("version",):
        return f"must be 1, the only version of plan files that there is, not {_what(value)}"
    return _unknown_value(value, _quoted(context["expected"]))


def _pattern(value: Any, _: Mapping[str, Any], path: Path) -> str:
    key = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
    return f"must be {_PATTERNS.get(key, 'written differently')}, not {_what(value)}"


_MESSAGES: Mapping[str, Message] = {
    "amount": _must_be('a whole number from 1, or a percentage like "25%"'),
    "bool_type": _must_be("true or false"),
    "dict_type": _must_be("a mapping"),
    "enum": _choice,
    "finite_number": _must_be("a number"),
    "float_type": _must_be("a number"),
    "greater_than_equal": lambda value, context, _: f"must be at least {context['ge']:g}, not {_what(value)}",
    "int_from_float": _must_be("a whole number"),
    "int_type": _must_be("a whole number"),
    "less_than_equal": lambda value, context, _: f"must be at most {context['le']:g}, not {_what(value)}",
    "literal_error": _choice,
    "model_attributes_type": _must_be("a mapping"),
    "model_type": _must_be("a mapping"),
    "string_pattern_mismatch": _pattern,
    "string_too_short": _must_be("some text"),
    "string_type": _must_be("text"),
    "tuple_type": _must_be("a list"),
}


def _unknown_key(path: Path, data: object) -> str:
    name, parent = str(path[-1]), path[:-1]
    valid = schema.valid_keys(parent, data)
    if nearest(name, valid) is None:
        # Right name, wrong place: a key of the root's or of the parameters' that slipped in or out.
        for home in ((), ("parameters",)):
            if home != parent and name in schema.valid_keys(home, data):
                return (
                    f'unknown key here: "{name}" belongs {f"to {dotted(home)}" if home else "to the root of the file"}'
                )
    return f"unknown key: {suggest(name, valid)}"


def _unknown_value(value: Any, valid: list[str]) -> str:
    if not isinstance(value, str):
        return f"must be one of {', '.join(valid)}, not {_what(value)}"
    return f'unknown value "{short(value)}": {suggest(value, valid)}'


def _what(value: Any) -> str:
    if isinstance(value, str):
        return f'the text "{short(value)}"' if value else "empty text"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return _KINDS.get(type(value), "that")


def _quoted(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected) or [expected]


def _value(path: Path, data: Any) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _path(location: tuple[int | str, ...], data: Any) -> Path:
    """Leave out of a location what is not in the file: the tag by which a model was chosen."""
    path: list[int | str] = []
    for part in location:
        inside = isinstance(data, dict) and part in data
        if isinstance(data, dict) and not inside and part in (data.get(tag) for tag in _TAGS):
            continue
        path.append(part)
        data = _value((part,), data)
    return tuple(path)
