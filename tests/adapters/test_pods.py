"""Calls to pods, through a real API server to a kubelet's port-forward of our own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from seimigrate.adapters.api import ApiCluster, path_of
from seimigrate.adapters.pods import BODY_LIMIT, ForwardedPodClient, TokenSource
from seimigrate.domain.kube.kinds import Kind
from seimigrate.engine.errors import Forbidden, Unreachable
from seimigrate.engine.ports import Response
from tests.adapters.helpers import grant, pod, wait_until
from tests.controlplane.kubelet_server import PortForwardServer
from tests.controlplane.process import ControlPlane

TOKEN = "bearer-of-no-rights"


class Kubelet:
    """What the pods answer, by port; and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int, bytes]] = []
        self.free = threading.Event()

    def __call__(self, namespace: str, name: str, port: int, request: bytes) -> bytes:
        self.asked.append((namespace, name, port, request))
        if port == 1:
            raise ConnectionRefusedError
        if port == 2:
            return b""
        if port == 3:
            return b"Bearer is not HTTP\r\n\r\n"
        if port == 4:
            self.free.wait(30)
        if port == 5:
            return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * (BODY_LIMIT + 100_000)
        if port == 6:
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nnot ready"
        if port == 7:
            return b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut off"
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n"


@pytest.fixture
def kubelet(controlplane: ControlPlane, cluster: ApiCluster, namespace: str) -> Iterator[Kubelet]:
    """Give a kubelet's port-forward for pod ``a-0`` of the namespace."""
    answers = Kubelet()
    node = f"node-{namespace}"
    server = PortForwardServer(answers, controlplane.kubelet_cert, controlplane.kubelet_key)
    with server:
        created = cluster.create(Kind.NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": server.port}},
        }
        merge = "application/merge-patch+json"
        admin = controlplane.admin
        admin.request("PATCH", f"{path_of(Kind.NODE, '', node)}/status", body={"status": status}, content_type=merge)
        wait_until(lambda: cluster.get(Kind.SERVICE_ACCOUNT, namespace, "default"), "the default ServiceAccount")
        body = cluster.create(Kind.POD, pod(namespace, "a-0", node=node))
        running = {"status": {"phase": "Running"}}
        admin.request("PATCH", f"{path_of(Kind.POD, namespace, 'a-0')}/status", body=running, content_type=merge)
        yield answers
        answers.free.set()
        cluster.delete(Kind.POD, namespace, "a-0", uid=body["metadata"]["uid"], grace_seconds=0)
        cluster.delete(Kind.NODE, "", node, uid=created["metadata"]["uid"])


@pytest.fixture
def pods(controlplane: ControlPlane, kubelet: Kubelet) -> ForwardedPodClient:
    return ForwardedPodClient(controlplane.admin, lambda: TOKEN)


def test_a_request_reaches_the_pods_port_and_its_answer_comes_back(
    pods: ForwardedPodClient, kubelet: Kubelet, namespace: str
) -> None:
    assert pods.call(namespace, "a-0", 9100, "GET", "/v0/healthz") == Response(200, "yes")
    (asked,) = kubelet.asked
    assert asked[:3] == (namespace, "a-0", 9100)
    assert asked[3].startswith(b"GET /v0/healthz HTTP/1.1\r\n")
    assert b"Authorization" not in asked[3]


def test_a_body_and_the_token_are_sent_when_asked_for(
    pods: ForwardedPodClient, kubelet: Kubelet, namespace: str
) -> None:
    pods.call(namespace, "a-0", 8443, "POST", "/v0/tasks", body={"type": "mark-ready"}, authorised=True)
    head, _, body = kubelet.asked[0][3].partition(b"\r\n\r\n")
    assert json.loads(body) == {"type": "mark-ready"}
    assert f"Authorization: Bearer {TOKEN}".encode() in head


def test_a_large_body_arrives_whole(pods: ForwardedPodClient, kubelet: Kubelet, namespace: str) -> None:
    pods.call(namespace, "a-0", 8443, "POST", "/", body={"text": "y" * 300_000})
    assert json.loads(kubelet.asked[0][3].partition(b"\r\n\r\n")[2])["text"] == "y" * 300_000


def test_an_answer_is_an_answer_whatever_its_status(pods: ForwardedPodClient, namespace: str) -> None:
    assert pods.call(namespace, "a-0", 6, "GET", "/") == Response(503, "not ready")


def test_an_endless_answer_is_cut(pods: ForwardedPodClient, namespace: str) -> None:
    assert len(pods.call(namespace, "a-0", 5, "GET", "/").body) == BODY_LIMIT


@pytest.mark.parametrize(
    ("port", "reason"), [(1, "nobody listens on port 1 "), (2, "closed"), (3, "HTTP"), (4, "within"), (7, "HTTP")]
)
def test_no_answer_is_unreachable_with_the_reason_and_no_token(
    pods: ForwardedPodClient, namespace: str, port: int, reason: str
) -> None:
    with pytest.raises(Unreachable, match=reason) as caught:
        pods.call(namespace, "a-0", port, "GET", "/", authorised=True, timeout=1.0 if port == 4 else 20.0)
    assert f"{namespace}/a-0:{port}" in str(caught.value)
    assert TOKEN not in str(caught.value) + caught.value.hint


def test_a_pod_that_is_not_there_is_unreachable(pods: ForwardedPodClient, namespace: str) -> None:
    with pytest.raises(Unreachable, match='pods "b-0" not found'):
        pods.call(namespace, "b-0", 9100, "GET", "/")


def test_a_token_that_no_header_can_carry_is_not_quoted(
    controlplane: ControlPlane, kubelet: Kubelet, namespace: str
) -> None:
    pods = ForwardedPodClient(controlplane.admin, lambda: f"{TOKEN}\nX: y")
    with pytest.raises(Unreachable) as caught:
        pods.call(namespace, "a-0", 9100, "GET", "/", authorised=True)
    assert TOKEN not in str(caught.value)


def test_a_missing_right_to_forward_is_named(controlplane: ControlPlane, kubelet: Kubelet, namespace: str) -> None:
    with pytest.raises(Forbidden) as caught:
        ForwardedPodClient(controlplane.connection("nobody")).call(namespace, "a-0", 9100, "GET", "/")
    assert f'on resource "pods/portforward" in namespace "{namespace}"' in caught.value.hint


def test_the_right_to_create_forwards_is_enough_with_get(
    controlplane: ControlPlane, kubelet: Kubelet, namespace: str
) -> None:
    grant(controlplane.admin, namespace, "operator", ("", "pods/portforward", ["get", "create"]))
    pods = ForwardedPodClient(controlplane.connection("operator"))
    assert wait_until(lambda: pods.call(namespace, "a-0", 9100, "GET", "/"), "an answer").status == 200


def test_a_kubelet_that_is_gone_is_unreachable(cluster: ApiCluster, pods: ForwardedPodClient, namespace: str) -> None:
    node = f"node-{namespace}"
    status = {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}
    path = f"{path_of(Kind.NODE, '', node)}/status"
    merge = "application/merge-patch+json"
    cluster.connection.request("PATCH", path, body={"status": status}, content_type=merge)
    with pytest.raises(Unreachable):
        pods.call(namespace, "a-0", 9100, "GET", "/")


def test_many_threads_may_call_at_once(pods: ForwardedPodClient, namespace: str) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: statuses.append(pods.call(namespace, "a-0", 9100, "GET", "/", timeout=30).status)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8


def test_a_token_is_renewed_at_half_of_its_life(cluster: ApiCluster, namespace: str) -> None:
    wait_until(lambda: cluster.get(Kind.SERVICE_ACCOUNT, namespace, "default"), "the default ServiceAccount")
    now = [0.0]
    tokens = TokenSource(cluster, namespace, "default", monotonic=lambda: now[0])
    first = tokens()
    now[0] = 299.0
    assert tokens() == first
    now[0] = 300.0
    assert tokens() != first


def test_a_missing_right_to_make_tokens_is_named(controlplane: ControlPlane, kubelet: Kubelet, namespace: str) -> None:
    tokens = TokenSource(ApiCluster(controlplane.connection("nobody")), namespace, "default")
    with pytest.raises(Forbidden) as caught:
        ForwardedPodClient(controlplane.admin, tokens).call(namespace, "a-0", 9100, "GET", "/", authorised=True)
    assert 'verb "create" on resource "serviceaccounts/token"' in caught.value.hint
