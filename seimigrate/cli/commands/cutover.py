"""``apply``, ``hold`` and ``rollback``: the commands that change nodes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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
)
from seimigrate.app.apply_spec import ApplySpec
from seimigrate.app.execute import NoPods, RunRequest, RunResult
from seimigrate.app.exit_codes import Exit
from seimigrate.app.fleet_plan import FleetPlan
from seimigrate.app.held_nodes import HeldNodeGuard
from seimigrate.app.job import AlreadyFinished, job_lock
from seimigrate.app.names import parse_namespaced_name
from seimigrate.app.options import (
    ApplyOptions,
    ConnectionOptions,
    ControllerOptions,
    NodeSelection,
    PlanOptions,
    RunOptions,
    SidecarAuthOptions,
)
from seimigrate.app.process import Interrupted
from seimigrate.app.session import Session
from seimigrate.app.snapshot import ClusterSnapshot, require_unowned_fields
from seimigrate.cli.invocation import Invocation, exit_with, invocation_of
from seimigrate.cli.options import HoldMethod, OutputOptions, run_option
from seimigrate.domain.node import start
from seimigrate.domain.node.run_spec import RunSpec
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
    hold: Annotated[HoldMethod, run_option("--hold", help="How controller writes are blocked.")] = HoldMethod.ADMISSION,
    guard: Annotated[
        bool,
        run_option(
            "--guard/--no-guard",
            help="Keep running to guard nodes left held, until a guard takes over.",
        ),
    ] = True,
    saved: Annotated[
        str | None, typer.Argument(metavar="FILE", show_default=False, help="Saved plan (from plan --out).")
    ] = None,
    job: Annotated[
        bool,
        run_option("--job", help="Run as a pod of FILE's Job: wait for the lock, then continue the run."),
    ] = False,
    break_glass: Annotated[
        str | None,
        run_option(
            "--break-glass",
            metavar="DIR",
            help="Write manual rollback instructions to DIR first.",
        ),
    ] = None,
) -> None:
    """Cut nodes over: canaries first, then waves. Resumable."""
    if job and saved is None:
        raise UsageError(
            "--job requires a saved plan, which identifies the Job", hint="save one: seimigrate plan --out FILE"
        )
    invocation, asked, session, nodes = prepare(
        ctx,
        lambda: apply_spec.read(target, file, apply_options, saved),
        run_options,
        connection,
        output,
        [controller, calling],
        holds=hold is HoldMethod.ADMISSION,
        calls=True,
    )
    digest = asked.saved.digest if job and asked.saved else ""
    again: list[arguments.ArgumentGroup] = [asked, controller, calling, run_options, connection]
    with _exit_if_finished(), job_lock(session, run_options.lease_duration, digest) as job_state:
        plan = asked.plan
        snapshot = ClusterSnapshot(session.cluster, nodes, plan, session.clock)
        if not job_state.resuming:  # else each node is checked when it is about to start, as in the pod before
            asked.require_current(snapshot)
        canary = None if job_state.resuming else asked.canary
        preview = fleet_plan.plan_fleet(snapshot, asked.strategy, accepted=asked.accepted_findings, canary=canary)
        if hold is HoldMethod.NONE:
            require_unowned_fields(snapshot, preview.nodes)
        accounts = execute.accounts_of(session, controller.controller_account) if hold is HoldMethod.ADMISSION else []
        pod_client = session.pods(parse_namespaced_name("--service-account", calling.service_account), required=True)
        rows = _confirmation_rows(session, preview, asked.strategy, hold)
        invocation.confirm(run_options.yes, f"Cut over by plan {plan.migration}:", rows)
        if break_glass is not None:
            changing = [(node.namespace, node.name) for node in preview.nodes if not node.done]
            break_glass_files.write(break_glass, snapshot, changing, asked.strategy, file.runbooks)
        spec = RunSpec(
            command="apply",
            strategy=asked.strategy,
            runbooks=asked.runbooks,
            args=tuple(arguments.flatten(again)),
            namespaces=nodes.namespaces,
            holds=hold is HoldMethod.ADMISSION,
            accepted_findings=asked.accepted_findings,
            canary=canary,
            job=digest,
            with_gates=True,
        )
        waves = asked.saved.waves if asked.saved else None
        request = RunRequest(
            spec,
            plan,
            nodes,
            lambda run: run.apply(nodes.keys, waves),
            run_options.lease_duration,
            run_options.metrics_port,
            asked.stale_blockers,
        )

        def on_finished(result: RunResult, held_nodes: HeldNodeGuard) -> None:
            code = exit_codes.exit_of_apply(result.results)
            _print_result(invocation, request, result, _next_after_apply(result, code, asked, again))
            if guard:
                held_nodes.guard_until_covered([(each.namespace, each.name) for each in result.results])
            if digest and not invocation.terminated:
                held_nodes.save_exit_code(code)

        result = execute.execute_run(
            invocation,
            session,
            request,
            accounts,
            pod_client,
            on_finished,
            job_state.lock,
        )
    if invocation.terminated:
        raise Interrupted  # while it guarded nodes left held: another guard has to, or this command again
    exit_with(exit_codes.exit_of_apply(result.results))


@contextlib.contextmanager
def _exit_if_finished() -> Iterator[None]:
    try:
        yield
    except AlreadyFinished as finished:
        exit_with(finished.code)


def hold(
    ctx: typer.Context,
    target: NodeSelection,
    file: PlanOptions,
    controller: ControllerOptions,
    run_options: RunOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
) -> None:
    """Block controller writes that would change a node."""
    invocation, asked, session, nodes = prepare(
        ctx, lambda: apply_spec.read(target, file, ApplyOptions(), None), run_options, connection, output, [controller]
    )
    accounts = execute.accounts_of(session, controller.controller_account)
    rows = [
        ("cluster", session.server),
        ("nodes", _abbreviated(nodes)),
        ("controller", ", ".join(accounts)),
    ]
    invocation.confirm(run_options.yes, f"Hold {formatting.pluralize(len(nodes.keys), 'node')}:", rows)
    spec = RunSpec(
        command="hold",
        strategy=asked.plan.strategy,
        runbooks=asked.runbooks,
        args=tuple(arguments.flatten([asked, controller, run_options, connection])),
        namespaces=nodes.namespaces,
        target_stage=StageName.HOLD,
        guards=False,
    )
    request = new_request(spec, asked.plan, nodes, run_options, lambda run: run.hold(nodes.keys))
    result = execute.execute_run(invocation, session, request, accounts, NoPods())
    code = exit_codes.exit_of_hold(result.results, result.held)
    finish(invocation, request, result, code, arguments.command_line("status", target, connection))


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
        StageName | None,
        run_option("--to", help="Roll back to the end of this stage; the node stays held."),
    ] = None,
    overwrite: Annotated[
        bool,
        run_option("--overwrite", help="Revert fields even if another client changed them."),
    ] = False,
) -> None:
    """Roll nodes back, completely or to a stage."""
    if to is StageName.RELEASE:
        raise UsageError("--to release is the last stage of the cutover", hint="name an earlier stage, or none")
    invocation, asked, session, nodes = prepare(
        ctx,
        lambda: apply_spec.read(target, file, ApplyOptions(), None),
        run_options,
        connection,
        output,
        [controller, calling],
    )
    rows = [
        ("cluster", session.server),
        ("nodes", _abbreviated(nodes)),
        ("roll back to", f"the end of stage {to}; stays held" if to else "the old template; released"),
        ("external edits", "overwritten in the fields of the cutover" if overwrite else "kept"),
    ]
    again = ["--to", to.value] if to else []
    spec = RunSpec(
        command="rollback",
        strategy=asked.plan.strategy,
        runbooks=asked.runbooks,
        args=tuple(arguments.flatten([asked, controller, calling, run_options, again, connection])),
        namespaces=nodes.namespaces,
        rollback_to=to,
        overwrite=overwrite,
    )
    request = new_request(spec, asked.plan, nodes, run_options, lambda run: run.rollback(nodes.keys))
    roll_back(
        invocation, session, request, controller, calling, run_options.yes, rows, ("status", [target, connection])
    )


def new_request(
    spec: RunSpec, plan: Plan, nodes: selection.Selection, run_options: RunOptions, work: Callable[[Run], list[Result]]
) -> RunRequest:
    """Return the request of a run without a saved plan."""
    return RunRequest(spec, plan, nodes, work, run_options.lease_duration, run_options.metrics_port)


def roll_back(
    invocation: Invocation,
    session: Session,
    request: RunRequest,
    controller: ControllerOptions,
    calling: SidecarAuthOptions,
    yes: bool,
    rows: list[tuple[str, str]],
    then: tuple[str, list[arguments.ArgumentGroup]],
) -> None:
    """Confirm and execute a rollback, print the result, and exit; ``then`` is the command to type after success."""
    spec, nodes = request.spec, request.selection
    accounts = execute.accounts_of(session, controller.controller_account)
    # A rollback must not wait for a token that it may never need.
    pod_client = session.pods(parse_namespaced_name("--service-account", calling.service_account), required=False)
    rows = [*rows, *prompts(session, request.plan, spec.runbooks, nodes)]
    heading = f"Roll back {formatting.pluralize(len(nodes.keys), 'node')}; pods restart where required:"
    invocation.confirm(yes, heading, rows)
    result = execute.execute_run(invocation, session, request, accounts, pod_client)
    code = exit_codes.exit_of_rollback(result.results, all_the_way=spec.rollback_to is None)
    command, groups = then
    if code not in (Exit.DONE, Exit.BLOCKED):
        command, groups = spec.command, [arguments.Literal(spec.args)]
    finish(invocation, request, result, code, arguments.command_line(command, *groups))


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
    """Validate the arguments, then the permissions, before anything is read.

    ``calls`` means that the command calls sidecars and gates.
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


def prompts(
    session: Session, plan: Plan, runbooks: RollbackRunbooks, nodes: selection.Selection
) -> list[tuple[str, str]]:
    """Return the prompts of the runbooks for these nodes; continuing, or --yes, confirms them."""
    journal = Journal(session.cluster, plan.migration)
    texts = [text for key in nodes.keys for text in start.confirmation_prompts(journal.load(*key), runbooks)]
    return [("to confirm", text) for text in dict.fromkeys(texts)]


def _confirmation_rows(
    session: Session, preview: FleetPlan, strategy: Strategy, hold: HoldMethod
) -> list[tuple[str, str]]:
    """Return what the operator reads before confirming a cutover."""
    nodes = preview.nodes
    ready = [node for node in nodes if not node.done and not node.blockers]
    names = formatting.abbreviate([f"{node.namespace}/{node.name}" for node in ready])
    return [
        ("cluster", session.server),
        ("cut over", names or "none"),
        ("restarts", str(sum(node.restarts for node in ready))),
        ("blocked", str(sum(bool(node.blockers) for node in nodes))),
        ("done", str(sum(node.done for node in nodes))),
        ("strategy", strategy.value),
        ("time", f"about {formatting.duration(preview.seconds)}"),
        ("hold", "admission policies" if hold is HoldMethod.ADMISSION else "none: controller writes are not blocked"),
    ]


def _abbreviated(nodes: selection.Selection) -> str:
    return formatting.abbreviate([f"{namespace}/{name}" for namespace, name in nodes.keys])


def finish(invocation: Invocation, request: RunRequest, result: RunResult, code: Exit, next_command: str) -> None:
    """Print the result of each node, and exit."""
    _print_result(invocation, request, result, next_command)
    exit_with(code)


def _print_result(invocation: Invocation, request: RunRequest, result: RunResult, next_command: str) -> None:
    rows = execute.result_rows(result, request.selection)
    report = RunReport(result.token, request.spec.command, rows, next_command)
    invocation.show(lambda: json_output.run_result(report), lambda on: result_table.show(report, on), ends_stream=True)


def _next_after_apply(result: RunResult, code: Exit, spec: ApplySpec, again: list[arguments.ArgumentGroup]) -> str:
    """Return the command to type after a cutover: rollback where it failed, apply where it paused, else a check."""
    failed = [f"{each.namespace}/{each.name}" for each in result.results if each.failed]
    match code:
        case Exit.FAILED:
            nodes = (arguments.node_args(key) for key in failed)
            return arguments.command_line("rollback", *nodes, spec.plan_args, *again[1:])
        case Exit.ROLLED_BACK | Exit.BLOCKED:
            return arguments.command_line("plan", spec.original_args, again[-1])
        case Exit.PAUSED | Exit.HELD:
            return arguments.command_line("apply", *again)
        case _:
            return arguments.command_line("status", spec.target_args(), again[-1])
