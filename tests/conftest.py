"""What all tests share: hypothesis profiles, and the rule that CI runs the tests on a real API server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = (
    ["tests.controlplane.fixtures"] if Path(__file__).with_name("controlplane").joinpath("fixtures.py").exists() else []
)

REQUIRED = bool(os.environ.get("SEIMIGRATE_REQUIRE_CONTROLPLANE"))
"""Whether a test on a real API server that is skipped is a failure."""

# Two busy cores say nothing about a property: no deadline, and slow generation is no error.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=60, **_COMMON)
settings.register_profile("ci", max_examples=60, derandomize=True, **_COMMON)
settings.register_profile("thorough", max_examples=2000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of the tests that need a real API server."""
    config.addinivalue_line("markers", "controlplane: runs on a real etcd, kube-apiserver and kube-controller-manager")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that uses the real API server, whether its author thought of it or not."""
    for item in items:
        if "controlplane" in getattr(item, "fixturenames", ()):
            item.add_marker("controlplane")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Make a failure of a skipped test on the real API server, where such tests are required."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if REQUIRED and skipped and item.get_closest_marker("controlplane") is not None:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} needs a real API server, and was skipped: {report.longrepr[2]}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran on the real API server; CI reads this line."""

    def count(outcome: str) -> int:
        reports = terminalreporter.stats.get(outcome, [])
        return len({report.nodeid for report in reports if "controlplane" in getattr(report, "keywords", {})})

    passed, skipped = count("passed"), count("skipped")
    if passed or skipped:
        terminalreporter.write_line(f"real API server: {passed} passed, {skipped} skipped")
