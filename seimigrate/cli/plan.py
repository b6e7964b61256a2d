"""``plan``: what would change on each node, and what is in the way. It changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from seimigrate.cli import looking, selection, words
from seimigrate.cli.exits import Exit
from seimigrate.cli.options import Connect, Output, PlanFile, Target, Way
from seimigrate.cli.session import cluster_id
from seimigrate.cli.shell import leave, shell_of
from seimigrate.domain.prospect import Prospect
from seimigrate.render import jsonout, plantable
from seimigrate.render.pages import PlanPage


def plan(
    ctx: typer.Context,
    target: Target,
    file: PlanFile,
    way: Way,
    connect: Connect,
    output: Output,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 3 when a node is not done yet.")
    ] = False,
) -> None:
    """Show what would change on each node, and what blocks it; change nothing."""
    shell = shell_of(ctx)
    shell.begin(output)
    selection.check(target)
    chosen = looking.the_plan(file)
    session = shell.open_session(connect)
    found = selection.select(session.cluster, target, session.namespace)
    look = looking.Look(session.cluster, found, chosen, session.clock)
    strategy = looking.strategy_of(way, chosen)
    lines = tuple(look.prospects(strategy, accept_unjudged=way.accept_unjudged_policy))
    page = PlanPage(
        migration=chosen.migration,
        cluster=cluster_id(session.cluster),
        server=session.server,
        strategy=strategy.value,
        fingerprint=looking.fingerprint(chosen, lines),
        lines=lines,
        next=words.command(_next(lines), target, file, way, connect),
    )
    shell.show(lambda: jsonout.plan(page), lambda on: plantable.show(page, on))
    if detailed_exitcode and page.done < len(lines):
        leave(Exit.PENDING)


def _next(lines: Sequence[Prospect]) -> str:
    """Give the command that makes sense now: whoever is blocked looks again, whoever is done looks after it."""
    if any(not line.done and not line.blockers for line in lines):
        return "apply"
    return "status" if all(line.done for line in lines) else "plan"
