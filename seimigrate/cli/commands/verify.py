"""``verify``: who can reach nodes and create tasks. It changes nothing; probe pods are deleted."""

from __future__ import annotations

from typing import Annotated

import typer

from seimigrate.app import arguments, names, selection, snapshot
from seimigrate.app.exit_codes import Exit
from seimigrate.app.options import (
    ConnectionOptions,
    ControllerOptions,
    NodeSelection,
    PlanFileOptions,
    SidecarAuthOptions,
)
from seimigrate.app.session import cluster_id
from seimigrate.cli.completers import namespaces
from seimigrate.cli.invocation import exit_with, invocation_of
from seimigrate.cli.options import OutputOptions, run_option
from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.verify import network_probe
from seimigrate.engine.access_review import AccessReviewer
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.hold import accounts_of, named_account
from seimigrate.engine.network_probe import Prober
from seimigrate.engine.verification import Verification
from seimigrate.render import json_output, verify_table
from seimigrate.render.reports import VerifyReport, VerifyRow


def verify(
    ctx: typer.Context,
    target: NodeSelection,
    file: PlanFileOptions,
    controller: ControllerOptions,
    calling: SidecarAuthOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
    probe: Annotated[bool, run_option("--probe", help="Also query each pod by port-forward.")] = False,
    probe_from: Annotated[
        list[str] | None,
        run_option(
            "--probe-from",
            metavar="NAMESPACE",
            help="Test connectivity from a pod in NAMESPACE (repeatable).",
            autocompletion=namespaces,
        ),
    ] = None,
    probe_image: Annotated[
        str | None,
        run_option(
            "--probe-image",
            metavar="IMAGE",
            help="Image of the probe pod (default: seid's image).",
        ),
    ] = None,
) -> None:
    """Check who can reach nodes and create tasks; exit 4 if wrong."""
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    selection.validate_target(target)
    account = controller.controller_account
    for option, value in (("--controller-account", account), ("--service-account", calling.service_account)):
        if value is not None:
            names.parse_namespaced_name(option, value)
    for namespace in probe_from or ():
        names.namespace("--probe-from", namespace)
    plan = snapshot.load_plan_file(file)
    session = invocation.open_session(connection)
    selected = selection.select(session.cluster, target, session.namespace)
    cluster = snapshot.ClusterSnapshot(session.cluster, selected, plan, session.clock)
    pod_client = (
        session.pods(names.parse_namespaced_name("--service-account", calling.service_account), required=True)
        if probe
        else None
    )
    access_reviewer = AccessReviewer(session.cluster, session.clock, plan, named_account(account))
    verification = Verification(session.cluster, session.clock, plan, access_reviewer, pod_client)
    rows: list[VerifyRow] = []
    targets: list[network_probe.Target] = []
    image = probe_image
    for key in selected.keys:
        observed = cluster.observe(key)
        if observed.seinode is not None:
            rows.append(VerifyRow.of(observed, plan.parameters, verification.node(observed, cluster.records[key])))
            targets += verification.targets(observed)
            image = image or verification.probe_image(observed)
    accounts = accounts_of(session.cluster.list(Kind.DEPLOYMENT), account)
    cluster_findings = [*verification.cluster([(row.namespace, row.name) for row in rows], accounts)]
    for namespace in probe_from or ():
        if image is None:
            raise SeimigrateError(
                "no probe image: no selected node has a pod with a seid container", hint="name one: --probe-image IMAGE"
            )
        prober = Prober(session.cluster, session.clock, access_reviewer.read().inventory.network, image)
        cluster_findings += prober.probe(namespace, targets)
    report = VerifyReport(
        cluster=cluster_id(session.cluster),
        server=session.server,
        probed=probe or bool(probe_from),
        rows=tuple(rows),
        cluster_findings=tuple(cluster_findings),
        next_command=arguments.command_line("plan", target, file, connection),
    )
    invocation.show(lambda: json_output.verify(report), lambda on: verify_table.show(report, on))
    if not report.passed:
        exit_with(Exit.BLOCKED)
