"""A real Kubernetes of one node, for one test session: real kubelet, containers, network policies and DNS.

It lives in namespaces of its own and adds no address to the machine's network; its API server is reached from outside
through a relay on 127.0.0.1. All its files are in one folder outside the checkout. Nothing of it is left when the
``with`` block ends, nor when the process that holds it is killed.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from seimigrate.adapters.api import Connection, connect, path_of
from seimigrate.domain.kinds import Kind, Object
from seimigrate.engine.errors import ApiError, NotFound
from seimigrate.simulation.objects import condition
from tests.cluster import configuration, keeper, places
from tests.cluster.images import PAUSE_IMAGE, Images
from tests.controlplane import process

CHECKOUT = Path(__file__).parents[2]


class TestCluster:
    """A cluster as a context manager; ``admin`` is a connection that may do anything."""

    __test__ = False  # no tests in here, whatever its name

    def __init__(self, built: Path, controlplane: Path) -> None:
        self.built, self.controlplane = built, controlplane
        self.folder = places.states() / f"seimigrate-{secrets.token_hex(4)}"
        self.images = Images(built, built / "images")
        self.audit_log = self.folder / "audit.log"
        self.tokens: dict[str, str] = {}
        self._init = 0
        self._keeper: subprocess.Popen[str] | None = None
        self._relay: subprocess.Popen[str] | None = None
        self._server = ""
        self._connections: dict[str, Connection] = {}

    # Its life.

    def __enter__(self) -> TestCluster:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Start the node and wait until it is Ready and has DNS."""
        try:
            with keeper.alone(places.states()):
                keeper.sweep(places.states())
                self._begin()
            self._start()
            for archive in self.images.write():
                self.load_image(archive)
            manifests = [Path(__file__).with_name("manifests") / "dns.yaml", process.HERE / "crds.yaml"]
            for manifest in manifests:
                self.apply(manifest.read_text())
            self.wait_for(lambda: condition(self.get(Kind.NODE, "", configuration.NODE), "Ready") == "True", "the node")
            self.wait_for(lambda: self._available("kube-system", "coredns"), "the cluster's DNS")
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End everything and remove it; raises ``RuntimeError`` if something could not be removed."""
        for running in (self._relay, self._keeper):
            if running is None:
                continue
            left, _ = running.communicate(timeout=60)  # closes its input
            if running is self._keeper and running.returncode:
                raise RuntimeError(f"the test cluster left something behind\n{left}")
        self._relay = self._keeper = None

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, mode=0o700)
        (self.folder / "log").mkdir()
        self.tokens = configuration.write(self.folder, PAUSE_IMAGE)
        self._keeper = self._spawn("keeper", self.folder, self.built)
        self._init = self._first_number(self._keeper)

    def _start(self) -> None:
        self.wait_for((self.folder / "started").exists, "the node's programs", 180)
        host, _, port = configuration.API.removeprefix("https://").partition(":")
        self._relay = self._spawn("relay", self._init, host, port)
        self._server = f"https://127.0.0.1:{self._first_number(self._relay)}"

    def _spawn(self, name: str, *arguments: object) -> subprocess.Popen[str]:
        """Start one of our own programs; it ends when its input does, and so with us."""
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"tests.cluster.{name}", *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=CHECKOUT,
                env=os.environ | {"PATH": self._path()},
                start_new_session=True,
            )

    def _first_number(self, running: subprocess.Popen[str]) -> int:
        assert running.stdout is not None
        line = running.stdout.readline().strip()
        if not line.isdecimal():
            raise RuntimeError(f"the test cluster did not start: {line}\n{self.logs()}")
        return int(line)

    def _path(self) -> str:
        return f"{self.built / 'bin'}:{self.controlplane}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
        """Run a command in the node's namespaces, on its network, with a user's kubeconfig in KUBECONFIG.

        The machine's files are visible there, so are a checkout and its .venv. Raises ``subprocess.TimeoutExpired``,
        and ``subprocess.CalledProcessError`` with ``check``.
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
        """Give the words to put before a command so that it runs in the node's namespaces."""
        given = {"KUBECONFIG": str(self.folder / f"{user}.kubeconfig"), "PATH": self._path()} | dict(env or {})
        namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", f"--wdns={Path.cwd()}"]
        return ["nsenter", f"--target={self._init}", *namespaces, "env", *(f"{k}={v}" for k, v in given.items())]

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator and give what it prints; raises ``RuntimeError`` with what it complains."""
        result = self.enter("kubectl", *arguments, stdin=stdin)
        if check and result.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def apply(self, manifest: str) -> None:
        """Apply YAML as the administrator."""
        self.kubectl("apply", "--server-side", "-f", "-", stdin=manifest)

    def load_image(self, archive: Path) -> None:
        """Give the node an image, under every name that the archive has for it."""
        self.enter("ctr", "--namespace=k8s.io", "images", "import", "--local", archive, check=True)

    # Looking at it.

    @property
    def admin(self) -> Connection:
        """Give a connection with every right, from outside the cluster's network."""
        return self.connection("admin")

    def connection(self, user: str) -> Connection:
        """Give the connection of one of ``configuration.USERS``, from outside the cluster's network."""
        if user not in self._connections:
            self._connections[user] = connect(None, str(self.kubeconfig(user)))
        return self._connections[user]

    def kubeconfig(self, user: str = "admin", *, token: str | None = None) -> Path:
        """Write a kubeconfig for outside the cluster's network, for a user or any other token; give its path."""
        path = self.folder / f"outside-{secrets.token_hex(4)}.kubeconfig"
        return configuration.write_kubeconfig(path, self.folder / "ca.crt", self._server, token or self.tokens[user])

    def token(self, namespace: str, account: str, seconds: int = 3600) -> str:
        """Give a token of a ServiceAccount."""
        path = f"{path_of(Kind.SERVICE_ACCOUNT, namespace, account)}/token"
        answer = self.admin.request("POST", path, body={"spec": {"expirationSeconds": seconds}})
        return str(answer["status"]["token"])

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Read an object; raises ``NotFound``."""
        found: Object = self.admin.request("GET", path_of(kind, namespace, name))
        return found

    def create(self, kind: Kind, body: Object) -> Object:
        """Create an object; its apiVersion and kind need not be given."""
        typed = {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
        path = path_of(kind, body["metadata"].get("namespace", ""))
        created: Object = self.admin.request("POST", path, body=typed | body)
        return created

    def pod_ready(self, namespace: str, pod: str) -> bool:
        """Tell whether a pod is there, not being deleted, and Ready."""
        try:
            found = self.get(Kind.POD, namespace, pod)
        except NotFound:
            return False
        return "deletionTimestamp" not in found["metadata"] and condition(found, "Ready") == "True"

    def pod_gone(self, namespace: str, uid: str) -> bool:
        """Tell whether no pod of a namespace has this uid any more."""
        items = self.admin.request("GET", path_of(Kind.POD, namespace))["items"]
        return all(item["metadata"]["uid"] != uid for item in items)

    def audit_mark(self) -> int:
        """Give the place in the audit log that ``audit_events`` shall begin at."""
        return self.audit_log.stat().st_size if self.audit_log.exists() else 0

    def audit_events(self, mark: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the audit events since a mark; every answered request is in, as the log is written synchronously."""
        with self.audit_log.open("rb") as log:
            log.seek(mark)
            for line in log:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def logs(self, lines: int = 8) -> str:
        """Give the end of every program's log, for a failure's message."""
        found = []
        for path in sorted((self.folder / "log").glob("*.log")):
            text = path.read_text(errors="replace").splitlines()[-lines:]
            found += [f"--- {path.name}", *(line[:300] for line in text)]
        return "\n".join(found)

    def wait_for(self, reached: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
        """Wait until something is so, taking errors of the API for "not yet"; raises ``TimeoutError``."""
        end = time.monotonic() + seconds
        trouble = ""
        while True:
            try:
                if reached():
                    return
            except ApiError as error:
                trouble = f" ({error})"
            if self._keeper is None or self._keeper.poll() is not None:
                raise RuntimeError(f"the test cluster ended while waiting for {what}")
            if not Path(f"/proc/{self._init}").exists():
                raise RuntimeError(f"the node ended while waiting for {what}\n{self.logs()}")
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds:g} s for {what}{trouble}")
            time.sleep(0.1)

    def _available(self, namespace: str, deployment: str) -> bool:
        found = self.get(Kind.DEPLOYMENT, namespace, deployment)
        status = found.get("status", {})
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        return bool(current and status.get("updatedReplicas") == status.get("availableReplicas") == 1)

    def rollout(self, namespace: str, deployment: str, seconds: float = 120.0) -> None:
        """Wait until a Deployment of one replica runs what it says, and nothing older."""

        def done() -> bool:
            status = self.get(Kind.DEPLOYMENT, namespace, deployment).get("status", {})
            return self._available(namespace, deployment) and status.get("replicas") == 1

        self.wait_for(done, f"Deployment {namespace}/{deployment}", seconds)


def load(text: str) -> list[Object]:
    """Read all documents of a YAML text."""
    return [document for document in yaml.safe_load_all(text) if document]


def find() -> tuple[tuple[Path, Path] | None, str]:
    """Give the folders of all programs that a cluster needs, or ``None`` and the reason in one line."""
    built, reason = places.find_built()
    controlplane, other = process.find_programs()
    if built is None or controlplane is None:
        return None, reason or other
    return (built, controlplane), ""
