"""A machine's part in the test cluster, inside namespaces of its own: what it looks like, and the programs of a node.

Whoever is process 1 of such namespaces makes a ``Machine``, furnishes it, starts programs, and watches them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e import cgroups
from tests.e2e.configuration import POD_NETWORK, Node

KERNEL_SETTINGS = {"vm/overcommit_memory": 1, "kernel/panic": 10, "kernel/panic_on_oops": 1}
"""What the kubelet wants of the whole machine. It is shown these values, and the machine keeps its own."""


class Machine:
    """One node of the cluster, with its files in one folder."""

    def __init__(self, state: Path, built: Path, node: Node) -> None:
        self.state, self.built, self.node = state, built, node
        self.running: dict[int, str] = {}

    def furnish(self) -> None:
        """Mount what a machine of its own needs; none of it is seen outside."""
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "proc", "proc", "/proc")
        run("hostname", self.node.name)
        run("umount", "-R", "/sys/fs/cgroup")
        run("mount", "-t", "sysfs", "sysfs", "/sys")
        self._mount_cgroups()
        # Debian's packages look installed; what is written to these folders stays in ours.
        run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={self.built / 'root' / 'usr'}:/usr", "/usr")
        for name in ("etc", "var", "opt"):
            upper, work = self.state / "overlay" / name, self.state / "overlay" / f"{name}.work"
            upper.mkdir(parents=True)
            work.mkdir()
            options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
            run("mount", "-t", "overlay", "overlay", "-o", options, f"/{name}")
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        Path("/run/lock").mkdir()
        shutil.copy(self.state / "hosts", "/etc/hosts")
        shown = self.state / "shown"
        shown.mkdir()
        for name, value in KERNEL_SETTINGS.items():
            file = shown / name.replace("/", ".")
            file.write_text(f"{value}\n")
            run("mount", "--bind", str(file), f"/proc/sys/{name}")
        run("mount", "--make-rshared", "/")

    def _mount_cgroups(self) -> None:
        """Show the cgroups from ours downwards: what a cgroup namespace and fresh mounts in it do."""
        root = cgroups.ROOT
        if Path("/proc/self/cgroup").read_text().count("\n") == 1:  # version 2 alone
            run("mount", "-t", "cgroup2", "cgroup2", str(root))
            # A cgroup with processes of its own cannot hand controllers down.
            (root / "node").mkdir()
            for pid in (root / "cgroup.procs").read_text().split():
                (root / "node" / "cgroup.procs").write_text(pid)
            controllers = (root / "cgroup.controllers").read_text().split()
            (root / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in controllers))
            return
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root))
        for name in cgroups.V1:
            (root / name).mkdir()
            options = "none,name=systemd" if name == "systemd" else name
            run("mount", "-t", "cgroup", "-o", options, "cgroup", str(root / name))

    # The programs.

    def start(self, name: str, *flags: str) -> None:
        """Start a program that has to run as long as the machine does."""
        with (self.state / "log" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([name, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.state)
        self.running[process.pid] = name

    def start_containerd(self) -> None:
        """Start what runs containers; it is there when ``ctr version`` says so."""
        self.start("containerd", f"--config={self.state / 'containerd.toml'}")

    def start_node(self) -> None:
        """Start kubelet and kube-proxy, which containerd and the API server have to be there for."""
        wait("containerd", lambda: succeeds("ctr", "version"))
        self.start("kubelet", *self._kubelet())
        self.start("kube-proxy", *self._proxy())

    def watch(self) -> int:
        """Tell that all programs run, and reap until one of them ends."""
        (self.state / "started").touch()
        while True:
            pid, status = os.wait()
            if pid in self.running:
                print(f"{self.running[pid]} ended: {os.waitstatus_to_exitcode(status)}", flush=True)
                return 1

    def config(self, user: str) -> str:
        """Give the flag with the kubeconfig of one of the configuration's users."""
        return f"--kubeconfig={self.state / user}.kubeconfig"

    def _kubelet(self) -> list[str]:
        folder = self.state / "kubelet"
        return [
            f"--config={self.state / 'kubelet.yaml'}",
            self.config(self.node.name),
            f"--hostname-override={self.node.name}",
            f"--node-ip={self.node.address}",
            f"--root-dir={folder}",
            f"--cert-dir={folder / 'pki'}",
        ]

    def _proxy(self) -> list[str]:
        kept = ("max-per-core", "min", "tcp-timeout-established", "tcp-timeout-close-wait")
        return [
            self.config("network"),
            "--proxy-mode=iptables",
            f"--cluster-cidr={POD_NETWORK}",
            f"--hostname-override={self.node.name}",
            f"--bind-address={self.node.address}",
            "--metrics-bind-address=127.0.0.1:10249",
            "--oom-score-adj=0",
            *(f"--conntrack-{each}=0" for each in kept),  # 0 leaves the machine's setting alone
        ]


def run(*command: str, pass_fds: tuple[int, ...] = ()) -> None:
    """Run a command; raises ``subprocess.CalledProcessError``."""
    subprocess.run(command, check=True, pass_fds=pass_fds)


def succeeds(*command: str) -> bool:
    """Tell whether a command ends with 0."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def wait(what: str, reached: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait until something is so; raises ``TimeoutError``."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not get ready in {seconds:g} s")
        time.sleep(0.1)
