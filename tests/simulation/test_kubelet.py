"""The kubelet's model starts, probes and ends pods by the kubelet's rules, and the listeners answer by the shape."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import Unreachable
from seimigrate.simulation.objects import condition
from seimigrate.simulation.world import NODE, SPLIT_IMAGE, World
from tests.simulation.helpers import SEI, delete_pod, new_pod, set_template, split_template


def one(controller: str = "old", **node: str) -> World:
    world = World(controller=controller)
    world.add_node(SEI, "a-0", **node)  # type: ignore[arg-type]
    return world


def status(world: World, port: int, path: str, *, method: str = "GET", authorised: bool = False, **body: str) -> int:
    answer = world.pods.call(SEI, "a-0-0", port, method, path, body=body or None, authorised=authorised)
    return answer.status


def states(pod: Object) -> dict[str, Object]:
    entries = [*pod["status"]["initContainerStatuses"], *pod["status"]["containerStatuses"]]
    return {entry["name"]: entry for entry in entries}


def test_a_shared_sidecar_serves_everything_through_the_proxy_and_nothing_on_the_public_port() -> None:
    world = one()
    for path in ("/v0/healthz", "/v0/livez", "/v0/startupz", "/v0/metrics"):
        assert status(world, 8443, path) == 200
        assert status(world, 7777, path) == 200
    assert status(world, 8443, "/v0/metrics/") == 401
    assert status(world, 8443, "/v0/tasks") == 401
    assert status(world, 8443, "/v0/tasks", authorised=True) == 200
    assert status(world, 8443, "/v0/node-id", authorised=True) == 200
    stranger = world.kubelet.request(SEI, "a-0-0", 8443, "GET", "/v0/tasks", token="system:serviceaccount:x:y")
    assert stranger.status == 403
    with pytest.raises(Unreachable):
        status(world, 9100, "/v0/healthz")
    with pytest.raises(Unreachable):
        world.kubelet.request(SEI, "a-0-0", 7777, "GET", "/v0/healthz", source="network")


def test_a_split_sidecar_serves_health_on_the_public_port_and_tasks_behind_the_proxy_only() -> None:
    world = one("new")
    for path in ("/v0/healthz", "/v0/livez", "/v0/startupz", "/v0/metrics"):
        assert status(world, 9100, path) == 200
        assert status(world, 8443, path) == 401
        assert status(world, 8443, path, authorised=True) == 404
    assert status(world, 9100, "/v0/tasks") == 404
    assert status(world, 9100, "/v0/node-id") == 404
    assert status(world, 7777, "/v0/tasks") == 401
    assert status(world, 8443, "/v0/tasks", authorised=True) == 200


def test_readiness_is_lost_with_the_pod_and_a_completed_task_id_is_a_silent_no_op() -> None:
    world = one()
    world.stop_controller()
    mark = {"type": "mark-ready", "id": str(uuid.uuid4())}
    assert status(world, 8443, "/v0/tasks", method="POST", authorised=True, **mark) == 201
    uid = delete_pod(world, "a-0")
    world.run_until(lambda: new_pod(world, "a-0", uid))
    world.run(30)
    assert status(world, 8443, "/v0/healthz") == 503
    assert status(world, 8443, "/v0/tasks", method="POST", authorised=True, **mark) == 201
    assert status(world, 8443, "/v0/healthz") == 503
    mark["id"] = str(uuid.uuid4())
    assert status(world, 8443, "/v0/tasks", method="POST", authorised=True, **mark) == 201
    assert status(world, 8443, "/v0/healthz") == 200
    newest = json.loads(world.pods.call(SEI, "a-0-0", 8443, "GET", "/v0/tasks", authorised=True).body)[0]
    assert (newest["id"], newest["status"]) == (mark["id"], "completed")


def test_mark_not_ready_makes_health_503_and_purges_the_marks() -> None:
    world = one()
    assert status(world, 8443, "/v0/tasks", method="POST", authorised=True, type="mark-not-ready") == 201
    assert status(world, 8443, "/v0/healthz") == 503
    assert [task["type"] for task in world.volume(SEI, "a-0").tasks.values()] == ["mark-not-ready"]


def test_seid_starts_only_behind_its_gate_and_its_height_goes_on_after_a_restart() -> None:
    world = one()
    world.stop_controller()

    def height() -> int:
        answer = world.pods.call(SEI, "a-0-0", 26657, "GET", "/status")
        return int(json.loads(answer.body)["sync_info"]["latest_block_height"])

    first = height()
    world.run(60)
    grown = height()
    assert grown > first
    uid = delete_pod(world, "a-0")
    world.run_until(lambda: new_pod(world, "a-0", uid))
    world.run(60)
    pod = world.pod(SEI, "a-0")
    assert pod is not None
    assert not states(pod)["seid"]["started"]
    with pytest.raises(Unreachable):
        height()
    status(world, 8443, "/v0/tasks", method="POST", authorised=True, type="mark-ready")
    world.run_until(lambda: condition(world.pod(SEI, "a-0") or {}, "Ready") == "True", limit=120)
    assert height() >= grown


@pytest.mark.parametrize(("grace", "event"), [(300, "seid-stopped"), (30, "killed")])
def test_a_seid_that_needs_longer_than_its_grace_is_killed(grace: int, event: str) -> None:
    world = one()
    world.faults(SEI, "a-0").stop_seconds = 120
    began = world.clock.now()
    uid = delete_pod(world, "a-0", grace)
    world.run_until(lambda: new_pod(world, "a-0", uid))
    assert world.clock.now() - began == pytest.approx(min(grace, 120), abs=1)
    assert [entry["uid"] for entry in world.log.events(event)] == [uid]


def test_a_second_delete_shortens_the_grace_and_never_lengthens_it() -> None:
    world = one()
    world.faults(SEI, "a-0").stop_seconds = 1000
    uid = delete_pod(world, "a-0", 300)
    world.run(10)
    delete_pod(world, "a-0", 600)
    delete_pod(world, "a-0", 50)
    began = world.clock.now()
    world.run_until(lambda: new_pod(world, "a-0", uid))
    assert world.clock.now() - began == pytest.approx(50, abs=1)


def test_a_failing_liveness_restarts_the_container_and_not_the_pod() -> None:
    world = one()
    world.faults(SEI, "a-0").missing_routes = frozenset({"/v0/livez"})
    world.run(60)
    pod = world.pod(SEI, "a-0")
    assert pod is not None
    assert states(pod)["kube-rbac-proxy"]["restartCount"] >= 1
    assert states(pod)["sei-sidecar"]["restartCount"] == 0


def test_a_crashing_sidecar_an_image_that_is_not_there_and_a_full_cluster_show_as_such() -> None:
    world = one()
    world.faults(SEI, "a-0").sidecar_crashes = True
    uid = delete_pod(world, "a-0")
    world.run_until(lambda: new_pod(world, "a-0", uid))
    world.run(300)
    sidecar = states(world.pod(SEI, "a-0") or {})["sei-sidecar"]
    assert sidecar["restartCount"] >= 3
    assert sidecar["state"]["waiting"]["reason"] == "CrashLoopBackOff"

    world = one()
    world.stop_controller()
    world.settings.broken_images.add(SPLIT_IMAGE)
    set_template(world, "a-0", split_template(world, "a-0"))
    uid = delete_pod(world, "a-0")
    world.run_until(lambda: new_pod(world, "a-0", uid))
    world.run(60)
    waiting = states(world.pod(SEI, "a-0") or {})["sei-sidecar"]["state"]["waiting"]
    assert waiting["reason"] == "ImagePullBackOff"

    world = one()
    world.cluster.patch(Kind.NODE, "", NODE, [{"op": "add", "path": "/spec/unschedulable", "value": True}])
    uid = delete_pod(world, "a-0")
    world.run_until(lambda: new_pod(world, "a-0", uid))
    world.run(5)
    pod = world.pod(SEI, "a-0")
    assert pod is not None
    assert pod["status"]["conditions"][0]["reason"] == "Unschedulable"
    world.cluster.patch(Kind.NODE, "", NODE, [{"op": "remove", "path": "/spec/unschedulable"}])
    world.run_until(lambda: world.is_ready(SEI, "a-0"))


def test_the_log_on_disk_holds_what_was_asked_and_no_token(tmp_path: Path) -> None:
    world = World(log_path=tmp_path / "pods.jsonl")
    world.add_node(SEI, "a-0")
    world.log.close()
    entries = [json.loads(line) for line in (tmp_path / "pods.jsonl").read_text().splitlines()]
    assert entries == world.log.entries
    post = next(entry for entry in entries if entry.get("method") == "POST")
    assert (post["source"], post["path"], post["status"]) == ("controller", "/v0/tasks", 201)


def test_waiting_returns_at_a_change_and_time_never_stands_still() -> None:
    world = one()
    world.run(5)
    world.cache.wait_for_change(0)
    before = world.clock.now()
    world.cache.wait_for_change(5)
    assert 0 < world.clock.now() - before <= 5
    delete_pod(world, "a-0")
    before = world.clock.now()
    world.cache.wait_for_change(100)
    assert 0 < world.clock.now() - before < 1
