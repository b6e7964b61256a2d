"""A simulated pod's status, as the kubelet writes it."""

from __future__ import annotations

from seimigrate.domain.kube.kinds import Object
from seimigrate.simulation.containers import Container
from seimigrate.simulation.objects import timestamp
from seimigrate.simulation.pods import SimulatedPod

UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available (simulated).",
        }
    ],
}


def status_of(pod: SimulatedPod, old: Object, now: float) -> Object:
    """Give a pod's status; conditions keep their lastTransitionTime from ``old`` while they stay as they are."""
    init = [entry for entry in pod.containers if entry.init]
    main = [entry for entry in pod.containers if not entry.init]
    ready = pod.initialized and all(entry.ready for entry in pod.containers)
    conditions = {
        "PodScheduled": True,
        "PodReadyToStartContainers": True,
        "Initialized": pod.initialized,
        "ContainersReady": ready,
        "Ready": ready,
    }
    before = {entry["type"]: entry for entry in old.get("conditions", ())}
    unready = [entry.name for entry in pod.containers if not entry.ready]
    return {
        "phase": "Running" if pod.initialized else "Pending",
        "startTime": old.get("startTime", timestamp(now)),
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [_condition(name, value, before.get(name), unready, now) for name, value in conditions.items()],
        "initContainerStatuses": [_container(pod, entry) for entry in init],
        "containerStatuses": [_container(pod, entry) for entry in main],
    }


def _condition(name: str, value: bool, before: Object | None, unready: list[str], now: float) -> Object:
    status = str(value)
    same = before is not None and before["status"] == status
    entry: Object = {
        "type": name,
        "status": status,
        "lastTransitionTime": (before.get("lastTransitionTime") if before and same else None) or timestamp(now),
    }
    if not value:
        entry["reason"] = "ContainersNotInitialized" if name == "Initialized" else "ContainersNotReady"
        entry["message"] = f"containers with unready status: [{' '.join(unready)}]"
    return entry


def _container(pod: SimulatedPod, entry: Container) -> Object:
    status: Object = {
        "name": entry.name,
        "image": entry.spec["image"],
        "imageID": entry.spec["image"],
        "ready": entry.ready,
        "started": entry.started and entry.running,
        "restartCount": entry.restarts,
        "lastState": {},
    }
    if entry.running or entry.state == "completed":
        status["containerID"] = f"sim://{pod.uid}/{entry.name}/{entry.restarts}"
    if entry.running:
        status["state"] = {"running": {"startedAt": timestamp(entry.started_at)}}
    elif entry.state == "completed":
        at = timestamp(entry.started_at)
        ended = {"exitCode": 0, "reason": "Completed", "startedAt": at, "finishedAt": at}
        status["state"] = {"terminated": ended}
    else:
        status["state"] = {"waiting": {"reason": entry.reason}}
    return status
