"""The ``fleet:`` section of a plan: which node goes first, how many may move at once, in which order.

It says nothing of what becomes of a node, so it may change while nodes are on their way.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from seimigrate.domain.plan.base import Model, Seconds

_PATTERN = "^([1-9][0-9]{0,8}|([1-9][0-9]?|100)%)$"


def _to_text(value: object) -> str:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if re.fullmatch(_PATTERN, text) is None:
        raise PydanticCustomError("amount", "not an amount")
    return text


IntOrPercent = Annotated[
    str,
    BeforeValidator(_to_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 999999999},
                {"type": "string", "pattern": _PATTERN},
            ]
        }
    ),
]
"""A number of nodes, or a percentage of them."""

OrderBy = Annotated[str, Field(pattern=r"^(mode|chain|namespace|label:[!-~]+)$")]


def max_count(amount: str, of: int) -> int:
    """Give how many nodes an amount allows: a percentage is rounded down, but one node may always move."""
    return max(1, of * int(amount[:-1]) // 100) if amount.endswith("%") else int(amount)


def min_count(amount: str, of: int) -> int:
    """Give how many nodes an amount asks for: a percentage is rounded up."""
    return -(-of * int(amount[:-1]) // 100) if amount.endswith("%") else int(amount)


class Canary(Model):
    """The nodes that go first: one of the whole fleet, then the first one of each mode."""

    node: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")] | None = (
        Field(None, description="namespace/name; else the least harmful, and never a validator")
    )
    soak: Seconds = Field(300, description="how long canaries must stay well before other nodes follow, in seconds")
    promote: Literal["automatic", "manual"] = Field(
        "automatic", description="manual: after the soak a person decides: seimigrate promote"
    )


class MaxUnavailable(Model):
    """How many nodes may be unavailable at once, those counted that are so for another reason."""

    fleet: IntOrPercent = Field("1", description="of all nodes of the run")
    chain: IntOrPercent | None = Field(None, description="of the nodes of one chain")
    namespace: IntOrPercent | None = Field(None, description="of the nodes of one namespace")


class Fleet(Model):
    """How the run goes through its nodes."""

    canary: Canary = Canary()
    order: tuple[OrderBy, ...] = Field(
        ("mode", "chain"),
        description="what nodes are sorted by: mode (least harmful first), chain, namespace, label:KEY",
    )
    waves: tuple[IntOrPercent, ...] = Field(
        ("100%",), description="the sizes of the waves after the canary, of all nodes; the last one counts for the rest"
    )
    max_unavailable: MaxUnavailable = MaxUnavailable()
