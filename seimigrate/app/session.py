"""The ports of a command to one cluster; the demo and tests pass a session on a simulated cluster instead."""

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
"""Is called with the holder of the lock, and with the seconds for which its renewals will be watched."""


class Session(Protocol):
    """One cluster: every port that a run needs, each created on demand."""

    @property
    def cluster(self) -> Cluster:
        """Return the Kubernetes API."""

    @property
    def clock(self) -> Clock:
        """Return the clock."""

    @property
    def server(self) -> str:
        """Return the cluster's address, to show to operators."""

    @property
    def namespace(self) -> str:
        """Return the namespace of a command without ``-n``."""

    def require_rights(self, needs: RequiredPermissions) -> None:
        """Raise ``Forbidden`` naming every permission that a run lacks."""

    def pods(self, service_account: tuple[str, str], *, required: bool) -> PodClient:
        """Return the pod client with a ServiceAccount's token; raise an error if it is required but missing."""

    def http_client(self) -> HttpClient:
        """Return the client that queries gates."""

    def require_guard_rights(self, namespaces: Sequence[str], account: tuple[str, str]) -> None:
        """Raise ``Forbidden`` naming every permission that a guard lacks."""

    def lock(
        self, holder: str, seconds: float, on_wait: OnWait, *, name: str = LEASE_NAME
    ) -> AbstractContextManager[Lock]:
        """Hold a lock of the cluster, by its Lease; raise ``LockHeld`` if a live process holds it."""

    def cache(self, namespaces: Sequence[str], *, guards: bool = False) -> AbstractContextManager[ObjectCache]:
        """Watch the objects that a run reads: those of nodes in ``namespaces`` (``""``: all), others everywhere.

        With ``guards``, watch only the objects that a guard reads.
        """

    def executor(self) -> AbstractContextManager[Executor]:
        """Return the executor of a run's steps; leaving the context waits for the steps in progress."""


OpenSession = Callable[[ConnectionOptions], Session]


def connect_session(chosen: ConnectionOptions) -> Session:
    """Connect to a real cluster; this imports the kubernetes client, which other commands do not need."""
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
        """Review the permissions of a run, before any read or write."""
        permissions.require(self.cluster, needs)

    def http_client(self) -> HttpClient:
        """Return the client that queries gates."""
        from seimigrate.adapters.gate_http import GateHttpClient

        return GateHttpClient(self._connection)

    def pods(self, service_account: tuple[str, str], *, required: bool) -> PodClient:
        """Return a client that uses port-forward; a required token is requested immediately, before any write."""
        from seimigrate.adapters.pods import ForwardedPodClient, TokenSource

        tokens = TokenSource(self.cluster, *service_account)
        try:
            if required:
                tokens()
        except NotFound as error:
            namespace, name = service_account
            raise NotFound(
                f"ServiceAccount {namespace}/{name} does not exist; its token is sent to sidecars",
                hint=f"kubectl -n {namespace} create serviceaccount {name}, or name one: --service-account NS/NAME",
            ) from error
        return ForwardedPodClient(self._connection, tokens)

    def require_guard_rights(self, namespaces: Sequence[str], account: tuple[str, str]) -> None:
        """Review the permissions of a guard, before any read or write."""
        permissions.require_guard(self.cluster, namespaces, account)

    @contextmanager
    def lock(self, holder: str, seconds: float, on_wait: OnWait, *, name: str = LEASE_NAME) -> Iterator[Lock]:
        """Hold the Lease; release it however the block ends, unless another process has taken it."""
        from seimigrate.adapters.api import ApiCluster
        from seimigrate.adapters.lease import LeaseLock

        # Its own connections and short timeouts: a renewal must never wait for other requests.
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
        """Watch; the controller and the policies everywhere, control requests in seimigrate's own namespace."""
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
        """Return a thread pool."""
        return executor.thread_pool()


def cluster_id(cluster: Cluster) -> str:
    """Return the uid of namespace kube-system, which identifies the cluster; raise ``SeimigrateError`` if absent."""
    found = cluster.get(Kind.NAMESPACE, "", "kube-system")
    if found is None:
        raise SeimigrateError("namespace kube-system does not exist", hint="is this a Kubernetes cluster?")
    return str(found["metadata"]["uid"])
