"""``apply``, ``hold`` and ``rollback``: the commands that move nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from seimigrate.cli import breakglass, carrying, exits, looking, orders, outlining, selection, words
from seimigrate.cli.afterwards import Afterwards
from seimigrate.cli.carrying import Ended, Errand, NoPods
from seimigrate.cli.exits import Exit
from seimigrate.cli.naming import pair
from seimigrate.cli.options import (
    Acting,
    Calling,
    Connect,
    Controller,
    HoldBy,
    Output,
    PlanFile,
    Target,
    Way,
)
from seimigrate.cli.orders import Orders
from seimigrate.cli.outlining import Outline
from seimigrate.cli.session import Session
from seimigrate.cli.shell import Interrupted, Shell, leave, shell_of
from seimigrate.cli.turn import turn
from seimigrate.domain import beginning
from seimigrate.domain.plan import Plan, StageName, Strategy
from seimigrate.domain.prospect import Prospect
from seimigrate.domain.steps import Ways
from seimigrate.engine import gating
from seimigrate.engine.errors import UsageError
from seimigrate.engine.journal import Journal
from seimigrate.engine.results import Result
from seimigrate.engine.rights import Needs
from seimigrate.engine.run import Run
from seimigrate.render import endedtable, jsonout, values
from seimigrate.render.pages import EndedPage


def apply(
    ctx: typer.Context,
    target: Target,
    file: PlanFile,
    way: Way,
    controller: Controller,
    calling: Calling,
    acting: Acting,
    connect: Connect,
    output: Output,
    hold: Annotated[HoldBy, typer.Option("--hold", help="What keeps the controller off.")] = HoldBy.JUDGE,
    guard: Annotated[
        bool,
        typer.Option("--guard/--unguarded", help="Whether to guard the nodes that stay held, until a guard has them."),
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
    shell, told, session, found = begin(
        ctx,
        lambda: orders.read(target, file, way, saved),
        acting,
        connect,
        output,
        [controller, calling],
        holds=hold is HoldBy.JUDGE,
        calls=True,
    )
    digest = told.saved.digest if job and told.saved else ""
    with turn(session, acting, digest) as mine:
        plan, ways, strategy = told.plan, told.ways, told.strategy
        look = looking.Look(session.cluster, found, plan, session.clock)
        if not mine.goes_on:  # else each node is judged when its turn comes, as the pod before would have done
            told.require_fit(look)
        canary = None if mine.goes_on else told.canary
        ahead = outlining.outline(look, strategy, accepted=told.accepted, canary=canary)
        lines = ahead.lines
        if hold is HoldBy.NONE:
            looking.require_no_owner(look, lines)
        accounts = carrying.accounts_of(session, controller) if hold is HoldBy.JUDGE else []
        pods = session.pods(pair("--service-account", calling.service_account), required=True)
        shell.ask(acting.yes, f"cut over by plan {plan.migration}:", _rows(session, ahead, strategy, hold))
        if break_glass is not None:
            moves = [(line.namespace, line.name) for line in lines if not line.done]
            breakglass.write(break_glass, look, moves, strategy, file.runbooks)
        errand = Errand(
            command="apply",
            plan=plan,
            strategy=strategy,
            ways=ways,
            selection=found,
            work=lambda run: run.apply(
                found.keys,
                told.saved.waves if told.saved else None,
                canary,
                digest,
            ),
            holds=hold is HoldBy.JUDGE,
            accepted=told.accepted,
            gated=True,
            unfit=told.unfit,
        )
        again: list[words.Group] = [told, controller, calling, acting, connect]

        def then(ended: Ended, afterwards: Afterwards) -> None:
            code = exits.of_apply(ended.results)
            _show(shell, errand, ended, _after_apply(ended, code, told, again))
            if guard:
                afterwards.look_after([(r.namespace, r.name) for r in ended.results])
            if digest and not shell.terminated:
                afterwards.conclude(code)

        ended = carrying.carry(shell, session, errand, accounts, pods, acting, then, mine.lock)
    if shell.terminated:
        raise Interrupted  # while it guarded what it left held: somebody else has to, perhaps this command again
    leave(exits.of_apply(ended.results))


def hold(
    ctx: typer.Context,
    target: Target,
    file: PlanFile,
    controller: Controller,
    acting: Acting,
    connect: Connect,
    output: Output,
) -> None:
    """Keep the controller from changing nodes that it disagrees with."""
    shell, told, session, found = begin(
        ctx, lambda: orders.read(target, file, Way(), None), acting, connect, output, [controller]
    )
    plan, ways = told.plan, told.ways
    accounts = carrying.accounts_of(session, controller)
    rows = [
        ("cluster", session.server),
        ("hold", values.few([f"{ns}/{name}" for ns, name in found.keys])),
        ("against", ", ".join(accounts)),
    ]
    shell.ask(acting.yes, f"hold {values.count(len(found.keys), 'node')}:", rows)
    errand = Errand(
        command="hold",
        plan=plan,
        strategy=plan.strategy,
        ways=ways,
        selection=found,
        work=lambda run: run.hold(found.keys),
        goal=StageName.HOLD,
        guards=False,
    )
    ended = carrying.carry(shell, session, errand, accounts, NoPods(), acting)
    end(shell, errand, ended, exits.of_hold(ended.results, ended.held), words.command("status", target, connect))


def rollback(
    ctx: typer.Context,
    target: Target,
    file: PlanFile,
    controller: Controller,
    calling: Calling,
    acting: Acting,
    connect: Connect,
    output: Output,
    to: Annotated[
        StageName | None, typer.Option("--to", help="Go back to the end of this stage only, and stay held.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Put our fields back over what somebody else changed.")
    ] = False,
) -> None:
    """Take nodes back, wholly or to the end of a stage."""
    if to is StageName.RELEASE:
        raise UsageError("--to release is the end of the way forwards", hint="name an earlier stage, or none")
    shell, told, session, found = begin(
        ctx, lambda: orders.read(target, file, Way(), None), acting, connect, output, [controller, calling]
    )
    plan, ways = told.plan, told.ways
    accounts = carrying.accounts_of(session, controller)
    # A way back must not wait for a token that it may never need.
    pods = session.pods(pair("--service-account", calling.service_account), required=False)
    rows = [
        ("cluster", session.server),
        ("nodes", values.few([f"{ns}/{name}" for ns, name in found.keys])),
        ("back to", f"the end of stage {to}, held" if to else "the old shape, handed back to the controller"),
        ("edits by others", "overwritten where they are on our fields" if force else "left alone"),
        *asked(session, plan, ways, found),
    ]
    shell.ask(acting.yes, f"roll {values.count(len(found.keys), 'node')} back; pods restart where they must:", rows)

    def work(run: Run) -> list[Result]:
        return run.back(found.keys, to)

    errand = Errand("rollback", plan, plan.strategy, ways, found, work, force=force)
    ended = carrying.carry(shell, session, errand, accounts, pods, acting)
    code = exits.of_rollback(ended.results, all_the_way=to is None)
    if code in (Exit.DONE, Exit.BLOCKED):
        then = words.command("status", target, connect)
    else:
        stage = ["--to", to.value] if to else []
        then = words.command("rollback", target, file, controller, calling, acting, stage, connect)
    end(shell, errand, ended, code, then)


def begin(
    ctx: typer.Context,
    read: Callable[[], Orders],
    acting: Acting,
    connect: Connect,
    output: Output,
    accounts: list[Controller | Calling],
    *,
    holds: bool = True,
    calls: bool = False,
) -> tuple[Shell, Orders, Session, selection.Selection]:
    """Find out all that can be wrong with the words, then what rights are missing, before anything is read.

    ``calls`` tells that sidecars and gates must be called.
    """
    shell = shell_of(ctx)
    shell.begin(output)
    account = None
    for each in accounts:
        if isinstance(each, Calling):
            account = pair("--service-account", each.service_account)
        elif each.controller_account is not None:
            pair("--controller-account", each.controller_account)
    shell.must_be_able_to_ask(acting.yes)
    told = read()
    session = shell.open_session(connect)
    needs = Needs(
        namespaces=told.namespaces(session),
        holds=holds,
        gates=gating.namespaces(told.plan.gates) if calls else (),
        account=account if calls else None,
        identity=told.saved is not None,
    )
    session.require_rights(needs)
    return shell, told, session, told.select(session)


def asked(session: Session, plan: Plan, ways: Ways, found: selection.Selection) -> list[tuple[str, str]]:
    """Give what the runbooks ask a person before these nodes go back: who goes on, or says --yes, has answered it."""
    journal = Journal(session.cluster, plan.migration)
    questions = [question for key in found.keys for question in beginning.questions(journal.load(*key), ways)]
    return [("to confirm", question) for question in dict.fromkeys(questions)]


def _rows(session: Session, ahead: Outline, strategy: Strategy, hold: HoldBy) -> list[tuple[str, str]]:
    """Give what a person is told before saying yes to a cutover."""
    lines = ahead.lines
    ready = [line for line in lines if not line.done and not line.blockers]
    return [
        ("cluster", session.server),
        ("move", _named(ready) if ready else "none"),
        ("restarts", str(sum(line.restarts for line in ready))),
        ("blocked", str(sum(bool(line.blockers) for line in lines))),
        ("done", str(sum(line.done for line in lines))),
        ("strategy", strategy.value),
        ("time", f"about {values.duration(ahead.seconds)}"),
        ("hold", "admission policies" if hold is HoldBy.JUDGE else "none: nothing keeps the controller off"),
    ]


def _named(lines: list[Prospect]) -> str:
    return values.few([f"{line.namespace}/{line.name}" for line in lines])


def end(shell: Shell, errand: Errand, ended: Ended, code: Exit, next_command: str) -> None:
    """Print how the nodes ended, and end the command with its exit code."""
    _show(shell, errand, ended, next_command)
    leave(code)


def _show(shell: Shell, errand: Errand, ended: Ended, next_command: str) -> None:
    page = EndedPage(ended.token, errand.command, carrying.lines_of(ended, errand.selection), next_command)
    shell.show(lambda: jsonout.ended(page), lambda on: endedtable.show(page, on), ends_stream=True)


def _after_apply(ended: Ended, code: Exit, told: Orders, again: list[words.Group]) -> str:
    """Give what to type after a cutover: back where it failed, again where it stopped, a look where it is done."""
    failed = [f"{r.namespace}/{r.name}" for r in ended.results if r.failed]
    match code:
        case Exit.FAILED:
            return words.command("rollback", *(words.node(key) for key in failed), told.plan_words, *again[1:])
        case Exit.ROLLED_BACK | Exit.BLOCKED:
            return words.command("plan", told.made_by, again[-1])
        case Exit.PAUSED | Exit.HELD:
            return words.command("apply", *again)
        case _:
            return words.command("status", told.where(), again[-1])
