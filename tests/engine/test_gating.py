"""Gates are asked where they say, and no answer is no verdict."""

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


class Answers:
    """Stands for what gates ask: remembers who was asked, and answers with one function."""

    def __init__(self, answer: Callable[[], Response]) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []

    def get(self, url: str, *, token: Token | None, timeout: float) -> Response:
        self.asked.append((url, token))
        return self.answer()

    def get_from_pod(
        self, namespace: str, pod: str, port: int, path: str, *, token: Token | None, timeout: float
    ) -> Response:
        self.asked.append((namespace, pod, port, path, token))
        return self.answer()

    def check_token(self, token: Token) -> None:
        self.asked.append((token,))


@pytest.fixture
def world() -> World:
    made = World()
    made.add_namespace(NAMESPACE)
    meta = {"namespace": NAMESPACE, "name": "prometheus"}
    ports = [{"port": 80, "targetPort": "web"}, {"port": 9091}]
    made.cluster.put(Kind.SERVICE, {"metadata": meta, "spec": {"selector": {"app": "prometheus"}, "ports": ports}})
    return made


def add_pod(world: World, name: str, *, ready: bool = True, **labels: str) -> None:
    world.cluster.put(
        Kind.POD,
        {
            "metadata": {"namespace": NAMESPACE, "name": name, "labels": labels or {"app": "prometheus"}},
            "spec": {"containers": [{"name": "main", "ports": [{"name": "web", "containerPort": 9090}]}]},
            "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
        },
    )


def gate(at: GateTarget) -> PrometheusGate:
    return PrometheusGate(gate="prometheus", name="up", target=at, query='up{a="b c"}', condition="all == 1")


def up() -> Response:
    result = [{"metric": {}, "value": [1, "1"]}]
    return Response(200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}))


BEHIND = GateTarget(service=f"{NAMESPACE}/prometheus", port=80)


def test_a_ready_pod_behind_the_service_is_asked_at_its_own_port(world: World) -> None:
    add_pod(world, "a", ready=False)
    add_pod(world, "b")
    add_pod(world, "c", app="another")
    web = Answers(up)
    result = GateClient(world.cluster, web).query(gate(BEHIND))
    assert (result.verdict, result.reason) == (Verdict.PASS, "1 of 1 samples == 1")
    assert web.asked == [(NAMESPACE, "b", 9090, "/api/v1/query?query=up%7Ba%3D%22b+c%22%7D", None)]


def test_a_pod_and_a_url_are_asked_as_they_are_named(world: World) -> None:
    web = Answers(lambda: Response(200, ""))
    token = Token(env="TOKEN")
    keeper = GateClient(world.cluster, web)
    for at in (GateTarget(pod="monitoring/x", port=81, token=token), GateTarget(url="https://x/prefix/", token=token)):
        assert keeper.query(HttpGate(gate="http", name="smoke", target=at, path="/a")).verdict is Verdict.PASS
    assert web.asked == [(NAMESPACE, "x", 81, "/a", token), ("https://x/prefix/a", token)]


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (BEHIND, "no pod behind the Service is ready"),
        (GateTarget(service=f"{NAMESPACE}/prometheus", port=81), "the Service has no port 81"),
        (GateTarget(service=f"{NAMESPACE}/absent", port=80), "there is no such Service"),
    ],
)
def test_nobody_to_ask_is_inconclusive(world: World, at: GateTarget, reason: str) -> None:
    web = Answers(up)
    result = GateClient(world.cluster, web).query(gate(at))
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, f"{at} was not reached: {reason}")
    assert web.asked == []


def test_no_answer_is_inconclusive(world: World) -> None:
    def nothing() -> Response:
        raise Unreachable("connection refused")

    result = GateClient(world.cluster, Answers(nothing)).query(gate(GateTarget(url="http://x")))
    assert (result.verdict, result.reason) == (
        Verdict.INCONCLUSIVE,
        "http://x was not reached: connection refused",
    )


def test_tokens_are_looked_for_beforehand_and_rights_are_needed_where_ports_are_forwarded() -> None:
    web, token = Answers(up), Token(env="TOKEN")
    listed: list[Gate] = [
        gate(GateTarget(url="https://x", token=token)),
        gate(BEHIND),
        ManualGate(gate="manual", name="look"),
    ]
    gate_client.check_tokens(listed, web)
    assert web.asked == [(token,)]
    assert gate_client.namespaces(listed) == [NAMESPACE]
