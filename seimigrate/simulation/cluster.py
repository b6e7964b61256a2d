"""An API server in memory: the engine's ``Cluster`` and ``View``, and the models' ``ModelClient``.

It knows resourceVersions, uids, generations, preconditions, JSON Patch, server-side apply, managedFields (for the
lists that nodes' objects have), the two hold policies and disruption budgets. It knows neither RBAC nor schemas nor
garbage collection. Readers are given the stored objects themselves: neither they nor a write change one in place.
"""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonpatch
import jsonpointer

from seimigrate.domain.kube.kinds import MANAGER, Kind, Object
from seimigrate.engine.errors import ApiError, Conflict, EvictionBlocked, Invalid, NotFound
from seimigrate.engine.ports import JsonPatch
from seimigrate.simulation import admission, defaults, fields
from seimigrate.simulation.objects import copy_json, labels_of, matches, timestamp

Key = tuple[str, str]
"""Namespace and name."""

_WITHOUT_STATUS = frozenset({Kind.CONFIG_MAP, Kind.LEASE, Kind.SERVICE_ACCOUNT, Kind.ADMISSION_BINDING})


@dataclass(slots=True)
class Request:
    """One request as the simulated API server got it; ``outcome`` is ``ok`` or the name of the error."""

    time: float
    user: str
    verb: str
    kind: Kind
    namespace: str
    name: str
    body: Any = None
    manager: str = ""
    dry_run: bool = False
    outcome: str = ""


@dataclass
class FakeCluster:
    """All objects of a cluster, seen through one user's requests; ``acting`` gives another user's eyes.

    ``before_request`` and ``after_request`` are for tests: what they raise is what the caller gets, before or after
    the request was carried out.
    """

    clock: Callable[[], float]
    user: str = "system:serviceaccount:seimigrate-system:seimigrate"
    on_wait: Callable[[float], None] | None = None
    before_request: Callable[[Request], None] | None = None
    after_request: Callable[[Request], None] | None = None
    requests: list[Request] = field(default_factory=list)
    objects: dict[Kind, dict[Key, Object]] = field(default_factory=lambda: {kind: {} for kind in Kind})
    versions: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    version: int = 0
    applied: dict[tuple[Kind, Key, str], tuple[Object, str, int]] = field(default_factory=dict)
    """What each manager applied last to an object, and the versions of it and of the policies then."""

    # The engine's Cluster and View.

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Read one object."""
        with self._recorded("get", kind, namespace, name):
            return self.objects[kind].get((namespace, name))

    def list(self, kind: Kind, namespace: str = "", labels: str = "") -> list[Object]:
        """Read all objects of a kind, in the order of their names."""
        with self._recorded("list", kind, namespace, ""):
            return [body for body in self.listed(kind, namespace) if matches(labels_of(body), labels)]

    def create(self, kind: Kind, body: Object) -> Object:
        """Create an object; raises ``Conflict`` if it exists and ``NotFound`` without its namespace."""
        return self.create_as(self.user, kind, body, MANAGER)

    def replace(self, kind: Kind, body: Object) -> Object:
        """Replace an object; raises ``Conflict`` if its resourceVersion is not the one in ``body``."""
        namespace, name = _key(kind, body)
        with self._recorded("update", kind, namespace, name, body, MANAGER):
            old = self._require(kind, namespace, name)
            if body["metadata"].get("resourceVersion") not in (None, old["metadata"]["resourceVersion"]):
                raise Conflict(f"{kind.resource.qualified} {namespace}/{name} has been modified")
            return self._write(kind, old, copy_json(body), self.user, MANAGER)

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        operations: JsonPatch,
        *,
        manager: str = MANAGER,
        dry_run: bool = False,
    ) -> Object:
        """Apply a JSON Patch as a whole or not at all."""
        with self._recorded("patch", kind, namespace, name, operations, manager, dry_run):
            old = self._require(kind, namespace, name)
            try:
                new: Object = jsonpatch.apply_patch(copy_json(old), copy_json([*operations]), in_place=True)
            except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
                # The real server answers 422 to a failed test and to a missing path alike.
                raise Conflict(f"{kind.resource.qualified} {namespace}/{name}: the patch does not fit") from error
            return self._write(kind, old, new, self.user, manager, dry_run=dry_run)

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str,
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> None:
        """Delete an object; a running pod is given its grace first."""
        self.delete_as(self.user, kind, namespace, name, uid, resource_version, grace_seconds)

    def evict(self, namespace: str, name: str, *, uid: str, resource_version: str, grace_seconds: int) -> None:
        """Evict a pod; raises ``Refused`` if one of its disruption budgets allows none."""
        body = {"gracePeriodSeconds": grace_seconds, "preconditions": {"uid": uid, "resourceVersion": resource_version}}
        with self._recorded("evict", Kind.POD, namespace, name, body):
            pod = self._require(Kind.POD, namespace, name, uid, resource_version)
            for budget in self.listed(Kind.DISRUPTION_BUDGET, namespace):
                wanted = budget["spec"].get("selector", {}).get("matchLabels", {})
                selected = wanted.items() <= labels_of(pod).items()
                if selected and not budget.get("status", {}).get("disruptionsAllowed", 0):
                    raise EvictionBlocked(
                        f"{namespace}/{name}: the disruption budget {budget['metadata']['name']} allows none"
                    )
            self._end_pod(pod, grace_seconds)

    def observe(self, kind: Kind, body: Object) -> None:
        """Do nothing: what is seen here is always fresh."""

    def wait_for_change(self, seconds: float) -> None:
        """Let the world go on; without one, return at once."""
        if self.on_wait is not None:
            self.on_wait(seconds)

    # For the models and the tests.

    def client(self, user: str) -> FakeClient:
        """Give the models' view of this cluster, as a user."""
        return FakeClient(self, user)

    def put(self, kind: Kind, body: Object) -> Object:
        """Store an object as it is, status and all: for tests that set a scene."""
        namespace, name = _key(kind, body)
        old = self.objects[kind].get((namespace, name))
        new = copy_json(body)
        new.setdefault("apiVersion", kind.resource.api_version)
        new.setdefault("kind", kind.resource.kind)
        new["metadata"].setdefault("uid", old["metadata"]["uid"] if old else self._uid())
        new["metadata"].setdefault("generation", 1)
        new["metadata"].setdefault("creationTimestamp", timestamp(self.clock()))
        return self._store(kind, new)

    def listed(self, kind: Kind, namespace: str = "") -> builtins.list[Object]:
        """Give the stored objects themselves, in the order of their names; not a request."""
        return [body for key, body in sorted(self.objects[kind].items()) if namespace in ("", key[0])]

    def create_as(self, user: str, kind: Kind, body: Object, manager: str) -> Object:
        """Create an object as a user."""
        namespace, name = _key(kind, body)
        with self._recorded("create", kind, namespace, name, body, manager, user=user):
            if (namespace, name) in self.objects[kind]:
                raise Conflict(f"{kind.resource.qualified} {namespace}/{name} already exists")
            return self._create(kind, body, manager, "Update")

    def apply_as(self, user: str, kind: Kind, body: Object, manager: str) -> Object:
        """Apply a configuration by forced server-side apply as a user."""
        namespace, name = _key(kind, body)
        with self._recorded("apply", kind, namespace, name, body, manager, user=user):
            old = self.objects[kind].get((namespace, name))
            if old is None:
                return self._create(kind, body, manager, "Apply")
            policies = max(self.versions[Kind.ADMISSION_POLICY], self.versions[Kind.ADMISSION_BINDING])
            where = (kind, (namespace, name), manager)
            if self.applied.get(where) == (body, old["metadata"]["resourceVersion"], policies):
                return old
            new, mine = _laid_over(old, body, manager)
            written = self._write(kind, old, new, user, manager, applied=mine)
            self.applied[where] = (copy_json(body), written["metadata"]["resourceVersion"], policies)
            return written

    def patch_status_as(self, user: str, kind: Kind, namespace: str, name: str, status: Object) -> Object:
        """Merge into an object's status as a user."""
        with self._recorded("patch-status", kind, namespace, name, status, user=user):
            old = self._require(kind, namespace, name)
            merged = _merge_patch(old.get("status", {}), status)
            return old if merged == old.get("status") else self._store(kind, old | {"status": merged})

    def bind_as(self, user: str, namespace: str, name: str, node: str) -> None:
        """Give a pod to a Kubernetes node as a user."""
        with self._recorded("bind", Kind.POD, namespace, name, node, user=user):
            pod = self._require(Kind.POD, namespace, name)
            self._store(Kind.POD, pod | {"spec": pod["spec"] | {"nodeName": node}})

    def delete_as(
        self, user: str, kind: Kind, namespace: str, name: str, uid: str, version: str, grace: int | None
    ) -> None:
        """Delete an object as a user."""
        options = {"uid": uid, "resourceVersion": version, "gracePeriodSeconds": grace}
        with self._recorded("delete", kind, namespace, name, options, user=user):
            body = self._require(kind, namespace, name, uid, version)
            if kind is Kind.POD:
                self._end_pod(body, grace)
            else:
                self._remove(kind, namespace, name)

    # How it is done.

    def _recorded(
        self,
        verb: str,
        kind: Kind,
        namespace: str,
        name: str,
        body: Any = None,
        manager: str = "",
        dry_run: bool = False,
        user: str = "",
    ) -> _RecordedRequest:
        user = user or self.user
        return _RecordedRequest(self, Request(self.clock(), user, verb, kind, namespace, name, body, manager, dry_run))

    def _require(self, kind: Kind, namespace: str, name: str, uid: str = "", version: str = "") -> Object:
        body = self.objects[kind].get((namespace, name))
        if body is None:
            raise NotFound(f"{kind.resource.qualified} {namespace}/{name} is not there")
        metadata = body["metadata"]
        if (uid and metadata["uid"] != uid) or (version and metadata["resourceVersion"] != version):
            raise Conflict(f"{kind.resource.qualified} {namespace}/{name} is not the one that was meant")
        return body

    def _create(self, kind: Kind, body: Object, manager: str, operation: str) -> Object:
        namespace, _ = _key(kind, body)
        if kind.resource.namespaced and ("", namespace) not in self.objects[Kind.NAMESPACE]:
            raise NotFound(f"namespaces {namespace} is not there")
        new: Object = fields.without_empties(copy_json(body))
        new |= {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
        if kind not in _WITHOUT_STATUS:
            new.pop("status", None)
        defaults.fill(kind, new)
        defaults.check(kind, new)
        metadata = new["metadata"]
        metadata |= {"uid": self._uid(), "creationTimestamp": timestamp(self.clock())}
        if "spec" in new:
            metadata["generation"] = 1
        metadata.pop("managedFields", None)
        if operation == "Apply":
            after = fields.leaves(new)
            fields.record_apply(new, after, after, frozenset(fields.leaves(body)), manager, timestamp(self.clock()))
        elif kind is not Kind.POD:
            fields.record_update(new, {}, fields.leaves(new), manager, timestamp(self.clock()))
        return self._store(kind, new)

    def _write(
        self,
        kind: Kind,
        old: Object,
        new: Object,
        user: str,
        manager: str,
        *,
        applied: frozenset[fields.Path] | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Store what an update makes of an object; the same again is no write, as on a real server."""
        new = fields.without_empties(new)
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
        for name in ("uid", "creationTimestamp", "generation", "resourceVersion"):
            if name in old["metadata"]:
                new["metadata"][name] = old["metadata"][name]
        if "managedFields" in old["metadata"]:
            new["metadata"].setdefault("managedFields", old["metadata"]["managedFields"])
        if not new["metadata"].get("managedFields"):
            new["metadata"].pop("managedFields", None)
        defaults.fill(kind, new)
        defaults.check(kind, new)
        admission.evaluate(kind, old, new, user, manager, self._has)
        before, after = fields.leaves(old), fields.leaves(new)
        if applied is None:
            fields.record_update(new, before, after, manager, timestamp(self.clock()))
        elif after != before or fields.owned(old, manager, "Apply") != applied:
            fields.record_apply(new, before, after, applied, manager, timestamp(self.clock()))
        if new == old:
            return old
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        return new if dry_run else self._store(kind, new)

    def _has(self, kind: Kind, name: str) -> bool:
        return ("", name) in self.objects[kind]

    def _end_pod(self, pod: Object, grace: int | None) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        seconds = spec.get("terminationGracePeriodSeconds", 30) if grace is None else grace
        if seconds == 0 or not spec.get("nodeName"):
            self._remove(Kind.POD, metadata["namespace"], metadata["name"])
            return
        if seconds >= metadata.get("deletionGracePeriodSeconds", seconds + 1):
            return
        ends = timestamp(self.clock() + seconds)
        self._store(
            Kind.POD,
            pod | {"metadata": metadata | {"deletionTimestamp": ends, "deletionGracePeriodSeconds": seconds}},
        )

    def _store(self, kind: Kind, body: Object) -> Object:
        self._bump_version(kind)
        body["metadata"] = body["metadata"] | {"resourceVersion": str(self.version)}
        self.objects[kind][_key(kind, body)] = body
        return body

    def _remove(self, kind: Kind, namespace: str, name: str) -> None:
        self._bump_version(kind)
        del self.objects[kind][(namespace, name)]

    def _bump_version(self, kind: Kind) -> None:
        self.version += 1
        self.versions[kind] = self.version

    def _uid(self) -> str:
        # Counted, not random: the same test run twice sees the same uids.
        self.version += 1
        return str(uuid.UUID(int=(self.version << 64) | 0x8000000000000000))


class _RecordedRequest:
    """Record one request and its outcome, and let the tests' hooks have their say."""

    __slots__ = ("cluster", "request")

    def __init__(self, cluster: FakeCluster, request: Request) -> None:
        self.cluster, self.request = cluster, request

    def __enter__(self) -> None:
        self.cluster.requests.append(self.request)
        if self.cluster.before_request is not None:
            try:
                self.cluster.before_request(self.request)
            except BaseException as error:
                self.request.outcome = type(error).__name__
                raise

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.request.outcome = "ok" if error is None else type(error).__name__
        if (error is None or isinstance(error, ApiError)) and self.cluster.after_request is not None:
            self.cluster.after_request(self.request)


@dataclass(frozen=True, slots=True)
class FakeClient:
    """A model's view of a cluster in memory (``ModelClient``); reads are as from a watch, and not recorded."""

    cluster: FakeCluster
    user: str

    def version(self, kind: Kind) -> int:
        """Give the version of the newest change of a kind."""
        return self.cluster.versions[kind]

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Give the stored object itself."""
        return self.cluster.objects[kind].get((namespace, name))

    def list(self, kind: Kind) -> Sequence[Object]:
        """Give the stored objects themselves."""
        return self.cluster.listed(kind)

    def create(self, kind: Kind, body: Object) -> Object:
        """Create an object."""
        return self.cluster.create_as(self.user, kind, body, self.user.rsplit(":", 1)[-1])

    def apply(self, kind: Kind, body: Object, *, manager: str) -> Object:
        """Apply a configuration by force."""
        return self.cluster.apply_as(self.user, kind, body, manager)

    def patch_status(self, kind: Kind, namespace: str, name: str, status: Object) -> Object:
        """Merge into an object's status."""
        return self.cluster.patch_status_as(self.user, kind, namespace, name, status)

    def bind(self, namespace: str, pod: str, node: str) -> None:
        """Give a pod to a Kubernetes node."""
        self.cluster.bind_as(self.user, namespace, pod, node)

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None) -> None:
        """Delete an object."""
        self.cluster.delete_as(self.user, kind, namespace, name, uid, "", grace_seconds)


def _key(kind: Kind, body: Object) -> Key:
    metadata = body["metadata"]
    if kind.resource.namespaced and not metadata.get("namespace"):
        raise Invalid(f"{kind.resource.qualified} {metadata.get('name')}: a namespace is needed")
    return (metadata["namespace"] if kind.resource.namespaced else "", metadata["name"])


def _laid_over(old: Object, body: Object, manager: str) -> tuple[Object, frozenset[fields.Path]]:
    """Give what a forced apply makes of an object, and the fields that the manager owns from then on."""
    mine = frozenset(fields.leaves(body))
    dropped = fields.owned(old, manager, "Apply") - mine
    others = frozenset[fields.Path]().union(
        *(
            fields.decode(entry["fieldsV1"])
            for entry in old["metadata"].get("managedFields", ())
            if (entry["manager"], entry["operation"]) != (manager, "Apply")
        )
    )
    new: Object = fields.merge(old, {key: value for key, value in body.items() if key != "metadata"})
    applied = body["metadata"]
    metadata = {name: applied[name] for name in ("labels", "annotations", "ownerReferences") if name in applied}
    new["metadata"] = fields.merge(old["metadata"], metadata)
    return fields.remove(new, dropped - others, others | mine), mine


def _merge_patch(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy_json(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge_patch(result.get(key), value)
    return result
