"""Gets one node a step further: look, let the machine decide, do that one thing.

Steps of different nodes may be done side by side; of one node there is at most one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from seimigrate.domain import changes as changing
from seimigrate.domain import holding, machine, ownership, paths, seen
from seimigrate.domain.actions import Action, Ask, Fence, Judge, Note, Perform, ProveHold, Relabel, Stop, Wait
from seimigrate.domain.changes import Change, ConflictingChange
from seimigrate.domain.kinds import FENCE_ANNOTATION, HOLD_LABEL, HOLD_PATH, MANAGER, Kind, Object
from seimigrate.domain.plan import Plan
from seimigrate.domain.record import Do, Intent, Record
from seimigrate.domain.seen import Question, Seen
from seimigrate.engine import asking
from seimigrate.engine.errors import Conflict, Denied, NotFound, Refused, SeimigrateError, Unreachable
from seimigrate.engine.journal import Journal
from seimigrate.engine.observer import Observer
from seimigrate.engine.ports import Clock, Cluster, Lock, Pods, View
from seimigrate.engine.survey import Survey

LONGEST_WAIT = 5.0
"""Seconds after which a waiting node is looked at even if nothing changed: deadlines pass without an event."""
UNREACHABLE_WAIT, CONFLICT_WAIT, UNPROVEN_WAIT = 1.0, 0.05, 0.5
"""Seconds before a node is looked at again after no answer, a conflict, a hold that did not deny yet."""
PATIENCE_WITH_CONFLICTS = 10
"""Conflicts in a row after which a write is given up: somebody writes the object faster than we can read it."""
KINDS = {"StatefulSet": Kind.STATEFUL_SET, "Service": Kind.SERVICE}


class Keeper(Protocol):
    """What keeps the controller off: the hold, or nothing."""

    @property
    def accounts(self) -> Sequence[str]:
        """Give the user names of the controllers that it knows."""

    def prove(self, statefulset: Object, service: Object | None) -> bool:
        """Tell whether writes of a node's objects under the controller's name are denied now."""


@dataclass(frozen=True)
class Ports:
    """Everything that a run touches the world with."""

    cluster: Cluster
    view: View
    pods: Pods
    lock: Lock
    clock: Clock


Report = Callable[[Record, Action], None]
"""Is told of each action before it is done."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """What came of a step: the node's record now, and for how many seconds there is nothing to do unless it changes.

    ``ended`` tells that it came to the end of its way, or to where a person has to decide.
    """

    record: Record
    wait: float = 0.0
    ended: bool = False


class Runner:
    """Gets nodes further, one step a call."""

    def __init__(
        self, ports: Ports, journal: Journal, observer: Observer, hold: Keeper, plan: Plan, report: Report
    ) -> None:
        self._ports = ports
        self._journal = journal
        self._observer = observer
        self._hold = hold
        self._plan = plan
        self._report = report
        self._survey = Survey(ports.cluster, ports.clock, plan, hold.accounts)

    def step(self, record: Record) -> Stepped:
        """Look at a node and do one thing.

        Raises ``LockedByAnother`` when another run took over, and other errors of the API as they are.
        """
        view = self._observer.look(record.namespace, record.name)
        action = machine.next_action(record, view, self._plan, self._ports.clock.now())
        self._report(record, action)
        if isinstance(action, Stop):
            return Stepped(record, ended=True)
        try:
            return self._do(action, record, view)
        except Unreachable as error:
            # Whatever was sent may have been done: what is seen next tells. The lease bounds an outage; somebody's
            # webhook that does not answer is a person's to mend, who is told.
            self._report(record, Wait(f"an answer ({error.message})", UNREACHABLE_WAIT))
            return Stepped(record, UNREACHABLE_WAIT)

    def take_over(self, record: Record) -> None:
        """Make every patch and delete that an earlier run might still send for a node miss."""
        while (action := machine.takeover(record, self._observer.look(record.namespace, record.name))) is not None:
            self._report(record, action)
            stepped = self._do(action, record, self._observer.look(record.namespace, record.name))
            if stepped.wait:
                self._ports.view.wait(stepped.wait)

    def _do(self, action: Action, record: Record, view: Seen) -> Stepped:
        self._ports.lock.check()
        match action:
            case Note():
                memory = self._observer.memory(record.namespace, record.name)
                memory.performed, memory.denied = None, ""
                return Stepped(self._journal.save(action.record))
            case Perform():
                return self._write(record, lambda: self._perform(record, view, action.intent))
            # Whoever took over wrote the journal first. So a run that can still write it is the last one.
            case Relabel():
                record = self._journal.save(record)
                return self._write(record, lambda: self._relabel(record, view, action))
            case Fence():
                record = self._journal.save(record)
                return self._write(record, lambda: self._fence(record, view, action))
            case ProveHold():
                return self._prove(record, view)
            case Ask():
                self._ask(record, view, action.questions)
                return Stepped(record)
            case Judge():
                judgement = self._survey.judge(view)
                self._observer.memory(record.namespace, record.name).judgement = judgement
                return Stepped(record)
            case Wait():
                return Stepped(record, min(action.seconds, LONGEST_WAIT))
            case Stop():
                return Stepped(record, ended=True)
            case _:
                assert_never(action)

    def _write(self, record: Record, write: Callable[[], None]) -> Stepped:
        """Write once; if the object was not what we thought, look at it anew, and let the machine decide anew."""
        memory = self._observer.memory(record.namespace, record.name)
        try:
            write()
            memory.conflicts = 0
            return Stepped(record)
        except (Conflict, ConflictingChange, NotFound) as error:
            memory.conflicts += 1
            if memory.conflicts > PATIENCE_WITH_CONFLICTS:
                raise SeimigrateError(
                    f"writing {record.key} failed {memory.conflicts} times in a row: {error}",
                    hint="see who else writes it: kubectl get statefulset -o yaml --show-managed-fields",
                ) from error
            self._refresh(record)
            return Stepped(record, CONFLICT_WAIT)
        except Denied as error:
            raise Denied(f"{record.key}: {error.message}", hint=error.hint) from error

    def _refresh(self, record: Record) -> None:
        for kind, name in (
            (Kind.STATEFUL_SET, record.name),
            (Kind.SERVICE, record.name),
            (Kind.POD, f"{record.name}-0"),
        ):
            found = self._ports.cluster.get(kind, record.namespace, name)
            if found is not None:
                self._ports.view.saw(kind, found)

    def _perform(self, record: Record, view: Seen, intent: Intent) -> None:
        memory = self._observer.memory(record.namespace, record.name)
        done = {Do.PATCH: self._patch, Do.REPLACE: self._replace, Do.MARK_READY: self._mark_ready}[intent.do]
        try:
            if done(record, view, intent):
                memory.performed = intent
        except Denied as error:
            if holding.DENIAL in error.message:
                raise  # our own policy, against us: whoever we are, we may not go on
            memory.denied = error.message

    def _patch(self, record: Record, view: Seen, intent: Intent) -> bool:
        kind = KINDS[intent.kind]
        obj = view.statefulset if kind is Kind.STATEFUL_SET else view.service
        assert obj is not None
        operations = changing.to_patch(obj, intent.changes) + (ownership.disown(obj, MANAGER) if intent.disown else [])
        if operations:
            self._send(kind, record, obj, operations)
        return True

    def _send(self, kind: Kind, record: Record, obj: Object, operations: list[changing.Operation]) -> None:
        guards = [{"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]}]
        if seen.hold_of(obj) is not None:
            label = f"/metadata/labels/{HOLD_LABEL.replace('/', '~1')}"
            guards.append({"op": "test", "path": label, "value": record.run})
        else:
            # JSON Patch cannot test that a label is absent: without this, a slept run could overwrite a newer token.
            version = obj["metadata"]["resourceVersion"]
            guards.append({"op": "test", "path": "/metadata/resourceVersion", "value": version})
        written = self._ports.cluster.patch(kind, record.namespace, record.name, [*guards, *operations])
        self._ports.view.saw(kind, written)

    def _replace(self, record: Record, view: Seen, intent: Intent) -> bool:
        """Replace a pod, after reading the template again: what it says now is what the next pod will be."""
        cluster, namespace = self._ports.cluster, record.namespace
        template = cluster.get(Kind.STATEFUL_SET, namespace, record.name)
        known = view.statefulset
        if template is None or known is None or template["metadata"]["generation"] != known["metadata"]["generation"]:
            raise Conflict(f"the template of {record.key} changed right before its pod was to be replaced")
        assert view.pod is not None
        version = view.pod["metadata"]["resourceVersion"]
        try:
            if intent.evict:
                cluster.evict(
                    namespace, intent.name, uid=intent.pod, resource_version=version, grace_seconds=intent.grace
                )
            else:
                cluster.delete(
                    Kind.POD,
                    namespace,
                    intent.name,
                    uid=intent.pod,
                    resource_version=version,
                    grace_seconds=intent.grace,
                )
        except Refused:
            self._observer.memory(namespace, record.name).refused_at = self._ports.clock.now()
            return False
        return True

    def _mark_ready(self, record: Record, view: Seen, intent: Intent) -> bool:
        return asking.tell_ready(self._ports.pods, self._ports.lock, self._plan.parameters, record.namespace, intent)

    def _relabel(self, record: Record, view: Seen, action: Relabel) -> None:
        kind = KINDS[action.kind]
        obj = view.statefulset if kind is Kind.STATEFUL_SET else view.service
        assert obj is not None
        label = Change("hold", action.kind, HOLD_PATH, action.old, action.new)
        guards = [{"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]}]
        if action.old is None:
            version = obj["metadata"]["resourceVersion"]
            guards.append({"op": "test", "path": "/metadata/resourceVersion", "value": version})
        operations = [*guards, *changing.to_patch(obj, [label])]
        self._ports.view.saw(kind, self._ports.cluster.patch(kind, record.namespace, record.name, operations))

    def _fence(self, record: Record, view: Seen, action: Fence) -> None:
        assert view.pod is not None
        path = f"metadata.annotations[{FENCE_ANNOTATION}]"
        known = paths.read(view.pod, path)
        change = Change("hold", "Pod", path, known, action.token)
        uid = {"op": "test", "path": "/metadata/uid", "value": action.pod}
        operations = [uid, *changing.to_patch(view.pod, [change])]
        name = view.pod["metadata"]["name"]
        self._ports.view.saw(Kind.POD, self._ports.cluster.patch(Kind.POD, record.namespace, name, operations))

    def _prove(self, record: Record, view: Seen) -> Stepped:
        assert view.statefulset is not None
        now = self._ports.clock.now()
        memory = self._observer.memory(record.namespace, record.name)
        try:
            proven = self._hold.prove(view.statefulset, view.service)
        except Denied as error:
            memory.denied = error.message
            return Stepped(record)
        if proven:
            memory.proven, memory.unproven_since = now, None
            return Stepped(record)
        memory.unproven_since = now if memory.unproven_since is None else memory.unproven_since
        if now - memory.unproven_since > self._plan.deadlines.gate:
            raise SeimigrateError(
                f"the hold of {record.key} does not work: a write under the controller's name was not denied",
                hint="kubectl get validatingadmissionpolicy seimigrate-hold -o yaml shows what is wrong with it",
            )
        return Stepped(record, UNPROVEN_WAIT)

    def _ask(self, record: Record, view: Seen, questions: tuple[Question, ...]) -> None:
        memory = self._observer.memory(record.namespace, record.name)
        ports, parameters = self._ports, self._plan.parameters
        for question in questions:
            memory.answers[question] = asking.answer(ports.pods, ports.clock, parameters, view.pod, question)
