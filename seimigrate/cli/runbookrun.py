"""``runbook run``: take nodes back by the steps of one page, chosen by its name."""

from __future__ import annotations

from typing import Annotated

import typer

from seimigrate.cli import carrying, exits, looking, moving, orders, words
from seimigrate.cli.carrying import Errand
from seimigrate.cli.exits import Exit
from seimigrate.cli.naming import pair
from seimigrate.cli.options import Acting, Calling, Connect, Controller, Output, PlanFile, Target, Way
from seimigrate.cli.selection import Selection, select
from seimigrate.cli.session import Session
from seimigrate.cli.shell import shell_of
from seimigrate.domain import beginning, returning
from seimigrate.domain.plan import Plan
from seimigrate.domain.rollout import Situation
from seimigrate.domain.steps import Ways
from seimigrate.engine.errors import UsageError
from seimigrate.engine.results import Key
from seimigrate.planfile.problems import suggest
from seimigrate.render import jsonout, runbooktable, values
from seimigrate.render.pages import DryRunNode, DryRunPage, StepLine
from seimigrate.runbook import Page, read_runbooks


def run(
    ctx: typer.Context,
    page: Annotated[str, typer.Argument(metavar="ID", help="The page; runbook list names them.")],
    target: Target,
    file: PlanFile,
    controller: Controller,
    calling: Calling,
    acting: Acting,
    connect: Connect,
    output: Output,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="STEP", help="Begin at this step, by name or number."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show which step is next; change nothing.")] = False,
) -> None:
    """Take nodes back by the steps of one page; run again, it goes on."""
    shell = shell_of(ctx)
    shell.begin(output)
    if not target.node:
        raise UsageError("runbook run needs to be told for which node", hint="name it: --node NAMESPACE/NAME")
    runbooks = read_runbooks(file.runbooks)
    chosen = runbooks.page(page)
    if not chosen.steps:
        raise UsageError(f"page {page} has no steps for the program", hint=f"read it: seimigrate runbook show {page}")
    passed = tuple(range(_number(chosen, start))) if start is not None else ()
    ways = Ways(runbooks.digest, (chosen.way(None),))
    again = ["run", page, *(["--from", start] if start else [])]
    if dry_run:
        plan = looking.the_plan(file)
        session = shell.open_session(connect)
        found = select(session.cluster, target, session.namespace)
        nodes = tuple(_dry(session, plan, found, key, chosen, ways, passed) for key in found.keys)
        shown = DryRunPage(page, nodes, words.command("runbook", again, target, file, controller, calling, connect))
        shell.show(lambda: jsonout.dry_run(shown), lambda on: runbooktable.show_steps(shown, on))
        return
    shell, told, session, found = moving.begin(
        ctx, lambda: orders.read(target, file, Way(), None), acting, connect, output, [controller, calling]
    )
    plan = told.plan
    accounts = carrying.accounts_of(session, controller)
    pods = session.pods(pair("--service-account", calling.service_account), required=False)
    rows = [
        ("cluster", session.server),
        ("nodes", values.few([f"{ns}/{name}" for ns, name in found.keys])),
        ("page", f"{page}: {chosen.title}"),
        *([("from", f"step {start}: what comes before it is left out")] if start else []),
        *moving.asked(session, plan, ways, found),
    ]
    shell.ask(acting.yes, f"take {values.count(len(found.keys), 'node')} back; pods restart where they must:", rows)
    errand = Errand(
        command=f"runbook run {page}",
        plan=plan,
        strategy=plan.strategy,
        ways=ways,
        selection=found,
        work=lambda run: run.back(found.keys, None),
        passed=passed,
    )
    ended = carrying.carry(shell, session, errand, accounts, pods, acting)
    code = exits.of_rollback(ended.results, all_the_way=True)
    then = words.command("status", target, connect)
    if code is not Exit.DONE:
        then = words.command("runbook", again, target, file, controller, calling, acting, connect)
    moving.end(shell, errand, ended, code, then)


def _number(page: Page, start: str) -> int:
    """Give the number of a step, from 0, by its own from 1 or by its name."""
    names = [each.step.do.value for each in page.steps]
    if start.isdigit() and 0 < int(start) <= len(names):
        return int(start) - 1
    if start not in names:
        known = [f"{number} {name}" for number, name in enumerate(names, 1)] if start.isdigit() else names
        raise UsageError(f"--from {start}: page {page.id} has no such step: {suggest(start, known)}")
    return names.index(start)


def _dry(
    session: Session, plan: Plan, found: Selection, key: Key, page: Page, ways: Ways, passed: tuple[int, ...]
) -> DryRunNode:
    look = looking.Look(session.cluster, Selection((key,), found.namespaces), plan, session.clock)
    record, view, now = look.records[key], look.at(key), session.clock.now()
    options = beginning.Options(run="dry-run", strategy=plan.strategy, ways=ways, passed=passed)
    if record is None:
        record = beginning.begin(view, plan, options, now)
    back = beginning.go_back(record, view, options, None, now)
    following = returning.next_step(Situation(back, view, plan, now))
    lines = []
    for number, each in enumerate(page.steps):
        later = following is not None and number > following
        state = "next" if number == following else "later" if later and number not in back.passed else "done"
        otherwise = each.step.otherwise
        lines.append(
            StepLine(
                number=number + 1,
                do=each.step.do.value,
                about=each.expect or each.step.text,
                otherwise=otherwise.value if otherwise else None,
                state="left out" if number in passed else state,
            )
        )
    return DryRunNode(*key, tuple(lines))
