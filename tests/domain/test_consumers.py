"""Who scrapes what goes away: each way to scrape the proxy's port, beside one that does not."""

from __future__ import annotations

from typing import Any

import pytest

from seimigrate.domain.findings import FindingSeverity
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.verify import consumers
from seimigrate.simulation.objects import copy_json
from tests.domain.objects import rendered
from tests.engine.harness import make_plan

PLAN = make_plan()


def view(**changes: Any) -> NodeObservation:
    node = rendered(**changes)
    statefulset = copy_json(node.statefulset)
    pod = {"metadata": {"namespace": "sei", "name": "node-0-0"}, "status": {"podIPs": [{"ip": "10.1.0.7"}]}}
    return NodeObservation(node.seinode, statefulset, copy_json(node.service), pod)


def monitor(kind: str, namespace: str = "sei", **spec: Any) -> Object:
    return {"kind": kind, "metadata": {"namespace": namespace, "name": "m"}, "spec": spec}


def pods(*endpoints: Object, namespace: str = "sei", **spec: Any) -> Object:
    selector = {"matchExpressions": [{"key": "sei.io/node", "operator": "Exists"}]}
    return monitor("PodMonitor", namespace, **({"selector": selector, "podMetricsEndpoints": [*endpoints]} | spec))


def services(*endpoints: Object) -> Object:
    return monitor("ServiceMonitor", selector={"matchLabels": {"sei.io/node": "node-0"}}, endpoints=[*endpoints])


def probe(*targets: str) -> Object:
    return monitor("Probe", targets={"staticConfig": {"static": [*targets]}})


def scrape(*targets: str) -> Object:
    return monitor("ScrapeConfig", staticConfigs=[{"targets": [*targets]}])


def codes(*monitors: Object, of: NodeObservation | None = None) -> list[str]:
    return [finding.code for finding in consumers.findings(of or view(), PLAN, monitors)]


OLD = [
    pods({"port": "api"}),
    pods({"portNumber": 8443}),
    pods({"targetPort": 8443}),
    pods({"port": "api"}, namespace="monitoring", namespaceSelector={"any": True}),
    pods({"port": "api"}, namespace="monitoring", namespaceSelector={"matchNames": ["sei"]}),
    services({"port": "api"}),
    services({"targetPort": "api"}),
    probe("https://node-0.sei.svc:8443/v0/metrics"),
    scrape("node-0-0.node-0.sei.svc.cluster.local:8443"),
    scrape("10.1.0.7:8443"),
]


@pytest.mark.parametrize("old", OLD, ids=lambda each: f"{each['kind']}-{OLD.index(each)}")
def test_who_scrapes_the_proxy_and_nobody_the_public_port_blocks(old: Object) -> None:
    [finding] = consumers.findings(view(), PLAN, [old])
    assert (finding.code, finding.severity) == ("scrapes-proxy", FindingSeverity.ERROR)
    assert finding.object == f"{old['kind']} {old['metadata']['namespace']}/m"
    assert codes(old, pods({"port": "public"})) == ["scrapes-proxy-also"]


OTHERS = [
    pods({"port": "metrics"}),
    pods({"port": "public"}),
    pods({"port": "api"}, selector={"matchLabels": {"sei.io/node": "node-1"}}),
    pods({"port": "api"}, namespace="monitoring"),
    services({"port": "rpc"}),
    probe("https://node-1.sei.svc:8443/v0/metrics", "https://node-0.other:8443"),
    scrape("node-0.sei:9100", "10.1.0.8:8443"),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda each: f"{each['kind']}-{OTHERS.index(each)}")
def test_who_scrapes_something_else_does_not(other: Object) -> None:
    assert codes(other) == []


def test_a_scrape_config_that_discovers_its_targets_is_told_to_be_unjudged() -> None:
    assert codes(monitor("ScrapeConfig", kubernetesSDConfigs=[{"role": "Pod"}])) == ["scrape-config-unsupported"]


@pytest.mark.parametrize(
    ("marks", "found"),
    [
        ({"prometheus.io/scrape": "true", "prometheus.io/port": "8443"}, ["scrapes-proxy"]),
        ({"prometheus.io/scrape": "true", "prometheus.io/port": "9100"}, []),
        ({"prometheus.io/scrape": "false", "prometheus.io/port": "8443"}, []),
        ({"prometheus.io/scrape": "true"}, []),
    ],
)
@pytest.mark.parametrize("where", ["template", "service"])
def test_annotations_are_read_as_the_usual_configuration_does(
    marks: dict[str, str], found: list[str], where: str
) -> None:
    seen = view()
    assert seen.statefulset is not None and seen.service is not None
    marked = seen.statefulset["spec"]["template"] if where == "template" else seen.service
    marked["metadata"]["annotations"] = marks
    assert codes(of=seen) == found
    if found:
        assert codes(pods({"port": "public"}), of=seen) == ["scrapes-proxy-also"]


def test_a_node_that_finds_its_peers_by_label_is_told() -> None:
    seen = view()
    assert seen.seinode is not None
    spec = seen.seinode["spec"]
    by_label = NodeObservation(
        seen.seinode | {"spec": spec | {"peers": [{"label": {"selector": {"a": "b"}}}]}}, seen.statefulset, None, None
    )
    static = NodeObservation(
        seen.seinode | {"spec": spec | {"peers": [{"static": {"addresses": []}}]}}, seen.statefulset, None, None
    )
    assert codes(of=by_label) == ["peer-discovery-through-proxy"]
    assert codes(of=static) == []
