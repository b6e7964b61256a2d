"""Where tables go: colour on terminals alone (NO_COLOR is honoured), aligned, never wider than 100 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

WIDTH = 100
NUMBERS = ("CHANGES", "RESTARTS")
WHOLE = ("OUTCOME", "HELD")
"""Columns of single words, which are never folded."""

COLOURS = {
    "done": "green",
    "held": "green",
    "yes": "green",
    "unchanged": "green",
    "rolled-back": "yellow",
    "rolled-back-held": "yellow",
    "done-held": "yellow",
    "paused": "yellow",
    "blocked": "yellow",
    "unguarded": "yellow",
    "interrupted": "yellow",
    "not-started": "yellow",
    "failed": "red",
    "no": "red",
    "in-progress": "cyan",
    "pending": "dim",
    "skipped": "yellow",
}


def console(stream: TextIO) -> Console:
    """Give a console on a stream; a pipe gets the full width, a narrow terminal no more than it has."""
    width = min(Console(file=stream).width, WIDTH) if stream.isatty() else WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, indent: int = 0) -> RenderableType:
    """Give aligned columns; the last one takes the room that is left, and long words are folded, never cut."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(heads), header_style="dim")
    if indent:
        made.add_column("", width=indent - 2, no_wrap=True)
    for head in heads:
        made.add_column(head, overflow="fold", justify="right" if head in NUMBERS else "left", no_wrap=head in WHOLE)
    for row in rows:
        made.add_row(*([""] if indent else []), *(styled_state(cell) for cell in row))
    return made


def styled_state(word: str) -> Text:
    """Give a word in the colour of what it means."""
    return Text(word, style=COLOURS.get(word, ""))


def print_next_command(on: Console, command: str) -> None:
    """Print the next command to type, on a line of its own that can be copied whole."""
    on.print()
    on.print(Text.assemble(("next: ", "dim"), (command, "bold")), soft_wrap=True)
