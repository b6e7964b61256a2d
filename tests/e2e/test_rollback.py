"""Ways back of real pods, from every stage at which a run was killed."""

from __future__ import annotations

import pytest

from seimigrate.domain.plan.plan import StageName
from tests.e2e.killing import NAME, assert_as_before, kill_at
from tests.e2e.scene import Scene

STAGES = ("hold", "check", "expose", "probes", "ready", "enforce")
"""Where a run is killed; the stages after these have nothing that the budget's story does not have."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_at_a_stage_is_rolled_back(node: Scene, stage: str) -> None:
    before, restarts = node.specs(NAME), node.restarts(NAME)
    reached = kill_at(node, StageName(stage))
    assert node.run("rollback").code == 0
    print(f"killed at {reached}: {node.restarts(NAME) - restarts} restarts, there and back")
    assert_as_before(node, before)
