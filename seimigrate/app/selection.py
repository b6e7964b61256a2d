"""The SeiNodes that a command selects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seimigrate.app import names
from seimigrate.app.options import NodeSelection
from seimigrate.engine import readers
from seimigrate.engine.errors import SeimigrateError, UsageError
from seimigrate.engine.ports import Cluster
from seimigrate.engine.results import Key


@dataclass(frozen=True, slots=True)
class Selection:
    """The nodes of a command, sorted, and the namespaces to read (``""`` alone: all)."""

    keys: tuple[Key, ...]
    namespaces: tuple[str, ...]

    @property
    def everywhere(self) -> bool:
        """Return whether all namespaces are read."""
        return "" in self.namespaces


def validate_target(target: NodeSelection) -> list[Key]:
    """Return the nodes of ``--node``; raise ``UsageError`` for invalid options."""
    named = [] if target.namespace is None else [target.namespace]
    return validate_selection(named, target.all_namespaces, target.selector, target.node)


def validate_selection(namespaces: Sequence[str], everywhere: bool, selector: str, nodes: Sequence[str]) -> list[Key]:
    """Do the same for options that allow several namespaces."""
    for namespace in namespaces:
        names.namespace("-n", namespace)
    names.selector("-l", selector)
    named = sorted({names.parse_namespaced_name("--node", node) for node in nodes})
    if everywhere and namespaces:
        raise UsageError("-A and -n are mutually exclusive", hint="drop one of them")
    if named and selector:
        raise UsageError("--node and -l are mutually exclusive", hint="drop one of them")
    outside = next((f"{ns}/{name}" for ns, name in named if namespaces and ns not in namespaces), None)
    if outside:
        raise UsageError(f"--node {outside} is not in namespace {' or '.join(namespaces)}", hint="drop -n")
    return named


def namespaces_of(target: NodeSelection, default_namespace: str) -> tuple[str, ...]:
    """Return the namespaces to read (``""`` alone: all), without a request; raise ``UsageError`` if invalid."""
    named = validate_target(target)
    if target.all_namespaces:
        return ("",)
    if named:
        return tuple(sorted({namespace for namespace, _ in named}))
    return (target.namespace or names.namespace("the context's namespace", default_namespace),)


def select(cluster: Cluster, target: NodeSelection, default_namespace: str) -> Selection:
    """Return the nodes; raise ``SeimigrateError`` if there are none, or if a named node does not exist."""
    named, namespaces = validate_target(target), namespaces_of(target, default_namespace)
    found = readers.keys(cluster, namespaces, target.selector)
    if named:
        _require_all(named, found)
        return Selection(tuple(named), namespaces)
    if not found:
        where = "this cluster" if target.all_namespaces else f"namespace {namespaces[0]}"
        which = f" with labels {target.selector}" if target.selector else ""
        hint = (
            "kubectl get seinodes -A --show-labels" if target.all_namespaces else "name another with -n, or all with -A"
        )
        raise SeimigrateError(f"there is no SeiNode{which} in {where}", hint=hint)
    return Selection(tuple(found), namespaces)


def _require_all(named: list[Key], found: list[Key]) -> None:
    absent = [f"{namespace}/{name}" for namespace, name in named if (namespace, name) not in set(found)]
    if absent:
        raise SeimigrateError(
            f"there is no SeiNode {', '.join(absent)}", hint=f"kubectl -n {absent[0].split('/')[0]} get seinodes"
        )
