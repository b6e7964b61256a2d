"""Start the real control plane in a temporary folder on 127.0.0.1, and leave nothing of it behind.

etcd, kube-apiserver and kube-controller-manager only: there is no scheduler and no kubelet, so pods stay as they are
until a test or a model moves them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from seimigrate.adapters.api import Connection, connect
from tests.cache import cache

HERE = Path(__file__).parent
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
CONTROLLER_USER = "system:serviceaccount:sei-k8s-controller-system:sei-k8s-controller-manager"
USERS = {
    # short name: (name as the API server sees it, groups)
    "admin": ("admin", ["system:masters"]),
    "manager": ("kube-controller-manager", ["system:masters"]),
    "kubelet": ("kubelet", ["system:masters"]),
    "controller": (CONTROLLER_USER, ["system:serviceaccounts", "system:serviceaccounts:sei-k8s-controller-system"]),
    "operator": ("operator", []),
    "nobody": ("nobody", []),
}
"""Who may come in with a token. Those without a group have no rights until a test binds them to a role."""

CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
)

# Reads process ids line by line; "done" forgets them. At the end of its input (its parent is gone, however it went)
# it kills what it still knows, so that a killed test run leaves neither processes nor files.
JANITOR = """
pids=
while read -r line; do if [ "$line" = done ]; then pids=; else pids="$pids $line"; fi; done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
rm -rf -- "$1"
"""


def find_programs() -> tuple[Path | None, str]:
    """Give the folder of the three programs, or ``None`` and the reason in one line; builds nothing."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    script = (HERE / "build.sh").read_text()
    versions = dict(re.findall(r"^(kubernetes|etcd)=([\d.]+)$", script, re.MULTILINE))
    folder = Path(given) if given else cache() / f"controlplane-{versions['kubernetes']}-{versions['etcd']}"
    missing = [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]
    if not missing:
        return folder, ""
    named = "KUBEBUILDER_ASSETS" if given else "tests/controlplane/build.sh not run"
    return None, f"no real control plane: {named}, {', '.join(missing)} missing"


class ControlPlane:
    """A control plane of one's own, as a context manager; ``admin`` is a connection that may do anything."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="seimigrate-controlplane-"))
        self.audit_log = self.folder / "audit.log"
        self.kubelet_cert = self.folder / "kubelet.crt"
        self.kubelet_key = self.folder / "kubelet.key"
        self.tokens = {name: secrets.token_hex(16) for name in USERS}
        self._ports = dict(zip(("etcd", "peer", "api"), _free_ports(3), strict=True))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._connections: dict[str, Connection] = {}

    @property
    def url(self) -> str:
        """Give the API server's address."""
        return f"https://127.0.0.1:{self._ports['api']}"

    @property
    def ca(self) -> Path:
        """Give the file of the authority that signed every certificate here."""
        return self.folder / "ca.crt"

    @property
    def admin(self) -> Connection:
        """Give a connection with every right."""
        return self.connection("admin")

    def connection(self, user: str) -> Connection:
        """Give the connection of one of ``USERS``."""
        if user not in self._connections:
            path = self.kubeconfig(user, self.folder / f"{user}.kubeconfig")
            self._connections[user] = connect(None, str(path))
        return self._connections[user]

    def kubeconfig(self, user: str, path: Path, *, token: str | None = None) -> Path:
        """Write a kubeconfig for one of ``USERS``, or for any other token, and give its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority": str(self.ca)}}],
            "users": [{"name": user, "user": {"token": token or self.tokens[user]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return path

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

    def __enter__(self) -> ControlPlane:
        janitor = ["sh", "-c", JANITOR, "sh", str(self.folder)]
        self._janitor = subprocess.Popen(janitor, stdin=subprocess.PIPE, start_new_session=True)
        try:
            self._write_certificates()
            self._start_etcd()
            self.start_api_server()
            self._start_controller_manager()
            self._install_crds()
            self._await_service_account()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(PROGRAMS):
            self._stop(name)
        self._tell_janitor("done")
        if self._janitor.stdin:
            self._janitor.stdin.close()
        self._janitor.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_api_server(self) -> None:
        """Start the API server and wait until it is ready; on the same port each time."""
        self._start("kube-apiserver", self._api_server_flags())
        self._await("kube-apiserver", self._ready)

    def stop_api_server(self) -> None:
        """End the API server at once, as an outage does."""
        self._running["kube-apiserver"].kill()
        self._stop("kube-apiserver")

    def _api_server_flags(self) -> list[str]:
        folder = self.folder
        return [
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['api']}",
            "--advertise-address=192.0.2.1",  # never used: nothing here follows the Service "kubernetes"
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={folder / 'server.crt'}",
            f"--tls-private-key-file={folder / 'server.key'}",
            f"--cert-dir={folder}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'accounts.key'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged=true",
            "--profiling=false",
            f"--kubelet-certificate-authority={self.ca}",
            f"--kubelet-client-certificate={folder / 'kubelet-client.crt'}",
            f"--kubelet-client-key={folder / 'kubelet-client.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={HERE / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=100000",  # megabytes; it is rotated at 100 otherwise, and whoever judges it sees half
            "--shutdown-send-retry-after=false",
        ]

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "peer"))
        flags = [f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}"]
        flags += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
        self._start("etcd", [f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn", *flags])

    def _start_controller_manager(self) -> None:
        config = self.kubeconfig("manager", self.folder / "manager.kubeconfig")
        flags = [f"--kubeconfig={config}", "--secure-port=0", "--leader-elect=false", "--profiling=false"]
        flags += [f"--controllers={','.join(CONTROLLERS)}", "--use-service-account-credentials=true"]
        flags += [f"--root-ca-file={self.ca}", f"--service-account-private-key-file={self.folder / 'accounts.key'}"]
        flags += ["--kube-api-qps=200", "--kube-api-burst=400", f"--flex-volume-plugin-dir={self.folder / 'volumes'}"]
        self._start("kube-controller-manager", flags)

    def _write_certificates(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        for name in ("server", "kubelet", "kubelet-client"):
            issued = authority.issue_cert("127.0.0.1", "localhost", common_name=name)
            issued.cert_chain_pems[0].write_to_path(self.folder / f"{name}.crt")
            issued.private_key_pem.write_to_path(self.folder / f"{name}.key")
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (self.folder / "accounts.key").write_bytes(pem)
        lines = [f'{self.tokens[short]},{name},{short},"{",".join(groups)}"' for short, (name, groups) in USERS.items()]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")

    def _install_crds(self) -> None:
        group = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        definitions = list(yaml.safe_load_all((HERE / "crds.yaml").read_text()))
        for definition in definitions:
            self.admin.request("POST", group, body=definition)
        for definition in definitions:
            name = definition["metadata"]["name"]
            self._await("kube-apiserver", lambda name=name: _established(self.admin.request("GET", f"{group}/{name}")))

    def _await_service_account(self) -> None:
        """Wait until namespaces get their ServiceAccount, without which no pod can be created."""
        path = "/api/v1/namespaces/default/serviceaccounts"
        self._await("kube-controller-manager", lambda: bool(self.admin.request("GET", path)["items"]))

    def _start(self, name: str, flags: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(self.programs / name), *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | {"GOGC": "400"},  # memory is there, and a tenth of their CPU goes into collecting it
                start_new_session=True,
            )
        self._running[name] = process
        self._tell_janitor(str(process.pid))

    def _stop(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # The number of a process that is gone may become somebody else's: the janitor must forget it.
        self._tell_janitor("done")
        for other in self._running.values():
            self._tell_janitor(str(other.pid))

    def _tell_janitor(self, line: str) -> None:
        if self._janitor.stdin:
            self._janitor.stdin.write(f"{line}\n".encode())
            self._janitor.stdin.flush()

    def _ready(self) -> bool:
        headers = {"Authorization": f"Bearer {self.tokens['admin']}"}
        request = urllib.request.Request(f"{self.url}/readyz", headers=headers)
        context = ssl.create_default_context(cafile=str(self.ca))
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _await(self, name: str, condition: Any, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            process = self._running[name]
            if process.poll() is not None or time.monotonic() > end:
                lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:]
                raise RuntimeError(f"{name} did not get ready\n" + "\n".join(lines))
            time.sleep(0.05)


def _established(definition: dict[str, Any]) -> bool:
    conditions = definition.get("status", {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _free_ports(count: int) -> list[int]:
    """Give ports of 127.0.0.1 that nobody listens on; all are held until the last is found, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
