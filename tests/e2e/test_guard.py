"""The guard on real pods: a Deployment under its own role, beside the old controller whose writes are denied.

The stories follow each other on three nodes, and the last one looks at what the guard did in all of them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from seimigrate.adapters.pods import ForwardedPodClient
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind
from seimigrate.simulation.objects import CONTROLLER_NAME, CONTROLLER_NAMESPACE
from tests.e2e.conftest import OpenScene
from tests.e2e.deployed import USER, DeployedGuard, kept_to_its_rights
from tests.e2e.leaks import leaks, searched
from tests.e2e.scene import Scene
from tests.rbac_usage import grants

RUN = f"system:serviceaccount:{SYSTEM_NAMESPACE}:seimigrate"
PATIENCE = 90.0
"""Seconds for which a held node's controller can mark it ready first."""


@pytest.fixture(scope="module")
def scene(open_scene: OpenScene) -> Iterator[Scene]:
    """Give three nodes under the old controller."""
    with open_scene() as opened:
        opened.add(kept="fullNode", meant="archive", busy="seed")
        yield opened
        opened.judge()


@pytest.fixture(scope="module")
def guard(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedGuard]:
    """Give the guard's Deployment, which does not run before it is installed."""
    with kept_to_its_rights(DeployedGuard(scene.cluster, Path(tmp_path_factory.mktemp("deploy")))) as made:
        yield made


def test_an_apply_guards_what_it_leaves_held_until_a_guard_has_it(scene: Scene, guard: DeployedGuard) -> None:
    run = scene.start("apply", "--strategy", "merged", "--guard")
    scene.wait_for(lambda: _all_done(scene) or run.poll() is not None, "all nodes to be cut over", 300)
    status = scene.run("status").json["summary"]
    print(f"with no guard there, a second later: {status}")
    time.sleep(1)
    assert run.poll() is None
    assert (status["held"], status["guarded"]) == (3, 3)
    guard.install()
    done = scene.finish(run, 60)
    told = [line for line in done.err.splitlines() if "guard" in line]
    print(f"exit {done.code}", *told, sep="\n  ")
    assert done.code == 9
    assert any("no guard covers" in line and "guarding in this process" in line for line in told)
    assert "a guard took over the held nodes" in told[-1]
    assert scene.run("status").json["summary"]["guarded"] == 3


def test_its_pod_is_not_root_and_cannot_write(scene: Scene, guard: DeployedGuard) -> None:
    container = guard.pod["spec"]["containers"][0]
    print(guard.pod["status"]["containerStatuses"][0]["imageID"], container["args"])
    program = (
        "import os; print(os.getuid(), os.getgid()); open('/tmp/x', 'w');"
        "[print(p, os.access(p, os.W_OK)) for p in ('/', '/opt/seimigrate', '/usr/local')]"
    )
    where = ("-n", SYSTEM_NAMESPACE, "exec", "deployment/seimigrate-guard", "--")
    told = scene.cluster.kubectl(*where, "/opt/seimigrate/bin/python", "-c", program)
    print(told)
    assert told.split("\n")[:4] == ["65532 65532", "/ False", "/opt/seimigrate False", "/usr/local False"]


def test_a_deleted_pod_gets_ready_again_and_one_that_somebody_took_out_of_service_does_not(
    scene: Scene, guard: DeployedGuard
) -> None:
    seen = {name: len(scene.requests(name)) for name in scene.names}
    denials, uids = scene.denials(), {name: scene.uid(name) for name in ("kept", "meant")}
    assert _take_out_of_service(scene, "meant") == 201
    for name in uids:
        scene.cluster.kubectl("-n", scene.namespace, "delete", "pod", f"{name}-0", "--wait=false")
    began = time.monotonic()
    scene.wait_for(lambda: scene.uid("kept") not in ("", uids["kept"]) and scene.is_ready("kept"), "kept", 240)
    print(f"kept: Ready {time.monotonic() - began:.0f} s after somebody deleted its pod")
    print(*guard.log(f"{scene.namespace}/kept"), sep="\n  ")
    assert _marks(scene, "kept", seen["kept"]) == {USER}
    scene.wait_for(lambda: any("mark-not-ready" in line for line in guard.log(f"{scene.namespace}/meant")), "a word")
    print("meant:", *guard.log(f"{scene.namespace}/meant"), sep="\n  ")
    assert scene.uid("meant") not in ("", uids["meant"])
    assert not scene.is_ready("meant")
    assert _marks(scene, "meant", seen["meant"]) == set()
    print(f"meanwhile {scene.denials() - denials} writes of the controller were denied")


def test_it_yields_to_a_live_run_which_guards_what_it_has_done(scene: Scene, guard: DeployedGuard) -> None:
    seen, uid, marked = len(scene.requests("kept")), scene.uid("kept"), len(_marked(guard, scene))
    scene.fleet.switch(scene.namespace, "busy", "stop-seconds", str(PATIENCE + 40))
    run = scene.start("rollback", nodes=("busy",))
    scene.wait_for(lambda: not scene.is_ready("busy"), "the run to stop the busy node")
    scene.cluster.kubectl("-n", scene.namespace, "delete", "pod", "kept-0", "--wait=false")
    scene.wait_for(lambda: scene.uid("kept") not in ("", uid) and scene.is_ready("kept"), "kept", 240)
    alive = run.poll() is None
    scene.fleet.unswitch(scene.namespace, "busy", "stop-seconds")
    done = scene.finish(run, 240)
    told = guard.log(f"{scene.namespace}/kept")
    print("guard:", *told, "run:", *(line for line in done.err.splitlines() if "kept" in line), sep="\n  ")
    assert alive
    assert _marks(scene, "kept", seen) == {RUN}
    assert any("a live run covers this node" in line for line in told)
    assert len(_marked(guard, scene)) == marked
    assert done.code == 0


def test_its_rights_are_what_it_used_in_these_stories_and_it_was_denied_nothing(guard: DeployedGuard) -> None:
    allowed = len(grants(guard.roles()))
    print(f"{guard.requests()} requests; of {allowed} grants unused {guard.unused()}, denied {guard.denied()}")
    assert guard.unused() == []
    assert guard.denied() == []


def test_it_can_do_with_rights_in_some_namespaces_alone(scene: Scene, guard: DeployedGuard) -> None:
    wide = guard.may_forward_ports("kube-system")
    guard.limit(scene.namespace, "default")
    allowed = {name: guard.may_forward_ports(name) for name in (scene.namespace, "kube-system")}
    print(f"before in kube-system: {wide}; now {allowed}; {guard.pod['spec']['containers'][0]['args']}")
    assert wide
    assert allowed == {scene.namespace: True, "kube-system": False}
    scene.wait_for(lambda: _all_guarded(scene), "the guard to name its nodes")
    assert guard.denied() == []


def test_no_token_of_anybody_is_in_any_log_journal_event_or_message(scene: Scene, guard: DeployedGuard) -> None:
    """One that is written down on purpose is found: that is why nothing being found before says something."""
    much = searched(scene.cluster, scene.told, scene.mark)
    print(f"searched {much}, {len(guard.log())} lines of the guard among them")
    assert leaks(scene.cluster, scene.told, scene.mark) == []
    planted = "planted-" + secrets.token_hex(3)
    token = scene.cluster.token(SYSTEM_NAMESPACE, "seimigrate")
    meta = {"namespace": scene.namespace, "name": planted}
    scene.cluster.create(Kind.CONFIG_MAP, {"metadata": meta, "data": {"record": f"Bearer {token}"}})
    found = leaks(scene.cluster, [*scene.told, token], scene.mark)
    assert found == ["audit.log", f"CONFIG_MAP {planted}", f"command {len(scene.told)}"]


def _all_done(scene: Scene) -> bool:
    return all(scene.record(name)["outcome"] == "done-held" for name in scene.names)


def _all_guarded(scene: Scene) -> bool:
    summary = scene.run("status").json["summary"]
    return bool(summary["guarded"] == summary["held"])


def _take_out_of_service(scene: Scene, name: str) -> int:
    """Tell a sidecar that its node is not ready, as those do who work on it."""
    pods = ForwardedPodClient(scene.cluster.admin, lambda: scene.cluster.token(CONTROLLER_NAMESPACE, CONTROLLER_NAME))
    body = {"type": "mark-not-ready"}
    where = (scene.namespace, f"{name}-0", 8443)
    return pods.call(*where, "POST", "/v0/tasks", body=body, authorised=True).status


def _marks(scene: Scene, name: str, since: int) -> set[str]:
    """Give who marked a node ready, from its sidecar's nth request on."""
    return {each["user"] for each in scene.requests(name)[since:] if each["task"] == "mark-ready"}


def _marked(guard: DeployedGuard, scene: Scene) -> list[str]:
    return [line for line in guard.log(f"{scene.namespace}/kept") if line.startswith("marks pod")]
