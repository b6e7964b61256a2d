"""Sees the fleet: all nodes as the view shows them, and what canaries, validators and gates answer.

Questions are asked by the crew, so that nobody waits for a slow pod; the decision goes on with what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from typing import Protocol

from seimigrate.domain.fleet import signing
from seimigrate.domain.fleet.observation import FleetNode, FleetObservation
from seimigrate.domain.fleet.signing import SigningStatus
from seimigrate.domain.fleet.soak import HealthSample, SoakHistory
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node import observation, rollout
from seimigrate.domain.node.observation import PodQuery
from seimigrate.domain.node.record import Direction
from seimigrate.domain.plan import gates
from seimigrate.domain.plan.gates import AutomatedGate, GateResult, ManualGate, Verdict
from seimigrate.domain.plan.plan import Plan
from seimigrate.engine import pod_client
from seimigrate.engine.errors import Unreachable
from seimigrate.engine.node_worker import Ports

CheckResult = SigningStatus | HealthSample | GateResult


class GateQuerier(Protocol):
    """Asks gates."""

    def query(self, gate: AutomatedGate) -> GateResult:
        """Ask a gate once; no answer is inconclusive. May take some seconds."""


class FleetObserver:
    """Collects what is known beyond the view; losing it costs a question asked again, never a wrong step."""

    def __init__(self, ports: Ports, plan: Plan, executor: Executor, asks: GateQuerier | None) -> None:
        self._ports = ports
        self._plan = plan
        self._crew = executor
        self._gates = asks
        self._sights: dict[str, SigningStatus] = {}
        self._watches: dict[str, SoakHistory] = {}
        self._judgements: dict[str, GateResult] = {}
        self._asked: dict[str, Future[CheckResult]] = {}
        self._begun: dict[str, float] = {}
        self._again: dict[str, float] = {}

    def observe(self, in_progress: Mapping[str, Direction], idle_since: float) -> FleetObservation:
        """Give the world as it is known now."""
        cache = self._ports.cache
        nodes = (self._node(seinode) for seinode in cache.list(Kind.SEI_NODE))
        return FleetObservation(
            now=self._ports.clock.now(),
            nodes={node.key: node for node in nodes},
            in_progress=in_progress,
            signing=dict(self._sights),
            soak=dict(self._watches),
            gate_results=dict(self._judgements),
            pending_checks=frozenset({*self._asked, *self._again}),
            idle_since=idle_since,
        )

    def _node(self, seinode: Object) -> FleetNode:
        namespace, name = seinode["metadata"]["namespace"], seinode["metadata"]["name"]
        cache = self._ports.cache
        return FleetNode(
            key=f"{namespace}/{name}",
            mode=observation.mode_of(seinode),
            chain=seinode.get("spec", {}).get("chainId", ""),
            available=observation.is_ready(cache.get(Kind.POD, namespace, f"{name}-0")),
            held=observation.hold_of(cache.get(Kind.STATEFUL_SET, namespace, name)) is not None,
            network=observation.network_of(seinode),
        )

    def reset(self) -> None:
        """Forget what made the run pause, so that it is asked anew."""
        self._watches.clear()
        self._judgements.clear()
        self._begun.clear()

    def collect(self) -> bool:
        """Take in the answers that came; tell whether there were any."""
        came = [key for key, future in self._asked.items() if future.done()]
        for key in came:
            match self._asked.pop(key).result():
                case SigningStatus() as status:
                    self._sights[key] = status
                case HealthSample() as sample:
                    known = self._watches.get(key)
                    self._watches[key] = known.add(sample) if known is not None else SoakHistory.start(sample)
                case GateResult() as result:
                    self._gate_result(result)
        for name in [name for name, due in self._again.items() if self._ports.clock.now() >= due]:
            del self._again[name]
        return bool(came)

    def _gate_result(self, result: GateResult) -> None:
        gate = next(gate for gate in self._plan.gates if gate.name == result.gate)
        now = self._ports.clock.now()
        if isinstance(gate, ManualGate) or gates.is_final(gate, result, self._begun[gate.name], now):
            self._judgements[gate.name] = result
        else:
            self._again[gate.name] = now + gate.interval

    def check_signing(self, keys: Iterable[str]) -> None:
        """Ask validators about themselves and their chain."""
        for key in keys:
            self._start_check(key, lambda key=key: self._signing_status(key))  # type: ignore[misc]

    def check_health(self, keys: Iterable[str]) -> None:
        """See how canaries do."""
        for key in keys:
            self._start_check(key, lambda key=key: self._health_sample(key))  # type: ignore[misc]

    def query_gate(self, name: str) -> None:
        """Ask a gate, again and again until what it says counts."""
        gate = next(gate for gate in self._plan.gates if gate.name == name)
        self._begun.setdefault(name, self._ports.clock.now())
        asks = self._gates
        if isinstance(gate, ManualGate) or asks is None:
            self._judgements[name] = GateResult(name, Verdict.INCONCLUSIVE, "nobody here can ask it")
        else:
            self._start_check(name, lambda: asks.query(gate))

    def _start_check(self, key: str, question: Callable[[], CheckResult]) -> None:
        if key not in self._asked:
            self._asked[key] = self._crew.submit(question)
            self._asked[key].add_done_callback(lambda _: self._ports.cache.notify())

    def _signing_status(self, key: str) -> SigningStatus:
        now = self._ports.clock.now()
        try:
            status = self._rpc(key, "/status")
            _, height = signing.own_address_and_height(status)
            heights = range(height, max(0, height - signing.SAMPLED_COMMITS), -1)
            return signing.signing_status(now, status, [self._rpc(key, f"/commit?height={each}") for each in heights])
        except (Unreachable, ValueError) as error:
            return SigningStatus(now, problem=str(error))

    def _rpc(self, key: str, path: str) -> str:
        namespace, name = key.split("/", 1)
        answer = self._ports.pods.call(namespace, f"{name}-0", pod_client.SEID_RPC, "GET", path)
        if answer.status != 200:
            raise ValueError(f"{path.partition('?')[0]} answers {answer.status}")
        return answer.body

    def _health_sample(self, key: str) -> HealthSample:
        namespace, name = key.split("/", 1)
        ports, parameters = self._ports, self._plan.parameters
        pod = ports.cache.get(Kind.POD, namespace, f"{name}-0")
        health = pod_client.query(ports.pods, ports.clock, parameters, pod, PodQuery.HEALTH)
        height = pod_client.query(ports.pods, ports.clock, parameters, pod, PodQuery.HEIGHT)
        return HealthSample(
            time=ports.clock.now(),
            ready=observation.is_ready(pod),
            starts=rollout.restart_fingerprint(pod) if pod else "",
            health=health.status,
            reason=health.reason,
            height=observation.height(height),
        )
