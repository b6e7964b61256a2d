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
