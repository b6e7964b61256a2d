"""A status for people: who runs, where each node is, and whether the controller may be upgraded now."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from seimigrate.render.console import follow_up, table
from seimigrate.render.pages import StatusLine, StatusPage

HEADS = ("NODE", "MODE", "CHAIN", "TEMPLATE", "POD", "STAGE", "OUTCOME", "HELD")


def show(page: StatusPage, on: Console) -> None:
    """Print a status."""
    if page.run is None:
        on.print("no run yet")
    else:
        state = "runs now" if page.run.live else "is over"
        on.print(f"run {page.run.token} ({page.run.command}) of {page.run.holder}, since {page.run.started}, {state}")
        if page.run.standing:
            on.print(f"  {page.run.standing}")
    on.print()
    live = page.run is not None and page.run.live
    on.print(table(HEADS, [_row(line, live) for line in page.lines]))
    told = [(line.key, text) for line in page.lines for text in _texts(line)]
    if told:
        on.print()
        on.print(table(("", ""), told))
    _safety(page, on)
    follow_up(on, page.next)


def _row(line: StatusLine, live: bool) -> tuple[str, ...]:
    stage = ("← " if line.direction == "back" else "") + (line.stage or "-")
    outcome = line.outcome or ("-" if line.stage is None else "moving" if live else "interrupted")
    held = "guarded" if line.guarded else "unguarded" if line.held else "-"
    shapes = (line.template or "?", line.pod or "none")
    return (line.key, line.mode, line.chain, *shapes, stage, outcome, held)


def _texts(line: StatusLine) -> list[str]:
    failed = [f"failed: {line.failure}"] if line.failure else []
    reason = [line.reason] if line.reason and line.reason != line.failure else []
    return [*failed, *reason, *line.notes]


def _safety(page: StatusPage, on: Console) -> None:
    if page.safe is None:
        return
    on.print()
    word = Text("yes", "green") if page.safe else Text("no", "red")
    on.print(Text.assemble("safe to upgrade the controller: ", word))
    for doubt in page.doubts:
        on.print(f"  {doubt}")
