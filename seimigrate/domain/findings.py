"""What verification finds: one thing each, with the object, who gets in by it, and the next step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingSeverity(StrEnum):
    """How a finding bears on the question whether a fleet is closed."""

    ERROR = "error"
    """It is not closed, or something is cut off that must not be."""
    UNKNOWN = "unknown"
    """It cannot be told."""
    WARNING = "warning"
    """It is closed all the same; a person should look."""


class AcceptedFindings(StrEnum):
    """In spite of which findings about policies a person goes on."""

    NOTHING = "nothing"
    UNKNOWN = "unknown"
    """Of what cannot be told."""
    VIOLATIONS = "violations"
    """Of what is known to be open or cut off, too."""

    def accepts(self, severity: FindingSeverity) -> bool:
        """Tell whether a finding of this severity does not stand in the way."""
        stands = {
            AcceptedFindings.NOTHING: (FindingSeverity.ERROR, FindingSeverity.UNKNOWN),
            AcceptedFindings.UNKNOWN: (FindingSeverity.ERROR,),
        }
        return severity not in stands.get(self, ())

    def union(self, other: AcceptedFindings) -> AcceptedFindings:
        """Give what goes further."""
        order = [*AcceptedFindings]
        return max(self, other, key=order.index)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; ``about`` is the object (``Kind namespace/name``), ``where`` the place in it, ``who`` gets in."""

    code: str
    severity: FindingSeverity
    object: str
    message: str
    remedy: str
    field: str = ""
    admits: str = ""

    @property
    def text(self) -> str:
        """Give the finding as one sentence."""
        place = f"{self.object} {self.field}".strip()
        return f"{place}: {self.message}" + (f": {self.admits}" if self.admits else "")
