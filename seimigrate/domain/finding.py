"""What verification finds: one thing each, with the object, who gets in by it, and the next step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How a finding bears on the question whether a fleet is closed."""

    ERROR = "error"
    """It is not closed, or something is cut off that must not be."""
    UNKNOWN = "unknown"
    """It cannot be told."""
    WARNING = "warning"
    """It is closed all the same; a person should look."""


class Acceptance(StrEnum):
    """In spite of which findings about policies a person goes on."""

    NOTHING = "nothing"
    UNJUDGED = "unjudged"
    """Of what cannot be told."""
    FINDINGS = "findings"
    """Of what is known to be open or cut off, too."""

    def covers(self, severity: Severity) -> bool:
        """Tell whether a finding of this severity does not stand in the way."""
        stands = {Acceptance.NOTHING: (Severity.ERROR, Severity.UNKNOWN), Acceptance.UNJUDGED: (Severity.ERROR,)}
        return severity not in stands.get(self, ())

    def with_also(self, other: Acceptance) -> Acceptance:
        """Give what goes further."""
        order = [*Acceptance]
        return max(self, other, key=order.index)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; ``about`` is the object (``Kind namespace/name``), ``where`` the place in it, ``who`` gets in."""

    code: str
    severity: Severity
    about: str
    what: str
    remedy: str
    where: str = ""
    who: str = ""

    @property
    def text(self) -> str:
        """Give the finding as one sentence."""
        place = f"{self.about} {self.where}".strip()
        return f"{place}: {self.what}" + (f": {self.who}" if self.who else "")
