"""A plan for people: a line for each node, then what changes, and what is in the way, each said once."""

from __future__ import annotations

from rich.console import Console

from seimigrate.domain.node.preview import NodePlan
from seimigrate.render import formatting
from seimigrate.render.console import print_next_command, table
from seimigrate.render.reports import PlanReport

HEADS = ("NODE", "MODE", "CHAIN", "TEMPLATE", "POD", "NEXT STAGE", "CHANGES", "RESTARTS", "")


def show(report: PlanReport, on: Console) -> None:
    """Print a plan."""
    on.print(f"plan {report.migration}, {report.strategy}, on {report.server}")
    on.print()
    on.print(table(HEADS, [_row(node) for node in report.nodes]))
    _waves(report, on)
    _changes(report, on)
    _blockers(report, on)
    _warnings(report, on)
    on.print()
    on.print(
        f"{formatting.pluralize(len(report.nodes), 'node')}: "
        f"{report.pending} to cut over, {report.blocked} blocked, {report.done} done; "
        f"{formatting.pluralize(report.restarts, 'restart')}"
        + (f", about {formatting.duration(report.seconds)}" if report.seconds else "")
    )
    print_next_command(on, report.next_command)


def _row(node: NodePlan) -> tuple[str, ...]:
    state = "done" if node.done else "blocked" if node.blockers else ""
    shapes = (node.template or "?", node.pod or "none")
    numbers = (str(len(node.changes)), str(node.restarts))
    return (_key(node), node.mode, node.chain, *shapes, "" if node.done else node.stage, *numbers, state)


def _key(node: NodePlan) -> str:
    return f"{node.namespace}/{node.name}"


def _waves(report: PlanReport, on: Console) -> None:
    """Print in which order the nodes move, where there is more than one."""
    if sum(len(wave.nodes) for wave in report.waves) < 2:
        return
    on.print()
    on.print("in this order", style="bold")
    titles = formatting.wave_titles(report.waves)
    rows = [(title, formatting.abbreviate(wave.nodes)) for title, wave in zip(titles, report.waves, strict=True)]
    on.print(table(("", ""), rows, indent=2))


def _changes(report: PlanReport, on: Console) -> None:
    """Print each list of changes once, with the nodes that share it."""
    groups: dict[str, list[NodePlan]] = {}
    for node in report.nodes:
        if node.changes:
            groups.setdefault(repr(node.changes), []).append(node)
    for lines in groups.values():
        on.print()
        on.print(f"changes on {formatting.abbreviate([_key(node) for node in lines])}", style="bold")
        rows = [
            (c.stage, c.kind, f"{formatting.field_label(c)}\n{formatting.describe_change(c)}") for c in lines[0].changes
        ]
        on.print(table(("", "", ""), rows, indent=2))


def _blockers(report: PlanReport, on: Console) -> None:
    found: dict[tuple[str, str, str], list[str]] = {}
    for node in report.nodes:
        for blocker in node.blockers:
            found.setdefault((blocker.code, blocker.reason, blocker.remedy), []).append(_key(node))
    if not found:
        return
    on.print()
    on.print("in the way", style="bold yellow")
    rows = [
        (code, f"{reason}\n→ {remedy}\n  {formatting.abbreviate(nodes)}")
        for (code, reason, remedy), nodes in found.items()
    ]
    on.print(table(("", ""), rows, indent=2))


def _warnings(report: PlanReport, on: Console) -> None:
    found: dict[str, list[str]] = {}
    for node in report.nodes:
        for warning in node.warnings:
            found.setdefault(warning, []).append(_key(node))
    if not found:
        return
    on.print()
    on.print("mind", style="bold yellow")
    on.print(
        table(("",), [(f"{warning}\n  {formatting.abbreviate(nodes)}",) for warning, nodes in found.items()], indent=2)
    )
