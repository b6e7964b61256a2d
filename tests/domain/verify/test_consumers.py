"""Scrape configurations that use the proxy's port: each kind has a case that does and one that does not."""

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


def observation(**changes: Any) -> NodeObservation:
    node = rendered(**changes)
    statefulset = copy_json(node.statefulset)
    pod = {"metadata": {"namespace": "sei", "name": "node-0-0"}, "status": {"podIPs": [{"ip": "10.1.0.7"}]}}
    return NodeObservation(node.seinode, statefulset, copy_json(node.service), pod)


def monitor(kind: str, namespace: str = "sei", **spec: Any) -> Object:
    return {"kind": kind, "metadata": {"namespace": namespace, "name": "m"}, "spec": spec}


def pod_monitor(*endpoints: Object, namespace: str = "sei", **spec: Any) -> Object:
    selector = {"matchExpressions": [{"key": "sei.io/node", "operator": "Exists"}]}
    return monitor("PodMonitor", namespace, **({"selector": selector, "podMetricsEndpoints": [*endpoints]} | spec))


def service_monitor(*endpoints: Object) -> Object:
    return monitor("ServiceMonitor", selector={"matchLabels": {"sei.io/node": "node-0"}}, endpoints=[*endpoints])


def probe(*targets: str) -> Object:
    return monitor("Probe", targets={"staticConfig": {"static": [*targets]}})


def scrape_config(*targets: str) -> Object:
    return monitor("ScrapeConfig", staticConfigs=[{"targets": [*targets]}])


def codes(*monitors: Object, observed: NodeObservation | None = None) -> list[str]:
    return [finding.code for finding in consumers.findings(observed or observation(), PLAN, monitors)]


PROXY_SCRAPES = [
    pod_monitor({"port": "api"}),
    pod_monitor({"portNumber": 8443}),
    pod_monitor({"targetPort": 8443}),
    pod_monitor({"port": "api"}, namespace="monitoring", namespaceSelector={"any": True}),
    pod_monitor({"port": "api"}, namespace="monitoring", namespaceSelector={"matchNames": ["sei"]}),
    service_monitor({"port": "api"}),
    service_monitor({"targetPort": "api"}),
    probe("https://node-0.sei.svc:8443/v0/metrics"),
    scrape_config("node-0-0.node-0.sei.svc.cluster.local:8443"),
    scrape_config("10.1.0.7:8443"),
]


@pytest.mark.parametrize("proxy_scrape", PROXY_SCRAPES, ids=lambda each: f"{each['kind']}-{PROXY_SCRAPES.index(each)}")
def test_scrape_of_proxy_without_public_port_is_error(proxy_scrape: Object) -> None:
    [finding] = consumers.findings(observation(), PLAN, [proxy_scrape])
    assert (finding.code, finding.severity) == ("scrapes-proxy", FindingSeverity.ERROR)
    assert finding.object == f"{proxy_scrape['kind']} {proxy_scrape['metadata']['namespace']}/m"
    assert codes(proxy_scrape, pod_monitor({"port": "public"})) == ["scrapes-proxy-also"]


OTHER_SCRAPES = [
    pod_monitor({"port": "metrics"}),
    pod_monitor({"port": "public"}),
    pod_monitor({"port": "api"}, selector={"matchLabels": {"sei.io/node": "node-1"}}),
    pod_monitor({"port": "api"}, namespace="monitoring"),
    service_monitor({"port": "rpc"}),
    probe("https://node-1.sei.svc:8443/v0/metrics", "https://node-0.other:8443"),
    scrape_config("node-0.sei:9100", "10.1.0.8:8443"),
]


@pytest.mark.parametrize("other", OTHER_SCRAPES, ids=lambda each: f"{each['kind']}-{OTHER_SCRAPES.index(each)}")
def test_scrape_of_other_port_has_no_finding(other: Object) -> None:
    assert codes(other) == []


def test_scrape_config_with_discovery_is_unsupported() -> None:
    assert codes(monitor("ScrapeConfig", kubernetesSDConfigs=[{"role": "Pod"}])) == ["scrape-config-unsupported"]


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"prometheus.io/scrape": "true", "prometheus.io/port": "8443"}, ["scrapes-proxy"]),
        ({"prometheus.io/scrape": "true", "prometheus.io/port": "9100"}, []),
        ({"prometheus.io/scrape": "false", "prometheus.io/port": "8443"}, []),
        ({"prometheus.io/scrape": "true"}, []),
    ],
)
@pytest.mark.parametrize("annotated", ["template", "service"])
def test_prometheus_annotations_are_read_on_template_and_service(
    annotations: dict[str, str], expected: list[str], annotated: str
) -> None:
    observed = observation()
    assert observed.statefulset is not None and observed.service is not None
    annotated_object = observed.statefulset["spec"]["template"] if annotated == "template" else observed.service
    annotated_object["metadata"]["annotations"] = annotations
    assert codes(observed=observed) == expected
    if expected:
        assert codes(pod_monitor({"port": "public"}), observed=observed) == ["scrapes-proxy-also"]


def test_peer_discovery_by_label_is_reported() -> None:
    observed = observation()
    assert observed.seinode is not None
    spec = observed.seinode["spec"]
    by_label = NodeObservation(
        observed.seinode | {"spec": spec | {"peers": [{"label": {"selector": {"a": "b"}}}]}},
        observed.statefulset,
        None,
        None,
    )
    static = NodeObservation(
        observed.seinode | {"spec": spec | {"peers": [{"static": {"addresses": []}}]}}, observed.statefulset, None, None
    )
    assert codes(observed=by_label) == ["peer-discovery-through-proxy"]
    assert codes(observed=static) == []
