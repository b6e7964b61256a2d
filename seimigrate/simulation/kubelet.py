"""A model of kubelet and scheduler: it binds pods, runs them, writes their status and ends them with their grace.

It also is the way to the pods: ``call`` speaks to a pod's loopback as port-forward does (``engine.ports.Pods``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any, NamedTuple

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import Conflict, NotFound, Unreachable
from seimigrate.engine.ports import Response
from seimigrate.simulation.client import ModelClient
from seimigrate.simulation.containers import Faults, Settings
from seimigrate.simulation.objects import CONTROLLER_USER, NODE_LABEL, condition, labels_of
from seimigrate.simulation.pods import Authorizer, SimulatedPod
from seimigrate.simulation.podstatus import UNSCHEDULABLE, status_of
from seimigrate.simulation.requestlog import RequestLog
from seimigrate.simulation.sidecar import Volume

KUBELET_USER = "system:node:simulated"
OWN_USER = "system:serviceaccount:seimigrate-system:seimigrate"


def trusting(*users: str) -> Authorizer:
    """Give an authorizer for which a user's name is their token, and these users may do everything."""
    return lambda token, _verb, _namespace, _node: (token, token in users)


class _End(NamedTuple):
    """When a pod that was deleted goes, the grace that it has, and when its processes stop by themselves."""

    at: float
    grace: float
    stops: float


class Kubelet:
    """Run the pods of all nodes; ``clock`` gives the time at which a request comes."""

    def __init__(
        self,
        client: ModelClient,
        clock: Callable[[], float],
        settings: Settings,
        *,
        log: RequestLog | None = None,
        authorise: Authorizer | None = None,
        own_token: str = OWN_USER,
    ) -> None:
        self.settings = settings
        self.log = log or RequestLog()
        self.lock = RLock()
        self._client, self._clock = client, clock
        self._authorise = authorise or trusting(OWN_USER, CONTROLLER_USER)
        self._own_token = own_token
        self._pods: dict[str, SimulatedPod] = {}
        self._ends: dict[str, _End] = {}
        self._switches: dict[tuple[str, str], Faults] = {}
        self._volumes: dict[tuple[str, str], Volume] = {}
        self._seen: tuple[int, int] | None = None

    def faults(self, namespace: str, node: str) -> Faults:
        """Give what can be broken on a node."""
        return self._switches.setdefault((namespace, node), Faults())

    def volume(self, namespace: str, node: str) -> Volume:
        """Give what outlives a node's pods."""
        return self._volumes.setdefault((namespace, node), Volume())

    def pod(self, namespace: str, name: str) -> SimulatedPod | None:
        """Give the pod that runs under a name."""
        return next((pod for pod in self._pods.values() if (pod.namespace, pod.name) == (namespace, name)), None)

    def next_due(self) -> float:
        """Give the time at which something happens in any pod."""
        due = min((pod.next_due() for pod in self._pods.values()), default=math.inf)
        return min(due, min((end.at for end in self._ends.values()), default=math.inf))

    def step(self, now: float) -> None:
        """Do what is due: bind, run, write status, end."""
        with self.lock:
            seen = (self._client.version(Kind.POD), self._client.version(Kind.NODE))
            if seen != self._seen:
                self._seen = seen
                self._look(now)
            for uid, pod in list(self._pods.items()):
                if uid in self._ends:
                    self._end(uid, pod, now)
                elif pod.next_due() <= now or pod.changed:
                    pod.step(now)
                    self._write(pod, now)

    def resync(self) -> None:
        """Look at all pods again at the next step: for a test that has turned a switch."""
        self._seen = None

    # The way to the pods.

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
        """Send one request to a pod's loopback; raises ``Unreachable`` if nothing listens there."""
        del timeout, headers  # the models of proxy and sidecar look at tokens alone
        token = self._own_token if authorised else ""
        return self.request(namespace, pod, port, method, path, body=body, token=token, source="forward")

    def request(
        self,
        namespace: str,
        pod: str,
        port: int,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        token: str = "",
        source: str = "network",
    ) -> Response:
        """Send one request by the loopback (``source`` ``forward``) or from the pod network (anything else)."""
        with self.lock:
            found = self.pod(namespace, pod)
            if found is None or (source == "forward" and found.faults.unreachable):
                raise Unreachable(f"no answer from pod {namespace}/{pod}")
            answer = found.request(port, method, path, body, token, self._clock(), source)
            if answer is None:
                raise Unreachable(f"nothing listens on port {port} of pod {namespace}/{pod}")
            return answer

    # How it is done.

    def _look(self, now: float) -> None:
        pods = {pod["metadata"]["uid"]: pod for pod in self._client.list(Kind.POD)}
        for uid in self._pods.keys() - pods.keys():
            # Deleted without grace by somebody: its processes die with it.
            self._pods.pop(uid).ended(now, killed=True)
            self._ends.pop(uid, None)
        for uid, pod in pods.items():
            if uid not in self._pods:
                self._admit(pod, now)
            if uid in self._pods and "deletionTimestamp" in pod["metadata"]:
                self._begin_end(uid, pod, now)

    def _admit(self, pod: Object, now: float) -> None:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        node = labels_of(pod).get(NODE_LABEL, name)
        faults = self.faults(namespace, node)
        if not pod["spec"].get("nodeName"):
            free = [one for one in self._client.list(Kind.NODE) if not one.get("spec", {}).get("unschedulable")]
            if faults.unschedulable or not free:
                if condition(pod, "PodScheduled") != "False":
                    self._client.patch_status(Kind.POD, namespace, name, UNSCHEDULABLE)
                return
            try:
                self._client.bind(namespace, name, free[0]["metadata"]["name"])
            except (NotFound, Conflict):
                return
        volume = self.volume(namespace, node)
        running = SimulatedPod(pod, volume, faults, self.settings, self.log, self._authorise, self._running)
        self._pods[pod["metadata"]["uid"]] = running
        self.log.add(
            time=now, namespace=namespace, pod=name, uid=running.uid, event="pod-bound", containers=_summary(pod)
        )

    def _running(self) -> list[SimulatedPod]:
        return list(self._pods.values())

    def _begin_end(self, uid: str, pod: Object, now: float) -> None:
        """Give a pod its grace, or less of it than before if somebody asked again."""
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds", 30)) * self.settings.time_scale
        if uid not in self._ends:
            stops = self._pods[uid].end(now)
            self._ends[uid] = _End(min(stops, now + grace), grace, stops)
        elif grace < self._ends[uid].grace:
            last = self._ends[uid]
            self._ends[uid] = _End(min(last.at, now + grace), grace, last.stops)

    def _end(self, uid: str, pod: SimulatedPod, now: float) -> None:
        end = self._ends[uid]
        if now < end.at:
            return
        del self._ends[uid], self._pods[uid]
        pod.ended(now, killed=end.stops > end.at)
        try:
            self._client.delete(Kind.POD, pod.namespace, pod.name, uid=uid, grace_seconds=0)
        except (NotFound, Conflict):
            return

    def _write(self, pod: SimulatedPod, now: float) -> None:
        if not pod.changed:
            return
        pod.changed = False
        body = self._client.get(Kind.POD, pod.namespace, pod.name)
        if body is None or body["metadata"]["uid"] != pod.uid:
            return
        status = status_of(pod, body.get("status", {}), now)
        if status != body.get("status"):
            try:
                self._client.patch_status(Kind.POD, pod.namespace, pod.name, status)
            except (NotFound, Conflict):
                return


def _summary(pod: Object) -> dict[str, Any]:
    """Give what a judge needs of a pod's spec: images, arguments, environment and probes of each container."""
    spec = pod["spec"]
    kept = ("image", "args", "env", "startupProbe", "livenessProbe", "readinessProbe")
    entries = [*spec.get("initContainers", ()), *spec["containers"]]
    return {entry["name"]: {name: entry[name] for name in kept if name in entry} for entry in entries}
