"""What a command touches the world with: a real cluster here, a simulated one wherever somebody hands one over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from seimigrate.app.kube_context import context_namespace
from seimigrate.app.options import ConnectionOptions
from seimigrate.domain.kube.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind
from seimigrate.engine import executor, guard, hold, node_observer, permissions
from seimigrate.engine.errors import LockHeld, NotFound, SeimigrateError
from seimigrate.engine.permissions import RequiredPermissions
from seimigrate.engine.ports import Clock, Cluster, HttpClient, Lock, ObjectCache, PodClient

OnWait = Callable[[str, float], None]
"""Is told of a holder of the lock, and for how many seconds it will be watched for signs of life."""


class Session(Protocol):
    """One cluster: every port that a run needs, each made when it is asked for."""

    @property
    def cluster(self) -> Cluster:
        """Give the Kubernetes API."""

    @property
    def clock(self) -> Clock:
        """Give the time of day."""

    @property
    def server(self) -> str:
        """Give what to call this cluster before people."""

    @property
    def namespace(self) -> str:
        """Give the namespace that a command means which names none."""

    def require_rights(self, needs: RequiredPermissions) -> None:
        """Raise ``Forbidden`` naming every right that a run would lack."""

    def pods(self, service_account: tuple[str, str], *, required: bool) -> PodClient:
        """Give calls to pods with a ServiceAccount's token; raises an error if it is required and there is none."""

    def http_client(self) -> HttpClient:
        """Give what gates are asked with."""

    def require_guard_rights(self, namespaces: Sequence[str], account: tuple[str, str]) -> None:
        """Raise ``Forbidden`` naming every right that a guard would lack."""

    def lock(
        self, holder: str, seconds: float, on_wait: OnWait, *, name: str = LEASE_NAME
    ) -> AbstractContextManager[Lock]:
        """Hold a lock of the cluster, by its Lease; raises ``LockedByAnother`` if somebody alive has it."""

    def cache(self, namespaces: Sequence[str], *, guards: bool = False) -> AbstractContextManager[ObjectCache]:
        """Watch everything that a run looks at: what nodes have in some namespaces (``""``: all), the rest anywhere.

        With ``guards`` it is the little that a guard looks at.
        """

    def executor(self) -> AbstractContextManager[Executor]:
        """Give who does the steps of a run's nodes; leaving it waits for the steps that are being done."""


OpenSession = Callable[[ConnectionOptions], Session]


def connect_session(chosen: ConnectionOptions) -> Session:
    """Connect to a real cluster; only from here on is the kubernetes client imported."""
    return ClusterSession(chosen)


class ClusterSession:
    """A real cluster."""

    def __init__(self, chosen: ConnectionOptions) -> None:
        from seimigrate.adapters.api import ApiCluster
        from seimigrate.adapters.clock import SystemClock
        from seimigrate.adapters.connection import connect

        self._connection = connect(chosen.context, chosen.kubeconfig)
        self.cluster = ApiCluster(self._connection)
        self.clock = SystemClock()
        self.server = self._connection.host
        self.namespace = context_namespace(chosen.context, chosen.kubeconfig)

    def require_rights(self, needs: RequiredPermissions) -> None:
        """Ask the API server what we may do, before anything is read or done."""
        permissions.require(self.cluster, needs)

    def http_client(self) -> HttpClient:
        """Give what gates are asked with."""
        from seimigrate.adapters.gate_http import GateHttpClient

        return GateHttpClient(self._connection)

    def pods(self, service_account: tuple[str, str], *, required: bool) -> PodClient:
        """Give calls to pods by port-forward; a token that is required is got at once, before anything is changed."""
        from seimigrate.adapters.pods import ForwardedPodClient, TokenSource

        tokens = TokenSource(self.cluster, *service_account)
        try:
            if required:
                tokens()
        except NotFound as error:
            namespace, name = service_account
            raise NotFound(
                f"ServiceAccount {namespace}/{name} is not there, with whose token the sidecars are called",
                hint=f"kubectl -n {namespace} create serviceaccount {name}, or name one: --service-account NS/NAME",
            ) from error
        return ForwardedPodClient(self._connection, tokens)

    def require_guard_rights(self, namespaces: Sequence[str], account: tuple[str, str]) -> None:
        """Ask the API server what a guard may do, before anything is read or done."""
        permissions.require_guard(self.cluster, namespaces, account)

    @contextmanager
    def lock(self, holder: str, seconds: float, on_wait: OnWait, *, name: str = LEASE_NAME) -> Iterator[Lock]:
        """Hold the Lease; it is let go however it ends, but when it has become somebody else's."""
        from seimigrate.adapters.api import ApiCluster
        from seimigrate.adapters.lease import LeaseLock

        # Its own sockets and short requests: a renewal must never stand behind anything.
        cluster = ApiCluster(self._connection.with_own_pool(2), timeout=seconds / 3)
        lock = LeaseLock(cluster, self.clock, holder, seconds, name=name).acquire(on_wait)
        try:
            yield lock
        except LockHeld:
            raise
        except BaseException:
            lock.release()
            raise
        else:
            lock.release()

    @contextmanager
    def cache(self, namespaces: Sequence[str], *, guards: bool = False) -> Iterator[ObjectCache]:
        """Watch; the controller and the policies anywhere, and the wishes of people in the system's namespace."""
        from seimigrate.adapters.watch import InformerCache

        where = () if "" in namespaces else namespaces
        if guards:
            cache = InformerCache(self._connection, guard.WATCHED, where, optional=node_observer.OPTIONAL)
        else:
            elsewhere = {**dict.fromkeys(hold.WATCHED, ""), Kind.CONFIG_MAP: SYSTEM_NAMESPACE}
            kinds, optional = node_observer.WATCHED, node_observer.OPTIONAL
            cache = InformerCache(self._connection, kinds, where, optional=optional, elsewhere=elsewhere)
        cache.start()
        try:
            yield cache
        finally:
            cache.stop()

    def executor(self) -> AbstractContextManager[Executor]:
        """Give a few threads."""
        return executor.thread_pool()


def cluster_id(cluster: Cluster) -> str:
    """Give the uid of namespace kube-system, which tells a cluster from every other; raises ``SeimigrateError``."""
    found = cluster.get(Kind.NAMESPACE, "", "kube-system")
    if found is None:
        raise SeimigrateError("namespace kube-system is not there", hint="is this a Kubernetes cluster?")
    return str(found["metadata"]["uid"])
