"""Gates query the target that they name; without a response they are inconclusive."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.plan.gates import Gate, GateTarget, HttpGate, ManualGate, PrometheusGate, Token, Verdict
from seimigrate.engine import gate_client
from seimigrate.engine.errors import Unreachable
from seimigrate.engine.gate_client import GateClient
from seimigrate.engine.ports import Response
from seimigrate.simulation.world import World

NAMESPACE = "monitoring"


class FakeHttpClient:
    """An HTTP client that records its requests and returns the response of one function."""

    def __init__(self, respond: Callable[[], Response]) -> None:
        self.respond = respond
        self.requests: list[tuple[Any, ...]] = []

    def get(self, url: str, *, token: Token | None, timeout: float) -> Response:
        self.requests.append((url, token))
        return self.respond()

    def get_from_pod(
        self, namespace: str, pod: str, port: int, path: str, *, token: Token | None, timeout: float
    ) -> Response:
        self.requests.append((namespace, pod, port, path, token))
        return self.respond()

    def check_token(self, token: Token) -> None:
        self.requests.append((token,))


@pytest.fixture
def world() -> World:
    world = World()
    world.add_namespace(NAMESPACE)
    meta = {"namespace": NAMESPACE, "name": "prometheus"}
    ports = [{"port": 80, "targetPort": "client"}, {"port": 9091}]
    world.cluster.put(Kind.SERVICE, {"metadata": meta, "spec": {"selector": {"app": "prometheus"}, "ports": ports}})
    return world


def add_pod(world: World, name: str, *, ready: bool = True, **labels: str) -> None:
    world.cluster.put(
        Kind.POD,
        {
            "metadata": {"namespace": NAMESPACE, "name": name, "labels": labels or {"app": "prometheus"}},
            "spec": {"containers": [{"name": "main", "ports": [{"name": "client", "containerPort": 9090}]}]},
            "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
        },
    )


def gate(target: GateTarget) -> PrometheusGate:
    return PrometheusGate(gate="prometheus", name="up", target=target, query='up{a="b c"}', condition="all == 1")


def up() -> Response:
    result = [{"metric": {}, "value": [1, "1"]}]
    return Response(200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}))


SERVICE_TARGET = GateTarget(service=f"{NAMESPACE}/prometheus", port=80)


def test_service_gate_queries_a_ready_pod_at_its_target_port(world: World) -> None:
    add_pod(world, "a", ready=False)
    add_pod(world, "b")
    add_pod(world, "c", app="another")
    client = FakeHttpClient(up)
    result = GateClient(world.cluster, client).query(gate(SERVICE_TARGET))
    assert (result.verdict, result.reason) == (Verdict.PASS, "1 of 1 samples == 1")
    assert client.requests == [(NAMESPACE, "b", 9090, "/api/v1/query?query=up%7Ba%3D%22b+c%22%7D", None)]


def test_pod_and_url_gates_query_the_named_target(world: World) -> None:
    client = FakeHttpClient(lambda: Response(200, ""))
    token = Token(env="TOKEN")
    gates = GateClient(world.cluster, client)
    for target in (
        GateTarget(pod="monitoring/x", port=81, token=token),
        GateTarget(url="https://x/prefix/", token=token),
    ):
        assert gates.query(HttpGate(gate="http", name="smoke", target=target, path="/a")).verdict is Verdict.PASS
    assert client.requests == [(NAMESPACE, "x", 81, "/a", token), ("https://x/prefix/a", token)]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (SERVICE_TARGET, "no pod behind the Service is ready"),
        (GateTarget(service=f"{NAMESPACE}/prometheus", port=81), "the Service has no port 81"),
        (GateTarget(service=f"{NAMESPACE}/absent", port=80), "there is no such Service"),
    ],
)
def test_gate_without_an_endpoint_is_inconclusive(world: World, target: GateTarget, reason: str) -> None:
    client = FakeHttpClient(up)
    result = GateClient(world.cluster, client).query(gate(target))
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, f"{target} is unreachable: {reason}")
    assert client.requests == []


def test_gate_without_a_response_is_inconclusive(world: World) -> None:
    def refuse() -> Response:
        raise Unreachable("connection refused")

    result = GateClient(world.cluster, FakeHttpClient(refuse)).query(gate(GateTarget(url="http://x")))
    assert (result.verdict, result.reason) == (
        Verdict.INCONCLUSIVE,
        "http://x is unreachable: connection refused",
    )


def test_gate_tokens_are_checked_and_only_service_namespaces_listed() -> None:
    client, token = FakeHttpClient(up), Token(env="TOKEN")
    gates: list[Gate] = [
        gate(GateTarget(url="https://x", token=token)),
        gate(SERVICE_TARGET),
        ManualGate(gate="manual", name="look"),
    ]
    gate_client.check_tokens(gates, client)
    assert client.requests == [(token,)]
    assert gate_client.namespaces(gates) == [NAMESPACE]
