"""The way back in the runbooks' words: the steps that a page binds to a stage, as values that a record can keep.

Steps that change something look first whether they are needed, so which one comes next follows from what the cluster
shows. The others (``PASSED``) are passed once, and the journal remembers that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from seimigrate.domain.plan.plan import StageName


class StepName(StrEnum):
    """What a step does; those of a way back come in this order, the others anywhere between them."""

    CHECK = "check"
    CONFIRM = "confirm"
    PAUSE = "pause"
    NOTIFY = "notify"
    REVERT = "revert"
    REPLACE_POD = "replace-pod"
    MARK_READY = "mark-ready"
    WAIT = "wait"
    VERIFY = "verify"
    RELEASE = "release"


ONE_TIME_STEPS = (StepName.CHECK, StepName.CONFIRM, StepName.PAUSE, StepName.NOTIFY)
"""The steps that change nothing and are passed once."""

REVERTING_STEPS = tuple(step for step in StepName if step not in ONE_TIME_STEPS)
"""The steps of a whole way back, in the only order that brings a node back."""


class OnFailure(StrEnum):
    """What happens when a step does not find, or does not reach, what it expects."""

    FAIL = "fail"
    PAUSE = "pause"
    CONTINUE = "continue"
    STAY_HELD = "stay-held"


ALLOWED_ON_FAILURE: Mapping[StepName, tuple[OnFailure, ...]] = {
    StepName.CHECK: (OnFailure.PAUSE, OnFailure.FAIL, OnFailure.CONTINUE),
    StepName.CONFIRM: (),
    StepName.PAUSE: (),
    StepName.NOTIFY: (),
    StepName.REVERT: (OnFailure.FAIL, OnFailure.PAUSE),
    StepName.REPLACE_POD: (OnFailure.FAIL, OnFailure.PAUSE),
    StepName.MARK_READY: (OnFailure.PAUSE,),
    StepName.WAIT: (OnFailure.FAIL, OnFailure.PAUSE),
    StepName.VERIFY: (OnFailure.FAIL, OnFailure.PAUSE, OnFailure.CONTINUE),
    StepName.RELEASE: (OnFailure.STAY_HELD,),
}
"""What a page may say of a step that does not go as expected."""


class Precondition(StrEnum):
    """What a check may look at."""

    IDLE = "idle"
    """No SeiNodeTask and no SeiNodeTaskWorkflow is at work on the node."""
    READY = "ready"
    """The pod is Ready."""
    OLD_IMAGE = "old-image"
    """The SeiNode asks for no sidecar that splits."""


@dataclass(frozen=True, slots=True)
class RollbackStep:
    """One step: ``text`` is a check's fact, a confirm's question, a pause's reason or a notify's message.

    ``unattended`` tells of a confirm whether it is passed where nobody is there to ask.
    """

    action: StepName
    text: str = ""
    unattended: bool = False
    on_failure: OnFailure | None = None


@dataclass(frozen=True, slots=True)
class RollbackRunbook:
    """The way back that a page binds to a stage; ``stage`` is ``None`` for one that a person chose by its page."""

    id: str
    steps: tuple[RollbackStep, ...]
    stage: StageName | None = None


@dataclass(frozen=True, slots=True)
class RollbackRunbooks:
    """Every stage's way back, and the digest of the pages that they come from."""

    digest: str
    runbooks: tuple[RollbackRunbook, ...]

    @property
    def explicit(self) -> bool:
        """Tell whether a person chose the way by its page."""
        return any(runbook.stage is None for runbook in self.runbooks)

    def for_stage(self, stage: StageName) -> RollbackRunbook | None:
        """Give the way back from a stage: the one that a person chose, if any, else the stage's own."""
        return next((runbook for runbook in self.runbooks if runbook.stage in (None, stage)), None)
