"""The metrics of a run, for a Prometheus that scrapes them while it lasts: on 127.0.0.1, and only if asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from seimigrate.domain.fleet.progress import IN_PROGRESS, PENDING, Progress
from seimigrate.engine.errors import UsageError

ADDRESS = "127.0.0.1"


@dataclass(frozen=True, eq=False)
class RunMetrics(Collector):
    """Makes metrics of how far a run is, at each scrape anew; ``about`` are the labels that say which run it is."""

    progress: Callable[[], Progress]
    now: Callable[[], float]
    about: Mapping[str, str]

    def collect(self) -> Iterator[Metric]:
        """Give the metrics."""
        progress = self.progress()
        yield InfoMetricFamily("seimigrate_run", "Information about the current run.", dict(self.about))
        nodes = GaugeMetricFamily("seimigrate_nodes", "Nodes of the run by state.", labels=["state"])
        for state, number in sorted(({PENDING: 0, IN_PROGRESS: 0} | progress.counts()).items()):
            nodes.add_metric([state], number)
        yield nodes
        yield self._stages(progress)
        restarts = sum(node.restarts for node in progress.nodes.values())
        yield CounterMetricFamily("seimigrate_pod_replacements", "Pods replaced by the run.", restarts)
        yield from _fleet(progress)

    def _stages(self, progress: Progress) -> Metric:
        labels = ["namespace", "node", "stage", "direction"]
        seconds = GaugeMetricFamily(
            "seimigrate_node_stage_duration_seconds", "Seconds a node has spent in its current stage.", None, labels
        )
        for node in progress.nodes.values():
            if progress.state(node.key) == IN_PROGRESS:
                seconds.add_metric([*node.key.split("/", 1), node.stage, node.direction], self.now() - node.since)
        return seconds


def _fleet(progress: Progress) -> Iterator[Metric]:
    campaign = progress.campaign
    if campaign is None:
        return
    yield GaugeMetricFamily("seimigrate_run_waves", "Number of waves of the run.", len(campaign.waves))
    yield GaugeMetricFamily(
        "seimigrate_run_current_wave", "Index of the current wave, starting at 1.", campaign.wave + 1
    )
    yield GaugeMetricFamily(
        "seimigrate_run_failed_nodes", "Failed nodes counted against maxFailedNodes.", len(campaign.failed)
    )
    yield GaugeMetricFamily("seimigrate_run_paused", "1 if the run is paused.", bool(campaign.paused))
    yield GaugeMetricFamily("seimigrate_run_stopping", "1 if the run is stopping.", bool(campaign.stopped))


@contextmanager
def serve_metrics(port: int, metrics: RunMetrics) -> Iterator[int]:
    """Serve metrics at ``/metrics`` meanwhile; gives the port (0: a free one). Raises ``UsageError`` if it is taken."""
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(port, ADDRESS, registry)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"--metrics-port {port}: {ADDRESS} cannot be listened on there: {why}") from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
