"""What a Lease of ours says: who holds it, with which token, and what a living holder moves on it."""

from __future__ import annotations

from seimigrate.domain.kube.kinds import Object

RUN_ANNOTATION = "seimigrate.sei.io/run"
"""On a Lease: the fencing token of its holder; tells our own unanswered renewal from a takeover."""

GUARD_LEASE = "seimigrate-guard"
"""The Lease of the guard, beside the one of the runs."""


def holder(lease: Object) -> str:
    """Give who holds a Lease, ``""`` for nobody."""
    return str(lease.get("spec", {}).get("holderIdentity") or "")


def token(lease: Object) -> str:
    """Give the fencing token of its holder."""
    return str((lease.get("metadata", {}).get("annotations") or {}).get(RUN_ANNOTATION, ""))


def renewal_marker(lease: Object) -> tuple[object, ...]:
    """Give what a living holder moves; not the resourceVersion, which anybody's edit of a label moves."""
    spec = lease["spec"]
    return holder(lease), token(lease), spec.get("renewTime"), spec.get("leaseTransitions")


def duration(lease: Object, default: float) -> float:
    """Give for how many seconds a renewal is good."""
    return float(lease["spec"].get("leaseDurationSeconds") or default)
