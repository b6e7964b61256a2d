"""What all commands share: output streams, output format, and the confirmation prompt."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from seimigrate.app.session import OpenSession
from seimigrate.cli.options import Format, OutputOptions
from seimigrate.engine.errors import SeimigrateError, UsageError

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Invocation:
    """One invocation of seimigrate; ``may_have_written`` is set before the first write to the cluster.

    ``terminated`` is set when SIGTERM arrived: the process manager stops this process and may restart it.
    """

    open_session: OpenSession
    json: bool = False
    verbose: bool = False
    may_have_written: bool = False
    terminated: bool = False
    stop_handler: Callable[[], None] | None = None

    @contextlib.contextmanager
    def graceful_stop(self, stop: Callable[[], None]) -> Iterator[None]:
        """Within the block, call ``stop`` at the first Ctrl-C; outside of it, Ctrl-C raises ``Interrupted``."""
        self.stop_handler = stop
        try:
            yield
        finally:
            self.stop_handler = None

    def configure_output(self, output: OutputOptions) -> None:
        """Set the output format, before any output."""
        from seimigrate.render import logs

        self.json = output.output is Format.JSON
        self.verbose = output.verbose
        colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        logs.configure(as_json=self.json, verbose=self.verbose, colour=colour)

    def show(
        self, data: Callable[[], dict[str, Any]], table: Callable[[Console], None], *, ends_stream: bool = False
    ) -> None:
        """Print a result in the requested format; the JSON that ends a stream of events is on one line."""
        if self.json:
            from seimigrate.render import json_output

            print(json.dumps(data()) if ends_stream else json_output.dumps(data()))  # noqa: T201 - results go to stdout
            return
        from seimigrate.render.console import console

        on = console(sys.stdout)
        with on.capture() as shown:
            table(on)
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in shown.get().splitlines()))

    def require_confirmation(self, yes: bool) -> None:
        """Raise ``UsageError`` if confirmation is required but stdin is not a terminal."""
        if not yes and not sys.stdin.isatty():
            raise UsageError("confirmation required, but stdin is not a terminal", hint="add --yes")

    def confirm(self, yes: bool, heading: str, rows: Sequence[tuple[str, str]]) -> None:
        """Show what is about to change and prompt for confirmation; raise ``SeimigrateError`` unless it is yes."""
        if yes:
            return
        width = max(len(name) for name, _ in rows)
        lines = [heading, *(f"  {name:<{width}}  {text}" for name, text in rows)]
        sys.stderr.write("\n".join(lines) + "\nContinue? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise SeimigrateError("not confirmed: nothing was changed")

    def print_error(self, message: str, hint: str, code: int) -> None:
        """Print an error and its hint to stderr, as JSON if requested."""
        if self.json:
            from seimigrate.render import json_output

            sys.stderr.write(json.dumps(json_output.error(message, hint, code)) + "\n")
        else:
            sys.stderr.write(f"error: {message}\n" + (f"  hint: {hint}\n" if hint else ""))


def invocation_of(ctx: typer.Context) -> Invocation:
    """Return the invocation that a command belongs to."""
    invocation = ctx.find_object(Invocation)
    assert invocation is not None
    return invocation


def exit_with(code: int) -> NoReturn:
    """End the command with an exit code."""
    raise typer.Exit(code)
