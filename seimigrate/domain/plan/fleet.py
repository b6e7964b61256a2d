"""The ``fleet:`` section of a plan: canary, order, waves and disruption budget.

It does not affect the cutover of a single node, so it may change while nodes are in progress.
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
    """Return how many nodes an amount allows: a percentage is rounded down, to at least 1."""
    return max(1, of * int(amount[:-1]) // 100) if amount.endswith("%") else int(amount)


def min_count(amount: str, of: int) -> int:
    """Return how many nodes an amount requires: a percentage is rounded up."""
    return -(-of * int(amount[:-1]) // 100) if amount.endswith("%") else int(amount)


class Canary(Model):
    """The canaries: one node of the fleet, then the first node of each mode."""

    node: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")] | None = (
        Field(None, description="namespace/name; default: the node of the lowest impact, never a validator")
    )
    soak: Seconds = Field(300, description="seconds for which canaries must stay healthy before other nodes start")
    promote: Literal["automatic", "manual"] = Field(
        "automatic", description="manual: after the soak an operator must approve with seimigrate promote"
    )


class MaxUnavailable(Model):
    """The number of nodes that may be unavailable simultaneously, for any reason."""

    fleet: IntOrPercent = Field("1", description="of all nodes of the run")
    chain: IntOrPercent | None = Field(None, description="of the nodes of one chain")
    namespace: IntOrPercent | None = Field(None, description="of the nodes of one namespace")


class Fleet(Model):
    """The rollout settings of a fleet."""

    canary: Canary = Canary()
    order: tuple[OrderBy, ...] = Field(
        ("mode", "chain"),
        description="sort keys of nodes: mode (lowest impact first), chain, namespace, label:KEY",
    )
    waves: tuple[IntOrPercent, ...] = Field(
        ("100%",), description="sizes of the waves after the canary, of all nodes; the last size repeats"
    )
    max_unavailable: MaxUnavailable = MaxUnavailable()
