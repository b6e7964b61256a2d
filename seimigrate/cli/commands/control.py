"""Control the live run from any terminal: pause, resume, promote, skip, retry and abort."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from seimigrate.app.execute import holder
from seimigrate.app.exit_codes import Exit
from seimigrate.app.names import parse_namespaced_name
from seimigrate.app.options import ConnectionOptions
from seimigrate.cli.invocation import exit_with, invocation_of
from seimigrate.cli.options import OutputOptions, run_option
from seimigrate.domain.fleet.control import ControlCommand
from seimigrate.engine.run_control import ControlClient
from seimigrate.render import json_output

NodeName = Annotated[str, typer.Argument(metavar="NS/NAME", help="The SeiNode.")]


def pause(ctx: typer.Context, connection: ConnectionOptions, output: OutputOptions) -> None:
    """Stop the live run from starting more nodes."""
    _send(ctx, connection, output, ControlCommand.PAUSE)


def resume(ctx: typer.Context, connection: ConnectionOptions, output: OutputOptions) -> None:
    """Resume a paused run and reset its failure count."""
    _send(ctx, connection, output, ControlCommand.RESUME)


def promote(ctx: typer.Context, connection: ConnectionOptions, output: OutputOptions) -> None:
    """Skip the remaining soak and gates; start the next wave."""
    _send(ctx, connection, output, ControlCommand.PROMOTE)


def skip(ctx: typer.Context, node: NodeName, connection: ConnectionOptions, output: OutputOptions) -> None:
    """Skip a node that has not started."""
    _send(ctx, connection, output, ControlCommand.SKIP, node)


def retry(ctx: typer.Context, node: NodeName, connection: ConnectionOptions, output: OutputOptions) -> None:
    """Retry a failed, blocked or skipped node."""
    _send(ctx, connection, output, ControlCommand.RETRY, node)


def abort(
    ctx: typer.Context,
    connection: ConnectionOptions,
    output: OutputOptions,
    rollback: Annotated[
        bool,
        run_option("--rollback", help="Also roll back nodes in progress and nodes already cut over."),
    ] = False,
) -> None:
    """Stop the live run after the nodes in progress."""
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
        lambda _: _print(
            f"{reply.message}\n\nnext: seimigrate status" if reply.accepted else f"rejected: {reply.message}"
        ),
    )
    exit_with(Exit.DONE if reply.accepted else Exit.ERROR)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
