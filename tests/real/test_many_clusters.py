"""What docs/deploy.md says about many clusters, run as it is written there; they are all one, by several names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.commandline import ROOT, bound_to
from tests.real.scene import Scene

USER = "nobody"
NAMES = ("prod-a", "prod-b", "prod-c")


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not there")
def test_many_clusters_are_planned_and_looked_at_with_the_rights_of_who_only_looks(
    scene: Scene, tmp_path: Path
) -> None:
    plan, gather = blocks("seimigrate plan"), blocks("seimigrate status")
    config = yaml.safe_load(scene.controlplane.kubeconfig(USER, tmp_path / "one").read_text())
    [context] = config["contexts"]
    config["contexts"] = [context | {"name": name} for name in NAMES]
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    (tmp_path / "my.yaml").write_text(scene.plan.read_text())
    with bound_to(scene.controlplane.admin, "seimigrate-plan", USER):
        told = shell(tmp_path, f"{plan}\n{gather}")
    print(told)
    lines = [line for line in told.splitlines() if re.search(r"\d+ open +\d+ held", line)]
    assert [line.split()[0] for line in lines] == [*NAMES]
    assert all("nodes" in line and "none" in line for line in lines)
    assert [(tmp_path / f"{name}.plan").exists() for name in NAMES] == [True, True, True]


def blocks(word: str) -> str:
    """Give the block of shell commands about many clusters that has a command in it."""
    page = (ROOT / "docs" / "deploy.md").read_text().partition("## Many clusters")[2]
    [found] = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if word in block]
    return str(found)


def shell(folder: Path, text: str) -> str:
    """Run shell commands in a folder, with the program as a user has it on the path."""
    done = subprocess.run(
        ["sh", "-eu", "-c", text],
        cwd=folder,
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "KUBECONFIG": str(folder / "kubeconfig")},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
