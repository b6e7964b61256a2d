"""Pytest fixtures on the test cluster; a test that uses one is skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.cluster import TestCluster, find
from tests.e2e.fleet import Fleet
from tests.evidence import logging_into

LOGS = ("*.log", "log/*.log", "overlay/var/log/pods/*/*/*.log")
"""The audit log, what the machine's programs say, and what containers print."""


@pytest.fixture(scope="session")
def test_cluster() -> Iterator[TestCluster]:
    """Give the test cluster of this test session."""
    programs, reason = find()
    if programs is None:
        if os.environ.get("SEIMIGRATE_REQUIRE_CLUSTER"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with TestCluster(*programs) as running, logging_into(running.folder, *LOGS):
        yield running


@pytest.fixture(scope="session")
def fleet(test_cluster: TestCluster) -> Fleet:
    """Give the SeiNodes of the test cluster; no controller runs until a test installs one."""
    return Fleet(test_cluster)


@pytest.fixture(scope="module")
def make_sei_namespace(fleet: Fleet) -> Iterator[Callable[[], str]]:
    """Give a function that makes a namespace for nodes; all go after the module, with their nodes and volumes."""
    made: list[str] = []

    def make() -> str:
        name = f"sei-{secrets.token_hex(4)}"
        fleet.prepare(name)
        made.append(name)
        return name

    yield make
    for name in made:
        fleet.remove(name)
