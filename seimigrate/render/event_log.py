"""What happens meanwhile: one quiet line for each change of stage and for each reason to wait, the rest in debug."""

from __future__ import annotations

from typing import Any, Protocol

from seimigrate.domain.fleet.events import EventType, RunEvent


class Log(Protocol):
    """As much of a structlog logger as is used here."""

    def debug(self, event: str, **context: Any) -> Any:
        """Log what only ``-v`` shows."""

    def info(self, event: str, **context: Any) -> Any:
        """Log what happens."""

    def warning(self, event: str, **context: Any) -> Any:
        """Log what a person should look at."""


class LogListener:
    """A watcher of a run that tells a log; ``quiet`` leaves to others what is not serious."""

    def __init__(self, log: Log, *, quiet: bool = False) -> None:
        self._log = log
        self._quiet = quiet

    def __call__(self, event: RunEvent) -> None:
        """Log what happened."""
        if event.is_warning:
            tell = self._log.warning
        elif event.type is EventType.STEP:
            tell = self._log.debug
        elif self._quiet and event.type is not EventType.OUTCOME:
            return
        else:
            tell = self._log.info
        tell(_PREFIX.get(event.type, "") + event.message, **_event_prefix(event))


_PREFIX = {EventType.WAITING: "waits: ", EventType.FAILED: "failed: "}


def _event_prefix(event: RunEvent) -> dict[str, str]:
    record = event.record
    if record is None:
        return {}
    return {"node": record.key, "stage": record.stage.value, "direction": record.direction.value}
