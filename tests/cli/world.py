"""The command line on a simulated world: one call of the program, with what it printed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from seimigrate.app.options import ConnectionOptions
from seimigrate.cli.main import main
from seimigrate.domain.kube.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.errors import ApiError, Forbidden, LockHeld
from seimigrate.engine.executor import InlineExecutor
from seimigrate.engine.permissions import RequiredPermissions
from seimigrate.engine.ports import Clock, Cluster, HttpClient, Lock, ObjectCache, PodClient
from seimigrate.simulation.locks import FakeLock
from seimigrate.simulation.prometheus import SimulatedPrometheus
from seimigrate.simulation.world import SPLIT_IMAGE, World

SEI = "sei"
DIGEST = SPLIT_IMAGE.partition("@")[2]
SPLIT = ("--set", f"sidecars.supported=[{{digest: '{DIGEST}'}}]", "--set", f"sidecars.image={SPLIT_IMAGE}")
GO = (*SPLIT, "--accept-policy-violations")


@dataclass
class WorldSession:
    """A session on a world; ``other`` is somebody else who holds the lock, ``lacks`` a right.

    ``no_lock`` is the error that who asks for the lock gets.
    """

    world: World
    namespace: str = SEI
    server: str = "https://simulated"
    other: str = ""
    lacks: str = ""
    no_lock: ApiError | None = None
    opened: list[str] = field(default_factory=list)
    on_view: Callable[[], None] | None = None
    prometheus: HttpClient | None = None

    @property
    def asked(self) -> str:
        """What rights were asked for."""
        return next(each for each in self.opened if each.startswith("rights "))

    @property
    def cluster(self) -> Cluster:
        return self.world.cluster

    @property
    def clock(self) -> Clock:
        return self.world.clock

    def http_client(self) -> HttpClient:
        return self.prometheus or SimulatedPrometheus(self.world)

    def require_rights(self, needs: RequiredPermissions) -> None:
        self.opened.append(f"rights {needs}")
        if self.lacks:
            raise Forbidden(f"you may not {self.lacks}", hint="ask for it")

    def require_guard_rights(self, namespaces: Sequence[str], account: tuple[str, str]) -> None:
        self.opened.append(f"guard rights {','.join(namespaces)}")

    def pods(self, service_account: tuple[str, str], *, required: bool) -> PodClient:
        self.opened.append(f"pods {'/'.join(service_account)} {required}")
        return self.world.pods

    @contextmanager
    def lock(
        self, holder: str, seconds: float, on_wait: Callable[[str, float], None], *, name: str = LEASE_NAME
    ) -> Iterator[Lock]:
        self.opened.append("lock" if name == LEASE_NAME else name)
        if name != LEASE_NAME:
            yield FakeLock()
            return
        if self.no_lock is not None:
            raise self.no_lock
        if self.other:
            on_wait(self.other, seconds)
            raise LockHeld(f"{self.other} holds the lock", hint="seimigrate unlock")
        self.world.add_namespace(SYSTEM_NAMESPACE)
        self.world.lock = self.world.lock.take_over()
        yield self.world.lock
        self.opened.append("released")

    @contextmanager
    def cache(self, namespaces: Sequence[str], *, guards: bool = False) -> Iterator[ObjectCache]:
        self.opened.append(f"view {','.join(namespaces)}")
        if self.on_view is not None:
            self.on_view()
        yield self.world.cache

    def executor(self) -> Executor:
        """Do the steps one after the other."""
        return InlineExecutor()


class Terminal(io.StringIO):
    """A stdin on which a person has typed something."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Said:
    """What a call printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What was printed; of a stream of events the last one."""
        text = self.out if self.out.startswith("{\n") else self.out.splitlines()[-1]
        return json.loads(text)

    @property
    def events(self) -> list[Any]:
        """The stream of events."""
        return [json.loads(line) for line in self.out.splitlines()]


def say(session: WorldSession, *words: str, typed: str | None = None) -> Said:
    """Call the program; ``typed`` is what a person answers, without it there is no terminal."""
    out, err = io.StringIO(), io.StringIO()
    stdin = io.StringIO() if typed is None else Terminal(typed)

    def open_session(chosen: ConnectionOptions) -> WorldSession:
        session.opened.append(f"connect {chosen.context}")
        return session

    with redirect_stdout(out), redirect_stderr(err), patch("sys.stdin", stdin):
        code = main(words, open_session)
    return Said(code, out.getvalue(), err.getvalue())


def hold_lock(
    world: World, holder: str = "ann@there:1", token: str = "r9-aaaaaa", age: float = 0.0, seconds: int = 15
) -> Object:
    """Put a Lease there as a run leaves it that renewed it ``age`` seconds ago."""
    renewed = datetime.fromtimestamp(world.clock.now() - age, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    annotations = {"seimigrate.sei.io/run": token}
    world.add_namespace(SYSTEM_NAMESPACE)
    lease = {
        "metadata": {"namespace": SYSTEM_NAMESPACE, "name": LEASE_NAME, "annotations": annotations},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": renewed},
    }
    return world.cluster.put(Kind.LEASE, lease)
