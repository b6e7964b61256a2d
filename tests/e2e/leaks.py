"""Search everything that a cluster and its programs have written down for tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import Kind
from tests.e2e.cluster import TestCluster

TOKEN = re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}")
"""A ServiceAccount's token: two parts of JSON in base64, then its signature."""
KINDS = (Kind.CONFIG_MAP, Kind.LEASE, Kind.POD, Kind.STATEFUL_SET, Kind.SERVICE, Kind.DEPLOYMENT, Kind.SEI_NODE)
EVENTS = ("/api/v1/events", "/apis/events.k8s.io/v1/events")


def leaks(cluster: TestCluster, told: Iterable[str], since: int) -> list[str]:
    """Name every place with a token in it: logs, audit log, volumes, objects, Events, what commands have ``told``.

    The audit log is searched from a mark on: a test before that may have written a token down on purpose.
    """
    known = [token.encode() for token in cluster.tokens.values()]
    return [
        place
        for place, text in _texts(cluster, told, since)
        if TOKEN.search(text) or any(token in text for token in known)
    ]


def searched(cluster: TestCluster, told: Iterable[str], since: int) -> str:
    """Say how much there was to be searched."""
    sizes = [len(text) for _, text in _texts(cluster, told, since)]
    return f"{len(sizes)} texts, {sum(sizes) / 1e6:.1f} MB"


def _texts(cluster: TestCluster, told: Iterable[str], since: int) -> Iterator[tuple[str, bytes]]:
    with cluster.audit_log.open("rb") as log:
        log.seek(since)
        yield cluster.audit_log.name, log.read()
    for file in _files(cluster.folder):
        yield str(file.relative_to(cluster.folder)), file.read_bytes()
    for kind in KINDS:
        for item in cluster.admin.request("GET", path_of(kind))["items"]:
            yield f"{kind.name} {item['metadata']['name']}", json.dumps(item).encode()
    for path in EVENTS:
        for item in cluster.admin.request("GET", path)["items"]:
            yield f"Event {item['metadata']['name']}", json.dumps(item).encode()
    for number, text in enumerate(told):
        yield f"command {number}", text.encode()


def _files(folder: Path) -> Iterator[Path]:
    """Give the logs of the node's programs and of all containers, and what lies on volumes."""
    for place in ("log", "overlay/var/log", "volumes"):
        yield from (file for file in sorted((folder / place).rglob("*")) if file.is_file() and not file.is_symlink())
