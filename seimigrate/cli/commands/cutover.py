"""``apply``, ``hold`` and ``rollback``: the commands that move nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from seimigrate.app import (
    apply_spec,
    arguments,
    break_glass_files,
    execute,
    exit_codes,
    fleet_plan,
    selection,
    snapshot,
)
from seimigrate.app.apply_spec import ApplySpec
from seimigrate.app.execute import NoPods, RunResult, RunSpec
from seimigrate.app.exit_codes import Exit
from seimigrate.app.fleet_plan import FleetPlan
from seimigrate.app.held_nodes import HeldNodeGuard
from seimigrate.app.job import job_lock
from seimigrate.app.names import parse_namespaced_name
from seimigrate.app.session import Session
from seimigrate.cli.invocation import Interrupted, Invocation, exit_with, invocation_of
from seimigrate.cli.options import (
    ApplyOptions,
    ConnectionOptions,
    ControllerOptions,
    HoldMethod,
    NodeSelection,
    OutputOptions,
    PlanOptions,
    RunOptions,
    SidecarAuthOptions,
)
from seimigrate.domain.node import start
from seimigrate.domain.node.preview import NodePlan
from seimigrate.domain.plan.plan import Plan, StageName, Strategy
from seimigrate.domain.plan.rollback_steps import RollbackRunbooks
from seimigrate.engine import gate_client
from seimigrate.engine.errors import UsageError
from seimigrate.engine.journal import Journal
from seimigrate.engine.permissions import RequiredPermissions
from seimigrate.engine.results import Result
from seimigrate.engine.run import Run
from seimigrate.render import formatting, json_output, result_table
from seimigrate.render.reports import RunReport


def apply(
    ctx: typer.Context,
    target: NodeSelection,
    file: PlanOptions,
    apply_options: ApplyOptions,
    controller: ControllerOptions,
    calling: SidecarAuthOptions,
    run_options: RunOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
    hold: Annotated[HoldMethod, typer.Option("--hold", help="What keeps the controller off.")] = HoldMethod.ADMISSION,
    guard: Annotated[
        bool,
        typer.Option("--guard/--no-guard", help="Whether to guard the nodes that stay held, until a guard has them."),
    ] = True,
    saved: Annotated[
        str | None, typer.Argument(metavar="[FILE]", show_default=False, help="A plan saved by: plan --out FILE.")
    ] = None,
    job: Annotated[
        bool,
        typer.Option("--job", help="Be a pod of FILE's Job: stand by while another one is at work, then go on."),
    ] = False,
    break_glass: Annotated[
        str | None,
        typer.Option("--break-glass", metavar="DIR", help="First write down every way back for people with kubectl."),
    ] = None,
) -> None:
    """Cut nodes over, canaries first, within budgets; run again, it goes on."""
    if job and saved is None:
        raise UsageError(
            "--job needs a saved plan to tell one Job from another", hint="save one: seimigrate plan --out FILE"
        )
    invocation, told, session, selection = prepare(
        ctx,
        lambda: apply_spec.read(target, file, apply_options, saved),
        run_options,
        connection,
        output,
        [controller, calling],
        holds=hold is HoldMethod.ADMISSION,
        calls=True,
    )
    digest = told.saved.digest if job and told.saved else ""
    with job_lock(session, run_options, digest) as mine:
        plan, runbooks, strategy = told.plan, told.runbooks, told.strategy
        look = snapshot.ClusterSnapshot(session.cluster, selection, plan, session.clock)
        if not mine.resuming:  # else each node is judged when its turn comes, as the pod before would have done
            told.require_current(look)
        canary = None if mine.resuming else told.canary
        ahead = fleet_plan.plan_fleet(look, strategy, accepted=told.accepted_findings, canary=canary)
        lines = ahead.nodes
        if hold is HoldMethod.NONE:
            snapshot.require_unowned_fields(look, lines)
        accounts = execute.accounts_of(session, controller) if hold is HoldMethod.ADMISSION else []
        pod_client = session.pods(parse_namespaced_name("--service-account", calling.service_account), required=True)
        invocation.confirm(
            run_options.yes, f"cut over by plan {plan.migration}:", _rows(session, ahead, strategy, hold)
        )
        if break_glass is not None:
            moves = [(node.namespace, node.name) for node in lines if not node.done]
            break_glass_files.write(break_glass, look, moves, strategy, file.runbooks)
        spec = RunSpec(
            command="apply",
            plan=plan,
            strategy=strategy,
            runbooks=runbooks,
            selection=selection,
            work=lambda run: run.apply(
                selection.keys,
                told.saved.waves if told.saved else None,
                canary,
                digest,
            ),
            holds=hold is HoldMethod.ADMISSION,
            accepted_findings=told.accepted_findings,
            with_gates=True,
            stale_blockers=told.stale_blockers,
        )
        again: list[arguments.ArgumentGroup] = [told, controller, calling, run_options, connection]

        def then(result: RunResult, afterwards: HeldNodeGuard) -> None:
            code = exit_codes.exit_of_apply(result.results)
            _print_result(invocation, spec, result, _after_apply(result, code, told, again))
            if guard:
                afterwards.guard_until_covered([(r.namespace, r.name) for r in result.results])
            if digest and not invocation.terminated:
                afterwards.conclude(code)

        result = execute.execute_run(invocation, session, spec, accounts, pod_client, run_options, then, mine.lock)
    if invocation.terminated:
        raise Interrupted  # while it guarded what it left held: somebody else has to, perhaps this command again
    exit_with(exit_codes.exit_of_apply(result.results))


def hold(
    ctx: typer.Context,
    target: NodeSelection,
    file: PlanOptions,
    controller: ControllerOptions,
    run_options: RunOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
) -> None:
    """Keep the controller from changing nodes that it disagrees with."""
    invocation, told, session, selection = prepare(
        ctx, lambda: apply_spec.read(target, file, ApplyOptions(), None), run_options, connection, output, [controller]
    )
    plan, runbooks = told.plan, told.runbooks
    accounts = execute.accounts_of(session, controller)
    rows = [
        ("cluster", session.server),
        ("hold", formatting.abbreviate([f"{ns}/{name}" for ns, name in selection.keys])),
        ("against", ", ".join(accounts)),
    ]
    invocation.confirm(run_options.yes, f"hold {formatting.pluralize(len(selection.keys), 'node')}:", rows)
    spec = RunSpec(
        command="hold",
        plan=plan,
        strategy=plan.strategy,
        runbooks=runbooks,
        selection=selection,
        work=lambda run: run.hold(selection.keys),
        target_stage=StageName.HOLD,
        guards=False,
    )
    result = execute.execute_run(invocation, session, spec, accounts, NoPods(), run_options)
    finish(
        invocation,
        spec,
        result,
        exit_codes.exit_of_hold(result.results, result.held),
        arguments.command_line("status", target, connection),
    )


def rollback(
    ctx: typer.Context,
    target: NodeSelection,
    file: PlanOptions,
    controller: ControllerOptions,
    calling: SidecarAuthOptions,
    run_options: RunOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
    to: Annotated[
        StageName | None, typer.Option("--to", help="Go back to the end of this stage only, and stay held.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--overwrite", help="Put our fields back over what somebody else changed.")
    ] = False,
) -> None:
    """Take nodes back, wholly or to the end of a stage."""
    if to is StageName.RELEASE:
        raise UsageError("--to release is the end of the way forwards", hint="name an earlier stage, or none")
    invocation, told, session, selection = prepare(
        ctx,
        lambda: apply_spec.read(target, file, ApplyOptions(), None),
        run_options,
        connection,
        output,
        [controller, calling],
    )
    plan, runbooks = told.plan, told.runbooks
    accounts = execute.accounts_of(session, controller)
    # A way back must not wait for a token that it may never need.
    pod_client = session.pods(parse_namespaced_name("--service-account", calling.service_account), required=False)
    rows = [
        ("cluster", session.server),
        ("nodes", formatting.abbreviate([f"{ns}/{name}" for ns, name in selection.keys])),
        ("back to", f"the end of stage {to}, held" if to else "the old shape, handed back to the controller"),
        ("edits by others", "overwritten where they are on our fields" if force else "left alone"),
        *confirmation_rows(session, plan, runbooks, selection),
    ]
    invocation.confirm(
        run_options.yes,
        f"roll {formatting.pluralize(len(selection.keys), 'node')} back; pods restart where they must:",
        rows,
    )

    def work(run: Run) -> list[Result]:
        return run.rollback(selection.keys, to)

    spec = RunSpec("rollback", plan, plan.strategy, runbooks, selection, work, overwrite=force)
    result = execute.execute_run(invocation, session, spec, accounts, pod_client, run_options)
    code = exit_codes.exit_of_rollback(result.results, all_the_way=to is None)
    if code in (Exit.DONE, Exit.BLOCKED):
        then = arguments.command_line("status", target, connection)
    else:
        stage = ["--to", to.value] if to else []
        then = arguments.command_line("rollback", target, file, controller, calling, run_options, stage, connection)
    finish(invocation, spec, result, code, then)


def prepare(
    ctx: typer.Context,
    read: Callable[[], ApplySpec],
    run_options: RunOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
    accounts: list[ControllerOptions | SidecarAuthOptions],
    *,
    holds: bool = True,
    calls: bool = False,
) -> tuple[Invocation, ApplySpec, Session, selection.Selection]:
    """Find out all that can be wrong with the words, then what rights are missing, before anything is read.

    ``calls`` tells that sidecars and gates must be called.
    """
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    account = None
    for each in accounts:
        if isinstance(each, SidecarAuthOptions):
            account = parse_namespaced_name("--service-account", each.service_account)
        elif each.controller_account is not None:
            parse_namespaced_name("--controller-account", each.controller_account)
    invocation.require_confirmation(run_options.yes)
    spec = read()
    session = invocation.open_session(connection)
    needs = RequiredPermissions(
        namespaces=spec.namespaces(session),
        manages_hold=holds,
        gates=gate_client.namespaces(spec.plan.gates) if calls else (),
        account=account if calls else None,
        identity=spec.saved is not None,
    )
    session.require_rights(needs)
    return invocation, spec, session, spec.select(session)


def confirmation_rows(
    session: Session, plan: Plan, runbooks: RollbackRunbooks, found: selection.Selection
) -> list[tuple[str, str]]:
    """Give what the runbooks ask a person before these nodes go back: who goes on, or says --yes, has answered it."""
    journal = Journal(session.cluster, plan.migration)
    questions = [
        question for key in found.keys for question in start.confirmation_prompts(journal.load(*key), runbooks)
    ]
    return [("to confirm", question) for question in dict.fromkeys(questions)]


def _rows(session: Session, ahead: FleetPlan, strategy: Strategy, hold: HoldMethod) -> list[tuple[str, str]]:
    """Give what a person is told before saying yes to a cutover."""
    lines = ahead.nodes
    ready = [node for node in lines if not node.done and not node.blockers]
    return [
        ("cluster", session.server),
        ("move", _named(ready) if ready else "none"),
        ("restarts", str(sum(node.restarts for node in ready))),
        ("blocked", str(sum(bool(node.blockers) for node in lines))),
        ("done", str(sum(node.done for node in lines))),
        ("strategy", strategy.value),
        ("time", f"about {formatting.duration(ahead.seconds)}"),
        ("hold", "admission policies" if hold is HoldMethod.ADMISSION else "none: nothing keeps the controller off"),
    ]


def _named(lines: list[NodePlan]) -> str:
    return formatting.abbreviate([f"{node.namespace}/{node.name}" for node in lines])


def finish(invocation: Invocation, spec: RunSpec, result: RunResult, code: Exit, next_command: str) -> None:
    """Print how the nodes ended, and end the command with its exit code."""
    _print_result(invocation, spec, result, next_command)
    exit_with(code)


def _print_result(invocation: Invocation, spec: RunSpec, result: RunResult, next_command: str) -> None:
    report = RunReport(result.token, spec.command, execute.result_rows(result, spec.selection), next_command)
    invocation.show(lambda: json_output.run_result(report), lambda on: result_table.show(report, on), ends_stream=True)


def _after_apply(result: RunResult, code: Exit, spec: ApplySpec, again: list[arguments.ArgumentGroup]) -> str:
    """Give what to type after a cutover: back where it failed, again where it stopped, a look where it is done."""
    failed = [f"{r.namespace}/{r.name}" for r in result.results if r.failed]
    match code:
        case Exit.FAILED:
            return arguments.command_line(
                "rollback", *(arguments.node_args(key) for key in failed), spec.plan_args, *again[1:]
            )
        case Exit.ROLLED_BACK | Exit.BLOCKED:
            return arguments.command_line("plan", spec.original_args, again[-1])
        case Exit.PAUSED | Exit.HELD:
            return arguments.command_line("apply", *again)
        case _:
            return arguments.command_line("status", spec.target_args(), again[-1])
