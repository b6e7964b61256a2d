"""Fixtures: a node on the real control plane, with rights, models and a judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.apiserver.models.real import RealModels
from tests.apiserver.scene import NAME, Scene, delete_namespace, new_namespace
from tests.commandline import forget_runs, furnish
from tests.controlplane.process import ControlPlane

MakeScene = Callable[..., Scene]


@pytest.fixture(scope="session")
def rights(controlplane: ControlPlane) -> ControlPlane:
    furnish(controlplane.admin)
    return controlplane


@pytest.fixture
def make_scene(rights: ControlPlane, tmp_path: Path) -> Iterator[MakeScene]:
    """Give a function that makes a node and waits until it is ready; every run over it is judged in the end."""
    made: list[Scene] = []
    running: list[RealModels] = []

    def make(mode: str = "fullNode", *, controller: str = "old", judged: bool = True, **node: object) -> Scene:
        namespace = new_namespace(rights)
        models = RealModels(rights, controller=controller, log_path=tmp_path / "pods.log")
        models.__enter__()
        running.append(models)
        scene = Scene(rights, models, namespace, tmp_path)
        models.add_node(namespace, NAME, mode, **node)  # type: ignore[arg-type]
        if judged:
            made.append(scene)
        return scene

    try:
        yield make
        for scene in made:
            scene.judge()
    finally:
        for models in running:
            models.__exit__()
            for namespace in models.namespaces:
                delete_namespace(rights, namespace)
        forget_runs(rights.admin)


@pytest.fixture
def scene(make_scene: MakeScene) -> Scene:
    """Give a full node that is ready in the old shape, under the old controller."""
    return make_scene()
