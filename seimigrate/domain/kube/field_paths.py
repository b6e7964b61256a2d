"""Field paths: the location of a field in an object, by names instead of indexes.

A path is a dotted text. Brackets contain the selector of a list entry, or a key with dots::

    spec.template.spec.initContainers[name=kube-rbac-proxy].livenessProbe.httpGet.port
    spec.ports[port=9100,protocol=TCP]
    spec.template.spec.initContainers[name=kube-rbac-proxy].args[^=--ignore-paths=]   starts with
    spec.template.spec.containers[name=seid].args[*=/dev/tcp/localhost/]              contains
    metadata.labels[seimigrate.sei.io/hold]

A path therefore stays valid if another client adds a container, an argument or a port.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Value = Any
"""A JSON value; ``None`` is an absent field, because Kubernetes never stores null."""

_TOKEN = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a map."""

    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a list of maps, selected by some of its fields."""

    fields: tuple[tuple[str, str], ...]

    def matches(self, value: Value) -> bool:
        """Return whether a list entry is selected."""
        return isinstance(value, dict) and all(str(value.get(k)) == v for k, v in self.fields)


@dataclass(frozen=True, slots=True)
class Text:
    """An entry of a list of texts, selected by its prefix (``^``) or by a contained text (``*``)."""

    how: str
    text: str

    def matches(self, value: Value) -> bool:
        """Return whether a list entry is selected."""
        if not isinstance(value, str):
            return False
        return value.startswith(self.text) if self.how == "^" else self.text in value


Token = Key | Entry | Text
Pointer = tuple[str | int, ...]
"""A location in one object: keys and indexes."""


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
    """Return the location of a path in an object; ``None`` if it is absent.

    Raises ``LookupError`` if several entries of a list match, because the path is then ambiguous.
    """
    pointer: list[str | int] = []
    for token in tokens:
        step: str | int
        if isinstance(token, Key):
            if not isinstance(obj, dict) or token.name not in obj:
                return None
            step = token.name
        else:
            indexes = [i for i, entry in enumerate(obj) if token.matches(entry)] if isinstance(obj, list) else []
            if not indexes:
                return None
            if len(indexes) > 1:
                raise LookupError(f"{len(indexes)} entries match {token}")
            step = indexes[0]
        pointer.append(step)
        obj = obj[step]
    return tuple(pointer)


def at(obj: Value, pointer: Pointer) -> Value:
    """Return the value at a location."""
    for step in pointer:
        obj = obj[step]
    return obj


def read(obj: Value, path: str) -> Value:
    """Return the field at a path, ``None`` if it is absent; raises ``LookupError`` if the path is ambiguous."""
    pointer = locate(obj, parse(path))
    return None if pointer is None else at(obj, pointer)


def json_pointer(pointer: Pointer) -> str:
    """Return a location as a JSON Pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in pointer)
