"""The tree of a run, redrawn on a terminal while it lasts; log lines scroll by above it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from seimigrate.domain.fleet.progress import Progress
from seimigrate.render.tree import tree

REFRESHES_PER_SECOND = 4
"""How often the tree is redrawn a second."""


class LogsAboveTree:
    """A stream whose lines appear above the tree."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        """Take in whole lines."""
        if text.strip():
            self._console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Do nothing: each line is printed at once."""


@contextmanager
def live(progress: Callable[[], Progress], now: Callable[[], float], title: str) -> Iterator[TextIO]:
    """Show the tree on stderr until the end, and then no more; gives the stream for log lines meanwhile."""
    console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)

    def draw() -> RenderableType:
        return tree(progress(), now(), title, height=max(6, console.size.height - 2))

    with Live(
        console=console,
        get_renderable=draw,
        refresh_per_second=REFRESHES_PER_SECOND,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield cast(TextIO, LogsAboveTree(console))
