"""Shows a run to whoever watches it: a tree on a terminal, else quiet lines; with JSON, a stream of events."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from seimigrate.cli.session import Session
from seimigrate.cli.shell import Shell
from seimigrate.domain.progress import Progress
from seimigrate.engine.eventing import Recorder
from seimigrate.engine.ports import Clock
from seimigrate.engine.telling import Teller, Watcher
from seimigrate.render.lines import Lines, Log
from seimigrate.render.stream import Stream


def on_terminal(shell: Shell) -> bool:
    """Tell whether there is a terminal on which a tree can be redrawn; who debugs reads lines."""
    return not shell.json and not shell.verbose and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def teller(shell: Shell, clock: Clock, log: Log, run: str, *more: Watcher) -> Teller:
    """Give who tells of a run: to the log, and with JSON to stdout; and to ``more``."""
    told: list[Watcher] = [Lines(log, quiet=on_terminal(shell))]
    if shell.json:
        told.append(Stream(clock.now, run, verbose=shell.verbose))
    return Teller(clock, *told, *more)


@contextmanager
def shown(shell: Shell, progress: Callable[[], Progress], clock: Clock, title: str) -> Iterator[None]:
    """Redraw a tree meanwhile, where there is a terminal; log lines appear above it."""
    if not on_terminal(shell):
        yield
        return
    from seimigrate.render.live import live
    from seimigrate.render.logs import configure

    colour = not os.environ.get("NO_COLOR")
    try:
        with live(progress, clock.now, title) as above:
            configure(as_json=False, verbose=False, colour=colour, stream=above)
            yield
    finally:
        configure(as_json=False, verbose=False, colour=colour)


def recorder(session: Session, who: str, log: Log) -> Recorder:
    """Give who writes Kubernetes Events; what could not be written is told to who debugs."""
    return Recorder(session.cluster, session.clock, who, log.debug)


@contextmanager
def watched(
    shell: Shell, tell: Teller, clock: Clock, log: Log, port: int | None, about: Mapping[str, str]
) -> Iterator[None]:
    """Show a run meanwhile, and serve its metrics if a port was named; raises ``UsageError`` if that is taken.

    ``about`` says which ``run`` it is, of which ``command``, by which ``plan``.
    """
    with ExitStack() as stack:
        if port is not None:
            from seimigrate.adapters.metrics import ADDRESS, RunMetrics, served

            found = stack.enter_context(served(port, RunMetrics(lambda: tell.progress, clock.now, about)))
            log.info(f"metrics: http://{ADDRESS}:{found}/metrics")
        stack.enter_context(shown(shell, lambda: tell.progress, clock, f"{about['command']} {about['run']}"))
        yield
