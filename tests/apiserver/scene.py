"""One node on the real API server, and seimigrate as a user runs it: a process with a kubeconfig and rights of its own.

The user is ``operator`` with ClusterRole seimigrate of deploy/rbac.yaml and nothing else. Everything that happened is
judged at the end, by the API server's audit log.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import MANAGER, Kind, Object
from seimigrate.engine.errors import ApiError, NotFound
from seimigrate.simulation.world import SPLIT_IMAGE
from tests import commandline
from tests.apiserver.models.real import RealModels
from tests.audit import judge
from tests.commandline import OPERATOR, CommandLine, Done, finish, journal_of
from tests.controlplane.process import ControlPlane
from tests.forking import Command

NAME = "node-0"
OTHERS = ("admin", "kubelet", "kube-controller-manager")
"""Who also uses this project's client in these tests, and is not seimigrate."""


class Scene:
    """A namespace with one node, its models, and the command line."""

    def __init__(self, controlplane: ControlPlane, models: RealModels, namespace: str, folder: Path) -> None:
        self.controlplane = controlplane
        self.models = models
        self.namespace = namespace
        self.folder = folder
        self.kubeconfig = controlplane.kubeconfig(OPERATOR, folder / "operator.kubeconfig")
        self.plan = folder / "plan.yaml"
        self.cli = CommandLine(self.kubeconfig, self.plan, folder)
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
        return journal_of(self.controlplane.admin, self.namespace, NAME)

    @property
    def stage(self) -> str:
        """Give the stage that the node's journal names, ``""`` before there is one."""
        try:
            return str(self.record["stage"])
        except NotFound:
            return ""

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

    def start(self, command: str, *more: str, kubeconfig: Path | None = None) -> Command:
        """Start a command for the node as a process of its own."""
        other = ["--kubeconfig", str(kubeconfig)] if kubeconfig is not None else []
        return self.cli.start(command, "--node", self.node, *more, *other)

    def run(self, command: str, *more: str, kubeconfig: Path | None = None) -> Done:
        """Run a command to its end."""
        return finish(self.start(command, *more, kubeconfig=kubeconfig))

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
    deadlines = {"response": 20, "ready": {"default": 20}, "stuck": 5, "eviction": 5}
    faster: dict[str, Any] = {"deadlines": deadlines, "release": {"agreementTimeout": 4, "stabilization": 2.5}}
    return commandline.plan_text(SPLIT_IMAGE, **(faster | changes))


def let_sleep(folder: Path, seconds: float) -> None:
    """Write a program ``sleep`` into a folder, for shell scripts: the models live faster than who types them."""
    program = folder / "sleep"
    program.write_text(f"#!/bin/sh\nexec {shutil.which('sleep')} {seconds}\n")
    program.chmod(0o755)


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


def frozen_process(process: Command) -> None:
    """Stop a process in its tracks, and wait until the kernel says that it stands."""
    process.send_signal(signal.SIGSTOP)
    while Path(f"/proc/{process.pid}/stat").read_text().split()[2] != "T":
        time.sleep(0.01)
