"""Runbooks for people: the list of pages, and what running one would do."""

from __future__ import annotations

from rich.console import Console

from seimigrate.render.console import print_next_command, table
from seimigrate.render.reports import DryRunReport, RunbookList

HEADS = ("PAGE", "STAGE", "SEVERITY", "TITLE")


def show(report: RunbookList, on: Console) -> None:
    """Print the list of pages."""
    rows = [(row.id, row.stage or "", row.severity, row.title) for row in report.rows]
    on.print(table(HEADS, rows))
    print_next_command(on, f"seimigrate runbook show {report.rows[0].id}")


def show_steps(report: DryRunReport, on: Console) -> None:
    """Print what a page would do on each node."""
    for node in report.nodes:
        on.print(f"{report.runbook} on {node.namespace}/{node.name}", style="bold")
        rows = [(str(row.number), row.action, row.state, row.detail) for row in node.steps]
        on.print(table(("", "STEP", "", "EXPECTS"), rows, indent=2))
        on.print()
    on.print("nothing was changed")
    print_next_command(on, report.next_command)
