"""Compose and execute a run: controller accounts, lock, cache, ports, reporters, and the result."""

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
from seimigrate.app.process import CommandProcess, Interrupted
from seimigrate.app.selection import Selection
from seimigrate.app.session import Session
from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node import observation
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.record import Record
from seimigrate.domain.node.run_spec import RunSpec
from seimigrate.domain.plan.plan import Plan
from seimigrate.engine import gate_client
from seimigrate.engine.gate_client import GateClient
from seimigrate.engine.guard import BackgroundGuard, Guard
from seimigrate.engine.hold import HoldManager, NoHold, find_accounts
from seimigrate.engine.node_worker import Ports
from seimigrate.engine.ports import Lock, ObjectCache, PodClient, Response
from seimigrate.engine.results import Key, Result
from seimigrate.engine.run import Run, RunServices
from seimigrate.render.guard_log import GuardLogListener
from seimigrate.render.reports import ResultRow


@dataclass(frozen=True)
class RunRequest:
    """A run to execute: the spec that the run's record keeps, the plan, the nodes, and the work on them.

    The lock expires ``lease_duration`` seconds after its last renewal. ``metrics_port`` (0: any) serves metrics.
    ``stale_blockers`` returns why a node that is about to start differs from the saved plan.
    """

    spec: RunSpec
    plan: Plan
    selection: Selection
    work: Callable[[Run], list[Result]]
    lease_duration: float
    metrics_port: int | None = None
    stale_blockers: Callable[[str, NodeObservation, Record | None], tuple[Blocker, ...]] = (
        lambda key, observed, record: ()
    )


@dataclass(frozen=True)
class RunResult:
    """The result of a run: its token, each node's result, whether it is held now, and the nodes that were skipped."""

    token: str
    results: list[Result]
    held: list[bool]
    skipped: frozenset[str] = frozenset()


class NoPods:
    """The pod client of a run that calls no pod."""

    def call(self, *_: object, **__: object) -> Response:
        """Fail."""
        raise AssertionError("a hold calls no pod")


def accounts_of(session: Session, given: str | None) -> list[str]:
    """Return the controller's accounts; raises ``SeimigrateError`` if none is found, ``UsageError`` for a bad name."""
    if given is not None:
        parse_namespaced_name("--controller-account", given)
    return find_accounts(session.cluster.list(Kind.DEPLOYMENT), given)


def execute_run(
    process: CommandProcess,
    session: Session,
    request: RunRequest,
    accounts: list[str],
    pod_client: PodClient,
    on_finished: Callable[[RunResult, HeldNodeGuard], None] | None = None,
    held_lock: Lock | None = None,
) -> RunResult:
    """Take the lock, execute the run, then call ``on_finished``; release the lock unless it was ``held_lock``."""
    import structlog  # a tenth of a second that --help does not need

    log = structlog.get_logger()
    who, spec = holder(), request.spec

    def on_wait(other: str, seconds: float) -> None:
        log.info(f"lock held by {other}; waiting up to {seconds:.0f} s to see if it is still renewed")

    http_client = session.http_client()
    gate_client.check_tokens(request.plan.gates if spec.with_gates else (), http_client)
    with (
        nullcontext(held_lock) if held_lock is not None else session.lock(who, request.lease_duration, on_wait) as lock
    ):
        process.may_have_written = True
        with session.cache(request.selection.namespaces) as cache:
            ports = Ports(session.cluster, cache, pod_client, lock, session.clock)
            hold = HoldManager(session.cluster, cache, accounts) if spec.holds else NoHold()
            runs: list[Run] = []
            guard = Guard(
                ports,
                request.plan,
                GuardLogListener(log),
                None,
                lambda key: not any(run.has_in_flight(key) for run in runs),
            )
            dispatcher = reporters.make_dispatcher(
                process, session.clock, log, lock.token, reporters.make_event_recorder(session, who, log)
            )
            about = {"run": lock.token, "command": spec.command, "plan": request.plan.digest}
            with (
                reporters.report_run(process, dispatcher, session.clock, log, request.metrics_port, about),
                session.executor() as executor,
            ):
                services = RunServices(
                    executor,
                    gate_client=GateClient(session.cluster, http_client),
                    listener=dispatcher.on_fleet_action,
                    stale_plan_blockers=request.stale_blockers,
                    on_tick=BackgroundGuard(guard, executor) if spec.guards else lambda: None,
                )
                run = Run(ports, request.plan, hold, spec, who, dispatcher, services)
                runs.append(run)
                run.start()
                with process.graceful_stop(run.request_stop):
                    results = request.work(run)
            if run.stopping:
                raise Interrupted
            result = RunResult(lock.token, results, [_held(cache, each) for each in results], run.skipped)
            if on_finished is not None:
                on_finished(result, HeldNodeGuard(ports, guard, log, run.save_exit_code))
            return result


def _held(cache: ObjectCache, result: Result) -> bool:
    return observation.hold_of(cache.get(Kind.STATEFUL_SET, result.namespace, result.name)) is not None


def holder() -> str:
    """Return the name of this process for operators: user, host, process id."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in many containers
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


def result_rows(run_result: RunResult, selection: Selection) -> tuple[ResultRow, ...]:
    """Return a row for each node, including skipped nodes and those that the run did not start."""
    rows = [_result_row(result, held) for result, held in zip(run_result.results, run_result.held, strict=True)]
    reported = {(row.namespace, row.name) for row in rows}
    rest = [key for key in selection.keys if key not in reported]
    return (*rows, *(_row_without_start(key, "/".join(key) in run_result.skipped) for key in rest))


def _row_without_start(key: Key, skipped: bool) -> ResultRow:
    outcome, reason = (
        ("skipped", "skipped by an operator")
        if skipped
        else ("not-started", "the run stopped before this node started")
    )
    return ResultRow(*key, outcome, None, reason, None, (), False, 0, ())


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
