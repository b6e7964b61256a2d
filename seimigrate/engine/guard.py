"""A guard: looks at the held nodes again and again, and does for each what ``domain.guarding`` says.

It changes nothing in the cluster but its own journal. A run carries one along for the nodes that it has done with;
``seimigrate guard`` is one by itself, with a Lease of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node import guard_decision, observation
from seimigrate.domain.node.actions import QueryPod
from seimigrate.domain.node.guard_decision import (
    GuardAction,
    GuardedNode,
    GuardWait,
    SaveGuardState,
    SendMarkReady,
    Skip,
    UnreadySince,
)
from seimigrate.domain.node.observation import NodeObservation, PodQuery, PodReply, RelatedObjects
from seimigrate.domain.node.record import Intent
from seimigrate.domain.plan.plan import Plan
from seimigrate.engine import pod_client
from seimigrate.engine.errors import Conflict, LockHeld, SeimigrateError, Unreachable
from seimigrate.engine.guard_journal import GuardJournal
from seimigrate.engine.journal import Journal as NodeJournal
from seimigrate.engine.lease_monitor import RunCoverage
from seimigrate.engine.node_worker import Ports

Key = tuple[str, str]
GuardListener = Callable[[Key, GuardAction], None]
"""Is told what was decided for a node."""

WATCHED = (Kind.SEI_NODE, Kind.STATEFUL_SET, Kind.POD, Kind.SEI_NODE_TASK, Kind.SEI_NODE_WORKFLOW)
"""The kinds that a guard has to see."""
POLL_INTERVAL = 2.0
"""Seconds between two looks at all held nodes."""
MAX_STEPS = 12
"""Steps for one node in one look; a mark-ready takes about six."""


@dataclass
class _NodeCache:
    replies: dict[PodQuery, PodReply] = field(default_factory=dict)
    unready: UnreadySince | None = None
    executed_intent: Intent | None = None


class Guard:
    """Looks after held nodes.

    ``runs`` tells of other runs, which are yielded to; ``None`` for the guard within a run, which does what no other
    guard does while the run lives, and leaves alone the nodes that are on their way. ``chosen`` narrows the nodes.
    """

    def __init__(
        self,
        ports: Ports,
        plan: Plan,
        listener: GuardListener,
        coverage: RunCoverage | None,
        node_filter: Callable[[Key], bool] | None = None,
    ) -> None:
        self._ports = ports
        self._plan = plan
        self._told = listener
        self._runs = coverage
        self._chosen = node_filter or (lambda key: True)
        self._journal = GuardJournal(ports.cluster, plan.migration)
        self._nodes = NodeJournal(ports.cluster, plan.migration)
        self._memory: dict[Key, _NodeCache] = {}
        self._looked = float("-inf")

    def held(self) -> list[Key]:
        """Give the held nodes that this guard looks after."""
        return [
            key
            for key in guard_decision.held_nodes(list(self._ports.cache.list(Kind.STATEFUL_SET)))
            if self._chosen(key)
        ]

    def run(self, until: Callable[[], bool]) -> None:
        """Look again and again; raises ``LockedByAnother`` when the Lease is lost."""
        while not until():
            self.run_once()
            self.wait()

    def wait(self) -> None:
        """Wait until the next look is due."""
        clock, cache = self._ports.clock, self._ports.cache
        until = clock.now() + POLL_INTERVAL
        while (left := until - clock.now()) > 0:
            cache.wait_for_change(min(left, POLL_INTERVAL))

    def run_once(self) -> bool:
        """Look at every held node once, and do what is due; tell whether the guard waits for its turn anywhere."""
        self._ports.lock.check()
        held = self.held()
        for key in self._memory.keys() - set(held):
            del self._memory[key]
        if self._runs is not None:
            self._publish_guarded_nodes(held)
        pending = [key for key in held if self._guard_node(key)]
        return bool(pending)

    def take_due(self) -> bool:
        """Tell whether it is time for a look, and take it as done: for whoever has other things to do as well."""
        now = self._ports.clock.now()
        if 0 <= now - self._looked < POLL_INTERVAL:
            return False
        self._looked = now
        return True

    def _publish_guarded_nodes(self, held: Sequence[Key]) -> None:
        try:
            self._journal.set_guarded_nodes(self._ports.lock.token, (f"{namespace}/{name}" for namespace, name in held))
        except (Conflict, Unreachable):
            self._journal.invalidate()  # the next look says it again

    def _needs_attention(self, key: Key) -> bool:
        """Leave nodes alone that are well: nobody asks a thousand Ready pods how they are."""
        namespace, name = key
        pod = self._ports.cache.get(Kind.POD, namespace, f"{name}-0")
        if not observation.is_ready(pod):
            return True
        self._memory.pop(key, None)
        return self._journal.load("/".join(key)).intent is not None

    def _guard_node(self, key: Key) -> bool:
        """Do what is due for a node; tell whether more is to be done for it later."""
        try:
            for _ in range(MAX_STEPS if self._needs_attention(key) else 0):
                step = guard_decision.next_step(self._guarded_node(key), self._plan, self._ports.clock.now())
                self._told(key, step)
                if not self._do(key, step):
                    return isinstance(step, SendMarkReady) or (isinstance(step, GuardWait) and step.pending)
            return False
        except LockHeld:
            raise
        except Conflict:
            self._journal.invalidate()
        except SeimigrateError as error:
            self._journal.invalidate()
            self._told(key, Skip(error.message))
            return False
        return True

    def _do(self, key: Key, step: GuardAction) -> bool:
        """Do one thing; tell whether to decide again at once."""
        memory = self._memory.setdefault(key, _NodeCache())
        match step:
            case QueryPod(queries=queries):
                self._query(key, memory, queries)
                return True
            case SaveGuardState(state=state):
                self._ports.lock.check()
                self._journal.save("/".join(key), state)
                memory.executed_intent = None
                memory.replies.clear()  # right before it sends anything, it asks again
                return True
            case SendMarkReady(intent=intent):
                took = pod_client.send_mark_ready(
                    self._ports.pods, self._ports.lock, self._plan.parameters, key[0], intent
                )
                memory.executed_intent = intent if took else None
                return took
            case _:
                return False

    def _query(self, key: Key, memory: _NodeCache, queries: Sequence[PodQuery]) -> None:
        pod = self._pod(key)
        for query in queries:
            memory.replies[query] = pod_client.query(
                self._ports.pods, self._ports.clock, self._plan.parameters, pod, query, gate=True
            )
        if PodQuery.HEALTH in queries:
            memory.unready = guard_decision.track_unready(memory.unready, self._observe(key))

    def _pod(self, key: Key) -> Object | None:
        return self._ports.cache.get(Kind.POD, key[0], f"{key[1]}-0")

    def _observe(self, key: Key) -> NodeObservation:
        namespace, name = key
        cache, memory = self._ports.cache, self._memory.setdefault(key, _NodeCache())
        return NodeObservation(
            seinode=cache.get(Kind.SEI_NODE, namespace, name),
            statefulset=cache.get(Kind.STATEFUL_SET, namespace, name),
            service=None,
            pod=self._pod(key),
            replies=dict(memory.replies),
            related=RelatedObjects(
                tasks=tuple(cache.list(Kind.SEI_NODE_TASK, namespace)),
                workflows=tuple(cache.list(Kind.SEI_NODE_WORKFLOW, namespace)),
            ),
            executed_intent=memory.executed_intent,
        )

    def _guarded_node(self, key: Key) -> GuardedNode:
        """See a node; its journal and the runs' Lease are read anew each time, so also right before a mark-ready."""
        record = self._nodes.load(*key)
        on_its_way = record is None or record.outcome is None
        observed = self._observe(key)
        return GuardedNode(
            record=record,
            observed=observed,
            state=self._journal.load("/".join(key)),
            token=self._ports.lock.token,
            unready=self._memory[key].unready,
            run=on_its_way if self._runs is None else self._runs.is_covered(key[0]),
        )


class BackgroundGuard:
    """Lets a guard look after nodes while a run is at work: now and then, one look at a time, done by the crew."""

    def __init__(self, guard: Guard, executor: Executor) -> None:
        self._guard = guard
        self._crew = executor
        self._look: Future[bool] | None = None

    def __call__(self) -> None:
        """Begin a look if one is due; raises what the last one raised."""
        if self._look is not None:
            if not self._look.done():
                return
            self._look.result()
            self._look = None
        if self._guard.take_due():
            self._look = self._crew.submit(self._guard.run_once)
