"""The wheel is complete: installed alone, away from the checkout, seimigrate finds its plans and runbooks."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "KUBECONFIG"))
    }
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment's bin folder, with the wheel in it and the packages of this one, but not the checkout."""
    venv = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv)
    python = venv / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=venv,
    )
    # A path named in a .pth file is searched, but the .pth files in it (the editable install's) are not followed.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv).strip()
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(site, "packages.pth").write_text("\n".join(sorted(packages)) + "\n")
    return venv / "bin"


def test_the_wheel_carries_every_plan_and_runbook(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    carried = [file for folder in ("plans", "runbooks") for file in (ROOT / folder).rglob("*") if file.is_file()]
    assert carried
    assert {f"seimigrate/{file.relative_to(ROOT)}" for file in carried} <= inside


def test_an_installed_package_finds_its_plans_and_runbooks(installed: Path, tmp_path: Path) -> None:
    script = (
        "import seimigrate.resources as r, seimigrate.planfile as p;"
        "print(r.plans_dir(), r.runbooks_dir(), p.read_plan('split-listeners').migration)"
    )
    plans, runbooks, migration = run(installed / "python", "-c", script, cwd=tmp_path).split()
    assert Path(plans).is_relative_to(installed.parent)
    assert Path(runbooks).is_relative_to(installed.parent)
    assert migration == "split-listeners"


def test_the_installed_console_script_works_from_another_folder(installed: Path, tmp_path: Path) -> None:
    assert "apply" in run(installed / "seimigrate", "--help", cwd=tmp_path)
    assert '"$schema"' in run(installed / "seimigrate", "schema", cwd=tmp_path)
