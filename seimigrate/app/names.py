"""Validation of names and label selectors, before any request to the API server."""

from __future__ import annotations

import re

from seimigrate.engine.errors import UsageError

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_MAX_NAME_LENGTH = 253
_LABEL = r"[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?"
_KEY = rf"(?:{_NAME.pattern}/)?{_LABEL}"
_VALUE = rf"(?:{_LABEL})?"
_TERM = re.compile(
    rf"!?\s*{_KEY}|{_KEY}\s*(?:=|==|!=)\s*{_VALUE}|{_KEY}\s*[<>]\s*\d+"
    rf"|{_KEY}\s+(?:not)?in\s*\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)",
    re.ASCII,
)
_COMMA = re.compile(r",(?![^()]*\))")


def parse_namespaced_name(option: str, value: str) -> tuple[str, str]:
    """Split ``NAMESPACE/NAME``; raise ``UsageError`` for anything else (apimachinery: DNS label, DNS subdomain)."""
    space, slash, name = value.partition("/")
    if not (space and slash and name) or "/" in name:
        raise UsageError(
            f"{option} {value}: expected NAMESPACE/NAME", hint=f"for example: {option} default/{name or value}"
        )
    namespace(option, space, of=value)
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME_LENGTH:
        raise UsageError(
            f"{option} {value}: {name} is not a valid object name", hint=_allowed_characters("dashes and dots")
        )
    return space, name


def namespace(option: str, value: str, *, of: str = "") -> str:
    """Return a namespace's name; raise ``UsageError`` if it is invalid."""
    if not _NAMESPACE.fullmatch(value):
        problem = f"{value} is not a valid namespace name" if of else "not a valid namespace name"
        raise UsageError(f"{option} {of or value}: {problem}", hint=_allowed_characters("dashes, at most 63"))
    return value


def selector(option: str, value: str) -> str:
    """Return a label selector; raise ``UsageError`` naming the first invalid term (apimachinery labels)."""
    for term in _COMMA.split(value) if value else ():
        if not _TERM.fullmatch(term.strip()):
            raise UsageError(
                f"{option} {value}: invalid label selector term: {term.strip() or '(empty)'}",
                hint=f"for example: {option} sei.io/role=validator,sei.io/chain!=test, or 'sei.io/role in (node,seed)'",
            )
    return value


def _allowed_characters(more: str) -> str:
    return (
        f"lower-case letters, digits, {more}, with a letter or digit at both ends; kubectl get seinodes -A lists them"
    )
