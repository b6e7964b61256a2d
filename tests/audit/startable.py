"""Rule 1: whether a pod of a template could start.

Facts (upstream): a shared sidecar serves everything on its own port, on loopback only, so that probes reach it through
the proxy and only where the proxy asks for no token (``--ignore-paths``); the start gate, a loop in seid's argument,
asks on loopback. A split sidecar serves nothing but tasks there, and health and metrics on its public port.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tests.audit.events import Json

SIDECAR = "sei-sidecar"
PROXY = "kube-rbac-proxy"
SEID = "seid"
OWN_PORT = 7777
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
GATE = re.compile(r"/dev/tcp/(?:localhost|127\.0\.0\.1)/(\d+)")
ASKS = re.compile(r"GET (/\S*)")
UPSTREAM = re.compile(r"--upstream=https?://[^/:]+:(\d+)")


@dataclass(frozen=True, slots=True)
class Listeners:
    """What listens in a pod, as its template says it."""

    split: bool
    own: int
    public: int
    proxy: int
    upstream: int
    ignored: tuple[str, ...]
    health: tuple[str, ...]

    def answers(self, port: int, path: str, *, loopback: bool) -> bool:
        """Say whether an anonymous GET of a path is answered by the sidecar on a port."""
        if port == self.own and loopback:
            return not self.split
        if port == self.public and self.split:
            return path in self.health
        if port == self.proxy:
            reached = self.upstream == self.own and not self.split
            return reached and any(_matches(pattern, path) for pattern in self.ignored)
        return False

    def concerns(self, port: int, path: str) -> bool:
        """Say whether a probe is one of the sidecar's, and not of seid's own servers."""
        return port in (self.own, self.public, self.proxy) or path in self.health


def defects(
    spec: Json,
    split_images: Callable[[str], bool],
    *,
    public_port: int = 9100,
    proxy_port: int = 8443,
    health_paths: tuple[str, ...],
) -> list[str]:
    """Tell why a pod of this spec could not start or get ready; nothing if it could.

    ``public_port`` is where a split sidecar listens whose environment does not say.
    """
    containers = {c["name"]: c for c in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]}
    listeners = _listeners(containers, split_images, public_port, proxy_port, health_paths)
    found = list(_clashes(listeners))
    for container in containers.values():
        for kind in PROBES:
            found += _probe(container, kind, listeners)
    return found + list(_gate(containers.get(SEID) or {}, listeners))


def _listeners(
    containers: dict[str, Json],
    split_images: Callable[[str], bool],
    public_port: int,
    proxy_port: int,
    health_paths: tuple[str, ...],
) -> Listeners:
    sidecar = containers.get(SIDECAR) or {}
    proxy = containers.get(PROXY) or {}
    own = _number(sidecar, "SEI_SIDECAR_PORT", OWN_PORT)
    arguments = [*(proxy.get("command") or []), *(proxy.get("args") or [])]
    upstream = [int(found[1]) for argument in arguments if (found := UPSTREAM.match(argument))]
    return Listeners(
        split=split_images(sidecar.get("image", "")),
        own=own,
        public=_number(sidecar, "SEI_SIDECAR_PUBLIC_PORT", public_port),
        proxy=proxy_port,
        upstream=upstream[-1] if upstream else own,
        ignored=tuple(_ignored(arguments)),
        health=health_paths,
    )


def _number(container: Json, name: str, otherwise: int) -> int:
    """Give a port from the environment; of two entries of one name the last counts, as in a real container."""
    values = [entry.get("value", "") for entry in container.get("env") or [] if entry["name"] == name]
    return int(values[-1]) if values and str(values[-1]).isdigit() else otherwise


def _ignored(arguments: list[str]) -> Iterator[str]:
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if argument.startswith("--ignore-paths="):
            yield from argument.partition("=")[2].split(",")
        elif argument == "--ignore-paths":
            yield from following.split(",")


def _matches(pattern: str, path: str) -> bool:
    """Match as Go's path.Match does: a star does not cross a slash."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(fnmatchcase(p, w) for p, w in zip(parts, wanted, strict=True))


def _clashes(listeners: Listeners) -> Iterator[str]:
    ports = [listeners.own, listeners.proxy] + ([listeners.public] if listeners.split else [])
    if len(set(ports)) < len(ports):
        yield f"two of its listeners share a port: {ports}"


def _probe(container: Json, kind: str, listeners: Listeners) -> Iterator[str]:
    probe = container.get(kind) or {}
    where = f"{container['name']}'s {kind}"
    if http := probe.get("httpGet"):
        port = _resolved(container, http.get("port"))
        path = str(http.get("path") or "/").partition("?")[0]
        plain = http.get("scheme", "HTTP") == "HTTP"
        if listeners.concerns(port, path) and not (plain and listeners.answers(port, path, loopback=False)):
            yield f"{where} asks for {path} on port {http.get('port')}, where {_served(listeners)}"
    if tcp := probe.get("tcpSocket"):
        port = _resolved(container, tcp.get("port"))
        if port == listeners.own or (port == listeners.public and not listeners.split):
            yield f"{where} connects to port {port}, where nothing listens for it"


def _resolved(container: Json, port: Any) -> int:
    """Give a probe's port as a number: it may name one of its container's ports."""
    if isinstance(port, int):
        return port
    if str(port).isdigit():
        return int(port)
    named = [p["containerPort"] for p in container.get("ports") or [] if p.get("name") == port]
    return int(named[0]) if named else 0


def _gate(seid: Json, listeners: Listeners) -> Iterator[str]:
    for argument in [*(seid.get("command") or []), *(seid.get("args") or [])]:
        ports = [int(port) for port in GATE.findall(argument)]
        paths = ASKS.findall(argument) or ["/v0/healthz"]
        for port in ports:
            if not listeners.answers(port, paths[0], loopback=True):
                yield f"seid's start gate asks for {paths[0]} on port {port}, where {_served(listeners)}"


def _served(listeners: Listeners) -> str:
    if listeners.split:
        return f"a split sidecar does not answer it (health is on {listeners.public})"
    return f"a shared sidecar does not answer it (loopback {listeners.own}, or {listeners.proxy} for ignored paths)"
