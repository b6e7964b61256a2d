"""What the simulated pods were asked and what they did, one record after the other: for a judge."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from typing import Any


class RequestLog:
    """Records in memory, and as JSON lines in a file when a path is given.

    A request has ``time, namespace, pod, uid, port, method, path, source, user, status`` and, for POST, ``body``;
    anything else has ``event`` (``pod-bound``, ``container-started``, ``container-stopped``, ``seid-serving``,
    ``seid-stopped``, ``killed``) with the container's name. A probe is recorded when its answer differs from its last.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[dict[str, Any]] = []
        self._lock = Lock()
        self._file = path.open("a", buffering=1) if path is not None else None

    def add(self, **entry: Any) -> None:
        """Append one record."""
        with self._lock:
            self.entries.append(entry)
            if self._file is not None:
                self._file.write(json.dumps(entry) + "\n")

    def events(self, event: str) -> list[dict[str, Any]]:
        """Give the records of an event."""
        return [entry for entry in self.entries if entry.get("event") == event]

    def posts(self, pod: str = "") -> list[dict[str, Any]]:
        """Give the POST requests, of one pod or of all."""
        return [entry for entry in self.entries if entry.get("method") == "POST" and pod in ("", entry["pod"])]

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()
