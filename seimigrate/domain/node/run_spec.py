"""The specification of a run: the command line builds it, the engine takes it, the run's record keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.plan.plan import StageName, Strategy
from seimigrate.domain.plan.rollback_steps import RollbackRunbooks


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What the operator asked one run to do, apart from the plan and the nodes.

    ``command`` names the command; ``args`` are the arguments with which the same command continues the run.
    ``namespaces`` (``""``: all) are those whose held nodes the run guards while it is live. ``runbooks`` define each
    stage's rollback, or the one that the operator chose. ``target_stage`` is where a cutover ends, ``rollback_to``
    where a rollback ends (``None``: the old template). ``completed_steps`` are the indexes of runbook steps to leave
    out. ``job`` is the digest of the saved plan that a Job applies, ``""`` outside of a Job.
    """

    command: str
    strategy: Strategy
    runbooks: RollbackRunbooks
    args: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ("",)
    target_stage: StageName = StageName.RELEASE
    rollback_to: StageName | None = None
    holds: bool = True
    accepted_findings: AcceptedFindings = AcceptedFindings.NOTHING
    overwrite: bool = False
    completed_steps: tuple[int, ...] = ()
    canary: str | None = None
    job: str = ""
    guards: bool = True
    with_gates: bool = False
