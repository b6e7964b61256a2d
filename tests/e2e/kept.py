"""A machine of the test cluster as seen from outside: its folder, its keeper, and commands that run in there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.e2e import keeper, places
from tests.e2e.places import CHECKOUT


class KeptMachine:
    """A machine in namespaces of its own, for as long as this process lives and wants it."""

    def __init__(self, folder: Path, built: Path, controlplane: Path) -> None:
        self.folder, self.built, self.controlplane = folder, built, controlplane
        self.init = 0
        """The number of its process 1, as seen from outside."""
        self._keeper: subprocess.Popen[str] | None = None

    @property
    def kept(self) -> bool:
        """Tell whether its keeper lives."""
        return self._keeper is not None and self._keeper.poll() is None

    @property
    def runs(self) -> bool:
        """Tell whether its process 1 lives, and with it all others."""
        return Path(f"/proc/{self.init}").exists()

    def keep(self, module: str, *words: object) -> None:
        """Start its keeper, which starts a module as process 1 in there."""
        self._keeper = self.spawn("keeper", self.folder, module, *words)
        self.init = self.first_number(self._keeper)

    def let_go(self) -> None:
        """End the machine and remove it; raises ``RuntimeError`` if something could not be removed."""
        if self._keeper is None:
            return
        left, _ = self._keeper.communicate(timeout=60)  # closes its input
        if self._keeper.returncode:
            raise RuntimeError(f"the test cluster left something behind\n{left}")
        self._keeper = None

    def make_folder(self) -> None:
        """Make its folder, once nothing is left there of clusters that were killed; for who is ``keeper.alone``."""
        keeper.sweep(places.states())
        self.folder.mkdir(parents=True, mode=0o700)
        (self.folder / "log").mkdir()

    # Our own programs.

    def spawn(self, name: str, *arguments: object) -> subprocess.Popen[str]:
        """Start one of our own programs; it ends when its input does, and so with us."""
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"tests.e2e.{name}", *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=CHECKOUT,
                env=os.environ | {"PATH": self._path()},
                start_new_session=True,
            )

    def first_number(self, running: subprocess.Popen[str]) -> int:
        """Read the number that such a program prints first; raises ``RuntimeError`` with the logs' ends."""
        assert running.stdout is not None
        line = running.stdout.readline().strip()
        if not line.isdecimal():
            raise RuntimeError(f"the test cluster did not start: {line}\n{self.logs()}")
        return int(line)

    def _path(self) -> str:
        return f"{self.built / 'bin'}:{self.controlplane}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def logs(self, lines: int = 8) -> str:
        """Give the end of every program's log, for a failure's message."""
        found = []
        for path in sorted((self.folder / "log").glob("*.log")):
            text = path.read_text(errors="replace").splitlines()[-lines:]
            found += [f"--- {path.name}", *(line[:300] for line in text)]
        return "\n".join(found)

    # Being in it.

    def enter(
        self,
        *command: str | Path,
        user: str = "admin",
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 120.0,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine's namespaces, on its network, with a user's kubeconfig in KUBECONFIG.

        The real machine's files are visible there, so are a checkout and its .venv. Raises
        ``subprocess.TimeoutExpired``, and ``subprocess.CalledProcessError`` with ``check``.
        """
        result = subprocess.run(
            [*self.entering(user, env), "timeout", "--kill-after=5", str(timeout), *map(str, command)],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout + 20,
            check=False,
        )
        if check and result.returncode:
            raise subprocess.CalledProcessError(result.returncode, [*command], result.stdout, result.stderr)
        return result

    def entering(self, user: str = "admin", env: Mapping[str, str] | None = None) -> list[str]:
        """Give the words to put before a command so that it runs in the machine's namespaces."""
        given = {"KUBECONFIG": str(self.folder / f"{user}.kubeconfig"), "PATH": self._path()} | dict(env or {})
        place = [f"--target={self.init}", *keeper.NAMESPACES, f"--wdns={Path.cwd()}"]
        return ["nsenter", *place, "env", *(f"{k}={v}" for k, v in given.items())]

    def load_image(self, archive: Path) -> None:
        """Give the machine an image, under every name that the archive has for it."""
        self.enter("ctr", "--namespace=k8s.io", "images", "import", "--local", archive, check=True)
