"""Read runbooks: pages that people follow and whose steps the program runs; check them, and fill them in for a node."""

from __future__ import annotations

from seimigrate.runbook.folder import RunbookSet, read_runbooks
from seimigrate.runbook.model import Runbook, RunbookError

__all__ = ["Runbook", "RunbookError", "RunbookSet", "read_runbooks"]
