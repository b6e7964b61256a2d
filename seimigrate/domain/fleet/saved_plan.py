"""A plan in a file: what was decided, for which nodes of which cluster, and what each of them was like then.

The plan with its parameters travels inside, so that exactly what was looked at is carried out. A digest over
everything tells a file that was damaged or edited.
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


class InvalidSavedPlan(ValueError):  # noqa: N818 - reads as what it says
    """A file that is no saved plan, is damaged, or is not of a version that is understood."""


@dataclass(frozen=True, slots=True)
class SavedNode:
    """One node: what would be done to it, and its fingerprint (``fingerprints.Fields``)."""

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
        """Give ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """Everything that ``apply FILE`` needs; ``cluster`` is the uid of namespace kube-system, times are in seconds.

    ``waves`` are in the order in which they are to move, ``words`` the options with which it can be made anew.
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
        """Give what tells this saved plan from every other."""
        return _digest(self._content())

    def to_json(self) -> str:
        """Write the file's text."""
        content = self._content()
        return json.dumps({"kind": KIND, "version": VERSION, "digest": _digest(content), "content": content}, indent=1)

    def _content(self) -> dict[str, Any]:
        return {**asdict(self), "plan": self.plan.model_dump(mode="json", by_alias=True)}


_READER = TypeAdapter(SavedPlan)


def parse(text: str) -> SavedPlan:
    """Read a saved plan; raises ``BadSavedPlan`` with the reason."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidSavedPlan("it is not JSON: cut off, or another file") from None
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InvalidSavedPlan("it is JSON, but no saved plan")
    if data.get("version") != VERSION:
        raise InvalidSavedPlan(f"its version is {str(data.get('version'))[:20]}, and {VERSION} is understood")
    content = data.get("content")
    if data.get("digest") != _digest(content):
        raise InvalidSavedPlan("it was changed after it was saved: its digest does not fit")
    try:
        return _READER.validate_python(content)
    except (ValidationError, TypeError) as error:
        raise InvalidSavedPlan(first_error(error) if isinstance(error, ValidationError) else str(error)) from None


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
