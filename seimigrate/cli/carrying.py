"""Putting a run together: accounts, lock, view, ports; then what it was asked to do, and what came of it."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from seimigrate.cli import watching
from seimigrate.cli.afterwards import Afterwards
from seimigrate.cli.naming import pair
from seimigrate.cli.options import Acting, Controller
from seimigrate.cli.selection import Selection
from seimigrate.cli.session import Session
from seimigrate.cli.shell import Interrupted, Shell
from seimigrate.domain import seen
from seimigrate.domain.beginning import Options
from seimigrate.domain.checks import Blocker
from seimigrate.domain.finding import Acceptance
from seimigrate.domain.kinds import Kind
from seimigrate.domain.plan import Plan, StageName, Strategy
from seimigrate.domain.record import Record
from seimigrate.domain.seen import Seen
from seimigrate.domain.steps import Ways
from seimigrate.engine import gating
from seimigrate.engine.gating import Gatekeeper
from seimigrate.engine.guard import Guard, Meanwhile
from seimigrate.engine.hold import HoldKeeper, NoHold, find_accounts
from seimigrate.engine.ports import Lock, Pods, Response, View
from seimigrate.engine.results import Result
from seimigrate.engine.run import Company, Run
from seimigrate.engine.runner import Ports
from seimigrate.render.guardlines import GuardLines
from seimigrate.render.pages import EndedLine


@dataclass(frozen=True)
class Errand:
    """What a run is to do: ``work`` is called with it once it has begun.

    ``guards`` tells that it looks after the nodes that it has done with as long as it lasts, ``gated`` that it asks
    the plan's gates, ``unfit`` says why a node must not begin whose turn has come.
    """

    command: str
    plan: Plan
    strategy: Strategy
    ways: Ways
    selection: Selection
    work: Callable[[Run], list[Result]]
    goal: StageName = StageName.RELEASE
    holds: bool = True
    accepted: Acceptance = Acceptance.NOTHING
    force: bool = False
    passed: tuple[int, ...] = ()
    guards: bool = True
    gated: bool = False
    unfit: Callable[[str, Seen, Record | None], tuple[Blocker, ...]] = lambda key, view, record: ()


@dataclass(frozen=True)
class Ended:
    """What came of a run: its token, each node's result and whether it is held now."""

    token: str
    results: list[Result]
    held: list[bool]


class NoPods:
    """Stands where no pod is called: a run that only holds."""

    def call(self, *_: object, **__: object) -> Response:
        """Refuse."""
        raise AssertionError("a hold asks no pod")


def accounts_of(session: Session, controller: Controller) -> list[str]:
    """Find the controller's accounts; raises ``SeimigrateError`` if there is none, ``UsageError`` for a bad name."""
    given = controller.controller_account
    if given is not None:
        pair("--controller-account", given)
    return find_accounts(session.cluster.list(Kind.DEPLOYMENT), given)


def carry(
    shell: Shell,
    session: Session,
    errand: Errand,
    accounts: list[str],
    pods: Pods,
    acting: Acting,
    then: Callable[[Ended, Afterwards], None] | None = None,
    had: Lock | None = None,
) -> Ended:
    """Take the lock, do the errand, and ``then`` what it leads to; let the lock go, but for one that was ``had``."""
    import structlog  # a tenth of a second that --help does not need

    log = structlog.get_logger()
    who = holder()

    def waits(other: str, seconds: float) -> None:
        log.info(f"{other} holds the lock: waits up to {seconds:.0f} s to see whether it lives")

    gates = errand.plan.gates if errand.gated else ()
    web = session.web()
    gating.check_tokens(gates, web)
    with nullcontext(had) if had is not None else session.lock(who, acting.lease_seconds, waits) as lock:
        shell.acting = True
        with session.view(errand.selection.namespaces) as view:
            ports = Ports(session.cluster, view, pods, lock, session.clock)
            hold = HoldKeeper(session.cluster, view, accounts) if errand.holds else NoHold()
            options = Options(
                run=lock.token,
                strategy=errand.strategy,
                ways=errand.ways,
                goal=errand.goal,
                holds=errand.holds,
                accepted=errand.accepted,
                force=errand.force,
                passed=errand.passed,
            )
            runs: list[Run] = []
            guard = Guard(ports, errand.plan, GuardLines(log), None, lambda key: not any(r.carries(key) for r in runs))
            tell = watching.teller(shell, session.clock, log, lock.token, watching.recorder(session, who, log))
            about = {"run": lock.token, "command": errand.command, "plan": errand.plan.digest}
            with (
                watching.watched(shell, tell, session.clock, log, acting.metrics_port, about),
                session.crew() as crew,
            ):
                company = Company(
                    crew,
                    gates=Gatekeeper(session.cluster, web),
                    told=tell.fleet,
                    unfit=errand.unfit,
                    meanwhile=Meanwhile(guard, crew) if errand.guards else lambda: None,
                )
                run = Run(ports, errand.plan, hold, options, who, tell, company)
                runs.append(run)
                run.start(errand.command, errand.selection.namespaces)
                with shell.stopped_by(run.leave):
                    results = errand.work(run)
            if run.leaving:
                raise Interrupted
            ended = Ended(lock.token, results, [_held(view, result) for result in results])
            if then is not None:
                then(ended, Afterwards(ports, guard, log, run.conclude))
            return ended


def _held(view: View, result: Result) -> bool:
    return seen.hold_of(view.get(Kind.STATEFUL_SET, result.namespace, result.name)) is not None


def holder() -> str:
    """Name this process to people: who, where, which."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in many containers
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


def lines_of(ended: Ended, selection: Selection) -> tuple[EndedLine, ...]:
    """Give a line for each node, also for those that the run did not come to."""
    lines = [_line(result, held) for result, held in zip(ended.results, ended.held, strict=True)]
    come_to = {(line.namespace, line.name) for line in lines}
    left = [key for key in selection.keys if key not in come_to]
    reason = "the run stopped before it, since others failed"
    return (
        *lines,
        *(EndedLine(*key, "not-started", None, reason, None, (), False, 0, ()) for key in left),
    )


def _line(result: Result, held: bool) -> EndedLine:
    record = result.record
    outcome = result.outcome.value if result.outcome else "nothing-to-do" if record is None else None
    return EndedLine(
        namespace=result.namespace,
        name=result.name,
        outcome=outcome,
        stage=record.stage.value if record else None,
        reason=record.reason if record else "",
        failure=record.failure if record else None,
        blockers=result.blockers,
        held=held,
        restarts=len(record.replaced) if record else 0,
        notes=record.notes if record else (),
    )
