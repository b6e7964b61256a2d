"""SeiNodes on the test cluster: their volumes and accounts, the controller of either generation, and switches."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.plan.plan import Mode
from seimigrate.simulation.objects import CONTROLLER_NAME, CONTROLLER_NAMESPACE, condition
from seimigrate.simulation.render import Generation
from seimigrate.simulation.world import SEID_IMAGE
from tests.e2e.cluster import TestCluster
from tests.e2e.controller import USER
from tests.e2e.images import CONTROLLER_IMAGE

LABELS = {"control-plane": "controller-manager", "app.kubernetes.io/name": "sei-k8s-controller"}
POLL_SECONDS = 30.0
"""How often the real controller looks at a node."""


class Fleet:
    """The SeiNodes of a cluster; used by one test at a time."""

    def __init__(self, cluster: TestCluster) -> None:
        self.cluster = cluster
        manifest = Path(__file__).with_name("manifests") / "controller.yaml"
        cluster.apply(manifest.read_text())

    # The controller.

    def install(self, generation: str, sidecar_image: str | None = None, *, poll_seconds: float = POLL_SECONDS) -> None:
        """Run the controller of a generation, or upgrade to it, and wait until it alone runs."""
        images = self.cluster.images
        default = images.sidecar_split if Generation(generation) is Generation.NEW else images.sidecar_shared
        env = {"GENERATION": generation, "SIDECAR_IMAGE": sidecar_image or default, "POLL_SECONDS": str(poll_seconds)}
        self.cluster.apply(json.dumps(_deployment(env)))
        self.cluster.rollout(CONTROLLER_NAMESPACE, CONTROLLER_NAME)

    def stop(self) -> None:
        """Let no controller run."""
        path = path_of(Kind.POD, CONTROLLER_NAMESPACE)
        self.cluster.kubectl("-n", CONTROLLER_NAMESPACE, "scale", f"deployment/{CONTROLLER_NAME}", "--replicas=0")
        self.cluster.wait_for(lambda: not self.cluster.admin.request("GET", path)["items"], "the controller to go")

    def controller_log(self) -> list[Object]:
        """Give what the present controller has logged."""
        text = self.cluster.kubectl("-n", CONTROLLER_NAMESPACE, "logs", f"deployment/{CONTROLLER_NAME}")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    # Nodes.

    def prepare(self, namespace: str) -> None:
        """Make a namespace, if it is not there, with the account that the nodes' proxies ask the API server as."""
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"seid-node-{namespace}"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:auth-delegator",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "seid-node", "namespace": namespace}],
        }
        account: Object = {"apiVersion": "v1", "kind": "ServiceAccount"}
        account |= {"metadata": {"name": "seid-node", "namespace": namespace}}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        self.cluster.apply("\n---\n".join(json.dumps(each) for each in (made, account, binding)))

    def add(
        self,
        namespace: str,
        name: str,
        mode: str = "fullNode",
        *,
        chain: str = "pacific-1",
        sidecar_port: int = 7777,
        sidecar_image: str | None = None,
    ) -> Object:
        """Create a SeiNode with its volume; it gets ready under whichever controller there is."""
        self.prepare(namespace)
        self._add_volume(namespace, name)
        sidecar: Object = {"port": sidecar_port} | ({"image": sidecar_image} if sidecar_image else {})
        spec = {"chainId": chain, "image": SEID_IMAGE, Mode(mode).value: {}, "sidecar": sidecar}
        return self.cluster.create(Kind.SEI_NODE, {"metadata": {"namespace": namespace, "name": name}, "spec": spec})

    def await_ready(self, namespace: str, *names: str, seconds: float = 240.0) -> None:
        """Wait until the pods are Ready and the controller says that the nodes run and their sidecars are ready."""
        left = list(names)

        def all_ready() -> bool:
            left[:] = [name for name in left if not self.is_ready(namespace, name)]
            return not left

        self.cluster.wait_for(all_ready, f"{namespace}: {', '.join(names)}", seconds)

    def is_ready(self, namespace: str, name: str) -> bool:
        """Tell whether the pod is Ready and the controller says that the node runs and its sidecar is ready."""
        if not self.cluster.pod_ready(namespace, f"{name}-0"):
            return False
        node = self.cluster.get(Kind.SEI_NODE, namespace, name)
        return node.get("status", {}).get("phase") == "Running" and condition(node, "SidecarReady") == "True"

    def pod(self, namespace: str, name: str) -> Object:
        """Read a node's pod; raises ``NotFound``."""
        return self.cluster.get(Kind.POD, namespace, f"{name}-0")

    def remove(self, namespace: str) -> None:
        """Delete a namespace with its nodes, and their volumes."""
        nodes = self.cluster.admin.request("GET", path_of(Kind.SEI_NODE, namespace))["items"]
        self.cluster.kubectl("-n", namespace, "delete", "seinodes", "--all", "--wait=false")
        self.cluster.kubectl("delete", "namespace", namespace, "--timeout=120s")
        self.cluster.kubectl("delete", "clusterrolebinding", f"seid-node-{namespace}", "--ignore-not-found")
        for node in nodes:
            name = node["metadata"]["name"]
            self.cluster.kubectl("delete", "persistentvolume", f"{namespace}-{name}", "--ignore-not-found")
            shutil.rmtree(self.home(namespace, name), ignore_errors=True)

    # What is on their volumes.

    def home(self, namespace: str, name: str) -> Path:
        """Give the folder that is the node's volume; it outlives pods."""
        return self.cluster.folder / "volumes" / f"{namespace}-{name}"

    def switch(self, namespace: str, name: str, switch: str, value: str = "") -> None:
        """Set a switch of the stand-ins; which there are is said at the top of their programs."""
        file = self.home(namespace, name) / "switches" / switch
        file.write_text(value)

    def unswitch(self, namespace: str, name: str, switch: str) -> None:
        """Take a switch back."""
        (self.home(namespace, name) / "switches" / switch).unlink(missing_ok=True)

    def events(self, namespace: str, name: str, program: str) -> list[Object]:
        """Give what ``seid`` or ``sidecar`` have logged on the volume, over all pods of a node."""
        file = self.home(namespace, name) / "logs" / f"{program}.jsonl"
        text = file.read_text() if file.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def _add_volume(self, namespace: str, name: str) -> None:
        home = self.home(namespace, name)
        for folder in (home, home / "switches"):
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, USER, USER)
        common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
        claim = {"name": f"data-{name}", "namespace": namespace}
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{namespace}-{name}"},
            "spec": common
            | {"capacity": {"storage": "1Gi"}, "hostPath": {"path": str(home)}, "claimRef": claim}
            | {"persistentVolumeReclaimPolicy": "Retain"},
        }
        request = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": claim,
            "spec": common | {"resources": {"requests": {"storage": "1Gi"}}, "volumeName": f"{namespace}-{name}"},
        }
        self.cluster.apply("\n---\n".join(json.dumps(each) for each in (volume, request)))


def _deployment(env: dict[str, str]) -> Object:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    container = {
        "name": "manager",
        "image": CONTROLLER_IMAGE,
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "securityContext": security | {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    pod = {
        "serviceAccountName": CONTROLLER_NAME,
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": CONTROLLER_NAME, "namespace": CONTROLLER_NAMESPACE, "labels": LABELS},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": pod},
        },
    }
