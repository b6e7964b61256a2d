"""A run: one process that holds the lock and carries nodes forwards, back, or to the hold.

It begins by making sure that no earlier run can still write: the run's record first, then each open journal, then
the labels and pods of those nodes. Only then does it act.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from seimigrate.domain import beginning
from seimigrate.domain import seen as seeing
from seimigrate.domain.beginning import Options
from seimigrate.domain.checks import Blocker
from seimigrate.domain.fleet.budget import Returns
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.order import Wave
from seimigrate.domain.plan import Plan, StageName
from seimigrate.domain.record import Outcome, Record
from seimigrate.domain.seen import Seen
from seimigrate.engine import muster
from seimigrate.engine.books import Books
from seimigrate.engine.brake import Brake
from seimigrate.engine.convoy import Convoy
from seimigrate.engine.crew import Inline
from seimigrate.engine.drive import Drive, Told
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.hold import HoldKeeper, NoHold
from seimigrate.engine.journal import MOVING, Journal, RunRecord
from seimigrate.engine.observer import Observer
from seimigrate.engine.reading import LiveView
from seimigrate.engine.results import Key, Result
from seimigrate.engine.runner import Ports, Report, Runner
from seimigrate.engine.scouting import Gates, Scouts
from seimigrate.engine.survey import Survey
from seimigrate.engine.turns import Room, Turns


@dataclass(frozen=True)
class Company:
    """Who takes part in a run beside its ports; what is left out is done in this thread, or by nobody.

    ``crew`` does the nodes' steps, ``gates`` asks the plan's gates, ``told`` is told of each step of the fleet, and
    ``meanwhile`` is called in between. ``unfit`` says why a node whose turn it is must not begin: it is not as it was
    when the plan was saved.
    """

    crew: Executor | None = None
    gates: Gates | None = None
    told: Told = lambda campaign, step, at: None
    meanwhile: Callable[[], None] = lambda: None
    unfit: Callable[[str, Seen, Record | None], tuple[Blocker, ...]] = lambda key, view, last: ()


class Run:
    """Carries nodes forwards, back, or to the hold alone."""

    def __init__(
        self,
        ports: Ports,
        plan: Plan,
        hold: HoldKeeper | NoHold,
        options: Options,
        who: str,
        report: Report,
        company: Company | None = None,
    ) -> None:
        self._ports = ports
        self._plan = plan
        self._hold = hold
        self._options = options
        self._company = company or Company()
        self._crew = self._company.crew or Inline()
        self._observer = Observer(ports.view, ports.clock, hold.problem)
        self._journal = Journal(ports.cluster, plan.migration)
        self._books = Books(ports.cluster, ports.lock)
        runner = Runner(ports, self._journal, self._observer, hold, plan, report)
        self._convoy = Convoy(ports, runner, self._journal, self._observer, self._crew)
        self._survey = Survey(ports.cluster, ports.clock, plan, hold.accounts)
        self._brake = Brake(ports.cluster, ports.view, options.run)
        self._report = report
        self._who = who
        self._results: dict[str, Result] = {}
        self.leaving = False

    def leave(self) -> None:
        """End as soon as each step that is being done is finished; the next run goes on. For signal handlers."""
        self.leaving = True

    def conclude(self, code: int) -> None:
        """Write down with what exit code it came to its end, for who would go on with it."""
        self._books.conclude(code)

    def carries(self, key: Key) -> bool:
        """Tell whether a node is on its way in this run."""
        return "/".join(key) in self._convoy.moving

    # Beginning.

    def start(self, command: str, namespaces: Sequence[str] = ("",)) -> None:
        """Write the run's record, take over what an earlier run left open, and put the hold's policies in place.

        ``namespaces`` are those whose held nodes it looks after while it lives.
        """
        self._books.open(
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
            if record is not None and campaign is not None and self._books.record.nodes[key] == MOVING:
                campaign = campaign.after(record, self._ports.clock.now())
            self._books.ended(key, record, campaign)
            return
        record = self._journal.save(record.taken_over(self._options.run))
        live = LiveView(self._ports.cluster)
        observer = Observer(live, self._ports.clock, self._hold.problem)
        ports = replace(self._ports, view=live)
        Runner(ports, self._journal, observer, self._hold, self._plan, self._report).take_over(record)

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
        left = self._left_on_their_way(keys)
        if self._books.record.is_of(job):
            keys = [key for key in keys if self._look(key).seinode is not None]
        mustered = muster.muster(self._observer, self._journal, self._survey, self._plan, self._options, keys)
        for key in mustered.done:
            self._results["/".join(key)] = Result(*key, nothing_to_do=True)
        campaign = self._campaign(mustered, waves, canary, left, job)
        self._books.keep(campaign, tuple(left))
        for name in left:
            begun = self._begin(name, campaign)
            if isinstance(begun, Record):
                self._convoy.add(begun)
            else:
                campaign = campaign.come_out({name: begun})
        if not campaign.stopped and campaign.waiting(left):
            self._hold_networks(keys)
        campaign = self._drive().run(campaign)
        self._settle()
        return self._all_results(campaign)

    def _left_on_their_way(self, keys: Sequence[Key]) -> list[str]:
        left = self._books.record.moving
        if forgotten := sorted(set(left) - {"/".join(key) for key in keys}):
            name = forgotten[0]
            raise SeimigrateError(
                f"{name} is still on its way: an earlier run left it there",
                hint=f"finish it first: seimigrate apply --node {name}, or seimigrate rollback --node {name}",
            )
        return left

    def _campaign(
        self, mustered: muster.Muster, waves: Sequence[Wave] | None, canary: str | None, left: Sequence[str], job: str
    ) -> Campaign:
        """Give the campaign that an earlier run left over these nodes, or a new one."""
        last = self._books.record.campaign
        if last is not None and self._books.record.is_of(job):
            # Its pod was lost: nobody has said since that it shall go on, or begin anew.
            return last
        if last is not None and last.unfinished(left) and mustered.same(last):
            # Who says apply again wants it to go on.
            return replace(last, paused="", job=job)
        chosen = tuple(waves) if waves is not None else mustered.arrange(self._plan, canary)
        return Campaign(chosen, signing=last.signing if last is not None else {}, job=job)

    def _drive(self) -> Drive:
        company = self._company
        return Drive(
            ports=self._ports,
            plan=self._plan,
            options=self._options,
            journal=self._journal,
            observer=self._observer,
            convoy=self._convoy,
            scouts=Scouts(self._ports, self._plan, self._crew, company.gates),
            brake=self._brake,
            books=self._books,
            begin=self._begin,
            came_out=self._came_out,
            told=company.told,
            meanwhile=company.meanwhile,
            left=lambda: self.leaving,
        )

    def _begin(self, key: str, campaign: Campaign) -> Record | str:
        """Give the record with which a node sets out, or how it ended without setting out."""
        namespace, name = key.split("/", 1)
        view, last = self._judged(self._look((namespace, name))), self._journal.load(namespace, name)
        wave = campaign.wave_of(key)
        strategy = wave.strategy(self._options.strategy) if wave is not None else self._options.strategy
        options = replace(self._options, strategy=strategy)
        begun = self._company.unfit(key, view, last) or muster.begin(
            key, view, last, self._plan, options, self._ports.clock.now()
        )
        if isinstance(begun, Record):
            return begun
        self._results[key] = Result(namespace, name, blockers=begun, nothing_to_do=not begun)
        return muster.WITHOUT_WAY[bool(begun)]

    def _came_out(self, record: Record) -> None:
        self._results[record.key] = Result(record.namespace, record.name, record=record)
        self._books.came_out(record.key, record)

    def _settle(self) -> None:
        """Wait for the steps that are being done: what came of them is journaled before anybody leaves."""
        while self._convoy.busy():
            for record in self._convoy.collect():
                self._came_out(record)
            self._ports.view.wait(0.05)

    def _turns(self, room: Room | None = None) -> Turns:
        return Turns(
            ports=self._ports,
            convoy=self._convoy,
            brake=self._brake,
            books=self._books,
            settle=self._settle,
            meanwhile=self._company.meanwhile,
            left=lambda: self.leaving,
            room=room,
        )

    def _all_results(self, campaign: Campaign) -> list[Result]:
        """Give a result for each node that has come to an end, those of earlier runs of the campaign among them."""
        for key, outcome in campaign.ended.items():
            if key not in self._results and outcome in set(Outcome):
                namespace, name = key.split("/", 1)
                self._results[key] = Result(namespace, name, record=self._journal.load(namespace, name))
        return list(self._results.values())

    def _hold_networks(self, keys: Sequence[Key]) -> None:
        """Hold all children of the SeiNetworks whose children are to move."""
        networks = {network for key in keys if (network := seeing.network_of(self._look(key).seinode or _NOBODY))}
        if not networks:
            return
        children = muster.children(self._ports.view, networks)
        held_only = replace(self._options, goal=StageName.HOLD)
        free = [key for key in children if seeing.hold_of(self._look(key).statefulset) is None]
        self._turns().carry(free, lambda key: self._hold_one(key, held_only), lambda result: result.failed)

    def _look(self, key: Key) -> Seen:
        return self._observer.look(*key)

    def _judged(self, view: Seen) -> Seen:
        return replace(view, judgement=self._survey.judge(view)) if view.seinode is not None else view

    # To the hold, and back.

    def hold(self, keys: Sequence[Key]) -> list[Result]:
        """Hold nodes, whatever their state; those that are held or on their way stay as they are."""
        return self._turns().carry(keys, lambda key: self._hold_one(key, self._options), lambda _: False)

    def _hold_one(self, key: Key, options: Options) -> Result | Record:
        view = self._look(key)
        last = beginning.known(self._journal.load(*key), view)
        if (found := muster.unheld(view, self._plan)) is not None:
            return Result(*key, blockers=(found,))
        held = seeing.hold_of(view.statefulset) is not None
        if last is not None and (last.open or (held and last.outcome is not None and last.outcome.held)):
            return Result(*key, record=last, nothing_to_do=True)
        record = beginning.begin(view, self._plan, options, self._ports.clock.now(), left=last)
        # Whoever guards it while it is held may bring it back to how it was now, and no further.
        was_ready = record.was_ready or seeing.pod_ready(view.pod)
        return replace(record, held_before=False, was_ready=was_ready)

    def back(self, keys: Sequence[Key], to: StageName | None) -> list[Result]:
        """Bring nodes back, to the end of a stage or all the way, within the plan's budgets, until one cannot be."""
        ends = (Outcome.FAILED, Outcome.PAUSED)
        allowed, scouts = self._plan.fleet.max_unavailable, Scouts(self._ports, self._plan, self._crew, None)
        fleet = ["/".join(key) for key in keys]

        def room() -> Callable[[Key], bool]:
            returns = Returns(fleet, allowed, scouts.picture(self._convoy.moving, 0.0))
            return lambda key: returns.may("/".join(key))

        turns = self._turns(room)
        return turns.carry(keys, lambda key: self._back_one(key, to), lambda result: result.outcome in ends)

    def _back_one(self, key: Key, to: StageName | None) -> Result | Record:
        view = self._look(key)
        last = beginning.known(self._journal.load(*key, fresh=True), view)
        held = seeing.hold_of(view.statefulset) is not None
        if last is None and not held:
            return Result(*key, nothing_to_do=True)
        now = self._ports.clock.now()
        try:
            record = last if last is not None else beginning.begin(view, self._plan, self._options, now)
            if not record.changes and not held and not record.open:
                return Result(*key, nothing_to_do=True)
            if to is not None and to.position > record.reached.position:
                return Result(*key, blockers=(_ahead(record, to),))
            return beginning.go_back(record, view, self._options, to, now)
        except LookupError as error:
            raise SeimigrateError(
                f"{'/'.join(key)} cannot be brought back: {error}",
                hint=f"kubectl -n {key[0]} get seinode,statefulset {key[1]}",
            ) from error


def _ahead(record: Record, to: StageName) -> Blocker:
    """Say that a way back cannot stop at a stage that the node never came to."""
    come = f"it has come to the end of stage {record.reached}, and {to} is ahead: apply moves forwards"
    back = f"seimigrate rollback --node {record.key}"
    return Blocker("stage-ahead", come, f"{back} --to {record.reached}, or all the way: {back}")


_NOBODY = {"metadata": {"namespace": ""}}
