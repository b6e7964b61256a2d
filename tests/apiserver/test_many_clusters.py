"""What docs/deploy.md says about many clusters, run as it is written there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Object
from tests.apiserver.jobpods import JobPods
from tests.apiserver.models.real import RealModels
from tests.apiserver.scene import NAME, Scene, delete_namespace, let_sleep, new_namespace, plan_text
from tests.commandline import ROOT, bound_to, forget_runs, furnish, journal_of
from tests.controlplane.process import ControlPlane
from tests.forking import FORKS

USER = "nobody"
NAMES = ("prod-a", "prod-b", "prod-c")
PREPARE = """
seimigrate policy render -A -f my.yaml --context "$c" | kubectl --context "$c" apply -f -
seimigrate hold -A -f my.yaml --yes --context "$c"
"""
REMOVE = """
kubectl --context "$c" delete --ignore-not-found -k deploy/apply
kubectl --context "$c" -n seimigrate-system delete --ignore-not-found configmap seimigrate-plan
"""
"""What comes before the next plan, as the same page says."""

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not there")


def test_many_clusters_are_planned_and_looked_at_with_the_rights_of_who_only_looks(
    scene: Scene, tmp_path: Path
) -> None:
    """They are all one here, by several names."""
    plan, gather = blocks("seimigrate plan"), blocks("seimigrate status")
    kubeconfig(tmp_path, dict.fromkeys(NAMES, scene.controlplane), USER)
    (tmp_path / "my.yaml").write_text(scene.plan.read_text())
    with bound_to(scene.controlplane.admin, "seimigrate-plan", USER):
        told = shell(tmp_path, f"{plan}\n{gather}")
    print(told)
    lines = [line for line in told.splitlines() if re.search(r"\d+ unfinished +\d+ held", line)]
    assert [line.split()[0] for line in lines] == [*NAMES]
    assert all("nodes" in line and "none" in line for line in lines)
    assert [(tmp_path / f"{name}.plan").exists() for name in NAMES] == [True, True, True]


class Cluster:
    """A cluster that runs a Job's pods, with one node whose ports are open to everybody."""

    def __init__(self, name: str, controlplane: ControlPlane, controller: str, folder: Path, stack: ExitStack) -> None:
        self.controlplane = controlplane
        self.namespace = new_namespace(controlplane)
        furnish(controlplane.admin)
        stack.callback(forget_runs, controlplane.admin)
        stack.callback(delete_namespace, controlplane, self.namespace)
        stack.callback(shell, folder, REMOVE, c=name)
        stack.enter_context(JobPods(controlplane, folder / f"{name}.pods"))
        self.models = stack.enter_context(RealModels(controlplane, controller=controller))
        self.models.add_node(self.namespace, NAME)

    @property
    def jobs(self) -> list[Object]:
        """Give the status of each Job."""
        path = f"/apis/batch/v1/namespaces/{SYSTEM_NAMESPACE}/jobs"
        return [job["status"] for job in self.controlplane.admin.request("GET", path)["items"]]


@pytest.fixture
def clusters(rights: ControlPlane, tmp_path: Path) -> Iterator[dict[str, Cluster]]:
    """Give two clusters, the contexts "far" and "near" of a kubeconfig, and what docs/deploy.md wants in the folder.

    The far one's node is to be moved, the near one's was made by the new controller.
    """
    if not (rights.programs / "kubectl").exists():
        pytest.skip("no kubectl beside the control plane")
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / "my.yaml").write_text(plan_text(strategy="merged", fleet={"canary": {"soak": 1}}))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").symlink_to(rights.programs / "kubectl")
    # Who follows the page looks every half a minute.
    let_sleep(tmp_path / "bin", 2)
    with ExitStack() as stack:
        planes = {"far": stack.enter_context(ControlPlane(rights.programs)), "near": rights}
        kubeconfig(tmp_path, planes, "admin")
        far = Cluster("far", planes["far"], "old", tmp_path, stack)
        yield {"far": far, "near": Cluster("near", rights, "new", tmp_path, stack)}


def test_the_next_cluster_is_started_when_the_one_before_is_complete_and_never_after_one_that_failed(
    clusters: dict[str, Cluster], tmp_path: Path
) -> None:
    contexts = 'CONTEXTS="far near"\n'
    plan = contexts + blocks("seimigrate plan").partition("\n")[2]
    start = contexts + blocks("deploy/apply")
    far, near = clusters.values()
    shell(tmp_path, plan)
    told = shell(tmp_path, start)
    print(told, far.jobs)
    assert told.splitlines()[-1] == "far Failed"
    assert near.jobs == []

    shell(tmp_path, PREPARE + REMOVE, c="far")
    far.models.swap_controller("new")
    shell(tmp_path, plan.replace("far near", "far"))
    told = shell(tmp_path, start)
    print(told, far.jobs, near.jobs)
    assert [line for line in told.splitlines() if line.endswith(("Complete", "Failed"))] == [
        "far Complete",
        "near Complete",
    ]
    assert journal_of(far.controlplane.admin, far.namespace, NAME)["outcome"] == "done"
    [[first], [second]] = far.jobs, near.jobs
    assert first["completionTime"] <= second["startTime"]


def kubeconfig(folder: Path, planes: dict[str, ControlPlane], user: str) -> None:
    """Write a kubeconfig with a context for each name."""
    whole: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    for name, plane in planes.items():
        one = yaml.safe_load(plane.kubeconfig(user, folder / f"{name}.kubeconfig").read_text())
        whole["clusters"] += [one["clusters"][0] | {"name": name}]
        whole["users"] += [one["users"][0] | {"name": name}]
        whole["contexts"] += [{"name": name, "context": {"cluster": name, "user": name}}]
    (folder / "kubeconfig").write_text(yaml.safe_dump(whole))


def blocks(word: str) -> str:
    """Give the block of shell commands about many clusters that has a command in it."""
    page = (ROOT / "docs" / "deploy.md").read_text().partition("## Many clusters")[2]
    [found] = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if word in block]
    return str(found)


def shell(folder: Path, text: str, **variables: str) -> str:
    """Run shell commands in a folder, with the program on the path."""
    FORKS.script(folder / "bin")
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", text],
        cwd=folder,
        env=os.environ | {"PATH": path, "KUBECONFIG": str(folder / "kubeconfig")} | variables,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
