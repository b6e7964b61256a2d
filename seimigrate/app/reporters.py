"""Shows a run to whoever watches it: a tree on a terminal, else quiet lines; with JSON, a stream of events."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from seimigrate.app.process import CommandProcess
from seimigrate.app.session import Session
from seimigrate.domain.fleet.progress import Progress
from seimigrate.engine.event_dispatcher import EventDispatcher, EventListener
from seimigrate.engine.kube_events import Recorder
from seimigrate.engine.ports import Clock
from seimigrate.render.event_log import Log, LogListener
from seimigrate.render.json_stream import JsonStreamListener


def on_terminal(process: CommandProcess) -> bool:
    """Tell whether there is a terminal on which a tree can be redrawn; who debugs reads lines."""
    return not process.json and not process.verbose and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def make_dispatcher(process: CommandProcess, clock: Clock, log: Log, run: str, *more: EventListener) -> EventDispatcher:
    """Give who tells of a run: to the log, and with JSON to stdout; and to ``more``."""
    told: list[EventListener] = [LogListener(log, quiet=on_terminal(process))]
    if process.json:
        told.append(JsonStreamListener(clock.now, run, verbose=process.verbose))
    return EventDispatcher(clock, *told, *more)


@contextmanager
def live_view(process: CommandProcess, progress: Callable[[], Progress], clock: Clock, title: str) -> Iterator[None]:
    """Redraw a tree meanwhile, where there is a terminal; log lines appear above it."""
    if not on_terminal(process):
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


def make_event_recorder(session: Session, who: str, log: Log) -> Recorder:
    """Give who writes Kubernetes Events; what could not be written is told to who debugs."""
    return Recorder(session.cluster, session.clock, who, log.debug)


@contextmanager
def report_run(
    process: CommandProcess, tell: EventDispatcher, clock: Clock, log: Log, port: int | None, about: Mapping[str, str]
) -> Iterator[None]:
    """Show a run meanwhile, and serve its metrics if a port was named; raises ``UsageError`` if that is taken.

    ``about`` says which ``run`` it is, of which ``command``, by which ``plan``.
    """
    with ExitStack() as stack:
        if port is not None:
            from seimigrate.adapters.metrics import ADDRESS, RunMetrics, serve_metrics

            found = stack.enter_context(serve_metrics(port, RunMetrics(lambda: tell.progress, clock.now, about)))
            log.info(f"metrics: http://{ADDRESS}:{found}/metrics")
        stack.enter_context(live_view(process, lambda: tell.progress, clock, f"{about['command']} {about['run']}"))
        yield
