"""``runbook``: list, show, validate and run the runbooks."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from seimigrate.app import break_glass_files, snapshot
from seimigrate.app.names import parse_namespaced_name
from seimigrate.app.options import ConnectionOptions, PlanOptions
from seimigrate.app.selection import Selection
from seimigrate.cli.command_tree import command_tree
from seimigrate.cli.commands.runbook_run import run
from seimigrate.cli.completers import nodes
from seimigrate.cli.help import HelpCommand
from seimigrate.cli.invocation import invocation_of
from seimigrate.cli.option_groups import expand_groups
from seimigrate.cli.options import SELECTION, OutputOptions, RunbooksDir
from seimigrate.domain.node import manual_patches
from seimigrate.engine.errors import SeimigrateError
from seimigrate.render import formatting, json_output, runbook_table
from seimigrate.render.reports import RunbookList, RunbookRow
from seimigrate.runbook import Runbook, RunbookError, RunbookSet, read_runbooks
from seimigrate.runbook.check import check as check_runbooks

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def runbook() -> None:
    """List, show, validate and run rollback runbooks."""


def list_runbooks(ctx: typer.Context, output: OutputOptions, runbooks: RunbooksDir = None) -> None:
    """List runbooks with purpose, approver and duration."""
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    report = _list_of(read_runbooks(runbooks))
    invocation.show(lambda: json_output.runbooks(report), lambda on: runbook_table.show(report, on))


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="Id of the runbook (see runbook list).")],
    file: PlanOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
    node: Annotated[
        str | None,
        typer.Option(
            "--node",
            metavar="NS/NAME",
            help="Substitute the placeholders for this node.",
            autocompletion=nodes,
            rich_help_panel=SELECTION,
        ),
    ] = None,
) -> None:
    """Print a runbook; with --node, with ready-to-run commands."""
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    key = parse_namespaced_name("--node", node) if node is not None else None
    plan = snapshot.load_plan_file(file)
    found = read_runbooks(file.runbooks).get(name)
    text = found.text
    if key is not None:
        session = invocation.open_session(connection)
        observed_cluster = snapshot.ClusterSnapshot(session.cluster, Selection((key,), (key[0],)), plan, session.clock)
        record, observed = observed_cluster.records[key], observed_cluster.observe(key)
        if observed.statefulset is None:
            raise SeimigrateError(f"there is no StatefulSet {node}", hint=f"kubectl -n {key[0]} get statefulsets")
        patches = manual_patches.rollback_patches(record, observed) if record is not None else manual_patches.NOTHING
        text = break_glass_files.fill_runbook(
            found, key, observed, plan, patches, break_glass_files.provenance(key, record)
        )
    if invocation.json:
        invocation.show(lambda: json_output.runbook(_row(found), text, node), lambda _: None)
    else:
        sys.stdout.write(text)


def check(
    ctx: typer.Context,
    output: OutputOptions,
    folder: Annotated[
        str | None, typer.Argument(metavar="DIR", help="Directory of runbooks (default: bundled).")
    ] = None,
) -> None:
    """Validate runbooks; report problems with file and line."""
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    found, problems = check_runbooks(folder, command_tree(ctx.find_root().command))
    if problems:
        raise RunbookError(found.source, problems)
    text = f"{found.source}: {formatting.pluralize(len(found.runbooks), 'runbook')}: no problems"
    invocation.show(lambda: json_output.runbooks(_list_of(found)), lambda on: on.print(text))


def _list_of(found: RunbookSet) -> RunbookList:
    return RunbookList(found.digest, tuple(_row(runbook) for runbook in found.runbooks))


def _row(runbook: Runbook) -> RunbookRow:
    return RunbookRow(
        id=runbook.id,
        title=runbook.title,
        stage=runbook.stage.value if runbook.stage else None,
        severity=runbook.severity.value,
        approver=runbook.approver,
        duration=runbook.duration,
        steps=tuple(each.step.action.value for each in runbook.steps),
    )


app.command("list", cls=HelpCommand)(expand_groups(list_runbooks))
for _command in (show, check, run):
    app.command(cls=HelpCommand)(expand_groups(_command))
