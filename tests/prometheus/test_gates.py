"""Gates on a real Prometheus, asked directly and by port-forward through a real API server."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from kubernetes.client import Configuration

from seimigrate.adapters.api import ApiCluster, path_of
from seimigrate.adapters.connection import Connection
from seimigrate.adapters.gate_http import GateHttpClient
from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.plan.gates import GateResult, GateTarget, PrometheusGate, Verdict
from seimigrate.engine.gate_client import GateClient
from seimigrate.simulation.world import World
from tests.adapters.helpers import pod, wait_until
from tests.controlplane.kubelet_server import PortForwardServer
from tests.controlplane.process import ControlPlane


def ask(port: int, query: str, condition: str) -> GateResult:
    keeper = GateClient(World().cluster, GateHttpClient(Connection(Configuration())))
    at = GateTarget(url=f"http://127.0.0.1:{port}")
    return keeper.query(PrometheusGate(gate="prometheus", name="up", target=at, query=query, condition=condition))


def test_what_is_up_passes(prometheus: int) -> None:
    assert ask(prometheus, 'up{job="self"}', "all == 1") == GateResult("up", Verdict.PASS, "1 of 1 samples == 1")


def test_what_is_down_fails_and_is_named(prometheus: int) -> None:
    result = ask(prometheus, "up", "all == 1")
    assert result.verdict is Verdict.FAIL
    assert result.reason == '1 of 2 samples not == 1: up{instance="127.0.0.1:1", job="gone"} is 0'


def test_a_count_may_be_none(prometheus: int) -> None:
    assert ask(prometheus, 'ALERTS{alertstate="firing"}', "count == 0").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ('up{job="no-such-job"}', "the query returned no samples"),
        ("up{", "the query failed (400): bad_data"),
        ("up[1m]", "the query returned a matrix, expected an instant vector"),
        ("0/0", "1 of 1 samples are NaN: scalar is nan"),
        ('"text"', "the query returned a string, expected an instant vector"),
    ],
)
def test_what_tells_nothing_is_inconclusive(prometheus: int, query: str, reason: str) -> None:
    result = ask(prometheus, query, "all == 1")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason.startswith(reason)


@pytest.fixture
def behind_service(
    controlplane: ControlPlane, cluster: ApiCluster, namespace: str, prometheus: int
) -> Iterator[GateTarget]:
    """Give a Service whose only pod is the real Prometheus: the kubelet's end of the port-forward talks to it."""

    def handler(_: str, __: str, port: int, request: bytes) -> bytes:
        if port != 9090:
            raise ConnectionRefusedError
        with socket.create_connection(("127.0.0.1", prometheus), timeout=10) as peer:
            peer.sendall(request)
            return b"".join(iter(lambda: peer.recv(65536), b""))

    admin, merge = controlplane.admin, "application/merge-patch+json"
    node = f"node-{namespace}"
    with PortForwardServer(handler, controlplane.kubelet_cert, controlplane.kubelet_key) as server:
        created = cluster.create(Kind.NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": server.port}},
        }
        admin.request("PATCH", f"{path_of(Kind.NODE, '', node)}/status", body={"status": status}, content_type=merge)
        wait_until(lambda: cluster.get(Kind.SERVICE_ACCOUNT, namespace, "default"), "the default ServiceAccount")
        body = cluster.create(Kind.POD, pod(namespace, "prometheus-0", {"app": "prometheus"}, node=node))
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        path = f"{path_of(Kind.POD, namespace, 'prometheus-0')}/status"
        admin.request("PATCH", path, body={"status": ready}, content_type=merge)
        spec = {"selector": {"app": "prometheus"}, "ports": [{"port": 80, "targetPort": 9090}]}
        meta = {"namespace": namespace, "name": "prometheus"}
        cluster.create(Kind.SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
        yield GateTarget(service=f"{namespace}/prometheus", port=80)
        cluster.delete(Kind.POD, namespace, "prometheus-0", uid=body["metadata"]["uid"], grace_seconds=0)
        cluster.delete(Kind.NODE, "", node, uid=created["metadata"]["uid"])


def test_it_is_asked_by_port_forward_through_its_service(
    controlplane: ControlPlane, cluster: ApiCluster, behind_service: GateTarget
) -> None:
    gate = PrometheusGate(
        gate="prometheus", name="up", target=behind_service, query='up{job="self"}', condition="all == 1"
    )
    keeper = GateClient(cluster, GateHttpClient(controlplane.admin))
    assert keeper.query(gate) == GateResult("up", Verdict.PASS, "1 of 1 samples == 1")
