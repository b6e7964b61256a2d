"""``runbook``: the pages that people follow and the program runs; list them, show one, check them, run one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from seimigrate.cli import breakglass, looking
from seimigrate.cli.expand import expanded
from seimigrate.cli.naming import pair
from seimigrate.cli.options import Connect, Output, PlanFile, RunbooksDir
from seimigrate.cli.runbookrun import run
from seimigrate.cli.selection import Selection
from seimigrate.cli.shell import shell_of
from seimigrate.cli.vocabulary import vocabulary
from seimigrate.domain import byhand
from seimigrate.engine.errors import SeimigrateError
from seimigrate.render import jsonout, runbooktable, values
from seimigrate.render.pages import RunbookLine, RunbooksPage
from seimigrate.runbook import Page, RunbookError, Runbooks, read_runbooks
from seimigrate.runbook.check import check as find

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def runbook() -> None:
    """List, show, check and run the runbooks: the pages that bind each stage's way back."""


def list_pages(ctx: typer.Context, output: Output, runbooks: RunbooksDir = None) -> None:
    """List the pages: what each is for, who decides, how long it takes."""
    shell = shell_of(ctx)
    shell.begin(output)
    listed = _listed(read_runbooks(runbooks))
    shell.show(lambda: jsonout.runbooks(listed), lambda on: runbooktable.show(listed, on))


def show(
    ctx: typer.Context,
    page: Annotated[str, typer.Argument(metavar="ID", help="The page; runbook list names them.")],
    file: PlanFile,
    connect: Connect,
    output: Output,
    node: Annotated[
        str | None, typer.Option("--node", metavar="NS/NAME", help="Fill it in with this node's patches.")
    ] = None,
) -> None:
    """Print a page; with --node every command in it can be typed as it stands."""
    shell = shell_of(ctx)
    shell.begin(output)
    key = pair("--node", node) if node is not None else None
    plan = looking.the_plan(file)
    found = read_runbooks(file.runbooks).page(page)
    text = found.text
    if key is not None:
        session = shell.open_session(connect)
        look = looking.Look(session.cluster, Selection((key,), (key[0],)), plan, session.clock)
        record, view = look.records[key], look.at(key)
        if view.statefulset is None:
            raise SeimigrateError(f"there is no StatefulSet {node}", hint=f"kubectl -n {key[0]} get statefulsets")
        patches = byhand.of_record(record, view) if record is not None else byhand.NOTHING
        text = breakglass.filled(found, key, view, plan, patches, breakglass.told_of_now(key, record))
    if shell.json:
        shell.show(lambda: jsonout.runbook(_line(found), text, node), lambda _: None)
    else:
        sys.stdout.write(text)


def check(
    ctx: typer.Context,
    output: Output,
    folder: Annotated[
        str | None, typer.Argument(metavar="[DIR]", help="A folder of runbooks (default: those that came along).")
    ] = None,
) -> None:
    """Name everything that is wrong with runbooks, with file and line."""
    shell = shell_of(ctx)
    shell.begin(output)
    found, problems = find(folder, vocabulary(ctx.find_root().command))
    if problems:
        raise RunbookError(found.source, problems)
    told = f"{found.source}: {values.count(len(found.pages), 'page')}, nothing is wrong"
    shell.show(lambda: jsonout.runbooks(_listed(found)), lambda on: on.print(told))


def _listed(found: Runbooks) -> RunbooksPage:
    return RunbooksPage(found.digest, tuple(_line(page) for page in found.pages))


def _line(page: Page) -> RunbookLine:
    return RunbookLine(
        id=page.id,
        title=page.title,
        stage=page.stage.value if page.stage else None,
        severity=page.severity.value,
        decides=page.decides,
        time=page.time,
        steps=tuple(each.step.do.value for each in page.steps),
    )


app.command("list")(expanded(list_pages))
for _command in (show, check, run):
    app.command()(expanded(_command))
