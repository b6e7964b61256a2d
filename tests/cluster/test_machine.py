"""A cutover by a Job on a machine that loses its power while a node's pod is being replaced.

The stories follow each other: what stands while the machine is away, and how a new pod goes on once Kubernetes is told.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from seimigrate.domain.kinds import Object
from tests.cluster.configuration import FIRST, SECOND
from tests.cluster.conftest import OpenScene
from tests.cluster.deployed import DeployedGuard, kept_to_its_rights
from tests.cluster.deployedjob import DeployedJob
from tests.cluster.scene import POLL, Scene
from tests.cluster.secondmachine import SecondMachine

NODES = {"full": "fullNode", "old": "archive"}
FLEET = {
    "canary": {"node": None, "soak": 3, "promote": "automatic"},
    "order": ["mode", "chain"],
    "waves": ["100%"],
    "maxUnavailable": {"fleet": 1, "chain": None, "namespace": None},
}
ELSEWHERE = f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: seimigrate-apply, namespace: seimigrate-system}}
spec:
  template:
    spec:
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 1
            preference:
              matchExpressions:
              - {{key: kubernetes.io/hostname, operator: In, values: [{SECOND.name}]}}
      tolerations:
      - {{key: {SECOND.taints[0]}, operator: Exists, effect: NoSchedule}}
      # Five minutes without this. A shorter time brings no second pod either: that is seen here.
      - {{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 0}}
"""
"""The patch of an overlay: the Job's pods run on the second machine where they can, else anywhere."""


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
def guard(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedGuard]:
    """Give the guard's Deployment, on the first machine."""
    with kept_to_its_rights(DeployedGuard(scene.cluster, Path(tmp_path_factory.mktemp("deploy")))) as made:
        made.install()
        yield made


@pytest.fixture(scope="module")
def job(scene: Scene, guard: DeployedGuard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedJob]:
    """Give the Job, which does not run before it has a plan."""
    folder = Path(tmp_path_factory.mktemp("job"))
    with kept_to_its_rights(DeployedJob(scene.cluster, folder, scene.namespace, "default")) as made:
        yield made


@pytest.fixture(scope="module")
def machine(scene: Scene, job: DeployedJob) -> Iterator[SecondMachine]:
    """Give the machine that the Job runs on."""
    with SecondMachine(scene.cluster) as second:
        yield second


@dataclass(frozen=True)
class Loss:
    """When the machine was lost, what it was on, what stood then, and a ``status --watch`` of before."""

    at: float
    pod: str
    uids: Mapping[str, str]
    specs: Mapping[str, tuple[Object, Object]]
    watch: subprocess.Popen[str]

    def ago(self) -> str:
        return f"{time.monotonic() - self.at:.0f} s after the loss"


@pytest.fixture(scope="module")
def loss(scene: Scene, job: DeployedJob, machine: SecondMachine) -> Iterator[Loss]:
    """Let the Job begin, and take the machine's power away while the first node's pod is being replaced."""
    scene.fleet.switch(scene.namespace, "full", "stop-seconds", "20")
    job.start(scene.save_plan(first="full"), {"patch": ELSEWHERE})
    scene.wait_for(lambda: job.holder() != "", "the Job's run")
    watch = scene.start("status", "--watch", "-f", str(scene.cli.plan), "-o", "json")
    try:
        scene.wait_for(lambda: _being_replaced(scene, "full"), "the first node's pod to stop")
        [pod] = job.made()
        assert _place(job, pod) == SECOND.name
        uids, specs = {name: scene.uid(name) for name in NODES}, {name: scene.specs(name) for name in NODES}
        machine.lose_power()
        scene.fleet.unswitch(scene.namespace, "full", "stop-seconds")
        yield Loss(time.monotonic(), pod, uids, specs, watch)
    finally:
        watch.kill()
        watch.wait()


def test_while_its_machine_is_away_nobody_moves_a_node_and_no_second_pod_starts(
    scene: Scene, guard: DeployedGuard, job: DeployedJob, machine: SecondMachine, loss: Loss
) -> None:
    scene.wait_for(lambda: machine.condition("Ready") == "Unknown", "the machine to be missed")
    print(f"{SECOND.name} NotReady {loss.ago()}")
    scene.wait_for(lambda: job.status().get("terminating") == 1, "its pod to be given up")
    print(f"its pod Terminating {loss.ago()}: {job.status()}")
    scene.wait_for(lambda: scene.is_ready("full"), "the guard to mark the node ready that was being replaced")
    print(f"full Ready {loss.ago()}", *guard.log(f"{scene.namespace}/full"), sep="\n  ")

    status = scene.run("status").json
    assert status["run"]["live"] is False
    assert [(node["name"], node["outcome"], node["held"], node["guarded"]) for node in status["nodes"]] == [
        ("full", None, True, True),
        ("old", "held", True, True),
    ]
    assert {name: scene.specs(name) for name in NODES} == loss.specs
    assert [name for name in NODES if scene.uid(name) != loss.uids[name]] == ["full"]
    assert job.made() == [loss.pod]


def test_once_kubernetes_is_told_that_the_machine_is_gone_a_new_pod_goes_on(
    scene: Scene, job: DeployedJob, loss: Loss
) -> None:
    began = time.monotonic()
    scene.cluster.kubectl("taint", "node", SECOND.name, "node.kubernetes.io/out-of-service=:NoExecute")
    scene.wait_for(lambda: len(job.made()) == 2, "a new pod")
    print(f"a new pod {time.monotonic() - began:.0f} s after the taint")
    watched = scene.finish(loss.watch, 240)
    scene.wait_for(lambda: job.end() is not None, "the Job to end")
    print(f"{job.end()} {time.monotonic() - began:.0f} s after the taint: {job.status()}")
    print(watched.err)
    assert (job.end() or ("",))[0] == "Complete"
    assert _place(job, job.made()[1]) == FIRST.name
    # The lost pod is nobody's failure, and is removed when its machine is told to be gone.
    assert (job.status().get("succeeded"), job.status().get("failed", 0)) == (1, 0)
    assert len(job.pods()) == 1
    assert (watched.code, {node["outcome"] for node in watched.json["nodes"]}) == (0, {"done"})
    assert {name: scene.restarts(name) for name in NODES} == dict.fromkeys(NODES, 1)
    assert [scene.ours(name) for name in NODES] == [[], []]
    assert scene.killed_by_the_controller() == []


def _being_replaced(scene: Scene, name: str) -> bool:
    """Tell whether a node's pod stops, and the run has written down that it told it to."""
    return scene.stopping(name) and scene.record(name)["intent"] is None


def _place(job: DeployedJob, name: str) -> str:
    """Give the machine that one of the Job's pods runs on."""
    [found] = [pod for pod in job.pods() if pod["metadata"]["name"] == name]
    return str(found["spec"]["nodeName"])
