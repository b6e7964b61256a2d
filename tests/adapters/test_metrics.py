"""The metrics of a run, as a scrape reads them."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from seimigrate.adapters.metrics import RunMetrics, serve_metrics
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.progress import NodeProgress, Progress
from seimigrate.domain.fleet.wave_planning import Wave, WaveKind
from seimigrate.engine.errors import UsageError

WAVES = (Wave(WaveKind.CANARY, ("sei/a",)), Wave(WaveKind.WAVE, ("sei/b", "sei/c")))
CAMPAIGN = Campaign(waves=WAVES, wave=1, finished={"sei/a": "done"}, failed=("sei/x",), paused="by ann")
NODES = {
    "sei/a": NodeProgress("sei/a", "release", "forward", 100.0, restarts=2, outcome="done"),
    "sei/b": NodeProgress("sei/b", "ready", "rollback", 160.0, restarts=1),
}


def scraped(progress: Progress) -> dict[tuple[str, str], float]:
    metrics = RunMetrics(lambda: progress, lambda: 200.0, {"run": "r1-abc", "command": "apply", "plan": "0123"})
    with (
        serve_metrics(0, metrics) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer,
    ):
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(each.name, ",".join(each.labels.values())): each.value for each in samples}


def test_a_scrape_shows_how_far_the_run_is() -> None:
    assert scraped(Progress(nodes=NODES, campaign=CAMPAIGN)) == {
        ("seimigrate_run_info", "apply,0123,r1-abc"): 1,
        ("seimigrate_nodes", "done"): 1,
        ("seimigrate_nodes", "in-progress"): 1,
        ("seimigrate_nodes", "pending"): 1,
        ("seimigrate_node_stage_duration_seconds", "rollback,sei,b,ready"): 40,
        ("seimigrate_pod_replacements_total", ""): 3,
        ("seimigrate_run_waves", ""): 2,
        ("seimigrate_run_current_wave", ""): 2,
        ("seimigrate_run_failed_nodes", ""): 1,
        ("seimigrate_run_paused", ""): 1,
        ("seimigrate_run_stopping", ""): 0,
    }


def test_before_anything_moves_there_are_zeros() -> None:
    found = scraped(Progress())
    assert found["seimigrate_nodes", "in-progress"] == 0
    assert ("seimigrate_run_current_wave", "") not in found


def test_a_port_that_is_taken_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        metrics = RunMetrics(Progress, lambda: 0.0, {})
        with (
            pytest.raises(UsageError, match=f"--metrics-port {port}: 127.0.0.1 cannot be listened on"),
            serve_metrics(port, metrics),
        ):
            pass
