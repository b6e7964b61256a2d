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
"""So many commits in a row must have a validator's signature before it counts as signing."""
SIGNING_TTL = 10.0
"""Seconds for which a look at the chain counts."""
_SIGNED = (2, "2", "BLOCK_ID_FLAG_COMMIT")


@dataclass(frozen=True, slots=True)
class SigningStatus:
    """What a validator told of itself and of its chain; ``problem`` says why it told nothing.

    ``signs`` means that its address is in each of the last three commits; of the last one ``signers`` of
    ``validators`` signed.
    """

    time: float
    problem: str = ""
    address: str = ""
    height: int = 0
    signs: bool = False
    signers: int = 0
    validators: int = 0


def own_address_and_height(body: str) -> tuple[str, int]:
    """Read a validator's address and the chain's height from ``/status``; raises ``ValueError``."""
    result = _result(body)
    try:
        return str(result["validator_info"]["address"]).upper(), int(result["sync_info"]["latest_block_height"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its status has no address and height: {error!r}") from error


def signatures(body: str) -> tuple[frozenset[str], int]:
    """Read who signed, and how many there are, from ``/commit``; raises ``ValueError``."""
    result = _result(body)
    try:
        entries = result["signed_header"]["commit"]["signatures"]
        signed = (str(each["validator_address"]).upper() for each in entries if each["block_id_flag"] in _SIGNED)
        return frozenset(signed), len(entries)
    except (KeyError, TypeError) as error:
        raise ValueError(f"its commit has no signatures: {error!r}") from error


def signing_status(at: float, status: str, commits: Sequence[str]) -> SigningStatus:
    """Put together what a validator told; ``commits`` are the last three, the newest first."""
    try:
        address, height = own_address_and_height(status)
        read = [signatures(commit) for commit in commits]
    except ValueError as error:
        return SigningStatus(at, problem=str(error))
    signers, validators = (len(read[0][0]), read[0][1]) if read else (0, 0)
    signs = len(read) >= SAMPLED_COMMITS and bool(address) and all(address in signed for signed, _ in read)
    return SigningStatus(at, "", address, height, signs, signers, validators)


def has_quorum(seen: SigningStatus) -> bool:
    """Tell whether at least two thirds of a chain's validators are in sight."""
    return seen.validators > 0 and 3 * seen.signers >= 2 * seen.validators


def signs_again(signing: SigningBaseline, seen: SigningStatus) -> bool:
    """Tell whether a validator that moved does what it did before: its height grows, and it signs if it did.

    All three commits must be of blocks after the first look: it may have signed those before until it stopped.
    """
    if seen.problem or not signing.height:
        return False
    if not signing.address:
        return seen.height > signing.height
    return seen.height >= signing.height + SAMPLED_COMMITS and seen.signs and seen.address == signing.address


def _result(body: str) -> Any:
    try:
        data = json.loads(body)
    except ValueError as error:
        raise ValueError("its answer is not JSON") from error
    if not isinstance(data, dict):
        raise ValueError("its answer is no mapping")
    return data.get("result", data)
