"""A real Prometheus in a pod, as a monitoring system beside the fleet.

Debian's is built without discovery by the API server. It finds nodes by DNS, where a port ``public`` of a Service has
an SRV record for each pod that has it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from seimigrate.adapters.pods import ForwardedPodClient
from seimigrate.domain.kube.kinds import Object
from seimigrate.engine.errors import Unreachable
from tests.e2e.images import PROMETHEUS_IMAGE
from tests.e2e.scene import Scene

NAMESPACE = "monitoring"
"""Where the project's own plan lets the public port be scraped from."""
NAME, PORT = "prometheus", 9090
JOB = "sidecars"


class Monitoring:
    """Scrapes those of the scene's nodes that have a port ``public``, every second."""

    def __init__(self, scene: Scene, program: Path) -> None:
        self.scene, self.cluster = scene, scene.cluster
        self.cluster.load_image(self.cluster.images.prometheus(program))
        self.cluster.apply("\n---\n".join(map(json.dumps, _objects(scene.namespace, scene.names))))
        scene.wait_for(lambda: self.cluster.pod_ready(NAMESPACE, NAME), "Prometheus")
        self._pods = ForwardedPodClient(self.cluster.admin)

    def remove(self) -> None:
        """Let it go."""
        self.cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")

    def up(self) -> dict[str, bool]:
        """Ask it which nodes are scraped now, and whether that works."""
        query = quote(f'up{{job="{JOB}"}}')
        try:
            answer = self._pods.call(NAMESPACE, NAME, PORT, "GET", f"/api/v1/query?query={query}")
        except Unreachable:
            return {}
        samples: list[Any] = json.loads(answer.body)["data"]["result"]
        return {sample["metric"]["node"]: sample["value"][1] == "1" for sample in samples}

    def asked(self, user: str) -> int:
        """Count how often a user has opened a port of it."""
        events = (event for event in self.scene.events() if event["user"]["username"] == user)
        targets = (event.get("objectRef") or {} for event in events)
        return sum((t.get("namespace"), t.get("subresource")) == (NAMESPACE, "portforward") for t in targets)


def _objects(namespace: str, nodes: Sequence[str]) -> list[Object]:
    meta = {"namespace": NAMESPACE, "name": NAME}
    names = [f"_public._tcp.{node}.{namespace}.svc.cluster.local" for node in nodes]
    job: Object = {"job_name": JOB, "metrics_path": "/v0/metrics"}
    job["dns_sd_configs"] = [{"names": names, "type": "SRV", "refresh_interval": "1s"}]
    job["relabel_configs"] = [
        {"source_labels": ["__meta_dns_name"], "regex": r"_public\._tcp\.([^.]+)\..*", "target_label": "node"}
    ]
    configuration = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"c.yaml": json.dumps(configuration)}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT}]},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta | {"labels": {"app": NAME}}, "spec": _pod()},
    ]


def _pod() -> Object:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    container = {
        "name": NAME,
        "image": PROMETHEUS_IMAGE,
        "args": ["--config.file=/etc/prometheus/c.yaml", "--storage.tsdb.path=/data"],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": PORT}, "periodSeconds": 1},
        "securityContext": security,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/prometheus"}, {"name": "data", "mountPath": "/data"}],
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"fsGroup": 65532},
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}, {"name": "data", "emptyDir": {}}],
    }
