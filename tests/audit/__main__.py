"""``python -m tests.audit AUDIT.log POD.log --split IMAGE…``: print what a run did that it must never do."""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from tests.audit import judge
from tests.audit.violations import CONTROLLER


def main(arguments: list[str] | None = None) -> int:
    """Judge two files; gives 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.audit", description=__doc__)
    parser.add_argument("audit", type=Path, help="the API server's audit log")
    parser.add_argument("pods", type=Path, help="the pods' request log")
    parser.add_argument("--split", nargs="*", default=[], metavar="IMAGE", help="sidecars that split (may have *)")
    parser.add_argument("--other", nargs="*", default=[], metavar="USER", help="users who are not seimigrate")
    parser.add_argument("--public-port", type=int, default=9100)
    parser.add_argument("--proxy-port", type=int, default=8443)
    parser.add_argument("--max-failed", type=int, default=0)
    parser.add_argument("--controller-user", default=CONTROLLER)
    given = parser.parse_args(arguments)
    with given.audit.open(encoding="utf-8") as audit, given.pods.open(encoding="utf-8") as calls:
        found = judge(
            audit,
            calls,
            split_images=lambda image: any(fnmatchcase(image, pattern) for pattern in given.split),
            public_port=given.public_port,
            proxy_port=given.proxy_port,
            max_failed=given.max_failed,
            controller_user=given.controller_user,
            others=given.other,
        )
    for violation in found:
        print(violation)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
