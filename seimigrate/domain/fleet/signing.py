"""Whether a validator signs its chain's blocks, by seid's RPC (``/status`` and ``/commit?height=``).

The formats are CometBFT's (https://docs.cometbft.com/main/rpc/): a commit lists one signature for each validator of
the set; ``block_id_flag`` 2 means that it signed the block.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seimigrate.domain.fleet.campaign import SigningBaseline

SAMPLED_COMMITS = 3
"""Consecutive commits that must have a validator's signature before it counts as signing."""
SIGNING_TTL = 10.0
"""Seconds for which a signing status is fresh."""
_SIGNED = (2, "2", "BLOCK_ID_FLAG_COMMIT")


@dataclass(frozen=True, slots=True)
class SigningStatus:
    """The signing status of a validator and its chain; ``problem`` is why it could not be read.

    ``signs`` means that its address is in each of the last three commits. ``signers`` of ``validators`` signed the last
    commit.
    """

    time: float
    problem: str = ""
    address: str = ""
    height: int = 0
    signs: bool = False
    signers: int = 0
    validators: int = 0


def own_address_and_height(body: str) -> tuple[str, int]:
    """Parse a validator's address and the chain's height from ``/status``; raises ``ValueError``."""
    result = _result(body)
    try:
        return str(result["validator_info"]["address"]).upper(), int(result["sync_info"]["latest_block_height"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"/status has no address and height: {error!r}") from error


def signatures(body: str) -> tuple[frozenset[str], int]:
    """Parse the signers and the number of validators from ``/commit``; raises ``ValueError``."""
    result = _result(body)
    try:
        entries = result["signed_header"]["commit"]["signatures"]
        signed = (str(sig["validator_address"]).upper() for sig in entries if sig["block_id_flag"] in _SIGNED)
        return frozenset(signed), len(entries)
    except (KeyError, TypeError) as error:
        raise ValueError(f"/commit has no signatures: {error!r}") from error


def signing_status(at: float, status: str, commits: Sequence[str]) -> SigningStatus:
    """Return the signing status from a validator's replies; ``commits`` are the last three, newest first."""
    try:
        address, height = own_address_and_height(status)
        parsed = [signatures(commit) for commit in commits]
    except ValueError as error:
        return SigningStatus(at, problem=str(error))
    signers, validators = (len(parsed[0][0]), parsed[0][1]) if parsed else (0, 0)
    signs = len(parsed) >= SAMPLED_COMMITS and bool(address) and all(address in signed for signed, _ in parsed)
    return SigningStatus(at, "", address, height, signs, signers, validators)


def has_quorum(status: SigningStatus) -> bool:
    """Return whether at least two thirds of a chain's validators are signing."""
    return status.validators > 0 and 3 * status.signers >= 2 * status.validators


def signs_again(baseline: SigningBaseline, status: SigningStatus) -> bool:
    """Return whether a validator works as before its cutover: its height grows, and it signs if it signed before.

    All three commits must be later than the baseline, because it may have signed earlier blocks before it stopped.
    """
    if status.problem or not baseline.height:
        return False
    if not baseline.address:
        return status.height > baseline.height
    return status.height >= baseline.height + SAMPLED_COMMITS and status.signs and status.address == baseline.address


def _result(body: str) -> Any:
    try:
        data = json.loads(body)
    except ValueError as error:
        raise ValueError("the reply is not JSON") from error
    if not isinstance(data, dict):
        raise ValueError("the reply is not a JSON object")
    return data.get("result", data)
