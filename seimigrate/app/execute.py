"""Putting a run together: accounts, lock, view, ports; then what it was asked to do, and what came of it."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from seimigrate.app import reporters
from seimigrate.app.held_nodes import HeldNodeGuard
from seimigrate.app.names import parse_namespaced_name
from seimigrate.app.selection import Selection
from seimigrate.app.session import Session
from seimigrate.cli.invocation import Interrupted, Invocation
from seimigrate.cli.options import ControllerOptions, RunOptions
from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node import observation
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.record import Record
from seimigrate.domain.node.start import StartOptions
from seimigrate.domain.plan.plan import Plan, StageName, Strategy
from seimigrate.domain.plan.rollback_steps import RollbackRunbooks
from seimigrate.engine import gate_client
from seimigrate.engine.gate_client import GateClient
from seimigrate.engine.guard import BackgroundGuard, Guard
from seimigrate.engine.hold import HoldManager, NoHold, find_accounts
from seimigrate.engine.node_worker import Ports
from seimigrate.engine.ports import Lock, ObjectCache, PodClient, Response
from seimigrate.engine.results import Result
from seimigrate.engine.run import Run, RunServices
from seimigrate.render.guard_log import GuardLogListener
from seimigrate.render.reports import ResultRow


@dataclass(frozen=True)
class RunSpec:
    """What a run is to do: ``work`` is called with it once it has begun.

    ``guards`` tells that it looks after the nodes that it has done with as long as it lasts, ``gated`` that it asks
    the plan's gates, ``unfit`` says why a node must not begin whose turn has come.
    """

    command: str
    plan: Plan
    strategy: Strategy
    runbooks: RollbackRunbooks
    selection: Selection
    work: Callable[[Run], list[Result]]
    target_stage: StageName = StageName.RELEASE
    holds: bool = True
    accepted_findings: AcceptedFindings = AcceptedFindings.NOTHING
    overwrite: bool = False
    completed_steps: tuple[int, ...] = ()
    guards: bool = True
    with_gates: bool = False
    stale_blockers: Callable[[str, NodeObservation, Record | None], tuple[Blocker, ...]] = (
        lambda key, observed, record: ()
    )


@dataclass(frozen=True)
class RunResult:
    """What came of a run: its token, each node's result and whether it is held now."""

    token: str
    results: list[Result]
    held: list[bool]


class NoPods:
    """Stands where no pod is called: a run that only holds."""

    def call(self, *_: object, **__: object) -> Response:
        """Refuse."""
        raise AssertionError("a hold asks no pod")


def accounts_of(session: Session, controller: ControllerOptions) -> list[str]:
    """Find the controller's accounts; raises ``SeimigrateError`` if there is none, ``UsageError`` for a bad name."""
    given = controller.controller_account
    if given is not None:
        parse_namespaced_name("--controller-account", given)
    return find_accounts(session.cluster.list(Kind.DEPLOYMENT), given)


def execute_run(
    invocation: Invocation,
    session: Session,
    spec: RunSpec,
    accounts: list[str],
    pod_client: PodClient,
    run_options: RunOptions,
    on_finished: Callable[[RunResult, HeldNodeGuard], None] | None = None,
    held_lock: Lock | None = None,
) -> RunResult:
    """Take the lock, do the errand, and ``then`` what it leads to; let the lock go, but for one that was ``had``."""
    import structlog  # a tenth of a second that --help does not need

    log = structlog.get_logger()
    who = holder()

    def waits(other: str, seconds: float) -> None:
        log.info(f"{other} holds the lock: waits up to {seconds:.0f} s to see whether it lives")

    gates = spec.plan.gates if spec.with_gates else ()
    http_client = session.http_client()
    gate_client.check_tokens(gates, http_client)
    with (
        nullcontext(held_lock)
        if held_lock is not None
        else session.lock(who, run_options.lease_duration, waits) as lock
    ):
        invocation.may_have_written = True
        with session.cache(spec.selection.namespaces) as cache:
            ports = Ports(session.cluster, cache, pod_client, lock, session.clock)
            hold = HoldManager(session.cluster, cache, accounts) if spec.holds else NoHold()
            options = StartOptions(
                run=lock.token,
                strategy=spec.strategy,
                runbooks=spec.runbooks,
                target_stage=spec.target_stage,
                holds=spec.holds,
                accepted_findings=spec.accepted_findings,
                overwrite=spec.overwrite,
                completed_steps=spec.completed_steps,
            )
            runs: list[Run] = []
            guard = Guard(
                ports, spec.plan, GuardLogListener(log), None, lambda key: not any(r.has_in_flight(key) for r in runs)
            )
            tell = reporters.make_dispatcher(
                invocation, session.clock, log, lock.token, reporters.make_event_recorder(session, who, log)
            )
            about = {"run": lock.token, "command": spec.command, "plan": spec.plan.digest}
            with (
                reporters.report_run(invocation, tell, session.clock, log, run_options.metrics_port, about),
                session.executor() as executor,
            ):
                services = RunServices(
                    executor,
                    gate_client=GateClient(session.cluster, http_client),
                    listener=tell.on_fleet_action,
                    stale_plan_blockers=spec.stale_blockers,
                    on_tick=BackgroundGuard(guard, executor) if spec.guards else lambda: None,
                )
                run = Run(ports, spec.plan, hold, options, who, tell, services)
                runs.append(run)
                run.start(spec.command, spec.selection.namespaces)
                with invocation.graceful_stop(run.request_stop):
                    results = spec.work(run)
            if run.stopping:
                raise Interrupted
            ended = RunResult(lock.token, results, [_held(cache, result) for result in results])
            if on_finished is not None:
                on_finished(ended, HeldNodeGuard(ports, guard, log, run.save_exit_code))
            return ended


def _held(cache: ObjectCache, result: Result) -> bool:
    return observation.hold_of(cache.get(Kind.STATEFUL_SET, result.namespace, result.name)) is not None


def holder() -> str:
    """Name this process to people: who, where, which."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in many containers
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


def result_rows(run_result: RunResult, selection: Selection) -> tuple[ResultRow, ...]:
    """Give a line for each node, also for those that the run did not come to."""
    lines = [_result_row(result, held) for result, held in zip(run_result.results, run_result.held, strict=True)]
    come_to = {(row.namespace, row.name) for row in lines}
    left = [key for key in selection.keys if key not in come_to]
    reason = "the run stopped before it, since others failed"
    return (
        *lines,
        *(ResultRow(*key, "not-started", None, reason, None, (), False, 0, ()) for key in left),
    )


def _result_row(result: Result, held: bool) -> ResultRow:
    record = result.record
    outcome = result.outcome.value if result.outcome else "unchanged" if record is None else None
    return ResultRow(
        namespace=result.namespace,
        name=result.name,
        outcome=outcome,
        stage=record.stage.value if record else None,
        reason=record.reason if record else "",
        failure=record.failure if record else None,
        blockers=result.blockers,
        held=held,
        restarts=len(record.replaced_pods) if record else 0,
        notes=record.notes if record else (),
    )
