"""``runbook run``: take nodes back by the steps of one page, chosen by its name."""

from __future__ import annotations

from typing import Annotated

import typer

from seimigrate.app import apply_spec, arguments, execute, exit_codes, snapshot
from seimigrate.app.execute import RunSpec
from seimigrate.app.exit_codes import Exit
from seimigrate.app.names import parse_namespaced_name
from seimigrate.app.selection import Selection, select
from seimigrate.app.session import Session
from seimigrate.cli.commands import cutover
from seimigrate.cli.invocation import invocation_of
from seimigrate.cli.options import (
    ApplyOptions,
    ConnectionOptions,
    ControllerOptions,
    NodeSelection,
    OutputOptions,
    PlanOptions,
    RunOptions,
    SidecarAuthOptions,
)
from seimigrate.domain.node import rollback, start
from seimigrate.domain.node.rollout import NodeContext
from seimigrate.domain.plan.plan import Plan
from seimigrate.domain.plan.rollback_steps import RollbackRunbooks
from seimigrate.engine.errors import UsageError
from seimigrate.engine.results import Key
from seimigrate.planfile.problems import suggest
from seimigrate.render import formatting, json_output, runbook_table
from seimigrate.render.reports import DryRunNode, DryRunReport, StepRow
from seimigrate.runbook import Runbook, read_runbooks


def run(
    ctx: typer.Context,
    page: Annotated[str, typer.Argument(metavar="ID", help="The page; runbook list names them.")],
    target: NodeSelection,
    file: PlanOptions,
    controller: ControllerOptions,
    calling: SidecarAuthOptions,
    run_options: RunOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
    from_step: Annotated[
        str | None,
        typer.Option("--from-step", metavar="STEP", help="Begin at this step, by name or number."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show which step is next; change nothing.")] = False,
) -> None:
    """Take nodes back by the steps of one page; run again, it goes on."""
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    if not target.node:
        raise UsageError("runbook run needs to be told for which node", hint="name it: --node NAMESPACE/NAME")
    runbooks = read_runbooks(file.runbooks)
    chosen = runbooks.get(page)
    if not chosen.steps:
        raise UsageError(f"page {page} has no steps for the program", hint=f"read it: seimigrate runbook show {page}")
    passed = tuple(range(_number(chosen, from_step))) if from_step is not None else ()
    ways = RollbackRunbooks(runbooks.digest, (chosen.rollback(None),))
    again = ["run", page, *(["--from-step", from_step] if from_step else [])]
    if dry_run:
        plan = snapshot.load_plan_file(file)
        session = invocation.open_session(connection)
        selection = select(session.cluster, target, session.namespace)
        nodes = tuple(_dry(session, plan, selection, key, chosen, ways, passed) for key in selection.keys)
        shown = DryRunReport(
            page, nodes, arguments.command_line("runbook", again, target, file, controller, calling, connection)
        )
        invocation.show(lambda: json_output.dry_run(shown), lambda on: runbook_table.show_steps(shown, on))
        return
    invocation, told, session, selection = cutover.prepare(
        ctx,
        lambda: apply_spec.read(target, file, ApplyOptions(), None),
        run_options,
        connection,
        output,
        [controller, calling],
    )
    plan = told.plan
    accounts = execute.accounts_of(session, controller)
    pod_client = session.pods(parse_namespaced_name("--service-account", calling.service_account), required=False)
    rows = [
        ("cluster", session.server),
        ("nodes", formatting.abbreviate([f"{ns}/{name}" for ns, name in selection.keys])),
        ("page", f"{page}: {chosen.title}"),
        *([("from", f"step {from_step}: what comes before it is left out")] if from_step else []),
        *cutover.confirmation_rows(session, plan, ways, selection),
    ]
    invocation.confirm(
        run_options.yes,
        f"take {formatting.pluralize(len(selection.keys), 'node')} back; pods restart where they must:",
        rows,
    )
    spec = RunSpec(
        command=f"runbook run {page}",
        plan=plan,
        strategy=plan.strategy,
        runbooks=ways,
        selection=selection,
        work=lambda run: run.rollback(selection.keys, None),
        completed_steps=passed,
    )
    result = execute.execute_run(invocation, session, spec, accounts, pod_client, run_options)
    code = exit_codes.exit_of_rollback(result.results, all_the_way=True)
    then = arguments.command_line("status", target, connection)
    if code is not Exit.DONE:
        then = arguments.command_line("runbook", again, target, file, controller, calling, run_options, connection)
    cutover.finish(invocation, spec, result, code, then)


def _number(runbook: Runbook, start: str) -> int:
    """Give the number of a step, from 0, by its own from 1 or by its name."""
    names = [each.step.action.value for each in runbook.steps]
    if start.isdigit() and 0 < int(start) <= len(names):
        return int(start) - 1
    if start not in names:
        known = [f"{number} {name}" for number, name in enumerate(names, 1)] if start.isdigit() else names
        raise UsageError(f"--from {start}: page {runbook.id} has no such step: {suggest(start, known)}")
    return names.index(start)


def _dry(
    session: Session,
    plan: Plan,
    selection: Selection,
    key: Key,
    runbook: Runbook,
    runbooks: RollbackRunbooks,
    passed: tuple[int, ...],
) -> DryRunNode:
    look = snapshot.ClusterSnapshot(session.cluster, Selection((key,), selection.namespaces), plan, session.clock)
    record, observed, now = look.records[key], look.observe(key), session.clock.now()
    options = start.StartOptions(run="dry-run", strategy=plan.strategy, runbooks=runbooks, completed_steps=passed)
    if record is None:
        record = start.start(observed, plan, options, now)
    back = start.start_rollback(record, observed, options, None, now)
    following = rollback.next_step(NodeContext(back, observed, plan, now))
    lines = []
    for number, each in enumerate(runbook.steps):
        later = following is not None and number > following
        state = "next" if number == following else "pending" if later and number not in back.completed_steps else "done"
        otherwise = each.step.on_failure
        lines.append(
            StepRow(
                number=number + 1,
                action=each.step.action.value,
                detail=each.expect or each.step.text,
                on_failure=otherwise.value if otherwise else None,
                state="skipped" if number in passed else state,
            )
        )
    return DryRunNode(*key, tuple(lines))
