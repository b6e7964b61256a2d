"""A real Prometheus on 127.0.0.1 that scrapes itself and a target that is never there."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from tests.adapters.helpers import wait_until
from tests.cache import cache
from tests.evidence import logging_into

_CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- {{job_name: self, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}
- {{job_name: gone, static_configs: [{{targets: ["127.0.0.1:1"]}}]}}
"""
_WHILE_WE_LIVE = '"$@" & read -r _; kill $!; wait'
"""Runs a program for as long as the shell's input is open: who is killed closes it, too."""


def find_prometheus() -> str | None:
    """Give the program: named by PROMETHEUS, unpacked by build.sh earlier, or the machine's own."""
    unpacked = cache() / "prometheus" / "prometheus"
    found = os.environ.get("PROMETHEUS") or (str(unpacked) if unpacked.exists() else "prometheus")
    return shutil.which(found)


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the port of a Prometheus that has scraped both its targets."""
    program = find_prometheus()
    if program is None:
        pytest.skip("there is no Prometheus: tests/prometheus/build.sh unpacks Debian's")
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "prometheus.yaml").write_text(_CONFIGURATION.format(port=port))
    words = [
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log, logging_into(folder):
        begun = ["sh", "-c", _WHILE_WE_LIVE, "sh", program, *words]
        process = subprocess.Popen(begun, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder)
        try:
            wait_until(lambda: _scraped(port), "both targets scraped")
            yield port
        finally:
            process.communicate(timeout=30)  # closes its input


def _scraped(port: int) -> bool:
    with contextlib.suppress(OSError):
        url = f"http://127.0.0.1:{port}/api/v1/query?query=count(up)"
        with urllib.request.urlopen(url, timeout=2) as answer:
            return b'"2"' in answer.read()
    return False
