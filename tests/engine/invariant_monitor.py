"""Checks every request of a simulated world, and fails the test at the first violated invariant.

It uses the requests, the stored objects and the sidecars' tasks. It reads templates with the code of the audit, so that
a mistake in the domain is not repeated here. It also crashes a process at one of its writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seimigrate.domain.kube.kinds import FREEZE_LABEL, HOLD_LABEL, JOURNAL_PREFIX, Kind, Object
from seimigrate.domain.node.record import Direction, IntentKind, Record
from seimigrate.engine.errors import Denied
from seimigrate.engine.journal import read
from seimigrate.engine.ports import Response
from seimigrate.simulation.cluster import Request
from seimigrate.simulation.objects import CONTROLLER_USER, SIDECAR, condition, labels_of
from seimigrate.simulation.sidecar import HEALTH_ROUTES
from seimigrate.simulation.world import World
from tests.audit.startable import defects

WRITES = ("create", "update", "patch", "delete", "evict")
_HOLD_PATH = "/metadata/labels/" + HOLD_LABEL.replace("/", "~1")
DENIAL = "ValidatingAdmissionPolicy 'fridays' with binding 'fridays' denied request: not on Fridays"
"""The message of the API server when an external admission policy denies a write of a run."""
_HARMFUL = ("stop-seid", "reset-data", "snapshot-restore", "mark-not-ready")


class Interrupted(BaseException):
    """The process died; nothing in the process may catch this."""


class InvariantMonitor:
    """A proxy between the runs and the world, and the runs' client of pods (``engine.ports.PodClient``)."""

    def __init__(self, world: World, key: tuple[str, str]) -> None:
        self._world, self._key = world, key
        self._number, self._after, self._count = 0, False, 0
        self.at_write: Callable[[], None] | None = None
        self._ours = world.cluster.user
        self.strict = True
        self.denies: Callable[[Request], bool] = lambda request: False
        self._template = self._statefulset()["spec"]["template"]
        self._template_is_ours = False
        world.cluster.before_request = self._before_request
        world.cluster.after_request = self._after_request

    # Crashes.

    def crash_at(self, number: int, *, after: bool) -> None:
        """Crash the process at its ``number``-th write from now (from 1), or right after it."""
        self._number, self._after, self._count = number, after, 0

    def disarm(self) -> None:
        """Cancel the crash."""
        self._number = 0

    def _reached(self, *, after: bool) -> None:
        if self.at_write is not None:
            self.at_write()
        if not after:
            self._count += 1
        if self._number and self._count == self._number and after == self._after:
            self._number = 0
            raise Interrupted

    # Requests to the API server.

    def _before_request(self, request: Request) -> None:
        if self._is_ours(request):
            self._reached(after=False)
            if self.strict:
                self._check_write(request)
        if request.user == self._ours and self.denies(request):
            raise Denied(DENIAL)
        if request.user == CONTROLLER_USER and request.verb == "delete":
            frozen = FREEZE_LABEL in labels_of(self._statefulset())
            assert not frozen, "the controller replaced the pod of a frozen node"

    def _after_request(self, request: Request) -> None:
        if request.outcome == "ok" and not request.dry_run:
            if request.kind is Kind.STATEFUL_SET and self._statefulset()["spec"]["template"] != self._template:
                self._template = self._statefulset()["spec"]["template"]
                self._template_is_ours = request.user == self._ours
                if self._template_is_ours:
                    self._assert_startable(self._template["spec"], "the written template cannot start")
            if request.kind is Kind.POD and request.verb == "create" and self._template_is_ours:
                self._assert_startable(request.body["spec"], "the created pod cannot start")
        if self._is_ours(request):
            self._reached(after=True)

    def _is_ours(self, request: Request) -> bool:
        return request.user == self._ours and request.verb in WRITES and not request.dry_run

    def _check_write(self, request: Request) -> None:
        if request.kind in (Kind.STATEFUL_SET, Kind.SERVICE):
            self._check_patch(request)
        elif request.kind is Kind.POD and request.verb in ("delete", "evict"):
            self._check_replacement(request)

    def _check_patch(self, request: Request) -> None:
        """Assert that a patch is journaled, tests the token of a held object, and freezes a template."""
        assert request.verb == "patch"
        obj = self._world.cluster.objects[request.kind][self._key]
        tests = {op["path"]: op["value"] for op in request.body if op["op"] == "test"}
        writes = [op["path"] for op in request.body if op["op"] != "test"]
        assert tests.get("/metadata/uid") == obj["metadata"]["uid"]
        if HOLD_LABEL in labels_of(obj):
            assert _HOLD_PATH in tests, "a patch of a held object that does not test the token"
        if writes == [_HOLD_PATH]:
            return
        record = self._record()
        assert record.intent is not None and record.intent.kind is IntentKind.PATCH, "a patch without its intent"
        assert request.kind.resource.kind == record.intent.object_kind
        if any(path.startswith("/spec/template") for path in writes):
            freezes = any(FREEZE_LABEL.replace("/", "~1") in path for path in writes)
            assert freezes or FREEZE_LABEL in labels_of(obj), "a patch of a template that is not frozen"

    def _check_replacement(self, request: Request) -> None:
        body = request.body
        conditions = body.get("preconditions", body)
        pod = self._world.pod(*self._key)
        assert pod is not None
        record = self._record()
        assert body["gracePeriodSeconds"] >= 1, "a pod deleted without a grace period"
        assert conditions["uid"] and conditions["resourceVersion"]
        assert (
            record.intent is not None
            and record.intent.kind is IntentKind.REPLACE
            and record.intent.pod == conditions["uid"]
        )
        ready = condition(pod, "Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
        if ready and record.direction is Direction.FORWARD:
            assert request.verb == "evict", "a Ready pod deleted without regard to its PodDisruptionBudgets"

    # Requests to pods.

    def call(
        self,
        namespace: str,
        pod: str,
        port: int,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        authorised: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Response:
        """Forward a request to a pod."""
        if method != "GET":
            self._reached(after=False)
            if self.strict:
                self._check_mark_ready(namespace, pod, body or {})
        response = self._world.pods.call(
            namespace, pod, port, method, path, body=body, authorised=authorised, headers=headers, timeout=timeout
        )
        if method != "GET":
            self._reached(after=True)
        return response

    def _check_mark_ready(self, namespace: str, pod: str, body: Mapping[str, Any]) -> None:
        record = self._record()
        assert body["type"] == "mark-ready"
        assert (
            record.intent is not None
            and record.intent.kind is IntentKind.MARK_READY
            and record.intent.task == body["id"]
        )
        assert record.was_ready
        running = self._world.kubelet.pod(namespace, pod)
        assert running is not None and running.uid == record.intent.pod
        sidecar = running.container(SIDECAR)
        assert sidecar is not None and not sidecar.marked_ready
        for task in reversed(self._world.volume(*self._key).tasks.values()):
            assert task["type"] not in _HARMFUL, "marked ready against an external task"
            if task["type"] == "mark-ready" and task["status"] == "completed":
                return
        raise AssertionError("marked ready without proof that no other client marked it not ready")

    # Observed state.

    def _statefulset(self) -> Object:
        return self._world.statefulset(*self._key)

    def _record(self) -> Record:
        namespace, name = self._key
        return read(self._world.cluster.objects[Kind.CONFIG_MAP][namespace, JOURNAL_PREFIX + name])

    def _assert_startable(self, spec: Object, what: str) -> None:
        problems = defects(spec, self._world.settings.splits, health_paths=HEALTH_ROUTES)
        assert not problems, f"{what}: {problems}"
