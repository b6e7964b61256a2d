"""What a node's pod is asked and told, by port-forward: the same for a run and for a guard."""

from __future__ import annotations

from collections.abc import Mapping

from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import shapes
from seimigrate.domain.node.observation import PodQuery, PodReply
from seimigrate.domain.node.record import Intent
from seimigrate.domain.node.shapes import ListenerLayout
from seimigrate.domain.plan.plan import Parameters
from seimigrate.engine.errors import SeimigrateError, Unreachable
from seimigrate.engine.ports import Clock, Lock, PodClient

SEID_RPC = 26657
MAX_TIMEOUT = 5.0
"""Seconds for one request to a pod."""


def query(
    pod_client: PodClient,
    clock: Clock,
    parameters: Parameters,
    pod: Object | None,
    query_kind: PodQuery,
    *,
    gate: bool = False,
) -> PodReply:
    """Ask a pod; no answer is an ``Answer`` without a status, and no verdict.

    ``gate`` asks for health where the pod's own start gate does: that needs no list of sidecars that split.
    """
    if pod is None:
        return PodReply("", clock.now(), None, reason="there is no pod")
    try:
        wiring = shapes.read(pod["spec"], parameters)
    except shapes.NotASeiNodePod as error:
        return PodReply(pod["metadata"]["uid"], clock.now(), None, reason=str(error))
    port, path, authorised = _address(wiring, _health_port(wiring, gate=gate), query_kind)
    return get(pod_client, clock, pod, port, path, authorised=authorised)


def get(
    pod_client: PodClient,
    clock: Clock,
    pod: Object,
    port: int,
    path: str,
    *,
    authorised: bool,
    headers: Mapping[str, str] | None = None,
) -> PodReply:
    """GET a path from a pod; no answer is an ``Answer`` without a status."""
    meta = pod["metadata"]
    try:
        response = pod_client.call(
            meta["namespace"], meta["name"], port, "GET", path, authorised=authorised, headers=headers
        )
    except Unreachable as error:
        return PodReply(meta["uid"], clock.now(), None, reason=str(error))
    return PodReply(meta["uid"], clock.now(), response.status, response.body)


def _health_port(wiring: ListenerLayout, *, gate: bool) -> int:
    if gate and wiring.start_gate is not None:
        return wiring.start_gate
    return wiring.public_port if wiring.splits else wiring.sidecar_port


def _address(wiring: ListenerLayout, health: int, query: PodQuery) -> tuple[int, str, bool]:
    return {
        PodQuery.HEALTH: (health, "/v0/healthz", False),
        PodQuery.METRICS: (health, "/v0/metrics", False),
        PodQuery.ANONYMOUS: (wiring.proxy_port, "/v0/metrics", False),
        PodQuery.TASKS: (wiring.proxy_port, "/v0/tasks", True),
        PodQuery.HEIGHT: (SEID_RPC, "/status", False),
    }[query]


def send_mark_ready(pod_client: PodClient, lock: Lock, parameters: Parameters, namespace: str, intent: Intent) -> bool:
    """POST a mark-ready task; the lease must outlast the request, since nothing else could stop it then.

    Gives whether the sidecar took it. Raises ``LockedByAnother`` if the lease is not ours any more, ``Unreachable``,
    and ``SeimigrateError`` if the ServiceAccount may not.
    """
    left = lock.check()
    response = pod_client.call(
        namespace,
        intent.name,
        parameters.ports.proxy,
        "POST",
        "/v0/tasks",
        body={"id": intent.task, "type": "mark-ready"},
        authorised=True,
        timeout=max(0.5, min(MAX_TIMEOUT, left / 2)),
    )
    if response.status in (401, 403):
        where = f"{namespace}/{intent.name}"
        raise SeimigrateError(
            f"the sidecar of {where} does not take a task from seimigrate's ServiceAccount: {response.status}",
            hint="allow it to create seinodetasks.sei.io, then run again",
        )
    return response.status in (200, 201, 202)
