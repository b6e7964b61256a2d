"""What every command shares: the streams, the format, the question before something is changed."""

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
    """One call of the program; ``acting`` tells whether it may have changed anything yet.

    ``terminated`` tells that SIGTERM came: whatever runs processes wants this one to end, and may start it again.
    """

    open_session: OpenSession
    json: bool = False
    verbose: bool = False
    may_have_written: bool = False
    terminated: bool = False
    stop_handler: Callable[[], None] | None = None

    @contextlib.contextmanager
    def graceful_stop(self, stop: Callable[[], None]) -> Iterator[None]:
        """Meanwhile, let the first ^C only ask the work to stop; otherwise it breaks in as ``Interrupted``."""
        self.stop_handler = stop
        try:
            yield
        finally:
            self.stop_handler = None

    def configure_output(self, output: OutputOptions) -> None:
        """Take in how to print, before anything is printed."""
        from seimigrate.render import logs

        self.json = output.output is Format.JSON
        self.verbose = output.verbose
        colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        logs.configure(as_json=self.json, verbose=self.verbose, colour=colour)

    def show(
        self, data: Callable[[], dict[str, Any]], table: Callable[[Console], None], *, ends_stream: bool = False
    ) -> None:
        """Print a result in the format that was asked for; as JSON on one line where it ends a stream of events."""
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
        """Raise ``UsageError`` where a question is due and nobody is there to answer it."""
        if not yes and not sys.stdin.isatty():
            raise UsageError("confirmation required, but stdin is not a terminal", hint="add --yes")

    def confirm(self, yes: bool, heading: str, rows: Sequence[tuple[str, str]]) -> None:
        """Show what is about to be done and ask; raises ``SeimigrateError`` for anything but yes."""
        if yes:
            return
        width = max(len(name) for name, _ in rows)
        lines = [heading, *(f"  {name:<{width}}  {text}" for name, text in rows)]
        sys.stderr.write("\n".join(lines) + "\nContinue? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise SeimigrateError("not confirmed: nothing was changed")

    def print_error(self, message: str, hint: str, code: int) -> None:
        """Say on stderr what went wrong, and what to type next."""
        if self.json:
            from seimigrate.render import json_output

            sys.stderr.write(json.dumps(json_output.error(message, hint, code)) + "\n")
        else:
            sys.stderr.write(f"error: {message}\n" + (f"  hint: {hint}\n" if hint else ""))


def invocation_of(ctx: typer.Context) -> Invocation:
    """Give the shell that this call was made with."""
    invocation = ctx.find_object(Invocation)
    assert invocation is not None
    return invocation


def exit_with(code: int) -> NoReturn:
    """End the command with an exit code."""
    raise typer.Exit(code)
