"""The rollback steps that a runbook binds to a stage, as values that a record can store.

Steps with an effect are idempotent, so the next step follows from the state of the cluster. The others
(``ONE_TIME_STEPS``) run once, and the journal stores their completion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from seimigrate.domain.plan.plan import StageName


class StepName(StrEnum):
    """The action of a step; reverting steps run in this order, one-time steps anywhere between them."""

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
"""The steps without an observable effect; each runs once."""

REVERTING_STEPS = tuple(step for step in StepName if step not in ONE_TIME_STEPS)
"""The steps of a complete rollback, in the required order."""


class OnFailure(StrEnum):
    """The reaction to a failed step."""

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
"""The values of ``on-failure`` per step."""


class Precondition(StrEnum):
    """The preconditions that a check can test."""

    IDLE = "idle"
    """No SeiNodeTask and no SeiNodeTaskWorkflow is running on the node."""
    READY = "ready"
    """The pod is Ready."""
    OLD_IMAGE = "old-image"
    """The SeiNode's spec names no sidecar image that splits."""


@dataclass(frozen=True, slots=True)
class RollbackStep:
    """One step: ``text`` is a check's precondition, a confirm's prompt, a pause's reason or a notify's message.

    ``unattended`` means that a confirm completes without confirmation in an unattended run.
    """

    action: StepName
    text: str = ""
    unattended: bool = False
    on_failure: OnFailure | None = None


@dataclass(frozen=True, slots=True)
class RollbackRunbook:
    """The rollback that a runbook defines for a stage; ``stage`` is ``None`` if an operator chose the runbook."""

    id: str
    steps: tuple[RollbackStep, ...]
    stage: StageName | None = None


@dataclass(frozen=True, slots=True)
class RollbackRunbooks:
    """The rollback of each stage, and the digest of the runbooks."""

    digest: str
    runbooks: tuple[RollbackRunbook, ...]

    @property
    def explicit(self) -> bool:
        """Return whether an operator chose the runbook."""
        return any(runbook.stage is None for runbook in self.runbooks)

    def for_stage(self, stage: StageName) -> RollbackRunbook | None:
        """Return the rollback from a stage: the runbook that an operator chose, if any, otherwise the stage's own."""
        return next((runbook for runbook in self.runbooks if runbook.stage in (None, stage)), None)
