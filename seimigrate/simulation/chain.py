"""A model of seid's RPC as far as it tells who signs: ``/status`` and ``/commit`` (CometBFT's formats)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from seimigrate.domain.kube.kinds import Object

_VALIDATOR = "validator"
_SIGNED, _ABSENT = 2, 1


def address(namespace: str, node: str) -> str:
    """Give a node's address, which is the same after each restart."""
    return hashlib.sha256(f"{namespace}/{node}".encode()).hexdigest()[:40].upper()


def is_validator(pod_labels: Object) -> bool:
    """Tell by its pod's labels whether a node is a validator."""
    return bool(pod_labels.get("sei.io/role") == _VALIDATOR)


def commit(height: int, validators: Iterable[tuple[str, bool]]) -> str:
    """Give the commit of a block: each validator's address, and whether it signed."""
    signatures = [
        {"block_id_flag": _SIGNED, "validator_address": validator, "signature": "AA=="}
        if signed
        else {"block_id_flag": _ABSENT, "validator_address": "", "signature": None}
        for validator, signed in validators
    ]
    header = {"header": {"height": str(height)}, "commit": {"height": str(height), "signatures": signatures}}
    return json.dumps({"signed_header": header, "canonical": True})
