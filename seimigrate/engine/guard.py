"""A guard: looks at the held nodes again and again, and does for each what ``domain.guarding`` says.

It changes nothing in the cluster but its own journal. A run carries one along for the nodes that it has done with;
``seimigrate guard`` is one by itself, with a Lease of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from seimigrate.domain import guarding, seen
from seimigrate.domain.actions import Ask
from seimigrate.domain.guarding import Asking, Charge, Journal, Leave, Rest, Step, Tell
from seimigrate.domain.kinds import Kind, Object
from seimigrate.domain.plan import Plan
from seimigrate.domain.record import Intent
from seimigrate.domain.seen import Answer, Question, Seen, Surroundings
from seimigrate.engine import asking
from seimigrate.engine.errors import Conflict, LockedByAnother, SeimigrateError, Unreachable
from seimigrate.engine.guardjournal import GuardJournal
from seimigrate.engine.journal import Journal as NodeJournal
from seimigrate.engine.pulse import Runs
from seimigrate.engine.runner import Ports

Key = tuple[str, str]
Told = Callable[[Key, Step], None]
"""Is told what was decided for a node."""

WATCHED = (Kind.SEI_NODE, Kind.STATEFUL_SET, Kind.POD, Kind.SEI_NODE_TASK, Kind.SEI_NODE_WORKFLOW)
"""The kinds that a guard has to see."""
PACE = 2.0
"""Seconds between two looks at all held nodes."""
STEPS = 12
"""Steps for one node in one look; a mark-ready takes about six."""


@dataclass
class _Memory:
    answers: dict[Question, Answer] = field(default_factory=dict)
    asking: Asking | None = None
    performed: Intent | None = None


class Guard:
    """Looks after held nodes.

    ``runs`` tells of other runs, which are yielded to; ``None`` for the guard within a run, which does what no other
    guard does while the run lives, and leaves alone the nodes that are on their way. ``chosen`` narrows the nodes.
    """

    def __init__(
        self, ports: Ports, plan: Plan, told: Told, runs: Runs | None, chosen: Callable[[Key], bool] | None = None
    ) -> None:
        self._ports = ports
        self._plan = plan
        self._told = told
        self._runs = runs
        self._chosen = chosen or (lambda key: True)
        self._journal = GuardJournal(ports.cluster, plan.migration)
        self._nodes = NodeJournal(ports.cluster, plan.migration)
        self._memory: dict[Key, _Memory] = {}
        self._looked = float("-inf")

    def held(self) -> list[Key]:
        """Give the held nodes that this guard looks after."""
        return [key for key in guarding.charges(list(self._ports.view.list(Kind.STATEFUL_SET))) if self._chosen(key)]

    def run(self, until: Callable[[], bool]) -> None:
        """Look again and again; raises ``LockedByAnother`` when the Lease is lost."""
        while not until():
            self.look()
            self.wait()

    def wait(self) -> None:
        """Wait until the next look is due."""
        clock, view = self._ports.clock, self._ports.view
        until = clock.now() + PACE
        while (left := until - clock.now()) > 0:
            view.wait(min(left, PACE))

    def look(self) -> bool:
        """Look at every held node once, and do what is due; tell whether the guard waits for its turn anywhere."""
        self._ports.lock.check()
        held = self.held()
        for key in self._memory.keys() - set(held):
            del self._memory[key]
        if self._runs is not None:
            self._announce(held)
        pending = [key for key in held if self._look_after(key)]
        return bool(pending)

    def due(self) -> bool:
        """Tell whether it is time for a look, and take it as done: for whoever has other things to do as well."""
        now = self._ports.clock.now()
        if 0 <= now - self._looked < PACE:
            return False
        self._looked = now
        return True

    def _announce(self, held: Sequence[Key]) -> None:
        try:
            self._journal.look_after(self._ports.lock.token, (f"{namespace}/{name}" for namespace, name in held))
        except (Conflict, Unreachable):
            self._journal.forget()  # the next look says it again

    def _needs_a_look(self, key: Key) -> bool:
        """Leave nodes alone that are well: nobody asks a thousand Ready pods how they are."""
        namespace, name = key
        pod = self._ports.view.get(Kind.POD, namespace, f"{name}-0")
        if not seen.pod_ready(pod):
            return True
        self._memory.pop(key, None)
        return self._journal.marks("/".join(key)).intent is not None

    def _look_after(self, key: Key) -> bool:
        """Do what is due for a node; tell whether more is to be done for it later."""
        try:
            for _ in range(STEPS if self._needs_a_look(key) else 0):
                step = guarding.next_step(self._charge(key), self._plan, self._ports.clock.now())
                self._told(key, step)
                if not self._do(key, step):
                    return isinstance(step, Tell) or (isinstance(step, Rest) and step.pending)
            return False
        except LockedByAnother:
            raise
        except Conflict:
            self._journal.forget()
        except SeimigrateError as error:
            self._journal.forget()
            self._told(key, Leave(error.message))
            return False
        return True

    def _do(self, key: Key, step: Step) -> bool:
        """Do one thing; tell whether to decide again at once."""
        memory = self._memory.setdefault(key, _Memory())
        match step:
            case Ask(questions=questions):
                self._ask(key, memory, questions)
                return True
            case Journal(marks=marks):
                self._ports.lock.check()
                self._journal.mark("/".join(key), marks)
                memory.performed = None
                memory.answers.clear()  # right before it sends anything, it asks again
                return True
            case Tell(intent=intent):
                took = asking.tell_ready(self._ports.pods, self._ports.lock, self._plan.parameters, key[0], intent)
                memory.performed = intent if took else None
                return took
            case _:
                return False

    def _ask(self, key: Key, memory: _Memory, questions: Sequence[Question]) -> None:
        pod = self._pod(key)
        for question in questions:
            memory.answers[question] = asking.answer(
                self._ports.pods, self._ports.clock, self._plan.parameters, pod, question, gate=True
            )
        if Question.HEALTH in questions:
            memory.asking = guarding.asking(memory.asking, self._seen(key))

    def _pod(self, key: Key) -> Object | None:
        return self._ports.view.get(Kind.POD, key[0], f"{key[1]}-0")

    def _seen(self, key: Key) -> Seen:
        namespace, name = key
        view, memory = self._ports.view, self._memory.setdefault(key, _Memory())
        return Seen(
            seinode=view.get(Kind.SEI_NODE, namespace, name),
            statefulset=view.get(Kind.STATEFUL_SET, namespace, name),
            service=None,
            pod=self._pod(key),
            answers=dict(memory.answers),
            around=Surroundings(
                tasks=tuple(view.list(Kind.SEI_NODE_TASK, namespace)),
                workflows=tuple(view.list(Kind.SEI_NODE_WORKFLOW, namespace)),
            ),
            performed=memory.performed,
        )

    def _charge(self, key: Key) -> Charge:
        """See a node; its journal and the runs' Lease are read anew each time, so also right before a mark-ready."""
        record = self._nodes.load(*key)
        on_its_way = record is None or record.outcome is None
        view = self._seen(key)
        return Charge(
            record=record,
            seen=view,
            marks=self._journal.marks("/".join(key)),
            token=self._ports.lock.token,
            asking=self._memory[key].asking,
            run=on_its_way if self._runs is None else self._runs.look_after(key[0]),
        )


class Meanwhile:
    """Lets a guard look after nodes while a run is at work: now and then, one look at a time, done by the crew."""

    def __init__(self, guard: Guard, crew: Executor) -> None:
        self._guard = guard
        self._crew = crew
        self._look: Future[bool] | None = None

    def __call__(self) -> None:
        """Begin a look if one is due; raises what the last one raised."""
        if self._look is not None:
            if not self._look.done():
                return
            self._look.result()
            self._look = None
        if self._guard.due():
            self._look = self._crew.submit(self._guard.look)
