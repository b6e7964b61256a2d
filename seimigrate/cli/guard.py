"""``guard``: look after held nodes until it is stopped, one guard for a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from seimigrate.cli import looking, selection
from seimigrate.cli.carrying import holder
from seimigrate.cli.naming import pair
from seimigrate.cli.options import DEFAULT_LEASE_SECONDS, Calling, Connect, Guarded, Output, PlanFile
from seimigrate.cli.session import Session
from seimigrate.cli.shell import Interrupted, Shell, shell_of
from seimigrate.domain.leases import GUARD_LEASE
from seimigrate.domain.plan import Plan
from seimigrate.engine import reading
from seimigrate.engine.errors import ApiError, LockedByAnother
from seimigrate.engine.guard import Guard, Key
from seimigrate.engine.ports import Pods
from seimigrate.engine.pulse import Runs
from seimigrate.engine.runner import Ports
from seimigrate.render.guardlines import GuardLines
from seimigrate.render.lines import Log

RETRY = 5.0
"""Seconds before a guard tries again that found another one, or no API server."""


def guard(
    ctx: typer.Context,
    target: Guarded,
    file: PlanFile,
    calling: Calling,
    connect: Connect,
    output: Output,
    lease_seconds: Annotated[
        float, typer.Option("--lease-seconds", min=1, metavar="S", help="How long its Lease lasts unrenewed.")
    ] = DEFAULT_LEASE_SECONDS,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to be done now.")] = False,
) -> None:
    """Mark held nodes ready that ask for it, while their controller cannot; runs until stopped."""
    import structlog

    shell = shell_of(ctx)
    shell.begin(output)
    named = selection.consistent(target.namespace, target.all_namespaces, target.selector, target.node)
    account = pair("--service-account", calling.service_account)
    plan = looking.the_plan(file)
    session = shell.open_session(connect)
    namespaces = _namespaces(target, named)
    session.require_guard_rights(namespaces, account)
    watch = _Watch(
        session=session,
        plan=plan,
        pods=session.pods(account, required=True),
        namespaces=namespaces,
        chosen=_chooser(session, target, namespaces, named),
        lease_seconds=lease_seconds,
        log=structlog.get_logger(),
    )
    try:
        watch.once(shell) if once else watch.always(shell)
    except Interrupted:
        watch.log.warning("the guard ends: held nodes are unguarded, unless another guard is there")


def _namespaces(target: Guarded, named: list[Key]) -> tuple[str, ...]:
    if named:
        return tuple(sorted({namespace for namespace, _ in named}))
    return tuple(sorted(set(target.namespace))) or ("",)


def _chooser(
    session: Session, target: Guarded, namespaces: tuple[str, ...], named: list[Key]
) -> Callable[[Key], bool] | None:
    """Give how to tell which nodes are meant; labels are asked for anew now and then, as nodes come and go."""
    if named:
        return frozenset(named).__contains__
    if not target.selector:
        return None
    known: dict[Key, None] = {}
    asked = float("-inf")

    def chosen(key: Key) -> bool:
        nonlocal known, asked
        now = session.clock.now()
        if not 0 <= now - asked < 30:
            known, asked = dict.fromkeys(reading.keys(session.cluster, namespaces, target.selector)), now
        return key in known

    return chosen


@dataclass
class _Watch:
    session: Session
    plan: Plan
    pods: Pods
    namespaces: tuple[str, ...]
    chosen: Callable[[Key], bool] | None
    lease_seconds: float
    log: Log

    def once(self, shell: Shell) -> None:
        """Look until nothing is left that the guard waits for; raises ``LockedByAnother`` if another guard lives."""
        try:
            self._hold(shell, _until_nothing_is_pending)
        except LockedByAnother as error:
            raise LockedByAnother(
                f"another guard is at work: {error.message}", hint="it looks after the nodes: seimigrate status"
            ) from error

    def always(self, shell: Shell) -> None:
        """Look for ever: as the one guard, or in wait for the one that there is to end."""
        told = ""
        while True:
            try:
                self._hold(shell, lambda guard: guard.run(lambda: False))
            except (LockedByAnother, ApiError) as error:
                if isinstance(error, LockedByAnother) and told != "waits":
                    told = "waits"
                    self.log.info(f"waits for another guard to end: {error.message}")
                elif isinstance(error, ApiError):
                    told = ""
                    self.log.warning(f"tries again: {error.message}")
                time.sleep(RETRY)

    def _hold(self, shell: Shell, work: Callable[[Guard], None]) -> None:
        def waits(other: str, seconds: float) -> None:
            del other, seconds

        session = self.session
        with (
            session.lock(holder(), self.lease_seconds, waits, name=GUARD_LEASE) as lock,
            session.view(self.namespaces, guards=True) as view,
        ):
            shell.acting = True
            ports = Ports(session.cluster, view, self.pods, lock, session.clock)
            runs = Runs(session.cluster, session.clock)
            made = Guard(ports, self.plan, GuardLines(self.log), runs, self.chosen)
            self.log.info("guards held nodes")
            work(made)


def _until_nothing_is_pending(guard: Guard) -> None:
    while guard.look():
        guard.wait()
