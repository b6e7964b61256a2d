"""A model of one pod on its Kubernetes node: its containers, their probes, and who listens on which port.

Containers start as the kubelet starts them: init containers one after the other, sidecars among them until they have
started, then the rest. What answers on a port follows from the containers' own arguments and environment, so that a
template that could not start does not start here either.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from seimigrate.domain.kube.kinds import Object
from seimigrate.engine.ports import Response
from seimigrate.simulation import chain
from seimigrate.simulation import sidecar as sidecar_model
from seimigrate.simulation.containers import (
    Container,
    Faults,
    Probe,
    Settings,
    flag,
    ignored,
    listen_port,
    port_number,
    script,
)
from seimigrate.simulation.objects import NODE_LABEL, PROXY, SEID, SIDECAR, env, labels_of
from seimigrate.simulation.requestlog import RequestLog
from seimigrate.simulation.sidecar import Volume

Authorizer = Callable[[str, str, str, str], tuple[str, bool] | None]
"""From a token, an RBAC verb, a namespace and a node to the user and whether they may; ``None``: not a valid token."""

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_GATE = re.compile(r"/dev/tcp/localhost/(\d+)")
_GATE_PATH = re.compile(r"GET (\S+) HTTP")
_BACKOFF_FIRST, _BACKOFF_MOST = 10.0, 300.0


class SimulatedPod:
    """One pod from its binding to its end. ``changed`` says that its status is to be written."""

    def __init__(
        self,
        pod: Object,
        volume: Volume,
        faults: Faults,
        settings: Settings,
        log: RequestLog,
        authorise: Authorizer,
        pods: Callable[[], Iterable[SimulatedPod]] = lambda: (),
    ) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        self.namespace, self.name, self.uid = metadata["namespace"], metadata["name"], metadata["uid"]
        self.node = labels_of(pod).get(NODE_LABEL, self.name)
        self.volume, self.faults, self.settings, self.log = volume, faults, settings, log
        self.containers = [Container(entry, init=True) for entry in spec.get("initContainers", ())]
        self.containers += [Container(entry, init=False) for entry in spec["containers"]]
        self.initialized = False
        self.changed = True
        self.ending = False
        self._authorise = authorise
        self._pods = pods
        self._labels = labels_of(pod)

    # The pod's life.

    def next_due(self) -> float:
        """Give the time at which something happens in this pod."""
        if self.ending:
            return math.inf
        due = math.inf
        for entry in self.containers:
            due = min(due, entry.due, entry.gate_at)
            for probe in entry.probes:
                due = min(due, probe.next_at)
        return due

    def step(self, now: float) -> None:
        """Start what is to be started, and probe what is to be probed."""
        if self.ending:
            return
        for entry in self.containers:
            if not self.initialized and not entry.init:
                break
            self._advance(entry, now)
            if not self.initialized and not (entry.state == "completed" or (entry.sidecar and entry.started)):
                return
        if not self.initialized:
            self.initialized = self.changed = True
            for entry in self.containers:
                if not entry.init:
                    self._advance(entry, now)

    def end(self, now: float) -> float:
        """Begin to stop; give the time at which the last process ends by itself."""
        seid = self.container(SEID)
        serving = seid is not None and seid.running and seid.serving_at <= now
        needed = self.faults.stop_seconds * self.settings.time_scale if serving else 0.0
        self.ending = True
        return now + needed

    def ended(self, now: float, killed: bool) -> None:
        """Record how the pod ended, and keep the height that its seid reached."""
        seid = self.container(SEID)
        if seid is not None and seid.running and seid.serving_at <= now:
            self._keep_height(seid, now)
            self._event("killed" if killed else "seid-stopped", now, SEID)

    def container(self, name: str) -> Container | None:
        """Give the container of that name."""
        return next((entry for entry in self.containers if entry.name == name), None)

    def _advance(self, entry: Container, now: float) -> None:
        if entry.state == "waiting":
            self._start(entry, now)
        elif entry.running and now >= entry.due:
            entry.due = math.inf
            if entry.init and not entry.sidecar:
                entry.state, entry.ready, self.changed = "completed", True, True
            else:
                self._restart(entry, now)
        if entry.running and now >= entry.gate_at:
            self._try_gate(entry, now)
        if entry.running:
            for probe in list(entry.probes):
                if now >= probe.next_at:
                    self._probe(entry, probe, now)

    def _start(self, entry: Container, now: float) -> None:
        scale = self.settings.time_scale
        if entry.spec["image"] in self.settings.broken_images:
            reason = "ErrImagePull" if entry.reason in ("PodInitializing", "") else "ImagePullBackOff"
            if now >= entry.due or entry.due == math.inf:
                entry.due = now + 10 * scale
                self.changed |= entry.reason != reason
                entry.reason = reason
            return
        if entry.due == math.inf:
            entry.due = now + self.settings.start_seconds
            return
        if now < entry.due:
            return
        entry.state, entry.reason, entry.started_at, entry.due = "running", "", now, math.inf
        entry.marked_ready = False
        entry.started = "startupProbe" not in entry.spec
        entry.ready = entry.started and "readinessProbe" not in entry.spec
        entry.probes = self._probes(entry, now)
        entry.serving_at, entry.gate_at = now + self.settings.boot_seconds, math.inf
        if _GATE.search(script(entry)):
            entry.serving_at, entry.gate_at = math.inf, now
        if entry.init and not entry.sidecar:
            entry.due = now + self.settings.init_seconds
        elif entry.name == SIDECAR and self.faults.sidecar_crashes:
            entry.due = now + self.settings.boot_seconds
        self.changed = True
        self._event("container-started", now, entry.name)

    def _restart(self, entry: Container, now: float) -> None:
        """Stop a container that crashed or failed its liveness, and start it again after the kubelet's back-off."""
        if entry.name == SEID and entry.serving_at <= now:
            self._keep_height(entry, now)
        self._event("container-stopped", now, entry.name)
        wait = min(_BACKOFF_FIRST * 2 ** (entry.restarts - 1), _BACKOFF_MOST) if entry.restarts else 0.0
        entry.restarts += 1
        entry.state, entry.reason, entry.started, entry.ready = "waiting", "CrashLoopBackOff", False, False
        entry.due = now + max(wait * self.settings.time_scale, self.settings.start_seconds)
        entry.probes, entry.serving_at, entry.gate_at = [], math.inf, math.inf
        self.changed = True

    def _try_gate(self, entry: Container, now: float) -> None:
        text = script(entry)
        port, path = int(_GATE.search(text)[1]), _GATE_PATH.search(text)  # type: ignore[index]
        if path is None:
            passed = self._open(port, now, loopback=True)
        else:
            answer = self.answer(port, "GET", path[1], None, "", now, loopback=True)
            passed = answer is not None and answer.status == 200
        if not passed:
            entry.gate_at = now + self.settings.gate_seconds
            return
        entry.gate_at, entry.serving_at = math.inf, now + self.settings.boot_seconds
        if entry.name == SEID:
            self.volume.height_at = entry.serving_at
            self._event("seid-serving", entry.serving_at, SEID)

    def _keep_height(self, seid: Container, now: float) -> None:
        self.volume.height = self._height(now)
        self.volume.height_at = now
        seid.serving_at = math.inf

    def _height(self, now: float) -> int:
        return int(self.volume.height) if self.faults.halted else sidecar_model.height(self.volume, now)

    # Probes.

    def _probes(self, entry: Container, now: float) -> list[Probe]:
        names = ("startupProbe",) if not entry.started else ("livenessProbe", "readinessProbe")
        found = []
        for name in names:
            if name in entry.spec:
                spec = entry.spec[name]
                delay = spec.get("initialDelaySeconds", 0) * self.settings.time_scale
                found.append(Probe(name, spec, max(now, entry.started_at + delay)))
        return found

    def _probe(self, entry: Container, probe: Probe, now: float) -> None:
        probe.next_at = now + probe.spec.get("periodSeconds", 10) * self.settings.time_scale
        passed = self._ask(entry, probe, now)
        probe.failures = 0 if passed else probe.failures + 1
        failed = probe.failures >= probe.spec.get("failureThreshold", 3)
        if probe.name == "readinessProbe":
            ready = passed or (entry.ready and not failed)
            self.changed |= ready != entry.ready
            entry.ready = ready
        elif failed:
            self._restart(entry, now)
        elif probe.name == "startupProbe" and passed:
            entry.started = self.changed = True
            entry.ready = "readinessProbe" not in entry.spec
            entry.probes = self._probes(entry, now)

    def _ask(self, entry: Container, probe: Probe, now: float) -> bool:
        if "tcpSocket" in probe.spec:
            return self._open(port_number(entry, probe.spec["tcpSocket"]["port"]), now)
        http = probe.spec.get("httpGet")
        if http is None:
            return True
        port, path = port_number(entry, http["port"]), http.get("path", "/")
        answer = self.answer(port, "GET", path, None, "", now)
        status = answer.status if answer is not None else None
        if status != probe.answer:
            probe.answer = status
            self._asked(now, port, "GET", path, f"probe:{entry.name}:{probe.name}", "", status, None)
        return status is not None and 200 <= status < 400

    # Who listens.

    def answer(
        self,
        port: int,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        token: str,
        now: float,
        *,
        loopback: bool = False,
    ) -> Response | None:
        """Answer a request from the pod network or from the pod's own loopback; ``None``: nothing listens there."""
        return self._answer(port, method, path, body, token, "", now, loopback)[0]

    def request(
        self, port: int, method: str, path: str, body: Mapping[str, Any] | None, token: str, now: float, source: str
    ) -> Response | None:
        """Answer a request as ``answer`` does, and record it; ``forward`` comes by the loopback."""
        loopback = source == "forward"
        answer, user = self._answer(port, method, path, body, token, "", now, loopback)
        self._asked(now, port, method, path, source, user, answer.status if answer else None, body)
        return answer

    def _answer(
        self,
        port: int,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        token: str,
        user: str,
        now: float,
        loopback: bool,
    ) -> tuple[Response | None, str]:
        proxy = self.container(PROXY)
        if proxy is not None and proxy.running and port == listen_port(proxy):
            return self._through_proxy(proxy, method, path, body, token, now)
        sidecar = self.container(SIDECAR)
        if sidecar is not None and sidecar.running:
            split, own, public = self._sidecar_ports(sidecar)
            if (port == own and loopback) or (split and port == public):
                tasks, health = port == own, not split or port == public
                ready = sidecar.marked_ready and not self.faults.stays_unready
                response, ready = sidecar_model.serve(
                    method,
                    path,
                    body,
                    user,
                    tasks=tasks,
                    health=health,
                    ready=ready,
                    missing=self.faults.missing_routes,
                    volume=self.volume,
                    now=now,
                )
                sidecar.marked_ready = ready
                return response, user
        if self._open(port, now, loopback=loopback):
            return self._seid(port, path, now), user
        return None, user

    def _through_proxy(
        self, proxy: Container, method: str, path: str, body: Mapping[str, Any] | None, token: str, now: float
    ) -> tuple[Response | None, str]:
        """Answer as kube-rbac-proxy v0.19.1 does: ignored paths go through as they are, all others need the right."""
        user = ""
        if path.split("?", 1)[0] not in ignored(proxy):
            verdict = self._authorise(token, _VERBS.get(method, "get"), self.namespace, self.node) if token else None
            if verdict is None:
                return Response(401, "Unauthorized\n"), ""
            user, allowed = verdict
            if not allowed:
                verb = _VERBS.get(method, "get")
                return Response(
                    403, f"Forbidden (user={user}, verb={verb}, resource=seinodetasks, subresource=)\n"
                ), user
        upstream = flag(proxy, "--upstream=")
        port = int(upstream.rstrip("/").rpartition(":")[2]) if upstream else 0
        answer, _ = self._answer(port, method, path, body, "", user, now, True)
        return answer or Response(502, "Bad Gateway\n"), user

    def _seid(self, port: int, path: str, now: float) -> Response:
        seid = self.container(SEID)
        if port != 26657 or seid is None:
            return Response(200, "")
        height, lagging = self._height(now), now < seid.serving_at + self.faults.lag_seconds
        if path.startswith("/lag_status"):
            return Response(417 if lagging else 200, f'{{"current_height": "{height}", "lag": "{9999 * lagging}"}}')
        if path.startswith("/status"):
            info = f'{{"latest_block_height": "{height}", "catching_up": {str(lagging).lower()}}}'
            own = f'{{"address": "{chain.address(self.namespace, self.node)}"}}'
            return Response(200, f'{{"node_info": {{}}, "sync_info": {info}, "validator_info": {own}}}')
        if path.startswith("/commit"):
            asked = path.partition("height=")[2]
            return Response(200, chain.commit(int(asked or height), self._signatures(now)))
        return Response(404, "")

    def _signatures(self, now: float) -> Iterator[tuple[str, bool]]:
        """Say of each validator of this pod's chain whether it signs now."""
        for pod in self._pods():
            if chain.is_validator(pod._labels) and pod._labels["sei.io/chain"] == self._labels.get("sei.io/chain"):
                yield chain.address(pod.namespace, pod.node), pod._signs(now)

    def _signs(self, now: float) -> bool:
        seid = self.container(SEID)
        return seid is not None and seid.running and seid.serving_at <= now and self.faults.signs

    def _open(self, port: int, now: float, *, loopback: bool = False) -> bool:
        for entry in self.containers:
            if not entry.running or (entry.init and not entry.sidecar):
                continue
            if entry.name == SIDECAR:
                split, own, public = self._sidecar_ports(entry)
                if (port == own and loopback) or (split and port == public):
                    return True
            elif entry.name == PROXY:
                if port == listen_port(entry):
                    return True
            elif entry.serving_at <= now and any(item["containerPort"] == port for item in entry.spec.get("ports", ())):
                return True
        return False

    def _sidecar_ports(self, entry: Container) -> tuple[bool, int, int]:
        own = int(env(entry.spec, "SEI_SIDECAR_PORT") or 7777)
        public = int(env(entry.spec, "SEI_SIDECAR_PUBLIC_PORT") or 9100)
        return self.settings.splits(entry.spec["image"]), own, public

    def _event(self, event: str, now: float, container: str) -> None:
        self.log.add(time=now, namespace=self.namespace, pod=self.name, uid=self.uid, event=event, container=container)

    def _asked(
        self,
        now: float,
        port: int,
        method: str,
        path: str,
        source: str,
        user: str,
        status: int | None,
        body: Mapping[str, Any] | None,
    ) -> None:
        entry = {"time": now, "namespace": self.namespace, "pod": self.name, "uid": self.uid, "port": port}
        entry |= {"method": method, "path": path, "source": source, "user": user, "status": status}
        if method == "POST":
            entry["body"] = dict(body or {})
        self.log.add(**entry)
