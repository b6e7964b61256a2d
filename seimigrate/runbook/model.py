"""What a page of the runbooks is: who it is for, what it binds, its steps, and its commands for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from seimigrate.domain.plan.plan import StageName
from seimigrate.domain.plan.rollback_steps import RollbackRunbook, RollbackStep
from seimigrate.planfile.problems import FileError

SECTIONS = ("Symptoms", "Diagnosis", "Decision", "Mitigation", "Verification", "Follow-up")
"""The headings of every page, in this order."""

AUTOMATED = "automatic"
"""Who decides where no person has to: a page that says so needs no confirmation."""


class RunbookError(FileError):
    """The runbooks are off, in the files' order."""


class Urgency(StrEnum):
    """How bad it is when somebody has to open a page."""

    ROUTINE = "routine"
    URGENT = "urgent"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading, and the line that it stands in."""

    line: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class RunbookStep:
    """One step for the program, where it stands, and what it expects in words for people."""

    line: int
    step: RollbackStep
    expect: str = ""


@dataclass(frozen=True, slots=True)
class CommandBlock:
    """A block of commands for people; ``line`` is that of its first command."""

    line: int
    section: str
    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link, and the line of the paragraph that it stands in."""

    line: int
    target: str


@dataclass(frozen=True, slots=True)
class Runbook:
    """One page; ``source`` names its file in messages, ``stage`` is the one whose way back it binds, if any."""

    source: str
    id: str
    title: str
    stage: StageName | None
    severity: Urgency
    approver: str
    duration: str
    text: str
    headings: tuple[Heading, ...]
    steps: tuple[RunbookStep, ...]
    commands: tuple[CommandBlock, ...]
    links: tuple[Link, ...]

    def rollback(self, stage: StageName | None) -> RollbackRunbook:
        """Give the page's steps as a way back from a stage, or (``None``) as one chosen by its name."""
        return RollbackRunbook(self.id, tuple(each.step for each in self.steps), stage)
