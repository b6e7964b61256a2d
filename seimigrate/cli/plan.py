"""``plan``: what would change on each node, and what is in the way. It changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from seimigrate.cli import looking, orders, outlining, words
from seimigrate.cli.exits import Exit
from seimigrate.cli.options import Connect, Output, PlanFile, Target, Way
from seimigrate.cli.orders import Orders
from seimigrate.cli.outlining import Outline
from seimigrate.cli.session import cluster_id
from seimigrate.cli.shell import leave, shell_of
from seimigrate.domain.prospect import Prospect
from seimigrate.domain.savedplan import SavedNode, SavedPlan
from seimigrate.planfile import write_saved
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
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Save the plan; apply FILE carries out exactly it.")
    ] = None,
) -> None:
    """Show what would change on each node, and what blocks it; change nothing."""
    shell = shell_of(ctx)
    shell.begin(output)
    told = orders.read(target, file, way, None)
    session = shell.open_session(connect)
    look = looking.Look(session.cluster, told.select(session), told.plan, session.clock)
    strategy, accepted = told.strategy, told.accepted
    found = outlining.outline(look, strategy, accepted=accepted, canary=told.canary)
    cluster = cluster_id(session.cluster)
    if out is not None:
        write_saved(out, _saved(told, found, cluster, session.clock.now()))
    page = PlanPage(
        migration=told.plan.migration,
        cluster=cluster,
        server=session.server,
        strategy=strategy.value,
        fingerprint=looking.fingerprint(told.plan, found.lines),
        lines=found.lines,
        waves=found.waves,
        seconds=found.seconds,
        next=_next(found.lines, told, connect, out),
    )
    lines = found.lines
    shell.show(lambda: jsonout.plan(page), lambda on: plantable.show(page, on))
    if detailed_exitcode and page.done < len(lines):
        leave(Exit.PENDING)


def _next(lines: Sequence[Prospect], told: Orders, connect: Connect, out: str | None) -> str:
    """Give the command that makes sense now: whoever is blocked looks again, whoever is done looks after it."""
    if any(not line.done and not line.blockers for line in lines):
        return words.command("apply", [out] if out is not None else told, connect)
    if all(line.done for line in lines):
        return words.command("status", told.where(), connect)
    return words.command("plan", told, connect)


def _saved(told: Orders, found: Outline, cluster: str, now: float) -> SavedPlan:
    return SavedPlan(
        cluster=cluster,
        saved=now,
        strategy=told.strategy,
        accepted=told.accepted,
        canary=told.canary,
        waves=found.waves,
        estimate=found.seconds,
        nodes=tuple(
            SavedNode(
                namespace=line.namespace,
                name=line.name,
                mode=line.mode,
                chain=line.chain,
                stage="done" if line.done else line.stage,
                restarts=line.restarts,
                blocked=bool(line.blockers),
                fields=line.fields,
            )
            for line in found.lines
        ),
        plan=told.plan,
        words=told.made_by,
    )
