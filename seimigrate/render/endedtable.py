"""How a run ended, for people."""

from __future__ import annotations

from rich.console import Console

from seimigrate.render import values
from seimigrate.render.console import follow_up, table
from seimigrate.render.pages import EndedLine, EndedPage

HEADS = ("NODE", "OUTCOME", "STAGE", "RESTARTS", "HELD", "")


def show(page: EndedPage, on: Console) -> None:
    """Print how a run ended."""
    on.print(table(HEADS, [_row(line) for line in page.lines]))
    on.print()
    outcomes: dict[str, int] = {}
    for line in page.lines:
        outcomes[line.outcome or "unfinished"] = outcomes.get(line.outcome or "unfinished", 0) + 1
    counted = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
    on.print(f"{page.command}: {values.count(len(page.lines), 'node')}: {counted}")
    follow_up(on, page.next)


def _row(line: EndedLine) -> tuple[str, ...]:
    texts = [f"failed: {line.failure}"] if line.failure else []
    texts += [line.reason] if line.reason and line.reason != line.failure else []
    texts += [f"{b.code}: {b.reason}\n→ {b.remedy}" for b in line.blockers]
    texts += line.notes
    held = "held" if line.held else "-"
    return (line.key, line.outcome or "unfinished", line.stage or "-", str(line.restarts), held, "\n".join(texts))
