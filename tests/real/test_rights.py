"""What the roles of deploy/ allow is what their commands need, by the API server's audit log."""

from __future__ import annotations

from pathlib import Path

from seimigrate.domain.kinds import Object
from tests.commandline import bound_to, shipped
from tests.controlplane.process import ControlPlane
from tests.real.scene import Scene
from tests.rules import denied, unused

LOOKER = "nobody"


def test_who_may_only_look_needs_all_of_its_role_and_nothing_else(
    scene: Scene, controlplane: ControlPlane, tmp_path: Path
) -> None:
    assert scene.run("apply").code == 9
    kubeconfig = controlplane.kubeconfig(LOOKER, tmp_path / "looker.kubeconfig")
    mark = controlplane.audit_mark()
    with bound_to(controlplane.admin, "seimigrate-plan", LOOKER):
        for command in ("plan", "status"):
            for more in ([], ["-A"]):
                done = scene.run(command, *more, kubeconfig=kubeconfig)
                assert done.code == 0, done.err
    events = list(controlplane.audit_events(mark))
    print(f"{sum(event['user']['username'] == LOOKER for event in events)} requests")
    assert denied(events, LOOKER) == []
    assert unused(_roles("seimigrate-plan"), events, LOOKER) == []


def _roles(name: str) -> list[Object]:
    return [each for each in shipped() if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", name)]
