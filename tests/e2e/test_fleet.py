"""A fleet on real pods: six nodes in waves, a gate on a real Prometheus in between, and processes that are killed."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seimigrate.adapters.api import ApiCluster, path_of
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.plan.plan import StageName
from seimigrate.engine.journal import is_journal, read
from seimigrate.engine.run_store import RunJournal, RunRecord
from tests.commandline import OPERATOR
from tests.e2e import wholefleet
from tests.e2e.conftest import OpenScene
from tests.e2e.monitoring import JOB, NAME, NAMESPACE, PORT, Monitoring
from tests.e2e.scene import POLL, Scene
from tests.e2e.wholefleet import AT_ONCE, NODES, PACE
from tests.forking import Command
from tests.prometheus.fixtures import find_prometheus

KILLS = 10
LINGER = 3.0
"""Seconds, at most, that a process lives on after the fleet has got as far as was drawn."""
GATE = {
    "gate": "prometheus",
    "name": "sidecars-up",
    "target": {"service": f"{NAMESPACE}/{NAME}", "port": PORT},
    "query": f'up{{job="{JOB}"}}',
    "condition": "all == 1",
    "every": 1,
    "timeout": 30,
}


@pytest.fixture
def scene(open_scene: OpenScene) -> Iterator[Scene]:
    """Give six nodes that are ready in the old shape, behind the policy that the project renders."""
    with open_scene() as opened:
        wholefleet.furnish(opened)
        opened.plan(fleet=PACE, gates=[GATE], strategy="merged")
        yield opened


@pytest.fixture
def monitoring(scene: Scene) -> Iterator[Monitoring]:
    program = find_prometheus()
    if program is None:
        pytest.skip("there is no Prometheus: tests/prometheus/build.sh unpacks Debian's")
    running = Monitoring(scene, Path(program))
    try:
        yield running
    finally:
        running.remove()


def test_six_nodes_come_through_by_waves_though_ten_processes_are_killed(scene: Scene, monitoring: Monitoring) -> None:
    seed = int(os.environ["SEIMIGRATE_SEED"])
    print(f"SEIMIGRATE_SEED={seed}", flush=True)
    assert monitoring.up() == {}
    assert scene.run("hold").code == 0
    scene.fleet.install("new", poll_seconds=POLL)
    planned = scene.run("plan").json
    restarts = {node["name"]: node["restarts"] for node in planned["nodes"]}

    killed_again_and_again(scene, random.Random(seed))
    done = scene.run("apply")
    assert done.code == 0, done.err
    assert {scene.record(name)["outcome"] for name in NODES} == {"done"}
    assert [scene.ours(name) for name in NODES] == [[] for _ in NODES]
    assert scene.all_restarts() == restarts

    assert_in_order(campaign(scene), planned)
    asked = monitoring.asked(OPERATOR)
    print(f"restarts {restarts}; Prometheus was asked {asked} times", flush=True)
    assert asked >= len(planned["waves"]) - 1
    scene.wait_for(lambda: monitoring.up() == dict.fromkeys(NODES, True), "all nodes to be scraped")
    wholefleet.assert_the_next_validator_waited(scene)
    scene.judge(AT_ONCE)


def killed_again_and_again(scene: Scene, chance: random.Random) -> None:
    """Start ``apply`` ten times, and kill it at moments that are spread over the whole way."""
    for moment in sorted(chance.sample(range(len(NODES) * len(StageName) - 4), KILLS)):
        process, linger = scene.start("apply"), chance.uniform(0.0, LINGER)

        def reached(process: Command = process, moment: int = moment) -> bool:
            return process.poll() is not None or stages(scene) >= moment

        try:
            scene.wait_for(reached, f"stage {moment}", 300)
            process.wait(linger)
        except subprocess.TimeoutExpired:
            process.kill()
            scene.told += process.communicate()
            print(f"killed after stage {stages(scene)}, and {linger:.1f} s: {where(scene)}", flush=True)
        else:
            raise AssertionError(f"it came to an end before it was killed {KILLS} times: {process.communicate()}")


def stages(scene: Scene) -> int:
    """Count the stages that all nodes have come to."""
    items = scene.cluster.admin.request("GET", path_of(Kind.CONFIG_MAP, scene.namespace))["items"]
    records = [read(body) for body in items if is_journal(body)]
    return sum(len(StageName) if each.outcome is Outcome.DONE else each.stage.position for each in records)


def where(scene: Scene) -> str:
    """Say how far the fleet is."""
    about = run_record(scene)
    moving = [key.partition("/")[2] for key, state in about.nodes.items() if state == "in-progress"]
    at = ", ".join(f"{name} in {scene.record(name)['stage']}" for name in moving) or "nobody is on the way"
    ended = about.campaign.finished if about.campaign else {}
    return f"wave {about.campaign.wave + 1 if about.campaign else 0}, {len(ended)} at an end, {at}"


def run_record(scene: Scene) -> RunRecord:
    found = RunJournal(ApiCluster(scene.cluster.admin)).load()
    assert found is not None
    return found


def campaign(scene: Scene) -> Campaign:
    found = run_record(scene).campaign
    assert found is not None
    return found


def assert_in_order(ended: Campaign, planned: Any) -> None:
    """See that the waves were those of the plan, whatever the number of processes."""
    assert [{"kind": wave.kind.value, "nodes": [*wave.nodes]} for wave in ended.waves] == planned["waves"]
    assert (ended.failed, ended.paused, ended.stopped) == ((), "", "")
