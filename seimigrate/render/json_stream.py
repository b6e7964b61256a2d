"""What happens in a run as one JSON object a line, for programs; docs/output.md describes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from seimigrate.domain.fleet.events import EventType, RunEvent
from seimigrate.render.json_output import VERSION


class JsonStreamListener:
    """A watcher of a run that prints on stdout; single steps only if it is ``verbose``."""

    def __init__(self, now: Callable[[], float], run: str, *, verbose: bool) -> None:
        self._now = now
        self._run = run
        self._verbose = verbose

    def __call__(self, event: RunEvent) -> None:
        """Print what happened."""
        if event.type is not EventType.STEP or self._verbose:
            write(self._event(event))

    def _event(self, event: RunEvent) -> dict[str, Any]:
        record = event.record
        return {
            "version": VERSION,
            "event": event.type.value,
            "time": datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "run": self._run,
            "node": record.key if record else None,
            "stage": record.stage.value if record else None,
            "direction": record.direction.value if record else None,
            "outcome": record.outcome.value if record and record.outcome else None,
            "restarts": len(record.replaced_pods) if record else None,
            "level": "warning" if event.is_warning else "normal",
            "message": event.message,
        }


def write(event: dict[str, Any]) -> None:
    """Print one event on stdout, at once."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
