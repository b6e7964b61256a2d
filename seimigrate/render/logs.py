"""Logs on stderr: aligned lines for people, or one JSON object a line."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

_DIM, _YELLOW, _RED, _OFF = "\x1b[2m", "\x1b[33m", "\x1b[31m", "\x1b[0m"


def configure(*, as_json: bool, verbose: bool, colour: bool, stream: TextIO | None = None) -> None:
    """Set logging up for this process, on stderr or another stream; ``verbose`` shows each step."""
    stamp = structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json, key="time")
    last: Any = structlog.processors.JSONRenderer(sort_keys=True) if as_json else _Line(colour)
    structlog.configure(
        processors=[structlog.processors.add_log_level, stamp, last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


class _Line:
    """Write ``12:03:04  sei/full-0  expose  waits: ...``, a way back with an arrow."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._widest = 0

    def __call__(self, _: Any, level: str, event: MutableMapping[str, Any]) -> str:
        node = str(event.get("node", ""))
        self._widest = max(self._widest, len(node))
        stage = ("← " if event.get("direction") == "rollback" else "") + str(event.get("stage", ""))
        place = f"{node:<{self._widest}}  {stage:<9}  " if node else ""
        text = str(event["event"])
        if not self._colour:
            return f"{event['time']}  {place}{text}"
        paint = {"warning": _YELLOW, "error": _RED}.get(level, _DIM if level == "debug" else "")
        return f"{_DIM}{event['time']}{_OFF}  {place}{paint}{text}{_OFF if paint else ''}"
