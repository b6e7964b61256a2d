"""The brake: pause, resume, promote, skip, retry and abort, for the live run and from any terminal."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from seimigrate.app.execute import holder
from seimigrate.app.exit_codes import Exit
from seimigrate.app.names import parse_namespaced_name
from seimigrate.cli.invocation import exit_with, invocation_of
from seimigrate.cli.options import ConnectionOptions, OutputOptions
from seimigrate.domain.fleet.control import ControlCommand
from seimigrate.engine.run_control import ControlClient
from seimigrate.render import json_output

NodeName = Annotated[str, typer.Argument(metavar="NS/NAME", help="The SeiNode.")]


def pause(ctx: typer.Context, connection: ConnectionOptions, output: OutputOptions) -> None:
    """Let the live run start no other node, until resume."""
    _send(ctx, connection, output, ControlCommand.PAUSE)


def resume(ctx: typer.Context, connection: ConnectionOptions, output: OutputOptions) -> None:
    """Let the live run go on that paused; failures so far are forgiven."""
    _send(ctx, connection, output, ControlCommand.RESUME)


def promote(ctx: typer.Context, connection: ConnectionOptions, output: OutputOptions) -> None:
    """Let the live run go on to the next wave: its soak and its gates have passed."""
    _send(ctx, connection, output, ControlCommand.PROMOTE)


def skip(ctx: typer.Context, node: NodeName, connection: ConnectionOptions, output: OutputOptions) -> None:
    """Let the live run leave a node out that has yet to start."""
    _send(ctx, connection, output, ControlCommand.SKIP, node)


def retry(ctx: typer.Context, node: NodeName, connection: ConnectionOptions, output: OutputOptions) -> None:
    """Let the live run try a node again that failed, was blocked or was skipped."""
    _send(ctx, connection, output, ControlCommand.RETRY, node)


def abort(
    ctx: typer.Context,
    connection: ConnectionOptions,
    output: OutputOptions,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Take nodes back, too: those on their way, then those that moved.")
    ] = False,
) -> None:
    """Let the live run end: nodes on their way come to their end, no other starts."""
    _send(ctx, connection, output, ControlCommand.ABORT, rollback=rollback)


COMMANDS = (pause, resume, promote, skip, retry, abort)


def _send(
    ctx: typer.Context,
    connection: ConnectionOptions,
    output: OutputOptions,
    command: ControlCommand,
    node: str = "",
    *,
    rollback: bool = False,
) -> None:
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    if node:
        parse_namespaced_name(command.value, node)
    session = invocation.open_session(connection)
    client = ControlClient(session.cluster, session.clock, time.sleep, holder())
    reply = client.send(command, node, rollback=rollback)
    invocation.show(
        lambda: json_output.control_reply(command.value, node, reply.accepted, reply.message),
        lambda _: _say(f"{reply.message}\n\nnext: seimigrate status" if reply.accepted else f"no: {reply.message}"),
    )
    exit_with(Exit.DONE if reply.accepted else Exit.ERROR)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
