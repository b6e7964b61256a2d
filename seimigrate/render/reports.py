"""What there is to show, for tables and for JSON alike: the commands fill these, and nothing here asks anybody."""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.fleet.wave_planning import Wave
from seimigrate.domain.node import observation, shapes
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.preview import NodePlan
from seimigrate.domain.plan.plan import Parameters


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What ``plan`` found; ``seconds`` is an estimate, ``next`` the command to type then."""

    migration: str
    cluster: str
    server: str
    strategy: str
    fingerprint: str
    nodes: tuple[NodePlan, ...]
    waves: tuple[Wave, ...]
    seconds: float
    next_command: str

    @property
    def done(self) -> int:
        """Count the nodes on which nothing is left to change."""
        return sum(node.done for node in self.nodes)

    @property
    def blocked(self) -> int:
        """Count the nodes that cannot be moved now."""
        return sum(bool(node.blockers) and not node.done for node in self.nodes)

    @property
    def pending(self) -> int:
        """Count the nodes that can be moved."""
        return len(self.nodes) - self.done - self.blocked

    @property
    def restarts(self) -> int:
        """Count the restarts of pods that are to come, also of nodes that are blocked now."""
        return sum(node.restarts for node in self.nodes)


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The present run, or the last one; ``live`` tells that it holds the lock and renews it.

    ``standing`` says why nothing starts just now, as far as the run's record tells.
    """

    token: str
    holder: str
    command: str
    plan: str
    started: str
    live: bool
    wait_reason: str


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One node: where it is on its way, and whether its controller is kept off it."""

    namespace: str
    name: str
    mode: str
    chain: str
    template: str | None
    pod: str | None
    stage: str | None
    direction: str | None
    outcome: str | None
    held: bool
    guarded: bool
    reason: str
    failure: str | None
    notes: tuple[str, ...]

    @property
    def key(self) -> str:
        """Give ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def unfinished(self) -> bool:
        """Tell whether the node is on its way, or stopped in the middle of it."""
        return self.stage is not None and self.outcome in (None, "paused", "failed")


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What ``status`` found; ``safe`` is ``None`` where not the whole cluster was looked at, ``doubts`` say why not."""

    run: RunInfo | None
    rows: tuple[StatusRow, ...]
    safe_to_upgrade: bool | None
    upgrade_blockers: tuple[str, ...]
    next_command: str


@dataclass(frozen=True, slots=True)
class ResultRow:
    """How one node came out of a run."""

    namespace: str
    name: str
    outcome: str | None
    stage: str | None
    reason: str
    failure: str | None
    blockers: tuple[Blocker, ...]
    held: bool
    restarts: int
    notes: tuple[str, ...]

    @property
    def key(self) -> str:
        """Give ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run ended: its token, its nodes in order, and what to do now."""

    run: str
    command: str
    rows: tuple[ResultRow, ...]
    next_command: str


@dataclass(frozen=True, slots=True)
class VerifyRow:
    """What was found on one node."""

    namespace: str
    name: str
    mode: str
    chain: str
    template: str | None
    pod: str | None
    findings: tuple[Finding, ...]

    @staticmethod
    def of(observed: NodeObservation, parameters: Parameters, findings: tuple[Finding, ...]) -> VerifyRow:
        """Give the line of a node that is there."""
        assert observed.seinode is not None
        mode = observation.mode_of(observed.seinode)
        return VerifyRow(
            namespace=observed.seinode["metadata"]["namespace"],
            name=observed.seinode["metadata"]["name"],
            mode=mode.value if mode else "unknown",
            chain=observed.seinode["spec"].get("chainId", ""),
            template=shapes.shape_of(
                observed.statefulset and observed.statefulset["spec"]["template"]["spec"], parameters
            ),
            pod=shapes.shape_of(observed.pod and observed.pod["spec"], parameters),
            findings=findings,
        )

    @property
    def key(self) -> str:
        """Give ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def verdict(self) -> str:
        """Tell whether the node is closed, open, or (``unknown``) not to be told."""
        severities = {finding.severity for finding in self.findings}
        return (
            "fail"
            if FindingSeverity.ERROR in severities
            else "unknown"
            if FindingSeverity.UNKNOWN in severities
            else "pass"
        )


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What ``verify`` found: on each node, and (``shared``) of those who may create tasks on them."""

    cluster: str
    server: str
    probed: bool
    rows: tuple[VerifyRow, ...]
    cluster_findings: tuple[Finding, ...]
    next_command: str

    @property
    def passed(self) -> bool:
        """Tell whether every node is closed, and nobody may create tasks who is not expected to."""
        mild = all(finding.severity is FindingSeverity.WARNING for finding in self.cluster_findings)
        return mild and all(row.verdict == "pass" for row in self.rows)

    @property
    def findings(self) -> list[tuple[Finding, tuple[str, ...]]]:
        """Give each finding once, with the nodes that it is about; the worst first."""
        found: dict[Finding, list[str]] = {finding: [] for finding in self.cluster_findings}
        for row in self.rows:
            for finding in row.findings:
                found.setdefault(finding, []).append(row.key)
        order = list(FindingSeverity)
        return sorted(
            ((finding, tuple(sorted(nodes))) for finding, nodes in found.items()),
            key=lambda each: (order.index(each[0].severity), each[0].code, each[0].object, each[0].field),
        )


@dataclass(frozen=True, slots=True)
class RunbookRow:
    """One page of the runbooks; ``stage`` is the one whose way back it binds, ``steps`` are what the program does."""

    id: str
    title: str
    stage: str | None
    severity: str
    approver: str
    duration: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunbookList:
    """The pages of a folder, and the digest of its files."""

    digest: str
    rows: tuple[RunbookRow, ...]


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step of a way back: its number from 1, what it is about, and whether it is done, next or later."""

    number: int
    action: str
    detail: str
    on_failure: str | None
    state: str


@dataclass(frozen=True, slots=True)
class DryRunNode:
    """The steps that a page would take on one node."""

    namespace: str
    name: str
    steps: tuple[StepRow, ...]


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """What ``runbook run --dry-run`` found; ``next`` is the command to type then."""

    runbook: str
    nodes: tuple[DryRunNode, ...]
    next_command: str
