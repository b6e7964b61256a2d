"""The diagrams of docs/architecture.md are the imports of the code."""

from __future__ import annotations

import re
from itertools import pairwise, product
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
Arrow = tuple[str, str]


def drawn() -> list[set[Arrow]]:
    """Return the arrows of each Mermaid flowchart, as pairs of the names that its boxes show."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    return [_arrows(chart) for chart in re.findall(r"```mermaid\nflowchart TB\n(.*?)```", text, re.DOTALL)]


ARROW = re.compile(r'\s*(?:-->|-- "[^"]*" -->|-\. "[^"]*" \.->)\s*')
BOX = re.compile(r'(\w+)\["([\w./]+)"\]')


def _arrows(chart: str) -> set[Arrow]:
    labels = {box: label.removesuffix(".py") for box, label in BOX.findall(chart)}
    arrows: set[Arrow] = set()
    for line in chart.splitlines():
        sides = [side.split(" & ") for side in ARROW.split(BOX.sub(r"\1", line.strip()))]
        for left, right in pairwise(sides):
            arrows |= {(labels.get(one, one), labels.get(other, other)) for one, other in product(left, right)}
    return arrows


def imported(package: str) -> set[Arrow]:
    """Return which children of a package import which others directly."""
    graph = grimp.build_graph("seimigrate")
    children = {
        child.rpartition(".")[2]: {child, *graph.find_descendants(child)} for child in graph.find_children(package)
    }
    of = {module: name for name, modules in children.items() for module in modules}
    found = {
        (of[module], of[other])
        for module in of
        for other in graph.find_modules_directly_imported_by(module)
        if other in of and of[module] != of[other]
    }
    return {arrow for arrow in found if not {"__main__"} & set(arrow)}


def reachable(arrows: set[Arrow]) -> set[Arrow]:
    """Return the transitive closure."""
    closure = set(arrows)
    while more := {(a, d) for a, b in closure for c, d in closure if b == c} - closure:
        closure |= more
    return closure


def test_package_diagram_shows_the_imports() -> None:
    chart, found = drawn()[0], imported("seimigrate")
    assert found - reachable(chart) == set(), "imports that no arrow leads along"
    assert chart - found == set(), "arrows without an import"


def test_domain_diagram_shows_the_imports() -> None:
    chart, found = drawn()[1], imported("seimigrate.domain")
    assert found - reachable(chart) == set(), "imports that no arrow leads along"
    assert chart - found == set(), "arrows without an import"


def test_no_arrow_of_a_diagram_leads_back() -> None:
    for chart in drawn():
        assert not any(left == right for left, right in reachable(chart))
