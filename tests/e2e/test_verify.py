"""Closed or not, on a network that enforces policies: the story of a fleet, and the evaluator against real packets."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.verify.network import inventory
from seimigrate.domain.verify.network.reachability import endpoint
from tests.commandline import bound_to, shipped
from tests.e2e.scene import MISSING_IMAGE, POLL, Scene
from tests.e2e.stranger import NAME, Stranger
from tests.rbac_usage import denied, unused

METRICS = "/v0/metrics"
NOBODY = "nobody"
"""Who has no rights but those that a test gives them."""


@dataclass
class Town:
    """A scene with one node, a stranger beside it, a monitoring system and somebody elsewhere."""

    scene: Scene
    beside: Stranger
    monitoring: Stranger
    elsewhere: Stranger

    @property
    def access(self) -> tuple[str, str]:
        name = {"matchLabels": {"kubernetes.io/metadata.name": self.monitoring.namespace}}
        return "--set", f"access.monitoring={json.dumps([{'namespaceSelector': name}])}"

    @property
    def probed(self) -> set[str]:
        """Where probes are made: in namespaces that may not reach the proxy."""
        return {f"Namespace {each.namespace}" for each in (self.monitoring, self.elsewhere)}

    def verify(self, *more: str) -> dict[str, Any]:
        done = self.scene.run("verify", *self.access, *more)
        found: dict[str, Any] = done.json
        assert done.code == (0 if found["passed"] else 4), done.err
        for each in found["findings"]:
            what = f"{each['object']} {each['field']}: {each['message']}"
            print(f"  {each['severity']} {each['code']}: {what}", flush=True)
        return found

    def everything(self) -> dict[str, Any]:
        """Verify with all that there is to ask with."""
        probes = (word for each in (self.monitoring, self.elsewhere) for word in ("--probe-from", each.namespace))
        return self.verify("--probe", *probes)

    def metrics(self) -> dict[str, tuple[int | None, int | None]]:
        """What each gets of the metrics, on the proxy's port and on the public one."""
        people = {"beside": self.beside, "monitoring": self.monitoring, "elsewhere": self.elsewhere}
        return {who: (s.status("node", 8443, METRICS), s.status("node", 9100, METRICS)) for who, s in people.items()}


@pytest.fixture
def town(scene: Scene) -> Iterator[Town]:
    scene.add(node="fullNode")
    made = [f"town-{secrets.token_hex(3)}" for _ in range(2)]
    admin = scene.cluster.admin
    for name in made:
        labels = {"team": "ops" if name == made[0] else "else"}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        admin.request("POST", path_of(Kind.NAMESPACE), body=body)
    try:
        with bound_to(admin, "seimigrate-verify", "operator"), bound_to(admin, "seimigrate-probe", "operator"):
            strangers = (Stranger(scene), *(Stranger(scene, name, app="prometheus") for name in made))
            yield Town(scene, *strangers)
    finally:
        for name in made:
            admin.request("DELETE", path_of(Kind.NAMESPACE, "", name))


def codes(found: dict[str, Any], *severities: str) -> set[str]:
    return {each["code"] for each in found["findings"] if each["severity"] in severities}


def test_a_fleet_is_open_before_and_closed_after(town: Town) -> None:
    scene, nobody = town.scene, (None, None)
    before = town.everything()
    assert {"not-enforced", "policy-missing", "anonymous-access"} <= codes(before, "error")
    assert town.metrics() == {"beside": (200, None), "monitoring": (200, None), "elsewhere": (200, None)}
    assert town.beside.was_believed("node")

    rendered = scene.finish(scene.start("policy render", *town.access))
    with network_asleep(scene):
        scene.cluster.apply(rendered.out)
        asleep = town.everything()
        assert "policy-missing" not in codes(asleep, "error")
        idle = [each for each in asleep["findings"] if each["code"] == "policy-not-enforced"]
        assert {each["object"] for each in idle if "8443" in each["message"]} == town.probed
    scene.wait_for(lambda: town.metrics()["elsewhere"] == nobody, "the policy to be enforced")
    assert codes(town.everything(), "error") == {"not-enforced", "anonymous-access"}
    scene.cli.accept = False
    assert scene.run("hold").code == 0
    scene.fleet.install("new", poll_seconds=POLL)
    done = scene.run("apply", *town.access, "--strategy", "merged")
    assert done.code == 0, done.err

    since = len(scene.requests("node"))
    assert town.metrics() == {"beside": nobody, "monitoring": (None, 200), "elsewhere": nobody}
    assert all(each.connects("node", 26656) for each in (town.beside, town.monitoring, town.elsewhere))
    polled = scene.controller_polled("node", 2)
    scene.wait_for(polled, "the controller to reach the public port")
    after = town.everything()
    assert codes(after, "error", "unknown") == set()
    assert after["passed"] is True

    scene.cluster.kubectl("-n", scene.namespace, "delete", "networkpolicy", "seinode")
    scene.wait_for(lambda: town.metrics()["elsewhere"] == (401, 200), "the policy to be lifted")
    assert codes(town.everything(), "error") == {"policy-missing"}
    assert not town.beside.was_believed("node", since), "now they reach the proxy, which asks who they are"


def test_a_probe_is_gone_when_whoever_made_it_is_interrupted_and_needs_the_shipped_roles_alone(town: Town) -> None:
    scene, admin, namespace = town.scene, town.scene.cluster.admin, town.elsewhere.namespace

    def probes() -> list[Object]:
        found = scene.cluster.admin.request("GET", path_of(Kind.POD, namespace))["items"]
        return [each for each in found if each["metadata"]["name"].startswith("seimigrate-probe-")]

    role = ("--clusterrole=seimigrate-probe", f"--user={NOBODY}")
    scene.cluster.kubectl("-n", namespace, "create", "rolebinding", "seimigrate-probe", *role)
    words = ("--probe-from", namespace, "--probe-image", MISSING_IMAGE)
    with bound_to(admin, "seimigrate-plan", NOBODY), bound_to(admin, "seimigrate-verify", NOBODY):
        run = scene.start("verify", "--kubeconfig", str(scene.cluster.kubeconfig(NOBODY)), *words)
        scene.wait_for(lambda: bool(probes()), "a probe that never starts")
        run.send_signal(signal.SIGTERM)
        done = scene.finish(run)
    print(done.err)
    assert done.code == 143
    scene.wait_for(lambda: not probes(), "the probe to be gone")
    roles = [each for each in shipped() if each["metadata"]["name"] == "seimigrate-probe"]
    assert denied(scene.events(), NOBODY) == []
    assert unused(roles, scene.events(), NOBODY) == []


@contextmanager
def network_asleep(scene: Scene) -> Iterator[None]:
    """Stop whoever enforces policies in its tracks: those of before stay enforced, new ones are not."""
    pid = scene.cluster.enter("pidof", "kube-router", check=True).stdout.strip()
    scene.cluster.enter("kill", "-STOP", pid, check=True)
    try:
        yield
    finally:
        scene.cluster.enter("kill", "-CONT", pid, check=True)


PEERS: list[Any] = [
    None,
    [{"podSelector": {}}],
    [{"namespaceSelector": {"matchLabels": {"team": "ops"}}}],
    [{"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["else"]}]}}],
    [{"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}],
    [{"namespaceSelector": {"matchLabels": {"team": "else"}}, "podSelector": {"matchLabels": {"app": "grafana"}}}],
    [{"namespaceSelector": {"matchLabels": {"team": "else"}}}, {"podSelector": {"matchLabels": {"app": "grafana"}}}],
]
PORTS: list[Any] = [None, [{"port": 26656}], [{"port": "rpc"}], [{"port": 26000, "endPort": 26656}]]
SAMPLE = [(peers, PORTS[number % len(PORTS)]) for number, peers in enumerate(PEERS)]
TRIED = (26656, 26657)


def test_real_packets_get_through_where_the_evaluator_says_so(town: Town) -> None:
    scene = town.scene
    people = (town.beside, town.monitoring, town.elsewhere)
    tried = 0
    for peers, ports in SAMPLE:
        rule = ({"from": peers} if peers else {}) | ({"ports": ports} if ports else {})
        spec = {"podSelector": {"matchLabels": {"sei.io/node": "node"}}, "policyTypes": ["Ingress"], "ingress": [rule]}
        meta = {"name": "sample", "namespace": scene.namespace}
        body = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}
        scene.cluster.apply(json.dumps(body))
        expected = {(each.namespace, port): said(scene, each, port) for each in people for port in TRIED}
        told = f"{rule} lets through: {sorted(key for key, value in expected.items() if value)}"

        def as_expected(expected: dict[tuple[str, int], bool] = expected) -> bool:
            return all(
                each.connects("node", port) == expected[each.namespace, port] for each in people for port in TRIED
            )

        scene.wait_for(as_expected, told, 60)
        print(told, flush=True)
        tried += len(expected)
    assert tried == len(SAMPLE) * 6
    scene.cluster.kubectl("-n", scene.namespace, "delete", "networkpolicy", "sample")


def said(scene: Scene, source: Stranger, port: int) -> bool:
    """What the evaluator says of what is in the cluster now."""

    def listed(kind: Kind) -> list[Object]:
        items: list[Object] = scene.cluster.admin.request("GET", path_of(kind))["items"]
        return items

    laid = inventory.build_inventory(listed(Kind.NAMESPACE), listed(Kind.NETWORK_POLICY), listed(Kind.POD), ())
    caller = scene.cluster.get(Kind.POD, source.namespace, NAME)
    node = scene.cluster.get(Kind.POD, scene.namespace, "node-0")
    return laid.network.allows(endpoint(caller), endpoint(node), port)
