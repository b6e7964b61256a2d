"""A real Kubernetes of one node, for one test session: real kubelet, containers, network policies and DNS.

It lives in namespaces of its own and adds no address to the machine's network; its API server is reached from outside
through a relay on 127.0.0.1. All its files are in one folder outside the checkout. Nothing of it is left when the
``with`` block ends, nor when the process that holds it is killed.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from seimigrate.adapters.api import Connection, connect, path_of
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import ApiError, NotFound
from seimigrate.simulation.objects import condition
from tests.controlplane import process
from tests.e2e import configuration, keeper, places
from tests.e2e.images import PAUSE_IMAGE, Images
from tests.e2e.kept import KeptMachine


class TestCluster(KeptMachine):
    """A cluster as a context manager, on its first machine; ``admin`` is a connection that may do anything."""

    __test__ = False  # no tests in here, whatever its name

    def __init__(self, built: Path, controlplane: Path) -> None:
        super().__init__(places.states() / f"seimigrate-{secrets.token_hex(4)}", built, controlplane)
        self.images = Images(built, built / "images")
        self.audit_log = self.folder / "audit.log"
        self.tokens: dict[str, str] = {}
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
                self.make_folder()
                self.tokens = configuration.write(self.folder, PAUSE_IMAGE)
                self.keep("node", self.built)
            self._start()
            for archive in self.images.write():
                self.load_image(archive)
            manifests = [Path(__file__).with_name("manifests") / "dns.yaml", process.HERE / "crds.yaml"]
            for manifest in manifests:
                self.apply(manifest.read_text())
            node = configuration.FIRST.name
            self.wait_for(lambda: condition(self.get(Kind.NODE, "", node), "Ready") == "True", "the node")
            self.wait_for(lambda: self._available("kube-system", "coredns"), "the cluster's DNS")
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End everything and remove it; raises ``RuntimeError`` if something could not be removed."""
        if self._relay is not None:
            self._relay.communicate(timeout=60)  # closes its input
            self._relay = None
        self.let_go()

    def _start(self) -> None:
        self.wait_for((self.folder / "started").exists, "the node's programs", 180)
        host, _, port = configuration.API.removeprefix("https://").partition(":")
        self._relay = self.spawn("relay", self.init, host, port)
        self._server = f"https://127.0.0.1:{self.first_number(self._relay)}"

    # Being its administrator.

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator and give what it prints; raises ``RuntimeError`` with what it complains."""
        result = self.enter("kubectl", *arguments, stdin=stdin)
        if check and result.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def apply(self, manifest: str) -> None:
        """Apply YAML as the administrator."""
        self.kubectl("apply", "--server-side", "-f", "-", stdin=manifest)

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
            if not self.kept:
                raise RuntimeError(f"the test cluster ended while waiting for {what}")
            if not self.runs:
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
