"""A node brought back by hand on a real cluster: what a page of the bundle says, typed as it stands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.killing import NAME
from tests.e2e.scene import POLL, Scene

ASKING = "Check whether the controller renders the old template"


def test_with_kubectl_alone_a_node_comes_back_and_is_marked_ready_where_no_controller_does_it(
    node: Scene, tmp_path: Path
) -> None:
    before = node.specs(NAME)
    there = node.run("apply", "--strategy", "merged", "--break-glass", str(tmp_path))
    assert there.code == 9
    page = (tmp_path / node.namespace / NAME / "rollback-release.md").read_text()
    by_hand = page.partition("### With kubectl only")[2].partition("## Follow-up")[0]
    bring_back, _, let_go = by_hand.partition(ASKING)
    restarts = node.restarts(NAME)
    node.fleet.stop()
    typed = _type_in(node, bring_back)
    print(typed.stdout, typed.stderr)
    assert typed.returncode == 0
    assert "Forwarding from" in typed.stdout, "nobody else could mark it ready"
    assert node.is_ready(NAME)
    assert node.restarts(NAME) - restarts == 1
    node.fleet.install("old", poll_seconds=POLL)
    typed = _type_in(node, let_go)
    assert typed.returncode == 0, typed.stderr
    assert node.specs(NAME) == before
    assert node.run("rollback").code == 0
    assert (node.specs(NAME), node.ours(NAME)) == (before, [])
    node.fleet.await_ready(node.namespace, NAME, seconds=60)
    with pytest.raises(AssertionError, match="no intent to mark it ready") as told:
        node.judge()
    assert str(told.value).count("rule ") == 1, "what a person did without a journal is all that there is to say"


def _type_in(node: Scene, text: str) -> subprocess.CompletedProcess[str]:
    """Type the commands as they stand, but those of seimigrate, which cannot be used on such a day."""
    script = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    script = "".join(line for line in script.splitlines(keepends=True) if not line.startswith("seimigrate "))
    return node.cluster.enter("bash", "-eu", "-o", "pipefail", "-c", script, timeout=300.0)
