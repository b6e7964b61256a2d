"""What sei-k8s-controller makes of a SeiNode: the StatefulSet, the Service and the proxy's ConfigMap.

Written after what upstream's controller applies: same structure and same load-bearing values (ports, probes, start
gate, labels, update strategy); volumes, resources and security settings are cut to what gives the objects their form.
The new generation is the one that the split-listeners request describes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.plan.plan import Mode
from seimigrate.simulation.objects import NODE_LABEL, PROXY, SEID, SIDECAR, owner_reference

PUBLIC_PORT = 9100
PROXY_PORT = 8443
HOME = "/home/nonroot/.sei"
SCRATCH = "/tmp"
IGNORED = ("/v0/healthz", "/v0/startupz", "/v0/livez", "/v0/metrics")
_ROLES = {Mode.VALIDATOR: "validator", Mode.ARCHIVE: "archive", Mode.SEED: "seed"}
_SEID_PORTS = (
    ("evm-rpc", 8545),
    ("evm-ws", 8546),
    ("grpc", 9090),
    ("rest", 1317),
    ("p2p", 26656),
    ("rpc", 26657),
    ("metrics", 26660),
)


class Generation(StrEnum):
    """Which controller renders: the one that shares the sidecar's listener, or the one that splits it."""

    OLD = "old"
    NEW = "new"


def mode_of(seinode: Object) -> Mode:
    """Give the mode of a SeiNode: the block that its spec carries."""
    return next(mode for mode in Mode if mode in seinode["spec"])


def sidecar_image(seinode: Object, default: str) -> str:
    """Give the sidecar image that a SeiNode is to run."""
    return str(seinode["spec"].get("sidecar", {}).get("image") or default)


def render(seinode: Object, generation: Generation, default_sidecar_image: str) -> tuple[Object, Object, Object]:
    """Give the configurations of a SeiNode's StatefulSet, Service and ConfigMap, as they are applied."""
    metadata = seinode["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    labels = {
        NODE_LABEL: name,
        "sei.io/chain": seinode["spec"]["chainId"],
        "sei.io/role": _ROLES.get(mode_of(seinode), "node"),
    } | seinode["spec"].get("podLabels", {})

    def body(kind: Kind, suffix: str = "") -> Object:
        owners = [owner_reference(Kind.SEI_NODE, seinode)]
        about = {"name": name + suffix, "namespace": namespace, "labels": dict(labels), "ownerReferences": owners}
        return {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind, "metadata": about}

    resources = f"{{apiGroup: sei.io, resource: seinodetasks, namespace: {namespace}, name: {name}}}"
    config = {"config.yaml": f"authorization:\n  resourceAttributes: {resources}\n"}
    return (
        body(Kind.STATEFUL_SET) | {"spec": _statefulset(seinode, labels, generation, default_sidecar_image)},
        body(Kind.SERVICE) | {"spec": _service(name, generation)},
        body(Kind.CONFIG_MAP, "-rbac-proxy-config") | {"data": config},
    )


def _service(name: str, generation: Generation) -> Object:
    public = [("public", PUBLIC_PORT)] if generation is Generation.NEW else []
    ports = [
        {"name": port, "port": number, "protocol": "TCP", "targetPort": number}
        for port, number in [*_SEID_PORTS, ("api", PROXY_PORT), *public]
    ]
    ports[2]["appProtocol"] = "kubernetes.io/h2c"
    return {"clusterIP": "None", "ports": ports, "publishNotReadyAddresses": True, "selector": {NODE_LABEL: name}}


def _statefulset(seinode: Object, labels: Object, generation: Generation, default_image: str) -> Object:
    name, mode = seinode["metadata"]["name"], mode_of(seinode)
    health = PUBLIC_PORT if generation is Generation.NEW else PROXY_PORT
    init = [_seid_init(seinode), _sidecar(seinode, generation, default_image), _proxy(seinode, generation, health)]
    containers = [_seid(seinode, generation, health)]
    if mode is not Mode.SEED:
        containers.append(_exporter())
    spec = {
        "serviceAccountName": "seid-node",
        "automountServiceAccountToken": True,
        "shareProcessNamespace": True,
        "securityContext": {"fsGroup": 65532, "fsGroupChangePolicy": "OnRootMismatch"},
        "terminationGracePeriodSeconds": 30,
        "initContainers": init,
        "containers": containers,
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": f"data-{name}"}},
            {"name": "sidecar-tmp", "emptyDir": {}},
            {"name": "home", "emptyDir": {}},
            {"name": "rbac-proxy-config", "configMap": {"name": f"{name}-rbac-proxy-config"}},
        ],
    }
    annotations = {"karpenter.sh/do-not-disrupt": "true"}
    return {
        "replicas": 0 if seinode["spec"].get("paused") else 1,
        "selector": {"matchLabels": {NODE_LABEL: name}},
        "serviceName": name,
        "template": {"metadata": {"annotations": annotations, "labels": dict(labels)}, "spec": spec},
        "updateStrategy": {"type": "OnDelete"},
    }


def _container(name: str, image: str, **more: Any) -> Object:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    return {"name": name, "image": image, "securityContext": security} | more


def _mounts(*paths: tuple[str, str]) -> list[Object]:
    return [{"name": name, "mountPath": path} for name, path in paths]


def _seid_init(seinode: Object) -> Object:
    chain = seinode["spec"]["chainId"]
    script = f'if [ ! -f "{HOME}/config/genesis.json" ]; then seid init {chain} --chain-id {chain} --home "{HOME}"; fi'
    return _container(
        "seid-init",
        seinode["spec"]["image"],
        command=["/bin/sh", "-c", script],
        env=[{"name": "HOME", "value": "/home/nonroot"}],
        volumeMounts=_mounts(("data", HOME), ("home", "/home/nonroot")),
    )


def _sidecar(seinode: Object, generation: Generation, default_image: str) -> Object:
    port = _sidecar_port(seinode)
    env = {
        "SEI_CHAIN_ID": seinode["spec"]["chainId"],
        "SEI_SIDECAR_PORT": str(port),
        "SEI_HOME": HOME,
        "HOME": "/home/nonroot",
        "SEI_SIDECAR_AUTHN_MODE": "trusted-header",
    }
    ports: list[Object] = [{"name": "sidecar", "containerPort": port, "protocol": "TCP"}]
    if generation is Generation.NEW:
        env["SEI_SIDECAR_PUBLIC_PORT"] = str(PUBLIC_PORT)
        ports.append({"name": "public", "containerPort": PUBLIC_PORT, "protocol": "TCP"})
    return _container(
        SIDECAR,
        sidecar_image(seinode, default_image),
        command=["seictl", "serve"],
        env=[{"name": name, "value": value} for name, value in env.items()],
        ports=ports,
        resources=seinode["spec"].get("sidecar", {}).get("resources", {}),
        restartPolicy="Always",
        volumeMounts=_mounts(("home", "/home/nonroot"), ("data", HOME), ("sidecar-tmp", SCRATCH)),
    )


def _proxy(seinode: Object, generation: Generation, health: int) -> Object:
    args = [
        f"--insecure-listen-address=0.0.0.0:{PROXY_PORT}",
        f"--upstream=http://127.0.0.1:{_sidecar_port(seinode)}/",
        "--config-file=/etc/kube-rbac-proxy/config.yaml",
        f"--ignore-paths={','.join(IGNORED)}",
        "--auth-header-fields-enabled=true",
        "--v=0",
    ]
    if generation is Generation.NEW:
        del args[3]
    return _container(
        PROXY,
        "quay.io/brancz/kube-rbac-proxy:v0.19.1",
        args=args,
        ports=[{"name": "api", "containerPort": PROXY_PORT, "protocol": "TCP"}],
        startupProbe=_probe({"tcpSocket": {"port": PROXY_PORT}}, 5, 5, 60),
        livenessProbe=_probe(_get("/v0/livez", health), 5, 10, 3),
        readinessProbe=_probe(_get("/v0/healthz", health), 2, 5, 6),
        restartPolicy="Always",
        volumeMounts=[{"name": "rbac-proxy-config", "mountPath": "/etc/kube-rbac-proxy", "readOnly": True}],
    )


def _seid(seinode: Object, generation: Generation, health: int) -> Object:
    gate = PUBLIC_PORT if generation is Generation.NEW else _sidecar_port(seinode)
    script = (
        'echo "waiting for sidecar to become ready..."; while true; do if (exec 3<>/dev/tcp/localhost/'
        f'{gate} && printf "GET /v0/healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n" >&3 && head -1 <&3 | '
        'grep -q "200") 2>/dev/null; then break; fi; sleep 5; done; echo "sidecar ready, starting seid"; '
        f'exec seid "start" "--home" "{HOME}"'
    )
    seed = mode_of(seinode) is Mode.SEED
    ready = {"tcpSocket": {"port": 26656}} if seed else _get("/lag_status", 26657)
    return _container(
        SEID,
        seinode["spec"]["image"],
        command=["/bin/bash", "-c"],
        args=[script],
        env=[{"name": "HOME", "value": "/home/nonroot"}, {"name": "TMPDIR", "value": HOME + SCRATCH}],
        ports=[{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in _SEID_PORTS],
        startupProbe=_probe(_get("/v0/healthz", health), 5, 5, 86400),
        readinessProbe=_probe(ready, 30, 10, 3) | {"timeoutSeconds": 5},
        volumeMounts=_mounts(("data", HOME), ("home", "/home/nonroot")),
    )


def _exporter() -> Object:
    script = (
        'echo "waiting for gRPC :9090 to be available..."; until (exec 3<>/dev/tcp/localhost/9090) 2>/dev/null; '
        'do sleep 5; done; exec /usr/local/bin/sei-cosmos-exporter "--denom" "usei" "--listen-address" ":9300"'
    )
    return _container(
        "cosmos-exporter",
        "ghcr.io/sei-protocol/sei-cosmos-exporter@sha256:" + "0" * 64,
        command=["/bin/bash", "-c"],
        args=[script],
        ports=[{"name": "cosmos-metrics", "containerPort": 9300, "protocol": "TCP"}],
        livenessProbe=_probe({"tcpSocket": {"port": 9300}}, 600, 10, 3),
        readinessProbe=_probe({"tcpSocket": {"port": 9300}}, 0, 10, 6),
        volumeMounts=_mounts(("sidecar-tmp", SCRATCH)),
    )


def _sidecar_port(seinode: Object) -> int:
    return int(seinode["spec"].get("sidecar", {}).get("port") or 7777)


def _get(path: str, port: int) -> Object:
    return {"httpGet": {"path": path, "port": port}}


def _probe(how: Object, delay: int, period: int, failures: int) -> Object:
    probe = how | {"periodSeconds": period, "failureThreshold": failures}
    return probe | {"initialDelaySeconds": delay} if delay else probe
