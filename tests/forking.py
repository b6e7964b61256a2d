"""Start seimigrate as a process of its own without waiting for an interpreter to start and import it.

``python -m tests.forking`` imports the whole program once and then forks a process for each command: its own number,
memory, files, signals and end, as from ``python -m seimigrate``, in a twentieth of the CPU time. What only a fresh
interpreter shows (imports, ``--help``, the wheel) is tested with one.

The command ends when the process that asked for it does, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parents[1]
_LIMIT = 1 << 20
_FILES = 4
"""How many files come with a request: standard input, output and error of the command, and the line for its end."""


# The side that asks.


class Command:
    """A running command; those methods of ``subprocess.Popen`` that tests use, with the same meaning."""

    def __init__(self, pid: int, line: socket.socket, stdout: IO[str], stderr: IO[str]) -> None:
        self.pid = pid
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self._line = line
        self._waiting, self._signalling = threading.Lock(), threading.Lock()
        self._texts = ["", ""]
        self._readers: list[threading.Thread] = []
        try:
            self._handle = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended already
            self._handle = -1

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended; to nobody who has got its number since."""
        with self._signalling, contextlib.suppress(ProcessLookupError):
            if self._handle >= 0:
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def poll(self) -> int | None:
        """Give the exit code, minus the signal's number where one ended it, ``None`` while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises ``subprocess.TimeoutExpired``."""
        if not self._waiting.acquire(timeout=-1 if timeout is None else timeout):
            raise subprocess.TimeoutExpired("seimigrate", timeout or 0)
        try:
            if self.returncode is None:
                self.returncode = self._ended(timeout)
            return self.returncode
        finally:
            self._waiting.release()

    def _ended(self, timeout: float | None) -> int:
        self._line.settimeout(timeout)
        try:
            told = self._line.recv(_LIMIT)
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired("seimigrate", timeout or 0) from None
        assert told, "the server that forks commands is gone"
        with self._signalling:
            self._line.close()
            if self._handle >= 0:
                os.close(self._handle)
            self._handle = -1
        return int(told)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read all that it prints, and wait for its end.

        Raises ``subprocess.TimeoutExpired``, and may then be called again.
        """
        end = None if timeout is None else time.monotonic() + timeout
        if not self._readers:
            self._readers = [threading.Thread(target=self._read, args=(which,), daemon=True) for which in (0, 1)]
            for reader in self._readers:
                reader.start()
        for reader in self._readers:
            reader.join(None if end is None else max(0.0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired("seimigrate", timeout or 0)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        return self._texts[0], self._texts[1]

    def _read(self, which: int) -> None:
        with (self.stdout, self.stderr)[which] as stream:
            self._texts[which] = stream.read()


class Forks:
    """The server, started when the first command is."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def start(
        self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, log: int | None = None
    ) -> Command:
        """Start ``seimigrate WORDS``: it has nothing to read, and writes into pipes, or all into a file, ``log``.

        ``env`` is added to the environment of this process.
        """
        request = json.dumps({"words": [*words], "cwd": str(cwd), "env": os.environ | (env or {})}).encode()
        pipes = [os.pipe(), os.pipe()]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        nothing = os.open(os.devnull, os.O_RDONLY)
        written = [end if log is None else log for _, end in pipes]
        socket.send_fds(self._server(), [request], [nothing, *written, theirs.fileno()])
        theirs.close()
        for each in (nothing, *(end for _, end in pipes)):
            os.close(each)
        pid = int(ours.recv(_LIMIT))
        return Command(pid, ours, *(os.fdopen(end, encoding="utf-8", errors="replace") for end, _ in pipes))

    def _server(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener.bind(_address(os.getpid()))
            listener.listen()
            with theirs, listener:
                files = [theirs.fileno(), listener.fileno()]
                subprocess.Popen(
                    [sys.executable, "-m", "tests.forking", *map(str, files)],
                    cwd=ROOT,
                    env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=files,
                )
        return self._socket

    def script(self, folder: Path) -> Path:
        """Write a program ``seimigrate`` into a folder, for shell scripts: it has the command forked, and waits."""
        self._server()
        folder.mkdir(exist_ok=True)
        program = folder / "seimigrate"
        program.write_text(_SCRIPT.format(python=sys.executable, address=_address(os.getpid()), limit=_LIMIT))
        program.chmod(0o755)
        return program


def _address(pid: int) -> str:
    """Give the name, in no folder, at which the server of a test process listens for scripts."""
    return f"\0seimigrate-tests-{pid}"


_SCRIPT = """#!{python} -IS
import json, os, socket, sys

server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
request = {{"words": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2, theirs.fileno()])
theirs.close()
ours.recv({limit})
code = int(ours.recv({limit}) or b"1")
sys.exit(code if code >= 0 else 128 - code)
"""


FORKS = Forks()


# The server.


class _Running(NamedTuple):
    """A command, as the server knows it."""

    pid: int
    line: socket.socket


def serve(requests: socket.socket, scripts: socket.socket) -> Sequence[str] | None:
    """Fork a process for each request; returns the words of its command in each of them, ``None`` in the end here.

    Requests come from the test process, whose end is the end of all, and from ``scripts`` that connect.
    """
    selector = selectors.DefaultSelector()
    for source in (requests, scripts):
        selector.register(source, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is scripts:
                selector.register(scripts.accept()[0], selectors.EVENT_READ)
                continue
            if key.data is not None:
                _look(selector, key)
                continue
            asking = key.fileobj
            assert isinstance(asking, socket.socket)
            request, files, _, _ = socket.recv_fds(asking, _LIMIT, _FILES)
            if not request and asking is not requests:
                selector.unregister(asking)
                asking.close()
                continue
            if not request:
                for known in selector.get_map().values():
                    if isinstance(known.data, _Running):
                        os.kill(known.data.pid, signal.SIGKILL)
                return None
            pid = os.fork()
            if pid == 0:
                return _become(json.loads(request), files)
            line = socket.socket(fileno=files.pop())
            for each in files:
                os.close(each)
            line.send(str(pid).encode())
            running = _Running(pid, line)
            selector.register(line, selectors.EVENT_READ, running)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, running)


def _look(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Tell who waits how a command ended, or end the command of somebody who is gone."""
    running: _Running = key.data
    try:
        selector.unregister(key.fileobj)
    except KeyError:  # both have come at once, and the command's end came first
        return
    if key.fileobj is running.line:
        os.kill(running.pid, signal.SIGKILL)
        return
    os.close(key.fd)
    _, status = os.waitpid(running.pid, 0)
    with contextlib.suppress(KeyError):
        selector.unregister(running.line)
    with contextlib.suppress(OSError):
        running.line.send(str(os.waitstatus_to_exitcode(status)).encode())
    running.line.close()


def _become(request: Mapping[str, object], files: list[int]) -> Sequence[str]:
    """Make this process the command that was asked for."""
    for to, each in enumerate(files[:3]):
        os.dup2(each, to)
    # The objects of the server know whether its own files can be sought in; these are as a fresh interpreter has them.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it is open for as long as the process lives
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    env, words = request["env"], request["words"]
    assert isinstance(env, dict)
    assert isinstance(words, list)
    os.environ.update(env)
    return words


def main() -> None:
    """Import everything, serve, and run the command in each process that was forked."""
    requests, scripts = (socket.socket(fileno=int(each)) for each in sys.argv[1:])
    import seimigrate

    for module in pkgutil.walk_packages(seimigrate.__path__, "seimigrate."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # so that a collection in a command does not copy what all of them share
    words = serve(requests, scripts)
    if words is not None:
        for source in (requests, scripts):
            source.detach()  # this process has closed it, and may have another file under its number
        sys.argv = ["seimigrate", *words]
        _leave(_run())


def _run() -> int:
    """Do what ``python -m seimigrate`` does; give its exit code."""
    try:
        runpy.run_module("seimigrate", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _leave(code: int) -> NoReturn:
    """End as an interpreter does, but leave its memory to the kernel: freeing would copy all that is shared."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and tells executors
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
