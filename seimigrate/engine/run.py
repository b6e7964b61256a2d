"""A run: one process that holds the lock and carries nodes forwards, back, or to the hold.

It begins by making sure that no earlier run can still write: the run's record first, then each open journal, then
the labels and pods of those nodes. Only then does it act.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from seimigrate.domain.fleet.budget import RollbackBudget
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.wave_planning import Wave
from seimigrate.domain.node import observation as seeing
from seimigrate.domain.node import start
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.node.start import StartOptions
from seimigrate.domain.plan.plan import Plan, StageName
from seimigrate.engine import preflight
from seimigrate.engine.access_review import AccessReviewer
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.executor import InlineExecutor
from seimigrate.engine.fleet_loop import FleetListener, FleetLoop
from seimigrate.engine.fleet_observer import FleetObserver, GateQuerier
from seimigrate.engine.hold import HoldManager, NoHold
from seimigrate.engine.in_flight import InFlightNodes
from seimigrate.engine.journal import IN_PROGRESS, Journal, RunRecord
from seimigrate.engine.node_observer import Observer
from seimigrate.engine.node_worker import NodeListener, NodeWorker, Ports
from seimigrate.engine.readers import UncachedReader
from seimigrate.engine.results import Key, Result
from seimigrate.engine.run_control import ControlServer
from seimigrate.engine.run_store import RunStore
from seimigrate.engine.turns import Room, Turns


@dataclass(frozen=True)
class RunServices:
    """Who takes part in a run beside its ports; what is left out is done in this thread, or by nobody.

    ``crew`` does the nodes' steps, ``gates`` asks the plan's gates, ``told`` is told of each step of the fleet, and
    ``meanwhile`` is called in between. ``unfit`` says why a node whose turn it is must not begin: it is not as it was
    when the plan was saved.
    """

    executor: Executor | None = None
    gate_client: GateQuerier | None = None
    listener: FleetListener = lambda campaign, step, fleet: None
    on_tick: Callable[[], None] = lambda: None
    stale_plan_blockers: Callable[[str, NodeObservation, Record | None], tuple[Blocker, ...]] = (
        lambda key, observed, last: ()
    )


class Run:
    """Carries nodes forwards, back, or to the hold alone."""

    def __init__(
        self,
        ports: Ports,
        plan: Plan,
        hold: HoldManager | NoHold,
        options: StartOptions,
        who: str,
        report: NodeListener,
        services: RunServices | None = None,
    ) -> None:
        self._ports = ports
        self._plan = plan
        self._hold = hold
        self._options = options
        self._company = services or RunServices()
        self._crew = self._company.executor or InlineExecutor()
        self._observer = Observer(ports.cache, ports.clock, hold.error)
        self._journal = Journal(ports.cluster, plan.migration)
        self._books = RunStore(ports.cluster, ports.lock)
        runner = NodeWorker(ports, self._journal, self._observer, hold, plan, report)
        self._convoy = InFlightNodes(ports, runner, self._journal, self._observer, self._crew)
        self._survey = AccessReviewer(ports.cluster, ports.clock, plan, hold.accounts)
        self._brake = ControlServer(ports.cluster, ports.cache, options.run)
        self._report = report
        self._who = who
        self._results: dict[str, Result] = {}
        self.stopping = False

    def request_stop(self) -> None:
        """End as soon as each step that is being done is finished; the next run goes on. For signal handlers."""
        self.stopping = True

    def save_exit_code(self, code: int) -> None:
        """Write down with what exit code it came to its end, for who would go on with it."""
        self._books.save_exit_code(code)

    def has_in_flight(self, key: Key) -> bool:
        """Tell whether a node is on its way in this run."""
        return "/".join(key) in self._convoy.in_progress

    # Beginning.

    def start(self, command: str, namespaces: Sequence[str] = ("",)) -> None:
        """Write the run's record, take over what an earlier run left open, and put the hold's policies in place.

        ``namespaces`` are those whose held nodes it looks after while it lives.
        """
        self._books.load(
            RunRecord(
                run=self._options.run,
                holder=self._who,
                command=command,
                migration=self._plan.migration,
                plan=self._plan.digest,
                started=self._ports.clock.now(),
                namespaces=tuple(namespaces),
            )
        )
        self._journal.read_all(namespaces)
        for key in self._books.record.nodes:
            self._take_over(key)
        self._hold.install()

    def _take_over(self, key: str) -> None:
        record = self._journal.load(*key.split("/", 1), fresh=True)
        if record is None or record.outcome is not None:
            # It had come to an end, but the run's record does not say so yet.
            campaign = self._books.record.campaign
            if record is not None and campaign is not None and self._books.record.nodes[key] == IN_PROGRESS:
                campaign = campaign.after(record, self._ports.clock.now())
            self._books.mark_finished(key, record, campaign)
            return
        record = self._journal.save(record.owned_by(self._options.run))
        live = UncachedReader(self._ports.cluster)
        observer = Observer(live, self._ports.clock, self._hold.error)
        ports = replace(self._ports, cache=live)
        NodeWorker(ports, self._journal, observer, self._hold, self._plan, self._report).take_over(record)

    # Forwards.

    def apply(
        self,
        keys: Sequence[Key],
        waves: Sequence[Wave] | None = None,
        canary: str | None = None,
        job: str = "",
    ) -> list[Result]:
        """Carry nodes forwards, by canaries and waves, as fast as the plan's budgets allow.

        A campaign over the same nodes that an earlier run left goes on where it was; that of the same ``job`` also
        stays paused, or at its end, and outlives its nodes. Raises ``SeimigrateError`` if a node is still on its way
        that is not among those asked for, and ``UsageError`` for one that is not there.
        """
        left = self._unfinished_from_last_run(keys)
        if self._books.record.is_of(job):
            keys = [key for key in keys if self._observe(key).seinode is not None]
        mustered = preflight.run_preflight(self._observer, self._journal, self._survey, self._plan, self._options, keys)
        for key in mustered.done:
            self._results["/".join(key)] = Result(*key, unchanged=True)
        campaign = self._campaign(mustered, waves, canary, left, job)
        self._books.save_campaign(campaign, tuple(left))
        for name in left:
            begun = self._admit(name, campaign)
            if isinstance(begun, Record):
                self._convoy.add(begun)
            else:
                campaign = campaign.with_finished({name: begun})
        if not campaign.stopped and campaign.waiting(left):
            self._hold_networks(keys)
        campaign = self._drive().run(campaign)
        self._drain()
        return self._all_results(campaign)

    def _unfinished_from_last_run(self, keys: Sequence[Key]) -> list[str]:
        left = self._books.record.in_progress
        if forgotten := sorted(set(left) - {"/".join(key) for key in keys}):
            name = forgotten[0]
            raise SeimigrateError(
                f"{name} is still on its way: an earlier run left it there",
                hint=f"finish it first: seimigrate apply --node {name}, or seimigrate rollback --node {name}",
            )
        return left

    def _campaign(
        self,
        mustered: preflight.Preflight,
        waves: Sequence[Wave] | None,
        canary: str | None,
        left: Sequence[str],
        job: str,
    ) -> Campaign:
        """Give the campaign that an earlier run left over these nodes, or a new one."""
        last = self._books.record.campaign
        if last is not None and self._books.record.is_of(job):
            # Its pod was lost: nobody has said since that it shall go on, or begin anew.
            return last
        if last is not None and last.unfinished(left) and mustered.matches(last):
            # Who says apply again wants it to go on.
            return replace(last, paused="", job=job)
        chosen = tuple(waves) if waves is not None else mustered.plan_waves(self._plan, canary)
        return Campaign(chosen, awaiting_signature=last.awaiting_signature if last is not None else {}, job=job)

    def _drive(self) -> FleetLoop:
        services = self._company
        return FleetLoop(
            ports=self._ports,
            plan=self._plan,
            options=self._options,
            journal=self._journal,
            observer=self._observer,
            in_flight=self._convoy,
            fleet_observer=FleetObserver(self._ports, self._plan, self._crew, services.gate_client),
            control=self._brake,
            store=self._books,
            admit=self._admit,
            on_finished=self._on_finished,
            on_action=services.listener,
            on_tick=services.on_tick,
            should_stop=lambda: self.stopping,
        )

    def _admit(self, key: str, campaign: Campaign) -> Record | str:
        """Give the record with which a node sets out, or how it ended without setting out."""
        namespace, name = key.split("/", 1)
        observed, last = self._with_access_review(self._observe((namespace, name))), self._journal.load(namespace, name)
        wave = campaign.wave_of(key)
        strategy = wave.strategy(self._options.strategy) if wave is not None else self._options.strategy
        options = replace(self._options, strategy=strategy)
        begun = self._company.stale_plan_blockers(key, observed, last) or preflight.start_node(
            key, observed, last, self._plan, options, self._ports.clock.now()
        )
        if isinstance(begun, Record):
            return begun
        self._results[key] = Result(namespace, name, blockers=begun, unchanged=not begun)
        return preflight.OUTCOME_WITHOUT_START[bool(begun)]

    def _on_finished(self, record: Record) -> None:
        self._results[record.key] = Result(record.namespace, record.name, record=record)
        self._books.set_finished(record.key, record)

    def _drain(self) -> None:
        """Wait for the steps that are being done: what came of them is journaled before anybody leaves."""
        while self._convoy.has_running_steps():
            for record in self._convoy.collect_finished():
                self._on_finished(record)
            self._ports.cache.wait_for_change(0.05)

    def _turns(self, room: Room | None = None) -> Turns:
        return Turns(
            ports=self._ports,
            in_flight=self._convoy,
            control=self._brake,
            store=self._books,
            settle=self._drain,
            meanwhile=self._company.on_tick,
            left=lambda: self.stopping,
            room=room,
        )

    def _all_results(self, campaign: Campaign) -> list[Result]:
        """Give a result for each node that has come to an end, those of earlier runs of the campaign among them."""
        for key, outcome in campaign.finished.items():
            if key not in self._results and outcome in set(Outcome):
                namespace, name = key.split("/", 1)
                self._results[key] = Result(namespace, name, record=self._journal.load(namespace, name))
        return list(self._results.values())

    def _hold_networks(self, keys: Sequence[Key]) -> None:
        """Hold all children of the SeiNetworks whose children are to move."""
        networks = {network for key in keys if (network := seeing.network_of(self._observe(key).seinode or _NO_NODE))}
        if not networks:
            return
        children = preflight.children(self._ports.cache, networks)
        held_only = replace(self._options, target_stage=StageName.HOLD)
        free = [key for key in children if seeing.hold_of(self._observe(key).statefulset) is None]
        self._turns().carry(free, lambda key: self._hold_one(key, held_only), lambda result: result.failed)

    def _observe(self, key: Key) -> NodeObservation:
        return self._observer.observe(*key)

    def _with_access_review(self, observed: NodeObservation) -> NodeObservation:
        return (
            replace(observed, access_review=self._survey.review(observed)) if observed.seinode is not None else observed
        )

    # To the hold, and back.

    def hold(self, keys: Sequence[Key]) -> list[Result]:
        """Hold nodes, whatever their state; those that are held or on their way stay as they are."""
        return self._turns().carry(keys, lambda key: self._hold_one(key, self._options), lambda _: False)

    def _hold_one(self, key: Key, options: StartOptions) -> Result | Record:
        observed = self._observe(key)
        last = start.current_record(self._journal.load(*key), observed)
        if (found := preflight.hold_blocker(observed, self._plan)) is not None:
            return Result(*key, blockers=(found,))
        held = seeing.hold_of(observed.statefulset) is not None
        if last is not None and (last.unfinished or (held and last.outcome is not None and last.outcome.held)):
            return Result(*key, record=last, unchanged=True)
        record = start.start(observed, self._plan, options, self._ports.clock.now(), previous=last)
        # Whoever guards it while it is held may bring it back to how it was now, and no further.
        was_ready = record.was_ready or seeing.is_ready(observed.pod)
        return replace(record, held_before=False, was_ready=was_ready)

    def rollback(self, keys: Sequence[Key], to: StageName | None) -> list[Result]:
        """Bring nodes back, to the end of a stage or all the way, within the plan's budgets, until one cannot be."""
        ends = (Outcome.FAILED, Outcome.PAUSED)
        allowed, observer = self._plan.fleet.max_unavailable, FleetObserver(self._ports, self._plan, self._crew, None)
        fleet = ["/".join(key) for key in keys]

        def room() -> Callable[[Key], bool]:
            returns = RollbackBudget(fleet, allowed, observer.observe(self._convoy.in_progress, 0.0))
            return lambda key: returns.allows("/".join(key))

        turns = self._turns(room)
        return turns.carry(keys, lambda key: self._rollback_one(key, to), lambda result: result.outcome in ends)

    def _rollback_one(self, key: Key, to: StageName | None) -> Result | Record:
        observed = self._observe(key)
        last = start.current_record(self._journal.load(*key, fresh=True), observed)
        held = seeing.hold_of(observed.statefulset) is not None
        if last is None and not held:
            return Result(*key, unchanged=True)
        now = self._ports.clock.now()
        try:
            record = last if last is not None else start.start(observed, self._plan, self._options, now)
            if not record.changes and not held and not record.unfinished:
                return Result(*key, unchanged=True)
            if to is not None and to.position > record.reached.position:
                return Result(*key, blockers=(_stage_not_reached(record, to),))
            return start.start_rollback(record, observed, self._options, to, now)
        except LookupError as error:
            raise SeimigrateError(
                f"{'/'.join(key)} cannot be brought back: {error}",
                hint=f"kubectl -n {key[0]} get seinode,statefulset {key[1]}",
            ) from error


def _stage_not_reached(record: Record, to: StageName) -> Blocker:
    """Say that a way back cannot stop at a stage that the node never came to."""
    come = f"it has come to the end of stage {record.reached}, and {to} is ahead: apply moves forwards"
    back = f"seimigrate rollback --node {record.key}"
    return Blocker("stage-not-reached", come, f"{back} --to {record.reached}, or all the way: {back}")


_NO_NODE = {"metadata": {"namespace": ""}}
