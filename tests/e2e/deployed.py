"""The guard as deploy/ ships it: applied with kubectl, from the project's own image, under its own account."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import yaml

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.errors import NotFound
from tests.e2e.cluster import TestCluster, load
from tests.e2e.images import OWN_IMAGE
from tests.e2e.places import CHECKOUT
from tests.rbac_usage import bound, denied, unused

NAME = "seimigrate-guard"
USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{NAME}"
DEPLOY = CHECKOUT / "deploy"
EXAMPLE = CHECKOUT / "examples" / "namespaces"


class Deployed(Protocol):
    """Something that runs in the cluster under an account of its own."""

    def denied(self) -> list[str]:
        """Give its requests that were refused."""

    def remove(self) -> None:
        """Remove it."""


SomeDeployed = TypeVar("SomeDeployed", bound=Deployed)


@contextmanager
def kept_to_its_rights(made: SomeDeployed) -> Iterator[SomeDeployed]:
    """Give something deployed; see in the end that nothing was denied to it, and remove it."""
    try:
        yield made
        assert made.denied() == []
    finally:
        made.remove()


def copy_example(example: Path, copy: Path, *namespaces: str) -> None:
    """Copy a folder of examples/ as its users do, with namespaces of theirs in the place of those that it names."""
    copy.mkdir()
    names = dict(zip(("sei-a", "sei-b"), namespaces, strict=True))
    for file in example.iterdir():
        text = file.read_text().replace("../../deploy", os.path.relpath(DEPLOY, copy))
        (copy / file.name).write_text(re.sub("sei-[ab]", lambda found: names[found[0]], text))


class DeployedGuard:
    """What ``kubectl apply -k`` makes of deploy/, with nothing changed but where the image is."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.mark = cluster.audit_mark()
        self.folder = folder

    def install(self) -> None:
        """Apply deploy/ as its users do, and wait until it runs."""
        self._apply(DEPLOY)

    def limit(self, *namespaces: str) -> None:
        """Apply examples/namespaces instead, with two namespaces in the place of those that it names."""
        copy = self.folder / "namespaces"
        copy_example(EXAMPLE, copy, *namespaces)
        self._apply(copy)
        self.cluster.kubectl("delete", "clusterrolebinding", NAME, f"{NAME}-sidecar")

    def _apply(self, folder: Path) -> None:
        repository, _, tag = OWN_IMAGE.rpartition(":")
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(folder, self.folder)],
            "images": [{"name": "seimigrate", "newName": repository, "newTag": tag}],
        }
        (self.folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        self.cluster.kubectl("apply", "--server-side", "-k", str(self.folder))
        self.cluster.rollout(SYSTEM_NAMESPACE, NAME)

    def may_forward_ports(self, namespace: str) -> bool:
        """Ask the API server whether the guard may forward ports of a namespace's pods."""
        what = ("create", "pods", "--subresource=portforward")
        told = self.cluster.kubectl("auth", "can-i", *what, "-n", namespace, f"--as={USER}", check=False)
        return told.strip() == "yes"

    def remove(self) -> None:
        """Let no guard run, and remove what it leaves in the cluster."""
        self.cluster.kubectl("-n", SYSTEM_NAMESPACE, "delete", "deployment", NAME, "--ignore-not-found")
        path = path_of(Kind.POD, SYSTEM_NAMESPACE)
        self.cluster.wait_for(lambda: not self.cluster.admin.request("GET", path)["items"], "the guard to go")
        for kind in (Kind.LEASE, Kind.CONFIG_MAP):
            try:
                self.cluster.admin.request("DELETE", path_of(kind, SYSTEM_NAMESPACE, NAME))
            except NotFound:
                continue

    @property
    def pod(self) -> Object:
        """Give the pod that it runs in."""
        found: Object = self.cluster.admin.request("GET", path_of(Kind.POD, SYSTEM_NAMESPACE))["items"][0]
        return found

    def log(self, node: str = "") -> list[str]:
        """Give what it has said, of one node if one is given."""
        told = self.cluster.kubectl("-n", SYSTEM_NAMESPACE, "logs", f"deployment/{NAME}")
        lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        return [str(line["event"]) for line in lines if not node or line.get("node") == node]

    # What it did.

    def denied(self) -> list[str]:
        """Give its requests that were refused."""
        return denied(self.cluster.audit_events(self.mark), USER)

    def requests(self) -> int:
        """Count its requests to the API server."""
        return sum(event["user"]["username"] == USER for event in self.cluster.audit_events(self.mark))

    def roles(self) -> list[Object]:
        """Give its roles."""
        files = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
        return bound((body for file in files for body in load((DEPLOY / file).read_text())), (SYSTEM_NAMESPACE, NAME))

    def unused(self) -> list[str]:
        """Give what its roles allow and it never did."""
        return unused(self.roles(), self.cluster.audit_events(self.mark), USER)
