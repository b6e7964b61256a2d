"""The entry point: all commands, and the only place that turns errors into messages and exit codes."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from seimigrate import __version__
from seimigrate.app.exit_codes import Exit
from seimigrate.app.process import Interrupted
from seimigrate.app.session import OpenSession, connect_session
from seimigrate.cli.commands import control
from seimigrate.cli.commands.cutover import apply, hold, rollback
from seimigrate.cli.commands.guard import guard
from seimigrate.cli.commands.plan import plan
from seimigrate.cli.commands.policy import render
from seimigrate.cli.commands.runbook import app as runbook
from seimigrate.cli.commands.status import status
from seimigrate.cli.commands.unlock import unlock
from seimigrate.cli.commands.verify import verify
from seimigrate.cli.completion import completion, prepare
from seimigrate.cli.help import HelpCommand
from seimigrate.cli.invocation import Invocation
from seimigrate.cli.option_groups import expand_groups
from seimigrate.engine.errors import ApiError, LockHeld, SeimigrateError, UsageError

_JSON_REQUEST = re.compile(r"(-[Avwy]*o[ =]?|--output[ =])json")
"""``-o json`` in every form, and behind the flags that may precede ``o`` in one argument."""

app = typer.Typer(
    name="seimigrate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it starts fastest and is the same in every terminal
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"seimigrate {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Migrate SeiNodes to split listeners, with rollback from any stage."""


@app.command(cls=HelpCommand)
def schema() -> None:
    """Print the JSON Schema of plan files."""
    from seimigrate.planfile import plan_schema

    typer.echo(json.dumps(plan_schema(), indent=2))


for _command in (plan, apply, status, verify, rollback, hold, guard, *control.COMMANDS, unlock, completion):
    app.command(cls=HelpCommand)(expand_groups(_command))
app.add_typer(runbook, name="runbook")

_policy = typer.Typer(no_args_is_help=True, help="Render NetworkPolicies for the nodes.")
_policy.command(cls=HelpCommand)(expand_groups(render))
app.add_typer(_policy, name="policy")


def main(argv: Sequence[str] | None = None, open_session: OpenSession = connect_session) -> int:
    """Run a command and return its exit code; ``open_session`` connects to the cluster."""
    args = sys.argv[1:] if argv is None else [*argv]
    invocation = Invocation(open_session, json=_requests_json(args))
    _disable_core_dumps()
    prepare()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal's encoding may lack characters such as arrows
    try:
        with _signals(invocation):
            return _code(app(args=args, prog_name=_program_name(), obj=invocation, standalone_mode=False))
    except SystemExit as exited:
        return _code(exited.code)
    except typer.TyperException as error:
        return _usage_error(invocation, error)
    except Interrupted:
        code = Exit.TERMINATED if invocation.terminated else Exit.PAUSED
        effect = "rerun the same command to resume" if invocation.may_have_written else "nothing was changed"
        invocation.print_error(
            f"interrupted; {effect}",
            "seimigrate status shows the state of each node" if invocation.may_have_written else "",
            code,
        )
        return code
    except SeimigrateError as error:
        code = _exit_of(error)
        again = (
            "then rerun the same command to resume"
            if invocation.may_have_written and isinstance(error, ApiError)
            else ""
        )
        invocation.print_error(error.message, "; ".join(filter(None, (error.hint, again))), code)
        return code
    except Exception as error:
        if invocation.verbose:
            traceback.print_exc()
        first_line = (str(error).splitlines() or [""])[0][:300]
        hint = "" if invocation.verbose else "-v shows the traceback"
        invocation.print_error(f"unexpected {type(error).__name__}: {first_line}", hint, Exit.ERROR)
        return Exit.ERROR


def _requests_json(args: Sequence[str]) -> bool:
    """Return whether the arguments request JSON, for errors before the parser has read ``--output``."""
    return any(
        _JSON_REQUEST.fullmatch(" ".join(pair)) or _JSON_REQUEST.fullmatch(pair[0]) for pair in pairwise([*args, ""])
    )


def _usage_error(invocation: Invocation, error: typer.TyperException) -> Exit:
    """Print what is wrong with the arguments; if there are none, print the help instead."""
    message = error.format_message().replace("Value error, ", "")
    if message.startswith("Usage:"):
        sys.stderr.write(f"{message}\n")
        return Exit.USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else _program_name()
    invocation.print_error(message, f"{command} --help", Exit.USAGE)
    return Exit.USAGE


def _disable_core_dumps() -> None:
    """Disable core dumps of this process and of its children, because their memory holds tokens.

    The limit is one byte, which is less than any core. With a limit of 0, a core_pattern that pipes cores into a
    program still gets them; with a limit of 1 it does not (Linux, fs/coredump.c).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def _program_name() -> str:
    """Return the name of the command: ``seimigrate``, or that of the kubectl plugin."""
    return "kubectl seimigrate" if Path(sys.argv[0]).name == "kubectl-seimigrate" else "seimigrate"


def _exit_of(error: SeimigrateError) -> Exit:
    if isinstance(error, UsageError):
        return Exit.USAGE
    return Exit.LOCKED if isinstance(error, LockHeld) else Exit.ERROR


def _code(code: Any) -> int:
    return code if isinstance(code, int) else Exit.DONE if code is None else Exit.ERROR


@contextlib.contextmanager
def _signals(invocation: Invocation) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into ``Interrupted``; the second one ends the process immediately.

    Work with a ``stop_handler`` finishes its current step first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        invocation.terminated = number == signal.SIGTERM
        for handled in (signal.SIGINT, signal.SIGTERM):
            signal.signal(handled, signal.SIG_DFL)
        if invocation.stop_handler is None:
            raise Interrupted
        sys.stderr.write("stopping after the current step; press Ctrl-C again to exit immediately\n")
        invocation.stop_handler()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
