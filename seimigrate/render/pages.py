"""What there is to show, for tables and for JSON alike: the commands fill these, and nothing here asks anybody."""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain import seen, shapes
from seimigrate.domain.checks import Blocker
from seimigrate.domain.finding import Finding, Severity
from seimigrate.domain.fleet.order import Wave
from seimigrate.domain.plan import Parameters
from seimigrate.domain.prospect import Prospect
from seimigrate.domain.seen import Seen


@dataclass(frozen=True, slots=True)
class PlanPage:
    """What ``plan`` found; ``seconds`` is an estimate, ``next`` the command to type then."""

    migration: str
    cluster: str
    server: str
    strategy: str
    fingerprint: str
    lines: tuple[Prospect, ...]
    waves: tuple[Wave, ...]
    seconds: float
    next: str

    @property
    def done(self) -> int:
        """Count the nodes on which nothing is left to change."""
        return sum(line.done for line in self.lines)

    @property
    def blocked(self) -> int:
        """Count the nodes that cannot be moved now."""
        return sum(bool(line.blockers) and not line.done for line in self.lines)

    @property
    def pending(self) -> int:
        """Count the nodes that can be moved."""
        return len(self.lines) - self.done - self.blocked

    @property
    def restarts(self) -> int:
        """Count the restarts of pods that are to come, also of nodes that are blocked now."""
        return sum(line.restarts for line in self.lines)


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
    standing: str


@dataclass(frozen=True, slots=True)
class StatusLine:
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
    def open(self) -> bool:
        """Tell whether the node is on its way, or stopped in the middle of it."""
        return self.stage is not None and self.outcome in (None, "paused", "failed")


@dataclass(frozen=True, slots=True)
class StatusPage:
    """What ``status`` found; ``safe`` is ``None`` where not the whole cluster was looked at, ``doubts`` say why not."""

    run: RunInfo | None
    lines: tuple[StatusLine, ...]
    safe: bool | None
    doubts: tuple[str, ...]
    next: str


@dataclass(frozen=True, slots=True)
class EndedLine:
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
class EndedPage:
    """How a run ended: its token, its nodes in order, and what to do now."""

    run: str
    command: str
    lines: tuple[EndedLine, ...]
    next: str


@dataclass(frozen=True, slots=True)
class VerifyLine:
    """What was found on one node."""

    namespace: str
    name: str
    mode: str
    chain: str
    template: str | None
    pod: str | None
    findings: tuple[Finding, ...]

    @staticmethod
    def of(view: Seen, parameters: Parameters, findings: tuple[Finding, ...]) -> VerifyLine:
        """Give the line of a node that is there."""
        assert view.seinode is not None
        mode = seen.mode_of(view.seinode)
        return VerifyLine(
            namespace=view.seinode["metadata"]["namespace"],
            name=view.seinode["metadata"]["name"],
            mode=mode.value if mode else "unknown",
            chain=view.seinode["spec"].get("chainId", ""),
            template=shapes.shape_of(view.statefulset and view.statefulset["spec"]["template"]["spec"], parameters),
            pod=shapes.shape_of(view.pod and view.pod["spec"], parameters),
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
        return "open" if Severity.ERROR in severities else "unknown" if Severity.UNKNOWN in severities else "closed"


@dataclass(frozen=True, slots=True)
class VerifyPage:
    """What ``verify`` found: on each node, and (``shared``) of those who may create tasks on them."""

    cluster: str
    server: str
    probed: bool
    lines: tuple[VerifyLine, ...]
    shared: tuple[Finding, ...]
    next: str

    @property
    def closed(self) -> bool:
        """Tell whether every node is closed, and nobody may create tasks who is not expected to."""
        mild = all(finding.severity is Severity.WARNING for finding in self.shared)
        return mild and all(line.verdict == "closed" for line in self.lines)

    @property
    def findings(self) -> list[tuple[Finding, tuple[str, ...]]]:
        """Give each finding once, with the nodes that it is about; the worst first."""
        found: dict[Finding, list[str]] = {finding: [] for finding in self.shared}
        for line in self.lines:
            for finding in line.findings:
                found.setdefault(finding, []).append(line.key)
        order = list(Severity)
        return sorted(
            ((finding, tuple(sorted(nodes))) for finding, nodes in found.items()),
            key=lambda each: (order.index(each[0].severity), each[0].code, each[0].about, each[0].where),
        )


@dataclass(frozen=True, slots=True)
class RunbookLine:
    """One page of the runbooks; ``stage`` is the one whose way back it binds, ``steps`` are what the program does."""

    id: str
    title: str
    stage: str | None
    severity: str
    decides: str
    time: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunbooksPage:
    """The pages of a folder, and the digest of its files."""

    digest: str
    lines: tuple[RunbookLine, ...]


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of a way back: its number from 1, what it is about, and whether it is done, next or later."""

    number: int
    do: str
    about: str
    otherwise: str | None
    state: str


@dataclass(frozen=True, slots=True)
class DryRunNode:
    """The steps that a page would take on one node."""

    namespace: str
    name: str
    steps: tuple[StepLine, ...]


@dataclass(frozen=True, slots=True)
class DryRunPage:
    """What ``runbook run --dry-run`` found; ``next`` is the command to type then."""

    page: str
    nodes: tuple[DryRunNode, ...]
    next: str
