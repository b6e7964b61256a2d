"""A run: one process that holds the lock and carries nodes along, one after the other.

It begins by making sure that no earlier run can still write: the run's record first, then each open journal, then
the labels and pods of those nodes. Only then does it act.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from seimigrate.domain import beginning, checks, prospect
from seimigrate.domain import seen as seeing
from seimigrate.domain.beginning import AnotherPlan, Options
from seimigrate.domain.checks import Blocker
from seimigrate.domain.plan import Plan, StageName
from seimigrate.domain.record import Outcome, Record
from seimigrate.domain.seen import Seen
from seimigrate.engine.errors import SeimigrateError, UsageError
from seimigrate.engine.hold import HoldKeeper, NoHold
from seimigrate.engine.journal import Journal, RunJournal, RunRecord
from seimigrate.engine.observer import Observer
from seimigrate.engine.reading import LiveView
from seimigrate.engine.runner import Ports, Report, Runner
from seimigrate.engine.survey import Survey

MOVING = "moving"
"""What the run's record says of a node that is on its way."""

Key = tuple[str, str]
"""A node's namespace and name."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a node came out of a run; ``record`` is ``None`` where nothing was begun."""

    namespace: str
    name: str
    record: Record | None = None
    blockers: tuple[Blocker, ...] = ()
    nothing_to_do: bool = False

    @property
    def outcome(self) -> Outcome | None:
        """Give the outcome, ``None`` where there was nothing to do."""
        if self.record is not None:
            return self.record.outcome
        return Outcome.BLOCKED if self.blockers else None

    @property
    def failed(self) -> bool:
        """Tell whether the node failed, whatever became of it then."""
        return self.record is not None and (
            self.record.failure is not None or self.record.outcome in (Outcome.FAILED, Outcome.PAUSED)
        )


class Run:
    """Carries nodes forwards, back, or to the hold alone."""

    def __init__(
        self, ports: Ports, plan: Plan, hold: HoldKeeper | NoHold, options: Options, who: str, report: Report
    ) -> None:
        self._ports = ports
        self._plan = plan
        self._hold = hold
        self._options = options
        self._observer = Observer(ports.view, ports.clock, hold.problem)
        self._journal = Journal(ports.cluster, plan.migration)
        self._run_journal = RunJournal(ports.cluster)
        self._runner = Runner(ports, self._journal, self._observer, hold, plan, report)
        self._survey = Survey(ports.cluster, ports.clock, plan)
        self._report = report
        self._who = who
        self._about: RunRecord | None = None

    def start(self, command: str, namespaces: Sequence[str] = ("",)) -> None:
        """Write the run's record, take over what an earlier run left open, and put the hold's policies in place.

        ``namespaces`` are those whose held nodes it looks after while it lives.
        """
        last = self._run_journal.load()
        self._about = RunRecord(
            run=self._options.run,
            holder=self._who,
            command=command,
            migration=self._plan.migration,
            plan=self._plan.digest,
            started=self._ports.clock.now(),
            nodes=dict(last.nodes) if last else {},
            namespaces=tuple(namespaces),
        )
        self._save()
        for key in self._about.nodes:
            self._take_over(*key.split("/", 1))
        self._hold.install()

    def _take_over(self, namespace: str, name: str) -> None:
        record = self._journal.load(namespace, name)
        if record is None or record.outcome is not None:
            self._mark(
                f"{namespace}/{name}", record.outcome.value if record and record.outcome and record.open else None
            )
            return
        record = self._journal.save(record.taken_over(self._options.run))
        live = LiveView(self._ports.cluster)
        observer = Observer(live, self._ports.clock, self._hold.problem)
        ports = replace(self._ports, view=live)
        Runner(ports, self._journal, observer, self._hold, self._plan, self._report).take_over(record)

    def _save(self) -> None:
        assert self._about is not None
        self._ports.lock.check()
        self._run_journal.save(self._about)

    def apply(self, keys: Sequence[Key]) -> list[Result]:
        """Carry nodes forwards, one after the other, until more have failed than the plan allows.

        Nodes that an earlier run left on their way come first; raises ``SeimigrateError`` if one of them is not
        among those asked for, since two would then be on their way at once.
        """
        assert self._about is not None
        left = {tuple(key.split("/", 1)) for key, state in self._about.nodes.items() if state == MOVING}
        if forgotten := sorted(left - set(keys)):
            name = "/".join(forgotten[0])
            raise SeimigrateError(
                f"{name} is still on its way: an earlier run left it there",
                hint=f"finish it first: seimigrate apply --node {name}, or seimigrate rollback --node {name}",
            )
        results: list[Result] = []
        for key in sorted(keys, key=lambda key: key not in left):
            results.append(self._apply(*key))
            if sum(result.failed for result in results) > self._plan.failure.max_failed:
                break
        return results

    def _apply(self, namespace: str, name: str) -> Result:
        view = self._observer.look(namespace, name)
        last = self._journal.load(namespace, name)
        if view.seinode is None:
            raise UsageError(f"there is no SeiNode {namespace}/{name}", hint=f"kubectl -n {namespace} get seinodes")
        if last is None or not last.open:
            if (settled := self._nothing_to_do(view, last)) is not None:
                return settled
            view = replace(view, judgement=self._survey.judge(view))
            found = checks.blockers(view, self._plan, accept_unjudged_policy=self._options.accept_unjudged_policy)
            returning = last is not None and last.outcome is Outcome.DONE_HELD
            if found and not returning:
                return Result(namespace, name, blockers=tuple(found))
        return self._carry(self._next_record(view, last))

    def _nothing_to_do(self, view: Seen, last: Record | None) -> Result | None:
        assert view.seinode is not None
        meta = view.seinode["metadata"]
        line = prospect.prospect(view, self._plan, self._options.strategy, last, accept_unjudged=True)
        if line.done and seeing.hold_of(view.statefulset) is None:
            return Result(meta["namespace"], meta["name"], nothing_to_do=True)
        return None

    def _next_record(self, view: Seen, last: Record | None) -> Record:
        now = self._ports.clock.now()
        if last is None:
            return beginning.begin(view, self._plan, self._options, now)
        try:
            return beginning.go_on(last, view, self._plan, self._options, now)
        except AnotherPlan as error:
            raise SeimigrateError(
                f"{error} is on its way by plan {last.plan}, and {self._plan.digest} was given",
                hint=f"run with the same plan and --set as before, or bring it back: "
                f"seimigrate rollback --node {last.key}",
            ) from error

    def hold(self, keys: Sequence[Key]) -> list[Result]:
        """Hold nodes, whatever their state; those that are held or on their way stay as they are."""
        return [self._hold_one(*key) for key in keys]

    def _hold_one(self, namespace: str, name: str) -> Result:
        view = self._observer.look(namespace, name)
        last = self._journal.load(namespace, name)
        if not seeing.owned_by(view.statefulset, view.seinode):
            found = checks.blockers(view, self._plan, accept_unjudged_policy=True)
            return Result(namespace, name, blockers=tuple(found[:1]))
        held = seeing.hold_of(view.statefulset) is not None
        if last is not None and (last.open or (held and last.outcome is not None and last.outcome.held)):
            return Result(namespace, name, record=last, nothing_to_do=True)
        record = beginning.begin(view, self._plan, self._options, self._ports.clock.now(), left=last)
        # Whoever guards it while it is held may bring it back to how it was now, and no further.
        was_ready = record.was_ready or seeing.pod_ready(view.pod)
        return self._carry(replace(record, held_before=False, was_ready=was_ready))

    def back(self, keys: Sequence[Key], to: StageName | None) -> list[Result]:
        """Bring nodes back, to the end of a stage or all the way, one after the other, until one cannot be."""
        results: list[Result] = []
        for key in keys:
            results.append(self._back(*key, to))
            if results[-1].outcome in (Outcome.FAILED, Outcome.PAUSED):
                break
        return results

    def _back(self, namespace: str, name: str, to: StageName | None) -> Result:
        view = self._observer.look(namespace, name)
        last = self._journal.load(namespace, name)
        held = seeing.hold_of(view.statefulset) is not None
        if last is None and not held:
            return Result(namespace, name, nothing_to_do=True)
        now = self._ports.clock.now()
        try:
            record = last if last is not None else beginning.begin(view, self._plan, self._options, now)
            if not record.changes and not held and not record.open:
                return Result(namespace, name, nothing_to_do=True)
            return self._carry(beginning.go_back(record, view, self._options, to, now))
        except LookupError as error:
            raise SeimigrateError(
                f"{namespace}/{name} cannot be brought back: {error}",
                hint=f"kubectl -n {namespace} get seinode,statefulset {name}",
            ) from error

    def _carry(self, record: Record) -> Result:
        """Carry one node; the run's record says so before it starts and after it ended."""
        assert self._about is not None
        self._mark(record.key, MOVING)
        last = self._runner.carry(self._journal.save(record))
        self._mark(record.key, last.outcome.value if last.open and last.outcome else None)
        return Result(record.namespace, record.name, record=last)

    def _mark(self, key: str, state: str | None) -> None:
        assert self._about is not None
        nodes = {k: v for k, v in self._about.nodes.items() if k != key}
        if state is not None:
            nodes[key] = state
        self._about = replace(self._about, nodes=nodes)
        self._save()
