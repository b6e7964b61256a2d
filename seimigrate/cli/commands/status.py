"""``status``: stage, outcome and hold of each node, and whether the controller may be upgraded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from seimigrate.app import arguments, follow, selection, snapshot
from seimigrate.app.names import parse_namespaced_name
from seimigrate.app.options import ConnectionOptions, ControllerOptions, NodeSelection, PlanFileOptions
from seimigrate.app.session import Session
from seimigrate.cli.invocation import invocation_of
from seimigrate.cli.options import OutputOptions, run_option
from seimigrate.domain.fleet import reconcile
from seimigrate.domain.kube import leases
from seimigrate.domain.kube.kinds import LEASE_NAME, RUN_NAME, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.domain.node import observation, shapes
from seimigrate.domain.node.record import Direction, Outcome
from seimigrate.domain.plan.plan import Parameters, Plan
from seimigrate.engine import guard_journal, lease_monitor, readers
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.hold import WATCHED, HoldManager, find_accounts
from seimigrate.engine.results import Key
from seimigrate.engine.run_store import RunJournal
from seimigrate.render import formatting, json_output, status_table
from seimigrate.render.reports import RunInfo, StatusReport, StatusRow


def status(
    ctx: typer.Context,
    target: NodeSelection,
    file: PlanFileOptions,
    controller: ControllerOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
    watch: Annotated[bool, run_option("--watch", "-w", help="Follow the live run, then print the status.")] = False,
) -> None:
    """Show stage, outcome and hold of each node (read-only)."""
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    selection.validate_target(target)
    plan = snapshot.load_plan_file(file)
    session = invocation.open_session(connection)
    selected = selection.select(session.cluster, target, session.namespace)
    if watch:
        follow.follow(invocation, session, selected, plan)
    observed = snapshot.ClusterSnapshot(session.cluster, selected, plan, session.clock)
    lease = session.cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME)
    locked = is_held_by_live_run(lease, session.clock.now())
    guarded = _guarded_nodes(session, lease if locked else None, selected.keys)
    rows = tuple(_row(observed, key, key in guarded) for key in selected.keys)
    upgrade_blockers = tuple(_upgrade_blockers(session, observed, controller)) if selected.everywhere else ()
    report = StatusReport(
        run=_run(session, plan, lease, locked),
        rows=rows,
        safe_to_upgrade=not upgrade_blockers if selected.everywhere else None,
        upgrade_blockers=upgrade_blockers,
        next_command=_next(session, rows, locked, [file, connection], [target, file, connection]),
    )
    invocation.show(lambda: json_output.status(report), lambda on: status_table.show(report, on), ends_stream=watch)


def is_held_by_live_run(lease: Object | None, now: float) -> bool:
    """Return whether a process holds the Lease and has renewed it within its duration."""
    spec = (lease or {}).get("spec", {})
    if not spec.get("holderIdentity") or not spec.get("renewTime"):
        return False
    try:
        renewed = datetime.fromisoformat(spec["renewTime"]).timestamp()
    except ValueError:
        return False
    return now - renewed < float(spec.get("leaseDurationSeconds") or 0)


def _guarded_nodes(session: Session, run_lease: Object | None, keys: Sequence[Key]) -> set[Key]:
    """Return the nodes that a live run or a live guard covers, if they are held."""
    cluster = session.cluster
    covered: set[Key] = set()
    if run_lease is not None:
        run = cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, RUN_NAME)
        covered |= {key for key in keys if lease_monitor.covers_namespace(run, run_lease, key[0])}
    guard_lease = cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, leases.GUARD_LEASE)
    if guard_lease is not None and is_held_by_live_run(guard_lease, session.clock.now()):
        journal = cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, guard_journal.NAME)
        named = guard_journal.guarded_nodes(journal, guard_lease)
        covered |= {key for key in keys if "/".join(key) in named}
    return covered


def _run(session: Session, plan: Plan, lease: Object | None, locked: bool) -> RunInfo | None:
    record = RunJournal(session.cluster).load()
    if record is None:
        return None
    return RunInfo(
        token=record.run,
        holder=record.holder,
        command=record.spec.command,
        plan=record.plan,
        started=datetime.fromtimestamp(record.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        live=locked and leases.token(lease or {}) == record.run,
        wait_reason=reconcile.wait_reason(record.current, plan, session.clock.now()) if record.current else "",
    )


def _row(cluster: snapshot.ClusterSnapshot, key: Key, guarded: bool) -> StatusRow:
    observed, record = cluster.observe(key), cluster.records[key]
    node: Object = observed.seinode or {}
    mode = observation.mode_of(node)
    held = observation.hold_of(observed.statefulset) is not None
    parameters = cluster.plan.parameters
    return StatusRow(
        namespace=key[0],
        name=key[1],
        mode=mode.value if mode else "unknown",
        chain=node.get("spec", {}).get("chainId", ""),
        template=_shape(observed.statefulset["spec"]["template"]["spec"], parameters) if observed.statefulset else None,
        pod=_shape(observed.pod["spec"], parameters) if observed.pod else None,
        stage=record.stage.value if record else None,
        direction=record.direction.value if record else None,
        outcome=record.outcome.value if record and record.outcome else None,
        held=held,
        guarded=held and guarded,
        reason=record.reason if record else "",
        failure=record.failure if record else None,
        notes=record.notes if record else (),
    )


def _shape(spec: Object, parameters: Parameters) -> str | None:
    try:
        return shapes.read(spec, parameters).shape.value
    except shapes.NotASeiNodePod:
        return None


def _upgrade_blockers(session: Session, cluster: snapshot.ClusterSnapshot, controller: ControllerOptions) -> list[str]:
    """Return why the controller must not be upgraded now; empty if every node is held and the hold is effective."""
    fleet = [s for s in cluster.cache.list(Kind.STATEFUL_SET) if observation.owner(s).get("kind") == "SeiNode"]
    not_held = [_name(s) for s in fleet if observation.hold_of(s) is None]
    in_progress = [_name(s) for s in fleet if observation.is_frozen(s)]
    blockers = []
    if not_held:
        blockers.append(
            f"{formatting.pluralize(len(not_held), 'StatefulSet is', 'StatefulSets are')} not held: "
            f"{formatting.abbreviate(not_held)}"
        )
    if in_progress:
        blockers.append(
            f"{formatting.pluralize(len(in_progress), 'node is', 'nodes are')} in progress: "
            f"{formatting.abbreviate(in_progress)}"
        )
    if problem := _hold_problem(session, controller):
        blockers.append(problem)
    return blockers


def _name(obj: Object) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _hold_problem(session: Session, controller: ControllerOptions) -> str:
    """Return why the hold is not effective; a label alone holds nothing."""
    account = controller.controller_account
    cache = readers.Snapshot(session.cluster, WATCHED, ("",))
    try:
        accounts = find_accounts(
            cache.list(Kind.DEPLOYMENT), account and "/".join(parse_namespaced_name("--controller-account", account))
        )
    except SeimigrateError as error:
        return error.message
    return HoldManager(session.cluster, cache, accounts).error()


def _next(
    session: Session,
    rows: Sequence[StatusRow],
    locked: bool,
    target_args: list[arguments.ArgumentGroup],
    same_args: list[arguments.ArgumentGroup],
) -> str:
    """Return the command to type next; an interrupted run is continued by the arguments that its record holds."""
    if locked:
        return arguments.command_line("status", *same_args)
    failed = next((row for row in rows if row.outcome == Outcome.FAILED.value), None)
    if failed is not None:
        return arguments.command_line("rollback", arguments.node_args(failed.key), *target_args)
    unfinished = [row for row in rows if row.unfinished]
    rolls_back = [row.direction == Direction.ROLLBACK.value for row in unfinished]
    if not unfinished and not any(row.outcome == Outcome.DONE_HELD.value for row in rows):
        return arguments.command_line("plan", *same_args)
    command = "rollback" if unfinished and all(rolls_back) else "apply"
    last = RunJournal(session.cluster).load()
    if last is not None and (last.spec.command == "apply") == (command == "apply"):
        return arguments.command_line(last.spec.command, last.spec.args)
    return arguments.command_line(command, *same_args)
