"""The containers of a simulated pod: what they are, what became of them, and what a test may break."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from seimigrate.domain.kube.kinds import Object


@dataclass(slots=True)
class Faults:
    """What a test may break or slow down on one node; times in seconds."""

    sidecar_crashes: bool = False
    stays_unready: bool = False
    missing_routes: frozenset[str] = frozenset()
    unschedulable: bool = False
    unreachable: bool = False
    stop_seconds: float = 5.0
    lag_seconds: float = 0.0
    halted: bool = False
    signs: bool = True


@dataclass(slots=True)
class Settings:
    """How long things take on every node, in seconds, and which images there are."""

    splits: Callable[[str], bool]
    start_seconds: float = 1.0
    init_seconds: float = 1.0
    boot_seconds: float = 1.0
    gate_seconds: float = 5.0
    time_scale: float = 1.0
    broken_images: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Probe:
    """One probe of a container, and how it went so far."""

    name: str
    spec: Object
    next_at: float
    failures: int = 0
    answer: int | None = -1


@dataclass(slots=True)
class Container:
    """One container and what became of it."""

    spec: Object
    init: bool
    state: str = "waiting"
    reason: str = "PodInitializing"
    due: float = math.inf
    started_at: float = 0.0
    started: bool = False
    ready: bool = False
    restarts: int = 0
    marked_ready: bool = False
    serving_at: float = math.inf
    gate_at: float = math.inf
    probes: list[Probe] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Give the container's name."""
        return str(self.spec["name"])

    @property
    def sidecar(self) -> bool:
        """Tell whether it is an init container that goes on running."""
        return self.init and self.spec.get("restartPolicy") == "Always"

    @property
    def running(self) -> bool:
        """Tell whether its process runs."""
        return self.state == "running"


def script(entry: Container) -> str:
    """Give all arguments of a container as one text."""
    return " ".join(entry.spec.get("args", ()))


def flag(entry: Container, prefix: str) -> str:
    """Give what follows a prefix in one of the arguments, or an empty string."""
    return next((arg[len(prefix) :] for arg in entry.spec.get("args", ()) if arg.startswith(prefix)), "")


def listen_port(proxy: Container) -> int:
    """Give the port that a kube-rbac-proxy listens on, 0 if it does not say."""
    address = flag(proxy, "--insecure-listen-address=")
    return int(address.rpartition(":")[2]) if address else 0


def ignored(proxy: Container) -> list[str]:
    """Give the paths that a kube-rbac-proxy lets through without asking."""
    return flag(proxy, "--ignore-paths=").split(",")


def port_number(entry: Container, port: int | str) -> int:
    """Give the number of a port that a probe names or numbers."""
    if isinstance(port, int):
        return port
    return next((item["containerPort"] for item in entry.spec.get("ports", ()) if item.get("name") == port), 0)
