"""A verification for people: closed or not, and each finding once, with the nodes that it is about."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console
from rich.text import Text

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.render import formatting
from seimigrate.render.console import print_next_command, table
from seimigrate.render.reports import VerifyReport

GroupedFinding = tuple[Finding, tuple[str, ...]]
"""A finding, and the nodes that it is about."""

HEADINGS = {
    FindingSeverity.ERROR: ("not as it must be", "bold red"),
    FindingSeverity.UNKNOWN: ("not known", "bold yellow"),
    FindingSeverity.WARNING: ("mind", "bold yellow"),
}


def show(report: VerifyReport, on: Console) -> None:
    """Print a verification."""
    on.print(f"verification of {formatting.pluralize(len(report.rows), 'node')} on {report.server}")
    for severity, (heading, style) in HEADINGS.items():
        rows = [(alike[0][0].code, _text(alike)) for alike in _alike(report) if alike[0][0].severity is severity]
        if rows:
            on.print()
            on.print(heading, style=style)
            on.print(table(("", ""), rows, indent=2))
    on.print()
    on.print(Text.assemble("closed: ", Text("yes", "green") if report.passed else Text("no", "red")), end="")
    open_ = sum(row.verdict != "pass" for row in report.rows)
    on.print(f" ({open_} of {formatting.pluralize(len(report.rows), 'node')} not)" if open_ else "")
    if not report.probed:
        on.print("pods were not asked: --probe does", style="dim")
    if not report.passed:
        print_next_command(on, report.next_command)


def _alike(report: VerifyReport) -> list[list[GroupedFinding]]:
    """Put together the findings that say the same of several objects."""
    groups: dict[Finding, list[GroupedFinding]] = {}
    for finding, nodes in report.findings:
        groups.setdefault(replace(finding, object=finding.object.split(" ")[0]), []).append((finding, nodes))
    return [*groups.values()]


def _text(alike: list[GroupedFinding]) -> str:
    finding = alike[0][0]
    kind = finding.object.partition(" ")[0]
    names = [each.object.removeprefix(f"{kind} ") for each, _ in alike]
    about = (
        f"{kind} {formatting.abbreviate(names)} {finding.field}".strip()
        if len(alike) > 1
        else f"{finding.object} {finding.field}"
    )
    lines = [f"{about.strip()}: {finding.message}"]
    if finding.admits:
        lines.append(f"lets in: {finding.admits}")
    lines.append(f"→ {finding.remedy}")
    nodes = sorted({node for _, each in alike for node in each})
    if nodes and kind not in ("SeiNode", "Pod", "StatefulSet", "Service"):
        lines.append(f"  {formatting.abbreviate(nodes)}")
    return "\n".join(lines)
