"""Asks the gates of a fleet: by port-forward where they name a Service or a pod, directly where they name a url."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node import observation
from seimigrate.domain.plan import gates
from seimigrate.domain.plan.gates import AutomatedGate, Gate, GateResult, GateTarget, ManualGate, PrometheusGate
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.ports import Cluster, HttpClient, Response

MAX_TIMEOUT = 10.0
"""Seconds for one question."""


class NoEndpoint(Exception):  # noqa: N818 - reads as what it says
    """Nobody could be asked: there is no such Service, or no ready pod behind it."""


class GateClient:
    """Asks gates, once each time; whether an answer counts already is for ``gates.settled`` to say."""

    def __init__(self, cluster: Cluster, http_client: HttpClient) -> None:
        self._cluster = cluster
        self._web = http_client

    def query(self, gate: AutomatedGate) -> GateResult:
        """Ask a gate once; no answer is inconclusive. May take some seconds."""
        try:
            response = self._send(gate.target, _path(gate))
        except (SeimigrateError, NoEndpoint) as error:
            return gates.no_response(gate, str(error))
        return gates.evaluate(gate, response.status, response.body)

    def _send(self, at: GateTarget, path: str) -> Response:
        if at.url is not None:
            return self._web.get(at.url.rstrip("/") + path, token=at.token, timeout=MAX_TIMEOUT)
        assert at.port is not None
        namespace, _, name = (at.service or at.pod or "").partition("/")
        pod, port = self._endpoint(namespace, name, at.port) if at.service else (name, at.port)
        return self._web.get_from_pod(namespace, pod, port, path, token=at.token, timeout=MAX_TIMEOUT)

    def _endpoint(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """Find a ready pod behind a Service, and its own port; raises ``Unresolved``."""
        service = self._cluster.get(Kind.SERVICE, namespace, name)
        if service is None:
            raise NoEndpoint("there is no such Service")
        selector = service["spec"].get("selector")
        if not selector:
            raise NoEndpoint("the Service selects no pods")
        entry = next((e for e in service["spec"].get("ports", []) if e["port"] == port), None)
        if entry is None:
            raise NoEndpoint(f"the Service has no port {port}")
        labels = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        pods = [pod for pod in self._cluster.list(Kind.POD, namespace, labels) if observation.is_ready(pod)]
        if not pods:
            raise NoEndpoint("no pod behind the Service is ready")
        pod = min(pods, key=lambda pod: str(pod["metadata"]["name"]))
        return pod["metadata"]["name"], _target(pod, entry)


def _path(gate: AutomatedGate) -> str:
    return f"{gate.path}?{urlencode({'query': gate.query})}" if isinstance(gate, PrometheusGate) else gate.path


def _target(pod: Object, entry: Object) -> int:
    """Give the pod's port that a Service's port means; raises ``Unresolved`` for a name that the pod lacks."""
    target = entry.get("targetPort", entry["port"])
    if isinstance(target, int):
        return target
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    found = next((port["containerPort"] for port in ports if port.get("name") == target), None)
    if found is None:
        raise NoEndpoint(f'pod {pod["metadata"]["name"]} has no port named "{target}"')
    return int(found)


def namespaces(listed: Iterable[Gate]) -> Sequence[str]:
    """Give the namespaces in which gates are asked by port-forward, where rights are needed."""
    named = [gate.target.service or gate.target.pod for gate in listed if not isinstance(gate, ManualGate)]
    return sorted({key.partition("/")[0] for key in named if key})


def check_tokens(listed: Iterable[Gate], http_client: HttpClient) -> None:
    """Read the token of each gate once before anything begins; raises ``SeimigrateError`` if one cannot be read."""
    for gate in listed:
        if not isinstance(gate, ManualGate) and gate.target.token is not None:
            http_client.check_token(gate.target.token)
