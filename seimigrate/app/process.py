"""What the modules of ``app`` need of the process that runs a command: its streams' format and its signals."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Interrupted(BaseException):
    """The operator, or the process manager, asked this process to stop."""


class CommandProcess(Protocol):
    """The process of one command.

    ``json`` and ``verbose`` are the format of its output. ``may_have_written`` is set before the first write;
    ``terminated`` is set when SIGTERM arrived.
    """

    json: bool
    verbose: bool
    may_have_written: bool
    terminated: bool

    def graceful_stop(self, stop: Callable[[], None]) -> AbstractContextManager[None]:
        """Within the block, call ``stop`` at the first Ctrl-C instead of raising ``Interrupted``."""
