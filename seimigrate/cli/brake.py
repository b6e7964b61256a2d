"""The brake: pause, resume, promote, skip, retry and abort, for the live run and from any terminal."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from seimigrate.cli.carrying import holder
from seimigrate.cli.exits import Exit
from seimigrate.cli.naming import pair
from seimigrate.cli.options import Connect, Output
from seimigrate.cli.shell import leave, shell_of
from seimigrate.domain.fleet.wishes import Word
from seimigrate.engine.brake import Pedal
from seimigrate.render import jsonout

NodeName = Annotated[str, typer.Argument(metavar="NS/NAME", help="The SeiNode.")]


def pause(ctx: typer.Context, connect: Connect, output: Output) -> None:
    """Let the live run start no other node, until resume."""
    _ask(ctx, connect, output, Word.PAUSE)


def resume(ctx: typer.Context, connect: Connect, output: Output) -> None:
    """Let the live run go on that paused; failures so far are forgiven."""
    _ask(ctx, connect, output, Word.RESUME)


def promote(ctx: typer.Context, connect: Connect, output: Output) -> None:
    """Let the live run go on to the next wave: its soak and its gates have passed."""
    _ask(ctx, connect, output, Word.PROMOTE)


def skip(ctx: typer.Context, node: NodeName, connect: Connect, output: Output) -> None:
    """Let the live run leave a node out that has yet to start."""
    _ask(ctx, connect, output, Word.SKIP, node)


def retry(ctx: typer.Context, node: NodeName, connect: Connect, output: Output) -> None:
    """Let the live run try a node again that failed, was blocked or was skipped."""
    _ask(ctx, connect, output, Word.RETRY, node)


def abort(
    ctx: typer.Context,
    connect: Connect,
    output: Output,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Take nodes back, too: those on their way, then those that moved.")
    ] = False,
) -> None:
    """Let the live run end: nodes on their way come to their end, no other starts."""
    _ask(ctx, connect, output, Word.ABORT, rollback=rollback)


COMMANDS = (pause, resume, promote, skip, retry, abort)


def _ask(
    ctx: typer.Context, connect: Connect, output: Output, word: Word, node: str = "", *, rollback: bool = False
) -> None:
    shell = shell_of(ctx)
    shell.begin(output)
    if node:
        pair(word.value, node)
    session = shell.open_session(connect)
    pedal = Pedal(session.cluster, session.clock, time.sleep, holder())
    answer = pedal.ask(word, node, rollback=rollback)
    shell.show(
        lambda: jsonout.answered(word.value, node, answer.granted, answer.text),
        lambda _: _say(f"{answer.text}\n\nnext: seimigrate status" if answer.granted else f"no: {answer.text}"),
    )
    leave(Exit.DONE if answer.granted else Exit.ERROR)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
