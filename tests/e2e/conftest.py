"""Fixtures for stories: nodes of their own, a user with the rights of deploy/rbac.yaml, and a judge at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.commandline import forget_runs, furnish
from tests.e2e.cluster import TestCluster
from tests.e2e.fleet import Fleet
from tests.e2e.killing import NAME
from tests.e2e.scene import POLL, Scene, new_namespace

HERE = Path(__file__).parent
LONGEST = [HERE / f"test_{name}.py" for name in ("job", "guard", "cutover", "failures", "verify", "machine")]
"""The files that take longest, in this order: they begin first, so that no worker is left with one in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin first."""
    items.sort(key=lambda item: LONGEST.index(item.path) if item.path in LONGEST else len(LONGEST))


OpenScene = Callable[[], AbstractContextManager[Scene]]


@pytest.fixture(scope="session")
def open_scene(test_cluster: TestCluster, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> OpenScene:
    """Give a context manager: a namespace without nodes, under the old controller. No other one may be open."""
    furnish(test_cluster.admin)

    @contextmanager
    def opened() -> Iterator[Scene]:
        fleet.install("old", poll_seconds=POLL)
        scene = Scene(test_cluster, fleet, new_namespace(fleet), Path(tmp_path_factory.mktemp("scene")))
        try:
            yield scene
        finally:
            fleet.stop()
            fleet.remove(scene.namespace)
            forget_runs(test_cluster.admin)

    return opened


@pytest.fixture
def scene(open_scene: OpenScene) -> Iterator[Scene]:
    """Give a scene for one story; it is judged in the end."""
    with open_scene() as opened:
        yield opened
        opened.judge()


@pytest.fixture(scope="module")
def node(open_scene: OpenScene) -> Iterator[Scene]:
    """Give a scene with one node, which each story leaves as it found it."""
    with open_scene() as scene:
        scene.add(**{NAME: "fullNode"})
        yield scene
