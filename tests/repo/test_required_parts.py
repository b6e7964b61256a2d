"""Where something real is required, a test that needs it and is skipped has failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SUITE = """
import pytest

@pytest.fixture
def controlplane():
    pytest.skip("no control plane here")

def test_by_fixture(controlplane): pass

@pytest.mark.controlplane
@pytest.mark.prometheus
@pytest.mark.skip(reason="marked")
def test_by_mark(): pass

@pytest.mark.controlplane
def test_that_runs(): pass

@pytest.mark.skip(reason="something else")
def test_of_another_kind(): pass
"""


def outcome(folder: Path, required: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    more = {"SEIMIGRATE_REQUIRE_CONTROLPLANE": required, "SEIMIGRATE_REQUIRE_PROMETHEUS": required}
    return run(folder, SUITE, *arguments, **more)


def run(folder: Path, suite: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a suite of its own under the project's conftest."""
    shutil.copy(CONFTEST, folder)
    (folder / "test_suite.py").write_text(suite)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", *arguments, folder],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(CONFTEST.parents[1])} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["alone", "in a worker"])
def test_a_skipped_test_fails_where_it_is_required(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = outcome(tmp_path, "1", *arguments)
    assert done.returncode == 1  # pytest calls what fails in a fixture an error
    assert "1 passed, 1 skipped, 2 errors" in done.stdout
    assert "test_by_fixture needs a real API server, and was skipped: Skipped: no control plane here" in done.stdout
    assert "test_by_mark needs a real API server and a real Prometheus, and was skipped: Skipped: marked" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["alone", "in a worker"])
def test_elsewhere_it_is_skipped_and_counted(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = outcome(tmp_path, "", *arguments)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "real API server: 1 passed, 2 skipped" in lines
    assert "not run: 1 test: no control plane here" in lines
    assert "not run: 1 test: something else" in lines
