"""Cutovers of real pods: what they cost, what they close, and what they leave to the controllers."""

from __future__ import annotations

import json

from seimigrate.domain.kube.kinds import Object
from tests.e2e.scene import POLL, Scene, seconds
from tests.e2e.stranger import Stranger

METRICS = "/v0/metrics"


def test_nodes_are_cut_over_under_the_old_controller_and_released_to_the_new_one(scene: Scene) -> None:
    """Staged and merged; the second one has a seid that needs a minute to stop, and a stranger who looks on."""
    scene.add(full="fullNode", slow="validator")
    assert scene.run("apply", "--strategy", "staged", nodes=("full",)).code == 9
    stranger = Stranger(scene)
    assert stranger.status("slow", 8443, METRICS) == 200
    assert stranger.was_believed("slow")
    seen = len(scene.requests("slow"))
    scene.fleet.switch(scene.namespace, "slow", "stop-seconds", "60")
    assert scene.run("apply", "--strategy", "merged", nodes=("slow",)).code == 9
    scene.fleet.unswitch(scene.namespace, "slow", "stop-seconds")
    assert_stopped_cleanly(scene, "slow", 60)
    statuses = {port: stranger.status("slow", port, METRICS) for port in (8443, 9100)}
    print(f"a stranger with a forged user gets {statuses}")
    assert statuses == {8443: 401, 9100: 200}
    assert not stranger.was_believed("slow", since=seen)
    assert scene.run("status").json["summary"]["held"] == 2
    scene.fleet.install("new", poll_seconds=POLL)
    assert scene.run("apply").code == 0
    assert_nothing_reverts(scene)
    assert (scene.restarts("full"), scene.restarts("slow")) == (2, 1)
    assert scene.killed_by_the_controller() == []


def test_in_the_recommended_order_the_new_controller_replaces_no_pod_and_one_without_sight_gets_no_node_back(
    scene: Scene,
) -> None:
    scene.add(seen="fullNode", unseen="seed")
    assert scene.run("hold").code == 0
    scene.fleet.install("new", poll_seconds=POLL)
    scene.cluster.apply(json.dumps(_closes_the_public_port(scene.namespace, "unseen")))
    first = scene.run("apply", "--strategy", "merged")
    assert first.code == 9
    seen, unseen = first.json["nodes"]
    assert (seen["outcome"], seen["held"]) == ("done", False)
    assert (unseen["outcome"], unseen["held"]) == ("done-held", True)
    assert "check that it can reach the health port" in unseen["reason"]
    scene.cluster.kubectl("-n", scene.namespace, "delete", "networkpolicy", "closed")
    assert scene.run("apply", nodes=("unseen",)).code == 0
    assert_nothing_reverts(scene)
    assert [scene.restarts(name) for name in scene.names] == [1, 1]
    assert scene.killed_by_the_controller() == []


def assert_stopped_cleanly(scene: Scene, name: str, at_least: float) -> None:
    """See in seid's own log that its last stop took its time, and that it was not killed."""
    stopping, stopped, again = scene.fleet.events(scene.namespace, name, "seid")[-3:]
    took = seconds(stopped["time"]) - seconds(stopping["time"])
    print(f"seid took {took:.1f} s to stop, at height {stopped['height']}; it started again at {again['height']}")
    assert [each["event"] for each in (stopping, stopped, again)] == ["stopping", "clean stop", "start"]
    assert took >= at_least
    assert (again["afterKill"], again["height"]) == (False, stopped["height"])


def assert_nothing_reverts(scene: Scene) -> None:
    """Wait for two polls of the controller, and see that it left everything as it is, and nothing of ours is there."""
    assert [scene.ours(name) for name in scene.names] == [[] for _ in scene.names]
    before = [(scene.specs(name), scene.uid(name)) for name in scene.names]
    polled = [scene.controller_polled(name, 2) for name in scene.names]
    scene.wait_for(lambda: all(each() for each in polled), "two polls of the controller")
    assert [(scene.specs(name), scene.uid(name)) for name in scene.names] == before


def _closes_the_public_port(namespace: str, node: str) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "closed", "namespace": namespace},
        "spec": {
            "podSelector": {"matchLabels": {"sei.io/node": node}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": 8443, "protocol": "TCP"}, {"port": 26656, "protocol": "TCP"}]}],
        },
    }
