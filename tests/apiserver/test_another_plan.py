"""A Job is bound to the plan that it was made with, by the name of the ConfigMap that examples/apply gives it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind, Object
from tests.apiserver.scene import delete_namespace, new_namespace
from tests.controlplane.process import ControlPlane
from tests.e2e.deployed import copy_example
from tests.e2e.deployedjob import EXAMPLE, JOB


class Folder:
    """A copy of the example with a plan, and kubectl; no pod of the Job ever runs."""

    def __init__(self, controlplane: ControlPlane, folder: Path) -> None:
        self.controlplane = controlplane
        self.folder = folder / "apply"
        self._words = [str(controlplane.programs / "kubectl"), "--kubeconfig", str(folder / "admin.kubeconfig")]
        controlplane.kubeconfig("admin", folder / "admin.kubeconfig")

    def kubectl(self, *words: str) -> str:
        """Run kubectl on the folder; give the error that it ends with, "" if it did what it was to do."""
        whole = [*self._words, *words, "-k", str(self.folder)]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=120, check=False)
        return done.stderr if done.returncode else ""

    def plan(self, text: str) -> None:
        (self.folder / "cutover.plan").write_text(text)

    def seen(self) -> tuple[str, str]:
        """Give the Job's uid and the plan that its pods find."""
        job: Object = self.controlplane.admin.request("GET", JOB)
        [name] = [v["configMap"]["name"] for v in job["spec"]["template"]["spec"]["volumes"] if "configMap" in v]
        plan = self.controlplane.admin.request("GET", path_of(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, name))
        return str(job["metadata"]["uid"]), str(plan["data"]["cutover.plan"])


@pytest.fixture
def folder(rights: ControlPlane, tmp_path: Path) -> Iterator[Folder]:
    if not (rights.programs / "kubectl").exists():
        pytest.skip("no kubectl beside the control plane")
    made = Folder(rights, tmp_path)
    with ExitStack() as stack:
        namespaces = [new_namespace(rights) for _ in range(2)]
        for name in namespaces:
            stack.callback(delete_namespace, rights, name)
        copy_example(EXAMPLE, made.folder, *namespaces)
        made.plan("first")
        stack.callback(made.kubectl, "delete", "--ignore-not-found")
        yield made


def test_another_plan_is_refused_by_a_job_that_is_there_and_carried_out_by_the_next_one(folder: Folder) -> None:
    assert folder.kubectl("apply", "--server-side") == ""
    job, plan = folder.seen()
    assert plan == "first"
    assert folder.kubectl("apply", "--server-side") == ""
    assert folder.seen() == (job, "first")
    folder.plan("second")
    assert "field is immutable" in folder.kubectl("apply", "--server-side")
    assert folder.seen() == (job, "first")
    assert folder.kubectl("delete", "--ignore-not-found") == ""
    assert folder.kubectl("apply", "--server-side") == ""
    following, plan = folder.seen()
    assert (following != job, plan) == (True, "second")
