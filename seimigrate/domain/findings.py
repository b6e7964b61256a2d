"""Findings of verification, each with the object, the clients that gain access, and the remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingSeverity(StrEnum):
    """The severity of a finding."""

    ERROR = "error"
    """A port is open, or required access is blocked."""
    UNKNOWN = "unknown"
    """The state cannot be determined."""
    WARNING = "warning"
    """The check passes, but an operator should review the finding."""


class AcceptedFindings(StrEnum):
    """The findings about policies that the operator accepts."""

    NOTHING = "nothing"
    UNKNOWN = "unknown"
    """Findings of severity unknown."""
    VIOLATIONS = "violations"
    """Findings of severity unknown and error."""

    def accepts(self, severity: FindingSeverity) -> bool:
        """Return whether a finding of this severity does not block."""
        blocking = {
            AcceptedFindings.NOTHING: (FindingSeverity.ERROR, FindingSeverity.UNKNOWN),
            AcceptedFindings.UNKNOWN: (FindingSeverity.ERROR,),
        }
        return severity not in blocking.get(self, ())

    def union(self, other: AcceptedFindings) -> AcceptedFindings:
        """Return the value that accepts more."""
        order = [*AcceptedFindings]
        return max(self, other, key=order.index)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; ``object`` is ``Kind namespace/name``, ``field`` a path in it, ``admits`` who gains access."""

    code: str
    severity: FindingSeverity
    object: str
    message: str
    remedy: str
    field: str = ""
    admits: str = ""

    @property
    def text(self) -> str:
        """Return the finding as one line."""
        place = f"{self.object} {self.field}".strip()
        return f"{place}: {self.message}" + (f"; {self.admits}" if self.admits else "")
