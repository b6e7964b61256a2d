"""Pytest fixtures on the real control plane; a test that uses one is skipped, with the reason, where there is none."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator

import pytest

from seimigrate.adapters.api import ApiCluster
from seimigrate.domain.kube.kinds import Kind
from seimigrate.engine.errors import ApiError
from tests.controlplane.process import ControlPlane, find_programs
from tests.evidence import logging_into


@pytest.fixture(scope="session")
def controlplane() -> Iterator[ControlPlane]:
    """Give the real control plane of this test process; the tests share it, each in namespaces of its own."""
    programs, reason = find_programs()
    if programs is None:
        if os.environ.get("SEIMIGRATE_REQUIRE_CONTROLPLANE"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with ControlPlane(programs) as running, logging_into(running.folder):
        yield running


@pytest.fixture
def cluster(controlplane: ControlPlane) -> ApiCluster:
    """Give the real API with every right, behind the engine's port."""
    return ApiCluster(controlplane.admin)


@pytest.fixture
def make_namespace(cluster: ApiCluster) -> Iterator[Callable[[], str]]:
    """Give a function that creates a namespace; all are deleted after the test."""
    made: list[str] = []

    def make() -> str:
        name = f"test-{secrets.token_hex(4)}"
        cluster.create(Kind.NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        made.append(name)
        return name

    yield make
    for name in made:
        body = cluster.get(Kind.NAMESPACE, "", name)
        if body is not None:
            with contextlib.suppress(ApiError):  # the test deleted it itself a moment ago
                cluster.delete(Kind.NAMESPACE, "", name, uid=body["metadata"]["uid"])


@pytest.fixture
def namespace(make_namespace: Callable[[], str]) -> str:
    """Give a namespace that nobody else uses."""
    return make_namespace()
