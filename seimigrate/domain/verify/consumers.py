"""Who counts on what goes away with the split: monitors of the proxy's port, and nodes that ask peers for their ids.

Metrics leave the proxy's port as soon as the sidecar splits, whatever the proxy is told to ignore (upstream facts). So
whoever scrapes there must scrape the public port before. Monitors are read as the Prometheus operator does
(monitoring.coreos.com); ``prometheus.io/*`` annotations as its widespread scrape configuration does.
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
    """What a port is called: by number, by the container's name for it and by the Service's."""

    number: int
    container: frozenset[str]
    service: frozenset[str]

    def meant(self, endpoint: Object, *, by_service: bool) -> bool:
        """Tell whether a monitor's endpoint means this port."""
        names = self.service if by_service else self.container
        target = endpoint.get("targetPort")
        return (
            endpoint.get("port") in names
            or endpoint.get("portNumber") == self.number
            or target == self.number
            or target in self.container
        )


def findings(observed: NodeObservation, plan: Plan, monitors: Sequence[Object]) -> tuple[Finding, ...]:
    """Give what is found about a node's consumers."""
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
                f"scrapes :{proxy.number}, where no metrics are after the split; {new[0]} scrapes :{public.number}",
                "take that endpoint out after the cutover",
            )
        else:
            yield Finding(
                "scrapes-proxy",
                FindingSeverity.ERROR,
                about,
                f"scrapes :{proxy.number}, and nothing scrapes :{public.number}: metrics vanish with the split sidecar",
                f"let it scrape port {public.number} (/v0/metrics) as well, before the cutover",
            )
    for monitor in monitors:
        if monitor["kind"] == "ScrapeConfig" and any("SDConfigs" in key for key in monitor["spec"]):
            what = "finds its targets by service discovery, which is not judged"
            remedy = f"see that it does not scrape :{proxy.number} of nodes"
            yield Finding("scrape-config-unsupported", FindingSeverity.WARNING, _name(monitor), what, remedy)


def _proxy(observed: NodeObservation, plan: Plan) -> _Ports:
    assert observed.statefulset is not None
    number = plan.parameters.ports.proxy
    spec = observed.statefulset["spec"]["template"]["spec"]
    ports = [port for container in shapes.containers(spec) for port in container.get("ports") or ()]
    named = {port.get("name", "") for port in ports if port["containerPort"] == number} - {""}
    there = (observed.service or {}).get("spec", {}).get("ports") or ()
    served = {p.get("name", "") for p in there if p.get("targetPort", p["port"]) in {number, *named}} - {""}
    return _Ports(number, frozenset(named), frozenset(served))


def _public(plan: Plan) -> _Ports:
    made = [each for stage in plan.stages for each in stage.transforms]
    added = [each for each in made if isinstance(each, (AddPort, AddServicePort)) and each.port is PortName.PUBLIC]
    container = frozenset(each.name for each in added if isinstance(each, AddPort))
    service = frozenset(each.name for each in added if isinstance(each, AddServicePort))
    return _Ports(plan.parameters.ports.public, container, service)


def _monitors(observed: NodeObservation, monitors: Sequence[Object], port: _Ports) -> Iterator[str]:
    for monitor in monitors:
        if _SCRAPES[monitor["kind"]](observed, monitor, port):
            yield _name(monitor)


def _pod_monitor(observed: NodeObservation, monitor: Object, port: _Ports) -> bool:
    assert observed.statefulset is not None
    spec, template = monitor["spec"], observed.statefulset["spec"]["template"]
    found = spec.get("podMetricsEndpoints") or ()
    return _selects(observed, monitor, labels(template)) and any(port.meant(each, by_service=False) for each in found)


def _service_monitor(observed: NodeObservation, monitor: Object, port: _Ports) -> bool:
    found = monitor["spec"].get("endpoints") or ()
    selected = observed.service is not None and _selects(observed, monitor, labels(observed.service))
    return selected and any(port.meant(each, by_service=True) for each in found)


def _selects(observed: NodeObservation, monitor: Object, own: dict[str, str]) -> bool:
    assert observed.seinode is not None
    where = monitor["spec"].get("namespaceSelector") or {}
    names = where.get("matchNames") or [monitor["metadata"]["namespace"]]
    there = bool(where.get("any")) or observed.seinode["metadata"]["namespace"] in names
    return there and selectors.parse(monitor["spec"].get("selector") or {}).matches(own)


def _probe(observed: NodeObservation, monitor: Object, port: _Ports) -> bool:
    targets = monitor["spec"].get("targets", {}).get("staticConfig", {}).get("static") or ()
    return any(_is_target(observed, target, port) for target in targets)


def _scrape_config(observed: NodeObservation, monitor: Object, port: _Ports) -> bool:
    configs = monitor["spec"].get("staticConfigs") or ()
    return any(_is_target(observed, target, port) for each in configs for target in each.get("targets") or ())


def _is_target(observed: NodeObservation, target: str, port: _Ports) -> bool:
    """Tell whether a target like ``https://node-0.sei.svc:8443/v0/metrics`` is this port of the node."""
    assert observed.seinode is not None
    meta = observed.seinode["metadata"]
    authority = target.partition("://")[2] or target
    host, _, number = authority.partition("/")[0].rpartition(":")
    name, namespace = meta["name"], meta["namespace"]
    known = {f"{front}{name}.{namespace}" for front in ("", f"{name}-0.")}
    known |= {f"{each}.svc{end}" for each in known for end in ("", ".cluster.local", ".cluster.local.")}
    addresses = {each["ip"] for each in (observed.pod or {}).get("status", {}).get("podIPs") or ()}
    return number == str(port.number) and host.strip("[]") in known | addresses


_SCRAPES: dict[str, Any] = {
    "PodMonitor": _pod_monitor,
    "ServiceMonitor": _service_monitor,
    "Probe": _probe,
    "ScrapeConfig": _scrape_config,
}


def _annotated(observed: NodeObservation, port: _Ports, public: _Ports) -> Iterator[str]:
    """Give who is scraped by its annotations; without a port every port that is declared is, the public one too."""
    assert observed.statefulset is not None
    meta = observed.statefulset["metadata"]
    template = observed.statefulset["spec"]["template"].get("metadata", {})
    for kind, found in (("Pod", template), ("Service", (observed.service or {}).get("metadata", {}))):
        marks = found.get("annotations") or {}
        if marks.get("prometheus.io/scrape") != "true":
            continue
        number = marks.get("prometheus.io/port")
        if number == str(port.number) or (number is None and port is public):
            name = f"{meta['name']}-0" if kind == "Pod" else meta["name"]
            yield f"{kind} {meta['namespace']}/{name} (prometheus.io annotations)"


def _name(obj: Object) -> str:
    return f"{obj['kind']} {obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _peers(seinode: Object) -> Iterator[Finding]:
    if any("label" in each for each in seinode.get("spec", {}).get("peers") or ()):
        meta = seinode["metadata"]
        yield Finding(
            "peer-discovery-through-proxy",
            FindingSeverity.WARNING,
            f"SeiNode {meta['namespace']}/{meta['name']}",
            "finds its peers by label, and so asks their :8443 for /v0/node-id, which has no place in the split",
            "see that your sidecar and controller still serve it, or name static peers",
            field="spec.peers",
        )
