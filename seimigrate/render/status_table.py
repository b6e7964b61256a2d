"""A status for people: who runs, where each node is, and whether the controller may be upgraded now."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from seimigrate.render.console import print_next_command, table
from seimigrate.render.reports import StatusReport, StatusRow

HEADS = ("NODE", "MODE", "CHAIN", "TEMPLATE", "POD", "STAGE", "OUTCOME", "HELD")


def show(report: StatusReport, on: Console) -> None:
    """Print a status."""
    if report.run is None:
        on.print("no run yet")
    else:
        state = "runs now" if report.run.live else "is over"
        on.print(
            f"run {report.run.token} ({report.run.command}) of {report.run.holder}, since {report.run.started}, {state}"
        )
        if report.run.wait_reason:
            on.print(f"  {report.run.wait_reason}")
    on.print()
    live = report.run is not None and report.run.live
    on.print(table(HEADS, [_row(row, live) for row in report.rows]))
    told = [(row.key, text) for row in report.rows for text in _texts(row)]
    if told:
        on.print()
        on.print(table(("", ""), told))
    _safety(report, on)
    print_next_command(on, report.next_command)


def _row(row: StatusRow, live: bool) -> tuple[str, ...]:
    stage = ("← " if row.direction == "rollback" else "") + (row.stage or "-")
    outcome = row.outcome or ("-" if row.stage is None else "in-progress" if live else "interrupted")
    held = "held, guarded" if row.guarded else "held, unguarded" if row.held else "-"
    shapes = (row.template or "?", row.pod or "none")
    return (row.key, row.mode, row.chain, *shapes, stage, outcome, held)


def _texts(row: StatusRow) -> list[str]:
    failed = [f"failed: {row.failure}"] if row.failure else []
    reason = [row.reason] if row.reason and row.reason != row.failure else []
    return [*failed, *reason, *row.notes]


def _safety(report: StatusReport, on: Console) -> None:
    if report.safe_to_upgrade is None:
        return
    on.print()
    word = Text("yes", "green") if report.safe_to_upgrade else Text("no", "red")
    on.print(Text.assemble("safe to upgrade the controller: ", word))
    for doubt in report.upgrade_blockers:
        on.print(f"  {doubt}")
