"""The models behave on a real API server as they do in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from seimigrate.adapters.api import ApiCluster
from seimigrate.adapters.pods import ForwardedPodClient
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import Unreachable
from seimigrate.simulation.fields import leaves, owned
from seimigrate.simulation.objects import CONTROLLER_USER, condition, container
from seimigrate.simulation.render import Generation, render
from seimigrate.simulation.world import SHARED_IMAGE, SPLIT_IMAGE, World
from tests.apiserver.models.real import RealModels
from tests.controlplane.process import ControlPlane


@pytest.fixture
def models(controlplane: ControlPlane) -> Iterator[RealModels]:
    with RealModels(controlplane) as running:
        yield running


def patch_template(cluster: ApiCluster, namespace: str, name: str, template: Object) -> None:
    operations = [{"op": "replace", "path": "/spec/template", "value": template}]
    cluster.patch(Kind.STATEFUL_SET, namespace, name, operations)


@pytest.mark.parametrize("mode", ["fullNode", "seed"])
def test_a_node_gets_ready_and_its_objects_are_as_in_memory(
    models: RealModels, namespace: str, mode: str, cluster: ApiCluster
) -> None:
    node = models.add_node(namespace, "a-0", mode, sidecar_port=7790)
    assert node["status"]["currentSidecarImage"] == SHARED_IMAGE
    assert [post["status"] for post in models.log.posts()][-1] == 201
    world = World()
    world.add_node(namespace, "a-0", mode, sidecar_port=7790)
    for kind in (Kind.STATEFUL_SET, Kind.SERVICE):
        real, simulated = cluster.get(kind, namespace, "a-0"), world.cache.get(kind, namespace, "a-0")
        assert real is not None
        assert simulated is not None
        here, there = (leaves({"spec": body["spec"]}) for body in (simulated, real))
        assert {path: there.get(path) for path in here} == here
        mine, theirs = (
            {path for path in owned(body, "seinode-controller", "Apply") if path[0] == "f:spec"}
            for body in (simulated, real)
        )
        assert mine == theirs


def test_the_old_controller_reverts_a_template_and_the_new_one_rolls_the_node(
    models: RealModels, namespace: str, cluster: ApiCluster
) -> None:
    node = models.add_node(namespace, "a-0")
    before = models.get(Kind.STATEFUL_SET, namespace, "a-0")["spec"]["template"]
    uid = models.get(Kind.POD, namespace, "a-0-0")["metadata"]["uid"]
    split, _, _ = render(node, Generation.NEW, SPLIT_IMAGE)
    patch_template(cluster, namespace, "a-0", split["spec"]["template"])

    def proxy() -> Object | None:
        return container(models.get(Kind.STATEFUL_SET, namespace, "a-0")["spec"]["template"], "kube-rbac-proxy")

    models.wait_for(lambda: proxy() == container(before, "kube-rbac-proxy"), "the template to be reverted")
    models.swap_controller("new")
    models.wait_for(
        lambda: (
            models.is_ready(namespace, "a-0")
            and models.get(Kind.POD, namespace, "a-0-0")["metadata"]["uid"] != uid
            and condition(models.get(Kind.SEI_NODE, namespace, "a-0"), "NodeUpdateInProgress") == "False"
        ),
        "the node to run the new shape",
    )
    with pytest.raises(Unreachable):
        models.kubelet.request(namespace, "a-0-0", 7777, "GET", "/v0/tasks")


def test_a_pod_answers_by_port_forward_and_the_proxy_asks_the_api_server_who_may(
    models: RealModels, namespace: str, controlplane: ControlPlane
) -> None:
    models.add_node(namespace, "a-0")

    def status(user: str) -> int:
        pods = ForwardedPodClient(controlplane.admin, lambda: controlplane.tokens[user])
        return pods.call(namespace, "a-0-0", 8443, "GET", "/v0/tasks", authorised=bool(user)).status

    assert [status(user) for user in ("", "nobody", "controller")] == [401, 403, 200]
    pods = ForwardedPodClient(controlplane.admin, lambda: controlplane.tokens["controller"])
    body = {"type": "mark-not-ready"}
    assert pods.call(namespace, "a-0-0", 8443, "POST", "/v0/tasks", body=body, authorised=True).status == 201
    with pytest.raises(Unreachable):
        pods.call(namespace, "a-0-0", 9100, "GET", "/v0/healthz")
    post = next(post for post in models.log.posts() if post["source"] == "forward")
    assert (post["user"], post["body"]) == (CONTROLLER_USER, body)
