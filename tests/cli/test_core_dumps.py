"""A crash leaves nothing of a process's memory behind, in which there are tokens."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commandline import ROOT

TOKEN = "of-an-operator"


@pytest.fixture
def silence() -> Iterator[socket.socket]:
    """Give a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def test_a_process_that_crashes_with_a_token_leaves_no_core_where_another_program_does(
    silence: socket.socket, tmp_path: Path
) -> None:
    other = start(tmp_path / "other", sys.executable, "-c", "input()")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(config(silence.getsockname()[1]))
    ours = start(tmp_path / "ours", sys.executable, "-m", "seimigrate", "status", "--kubeconfig", str(kubeconfig))
    connection, _ = silence.accept()
    with connection:
        sent = connection.recv(65536).decode()
        limits = Path(f"/proc/{ours.pid}/limits").read_text()
        dumped = {name: crash(process) for name, process in (("other", other), ("ours", ours))}
    left = sorted(str(file.relative_to(tmp_path)) for name in dumped for file in (tmp_path / name).iterdir())
    print(f"dumped: {dumped}; left: {left}; core_pattern {Path('/proc/sys/kernel/core_pattern').read_text().strip()}")
    assert f"Bearer {TOKEN}" in sent
    assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")] == [["1", "1"]]
    assert not dumped["ours"]
    assert [name for name in left if name.startswith("ours")] == []
    if not dumped["other"]:
        pytest.skip("this machine dumps no core of anybody: that there is none of ours says nothing")


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """Start a program that may dump cores of any size, into a folder of its own."""
    folder.mkdir()
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (most, most)),
    )


def crash(process: subprocess.Popen[str]) -> bool:
    """Crash a process; tell whether the kernel says that it dumped a core."""
    process.send_signal(signal.SIGSEGV)
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    process.communicate()
    assert ended is not None
    assert ended.si_status == signal.SIGSEGV
    return ended.si_code == os.CLD_DUMPED


def config(port: int) -> str:
    return (
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],"
        f" clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}],"
        f" users: [{{name: u, user: {{token: {TOKEN}}}}}]}}"
    )
