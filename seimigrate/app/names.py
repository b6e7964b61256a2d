"""Names and label selectors as people type them: what Kubernetes would refuse is refused before it is asked."""

from __future__ import annotations

import re

from seimigrate.engine.errors import UsageError

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_LONGEST_NAME = 253
_WORD = r"[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?"
_KEY = rf"(?:{_NAME.pattern}/)?{_WORD}"
_VALUE = rf"(?:{_WORD})?"
_TERM = re.compile(
    rf"!?\s*{_KEY}|{_KEY}\s*(?:=|==|!=)\s*{_VALUE}|{_KEY}\s*[<>]\s*\d+"
    rf"|{_KEY}\s+(?:not)?in\s*\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)",
    re.ASCII,
)
_COMMA = re.compile(r",(?![^()]*\))")


def parse_namespaced_name(option: str, value: str) -> tuple[str, str]:
    """Split ``NAMESPACE/NAME``; raises ``UsageError`` for anything else (apimachinery: DNS label, DNS subdomain)."""
    space, slash, name = value.partition("/")
    if not (space and slash and name) or "/" in name:
        raise UsageError(
            f"{option} {value}: this is not NAMESPACE/NAME", hint=f"for example: {option} default/{name or value}"
        )
    namespace(option, space, of=value)
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise UsageError(f"{option} {value}: {name} is no name of an object", hint=_letters("dashes and dots"))
    return space, name


def namespace(option: str, value: str, *, of: str = "") -> str:
    """Give a namespace's name back; raises ``UsageError`` for what cannot be one."""
    if not _NAMESPACE.fullmatch(value):
        told = f"{value} is no name of a namespace" if of else "this is no name of a namespace"
        raise UsageError(f"{option} {of or value}: {told}", hint=_letters("dashes, at most 63"))
    return value


def selector(option: str, value: str) -> str:
    """Give a label selector back; raises ``UsageError`` naming the first term that is none (apimachinery labels)."""
    for term in _COMMA.split(value) if value else ():
        if not _TERM.fullmatch(term.strip()):
            raise UsageError(
                f"{option} {value}: {term.strip() or 'nothing'} is no term of a label selector",
                hint=f"for example: {option} sei.io/role=validator,sei.io/chain!=test, or 'sei.io/role in (node,seed)'",
            )
    return value


def _letters(more: str) -> str:
    return (
        f"lower-case letters, digits, {more}, with a letter or digit at both ends; kubectl get seinodes -A lists them"
    )
