"""The content of seimigrate's Leases: holder, fencing token, and the fields that a live holder updates."""

from __future__ import annotations

from seimigrate.domain.kube.kinds import Object

RUN_ANNOTATION = "seimigrate.sei.io/run"
"""On a Lease: the fencing token of its holder; distinguishes an unacknowledged own renewal from a takeover."""

GUARD_LEASE = "seimigrate-guard"
"""The Lease of the guard, separate from the Lease of the runs."""


def holder(lease: Object) -> str:
    """Return the holder of a Lease, ``""`` if it is free."""
    return str(lease.get("spec", {}).get("holderIdentity") or "")


def token(lease: Object) -> str:
    """Return the fencing token of its holder."""
    return str((lease.get("metadata", {}).get("annotations") or {}).get(RUN_ANNOTATION, ""))


def renewal_marker(lease: Object) -> tuple[object, ...]:
    """Return the fields that a live holder updates; not the resourceVersion, which any client's edit changes."""
    spec = lease["spec"]
    return holder(lease), token(lease), spec.get("renewTime"), spec.get("leaseTransitions")


def duration(lease: Object, default: float) -> float:
    """Return the seconds for which a renewal is valid."""
    return float(lease["spec"].get("leaseDurationSeconds") or default)
