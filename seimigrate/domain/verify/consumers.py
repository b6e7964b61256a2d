"""The consumers of what the split removes: monitors of the proxy's port, and nodes that query their peers' ids.

Metrics leave the proxy's port as soon as the sidecar splits, regardless of --ignore-paths (upstream facts). Monitors of
that port must therefore scrape the public port before the cutover. Monitors are parsed as the Prometheus operator does
(monitoring.coreos.com), ``prometheus.io/*`` annotations as in the common scrape configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube import selectors
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import shapes
from seimigrate.domain.node.observation import NodeObservation, labels
from seimigrate.domain.plan.plan import AddPort, AddServicePort, Plan, PortName


@dataclass(frozen=True, slots=True)
class _Ports:
    """A port by its number, its names in containers and its names in the Service."""

    number: int
    container: frozenset[str]
    service: frozenset[str]

    def matches(self, endpoint: Object, *, by_service: bool) -> bool:
        """Return whether a monitor's endpoint refers to this port."""
        names = self.service if by_service else self.container
        target = endpoint.get("targetPort")
        return (
            endpoint.get("port") in names
            or endpoint.get("portNumber") == self.number
            or target == self.number
            or target in self.container
        )


def findings(observed: NodeObservation, plan: Plan, monitors: Sequence[Object]) -> tuple[Finding, ...]:
    """Return the findings about a node's consumers."""
    if observed.seinode is None or observed.statefulset is None:
        return ()
    return (*_scraping(observed, plan, monitors), *_peers(observed.seinode))


def _scraping(observed: NodeObservation, plan: Plan, monitors: Sequence[Object]) -> Iterator[Finding]:
    proxy, public = _proxy(observed, plan), _public(plan)
    old = [*_monitors(observed, monitors, proxy), *_annotated(observed, proxy, public)]
    new = [*_monitors(observed, monitors, public), *_annotated(observed, public, public)]
    for about in old:
        if new:
            yield Finding(
                "scrapes-proxy-also",
                FindingSeverity.WARNING,
                about,
                f"scrapes :{proxy.number}, which serves no metrics after the split; {new[0]} scrapes :{public.number}",
                "remove that endpoint after the cutover",
            )
        else:
            yield Finding(
                "scrapes-proxy",
                FindingSeverity.ERROR,
                about,
                f"scrapes :{proxy.number}, and nothing scrapes :{public.number}: the split sidecar loses metrics",
                f"also scrape port {public.number} (/v0/metrics) before the cutover",
            )
    for monitor in monitors:
        if monitor["kind"] == "ScrapeConfig" and any("SDConfigs" in key for key in monitor["spec"]):
            what = "finds its targets by service discovery, which is not evaluated"
            remedy = f"check that it does not scrape :{proxy.number} of nodes"
            yield Finding("scrape-config-unsupported", FindingSeverity.WARNING, _name(monitor), what, remedy)


def _proxy(observed: NodeObservation, plan: Plan) -> _Ports:
    assert observed.statefulset is not None
    number = plan.parameters.ports.proxy
    spec = observed.statefulset["spec"]["template"]["spec"]
    ports = [port for container in shapes.containers(spec) for port in container.get("ports") or ()]
    named = {port.get("name", "") for port in ports if port["containerPort"] == number} - {""}
    service_ports = (observed.service or {}).get("spec", {}).get("ports") or ()
    served = {p.get("name", "") for p in service_ports if p.get("targetPort", p["port"]) in {number, *named}} - {""}
    return _Ports(number, frozenset(named), frozenset(served))


def _public(plan: Plan) -> _Ports:
    transforms = [do for stage in plan.stages for do in stage.transforms]
    added = [do for do in transforms if isinstance(do, (AddPort, AddServicePort)) and do.port is PortName.PUBLIC]
    container = frozenset(do.name for do in added if isinstance(do, AddPort))
    service = frozenset(do.name for do in added if isinstance(do, AddServicePort))
    return _Ports(plan.parameters.ports.public, container, service)


def _monitors(observed: NodeObservation, monitors: Sequence[Object], port: _Ports) -> Iterator[str]:
    for monitor in monitors:
        if _SCRAPES[monitor["kind"]](observed, monitor, port):
            yield _name(monitor)


def _pod_monitor(observed: NodeObservation, monitor: Object, port: _Ports) -> bool:
    assert observed.statefulset is not None
    spec, template = monitor["spec"], observed.statefulset["spec"]["template"]
    endpoints = spec.get("podMetricsEndpoints") or ()
    selected = _selects(observed, monitor, labels(template))
    return selected and any(port.matches(endpoint, by_service=False) for endpoint in endpoints)


def _service_monitor(observed: NodeObservation, monitor: Object, port: _Ports) -> bool:
    endpoints = monitor["spec"].get("endpoints") or ()
    selected = observed.service is not None and _selects(observed, monitor, labels(observed.service))
    return selected and any(port.matches(endpoint, by_service=True) for endpoint in endpoints)


def _selects(observed: NodeObservation, monitor: Object, own: dict[str, str]) -> bool:
    assert observed.seinode is not None
    scope = monitor["spec"].get("namespaceSelector") or {}
    names = scope.get("matchNames") or [monitor["metadata"]["namespace"]]
    in_scope = bool(scope.get("any")) or observed.seinode["metadata"]["namespace"] in names
    return in_scope and selectors.parse(monitor["spec"].get("selector") or {}).matches(own)


def _probe(observed: NodeObservation, monitor: Object, port: _Ports) -> bool:
    targets = monitor["spec"].get("targets", {}).get("staticConfig", {}).get("static") or ()
    return any(_is_target(observed, target, port) for target in targets)


def _scrape_config(observed: NodeObservation, monitor: Object, port: _Ports) -> bool:
    configs = monitor["spec"].get("staticConfigs") or ()
    return any(_is_target(observed, target, port) for config in configs for target in config.get("targets") or ())


def _is_target(observed: NodeObservation, target: str, port: _Ports) -> bool:
    """Return whether a target like ``https://node-0.sei.svc:8443/v0/metrics`` is this port of the node."""
    assert observed.seinode is not None
    meta = observed.seinode["metadata"]
    authority = target.partition("://")[2] or target
    host, _, number = authority.partition("/")[0].rpartition(":")
    name, namespace = meta["name"], meta["namespace"]
    hosts = {f"{prefix}{name}.{namespace}" for prefix in ("", f"{name}-0.")}
    hosts |= {f"{short}.svc{suffix}" for short in hosts for suffix in ("", ".cluster.local", ".cluster.local.")}
    addresses = {ip["ip"] for ip in (observed.pod or {}).get("status", {}).get("podIPs") or ()}
    return number == str(port.number) and host.strip("[]") in hosts | addresses


_SCRAPES: dict[str, Any] = {
    "PodMonitor": _pod_monitor,
    "ServiceMonitor": _service_monitor,
    "Probe": _probe,
    "ScrapeConfig": _scrape_config,
}


def _annotated(observed: NodeObservation, port: _Ports, public: _Ports) -> Iterator[str]:
    """Yield the objects whose annotations request a scrape; without a port, all declared ports are scraped."""
    assert observed.statefulset is not None
    meta = observed.statefulset["metadata"]
    template = observed.statefulset["spec"]["template"].get("metadata", {})
    for kind, metadata in (("Pod", template), ("Service", (observed.service or {}).get("metadata", {}))):
        annotations = metadata.get("annotations") or {}
        if annotations.get("prometheus.io/scrape") != "true":
            continue
        number = annotations.get("prometheus.io/port")
        if number == str(port.number) or (number is None and port is public):
            name = f"{meta['name']}-0" if kind == "Pod" else meta["name"]
            yield f"{kind} {meta['namespace']}/{name} (prometheus.io annotations)"


def _name(obj: Object) -> str:
    return f"{obj['kind']} {obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _peers(seinode: Object) -> Iterator[Finding]:
    if any("label" in peer for peer in seinode.get("spec", {}).get("peers") or ()):
        meta = seinode["metadata"]
        yield Finding(
            "peer-discovery-through-proxy",
            FindingSeverity.WARNING,
            f"SeiNode {meta['namespace']}/{meta['name']}",
            "finds its peers by label and queries their :8443/v0/node-id, which the split does not cover",
            "check that your sidecar and controller still serve it, or configure static peers",
            field="spec.peers",
        )
