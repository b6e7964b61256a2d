"""Output of a run: a live tree on a terminal, otherwise log lines; with JSON, a stream of events."""

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
    """Return whether the live tree can be drawn: on a terminal, without JSON and without ``-v``."""
    return not process.json and not process.verbose and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def make_dispatcher(process: CommandProcess, clock: Clock, log: Log, run: str, *more: EventListener) -> EventDispatcher:
    """Return the dispatcher of a run's events: to the log, with JSON to stdout, and to ``more``."""
    listeners: list[EventListener] = [LogListener(log, quiet=on_terminal(process))]
    if process.json:
        listeners.append(JsonStreamListener(clock.now, run, verbose=process.verbose))
    return EventDispatcher(clock, *listeners, *more)


@contextmanager
def live_view(process: CommandProcess, progress: Callable[[], Progress], clock: Clock, title: str) -> Iterator[None]:
    """Within the block, redraw the tree if there is a terminal; log lines appear above it."""
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
    """Return the recorder of Kubernetes Events; failed writes are logged at debug level."""
    return Recorder(session.cluster, session.clock, who, log.debug)


@contextmanager
def report_run(
    process: CommandProcess,
    dispatcher: EventDispatcher,
    clock: Clock,
    log: Log,
    port: int | None,
    about: Mapping[str, str],
) -> Iterator[None]:
    """Within the block, show a run and serve its metrics on ``port``; raise ``UsageError`` if the port is in use.

    ``about`` has the ``run``, its ``command`` and its ``plan``.
    """
    with ExitStack() as stack:
        if port is not None:
            from seimigrate.adapters.metrics import ADDRESS, RunMetrics, serve_metrics

            bound = stack.enter_context(serve_metrics(port, RunMetrics(lambda: dispatcher.progress, clock.now, about)))
            log.info(f"metrics: http://{ADDRESS}:{bound}/metrics")
        stack.enter_context(
            live_view(process, lambda: dispatcher.progress, clock, f"{about['command']} {about['run']}")
        )
        yield
