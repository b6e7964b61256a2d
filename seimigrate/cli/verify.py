"""``verify``: whether a fleet is closed, with what speaks against it. It changes nothing; only probes are made."""

from __future__ import annotations

from typing import Annotated

import typer

from seimigrate.cli import looking, naming, selection, words
from seimigrate.cli.completing import namespaces
from seimigrate.cli.exits import Exit
from seimigrate.cli.options import Calling, Connect, Controller, Output, PlanFile, Target
from seimigrate.cli.session import cluster_id
from seimigrate.cli.shell import leave, shell_of
from seimigrate.domain import probing
from seimigrate.domain.kinds import Kind
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.hold import accounts_of, named_account
from seimigrate.engine.probing import Prober
from seimigrate.engine.survey import Survey
from seimigrate.engine.verifying import Verification
from seimigrate.render import jsonout, verifytable
from seimigrate.render.pages import VerifyLine, VerifyPage


def verify(
    ctx: typer.Context,
    target: Target,
    file: PlanFile,
    controller: Controller,
    calling: Calling,
    connect: Connect,
    output: Output,
    probe: Annotated[bool, typer.Option("--probe", help="Ask each pod by port-forward, too.")] = False,
    probe_from: Annotated[
        list[str] | None,
        typer.Option(
            "--probe-from",
            metavar="NAMESPACE",
            help="Try the network from a pod there (repeatable).",
            autocompletion=namespaces,
        ),
    ] = None,
    probe_image: Annotated[
        str | None, typer.Option("--probe-image", metavar="IMAGE", help="What such a pod runs (default: seid's).")
    ] = None,
) -> None:
    """Tell whether nodes are closed: who can reach what, who may create tasks; exit 4 if not."""
    shell = shell_of(ctx)
    shell.begin(output)
    selection.check(target)
    account = controller.controller_account
    for option, value in (("--controller-account", account), ("--service-account", calling.service_account)):
        if value is not None:
            naming.pair(option, value)
    for each in probe_from or ():
        naming.namespace("--probe-from", each)
    plan = looking.the_plan(file)
    session = shell.open_session(connect)
    found = selection.select(session.cluster, target, session.namespace)
    look = looking.Look(session.cluster, found, plan, session.clock)
    pods = session.pods(naming.pair("--service-account", calling.service_account), required=True) if probe else None
    survey = Survey(session.cluster, session.clock, plan, named_account(account))
    verification = Verification(session.cluster, session.clock, plan, survey, pods)
    lines: list[VerifyLine] = []
    targets: list[probing.Target] = []
    image = probe_image
    for key in found.keys:
        view = look.at(key)
        if view.seinode is not None:
            lines.append(VerifyLine.of(view, plan.parameters, verification.node(view, look.records[key])))
            targets += verification.targets(view)
            image = image or verification.probe_image(view)
    accounts = accounts_of(session.cluster.list(Kind.DEPLOYMENT), account)
    shared = [*verification.cluster([(line.namespace, line.name) for line in lines], accounts)]
    for namespace in probe_from or ():
        if image is None:
            raise SeimigrateError("no node runs whose seid's image a probe could run", hint="name one: --probe-image")
        prober = Prober(session.cluster, session.clock, survey.read().ground.network, image)
        shared += prober.probe(namespace, targets)
    page = VerifyPage(
        cluster=cluster_id(session.cluster),
        server=session.server,
        probed=probe or bool(probe_from),
        lines=tuple(lines),
        shared=tuple(shared),
        next=words.command("plan", target, file, connect),
    )
    shell.show(lambda: jsonout.verify(page), lambda on: verifytable.show(page, on))
    if not page.closed:
        leave(Exit.BLOCKED)
