"""Cgroups of the test cluster's own, below those of the process that starts it; version 1 and version 2."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
"""The hierarchies of version 1 that kubelet, containerd and runc look at; systemd's has no controller."""


def is_v2() -> bool:
    """Tell whether this machine has the one hierarchy of version 2 alone."""
    return (ROOT / "cgroup.controllers").exists()


def create(name: str) -> list[Path]:
    """Make a cgroup of that name: below the present one in every hierarchy, or in version 2's root.

    In version 2 a cgroup that has processes hands no controllers down, except for the root.
    """
    if is_v2():
        wanted = (ROOT / "cgroup.controllers").read_text().split()
        (ROOT / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in wanted))
        (ROOT / name).mkdir(exist_ok=True)
        return [ROOT / name]
    present = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, below = line.split(":", 2)
        for controller in controllers.split(","):
            present[controller.removeprefix("name=")] = below.lstrip("/")
    made = [ROOT / each / present[each] / name for each in V1 if each in present and (ROOT / each).is_dir()]
    for path in made:
        path.mkdir(exist_ok=True)
        if (path.parent / "cpuset.cpus").exists():
            for file in ("cpuset.cpus", "cpuset.mems"):  # empty at first, and nothing can join it then
                (path / file).write_text((path.parent / file).read_text())
    return made


def join(made: Iterable[Path]) -> None:
    """Move this process into cgroups."""
    for path in made:
        (path / "cgroup.procs").write_text("0")


def remove(made: Iterable[Path], seconds: float = 10.0) -> list[Path]:
    """Remove cgroups and all below them, as their processes go; give what could not be removed in time."""
    end = time.monotonic() + seconds
    left = [path for path in made if path.exists()]
    while left:
        for path in left:
            below = sorted((each for each in path.rglob("*") if each.is_dir()), key=lambda each: -len(each.parts))
            for folder in [*below, path]:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        left = [path for path in left if path.exists()]
        if not left or time.monotonic() > end:
            break
        time.sleep(0.1)
    return left
