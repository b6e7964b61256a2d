"""``runbook run``: roll nodes back with the steps of the runbook that the operator names."""

from __future__ import annotations

from typing import Annotated

import typer

from seimigrate.app import apply_spec, arguments, snapshot
from seimigrate.app.options import (
    ApplyOptions,
    ConnectionOptions,
    ControllerOptions,
    NodeSelection,
    PlanOptions,
    RunOptions,
    SidecarAuthOptions,
)
from seimigrate.app.selection import Selection, select
from seimigrate.app.session import Session
from seimigrate.cli.commands import cutover
from seimigrate.cli.invocation import invocation_of
from seimigrate.cli.options import OutputOptions, run_option
from seimigrate.domain.node import rollback, start
from seimigrate.domain.node.rollout import NodeContext
from seimigrate.domain.node.run_spec import RunSpec
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
    page: Annotated[str, typer.Argument(metavar="ID", help="Id of the runbook (see runbook list).")],
    target: NodeSelection,
    file: PlanOptions,
    controller: ControllerOptions,
    calling: SidecarAuthOptions,
    run_options: RunOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
    from_step: Annotated[
        str | None,
        run_option("--from-step", metavar="STEP", help="Start at this step (name or number)."),
    ] = None,
    dry_run: Annotated[bool, run_option("--dry-run", help="Show the next step without changing anything.")] = False,
) -> None:
    """Roll nodes back with the steps of a runbook. Resumable."""
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    if not target.node:
        raise UsageError("runbook run needs a node", hint="name it: --node NAMESPACE/NAME")
    runbooks = read_runbooks(file.runbooks)
    chosen = runbooks.get(page)
    if not chosen.steps:
        raise UsageError(f"runbook {page} has no steps to run", hint=f"read it: seimigrate runbook show {page}")
    left_out = tuple(range(_index(chosen, from_step))) if from_step is not None else ()
    explicit = RollbackRunbooks(runbooks.digest, (chosen.rollback(None),))
    again = ["--from-step", from_step] if from_step else []
    command = f"runbook run {page}"
    if dry_run:
        plan = snapshot.load_plan_file(file)
        session = invocation.open_session(connection)
        nodes = select(session.cluster, target, session.namespace)
        spec = RunSpec(command, plan.strategy, explicit, completed_steps=left_out)
        shown = tuple(_dry_run(session, plan, nodes, key, chosen, spec) for key in nodes.keys)
        then = arguments.command_line(command, again, target, file, controller, calling, connection)
        report = DryRunReport(page, shown, then)
        invocation.show(lambda: json_output.dry_run(report), lambda on: runbook_table.show_steps(report, on))
        return
    invocation, asked, session, nodes = cutover.prepare(
        ctx,
        lambda: apply_spec.read(target, file, ApplyOptions(), None),
        run_options,
        connection,
        output,
        [controller, calling],
    )
    rows = [
        ("cluster", session.server),
        ("nodes", formatting.abbreviate([f"{namespace}/{name}" for namespace, name in nodes.keys])),
        ("runbook", f"{page}: {chosen.title}"),
        *([("from", f"step {from_step}; earlier steps are left out")] if from_step else []),
    ]
    spec = RunSpec(
        command=command,
        strategy=asked.plan.strategy,
        runbooks=explicit,
        args=tuple(arguments.flatten([again, target, file, controller, calling, run_options, connection])),
        namespaces=nodes.namespaces,
        completed_steps=left_out,
    )
    request = cutover.new_request(spec, asked.plan, nodes, run_options, lambda run: run.rollback(nodes.keys))
    then_status: tuple[str, list[arguments.ArgumentGroup]] = ("status", [target, connection])
    cutover.roll_back(invocation, session, request, controller, calling, run_options.yes, rows, then_status)


def _index(runbook: Runbook, step: str) -> int:
    """Return the index of a step, from its name or its number (from 1)."""
    names = [each.step.action.value for each in runbook.steps]
    if step.isdigit() and 0 < int(step) <= len(names):
        return int(step) - 1
    if step not in names:
        valid = [f"{number} {name}" for number, name in enumerate(names, 1)] if step.isdigit() else names
        raise UsageError(f"--from-step {step}: runbook {runbook.id} has no such step: {suggest(step, valid)}")
    return names.index(step)


def _dry_run(session: Session, plan: Plan, nodes: Selection, key: Key, runbook: Runbook, spec: RunSpec) -> DryRunNode:
    found = snapshot.ClusterSnapshot(session.cluster, Selection((key,), nodes.namespaces), plan, session.clock)
    record, observed, now = found.records[key], found.observe(key), session.clock.now()
    if record is None:
        record = start.start(observed, plan, spec, "dry-run", now)
    rolled_back = start.start_rollback(record, observed, spec, "dry-run", None, now)
    following = rollback.next_step(NodeContext(rolled_back, observed, plan, now))
    rows = []
    for number, each in enumerate(runbook.steps):
        pending = following is not None and number > following and number not in rolled_back.completed_steps
        state = "next" if number == following else "pending" if pending else "done"
        on_failure = each.step.on_failure
        rows.append(
            StepRow(
                number=number + 1,
                action=each.step.action.value,
                detail=each.expect or each.step.text,
                on_failure=on_failure.value if on_failure else None,
                state="skipped" if number in spec.completed_steps else state,
            )
        )
    return DryRunNode(*key, tuple(rows))
