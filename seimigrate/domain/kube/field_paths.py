"""Where a field is in an object, named as a person would name it instead of by indexes.

A path is a dotted text. In brackets stands what picks an entry out of a list, or a key with dots in it::

    spec.template.spec.initContainers[name=kube-rbac-proxy].livenessProbe.httpGet.port
    spec.ports[port=9100,protocol=TCP]
    spec.template.spec.initContainers[name=kube-rbac-proxy].args[^=--ignore-paths=]   begins with
    spec.template.spec.containers[name=seid].args[*=/dev/tcp/localhost/]              contains
    metadata.labels[seimigrate.sei.io/hold]

So a path stays right when somebody else adds a container, an argument or a port.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Value = Any
"""A JSON value; ``None`` stands for an absent field, which Kubernetes never stores as null."""

_TOKEN = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a map."""

    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a list of maps, told by some of its fields."""

    fields: tuple[tuple[str, str], ...]

    def matches(self, value: Value) -> bool:
        """Tell whether a list's entry is this one."""
        return isinstance(value, dict) and all(str(value.get(k)) == v for k, v in self.fields)


@dataclass(frozen=True, slots=True)
class Text:
    """An entry of a list of texts, told by how it begins (``^``) or by what it contains (``*``)."""

    how: str
    text: str

    def matches(self, value: Value) -> bool:
        """Tell whether a list's entry is this one."""
        if not isinstance(value, str):
            return False
        return value.startswith(self.text) if self.how == "^" else self.text in value


Token = Key | Entry | Text
Pointer = tuple[str | int, ...]
"""A concrete place in one object: keys and indexes."""


@lru_cache(maxsize=4096)
def parse(path: str) -> tuple[Token, ...]:
    """Split a path into its tokens; raises ``ValueError`` for a malformed one."""
    tokens: list[Token] = []
    at = 0
    while at < len(path):
        match = _TOKEN.match(path, at)
        if match is None:
            raise ValueError(f"malformed path: {path!r}")
        plain, bracketed = match.groups()
        tokens.append(Key(plain) if plain is not None else _selector(bracketed))
        at = match.end()
    return tuple(tokens)


def _selector(text: str) -> Token:
    if text[:2] in ("^=", "*="):
        return Text(text[0], text[2:])
    if "=" not in text:
        return Key(text)
    pairs = (pair.partition("=") for pair in text.split(","))
    return Entry(tuple((key, value) for key, _, value in pairs))


def locate(obj: Value, tokens: Sequence[Token]) -> Pointer | None:
    """Find where a path is in an object; ``None`` if it is not there.

    Raises ``LookupError`` when several entries of a list match, since then no single field is meant.
    """
    pointer: list[str | int] = []
    for token in tokens:
        step: str | int
        if isinstance(token, Key):
            if not isinstance(obj, dict) or token.name not in obj:
                return None
            step = token.name
        else:
            found = [i for i, entry in enumerate(obj) if token.matches(entry)] if isinstance(obj, list) else []
            if not found:
                return None
            if len(found) > 1:
                raise LookupError(f"{len(found)} entries match {token}")
            step = found[0]
        pointer.append(step)
        obj = obj[step]
    return tuple(pointer)


def at(obj: Value, pointer: Pointer) -> Value:
    """Give what is at a concrete place."""
    for step in pointer:
        obj = obj[step]
    return obj


def read(obj: Value, path: str) -> Value:
    """Give the field at a path, ``None`` if it is absent; raises ``LookupError`` if the path is ambiguous."""
    pointer = locate(obj, parse(path))
    return None if pointer is None else at(obj, pointer)


def json_pointer(pointer: Pointer) -> str:
    """Write a concrete place as a JSON Pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in pointer)
