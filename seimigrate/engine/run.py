"""A run: one process that holds the lock and cuts nodes over, rolls them back, or holds them.

It starts by making sure that no earlier run can still write: it takes over the run's record first, then each unfinished
journal, then the hold labels and pods of those nodes. Only then does it act.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from seimigrate.domain.fleet import reconcile
from seimigrate.domain.fleet.campaign import SKIPPED, UNCHANGED, Campaign
from seimigrate.domain.fleet.control import SWEEP_COMMANDS
from seimigrate.domain.fleet.sweep import Sweep, sweep_campaign
from seimigrate.domain.fleet.wave_planning import Wave
from seimigrate.domain.node import observation, start
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.node.run_spec import RunSpec
from seimigrate.domain.plan.plan import Plan, StageName
from seimigrate.engine import preflight
from seimigrate.engine.access_review import AccessReviewer
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.executor import InlineExecutor
from seimigrate.engine.fleet_loop import FleetListener, FleetLoop, LoopPolicy
from seimigrate.engine.fleet_observer import FleetObserver, GateQuerier
from seimigrate.engine.hold import HoldManager, NoHold
from seimigrate.engine.in_flight import InFlightNodes
from seimigrate.engine.journal import Journal
from seimigrate.engine.node_observer import Observer
from seimigrate.engine.node_worker import NodeListener, NodeWorker, Ports
from seimigrate.engine.readers import UncachedReader
from seimigrate.engine.results import Key, Result
from seimigrate.engine.run_control import ControlServer
from seimigrate.engine.run_store import IN_PROGRESS, RunRecord, RunStore

_NO_NODE = {"metadata": {"namespace": ""}}


@dataclass(frozen=True)
class RunServices:
    """The collaborators of a run beside its ports; by default all work is done in the calling thread.

    ``executor`` runs the nodes' steps, ``gate_client`` queries the plan's gates, ``listener`` is called with each
    action of the fleet, ``on_tick`` between two actions. ``stale_plan_blockers`` returns why a node that is about to
    start differs from the saved plan.
    """

    executor: Executor | None = None
    gate_client: GateQuerier | None = None
    listener: FleetListener = lambda campaign, action, fleet: None
    on_tick: Callable[[], None] = lambda: None
    stale_plan_blockers: Callable[[str, NodeObservation, Record | None], tuple[Blocker, ...]] = (
        lambda key, observed, record: ()
    )


class Run:
    """Cuts nodes over, rolls them back, or holds them, as its spec says."""

    def __init__(
        self,
        ports: Ports,
        plan: Plan,
        hold: HoldManager | NoHold,
        spec: RunSpec,
        holder: str,
        report: NodeListener,
        services: RunServices | None = None,
    ) -> None:
        self._ports = ports
        self._plan = plan
        self._hold = hold
        self._spec = spec
        self._token = ports.lock.token
        self._services = services or RunServices()
        self._executor = self._services.executor or InlineExecutor()
        self._observer = Observer(ports.cache, ports.clock, hold.error)
        self._journal = Journal(ports.cluster, plan.migration)
        self._store = RunStore(ports.cluster, ports.lock)
        worker = NodeWorker(ports, self._journal, self._observer, hold, plan, report)
        self._in_flight = InFlightNodes(ports, worker, self._journal, self._observer, self._executor)
        self._access_reviewer = AccessReviewer(ports.cluster, ports.clock, plan, hold.accounts)
        self._control = ControlServer(ports.cluster, ports.cache, self._token)
        self._report = report
        self._holder = holder
        self._results: dict[str, Result] = {}
        self.skipped: frozenset[str] = frozenset()
        self.stopping = False

    def request_stop(self) -> None:
        """Stop as soon as the running steps are done; the next run resumes. For signal handlers."""
        self.stopping = True

    def save_exit_code(self, code: int) -> None:
        """Record the exit code with which the run finished, for the next pod of a Job."""
        self._store.save_exit_code(code)

    def has_in_flight(self, key: Key) -> bool:
        """Return whether a node is in progress in this run."""
        return "/".join(key) in self._in_flight.in_progress

    # Start.

    def start(self) -> None:
        """Write the run's record, take over what an earlier run left unfinished, and install the hold's policies."""
        self._store.load(
            RunRecord(
                run=self._token,
                holder=self._holder,
                migration=self._plan.migration,
                plan=self._plan.digest,
                started=self._ports.clock.now(),
                spec=self._spec,
            )
        )
        self._journal.read_all(self._spec.namespaces)
        for key in self._store.record.nodes:
            self._take_over(key)
        self._hold.install()

    def _take_over(self, key: str) -> None:
        record = self._journal.load(*key.split("/", 1), fresh=True)
        if record is None or record.outcome is not None:
            self._store.mark_finished(key, record, self._campaign_after(key, record))
            return
        record = self._journal.save(record.owned_by(self._token))
        uncached = UncachedReader(self._ports.cluster)
        observer = Observer(uncached, self._ports.clock, self._hold.error)
        ports = replace(self._ports, cache=uncached)
        NodeWorker(ports, self._journal, observer, self._hold, self._plan, self._report).take_over(record)

    def _campaign_after(self, key: str, record: Record | None) -> Campaign | None:
        """Return the cutover's campaign after a node of it that finished right before the earlier run died."""
        stored = self._store.record
        in_sweep = stored.sweep is not None and key in stored.sweep.keys
        if record is None or stored.campaign is None or in_sweep or stored.nodes[key] != IN_PROGRESS:
            return stored.campaign
        return stored.campaign.after(record, self._ports.clock.now())

    # Cutover.

    def apply(self, keys: Sequence[Key], waves: Sequence[Wave] | None = None) -> list[Result]:
        """Cut nodes over, canaries first, then in waves, within the plan's budgets.

        Resumes the campaign that an earlier run left over the same nodes; a campaign of the same Job also stays paused
        or finished, even if its nodes were deleted. Raises ``SeimigrateError`` if another node is still in progress,
        ``UsageError`` for a node that does not exist.
        """
        unfinished = self._unfinished_from_last_run(keys)
        if self._store.record.is_of(self._spec.job):
            keys = [key for key in keys if self._observe(key).seinode is not None]
        checked = preflight.run_preflight(
            self._observer, self._journal, self._access_reviewer, self._plan, self._spec, keys
        )
        campaign = self._campaign(checked, waves, unfinished)
        for key in checked.done:
            if campaign.finished.get("/".join(key)) not in set(Outcome):  # else an earlier run cut it over
                self._results["/".join(key)] = Result(*key, unchanged=True)
        self._store.save_campaign(campaign, tuple(unfinished))
        if not campaign.stopped and campaign.waiting(unfinished):
            campaign = self._hold_networks(keys, campaign, tuple(unfinished))
        for name in unfinished:
            admitted = self._admit(name, campaign)
            if isinstance(admitted, Record):
                self._in_flight.add(admitted)
            else:
                campaign = campaign.with_finished({name: admitted})
        plan = self._plan
        policy = LoopPolicy(
            lambda campaign, fleet: reconcile.next_action(campaign, plan, fleet), self._admit, self._store.save_campaign
        )
        campaign = self._process(campaign, policy, self._services.listener)
        return self._all_results(campaign)

    def _unfinished_from_last_run(self, keys: Sequence[Key]) -> list[str]:
        unfinished = self._store.record.in_progress
        if missing := sorted(set(unfinished) - {"/".join(key) for key in keys}):
            name = missing[0]
            raise SeimigrateError(
                f"{name} is still in progress from an earlier run",
                hint=f"finish it first: seimigrate apply --node {name}, or seimigrate rollback --node {name}",
            )
        return unfinished

    def _campaign(
        self, checked: preflight.Preflight, waves: Sequence[Wave] | None, unfinished: Sequence[str]
    ) -> Campaign:
        """Return the campaign that an earlier run left over these nodes, or a new one."""
        last, job = self._store.record.campaign, self._spec.job
        if last is not None and self._store.record.is_of(job):
            return last  # a Job's pod was lost; no operator resumed or restarted the campaign since
        if last is not None and last.unfinished(unfinished) and checked.matches(last):
            return replace(last, paused="", job=job)  # an operator reran apply to resume
        chosen = tuple(waves) if waves is not None else checked.plan_waves(self._plan, self._spec.canary)
        return Campaign(chosen, awaiting_signature=last.awaiting_signature if last is not None else {}, job=job)

    def _hold_networks(self, keys: Sequence[Key], campaign: Campaign, unfinished: tuple[str, ...]) -> Campaign:
        """Hold all children of the SeiNetworks that nodes to be cut over belong to; an abort stops the cutover."""
        nodes = [self._observe(key).seinode or _NO_NODE for key in keys]
        networks = {network for node in nodes if (network := observation.network_of(node))}
        children = preflight.children(self._ports.cache, networks) if networks else []
        free = [key for key in children if observation.hold_of(self._observe(key).statefulset) is None]
        if not free:
            return campaign
        spec = replace(self._spec, target_stage=StageName.HOLD)
        held = sweep_campaign("/".join(key) for key in free)
        policy = self._sweep_policy(Sweep(stops_on_failure=True), lambda key: self._hold_one(key, spec))
        sweep = self._process(held, policy, lambda campaign, action, fleet: None)
        campaign = replace(campaign, stopped=sweep.stopped)
        self._store.save_campaign(campaign, unfinished)
        return campaign

    def _admit(self, key: str, campaign: Campaign) -> Record | str:
        """Return the record with which a node starts, or the outcome of a node that does not start."""
        namespace, name = key.split("/", 1)
        observed, last = self._with_access_review(self._observe((namespace, name))), self._journal.load(namespace, name)
        wave = campaign.wave_of(key)
        strategy = wave.strategy(self._spec.strategy) if wave is not None else self._spec.strategy
        spec = replace(self._spec, strategy=strategy)
        admitted = self._services.stale_plan_blockers(key, observed, last) or preflight.start_node(
            key, observed, last, self._plan, spec, self._token, self._ports.clock.now()
        )
        if isinstance(admitted, Record):
            return admitted
        self._results[key] = Result(namespace, name, blockers=admitted, unchanged=not admitted)
        return Outcome.BLOCKED.value if admitted else UNCHANGED

    def _all_results(self, campaign: Campaign) -> list[Result]:
        """Return a result for each node that finished, including those of earlier runs of the campaign."""
        for key, outcome in campaign.finished.items():
            if key not in self._results and outcome in set(Outcome):
                namespace, name = key.split("/", 1)
                self._results[key] = Result(namespace, name, record=self._journal.load(namespace, name))
        return list(self._results.values())

    # Hold and rollback.

    def hold(self, keys: Sequence[Key]) -> list[Result]:
        """Hold nodes, whatever their state; nodes that are held or in progress stay as they are."""
        return self._sweep(keys, Sweep(), lambda key: self._hold_one(key, self._spec))

    def rollback(self, keys: Sequence[Key]) -> list[Result]:
        """Roll nodes back within the plan's budgets, until one fails."""
        sweep = Sweep(budget=self._plan.fleet.max_unavailable, stops_on_failure=True)
        return self._sweep(keys, sweep, self._rollback_one)

    def _sweep(self, keys: Sequence[Key], sweep: Sweep, begin: Callable[[Key], Result | Record]) -> list[Result]:
        """Process nodes in order by a campaign of their own; the cutover's stays as it is."""
        names = ["/".join(key) for key in keys]
        self._process(sweep_campaign(names), self._sweep_policy(sweep, begin), self._services.listener)
        return [self._results[name] for name in names if name in self._results]

    def _sweep_policy(self, sweep: Sweep, begin: Callable[[Key], Result | Record]) -> LoopPolicy:
        def admit(key: str, campaign: Campaign) -> Record | str:
            namespace, name = key.split("/", 1)
            admitted = begin((namespace, name))
            if isinstance(admitted, Record):
                return admitted
            self._results[key] = admitted
            if admitted.unchanged or admitted.outcome is None:
                return UNCHANGED
            return admitted.outcome.value

        return LoopPolicy(sweep.next_action, admit, self._store.save_sweep, SWEEP_COMMANDS)

    def _hold_one(self, key: Key, spec: RunSpec) -> Result | Record:
        observed = self._observe(key)
        last = start.current_record(self._journal.load(*key), observed)
        if (blocker := preflight.hold_blocker(observed, self._plan)) is not None:
            return Result(*key, blockers=(blocker,))
        held = observation.hold_of(observed.statefulset) is not None
        if last is not None and (last.unfinished or (held and last.outcome is not None and last.outcome.held)):
            return Result(*key, record=last, unchanged=True)
        record = start.start(observed, self._plan, spec, self._token, self._ports.clock.now(), previous=last)
        # A guard may mark the held node ready only if it was ready before.
        was_ready = record.was_ready or observation.is_ready(observed.pod)
        return replace(record, held_before=False, was_ready=was_ready)

    def _rollback_one(self, key: Key) -> Result | Record:
        observed = self._observe(key)
        last = start.current_record(self._journal.load(*key, fresh=True), observed)
        held = observation.hold_of(observed.statefulset) is not None
        if last is None and not held:
            return Result(*key, unchanged=True)
        now, spec, to = self._ports.clock.now(), self._spec, self._spec.rollback_to
        try:
            record = last if last is not None else start.start(observed, self._plan, spec, self._token, now)
            if not record.changes and not held and not record.unfinished:
                return Result(*key, unchanged=True)
            if to is not None and to.position > record.reached.position:
                return Result(*key, blockers=(_stage_not_reached(record, to),))
            return start.start_rollback(record, observed, spec, self._token, to, now)
        except LookupError as error:
            raise SeimigrateError(
                f"{'/'.join(key)} cannot be rolled back: {error}",
                hint=f"kubectl -n {key[0]} get seinode,statefulset {key[1]}",
            ) from error

    # The loop.

    def _process(self, campaign: Campaign, policy: LoopPolicy, listener: FleetListener) -> Campaign:
        loop = FleetLoop(
            ports=self._ports,
            run=self._token,
            spec=self._spec,
            policy=policy,
            journal=self._journal,
            observer=self._observer,
            in_flight=self._in_flight,
            fleet_observer=FleetObserver(self._ports, self._plan, self._executor, self._services.gate_client),
            control=self._control,
            on_finished=self._on_finished,
            on_action=listener,
            on_tick=self._services.on_tick,
            should_stop=lambda: self.stopping,
        )
        campaign = loop.process(campaign)
        self._drain()
        self.skipped |= {key for key, outcome in campaign.finished.items() if outcome == SKIPPED}
        return campaign

    def _on_finished(self, record: Record) -> None:
        self._results[record.key] = Result(record.namespace, record.name, record=record)
        self._store.set_finished(record.key, record)

    def _drain(self) -> None:
        """Wait for the running steps, so that their results are journaled before the process exits."""
        while self._in_flight.has_running_steps():
            for record in self._in_flight.collect_finished():
                self._on_finished(record)
            self._ports.cache.wait_for_change(0.05)

    def _observe(self, key: Key) -> NodeObservation:
        return self._observer.observe(*key)

    def _with_access_review(self, observed: NodeObservation) -> NodeObservation:
        if observed.seinode is None:
            return observed
        return replace(observed, access_review=self._access_reviewer.review(observed))


def _stage_not_reached(record: Record, to: StageName) -> Blocker:
    """Return the blocker of a rollback to a stage that the node never reached."""
    reason = f"it reached the end of stage {record.reached}; {to} comes later, and only apply goes forward"
    rollback = f"seimigrate rollback --node {record.key}"
    return Blocker("stage-not-reached", reason, f"{rollback} --to {record.reached}, or completely: {rollback}")
