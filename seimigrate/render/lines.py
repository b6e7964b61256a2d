"""What happens meanwhile: one quiet line for each change of stage and for each reason to wait, the rest in debug."""

from __future__ import annotations

from typing import Any, Protocol

from seimigrate.domain.happenings import Happening, What


class Log(Protocol):
    """As much of a structlog logger as is used here."""

    def debug(self, event: str, **context: Any) -> Any:
        """Log what only ``-v`` shows."""

    def info(self, event: str, **context: Any) -> Any:
        """Log what happens."""

    def warning(self, event: str, **context: Any) -> Any:
        """Log what a person should look at."""


class Lines:
    """A watcher of a run that tells a log; ``quiet`` leaves to others what is not serious."""

    def __init__(self, log: Log, *, quiet: bool = False) -> None:
        self._log = log
        self._quiet = quiet

    def __call__(self, happening: Happening) -> None:
        """Log what happened."""
        if happening.serious:
            tell = self._log.warning
        elif happening.what is What.STEP:
            tell = self._log.debug
        elif self._quiet and happening.what is not What.OUTCOME:
            return
        else:
            tell = self._log.info
        tell(_PREFIX.get(happening.what, "") + happening.text, **_where(happening))


_PREFIX = {What.WAITS: "waits: ", What.FAILED: "failed: "}


def _where(happening: Happening) -> dict[str, str]:
    record = happening.record
    if record is None:
        return {}
    return {"node": record.key, "stage": record.stage.value, "direction": record.direction.value}
