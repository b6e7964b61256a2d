"""What a node's pod is asked and told, by port-forward: the same for a run and for a guard."""

from __future__ import annotations

from collections.abc import Mapping

from seimigrate.domain import shapes
from seimigrate.domain.kinds import Object
from seimigrate.domain.plan import Parameters
from seimigrate.domain.record import Intent
from seimigrate.domain.seen import Answer, Question
from seimigrate.domain.shapes import Wiring
from seimigrate.engine.errors import SeimigrateError, Unreachable
from seimigrate.engine.ports import Clock, Lock, Pods

SEID_RPC = 26657
LONGEST = 5.0
"""Seconds for one request to a pod."""


def answer(
    pods: Pods, clock: Clock, parameters: Parameters, pod: Object | None, question: Question, *, gate: bool = False
) -> Answer:
    """Ask a pod; no answer is an ``Answer`` without a status, and no verdict.

    ``gate`` asks for health where the pod's own start gate does: that needs no list of sidecars that split.
    """
    if pod is None:
        return Answer("", clock.now(), None, reason="there is no pod")
    try:
        wiring = shapes.read(pod["spec"], parameters)
    except shapes.NotWired as error:
        return Answer(pod["metadata"]["uid"], clock.now(), None, reason=str(error))
    port, path, authorised = _address(wiring, _health_port(wiring, gate=gate), question)
    return get(pods, clock, pod, port, path, authorised=authorised)


def get(
    pods: Pods,
    clock: Clock,
    pod: Object,
    port: int,
    path: str,
    *,
    authorised: bool,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """GET a path from a pod; no answer is an ``Answer`` without a status."""
    meta = pod["metadata"]
    try:
        response = pods.call(meta["namespace"], meta["name"], port, "GET", path, authorised=authorised, headers=headers)
    except Unreachable as error:
        return Answer(meta["uid"], clock.now(), None, reason=str(error))
    return Answer(meta["uid"], clock.now(), response.status, response.body)


def _health_port(wiring: Wiring, *, gate: bool) -> int:
    if gate and wiring.gate is not None:
        return wiring.gate
    return wiring.public_port if wiring.splits else wiring.sidecar_port


def _address(wiring: Wiring, health: int, question: Question) -> tuple[int, str, bool]:
    return {
        Question.HEALTH: (health, "/v0/healthz", False),
        Question.METRICS: (health, "/v0/metrics", False),
        Question.ANONYMOUS: (wiring.proxy_port, "/v0/metrics", False),
        Question.TASKS: (wiring.proxy_port, "/v0/tasks", True),
        Question.HEIGHT: (SEID_RPC, "/status", False),
    }[question]


def tell_ready(pods: Pods, lock: Lock, parameters: Parameters, namespace: str, intent: Intent) -> bool:
    """POST a mark-ready task; the lease must outlast the request, since nothing else could stop it then.

    Gives whether the sidecar took it. Raises ``LockedByAnother`` if the lease is not ours any more, ``Unreachable``,
    and ``SeimigrateError`` if the ServiceAccount may not.
    """
    left = lock.check()
    response = pods.call(
        namespace,
        intent.name,
        parameters.ports.proxy,
        "POST",
        "/v0/tasks",
        body={"id": intent.task, "type": "mark-ready"},
        authorised=True,
        timeout=max(0.5, min(LONGEST, left / 2)),
    )
    if response.status in (401, 403):
        where = f"{namespace}/{intent.name}"
        raise SeimigrateError(
            f"the sidecar of {where} does not take a task from seimigrate's ServiceAccount: {response.status}",
            hint="allow it to create seinodetasks.sei.io, then run again",
        )
    return response.status in (200, 201, 202)
