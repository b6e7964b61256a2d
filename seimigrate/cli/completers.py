"""Completion of arguments: contexts, namespaces, nodes.

A shell calls this while the operator types, so an error returns no completions and prints no message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import typer

from seimigrate.app.kube_context import context_names


def contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the kubeconfig's contexts, without a request to a cluster."""
    return _starting_with(incomplete, context_names(ctx.params.get("kubeconfig")))


def namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the namespaces that have SeiNodes."""
    return _starting_with(incomplete, {namespace for namespace, _ in _nodes(ctx)})


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the SeiNodes as ``NAMESPACE/NAME``."""
    return _starting_with(incomplete, (f"{namespace}/{name}" for namespace, name in _nodes(ctx)))


def _starting_with(incomplete: str, values: Iterable[str]) -> list[str]:
    return sorted(value for value in values if value.startswith(incomplete))


def _nodes(ctx: typer.Context) -> Iterator[tuple[str, str]]:
    from seimigrate.app.options import ConnectionOptions
    from seimigrate.domain.kube.kinds import Kind
    from seimigrate.engine.errors import SeimigrateError

    chosen = ConnectionOptions(ctx.params.get("context"), ctx.params.get("kubeconfig"))
    try:
        for node in ctx.find_root().obj.open_session(chosen).cluster.list(Kind.SEI_NODE):
            yield node["metadata"]["namespace"], node["metadata"]["name"]
    except SeimigrateError:
        return
