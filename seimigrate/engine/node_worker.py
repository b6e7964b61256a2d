"""Gets one node a step further: look, let the machine decide, do that one thing.

Steps of different nodes may be done side by side; of one node there is at most one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from seimigrate.domain.kube import changes as changing
from seimigrate.domain.kube import field_paths, managed_fields
from seimigrate.domain.kube.changes import Change, ConflictingChange
from seimigrate.domain.kube.kinds import FENCE_ANNOTATION, HOLD_LABEL, HOLD_PATH, MANAGER, Kind, Object
from seimigrate.domain.node import hold_policies, observation, reconcile
from seimigrate.domain.node.actions import (
    Action,
    ExecuteIntent,
    Fence,
    QueryPod,
    ReviewAccess,
    SaveRecord,
    Stop,
    TakeOverHold,
    VerifyHold,
    Wait,
)
from seimigrate.domain.node.observation import NodeObservation, PodQuery
from seimigrate.domain.node.record import Intent, IntentKind, Record
from seimigrate.domain.plan.plan import Plan
from seimigrate.engine import pod_client
from seimigrate.engine.access_review import AccessReviewer
from seimigrate.engine.errors import Conflict, Denied, EvictionBlocked, NotFound, SeimigrateError, Unreachable
from seimigrate.engine.journal import Journal
from seimigrate.engine.node_observer import Observer
from seimigrate.engine.ports import Clock, Cluster, Lock, ObjectCache, PodClient

MAX_WAIT = 5.0
"""Seconds after which a waiting node is looked at even if nothing changed: deadlines pass without an event."""
UNREACHABLE_WAIT, CONFLICT_WAIT, UNPROVEN_WAIT = 1.0, 0.05, 0.5
"""Seconds before a node is looked at again after no answer, a conflict, a hold that did not deny yet."""
MAX_CONFLICTS = 10
"""Conflicts in a row after which a write is given up: somebody writes the object faster than we can read it."""
KINDS = {"StatefulSet": Kind.STATEFUL_SET, "Service": Kind.SERVICE}


class Hold(Protocol):
    """What keeps the controller off: the hold, or nothing."""

    @property
    def accounts(self) -> Sequence[str]:
        """Give the user names of the controllers that it knows."""

    def verify(self, statefulset: Object, service: Object | None) -> bool:
        """Tell whether writes of a node's objects under the controller's name are denied now."""


@dataclass(frozen=True)
class Ports:
    """Everything that a run touches the world with."""

    cluster: Cluster
    cache: ObjectCache
    pods: PodClient
    lock: Lock
    clock: Clock


NodeListener = Callable[[Record, Action], None]
"""Is told of each action before it is done."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of a step: the node's record now, and for how many seconds there is nothing to do unless it changes.

    ``ended`` tells that it came to the end of its way, or to where a person has to decide.
    """

    record: Record
    requeue_after: float = 0.0
    finished: bool = False


class NodeWorker:
    """Gets nodes further, one step a call."""

    def __init__(
        self, ports: Ports, journal: Journal, observer: Observer, hold: Hold, plan: Plan, report: NodeListener
    ) -> None:
        self._ports = ports
        self._journal = journal
        self._observer = observer
        self._hold = hold
        self._plan = plan
        self._report = report
        self._survey = AccessReviewer(ports.cluster, ports.clock, plan, hold.accounts)

    def step(self, record: Record) -> StepResult:
        """Look at a node and do one thing.

        Raises ``LockedByAnother`` when another run took over, and other errors of the API as they are.
        """
        observed = self._observer.observe(record.namespace, record.name)
        action = reconcile.next_action(record, observed, self._plan, self._ports.clock.now())
        self._report(record, action)
        if isinstance(action, Stop):
            return StepResult(record, finished=True)
        try:
            return self._execute(action, record, observed)
        except Unreachable as error:
            # Whatever was sent may have been done: what is seen next tells. The lease bounds an outage; somebody's
            # webhook that does not answer is a person's to mend, who is told.
            self._report(record, Wait(f"an answer ({error.message})", UNREACHABLE_WAIT))
            return StepResult(record, UNREACHABLE_WAIT)

    def take_over(self, record: Record) -> None:
        """Make every patch and delete that an earlier run might still send for a node miss."""
        while (action := reconcile.takeover(record, self._observer.observe(record.namespace, record.name))) is not None:
            self._report(record, action)
            stepped = self._execute(action, record, self._observer.observe(record.namespace, record.name))
            if stepped.requeue_after:
                self._ports.cache.wait_for_change(stepped.requeue_after)

    def _execute(self, action: Action, record: Record, observed: NodeObservation) -> StepResult:
        self._ports.lock.check()
        match action:
            case SaveRecord():
                memory = self._observer.cache(record.namespace, record.name)
                memory.executed_intent, memory.admission_denial = None, ""
                return StepResult(self._journal.save(action.record))
            case ExecuteIntent():
                return self._write(record, lambda: self._execute_intent(record, observed, action.intent))
            # Whoever took over wrote the journal first. So a run that can still write it is the last one.
            case TakeOverHold():
                record = self._journal.save(record)
                return self._write(record, lambda: self._take_over_hold(record, observed, action))
            case Fence():
                record = self._journal.save(record)
                return self._write(record, lambda: self._fence(record, observed, action))
            case VerifyHold():
                return self._verify_hold(record, observed)
            case QueryPod():
                self._query_pod(record, observed, action.queries)
                return StepResult(record)
            case ReviewAccess():
                review = self._survey.review(observed)
                self._observer.cache(record.namespace, record.name).access_review = review
                return StepResult(record)
            case Wait():
                return StepResult(record, min(action.seconds, MAX_WAIT))
            case Stop():
                return StepResult(record, finished=True)
            case _:
                assert_never(action)

    def _write(self, record: Record, write: Callable[[], None]) -> StepResult:
        """Write once; if the object was not what we thought, look at it anew, and let the machine decide anew."""
        memory = self._observer.cache(record.namespace, record.name)
        try:
            write()
            memory.conflicts = 0
            return StepResult(record)
        except (Conflict, ConflictingChange, NotFound) as error:
            memory.conflicts += 1
            if memory.conflicts > MAX_CONFLICTS:
                raise SeimigrateError(
                    f"writing {record.key} failed {memory.conflicts} times in a row: {error}",
                    hint="see who else writes it: kubectl get statefulset -o yaml --show-managed-fields",
                ) from error
            self._refetch(record)
            return StepResult(record, CONFLICT_WAIT)
        except Denied as error:
            raise Denied(f"{record.key}: {error.message}", hint=error.hint) from error

    def _refetch(self, record: Record) -> None:
        for kind, name in (
            (Kind.STATEFUL_SET, record.name),
            (Kind.SERVICE, record.name),
            (Kind.POD, f"{record.name}-0"),
        ):
            found = self._ports.cluster.get(kind, record.namespace, name)
            if found is not None:
                self._ports.cache.observe(kind, found)

    def _execute_intent(self, record: Record, observed: NodeObservation, intent: Intent) -> None:
        memory = self._observer.cache(record.namespace, record.name)
        done = {
            IntentKind.PATCH: self._patch,
            IntentKind.REPLACE: self._replace,
            IntentKind.MARK_READY: self._mark_ready,
        }[intent.kind]
        try:
            if done(record, observed, intent):
                memory.executed_intent = intent
        except Denied as error:
            if hold_policies.DENIAL in error.message:
                raise  # our own policy, against us: whoever we are, we may not go on
            memory.admission_denial = error.message

    def _patch(self, record: Record, observed: NodeObservation, intent: Intent) -> bool:
        kind = KINDS[intent.object_kind]
        obj = observed.statefulset if kind is Kind.STATEFUL_SET else observed.service
        assert obj is not None
        operations = changing.to_patch(obj, intent.changes) + (
            managed_fields.disown(obj, MANAGER) if intent.disown else []
        )
        if operations:
            self._patch_fenced(kind, record, obj, operations)
        return True

    def _patch_fenced(self, kind: Kind, record: Record, obj: Object, operations: list[changing.Operation]) -> None:
        guards = [{"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]}]
        if observation.hold_of(obj) is not None:
            label = f"/metadata/labels/{HOLD_LABEL.replace('/', '~1')}"
            guards.append({"op": "test", "path": label, "value": record.run})
        else:
            # JSON Patch cannot test that a label is absent: without this, a slept run could overwrite a newer token.
            version = obj["metadata"]["resourceVersion"]
            guards.append({"op": "test", "path": "/metadata/resourceVersion", "value": version})
        written = self._ports.cluster.patch(kind, record.namespace, record.name, [*guards, *operations])
        self._ports.cache.observe(kind, written)

    def _replace(self, record: Record, observed: NodeObservation, intent: Intent) -> bool:
        """Replace a pod, after reading the template again: what it says now is what the next pod will be."""
        cluster, namespace = self._ports.cluster, record.namespace
        template = cluster.get(Kind.STATEFUL_SET, namespace, record.name)
        known = observed.statefulset
        if template is None or known is None or template["metadata"]["generation"] != known["metadata"]["generation"]:
            raise Conflict(f"the template of {record.key} changed right before its pod was to be replaced")
        assert observed.pod is not None
        version = observed.pod["metadata"]["resourceVersion"]
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
        except EvictionBlocked:
            self._observer.cache(namespace, record.name).eviction_blocked_at = self._ports.clock.now()
            return False
        return True

    def _mark_ready(self, record: Record, observed: NodeObservation, intent: Intent) -> bool:
        return pod_client.send_mark_ready(
            self._ports.pods, self._ports.lock, self._plan.parameters, record.namespace, intent
        )

    def _take_over_hold(self, record: Record, observed: NodeObservation, action: TakeOverHold) -> None:
        kind = KINDS[action.kind]
        obj = observed.statefulset if kind is Kind.STATEFUL_SET else observed.service
        assert obj is not None
        label = Change("hold", action.kind, HOLD_PATH, action.old, action.new)
        guards = [{"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]}]
        if action.old is None:
            version = obj["metadata"]["resourceVersion"]
            guards.append({"op": "test", "path": "/metadata/resourceVersion", "value": version})
        operations = [*guards, *changing.to_patch(obj, [label])]
        self._ports.cache.observe(kind, self._ports.cluster.patch(kind, record.namespace, record.name, operations))

    def _fence(self, record: Record, observed: NodeObservation, action: Fence) -> None:
        assert observed.pod is not None
        path = f"metadata.annotations[{FENCE_ANNOTATION}]"
        known = field_paths.read(observed.pod, path)
        change = Change("hold", "Pod", path, known, action.token)
        uid = {"op": "test", "path": "/metadata/uid", "value": action.pod}
        operations = [uid, *changing.to_patch(observed.pod, [change])]
        name = observed.pod["metadata"]["name"]
        self._ports.cache.observe(Kind.POD, self._ports.cluster.patch(Kind.POD, record.namespace, name, operations))

    def _verify_hold(self, record: Record, observed: NodeObservation) -> StepResult:
        assert observed.statefulset is not None
        now = self._ports.clock.now()
        memory = self._observer.cache(record.namespace, record.name)
        try:
            proven = self._hold.verify(observed.statefulset, observed.service)
        except Denied as error:
            memory.admission_denial = error.message
            return StepResult(record)
        if proven:
            memory.hold_verified_at, memory.hold_unverified_since = now, None
            return StepResult(record)
        memory.hold_unverified_since = now if memory.hold_unverified_since is None else memory.hold_unverified_since
        if now - memory.hold_unverified_since > self._plan.deadlines.response:
            raise SeimigrateError(
                f"the hold of {record.key} does not work: a write under the controller's name was not denied",
                hint="kubectl get validatingadmissionpolicy seimigrate-hold -o yaml shows what is wrong with it",
            )
        return StepResult(record, UNPROVEN_WAIT)

    def _query_pod(self, record: Record, observed: NodeObservation, questions: tuple[PodQuery, ...]) -> None:
        memory = self._observer.cache(record.namespace, record.name)
        ports, parameters = self._ports, self._plan.parameters
        for query in questions:
            memory.replies[query] = pod_client.query(ports.pods, ports.clock, parameters, observed.pod, query)
