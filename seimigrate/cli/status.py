"""``status``: where each node is, whether it is held and guarded, and whether the controller may be upgraded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from seimigrate.cli import following, looking, selection, words
from seimigrate.cli.naming import pair
from seimigrate.cli.options import Connect, Controller, Output, PlanFile, Target
from seimigrate.cli.session import Session
from seimigrate.cli.shell import shell_of
from seimigrate.domain import leases, seen, shapes
from seimigrate.domain.fleet import decision
from seimigrate.domain.kinds import LEASE_NAME, RUN_NAME, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.domain.plan import Parameters, Plan
from seimigrate.domain.record import Direction, Outcome
from seimigrate.engine import guardjournal, pulse, reading
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.hold import WATCHED, HoldKeeper, find_accounts
from seimigrate.engine.journal import RunJournal
from seimigrate.engine.results import Key
from seimigrate.render import jsonout, statustable, values
from seimigrate.render.pages import RunInfo, StatusLine, StatusPage


def status(
    ctx: typer.Context,
    target: Target,
    file: PlanFile,
    controller: Controller,
    connect: Connect,
    output: Output,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow the live run until it ends; then show how things are.")
    ] = False,
) -> None:
    """Show each node's stage and outcome, and whether it is held and guarded; change nothing."""
    shell = shell_of(ctx)
    shell.begin(output)
    selection.check(target)
    plan = looking.the_plan(file)
    session = shell.open_session(connect)
    found = selection.select(session.cluster, target, session.namespace)
    if watch:
        following.follow(shell, session, found, plan)
    look = looking.Look(session.cluster, found, plan, session.clock)
    lease = session.cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME)
    locked = alive(lease, session.clock.now())
    watched = _watched(session, lease if locked else None, found.keys)
    lines = tuple(_line(look, key, key in watched) for key in found.keys)
    doubts = tuple(_doubts(session, look, controller)) if found.everywhere else ()
    page = StatusPage(
        run=_run(session, plan, lease, locked),
        lines=lines,
        safe=not doubts if found.everywhere else None,
        doubts=doubts,
        next=_next(lines, locked, [file, connect], [target, file, connect]),
    )
    shell.show(lambda: jsonout.status(page), lambda on: statustable.show(page, on), ends_stream=watch)


def alive(lease: Object | None, now: float) -> bool:
    """Tell whether a run holds the lock and has renewed it within its duration."""
    spec = (lease or {}).get("spec", {})
    if not spec.get("holderIdentity") or not spec.get("renewTime"):
        return False
    try:
        renewed = datetime.fromisoformat(spec["renewTime"]).timestamp()
    except ValueError:
        return False
    return now - renewed < float(spec.get("leaseDurationSeconds") or 0)


def _watched(session: Session, run_lease: Object | None, keys: Sequence[Key]) -> set[Key]:
    """Give the nodes that a live run or a live guard looks after, if they are held."""
    cluster = session.cluster
    watched: set[Key] = set()
    if run_lease is not None:
        run = cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, RUN_NAME)
        watched |= {key for key in keys if pulse.covers(run, run_lease, key[0])}
    guard_lease = cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, leases.GUARD_LEASE)
    if guard_lease is not None and alive(guard_lease, session.clock.now()):
        says = cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, guardjournal.NAME)
        named = guardjournal.looked_after(says, guard_lease)
        watched |= {key for key in keys if "/".join(key) in named}
    return watched


def _run(session: Session, plan: Plan, lease: Object | None, locked: bool) -> RunInfo | None:
    record = RunJournal(session.cluster).load()
    if record is None:
        return None
    return RunInfo(
        token=record.run,
        holder=record.holder,
        command=record.command,
        plan=record.plan,
        started=datetime.fromtimestamp(record.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        live=locked and leases.token(lease or {}) == record.run,
        standing=decision.standing(record.campaign, plan, session.clock.now()) if record.campaign else "",
    )


def _line(look: looking.Look, key: Key, watched: bool) -> StatusLine:
    view, record = look.at(key), look.records[key]
    node: Object = view.seinode or {}
    mode = seen.mode_of(node)
    held = seen.hold_of(view.statefulset) is not None
    parameters = look.plan.parameters
    return StatusLine(
        namespace=key[0],
        name=key[1],
        mode=mode.value if mode else "unknown",
        chain=node.get("spec", {}).get("chainId", ""),
        template=_shape(view.statefulset["spec"]["template"]["spec"], parameters) if view.statefulset else None,
        pod=_shape(view.pod["spec"], parameters) if view.pod else None,
        stage=record.stage.value if record else None,
        direction=record.direction.value if record else None,
        outcome=record.outcome.value if record and record.outcome else None,
        held=held,
        guarded=held and watched,
        reason=record.reason if record else "",
        failure=record.failure if record else None,
        notes=record.notes if record else (),
    )


def _shape(spec: Object, parameters: Parameters) -> str | None:
    try:
        return shapes.read(spec, parameters).shape.value
    except shapes.NotWired:
        return None


def _doubts(session: Session, look: looking.Look, controller: Controller) -> list[str]:
    """Say why the controller should not be upgraded now; empty if every node is held still, and the hold works."""
    fleet = [s for s in look.view.list(Kind.STATEFUL_SET) if seen.owner(s).get("kind") == "SeiNode"]
    free = [_name(s) for s in fleet if seen.hold_of(s) is None]
    moving = [_name(s) for s in fleet if seen.frozen(s)]
    doubts = []
    if free:
        doubts.append(f"{values.count(len(free), 'StatefulSet is', 'StatefulSets are')} not held: {values.few(free)}")
    if moving:
        doubts.append(f"{values.count(len(moving), 'node is', 'nodes are')} moving: {values.few(moving)}")
    if problem := _hold_problem(session, controller):
        doubts.append(problem)
    return doubts


def _name(obj: Object) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _hold_problem(session: Session, controller: Controller) -> str:
    """A label holds nothing without the policies that judge by it."""
    given = controller.controller_account
    view = reading.Snapshot(session.cluster, WATCHED, ("",))
    try:
        accounts = find_accounts(view.list(Kind.DEPLOYMENT), given and "/".join(pair("--controller-account", given)))
    except SeimigrateError as error:
        return error.message
    return HoldKeeper(session.cluster, view, accounts).problem()


def _next(lines: Sequence[StatusLine], locked: bool, where: list[words.Group], same: list[words.Group]) -> str:
    if locked:
        return words.command("status", *same)
    failed = next((line for line in lines if line.outcome == Outcome.FAILED.value), None)
    if failed is not None:
        return words.command("rollback", words.node(failed.key), *where)
    back = any(line.open and line.direction == Direction.BACK.value for line in lines)
    if back and not any(line.open and line.direction != Direction.BACK.value for line in lines):
        return words.command("rollback", *same)
    unfinished = any(line.open or line.outcome == Outcome.DONE_HELD.value for line in lines)
    return words.command("apply" if unfinished else "plan", *same)
