"""Read runbooks: pages that people follow and whose steps the program runs; check them, and fill them in for a node."""

from __future__ import annotations

from seimigrate.runbook.folder import Runbooks, read_runbooks
from seimigrate.runbook.pages import Page, RunbookError

__all__ = ["Page", "RunbookError", "Runbooks", "read_runbooks"]
