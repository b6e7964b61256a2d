"""Runbooks for people: the list of pages, and what running one would do."""

from __future__ import annotations

from rich.console import Console

from seimigrate.render.console import follow_up, table
from seimigrate.render.pages import DryRunPage, RunbooksPage

HEADS = ("PAGE", "STAGE", "SEVERITY", "TITLE")


def show(page: RunbooksPage, on: Console) -> None:
    """Print the list of pages."""
    rows = [(line.id, line.stage or "", line.severity, line.title) for line in page.lines]
    on.print(table(HEADS, rows))
    follow_up(on, f"seimigrate runbook show {page.lines[0].id}")


def show_steps(page: DryRunPage, on: Console) -> None:
    """Print what a page would do on each node."""
    for node in page.nodes:
        on.print(f"{page.page} on {node.namespace}/{node.name}", style="bold")
        rows = [(str(line.number), line.do, line.state, line.about) for line in node.steps]
        on.print(table(("", "STEP", "", "EXPECTS"), rows, indent=2))
        on.print()
    on.print("nothing was changed")
    follow_up(on, page.next)
