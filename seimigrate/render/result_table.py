"""How a run ended, for people."""

from __future__ import annotations

from rich.console import Console

from seimigrate.render import formatting
from seimigrate.render.console import print_next_command, table
from seimigrate.render.reports import ResultRow, RunReport

HEADS = ("NODE", "OUTCOME", "STAGE", "RESTARTS", "HELD", "")


def show(report: RunReport, on: Console) -> None:
    """Print how a run ended."""
    on.print(table(HEADS, [_row(row) for row in report.rows]))
    on.print()
    outcomes: dict[str, int] = {}
    for row in report.rows:
        outcomes[row.outcome or "unfinished"] = outcomes.get(row.outcome or "unfinished", 0) + 1
    counted = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
    on.print(f"{report.command}: {formatting.pluralize(len(report.rows), 'node')}: {counted}")
    print_next_command(on, report.next_command)


def _row(row: ResultRow) -> tuple[str, ...]:
    texts = [f"failed: {row.failure}"] if row.failure else []
    texts += [row.reason] if row.reason and row.reason != row.failure else []
    texts += [f"{b.code}: {b.reason}\n→ {b.remedy}" for b in row.blockers]
    texts += row.notes
    held = "held" if row.held else "-"
    return (row.key, row.outcome or "unfinished", row.stage or "-", str(row.restarts), held, "\n".join(texts))
