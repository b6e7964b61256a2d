"""The judge: says from the logs of a real run whether seimigrate did what it must never do.

It reads the API server's audit log and the pods' request log, and shares no code with seimigrate, so that a mistake
there is not repeated here. The rules bear the numbers of the "Never" list of the architecture document; 0 stands for
what no run ever does to the API server.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from tests.audit import fleet, pods, writes
from tests.audit.events import parse_audit, parse_calls
from tests.audit.history import History
from tests.audit.violations import CONTROLLER, HEALTH_PATHS, Case, Violation

__all__ = ["RULES", "Violation", "judge"]

RULES = (
    writes.forbidden,
    writes.startable,
    fleet.budget,
    fleet.failures,
    writes.covered,
    fleet.holds,
    pods.grace,
    pods.intents,
)


def judge(
    audit_lines: Iterable[str | dict[str, Any]],
    pod_log: Iterable[str | dict[str, Any]],
    *,
    split_images: Callable[[str], bool],
    public_port: int = 9100,
    proxy_port: int = 8443,
    max_failed: int = 0,
    budget: int = 1,
    health_paths: Collection[str] = HEALTH_PATHS,
    controller_user: str = CONTROLLER,
    others: Collection[str] = (),
) -> list[Violation]:
    """Judge a run by its logs; gives every violation, oldest first.

    ``others`` are users who act in the test beside seimigrate: what they do is not seimigrate's, even where they use
    its client library or post a task with a token. Raises ``ValueError`` if a log is damaged before its last line.
    """
    requests = parse_audit(audit_lines)
    case = Case(
        requests=requests,
        calls=parse_calls(pod_log),
        history=History(requests),
        split_images=split_images,
        public_port=public_port,
        proxy_port=proxy_port,
        max_failed=max_failed,
        budget=budget,
        health_paths=tuple(health_paths),
        controller_user=controller_user,
        others=frozenset(others),
    )
    found = {violation for rule in RULES for violation in rule(case)}
    return sorted(found, key=lambda violation: (violation.when, violation.rule, violation.object, violation.what))
