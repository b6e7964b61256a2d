"""A saved plan, and those who watch its run, on a real API server: another terminal, a scrape, Kubernetes Events."""

from __future__ import annotations

import json
import signal
import socket
import threading
import urllib.request
from typing import Any

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import Kind
from tests.adapters.helpers import wait_until
from tests.apiserver.scene import NAME, Scene, frozen_process
from tests.commandline import LEASE_SECONDS, Done, begin, finish, read_until
from tests.forking import Command

STAGES = ["hold", "check", "expose", "probes", "ready", "enforce", "policy", "release"]


def apply_saved(scene: Scene, file: str, *more: str) -> Command:
    """Start ``apply FILE``: nothing else says what to do."""
    words = ["apply", file, "--kubeconfig", str(scene.kubeconfig), "--yes", "--no-guard", "--lease-duration"]
    return begin([*words, LEASE_SECONDS, *more], scene.folder)


def events(done: Done) -> list[Any]:
    return [json.loads(line) for line in done.out.splitlines()]


def stages(told: list[Any]) -> list[str]:
    return [event["stage"] for event in told if event.get("event") == "stage"]


def test_a_saved_plan_is_refused_once_the_node_is_another_and_else_applied(scene: Scene) -> None:
    file = str(scene.folder / "cutover.plan")
    assert scene.run("plan", "--out", file).code == 0
    before = scene.statefulset["spec"]
    seinode = {"op": "add", "path": "/spec/podLabels", "value": {"a": "b"}}
    scene.edit(Kind.SEI_NODE, seinode)
    refused = finish(apply_saved(scene, file))
    assert refused.code == 1, refused.err
    assert f"{scene.node}: SeiNode metadata.generation was 1, is 2" in refused.err
    assert scene.statefulset["spec"]["template"]["spec"] == before["template"]["spec"]
    assert scene.ours() == []
    scene.wait_for(lambda: scene.ready, "the node to be ready")
    assert scene.run("plan", "--out", file).code == 0
    assert finish(apply_saved(scene, file)).code == 9


def test_a_run_is_followed_from_another_terminal_scraped_and_told_by_kubernetes_events(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scraped: list[str] = []

    def scrape() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
                scraped.append(answer.read().decode())
        except OSError:
            return False
        return 'seimigrate_nodes{state="in-progress"} 1.0' in scraped[-1]

    running = scene.start("apply", "-o", "json", "--metrics-port", str(port))
    ended: list[Done] = []
    waiter = threading.Thread(target=lambda: ended.append(finish(running)))
    waiter.start()
    wait_until(scrape, "the node to be on its way")
    follower = finish(scene.start("status", "-f", str(scene.plan), "--watch", "-o", "json"))
    waiter.join()
    [done] = ended
    assert done.code == 9, done.err

    *told, last = events(done)
    assert stages(told) == STAGES
    assert last["event"] == "ended"
    *seen, status = events(follower)
    assert {event["run"] for event in seen} == {last["run"]}
    followed = [STAGES.index(stage) for stage in stages(seen)]
    assert followed == sorted(set(followed))  # it looks once a second: what is shorter may be missed
    assert stages(seen)[-1] == "release"
    assert [event["outcome"] for event in seen if event["event"] == "outcome"] == ["done-held"]
    assert status["nodes"][0]["outcome"] == "done-held"

    found = scene.controlplane.admin.request("GET", path_of(Kind.EVENT, scene.namespace))["items"]
    ours = [e for e in found if e.get("reportingController") == "seimigrate.sei.io/run"]
    assert sorted(e["note"] for e in ours if e["reason"] == "StageStarted") == sorted(
        f"stage {stage} started" for stage in STAGES
    )
    assert {e["regarding"]["name"] for e in ours} == {NAME}
    assert any(e["reason"] == "CutoverSucceededHeld" for e in ours)


def test_who_watches_a_job_is_shown_the_pod_that_stood_by_when_the_first_one_is_lost(scene: Scene) -> None:
    file = str(scene.folder / "cutover.plan")
    assert scene.run("plan", "--out", file).code == 0
    first = apply_saved(scene, file, "--job")
    scene.wait_for(lambda: scene.stage in ("probes", "ready", "enforce"), "the first pod to be on its way")
    second = apply_saved(scene, file, "--job")
    follower = scene.start("status", "-f", str(scene.plan), "--watch", "-o", "json")
    seen = [json.loads(follower.stdout.readline())]
    read_until(second.stderr, "on standby until it is released")
    frozen_process(second)  # else it might go on before the follower has looked
    try:
        first.kill()
        finish(first)
        read_until(follower.stderr, "is gone; waiting for the Job's next pod")
    finally:
        second.send_signal(signal.SIGCONT)
    stood_by = finish(second)
    assert stood_by.code == 9, stood_by.err
    rest = finish(follower)
    assert rest.code == 0, rest.err
    *more, status = events(rest)
    seen += more
    assert len({event["run"] for event in seen}) == 2
    assert [event["outcome"] for event in seen if event["event"] == "outcome"] == ["done-held"]
    assert status["nodes"][0]["outcome"] == "done-held"


def test_who_watches_a_run_that_is_killed_at_a_terminal_is_told_how_things_stand(scene: Scene) -> None:
    running = scene.start("apply")
    scene.wait_for(lambda: scene.stage in ("probes", "ready", "enforce"), "the run to be on its way")
    follower = scene.start("status", "-f", str(scene.plan), "--watch", "-o", "json")
    follower.stdout.readline()
    running.kill()
    finish(running)
    ended = finish(follower)
    assert ended.code == 0, ended.err
    assert "next pod" not in ended.err
    status = events(ended)[-1]
    assert status["run"]["live"] is False
    assert status["nodes"][0]["outcome"] is None
    assert scene.run("rollback").code == 0
