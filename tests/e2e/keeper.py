"""Keep a machine's namespaces for as long as somebody wants them, then leave nothing behind.

Runs as a process of its own: ``python -m tests.e2e.keeper STATE MODULE WORDS...``. It starts the module in there,
prints the number of the process that is 1 in there, and waits until its input ends, which it does however its parent
goes. Should the keeper be killed itself, the kernel kills the machine with it (parent-death signals down to process 1
of the process-id namespace), and the next cluster sweeps up the folder and the cgroups.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e import cgroups

NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup")


def main(state: Path, module: str, *words: str) -> int:
    """Start the machine, wait for the end of the input, and clean up; give the exit code."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    lock = (state / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    made = cgroups.create(state.name)
    (state / "cgroups").write_text("".join(f"{path}\n" for path in made))
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--kill-child"]
    with (state / "log" / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, sys.executable, "-m", f"tests.e2e.{module}", str(state), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: cgroups.join(made),
        )
    try:
        print(_first_process(process), flush=True)
        sys.stdin.buffer.read()
    finally:
        process.kill()
        process.wait()
        left = clean(state)
    for path in left:
        print(f"left behind: {path}", flush=True)
    return 1 if left else 0


@contextlib.contextmanager
def alone(states: Path) -> Iterator[None]:
    """Let nobody else sweep meanwhile: a new cluster's folder is there before its keeper has locked it."""
    states.mkdir(parents=True, exist_ok=True)
    with states.with_name("clusters.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sweep(states: Path) -> None:
    """Remove what clusters left whose keeper was killed; for one at a time."""
    for state in states.iterdir() if states.is_dir() else ():
        try:
            with (state / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                clean(state)
        except OSError:  # kept by somebody, or being swept already
            continue


def clean(state: Path) -> list[Path]:
    """Remove the cgroups and the folder of a machine that is gone; give what could not be removed."""
    listed = state / "cgroups"
    made = [Path(line) for line in listed.read_text().splitlines()] if listed.exists() else []
    left = cgroups.remove([path for path in made if path.name == state.name])
    if not left:
        shutil.rmtree(state, ignore_errors=True)
    return [*left, *([state] if state.exists() else [])]


def _first_process(process: subprocess.Popen[bytes]) -> int:
    """Give the number, as seen from here, of the process that is 1 in its process-id namespace."""
    while process.poll() is None:
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                status = Path(f"/proc/{child}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
                if len(numbers) == len(_own_numbers()) + 1:
                    return int(child)
        time.sleep(0.02)
    raise RuntimeError("the machine's namespaces cannot be made; see log/node.log")


def _own_numbers() -> list[str]:
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
