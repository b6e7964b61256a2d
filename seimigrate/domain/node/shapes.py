"""How a pod template, or a running pod, is wired: who asks which port for health, and who answers there.

From that follow the shape (shared, exposed, moved, enforced) and whether a pod made of it could start at all.
Templates and running pods carry the same pod spec, so one reading serves both.
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
"""Where a split sidecar listens when the variable is not set (the contract that the cutover is about)."""
DEFAULT_SIDECAR_PORT = 7777
IGNORE_PATHS = "--ignore-paths"
_GATE = re.compile(r"/dev/tcp/localhost/(\d+)")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


class Shape(StrEnum):
    """How far a template or a pod is in the cutover."""

    SHARED = "shared"
    EXPOSED = "exposed"
    MOVED = "moved"
    ENFORCED = "enforced"


class NotASeiNodePod(Exception):  # noqa: N818 - reads as what it says
    """This is no pod of a SeiNode: a container is missing, or something that cannot be read."""


@dataclass(frozen=True, slots=True)
class HealthProbe:
    """A probe of a health path."""

    container: str
    probe: str
    port: int | None
    path: str


@dataclass(frozen=True, slots=True)
class ListenerLayout:
    """Who asks where for health, and which generation of the sidecar answers."""

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
        """Tell whether the public port is declared and the sidecar told of it."""
        return self.declares_public and self.public_port == self.plan_port

    @property
    def moved(self) -> bool:
        """Tell whether everything that asks for health asks the public port; the image is another question."""
        asks = {probe.port for probe in self.probes} | ({self.start_gate} - {None})
        return asks <= {self.plan_port}

    @property
    def enforced(self) -> bool:
        """Tell whether the proxy lets nobody past without authentication."""
        return not self.ignored

    @property
    def shape(self) -> Shape:
        """Give the furthest shape that is reached without a gap."""
        if not self.exposed:
            return Shape.SHARED
        if not self.moved:
            return Shape.EXPOSED
        return Shape.ENFORCED if self.enforced else Shape.MOVED

    def start_blockers(self) -> list[str]:
        """Say what would keep a pod of this wiring from ever getting ready; empty if nothing would.

        A shared sidecar answers for health on its own port inside the pod, and through the proxy on ignored paths
        alone; a split one on its public port alone (upstream facts; the contract of the split).
        """
        return [
            f"{probe.container}'s {probe.probe} asks port {probe.port} for {probe.path}, where nobody answers"
            for probe in self.probes
            if not self._answers(probe)
        ] + (
            [f"seid's start gate asks port {self.start_gate}, where nobody answers for health"]
            if self.start_gate not in (None, self.public_port if self.splits else self.sidecar_port)
            else []
        )

    def _answers(self, probe: HealthProbe) -> bool:
        if self.splits:
            return probe.port == self.public_port
        return probe.port == self.proxy_port and probe.path in self.ignored


def read(spec: Object, parameters: Parameters) -> ListenerLayout:
    """Read the wiring of a pod spec; raises ``NotWired`` naming what is missing."""
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
    """Give the shape of a pod spec, ``None`` where there is none or it is no node's."""
    if spec is None:
        return None
    try:
        return read(spec, parameters).shape
    except NotASeiNodePod:
        return None


def containers(spec: Object) -> Iterator[Object]:
    """Give a pod's init containers (sidecars are among them) and containers, in their order."""
    yield from spec.get("initContainers", [])
    yield from spec.get("containers", [])


def container(spec: Object, name: str) -> Object:
    """Give the container of that name; raises ``NotWired`` if there is none."""
    for candidate in containers(spec):
        if candidate["name"] == name:
            return candidate
    raise NotASeiNodePod(f"there is no container {name}")


def sidecar_port(spec: Object, parameters: Parameters) -> int:
    """Give the port that the sidecar of a pod spec serves tasks on; raises ``NotWired`` if it is not to be found."""
    sidecar = container(spec, parameters.containers.sidecar)
    return _port_variable(sidecar, SIDECAR_PORT_VARIABLE, DEFAULT_SIDECAR_PORT)


def has_variable(of: Object, name: str) -> bool:
    """Tell whether a container's environment names a variable."""
    return any(entry["name"] == name for entry in of.get("env", []))


def probe_port(of: Object, probe: Object) -> int | None:
    """Give the number of the port that an HTTP probe asks, through the container's own port names if need be."""
    port: int | str = probe["httpGet"]["port"]
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    return next((p["containerPort"] for p in of.get("ports", []) if p.get("name") == port), None)


def gate_ports(argument: str) -> list[int]:
    """Give the ports that a start gate in an argument polls."""
    return [int(port) for port in _GATE.findall(argument)]


def _port_variable(of: Object, name: str, default: int) -> int:
    entry = next((entry for entry in of.get("env", []) if entry["name"] == name), None)
    if entry is None:
        return default
    value = entry.get("value", "")
    if not str(value).isdigit():
        raise NotASeiNodePod(f"{name} of container {of['name']} is not a plain number")
    return int(value)


def _ignored(proxy: Object) -> frozenset[str]:
    """Read --ignore-paths in both of its spellings: ``--ignore-paths=a,b`` and ``--ignore-paths a,b``."""
    arguments = proxy.get("args", [])
    found: list[str] = []
    for index, argument in enumerate(arguments):
        if argument.startswith(f"{IGNORE_PATHS}="):
            found.append(argument.partition("=")[2])
        elif argument == IGNORE_PATHS and index + 1 < len(arguments):
            found.append(arguments[index + 1])
    return frozenset(path for value in found for path in value.split(",") if path)


def _health_probes(spec: Object, parameters: Parameters) -> Iterator[HealthProbe]:
    for each in containers(spec):
        for name in PROBES:
            probe: dict[str, Any] = each.get(name) or {}
            path = probe.get("httpGet", {}).get("path")
            if path in parameters.health_paths:
                yield HealthProbe(each["name"], name, probe_port(each, probe), path)


def _start_gate(seid: Object) -> int | None:
    ports = {port for argument in seid.get("args", []) for port in gate_ports(argument)}
    if len(ports) > 1:
        raise NotASeiNodePod(f"seid's start gate polls several ports: {sorted(ports)}")
    return ports.pop() if ports else None
