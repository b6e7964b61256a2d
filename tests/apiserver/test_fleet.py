"""A fleet on the real API server: many nodes at once, with processes that are killed in the middle."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seimigrate.adapters.api import ApiCluster, path_of
from seimigrate.domain.kube.kinds import Kind
from seimigrate.engine.run_store import RunJournal, RunRecord
from seimigrate.simulation.world import SPLIT_IMAGE
from tests.apiserver.models.real import RealModels
from tests.apiserver.scene import OTHERS, delete_namespace, new_namespace, plan_text
from tests.audit import judge
from tests.commandline import OPERATOR, CommandLine, Done, finish
from tests.controlplane.process import ControlPlane

NODES = int(os.environ.get("SEIMIGRATE_NODES") or 24)
"""How many: ``make thorough`` takes hundreds, a gate as many as it takes to have waves, kills and a full budget."""
AT_ONCE, KILLS = 8, 2
PACE = {
    "canary": {"soak": 1},
    "waves": [5, "100%"],
    "maxUnavailable": {"fleet": AT_ONCE},
}


def fleet(count: int) -> list[tuple[str, str, str]]:
    """Name, mode and chain of each node: five modes on two chains, of each chain two validators."""
    rare = [("seed", "a"), ("replayer", "b"), *(("validator", chain) for chain in "abab"), ("archive", "a")]
    nodes = [(f"{mode.lower()}-{index}", mode, chain) for index, (mode, chain) in enumerate(rare)]
    return nodes + [(f"full-{index:03}", "fullNode", "ab"[index % 2]) for index in range(count - len(nodes))]


def test_many_nodes_come_through_though_the_process_is_killed(rights: ControlPlane, tmp_path: Path) -> None:
    nodes, namespace = fleet(NODES), new_namespace(rights)
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_text(fleet=PACE, strategy="mixed", release={"agreementTimeout": 0}))
    cli = CommandLine(rights.kubeconfig(OPERATOR, tmp_path / "operator.kubeconfig"), plan, tmp_path)
    with RealModels(rights, log_path=tmp_path / "pods.log", poll_seconds=10, scale=0.1) as models:
        try:
            mark, began = rights.audit_mark(), time.monotonic()
            models.adopt(namespace)
            with ThreadPoolExecutor(4) as crew:
                for name, mode, chain in nodes:
                    crew.submit(models.add_node, namespace, name, mode, chain=chain, until_ready=False)
            wait_until_ready(rights, namespace)
            ready_at = time.monotonic()
            done, killed = killed_again_and_again(cli, namespace, rights)
            ended = time.monotonic()
            assert done.code == 9, done.err[-3000:]
            outcomes = record(rights).campaign.finished  # type: ignore[union-attr]
            assert set(outcomes.values()) == {"done-held"}
            assert len(outcomes) == NODES
            assert killed == KILLS
            events = list(rights.audit_events(mark))
            split = judge(
                events,
                models.log.entries,
                split_images=lambda image: image == SPLIT_IMAGE,
                budget=AT_ONCE,
                others=OTHERS,
            )
            assert split == [], "\n".join(map(str, split[:20]))
            print(
                f"{NODES} nodes ready in {ready_at - began:.0f} s, cut over in {ended - ready_at:.0f} s, "
                f"{killed} kills, {len(events)} requests judged in {time.monotonic() - ended:.0f} s"
            )
        finally:
            delete_namespace(rights, namespace)


def killed_again_and_again(cli: CommandLine, namespace: str, controlplane: ControlPlane) -> tuple[Done, int]:
    """Run ``apply`` to its end, killing it when it has got some way further."""
    moments = sorted(random.Random(7).sample(range(10, NODES - AT_ONCE), KILLS))
    for killed, moment in enumerate([*moments, NODES + 1]):
        process = cli.start("apply", "-n", namespace)
        while process.poll() is None and moment <= NODES and ended(controlplane) < moment:
            time.sleep(0.5)
        if process.poll() is not None or moment > NODES:
            return finish(process, 900), killed
        process.kill()
        process.communicate()
    raise AssertionError("it has no end")


def record(controlplane: ControlPlane) -> RunRecord:
    found = RunJournal(ApiCluster(controlplane.admin)).load()
    assert found is not None
    return found


def ended(controlplane: ControlPlane) -> int:
    """Tell how many nodes have come to their end."""
    found = RunJournal(ApiCluster(controlplane.admin)).load()
    return len(found.campaign.finished) if found is not None and found.campaign is not None else 0


def wait_until_ready(controlplane: ControlPlane, namespace: str) -> None:
    end = time.monotonic() + 600
    while (count := ready(controlplane, namespace)) < NODES:
        assert time.monotonic() < end, f"only {count} nodes got ready"
        time.sleep(1)


def ready(controlplane: ControlPlane, namespace: str) -> int:
    nodes = controlplane.admin.request("GET", path_of(Kind.SEI_NODE, namespace))["items"]
    return sum(
        any(c["type"] == "SidecarReady" and c["status"] == "True" for c in node.get("status", {}).get("conditions", []))
        and node["status"].get("phase") == "Running"
        for node in nodes
    )
