"""A verification for people: closed or not, and each finding once, with the nodes that it is about."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console
from rich.text import Text

from seimigrate.domain.finding import Finding, Severity
from seimigrate.render import values
from seimigrate.render.console import follow_up, table
from seimigrate.render.pages import VerifyPage

Found = tuple[Finding, tuple[str, ...]]
"""A finding, and the nodes that it is about."""

HEADINGS = {
    Severity.ERROR: ("not as it must be", "bold red"),
    Severity.UNKNOWN: ("not known", "bold yellow"),
    Severity.WARNING: ("mind", "bold yellow"),
}


def show(page: VerifyPage, on: Console) -> None:
    """Print a verification."""
    on.print(f"verification of {values.count(len(page.lines), 'node')} on {page.server}")
    for severity, (heading, style) in HEADINGS.items():
        rows = [(alike[0][0].code, _text(alike)) for alike in _alike(page) if alike[0][0].severity is severity]
        if rows:
            on.print()
            on.print(heading, style=style)
            on.print(table(("", ""), rows, indent=2))
    on.print()
    on.print(Text.assemble("closed: ", Text("yes", "green") if page.closed else Text("no", "red")), end="")
    open_ = sum(line.verdict != "closed" for line in page.lines)
    on.print(f" ({open_} of {values.count(len(page.lines), 'node')} not)" if open_ else "")
    if not page.probed:
        on.print("pods were not asked: --probe does", style="dim")
    if not page.closed:
        follow_up(on, page.next)


def _alike(page: VerifyPage) -> list[list[Found]]:
    """Put together the findings that say the same of several objects."""
    groups: dict[Finding, list[Found]] = {}
    for finding, nodes in page.findings:
        groups.setdefault(replace(finding, about=finding.about.split(" ")[0]), []).append((finding, nodes))
    return [*groups.values()]


def _text(alike: list[Found]) -> str:
    finding = alike[0][0]
    kind = finding.about.partition(" ")[0]
    names = [each.about.removeprefix(f"{kind} ") for each, _ in alike]
    about = (
        f"{kind} {values.few(names)} {finding.where}".strip() if len(alike) > 1 else f"{finding.about} {finding.where}"
    )
    lines = [f"{about.strip()}: {finding.what}"]
    if finding.who:
        lines.append(f"lets in: {finding.who}")
    lines.append(f"→ {finding.remedy}")
    nodes = sorted({node for _, each in alike for node in each})
    if nodes and kind not in ("SeiNode", "Pod", "StatefulSet", "Service"):
        lines.append(f"  {values.few(nodes)}")
    return "\n".join(lines)
