"""``plan``: preview changes and blockers of each node. It changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from seimigrate.app import apply_spec, arguments, fleet_plan, snapshot
from seimigrate.app.apply_spec import ApplySpec
from seimigrate.app.exit_codes import Exit
from seimigrate.app.fleet_plan import FleetPlan
from seimigrate.app.options import ApplyOptions, ConnectionOptions, NodeSelection, PlanOptions
from seimigrate.app.session import cluster_id
from seimigrate.cli.invocation import exit_with, invocation_of
from seimigrate.cli.options import OutputOptions, run_option
from seimigrate.domain.fleet.saved_plan import SavedNode, SavedPlan
from seimigrate.domain.node.preview import NodePlan
from seimigrate.planfile import write_saved
from seimigrate.render import json_output, plan_table
from seimigrate.render.reports import PlanReport


def plan(
    ctx: typer.Context,
    target: NodeSelection,
    file: PlanOptions,
    apply_options: ApplyOptions,
    connection: ConnectionOptions,
    output: OutputOptions,
    detailed_exitcode: Annotated[
        bool, run_option("--detailed-exitcode", help="Exit with 3 if changes are pending.")
    ] = False,
    out: Annotated[str | None, run_option("--out", metavar="FILE", help="Save the plan for `apply FILE`.")] = None,
) -> None:
    """Preview changes and blockers for each node (read-only)."""
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    spec = apply_spec.read(target, file, apply_options, None)
    session = invocation.open_session(connection)
    observed = snapshot.ClusterSnapshot(session.cluster, spec.select(session), spec.plan, session.clock)
    strategy, accepted = spec.strategy, spec.accepted_findings
    preview = fleet_plan.plan_fleet(observed, strategy, accepted=accepted, canary=spec.canary)
    cluster = cluster_id(session.cluster)
    if out is not None:
        write_saved(out, _saved(spec, preview, cluster, session.clock.now()))
    report = PlanReport(
        migration=spec.plan.migration,
        cluster=cluster,
        server=session.server,
        strategy=strategy.value,
        fingerprint=snapshot.plan_digest(spec.plan, preview.nodes),
        nodes=preview.nodes,
        waves=preview.waves,
        seconds=preview.seconds,
        next_command=_next(preview.nodes, spec, connection, out),
    )
    invocation.show(lambda: json_output.plan(report), lambda on: plan_table.show(report, on))
    if detailed_exitcode and report.done < len(preview.nodes):
        exit_with(Exit.PENDING)


def _next(nodes: Sequence[NodePlan], spec: ApplySpec, connection: ConnectionOptions, out: str | None) -> str:
    """Return the command to type next: ``apply`` if nodes can change, ``status`` if all are done, else ``plan``."""
    if any(not node.done and not node.blockers for node in nodes):
        return arguments.command_line("apply", [out] if out is not None else spec, connection)
    if all(node.done for node in nodes):
        return arguments.command_line("status", spec.target_args(), connection)
    return arguments.command_line("plan", spec, connection)


def _saved(spec: ApplySpec, fleet_plan: FleetPlan, cluster: str, now: float) -> SavedPlan:
    return SavedPlan(
        cluster=cluster,
        saved_at=now,
        strategy=spec.strategy,
        accepted_findings=spec.accepted_findings,
        canary=spec.canary,
        waves=fleet_plan.waves,
        estimate=fleet_plan.seconds,
        nodes=tuple(
            SavedNode(
                namespace=node.namespace,
                name=node.name,
                mode=node.mode,
                chain=node.chain,
                stage="done" if node.done else node.stage,
                restarts=node.restarts,
                blocked=bool(node.blockers),
                fields=node.fields,
            )
            for node in fleet_plan.nodes
        ),
        plan=spec.plan,
        args=spec.original_args,
    )
