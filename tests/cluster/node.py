"""Process 1 of the test cluster's namespaces: furnish them, start every program of a node, then look after them.

``python -m tests.cluster.node STATE BUILT``, inside fresh mount, network, process, host-name, ipc and cgroup
namespaces. Writes STATE/started when all programs run; ends, and everything with it, as soon as one of them ends.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.cluster import cgroups
from tests.cluster.configuration import API, NODE, NODE_ADDRESS, POD_NETWORK, SERVICE_NETWORK

AUDIT_POLICY = Path(__file__).parents[1] / "controlplane" / "audit-policy.yaml"
KERNEL_SETTINGS = {"vm/overcommit_memory": 1, "kernel/panic": 10, "kernel/panic_on_oops": 1}
"""What the kubelet wants of the whole machine. It is shown these values, and the machine keeps its own."""


class Node:
    """The programs of one node and its control plane."""

    def __init__(self, state: Path, built: Path) -> None:
        self.state, self.built = state, built
        self.running: dict[int, str] = {}

    def main(self) -> int:
        """Bring the node up and reap until one of its programs ends."""
        self._mount()
        self._network()
        self._start_all()
        (self.state / "started").touch()
        while True:
            pid, status = os.wait()
            if pid in self.running:
                print(f"{self.running[pid]} ended: {os.waitstatus_to_exitcode(status)}", flush=True)
                return 1

    # The file system.

    def _mount(self) -> None:
        _run("mount", "--make-rprivate", "/")
        _run("mount", "-t", "proc", "proc", "/proc")
        _run("hostname", NODE)
        _run("umount", "-R", "/sys/fs/cgroup")
        _run("mount", "-t", "sysfs", "sysfs", "/sys")
        self._mount_cgroups()
        # Debian's packages look installed; what is written to these folders stays in ours.
        _run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={self.built / 'root' / 'usr'}:/usr", "/usr")
        for name in ("etc", "var", "opt"):
            upper, work = self.state / "overlay" / name, self.state / "overlay" / f"{name}.work"
            upper.mkdir(parents=True)
            work.mkdir()
            options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
            _run("mount", "-t", "overlay", "overlay", "-o", options, f"/{name}")
        _run("mount", "-t", "tmpfs", "tmpfs", "/run")
        Path("/run/lock").mkdir()
        shutil.copy(self.state / "hosts", "/etc/hosts")
        shown = self.state / "shown"
        shown.mkdir()
        for name, value in KERNEL_SETTINGS.items():
            file = shown / name.replace("/", ".")
            file.write_text(f"{value}\n")
            _run("mount", "--bind", str(file), f"/proc/sys/{name}")
        _run("mount", "--make-rshared", "/")

    def _mount_cgroups(self) -> None:
        """Show the cgroups from ours downwards: what a cgroup namespace and fresh mounts in it do."""
        root = cgroups.ROOT
        if Path("/proc/self/cgroup").read_text().count("\n") == 1:  # version 2 alone
            _run("mount", "-t", "cgroup2", "cgroup2", str(root))
            # A cgroup with processes of its own cannot hand controllers down.
            (root / "node").mkdir()
            for pid in (root / "cgroup.procs").read_text().split():
                (root / "node" / "cgroup.procs").write_text(pid)
            controllers = (root / "cgroup.controllers").read_text().split()
            (root / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in controllers))
            return
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root))
        for name in cgroups.V1:
            (root / name).mkdir()
            options = "none,name=systemd" if name == "systemd" else name
            _run("mount", "-t", "cgroup", "-o", options, "cgroup", str(root / name))

    def _network(self) -> None:
        """Give the node an address: on a pair of interfaces that both stay in here."""
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "node0", "type", "veth", "peer", "name", "node0p")
        _run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", "node0")
        _run("ip", "link", "set", "node0", "up")
        _run("ip", "link", "set", "node0p", "up")
        _run("ip", "route", "add", "default", "via", NODE_ADDRESS.rpartition(".")[0] + ".254")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    # The programs.

    def _start_all(self) -> None:
        self._start("containerd", f"--config={self.state / 'containerd.toml'}")
        self._start("etcd", *self._etcd())
        self._start("kube-apiserver", *self._api_server())
        _await("the API server", self._ready)
        self._start("kube-controller-manager", *self._manager())
        self._start("kube-scheduler", self._config("scheduler"), "--leader-elect=false", "--bind-address=127.0.0.1")
        _await("containerd", lambda: _succeeds("ctr", "version"))
        self._start("kubelet", *self._kubelet())
        self._start("kube-proxy", *self._proxy())
        _await("the node", lambda: _succeeds("kubectl", self._config("admin"), "get", "node", NODE))
        self._start("kube-router", *self._router())

    def _config(self, user: str) -> str:
        return f"--kubeconfig={self.state / user}.kubeconfig"

    def _etcd(self) -> list[str]:
        client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        flags = [f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}"]
        return ["--data-dir=/run/etcd", "--unsafe-no-fsync", "--log-level=warn", *flags]

    def _api_server(self) -> list[str]:
        state = self.state
        return [
            "--etcd-servers=http://127.0.0.1:2379",
            f"--bind-address={NODE_ADDRESS}",
            f"--advertise-address={NODE_ADDRESS}",
            "--secure-port=6443",
            f"--tls-cert-file={state / 'server.crt'}",
            f"--tls-private-key-file={state / 'server.key'}",
            f"--cert-dir={state}",
            f"--token-auth-file={state / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={state / 'accounts.key'}",
            f"--service-account-signing-key-file={state / 'accounts.key'}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--allow-privileged=true",
            "--profiling=false",
            f"--kubelet-certificate-authority={state / 'ca.crt'}",
            f"--kubelet-client-certificate={state / 'kubelet-client.crt'}",
            f"--kubelet-client-key={state / 'kubelet-client.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={AUDIT_POLICY}",
            f"--audit-log-path={state / 'audit.log'}",
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=100000",  # megabytes; it is rotated at 100 otherwise, and whoever judges it sees half
        ]

    def _manager(self) -> list[str]:
        return [
            self._config("manager"),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--profiling=false",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={POD_NETWORK}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--use-service-account-credentials=true",
            f"--root-ca-file={self.state / 'ca.crt'}",
            f"--service-account-private-key-file={self.state / 'accounts.key'}",
            f"--flex-volume-plugin-dir={self.state / 'volume-plugins'}",
        ]

    def _kubelet(self) -> list[str]:
        folder = self.state / "kubelet"
        return [
            f"--config={self.state / 'kubelet.yaml'}",
            self._config("kubelet"),
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_ADDRESS}",
            f"--root-dir={folder}",
            f"--cert-dir={folder / 'pki'}",
        ]

    def _proxy(self) -> list[str]:
        kept = ("max-per-core", "min", "tcp-timeout-established", "tcp-timeout-close-wait")
        return [
            self._config("network"),
            "--proxy-mode=iptables",
            f"--cluster-cidr={POD_NETWORK}",
            f"--hostname-override={NODE}",
            f"--bind-address={NODE_ADDRESS}",
            "--metrics-bind-address=127.0.0.1:10249",
            "--oom-score-adj=0",
            *(f"--conntrack-{each}=0" for each in kept),  # 0 leaves the machine's setting alone
        ]

    def _router(self) -> list[str]:
        return [
            self._config("network"),
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            "--run-loadbalancer=false",
            f"--hostname-override={NODE}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--iptables-sync-period=1m",
        ]

    def _start(self, name: str, *flags: str) -> None:
        with (self.state / "log" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([name, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.state)
        self.running[process.pid] = name

    def _ready(self) -> bool:
        token = (self.state / "tokens.csv").read_text().partition(",")[0]
        request = urllib.request.Request(f"{API}/readyz", headers={"Authorization": f"Bearer {token}"})
        context = ssl.create_default_context(cafile=str(self.state / "ca.crt"))
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _await(what: str, reached: Callable[[], bool], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not get ready in {seconds:g} s")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(Node(Path(sys.argv[1]), Path(sys.argv[2])).main())
