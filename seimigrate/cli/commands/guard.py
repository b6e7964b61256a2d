"""``guard``: mark restarted held nodes ready until it is stopped; one guard per cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from seimigrate.app import selection, snapshot
from seimigrate.app.execute import holder
from seimigrate.app.names import parse_namespaced_name
from seimigrate.app.options import (
    DEFAULT_LEASE_DURATION,
    ConnectionOptions,
    GuardSelection,
    PlanFileOptions,
    SidecarAuthOptions,
)
from seimigrate.app.process import Interrupted
from seimigrate.app.session import Session
from seimigrate.cli.invocation import Invocation, invocation_of
from seimigrate.cli.options import OutputOptions, run_option
from seimigrate.domain.kube.leases import GUARD_LEASE
from seimigrate.domain.plan.plan import Plan
from seimigrate.engine import readers
from seimigrate.engine.errors import ApiError, LockHeld
from seimigrate.engine.guard import Guard, Key
from seimigrate.engine.lease_monitor import RunCoverage
from seimigrate.engine.node_worker import Ports
from seimigrate.engine.ports import PodClient
from seimigrate.render.event_log import Log
from seimigrate.render.guard_log import GuardLogListener

RETRY_INTERVAL = 5.0
"""Seconds before a retry, if another guard holds the Lease or the API server is unreachable."""


def guard(
    ctx: typer.Context,
    target: GuardSelection,
    file: PlanFileOptions,
    calling: SidecarAuthOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
    lease_duration: Annotated[
        float,
        run_option(
            "--lease-duration",
            min=1,
            metavar="S",
            help="Seconds until the unrenewed Lease expires.",
        ),
    ] = DEFAULT_LEASE_DURATION,
    once: Annotated[bool, run_option("--once", help="Exit when no held node needs attention.")] = False,
) -> None:
    """Mark restarted held nodes ready in place of the controller."""
    import structlog

    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    named = selection.validate_selection(target.namespace, target.all_namespaces, target.selector, target.node)
    account = parse_namespaced_name("--service-account", calling.service_account)
    plan = snapshot.load_plan_file(file)
    session = invocation.open_session(connection)
    namespaces = _namespaces(target, named)
    session.require_guard_rights(namespaces, account)
    process = _GuardProcess(
        session=session,
        plan=plan,
        pods=session.pods(account, required=True),
        namespaces=namespaces,
        node_filter=_node_filter(session, target, namespaces, named),
        lease_duration=lease_duration,
        log=structlog.get_logger(),
    )
    try:
        process.run_once(invocation) if once else process.run_forever(invocation)
    except Interrupted:
        process.log.warning("guard stopped: held nodes are unguarded, unless another guard is running")


def _namespaces(target: GuardSelection, named: list[Key]) -> tuple[str, ...]:
    if named:
        return tuple(sorted({namespace for namespace, _ in named}))
    return tuple(sorted(set(target.namespace))) or ("",)


def _node_filter(
    session: Session, target: GuardSelection, namespaces: tuple[str, ...], named: list[Key]
) -> Callable[[Key], bool] | None:
    """Return the filter of nodes to guard; nodes with matching labels are listed again after 30 s."""
    if named:
        return frozenset(named).__contains__
    if not target.selector:
        return None
    matching: dict[Key, None] = {}
    listed_at = float("-inf")

    def is_selected(key: Key) -> bool:
        nonlocal matching, listed_at
        now = session.clock.now()
        if not 0 <= now - listed_at < 30:
            matching, listed_at = dict.fromkeys(readers.keys(session.cluster, namespaces, target.selector)), now
        return key in matching

    return is_selected


@dataclass
class _GuardProcess:
    session: Session
    plan: Plan
    pods: PodClient
    namespaces: tuple[str, ...]
    node_filter: Callable[[Key], bool] | None
    lease_duration: float
    log: Log

    def run_once(self, invocation: Invocation) -> None:
        """Guard until no held node needs attention; raise ``LockHeld`` if another guard is running."""
        try:
            self._hold(invocation, _until_nothing_is_pending)
        except LockHeld as error:
            raise LockHeld(
                f"another guard is running: {error.message}", hint="nodes that it covers: seimigrate status"
            ) from error

    def run_forever(self, invocation: Invocation) -> None:
        """Guard forever; while another guard is running, wait for it to stop."""
        waiting = False
        while True:
            try:
                self._hold(invocation, lambda guard: guard.run(lambda: False))
            except (LockHeld, ApiError) as error:
                if isinstance(error, LockHeld) and not waiting:
                    waiting = True
                    self.log.info(f"waiting for another guard to stop: {error.message}")
                elif isinstance(error, ApiError):
                    waiting = False
                    self.log.warning(f"retrying: {error.message}")
                time.sleep(RETRY_INTERVAL)

    def _hold(self, invocation: Invocation, work: Callable[[Guard], None]) -> None:
        def on_wait(other: str, seconds: float) -> None:
            del other, seconds

        session = self.session
        with (
            session.lock(holder(), self.lease_duration, on_wait, name=GUARD_LEASE) as lock,
            session.cache(self.namespaces, guards=True) as cache,
        ):
            invocation.may_have_written = True
            ports = Ports(session.cluster, cache, self.pods, lock, session.clock)
            runs = RunCoverage(session.cluster, session.clock)
            guard = Guard(ports, self.plan, GuardLogListener(self.log), runs, self.node_filter)
            self.log.info("guarding held nodes")
            work(guard)


def _until_nothing_is_pending(guard: Guard) -> None:
    while guard.run_once():
        guard.wait()
