"""Where the test cluster's programs are, and where its state goes."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from tests.cache import cache

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
PROGRAMS = (
    *("kubelet", "kube-scheduler", "kube-proxy", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr"),
    *("kube-router", "coredns", "kube-rbac-proxy", "pause", "seid", "sei-cosmos-exporter"),
    *("seictl-shared", "seictl-split"),
)


def states() -> Path:
    """Give the folder that has one folder a running cluster."""
    return cache() / "clusters"


def find_built() -> tuple[Path | None, str]:
    """Give the folder that ``build.sh`` has filled, or ``None`` and the reason in one line; builds nothing."""
    versions = dict(re.findall(r"^(kubernetes|containerd)=([\d.]+)$", (HERE / "build.sh").read_text(), re.MULTILINE))
    folder = cache() / f"cluster-{versions['kubernetes']}-{versions['containerd']}"
    if platform.system() != "Linux" or os.geteuid() != 0:
        return None, "no test cluster: it needs root on Linux"
    missing = [name for name in PROGRAMS if not os.access(folder / "bin" / name, os.X_OK)]
    if not (folder / "root").is_dir():
        missing.append("Debian packages")
    if missing:
        return None, f"no test cluster: tests/e2e/build.sh not run, {', '.join(missing)} missing"
    return folder, ""
