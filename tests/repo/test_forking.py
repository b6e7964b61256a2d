"""Commands that are forked behave as commands that are started, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.adapters.helpers import wait_until
from tests.commandline import ROOT, begin, finish
from tests.forking import FORKS


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Path]:
    """Give the kubeconfig of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"https://127.0.0.1:{server.getsockname()[1]}"
        config = {
            "clusters": [{"name": "c", "cluster": {"server": address, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = tmp_path / "silent.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        yield path


@pytest.mark.parametrize("words", [["--version"], ["apply", "--no-such-option"], ["status", "--kubeconfig", "/none"]])
def test_a_forked_command_says_and_gives_what_a_started_one_does(tmp_path: Path, words: list[str]) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "seimigrate", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    forked = finish(begin(words, tmp_path))
    assert (forked.code, forked.out, forked.err) == (started.returncode, started.stdout, started.stderr)
    script = FORKS.script(tmp_path)
    environment = os.environ | {"NO_COLOR": "1"}
    asked = subprocess.run([script, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stdout, asked.stderr) == (started.returncode, started.stdout, started.stderr)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_a_signal_reaches_it_and_its_exit_code_is_reported(
    tmp_path: Path, silent: Path, number: int, code: int
) -> None:
    command = begin(["status", "--kubeconfig", str(silent)], tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(1)
    command.send_signal(number)
    command.communicate(30)
    assert (command.returncode, command.poll()) == (code, code)
    command.kill()  # nobody is there any more, and nobody else is hit


def test_it_ends_with_the_process_that_asked_for_it(tmp_path: Path, silent: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from tests.commandline import begin\n"
        f"command = begin(['status', '--kubeconfig', {str(silent)!r}], pathlib.Path({str(tmp_path)!r}))\n"
        "print(command.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    asking = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    with asking.stdout:
        pid = int(asking.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    asking.kill()
    asking.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the command to end")
