"""A cutover by a Job on a machine that loses its power while a node's pod is being replaced.

The stories follow each other: the Job's other pod goes on by itself, and the Job is complete once Kubernetes is told
that the machine is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.configuration import FIRST, SECOND
from tests.e2e.conftest import OpenScene
from tests.e2e.deployed import kept_to_its_rights
from tests.e2e.deployedjob import DeployedJob
from tests.e2e.scene import POLL, Scene
from tests.e2e.secondmachine import SecondMachine
from tests.forking import Command

NODES = {"full": "fullNode", "old": "archive"}
FLEET = {
    "canary": {"node": None, "promote": "manual"},
    "order": ["mode", "chain"],
    "waves": ["100%"],
    "maxUnavailable": {"fleet": 1, "chain": None, "namespace": None},
}
ANYWHERE = f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: seimigrate-apply, namespace: seimigrate-system}}
spec:
  template:
    spec:
      tolerations:
      - {{key: {SECOND.taints[0]}, operator: Exists, effect: NoSchedule}}
"""
"""The patch of an overlay: the Job's pods may run on the second machine, too."""


@pytest.fixture(scope="module")
def scene(open_scene: OpenScene) -> Iterator[Scene]:
    """Give two held nodes that their controller, the new one, disagrees with."""
    with open_scene() as opened:
        opened.plan(fleet=FLEET)
        opened.add(**NODES)
        assert opened.run("hold").code == 0
        opened.fleet.install("new", poll_seconds=POLL)
        yield opened
        opened.judge()


@pytest.fixture(scope="module")
def job(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedJob]:
    """Give the Job, which does not run before it has a plan."""
    folder = Path(tmp_path_factory.mktemp("job"))
    with kept_to_its_rights(DeployedJob(scene.cluster, folder, scene.namespace, "default")) as made:
        yield made


@pytest.fixture(scope="module")
def machine(scene: Scene, job: DeployedJob) -> Iterator[SecondMachine]:
    """Give the other machine that the Job may run on."""
    with SecondMachine(scene.cluster) as second:
        yield second


@dataclass(frozen=True)
class Loss:
    """When the machine was lost, which of the Job's pods was on it, and a ``status --watch`` of before."""

    at: float
    pod: str
    watch: Command

    def ago(self) -> str:
        return f"{time.monotonic() - self.at:.0f} s after the loss"


@pytest.fixture(scope="module")
def loss(scene: Scene, job: DeployedJob, machine: SecondMachine) -> Iterator[Loss]:
    """Let the Job begin, and take its machine's power away while it replaces the second node's pod."""
    job.start(scene.save_plan(first="full"), {"patch": ANYWHERE})
    scene.wait_for(lambda: scene.record("full")["outcome"] == "done", "the canary to be done", 240)
    at_work = _move_to(SECOND.name, scene, job)
    watch = scene.start("status", "--watch", "-f", str(scene.cli.plan), "-o", "json")
    try:
        scene.fleet.switch(scene.namespace, "old", "stop-seconds", "20")
        assert scene.finish(scene.cli.start("promote", "-o", "json")).json["accepted"] is True
        scene.wait_for(lambda: _being_replaced(scene, "old"), "the second node's pod to stop", 120)
        machine.lose_power()
        scene.fleet.unswitch(scene.namespace, "old", "stop-seconds")
        yield Loss(time.monotonic(), at_work, watch)
    finally:
        watch.kill()
        watch.wait()


def test_the_jobs_pod_on_the_other_machine_goes_on_by_itself(scene: Scene, job: DeployedJob, loss: Loss) -> None:
    scene.wait_for(lambda: job.holder(loss.pod) != "", "the pod that stood by to go on")
    print(f"pod {job.holder(loss.pod)} goes on {loss.ago()}; until then it said", *_said(job, loss.pod), sep="\n  ")
    watched = scene.finish(loss.watch, 240)
    scene.wait_for(lambda: job.status().get("succeeded") == 1, "its end")
    print(f"done {loss.ago()}: {job.status()}", watched.err, sep="\n")
    assert (watched.code, {node["outcome"] for node in watched.json["nodes"]}) == (0, {"done"})
    assert {name: scene.restarts(name) for name in NODES} == dict.fromkeys(NODES, 1)
    assert [scene.ours(name) for name in NODES] == [[], []]
    assert scene.killed_by_the_controller() == []


def test_the_job_is_complete_once_kubernetes_is_told_that_the_machine_is_gone(
    scene: Scene, job: DeployedJob, loss: Loss
) -> None:
    assert job.end() is None
    scene.cluster.kubectl("taint", "node", SECOND.name, "node.kubernetes.io/out-of-service=:NoExecute")
    scene.wait_for(lambda: job.end() is not None, "the Job to end")
    print(f"{job.end()} {loss.ago()}: {job.status()}")
    assert (job.end() or ("",))[0] == "Complete"
    assert loss.pod not in [pod["metadata"]["name"] for pod in job.pods()]
    # What was drained, and what was lost with its machine, is nobody's failure.
    assert (job.status().get("succeeded"), job.status().get("failed", 0)) == (1, 0)


def _move_to(place: str, scene: Scene, job: DeployedJob) -> str:
    """See that the Job's pods are on two machines, drain the one at work if it is elsewhere, give who is at work."""
    scene.wait_for(lambda: len(job.running()) == 2, "the Job's second pod")
    assert {_place(job, pod) for pod in job.running()} == {FIRST.name, SECOND.name}
    at_work = job.holder()
    if _place(job, at_work) != place:
        job.evict(at_work)
        scene.wait_for(lambda: job.holder(at_work) != "", "the other one to go on")
        scene.wait_for(lambda: len(job.running()) == 2, "a second pod again")
        assert {_place(job, pod) for pod in job.running()} == {FIRST.name, SECOND.name}
        print(f"pod {at_work} was drained; {job.holder()} went on")
    return job.holder()


def _said(job: DeployedJob, but: str) -> list[str]:
    """Give what the pods have said that still run, but for the lost one."""
    return [line for pod in job.running() if pod != but for line in job.log(pod).splitlines()[:5]]


def _being_replaced(scene: Scene, name: str) -> bool:
    """Tell whether a node's pod stops, and the run has written down that it told it to."""
    return scene.stopping(name) and scene.record(name)["intent"] is None


def _place(job: DeployedJob, name: str) -> str:
    """Give the machine that one of the Job's pods runs on."""
    [found] = [pod for pod in job.pods() if pod["metadata"]["name"] == name]
    return str(found["spec"]["nodeName"])
