"""What happens in a run as one JSON object a line, for programs; docs/output.md describes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from seimigrate.domain.happenings import Happening, What
from seimigrate.render.jsonout import VERSION


class Stream:
    """A watcher of a run that prints on stdout; single steps only if it is ``verbose``."""

    def __init__(self, now: Callable[[], float], run: str, *, verbose: bool) -> None:
        self._now = now
        self._run = run
        self._verbose = verbose

    def __call__(self, happening: Happening) -> None:
        """Print what happened."""
        if happening.what is not What.STEP or self._verbose:
            write(self._event(happening))

    def _event(self, happening: Happening) -> dict[str, Any]:
        record = happening.record
        return {
            "version": VERSION,
            "event": happening.what.value,
            "time": datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "run": self._run,
            "node": record.key if record else None,
            "stage": record.stage.value if record else None,
            "direction": record.direction.value if record else None,
            "outcome": record.outcome.value if record and record.outcome else None,
            "restarts": len(record.replaced) if record else None,
            "serious": happening.serious,
            "text": happening.text,
        }


def write(event: dict[str, Any]) -> None:
    """Print one event on stdout, at once."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
