"""The plan file's JSON Schema, and finding one's way in it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from seimigrate.domain.plan.plan import Plan
from seimigrate.planfile.problems import Path

Schema = dict[str, Any]


def plan_schema() -> Schema:
    """Give the JSON Schema (2020-12) of plan files."""
    schema = Plan.model_json_schema(by_alias=True, mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:seimigrate:plan:1",
        **schema,
        "title": "seimigrate plan",
    }


def at(path: Path, data: object) -> Schema:
    """Give the part of the schema that describes the value at a path of ``data``; ``{}`` where nothing does."""
    schema = _follow(_schema(), data)
    for part in path:
        data = _child(data, part)
        if isinstance(part, int):
            schema = schema.get("items", {})
        else:
            schema = schema.get("properties", {}).get(part, {})
        schema = _follow(schema, data)
    return schema


def valid_keys(path: Path, data: object) -> list[str]:
    """Give the keys that the mapping at a path may have."""
    return list(at(path, data).get("properties", {}))


def settable() -> list[Path]:
    """Give the paths below ``parameters`` that ``--set`` may name: every value that is no mapping."""
    return list(_leaves(at(("parameters",), None), ()))


def _leaves(schema: Schema, path: Path) -> Iterator[Path]:
    properties = schema.get("properties")
    if properties is None:
        yield path
        return
    for name, below in properties.items():
        yield from _leaves(_follow(below, None), (*path, name))


@cache
def _schema() -> Schema:
    return plan_schema()


def _child(data: object, part: str | int) -> object:
    if isinstance(data, dict) and isinstance(part, str):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def _follow(schema: Schema, data: object) -> Schema:
    """Go through references, optional values and the choice of a transform by its ``do``."""
    while True:
        if "$ref" in schema:
            schema = _schema()["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        elif "anyOf" in schema:
            schema = next((choice for choice in schema["anyOf"] if choice.get("type") != "null"), {})
        elif "discriminator" in schema:
            tag = _child(data, schema["discriminator"]["propertyName"])
            target = schema["discriminator"]["mapping"].get(tag) if isinstance(tag, str) else None
            if target is None:
                return {}
            schema = {"$ref": target}
        else:
            return schema
