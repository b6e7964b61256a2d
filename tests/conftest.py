"""What all tests share: hypothesis profiles, and the rule that CI runs the tests on real servers."""

from __future__ import annotations

import gc
import os
import secrets
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.costs",
    "tests.evidence",
    "tests.controlplane.fixtures",
    "tests.e2e.fixtures",
    "tests.prometheus.fixtures",
]

REAL = {"controlplane": "real API server", "cluster": "test cluster", "prometheus": "real Prometheus"}
"""The markers of tests that need something real, and what that is."""

FIXTURES = {"controlplane": "controlplane", "test_cluster": "cluster", "prometheus": "prometheus"}
"""The fixtures that give it, each with its marker."""

REQUIRED = {marker for marker in REAL if os.environ.get(f"SEIMIGRATE_REQUIRE_{marker.upper()}")}
"""The markers of those that may not be skipped: where one is, it is a failure."""

# typer sets and removes this with each command line that it reads; threads of models read the environment meanwhile,
# to look for an HTTP proxy, and fail if a variable goes away under their hands.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")

# Two busy cores say nothing about a property: no deadline, and slow generation is no error.
_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=60, **_COMMON)
settings.register_profile("ci", max_examples=60, derandomize=True, **_COMMON)
settings.register_profile("thorough", max_examples=6000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))


SEED = "SEIMIGRATE_SEED"
"""Repeats what tests draw without hypothesis: moments of kills."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of the tests that need something real, and draw the seeds that are not given."""
    os.environ.setdefault(SEED, str(secrets.randbelow(10**6)))
    if config.option.hypothesis_seed is None and not settings().derandomize:
        config.option.hypothesis_seed = secrets.randbelow(10**6)
    config.addinivalue_line("markers", "controlplane: runs on a real etcd, kube-apiserver and kube-controller-manager")
    config.addinivalue_line("markers", "prometheus: runs on a real Prometheus")
    config.addinivalue_line("markers", "cluster: runs on a real node with kubelet, containers and network policies")


def pytest_report_header(config: pytest.Config) -> str:
    """Say how what is drawn at random can be drawn again."""
    examples = config.option.hypothesis_seed
    drawn = "always the same examples" if examples is None else f"--hypothesis-seed={examples}"
    return f"seeds: {SEED}={os.environ[SEED]}, {drawn}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test by what it needs; leave out those on the test cluster unless they are asked for.

    They are asked for by a path, or by ``-m cluster``: they take minutes, and a machine for themselves.
    """
    for item in items:
        for name in FIXTURES.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(FIXTURES[name])
    named = any("e2e" in Path(argument.partition("::")[0]).parts for argument in config.args)
    if not named and "cluster" not in (config.option.markexpr or ""):
        left_out = [item for item in items if item.get_closest_marker("cluster") is not None]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
    # They wait most, and longest: what is quick fills the gaps at the end.
    items.sort(key=lambda item: item.get_closest_marker("controlplane") is None)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over all that was imported: it would walk through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a failure of a skipped test, where such tests are required."""
    report = yield
    lacked = " and a ".join(REAL[marker] for marker in sorted(REQUIRED) if item.get_closest_marker(marker) is not None)
    if lacked and report.skipped and not hasattr(report, "wasxfail"):
        assert isinstance(report.longrepr, tuple), "a skip tells file, line and reason"
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} needs a {lacked}, and was skipped: {report.longrepr[2]}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in a line each what was not run and why, and how many tests ran on something real; CI reads these lines."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"not run: {number} test{'s' if number > 1 else ''}: {reason}")

    def count(outcome: str, marker: str) -> int:
        reports = terminalreporter.stats.get(outcome, [])
        return len({report.nodeid for report in reports if marker in getattr(report, "keywords", {})})

    for marker, what in REAL.items():
        passed, left_out = count("passed", marker), count("skipped", marker)
        if passed or left_out:
            terminalreporter.write_line(f"{what}: {passed} passed, {left_out} skipped")
