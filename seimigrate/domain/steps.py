"""The way back in the runbooks' words: the steps that a page binds to a stage, as values that a record can keep.

Steps that change something look first whether they are needed, so which one comes next follows from what the cluster
shows. The others (``PASSED``) are passed once, and the journal remembers that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from seimigrate.domain.plan import StageName


class StepName(StrEnum):
    """What a step does; those of a way back come in this order, the others anywhere between them."""

    CHECK = "check"
    CONFIRM = "confirm"
    PAUSE = "pause"
    NOTIFY = "notify"
    UNPATCH = "unpatch"
    REPLACE_POD = "replace-pod"
    MARK_READY = "mark-ready"
    WAIT = "wait"
    VERIFY = "verify"
    RELEASE = "release"


PASSED = (StepName.CHECK, StepName.CONFIRM, StepName.PAUSE, StepName.NOTIFY)
"""The steps that change nothing and are passed once."""

CHANGING = tuple(step for step in StepName if step not in PASSED)
"""The steps of a whole way back, in the only order that brings a node back."""


class Otherwise(StrEnum):
    """What happens when a step does not find, or does not reach, what it expects."""

    FAIL = "fail"
    PAUSE = "pause"
    GO_ON = "go-on"
    STAY_HELD = "stay-held"


OTHERWISE: Mapping[StepName, tuple[Otherwise, ...]] = {
    StepName.CHECK: (Otherwise.PAUSE, Otherwise.FAIL, Otherwise.GO_ON),
    StepName.CONFIRM: (),
    StepName.PAUSE: (),
    StepName.NOTIFY: (),
    StepName.UNPATCH: (Otherwise.FAIL, Otherwise.PAUSE),
    StepName.REPLACE_POD: (Otherwise.FAIL, Otherwise.PAUSE),
    StepName.MARK_READY: (Otherwise.PAUSE,),
    StepName.WAIT: (Otherwise.FAIL, Otherwise.PAUSE),
    StepName.VERIFY: (Otherwise.FAIL, Otherwise.PAUSE, Otherwise.GO_ON),
    StepName.RELEASE: (Otherwise.STAY_HELD,),
}
"""What a page may say of a step that does not go as expected."""


class Fact(StrEnum):
    """What a check may look at."""

    IDLE = "idle"
    """No SeiNodeTask and no SeiNodeTaskWorkflow is at work on the node."""
    READY = "ready"
    """The pod is Ready."""
    OLD_IMAGE = "old-image"
    """The SeiNode asks for no sidecar that splits."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``text`` is a check's fact, a confirm's question, a pause's reason or a notify's message.

    ``unattended`` tells of a confirm whether it is passed where nobody is there to ask.
    """

    do: StepName
    text: str = ""
    unattended: bool = False
    otherwise: Otherwise | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """The way back that a page binds to a stage; ``stage`` is ``None`` for one that a person chose by its page."""

    page: str
    steps: tuple[Step, ...]
    stage: StageName | None = None


@dataclass(frozen=True, slots=True)
class Ways:
    """Every stage's way back, and the digest of the pages that they come from."""

    digest: str
    ways: tuple[Way, ...]

    @property
    def chosen(self) -> bool:
        """Tell whether a person chose the way by its page."""
        return any(way.stage is None for way in self.ways)

    def of(self, stage: StageName) -> Way | None:
        """Give the way back from a stage: the one that a person chose, if any, else the stage's own."""
        return next((way for way in self.ways if way.stage in (None, stage)), None)
