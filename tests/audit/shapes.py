"""Made-up pods, in the shapes of the cutover, and the changes and patches between them."""

from __future__ import annotations

from typing import Any

from tests.audit.events import Json
from tests.audit.violations import FREEZE, HOLD

SPLIT = "registry.example/sidecar:split"
SHARED = "registry.example/sidecar:shared"
IGNORE = "--ignore-paths=/v0/healthz,/v0/startupz,/v0/livez,/v0/metrics"

TEMPLATE = "spec.template.spec"
HOLD_PATH = f"metadata.labels[{HOLD}]"
FREEZE_PATH = f"metadata.labels[{FREEZE}]"


def pod_spec(
    *,
    image: str = SHARED,
    own: int = 7777,
    public: int | None = None,
    probes: int = 8443,
    gate: int = 7777,
    ignore: str | None = IGNORE,
) -> Json:
    """Make the part of a pod's spec that matters to its start, in the shape before the cutover unless told."""
    env = [{"name": "SEI_SIDECAR_PORT", "value": str(own)}]
    if public is not None:
        env.append({"name": "SEI_SIDECAR_PUBLIC_PORT", "value": str(public)})
    args = ["--insecure-listen-address=0.0.0.0:8443", f"--upstream=http://127.0.0.1:{own}/"]
    gate_text = (
        f"until (exec 3<>/dev/tcp/localhost/{gate} && printf 'GET /v0/healthz HTTP/1.0\\r\\n'); do sleep 5; done"
    )
    return {
        "initContainers": [
            {"name": "seid-init", "image": "seid"},
            {"name": "sei-sidecar", "image": image, "env": env, "ports": [{"containerPort": own, "name": "sidecar"}]},
            {
                "name": "kube-rbac-proxy",
                "image": "proxy",
                "args": [*args, *([ignore] if ignore else [])],
                "livenessProbe": _probe("/v0/livez", probes),
                "readinessProbe": _probe("/v0/healthz", probes),
                "startupProbe": {"tcpSocket": {"port": 8443}},
            },
        ],
        "containers": [
            {
                "name": "seid",
                "image": "seid",
                "args": [gate_text],
                "startupProbe": _probe("/v0/healthz", probes),
                "readinessProbe": _probe("/lag_status", 26657),
            },
        ],
    }


def _probe(path: str, port: int) -> Json:
    return {"httpGet": {"path": path, "port": port, "scheme": "HTTP"}}


def moved(**different: Any) -> Json:
    """Make the pod's spec after the probes stage."""
    given: dict[str, Any] = {"image": SPLIT, "public": 9100, "probes": 9100, "gate": 9100}
    return pod_spec(**given | different)


def change(path: str, before: Any, after: Any) -> Json:
    """Make one change of an intent."""
    return {"path": path, "before": before, "after": after}


def template_changes(old: Json, new: Json) -> list[Json]:
    """Make the changes of an intent that turns one template of this module into another."""
    proxy, sidecar = f"{TEMPLATE}.initContainers[name=kube-rbac-proxy]", f"{TEMPLATE}.initContainers[name=sei-sidecar]"
    seid = f"{TEMPLATE}.containers[name=seid]"
    was, now = _by_name(old), _by_name(new)
    public = next(entry for entry in now["sei-sidecar"]["env"] if entry["name"] == "SEI_SIDECAR_PUBLIC_PORT")

    def probe(where: str, container: str, kind: str) -> Json:
        ports = [spec[container][kind]["httpGet"]["port"] for spec in (was, now)]
        return change(f"{where}.{kind}.httpGet.port", *ports)

    return [
        change(f"{sidecar}.image", was["sei-sidecar"]["image"], now["sei-sidecar"]["image"]),
        change(f"{sidecar}.env[name=SEI_SIDECAR_PUBLIC_PORT]", None, public),
        probe(proxy, "kube-rbac-proxy", "livenessProbe"),
        probe(proxy, "kube-rbac-proxy", "readinessProbe"),
        probe(seid, "seid", "startupProbe"),
        change(f"{seid}.args[*=/dev/tcp/localhost/]", was["seid"]["args"][0], now["seid"]["args"][0]),
    ]


def _by_name(spec: Json) -> dict[str, Json]:
    return {c["name"]: c for c in [*spec["initContainers"], *spec["containers"]]}


def pointer(label: str) -> str:
    """Give the JSON Pointer of a label."""
    return "/metadata/labels/" + label.replace("/", "~1")


def add_label(label: str, value: str) -> Json:
    """Make the operation that sets a label."""
    return {"op": "add", "path": pointer(label), "value": value}


def expect_hold(token: str) -> Json:
    """Make the operation that tests the token."""
    return {"op": "test", "path": pointer(HOLD), "value": token}


def replace_spec(spec: Json) -> Json:
    """Make the operation that replaces the pod's spec in a template."""
    return {"op": "replace", "path": "/spec/template/spec", "value": spec}
