"""The Job of examples/apply: applied with kubectl, from a saved plan, in some namespaces, under its own account."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind, Object
from tests.e2e.cluster import TestCluster, load
from tests.e2e.deployed import copy_example
from tests.e2e.images import OWN_IMAGE
from tests.e2e.places import CHECKOUT
from tests.rbac_usage import bound, denied, unused

NAME = "seimigrate-apply"
USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{NAME}"
RIGHTS = CHECKOUT / "deploy" / "apply" / "rbac.yaml"
EXAMPLE = CHECKOUT / "examples" / "apply"
JOB = f"/apis/batch/v1/namespaces/{SYSTEM_NAMESPACE}/jobs/{NAME}"
JOB_CONTROLLER = "system:serviceaccount:kube-system:job-controller"


class DeployedJob:
    """What ``kubectl apply -k`` makes of examples/apply, with a saved plan and with nothing changed but the names."""

    def __init__(self, cluster: TestCluster, folder: Path, *namespaces: str) -> None:
        self.cluster, self.folder, self.namespaces = cluster, folder, namespaces
        self.mark = cluster.audit_mark()

    def start(self, saved: Path, *patches: Object) -> None:
        """Put a plan, our namespaces and the image into a copy of the example, and apply it as its users do.

        ``patches`` are kustomize's.
        """
        repository, _, tag = OWN_IMAGE.rpartition(":")
        copy = self.folder / "apply"
        shutil.rmtree(copy, ignore_errors=True)
        copy_example(EXAMPLE, copy, *self.namespaces)
        shutil.copy(saved, copy / "cutover.plan")
        overlay = yaml.safe_load((copy / "kustomization.yaml").read_text())
        overlay["images"] = [{"name": "seimigrate", "newName": repository, "newTag": tag}]
        overlay["patches"] += patches
        (copy / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        self.cluster.kubectl("apply", "--server-side", "-k", str(copy))

    def without(self, saved: Path, role: Object, number: int) -> Object:
        """Start it anew with one rule of a role left out; give how its first pod's container ended."""
        self.cluster.admin.request("DELETE", JOB, query={"propagationPolicy": "Background"})
        target = {"kind": role["kind"], "name": role["metadata"]["name"]}
        self.start(saved, {"target": target, "patch": json.dumps([{"op": "remove", "path": f"/rules/{number}"}])})
        uid = self.cluster.admin.request("GET", JOB)["metadata"]["uid"]
        ended: list[Object] = []

        def has_ended() -> bool:
            pods = [
                pod for pod in self.pods() if pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == uid
            ]
            states = [each["state"] for pod in pods for each in pod["status"].get("containerStatuses", [])]
            ended[:] = [state["terminated"] for state in states if "terminated" in state]
            return bool(ended)

        self.cluster.wait_for(has_ended, f"the end of a pod without rule {number} of {target['name']}", 60)
        return ended[0]

    def remove(self) -> None:
        """Remove the Job with its pods."""
        where = ("-n", SYSTEM_NAMESPACE, "delete", "--ignore-not-found", "--timeout=100s")
        self.cluster.kubectl(*where, "job", NAME, "--cascade=foreground")

    # Its pods.

    def pods(self) -> list[Object]:
        """Give the pods that there are, the first one first."""
        items = self.cluster.admin.request("GET", path_of(Kind.POD, SYSTEM_NAMESPACE))["items"]
        ours = [pod for pod in items if pod["metadata"]["labels"].get("batch.kubernetes.io/job-name") == NAME]
        return sorted(ours, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def running(self) -> list[str]:
        """Give the names of the pods that have begun and not ended, and were not told to."""
        return [
            str(pod["metadata"]["name"])
            for pod in self.pods()
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    def made(self) -> list[str]:
        """Give the names of all pods that it ever had, from the audit log."""
        return [
            str(event["responseObject"]["metadata"]["name"])
            for event in self.cluster.audit_events(self.mark)
            if (event["user"]["username"], event["verb"]) == (JOB_CONTROLLER, "create")
            and (event.get("objectRef") or {}).get("resource") == "pods"
            and event["responseStatus"]["code"] == 201
        ]

    def holder(self, *but: str) -> str:
        """Give the name of the pod whose run holds the lock, "" if none does or it is one of some others."""
        lease = self.cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME)
        who = str(lease["spec"].get("holderIdentity", "")).partition("@")[2].rpartition(":")[0]
        there = [pod["metadata"]["name"] for pod in self.pods()]
        return who if who in there and who not in but else ""

    def log(self, pod: str) -> str:
        """Give what a pod has said."""
        return self.cluster.kubectl("-n", SYSTEM_NAMESPACE, "logs", pod)

    def kill(self, pod: str) -> None:
        """Kill a pod's process at once, as a lack of memory does."""
        [status] = self.cluster.get(Kind.POD, SYSTEM_NAMESPACE, pod)["status"]["containerStatuses"]
        container = status["containerID"].partition("://")[2]
        self.cluster.enter("ctr", "-n=k8s.io", "tasks", "kill", "--signal=SIGKILL", container, check=True)

    def delete(self, pod: str) -> None:
        """Delete a pod, as a person may."""
        self.cluster.kubectl("-n", SYSTEM_NAMESPACE, "delete", "pod", pod, "--wait=false")

    def evict(self, pod: str) -> None:
        """Evict a pod, as a drain of its node does."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": SYSTEM_NAMESPACE}}
        self.cluster.admin.request("POST", f"{path_of(Kind.POD, SYSTEM_NAMESPACE, pod)}/eviction", body=body)

    # How it came out.

    def status(self) -> Object:
        """Give the Job's status."""
        found: Object = self.cluster.admin.request("GET", JOB)["status"]
        return found

    def end(self) -> tuple[str, str, str] | None:
        """Give how it ended, why, and what Kubernetes says of it; None while it runs."""
        for each in self.status().get("conditions", []):
            if each["type"] in ("Complete", "Failed") and each["status"] == "True":
                return each["type"], each.get("reason", ""), each.get("message", "")
        return None

    # What it did.

    def roles(self) -> list[Object]:
        """Give its roles."""
        return bound(load(RIGHTS.read_text()), (SYSTEM_NAMESPACE, NAME))

    def denied(self) -> list[str]:
        """Give its requests that were refused."""
        return denied(self.cluster.audit_events(self.mark), USER)

    def unused(self) -> list[str]:
        """Give what its roles allow and it never did."""
        return unused(self.roles(), self.cluster.audit_events(self.mark), USER)

    def requests(self) -> int:
        """Count its requests to the API server."""
        return sum(event["user"]["username"] == USER for event in self.cluster.audit_events(self.mark))
