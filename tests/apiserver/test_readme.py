"""The README's first cutover works with the permissions that it hands out."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from tests.apiserver.scene import Scene
from tests.commandline import ROOT, bound_to
from tests.controlplane.process import ControlPlane
from tests.rbac_usage import denied

NEWCOMER = "nobody"


def roles() -> list[str]:
    """Return the ClusterRoles that the README binds."""
    found = re.search(r"^for role in (.+); do$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert found is not None
    return found[1].split()


def test_readme_commands_run_with_the_roles_that_the_readme_binds(
    scene: Scene, controlplane: ControlPlane, tmp_path: Path
) -> None:
    kubeconfig = controlplane.kubeconfig(NEWCOMER, tmp_path / "newcomer.kubeconfig")
    saved = str(tmp_path / "cutover.plan")
    mark = controlplane.audit_mark()
    with ExitStack() as stack:
        for role in roles():
            stack.enter_context(bound_to(controlplane.admin, role, NEWCOMER))
        verified = scene.run("verify", "-o", "json", kubeconfig=kubeconfig)
        assert "forbidden-or-unreadable" not in {finding["code"] for finding in verified.json["findings"]}
        assert scene.run("hold", "--yes", kubeconfig=kubeconfig).code == 0
        assert scene.run("plan", "--out", saved, kubeconfig=kubeconfig).code == 0
        assert scene.run("apply", kubeconfig=kubeconfig).code == 9
        assert scene.run("status", kubeconfig=kubeconfig).code == 0
        assert scene.run("rollback", kubeconfig=kubeconfig).code in (0, 9)
    assert denied(list(controlplane.audit_events(mark)), NEWCOMER) == []
