"""The listener layout of a pod template or a running pod: which probes use which port, and what listens there.

The layout determines the shape (shared, exposed, moved, enforced) and whether a pod of this spec could become Ready.
Templates and running pods have the same pod spec, so one parser serves both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.plan import images
from seimigrate.domain.plan.plan import Parameters

PUBLIC_PORT_VARIABLE = "SEI_SIDECAR_PUBLIC_PORT"
SIDECAR_PORT_VARIABLE = "SEI_SIDECAR_PORT"
DEFAULT_PUBLIC_PORT = 9100
"""The public port of a split sidecar if the variable is not set (the contract of the split)."""
DEFAULT_SIDECAR_PORT = 7777
IGNORE_PATHS = "--ignore-paths"
_GATE = re.compile(r"/dev/tcp/localhost/(\d+)")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


class Shape(StrEnum):
    """The progress of a template or a pod in the cutover."""

    SHARED = "shared"
    EXPOSED = "exposed"
    MOVED = "moved"
    ENFORCED = "enforced"


class NotASeiNodePod(Exception):  # noqa: N818 - the name states the condition
    """The pod spec is not that of a SeiNode: a container is missing, or a value is unreadable."""


@dataclass(frozen=True, slots=True)
class HealthProbe:
    """A probe of a health path."""

    container: str
    probe: str
    port: int | None
    path: str


@dataclass(frozen=True, slots=True)
class ListenerLayout:
    """The ports of the health probes and of the start gate, and the sidecar generation that serves them."""

    image: str
    splits: bool
    sidecar_port: int
    public_port: int
    declares_public: bool
    ignored: frozenset[str]
    probes: tuple[HealthProbe, ...]
    start_gate: int | None
    plan_port: int
    proxy_port: int

    @property
    def exposed(self) -> bool:
        """Return whether the public port is declared and set in the sidecar's environment."""
        return self.declares_public and self.public_port == self.plan_port

    @property
    def moved(self) -> bool:
        """Return whether all health probes and the start gate use the public port, regardless of the image."""
        ports = {probe.port for probe in self.probes} | ({self.start_gate} - {None})
        return ports <= {self.plan_port}

    @property
    def enforced(self) -> bool:
        """Return whether the proxy requires authentication for every path."""
        return not self.ignored

    @property
    def shape(self) -> Shape:
        """Return the furthest shape whose preceding shapes are all reached."""
        if not self.exposed:
            return Shape.SHARED
        if not self.moved:
            return Shape.EXPOSED
        return Shape.ENFORCED if self.enforced else Shape.MOVED

    def start_blockers(self) -> list[str]:
        """Return why a pod with this layout could never become Ready; empty if it could.

        A shared sidecar serves health on its own port inside the pod, and through the proxy on ignored paths only. A
        split sidecar serves health on its public port only (upstream facts; the contract of the split).
        """
        return [
            f"{probe.probe} of container {probe.container} queries port {probe.port}, which does not serve {probe.path}"
            for probe in self.probes
            if not self._serves(probe)
        ] + (
            [f"seid's start gate queries port {self.start_gate}, which does not serve health"]
            if self.start_gate not in (None, self.public_port if self.splits else self.sidecar_port)
            else []
        )

    def _serves(self, probe: HealthProbe) -> bool:
        if self.splits:
            return probe.port == self.public_port
        return probe.port == self.proxy_port and probe.path in self.ignored


def read(spec: Object, parameters: Parameters) -> ListenerLayout:
    """Parse the listener layout of a pod spec; raises ``NotASeiNodePod`` with what is missing."""
    names = parameters.containers
    sidecar, proxy, seid = (container(spec, name) for name in (names.sidecar, names.proxy, names.seid))
    return ListenerLayout(
        image=sidecar["image"],
        splits=images.accepted(sidecar["image"], parameters.sidecars.supported),
        sidecar_port=sidecar_port(spec, parameters),
        public_port=_port_variable(sidecar, PUBLIC_PORT_VARIABLE, DEFAULT_PUBLIC_PORT),
        declares_public=has_variable(sidecar, PUBLIC_PORT_VARIABLE)
        and any(port.get("containerPort") == parameters.ports.public for port in sidecar.get("ports", [])),
        ignored=_ignored(proxy),
        probes=tuple(_health_probes(spec, parameters)),
        start_gate=_start_gate(seid),
        plan_port=parameters.ports.public,
        proxy_port=parameters.ports.proxy,
    )


def shape_of(spec: Object | None, parameters: Parameters) -> Shape | None:
    """Return the shape of a pod spec, ``None`` if it is absent or not that of a SeiNode."""
    if spec is None:
        return None
    try:
        return read(spec, parameters).shape
    except NotASeiNodePod:
        return None


def containers(spec: Object) -> Iterator[Object]:
    """Yield a pod's init containers (including sidecars) and containers, in order."""
    yield from spec.get("initContainers", [])
    yield from spec.get("containers", [])


def container(spec: Object, name: str) -> Object:
    """Return the container of that name; raises ``NotASeiNodePod`` if it does not exist."""
    for candidate in containers(spec):
        if candidate["name"] == name:
            return candidate
    raise NotASeiNodePod(f"container {name} does not exist")


def sidecar_port(spec: Object, parameters: Parameters) -> int:
    """Return the port on which the sidecar serves tasks; raises ``NotASeiNodePod`` if it is unreadable."""
    sidecar = container(spec, parameters.containers.sidecar)
    return _port_variable(sidecar, SIDECAR_PORT_VARIABLE, DEFAULT_SIDECAR_PORT)


def has_variable(container: Object, name: str) -> bool:
    """Return whether a container's environment has a variable."""
    return any(entry["name"] == name for entry in container.get("env", []))


def probe_port(container: Object, probe: Object) -> int | None:
    """Return the port number of an HTTP probe, resolving a named port of the container."""
    port: int | str = probe["httpGet"]["port"]
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    return next((p["containerPort"] for p in container.get("ports", []) if p.get("name") == port), None)


def gate_ports(argument: str) -> list[int]:
    """Return the ports that a start gate in an argument polls."""
    return [int(port) for port in _GATE.findall(argument)]


def _port_variable(container: Object, name: str, default: int) -> int:
    entry = next((entry for entry in container.get("env", []) if entry["name"] == name), None)
    if entry is None:
        return default
    value = entry.get("value", "")
    if not str(value).isdigit():
        raise NotASeiNodePod(f"{name} of container {container['name']} is not a plain number")
    return int(value)


def _ignored(proxy: Object) -> frozenset[str]:
    """Parse --ignore-paths in both spellings: ``--ignore-paths=a,b`` and ``--ignore-paths a,b``."""
    arguments = proxy.get("args", [])
    values: list[str] = []
    for index, argument in enumerate(arguments):
        if argument.startswith(f"{IGNORE_PATHS}="):
            values.append(argument.partition("=")[2])
        elif argument == IGNORE_PATHS and index + 1 < len(arguments):
            values.append(arguments[index + 1])
    return frozenset(path for value in values for path in value.split(",") if path)


def _health_probes(spec: Object, parameters: Parameters) -> Iterator[HealthProbe]:
    for owner in containers(spec):
        for name in PROBES:
            probe: dict[str, Any] = owner.get(name) or {}
            path = probe.get("httpGet", {}).get("path")
            if path in parameters.health_paths:
                yield HealthProbe(owner["name"], name, probe_port(owner, probe), path)


def _start_gate(seid: Object) -> int | None:
    ports = {port for argument in seid.get("args", []) for port in gate_ports(argument)}
    if len(ports) > 1:
        raise NotASeiNodePod(f"seid's start gate polls several ports: {sorted(ports)}")
    return ports.pop() if ports else None
