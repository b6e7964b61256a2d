"""One node on the real API server, and seimigrate as a user runs it: a process with a kubeconfig and rights of its own.

The user is ``operator`` with ClusterRole seimigrate of deploy/rbac.yaml and nothing else. Everything that happened is
judged at the end, by the API server's audit log.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seimigrate.adapters.api import path_of
from seimigrate.domain.kinds import JOURNAL_PREFIX, MANAGER, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.errors import ApiError, Conflict, NotFound
from seimigrate.resources import plans_dir
from seimigrate.simulation.world import SPLIT_IMAGE
from tests.controlplane.process import ControlPlane
from tests.judge import judge
from tests.models.real import RealModels

ROOT = Path(__file__).resolve().parents[2]
NAME = "node-0"
LEASE_SECONDS = "3"
OTHERS = ("admin", "kubelet", "kube-controller-manager")
"""Who also uses this project's client in these tests, and is not seimigrate."""


@dataclass(frozen=True)
class Done:
    """How a command came out."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Scene:
    """A namespace with one node, its models, and the command line."""

    def __init__(self, controlplane: ControlPlane, models: RealModels, namespace: str, folder: Path) -> None:
        self.controlplane = controlplane
        self.models = models
        self.namespace = namespace
        self.folder = folder
        self.kubeconfig = controlplane.kubeconfig("operator", folder / "operator.kubeconfig")
        self.plan = folder / "plan.yaml"
        self.plan.write_text(plan_text())
        self.mark = controlplane.audit_mark()

    # What is there.

    @property
    def node(self) -> str:
        return f"{self.namespace}/{NAME}"

    @property
    def statefulset(self) -> Object:
        return self.models.get(Kind.STATEFUL_SET, self.namespace, NAME)

    @property
    def service(self) -> Object:
        return self.models.get(Kind.SERVICE, self.namespace, NAME)

    @property
    def pod(self) -> Object:
        return self.models.get(Kind.POD, self.namespace, f"{NAME}-0")

    @property
    def record(self) -> Any:
        body = self.models.get(Kind.CONFIG_MAP, self.namespace, JOURNAL_PREFIX + NAME)
        return json.loads(body["data"]["record"])

    @property
    def ready(self) -> bool:
        return self.models.is_ready(self.namespace, NAME)

    def ours(self) -> list[str]:
        """Everything of ours that is still on the two objects: labels, and entries of managedFields."""
        found: list[str] = []
        for obj in (self.statefulset, self.service):
            meta = obj["metadata"]
            found += [label for label in meta.get("labels", {}) if label.startswith("seimigrate.")]
            found += [entry["manager"] for entry in meta["managedFields"] if entry["manager"] == MANAGER]
        return found

    # The command line.

    def arguments(self, command: str, *more: str) -> list[str]:
        given = ["--kubeconfig", str(self.kubeconfig), "--node", self.node]
        if command in ("plan", "apply", "rollback", "hold"):
            given += ["-f", str(self.plan)]
        if command in ("apply", "rollback", "hold"):
            given += ["--yes", "--lease-seconds", LEASE_SECONDS]
        if command in ("plan", "apply"):
            given += ["--accept-unjudged-policy"]
        return [sys.executable, "-m", "seimigrate", command, *given, *more]

    def start(self, command: str, *more: str, kubeconfig: Path | None = None) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        arguments = self.arguments(command, *more)
        if kubeconfig is not None:
            arguments += ["--kubeconfig", str(kubeconfig)]
        return subprocess.Popen(
            arguments,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str, *more: str, kubeconfig: Path | None = None) -> Done:
        """Run a command to its end."""
        process = self.start(command, *more, kubeconfig=kubeconfig)
        out, err = process.communicate(timeout=180)
        assert "Traceback" not in out + err, err
        return Done(process.returncode, out, err)

    def edit(self, kind: Kind, *operations: Object, name: str = NAME) -> Object:
        """Change an object as somebody else would, with kubectl."""
        changed: Object = self.controlplane.admin.request(
            "PATCH",
            path_of(kind, self.namespace, name),
            query={"fieldManager": "kubectl-edit"},
            body=list(operations),
            content_type="application/json-patch+json",
        )
        return changed

    def wait_for(self, reached: Callable[[], bool], what: str) -> None:
        self.models.wait_for(reached, what)

    def judge(self) -> None:
        """Judge everything that happened since the scene began, by rules that share no code with the project."""
        events = list(self.controlplane.audit_events(self.mark))
        violations = judge(
            events, self.models.log.entries, split_images=lambda image: image == SPLIT_IMAGE, others=OTHERS
        )
        assert violations == [], "\n".join(map(str, violations))


def plan_text(**changes: Any) -> str:
    """Give the project's plan with the split image of the models, and deadlines for models that live faster."""
    plan = yaml.safe_load((plans_dir() / "split-listeners.yaml").read_text())
    digest = SPLIT_IMAGE.partition("@")[2]
    plan["parameters"]["sidecars"] = {"accepted": [{"digest": digest}], "image": SPLIT_IMAGE}
    plan["deadlines"] = {"gate": 20, "ready": {"default": 20}, "stuck": 5, "eviction": 5}
    plan["release"] = {"agreement": 4, "settle": 2.5}
    plan |= changes
    return yaml.safe_dump(plan, sort_keys=False)


@contextmanager
def furnished(controlplane: ControlPlane) -> Iterator[None]:
    """Give the operator the rights of deploy/rbac.yaml, as an administrator would, once for a control plane."""
    for body in yaml.safe_load_all((ROOT / "deploy" / "rbac.yaml").read_text()):
        _create(controlplane, body)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "seimigrate-operator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "seimigrate"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "operator"}],
    }
    _create(controlplane, binding)
    yield


def _create(controlplane: ControlPlane, body: Object) -> None:
    version, plural = body["apiVersion"], f"{body['kind'].lower()}s"
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = body["metadata"].get("namespace")
    path = f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"
    try:
        controlplane.admin.request("POST", path, body=body)
    except Conflict:
        return


def forget_runs(controlplane: ControlPlane) -> None:
    """Remove what runs leave in the cluster as a whole: the lock, the run's record and the hold's policies."""
    admin = controlplane.admin
    for kind, name in (
        (Kind.LEASE, "seimigrate"),
        (Kind.CONFIG_MAP, "seimigrate-run"),
        (Kind.ADMISSION_BINDING, "seimigrate-hold"),
        (Kind.ADMISSION_BINDING, "seimigrate-hold-service"),
        (Kind.ADMISSION_POLICY, "seimigrate-hold"),
        (Kind.ADMISSION_POLICY, "seimigrate-hold-service"),
    ):
        namespace = SYSTEM_NAMESPACE if kind.resource.namespaced else ""
        try:
            admin.request("DELETE", path_of(kind, namespace, name))
        except NotFound:
            continue


def new_namespace(controlplane: ControlPlane) -> str:
    name = f"real-{secrets.token_hex(3)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    controlplane.admin.request("POST", path_of(Kind.NAMESPACE), body=body)
    return name


def delete_namespace(controlplane: ControlPlane, name: str) -> None:
    try:
        controlplane.admin.request("DELETE", path_of(Kind.NAMESPACE, "", name))
    except ApiError:
        return


def frozen_process(process: subprocess.Popen[str]) -> None:
    """Stop a process in its tracks, and wait until the kernel says that it stands."""
    process.send_signal(signal.SIGSTOP)
    while Path(f"/proc/{process.pid}/stat").read_text().split()[2] != "T":
        time.sleep(0.01)
