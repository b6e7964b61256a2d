"""A saved plan: the decisions, the cluster, its nodes, and the fingerprint of each node.

The file contains the plan with its parameters, so that exactly the reviewed plan is applied. A digest of the content
detects a damaged or edited file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.fleet.wave_planning import Wave
from seimigrate.domain.node.record import first_error
from seimigrate.domain.plan.plan import Plan, Strategy

KIND = "seimigrate plan"
VERSION = 1


class InvalidSavedPlan(ValueError):  # noqa: N818 - the name states the condition
    """The file is not a saved plan, is damaged, or has an unsupported version."""


@dataclass(frozen=True, slots=True)
class SavedNode:
    """One node of a saved plan, with its fingerprint (``fingerprints.Fields``)."""

    namespace: str
    name: str
    mode: str
    chain: str
    stage: str
    restarts: int
    blocked: bool
    fields: Mapping[str, str | int | None]

    @property
    def key(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """All input of ``apply FILE``; ``cluster`` is the uid of namespace kube-system, times are in seconds.

    ``waves`` are in rollout order. ``args`` are the arguments with which the plan can be recreated.
    """

    cluster: str
    saved_at: float
    strategy: Strategy
    accepted_findings: AcceptedFindings
    canary: str | None
    waves: tuple[Wave, ...]
    estimate: float
    nodes: tuple[SavedNode, ...]
    plan: Plan
    args: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Return the digest that identifies this saved plan."""
        return _digest(self._content())

    def to_json(self) -> str:
        """Serialize the file."""
        content = self._content()
        return json.dumps({"kind": KIND, "version": VERSION, "digest": _digest(content), "content": content}, indent=1)

    def _content(self) -> dict[str, Any]:
        return {**asdict(self), "plan": self.plan.model_dump(mode="json", by_alias=True)}


_READER = TypeAdapter(SavedPlan)


def parse(text: str) -> SavedPlan:
    """Parse a saved plan; raises ``InvalidSavedPlan`` with the reason."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidSavedPlan("not JSON: the file is truncated or not a saved plan") from None
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InvalidSavedPlan(f'not a saved plan: "kind" is not "{KIND}"')
    if data.get("version") != VERSION:
        raise InvalidSavedPlan(f"version is {str(data.get('version'))[:20]}, expected {VERSION}")
    content = data.get("content")
    if data.get("digest") != _digest(content):
        raise InvalidSavedPlan("the file was modified after it was saved: its digest does not match")
    try:
        return _READER.validate_python(content)
    except (ValidationError, TypeError) as error:
        raise InvalidSavedPlan(first_error(error) if isinstance(error, ValidationError) else str(error)) from None


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
