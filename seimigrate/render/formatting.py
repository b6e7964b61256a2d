"""Short texts for things that are long: paths, values, lists of nodes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from seimigrate.domain.fleet.wave_planning import Wave, WaveKind
from seimigrate.domain.kube.changes import Change

_CONTAINER = re.compile(r"^spec\.template\.spec\.(?:initContainers|containers)\[name=([^\]]+)\]\.?")
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
CONTEXT = 24
"""Characters shown on both sides of what differs in a long text."""


def field_label(change: Change) -> str:
    """Give a change's field; one of a container begins with the container's name."""
    return path_label(change.path)


def path_label(path: str) -> str:
    """Give a field; one of a container begins with its name, and the default protocol is left out."""
    path = path.replace(",protocol=TCP]", "]")
    found = _CONTAINER.match(path)
    return f"{found.group(1)}: {path[found.end() :]}" if found else path


def describe_change(change: Change) -> str:
    """Give what a change does to its field: only the part that differs, where the text around it is long."""
    if change.before is None:
        return f"+ {_text(change.after)}"
    if change.after is None:
        return f"- {_text(change.before)}"
    before, after = _differing(_text(change.before), _text(change.after))
    return f"{before} → {after}" if len(before) + len(after) <= 2 * CONTEXT else f"{before}\n→ {after}"


def _text(value: Any) -> str:
    """Write a value; of an entry of a list only what the API server would not fill in by itself."""
    if isinstance(value, dict):
        said = {k: v for k, v in value.items() if not (k == "protocol" and v == "TCP")}
        if said.get("targetPort") == said.get("port"):
            said.pop("targetPort", None)
        return ", ".join(f"{key}: {_text(each)}" for key, each in said.items())
    text = value if isinstance(value, str) else json.dumps(value)
    return _DIGEST.sub(r"\1…", text)


def _differing(before: str, after: str) -> tuple[str, str]:
    if max(len(before), len(after)) <= 2 * CONTEXT:
        return before, after
    shorter = min(len(before), len(after))
    head = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    tail = next((i for i in range(shorter - head) if before[-1 - i] != after[-1 - i]), shorter - head)
    return _window(before, head, tail), _window(after, head, tail)


def _window(text: str, head: int, tail: int) -> str:
    begin, end = max(0, head - CONTEXT), min(len(text), len(text) - tail + CONTEXT)
    shown = text[begin:end].replace("\n", "⏎")
    return f"{'…' if begin else ''}{shown}{'…' if end < len(text) else ''}"


def abbreviate(names: Sequence[str], most: int = 3) -> str:
    """Give some names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def pluralize(number: int, one: str, many: str = "") -> str:
    """Give a number with its noun: ``1 node``, ``2 nodes``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Give a time in words that are short: ``45 s``, ``12 min``, ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def wave_titles(waves: Sequence[Wave]) -> list[str]:
    """Name the waves of a run: canaries by what they are, the others by their number."""
    numbers = iter(range(1, len(waves) + 1))
    return ["canary" if wave.kind is WaveKind.CANARY else f"wave {next(numbers)}" for wave in waves]
