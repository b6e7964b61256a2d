"""Process 1 of the second machine: a node and nothing else, on a cable to the first one.

``python -m tests.e2e.second STATE BUILT PID``, inside fresh namespaces; PID is process 1 of the first machine, as
seen from outside. No program here enforces NetworkPolicies, since no SeiNode comes here: the machine is tainted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.e2e.configuration import FIRST, SECOND
from tests.e2e.machine import Machine, run

CABLE = SECOND.name
"""The cable's end at the first machine; here it is node0."""


def main(state: Path, built: Path, first: int) -> int:
    """Bring the machine up and watch its programs."""
    other = os.open(f"/proc/{first}/ns/net", os.O_RDONLY)  # as long as /proc is still that of outside
    machine = Machine(state, built, SECOND)
    machine.furnish()
    _plug(other)
    os.close(other)  # or each of the two networks would last as long as the other one's machine
    machine.start_containerd()
    machine.start_node()
    return machine.watch()


def _plug(other: int) -> None:
    """Lay a cable to the first machine, and routes on both sides: to each other, and to each other's pods."""
    place = f"/proc/self/fd/{other}"

    def there(*command: str) -> None:
        run("nsenter", f"--net={place}", *command, pass_fds=(other,))

    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "node0", "type", "veth", "peer", "name", CABLE, "netns", place, pass_fds=(other,))
    run("ip", "address", "add", f"{SECOND.address}/24", "dev", "node0")
    run("ip", "link", "set", "node0", "up")
    run("ip", "route", "add", "default", "via", FIRST.address)
    there("ip", "link", "set", CABLE, "up")
    there("ip", "route", "add", SECOND.address, "dev", CABLE, "src", FIRST.address)
    there("ip", "route", "add", SECOND.pods, "via", SECOND.address)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
