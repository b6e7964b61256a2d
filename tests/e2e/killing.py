"""One node that stories leave as they found it, and runs over it that are killed at a stage."""

from __future__ import annotations

from typing import Any

from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.plan.plan import StageName
from seimigrate.engine.errors import NotFound
from tests.commandline import finish, free_lock
from tests.e2e.scene import Scene

NAME = "rollback"


def assert_as_before(node: Scene, before: tuple[Object, Object]) -> None:
    """See the node in its old shape, Ready, with nothing of ours on it, and everything done as it must be."""
    assert node.specs(NAME) == before
    assert node.ours(NAME) == []
    node.fleet.await_ready(node.namespace, NAME, seconds=60)
    node.judge()


def kill_at(node: Scene, stage: StageName) -> str:
    """Kill a run when the journal shows a stage, in enforce when the new pod is there; give what it shows then."""
    uid, before = node.uid(NAME), _record(node).get("run")
    run = node.start("apply", "--strategy", "staged" if stage.position <= StageName.READY.position else "merged")

    def reached() -> bool:
        record = _record(node)
        if run.poll() is not None or record.get("run") == before:
            return run.poll() is not None
        new_pod = stage is not StageName.ENFORCE or node.uid(NAME) not in (uid, "")
        return new_pod and StageName(record["stage"]).position >= stage.position

    try:
        node.wait_for(reached, f"stage {stage}", 240)
        assert run.poll() is None, finish(run)
    finally:
        run.kill()
        run.communicate()
    free_lock(node.cluster.admin)
    return str(_record(node)["stage"])


def _record(node: Scene) -> dict[str, Any]:
    try:
        record: dict[str, Any] = node.record(NAME)
    except NotFound:
        return {}
    return record
