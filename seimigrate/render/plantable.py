"""A plan for people: a line for each node, then what changes, and what is in the way, each said once."""

from __future__ import annotations

from rich.console import Console

from seimigrate.domain.prospect import Prospect
from seimigrate.render import values
from seimigrate.render.console import follow_up, table
from seimigrate.render.pages import PlanPage

HEADS = ("NODE", "MODE", "CHAIN", "TEMPLATE", "POD", "NEXT STAGE", "CHANGES", "RESTARTS", "")


def show(page: PlanPage, on: Console) -> None:
    """Print a plan."""
    on.print(f"plan {page.migration}, {page.strategy}, on {page.server}")
    on.print()
    on.print(table(HEADS, [_row(line) for line in page.lines]))
    _waves(page, on)
    _changes(page, on)
    _blockers(page, on)
    _warnings(page, on)
    on.print()
    on.print(
        f"{values.count(len(page.lines), 'node')}: {page.pending} to move, {page.blocked} blocked, {page.done} done; "
        f"{values.count(page.restarts, 'restart')}"
        + (f", about {values.duration(page.seconds)}" if page.seconds else "")
    )
    follow_up(on, page.next)


def _row(line: Prospect) -> tuple[str, ...]:
    state = "done" if line.done else "blocked" if line.blockers else ""
    shapes = (line.template or "?", line.pod or "none")
    numbers = (str(len(line.changes)), str(line.restarts))
    return (_key(line), line.mode, line.chain, *shapes, "" if line.done else line.stage, *numbers, state)


def _key(line: Prospect) -> str:
    return f"{line.namespace}/{line.name}"


def _waves(page: PlanPage, on: Console) -> None:
    """Print in which order the nodes move, where there is more than one."""
    if sum(len(wave.nodes) for wave in page.waves) < 2:
        return
    on.print()
    on.print("in this order", style="bold")
    titles = values.wave_titles(page.waves)
    rows = [(title, values.few(wave.nodes)) for title, wave in zip(titles, page.waves, strict=True)]
    on.print(table(("", ""), rows, indent=2))


def _changes(page: PlanPage, on: Console) -> None:
    """Print each list of changes once, with the nodes that share it."""
    groups: dict[str, list[Prospect]] = {}
    for line in page.lines:
        if line.changes:
            groups.setdefault(repr(line.changes), []).append(line)
    for lines in groups.values():
        on.print()
        on.print(f"changes on {values.few([_key(line) for line in lines])}", style="bold")
        rows = [(c.stage, c.kind, f"{values.where(c)}\n{values.what(c)}") for c in lines[0].changes]
        on.print(table(("", "", ""), rows, indent=2))


def _blockers(page: PlanPage, on: Console) -> None:
    found: dict[tuple[str, str, str], list[str]] = {}
    for line in page.lines:
        for blocker in line.blockers:
            found.setdefault((blocker.code, blocker.reason, blocker.remedy), []).append(_key(line))
    if not found:
        return
    on.print()
    on.print("in the way", style="bold yellow")
    rows = [(code, f"{reason}\n→ {remedy}\n  {values.few(nodes)}") for (code, reason, remedy), nodes in found.items()]
    on.print(table(("", ""), rows, indent=2))


def _warnings(page: PlanPage, on: Console) -> None:
    found: dict[str, list[str]] = {}
    for line in page.lines:
        for warning in line.warnings:
            found.setdefault(warning, []).append(_key(line))
    if not found:
        return
    on.print()
    on.print("mind", style="bold yellow")
    on.print(table(("",), [(f"{warning}\n  {values.few(nodes)}",) for warning, nodes in found.items()], indent=2))
