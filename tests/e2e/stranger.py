"""A pod of somebody else: no account of its own, and what it can get from a sidecar over the pod network."""

from __future__ import annotations

import json

from seimigrate.domain.kube.kinds import Object
from seimigrate.simulation.world import SEID_IMAGE
from tests.e2e.scene import FORGED, Scene

NAME = "stranger"


class Stranger:
    """Calls sidecars over the pod network, from the nodes' namespace or from another one."""

    def __init__(self, scene: Scene, namespace: str = "", **labels: str) -> None:
        self.scene = scene
        self.namespace = namespace or scene.namespace
        scene.cluster.apply(json.dumps(_pod(self.namespace, labels)))
        scene.wait_for(lambda: scene.cluster.pod_ready(self.namespace, NAME), "the stranger's pod")

    def connects(self, node: str, port: int) -> bool:
        """Tell whether a connection comes about."""
        host = f"{node}-0.{node}.{self.scene.namespace}.svc.cluster.local"
        where = ("-n", self.namespace, "exec", NAME, "--", "bash", "-c")
        script = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>/dev/null && echo open || echo shut"
        return self.scene.cluster.kubectl(*where, script).strip() == "open"

    def status(self, node: str, port: int, path: str) -> int | None:
        """GET a path with a forged user; give the status, ``None`` where nobody answers."""
        host = f"{node}-0.{node}.{self.scene.namespace}.svc.cluster.local"
        ask = f"GET {path} HTTP/1.1\\r\\nHost: sidecar\\r\\nX-Remote-User: {FORGED}\\r\\nConnection: close\\r\\n\\r\\n"
        script = f"exec 3<>/dev/tcp/{host}/{port} && printf '{ask}' >&3 && timeout 3 head -n 1 <&3"
        where = ("-n", self.namespace, "exec", NAME, "--")
        told = self.scene.cluster.kubectl(*where, "timeout", "5", "bash", "-c", script, check=False)
        return int(told.split()[1]) if told.startswith("HTTP/") else None

    def was_believed(self, node: str, since: int = 0) -> bool:
        """Tell whether the forged user came through to the sidecar behind the proxy, from its nth request on."""
        asked = [each for each in self.scene.requests(node)[since:] if each["listener"] != "public"]
        return any(each["user"] == FORGED for each in asked)


def _pod(namespace: str, labels: dict[str, str]) -> Object:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    container = {"name": NAME, "image": SEID_IMAGE, "command": ["sleep", "3600"], "securityContext": security}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container], "automountServiceAccountToken": False}
    meta = {"name": NAME, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
