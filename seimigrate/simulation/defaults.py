"""The defaults that the API server fills in, for the kinds that the simulation's controllers write.

Taken from what Kubernetes 1.36 made of the controller's objects; only the fields that a node's objects use.
"""

from __future__ import annotations

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import Invalid


def fill(kind: Kind, body: Object) -> None:
    """Fill in the defaults of one object, in place."""
    if kind is Kind.STATEFUL_SET:
        spec = body["spec"]
        spec.setdefault("podManagementPolicy", "OrderedReady")
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"})
        spec.setdefault("replicas", 1)
        _pod(spec["template"]["spec"])
    elif kind is Kind.POD:
        _pod(body["spec"])
    elif kind is Kind.SERVICE:
        spec = body["spec"]
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if spec.get("clusterIP") == "None":
            spec.setdefault("clusterIPs", ["None"])
        for port in spec.get("ports", ()):
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port["port"])


def _pod(spec: Object) -> None:
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for entry in [*spec.get("initContainers", ()), *spec.get("containers", ())]:
        entry.setdefault("imagePullPolicy", "IfNotPresent")
        entry.setdefault("resources", {})
        entry.setdefault("terminationMessagePath", "/dev/termination-log")
        entry.setdefault("terminationMessagePolicy", "File")
        for port in entry.get("ports", ()):
            port.setdefault("protocol", "TCP")
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            if name in entry:
                _probe(entry[name])


def _probe(probe: Object) -> None:
    for name, value in (("failureThreshold", 3), ("periodSeconds", 10), ("successThreshold", 1), ("timeoutSeconds", 1)):
        probe.setdefault(name, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("scheme", "HTTP")


def check(kind: Kind, body: Object) -> None:
    """Raise ``Invalid`` for what a real API server would refuse: the same port name twice, a port out of range."""
    if kind is Kind.SERVICE:
        _check_ports(body["spec"].get("ports", ()), "port", "Service", numbers=True)
    elif kind is Kind.STATEFUL_SET:
        spec = body["spec"]["template"]["spec"]
        for entry in [*spec.get("initContainers", ()), *spec.get("containers", ())]:
            _check_ports(entry.get("ports", ()), "containerPort", f"container {entry['name']}", numbers=False)


def _check_ports(ports: list[Object], number: str, where: str, *, numbers: bool) -> None:
    names = [port["name"] for port in ports if port.get("name")]
    twice = {name for name in names if names.count(name) > 1}
    values = [(port[number], port.get("protocol", "TCP")) for port in ports]
    if numbers and len(set(values)) < len(values):
        twice |= {str(value[0]) for value in values if values.count(value) > 1}
    if twice:
        raise Invalid(f"{where}: Duplicate value: {', '.join(sorted(twice))}")
    if any(not 0 < value[0] < 65536 for value in values):
        raise Invalid(f"{where}: a port must be between 1 and 65535")
