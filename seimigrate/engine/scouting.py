"""Sees the fleet: all nodes as the view shows them, and what canaries, validators and gates answer.

Questions are asked by the crew, so that nobody waits for a slow pod; the decision goes on with what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from typing import Protocol

from seimigrate.domain import gates, rollout, seen
from seimigrate.domain.fleet import signing
from seimigrate.domain.fleet.health import Vitals, Watch
from seimigrate.domain.fleet.picture import Node, Picture
from seimigrate.domain.fleet.signing import Sight
from seimigrate.domain.gates import CalledGate, Judgement, PersonGate, Verdict
from seimigrate.domain.kinds import Kind, Object
from seimigrate.domain.plan import Plan
from seimigrate.domain.record import Direction
from seimigrate.domain.seen import Question
from seimigrate.engine import asking
from seimigrate.engine.errors import Unreachable
from seimigrate.engine.runner import Ports

Seen = Sight | Vitals | Judgement


class Gates(Protocol):
    """Asks gates."""

    def ask(self, gate: CalledGate) -> Judgement:
        """Ask a gate once; no answer is inconclusive. May take some seconds."""


class Scouts:
    """Collects what is known beyond the view; losing it costs a question asked again, never a wrong step."""

    def __init__(self, ports: Ports, plan: Plan, crew: Executor, asks: Gates | None) -> None:
        self._ports = ports
        self._plan = plan
        self._crew = crew
        self._gates = asks
        self._sights: dict[str, Sight] = {}
        self._watches: dict[str, Watch] = {}
        self._judgements: dict[str, Judgement] = {}
        self._asked: dict[str, Future[Seen]] = {}
        self._begun: dict[str, float] = {}
        self._again: dict[str, float] = {}

    def picture(self, moving: Mapping[str, Direction], idle: float) -> Picture:
        """Give the world as it is known now."""
        view = self._ports.view
        nodes = (self._node(seinode) for seinode in view.list(Kind.SEI_NODE))
        return Picture(
            now=self._ports.clock.now(),
            nodes={node.key: node for node in nodes},
            moving=moving,
            sights=dict(self._sights),
            watches=dict(self._watches),
            judgements=dict(self._judgements),
            asking=frozenset({*self._asked, *self._again}),
            idle=idle,
        )

    def _node(self, seinode: Object) -> Node:
        namespace, name = seinode["metadata"]["namespace"], seinode["metadata"]["name"]
        view = self._ports.view
        return Node(
            key=f"{namespace}/{name}",
            mode=seen.mode_of(seinode),
            chain=seinode.get("spec", {}).get("chainId", ""),
            available=seen.pod_ready(view.get(Kind.POD, namespace, f"{name}-0")),
            held=seen.hold_of(view.get(Kind.STATEFUL_SET, namespace, name)) is not None,
            network=seen.network_of(seinode),
        )

    def forget(self) -> None:
        """Forget what made the run pause, so that it is asked anew."""
        self._watches.clear()
        self._judgements.clear()
        self._begun.clear()

    def collect(self) -> bool:
        """Take in the answers that came; tell whether there were any."""
        came = [key for key, future in self._asked.items() if future.done()]
        for key in came:
            match self._asked.pop(key).result():
                case Sight() as sight:
                    self._sights[key] = sight
                case Vitals() as vitals:
                    known = self._watches.get(key)
                    self._watches[key] = known.seeing(vitals) if known is not None else Watch.begin(vitals)
                case Judgement() as judgement:
                    self._judged(judgement)
        for name in [name for name, due in self._again.items() if self._ports.clock.now() >= due]:
            del self._again[name]
        return bool(came)

    def _judged(self, judgement: Judgement) -> None:
        gate = next(gate for gate in self._plan.gates if gate.name == judgement.gate)
        now = self._ports.clock.now()
        if isinstance(gate, PersonGate) or gates.settled(gate, judgement, self._begun[gate.name], now):
            self._judgements[gate.name] = judgement
        else:
            self._again[gate.name] = now + gate.every

    def sight(self, keys: Iterable[str]) -> None:
        """Ask validators about themselves and their chain."""
        for key in keys:
            self._ask(key, lambda key=key: self._sight(key))  # type: ignore[misc]

    def look(self, keys: Iterable[str]) -> None:
        """See how canaries do."""
        for key in keys:
            self._ask(key, lambda key=key: self._vitals(key))  # type: ignore[misc]

    def judge(self, name: str) -> None:
        """Ask a gate, again and again until what it says counts."""
        gate = next(gate for gate in self._plan.gates if gate.name == name)
        self._begun.setdefault(name, self._ports.clock.now())
        asks = self._gates
        if isinstance(gate, PersonGate) or asks is None:
            self._judgements[name] = Judgement(name, Verdict.INCONCLUSIVE, "nobody here can ask it")
        else:
            self._ask(name, lambda: asks.ask(gate))

    def _ask(self, key: str, question: Callable[[], Seen]) -> None:
        if key not in self._asked:
            self._asked[key] = self._crew.submit(question)
            self._asked[key].add_done_callback(lambda _: self._ports.view.wake())

    def _sight(self, key: str) -> Sight:
        now = self._ports.clock.now()
        try:
            status = self._rpc(key, "/status")
            _, height = signing.itself(status)
            heights = range(height, max(0, height - signing.COMMITS), -1)
            return signing.sight(now, status, [self._rpc(key, f"/commit?height={each}") for each in heights])
        except (Unreachable, ValueError) as error:
            return Sight(now, problem=str(error))

    def _rpc(self, key: str, path: str) -> str:
        namespace, name = key.split("/", 1)
        answer = self._ports.pods.call(namespace, f"{name}-0", asking.SEID_RPC, "GET", path)
        if answer.status != 200:
            raise ValueError(f"{path.partition('?')[0]} answers {answer.status}")
        return answer.body

    def _vitals(self, key: str) -> Vitals:
        namespace, name = key.split("/", 1)
        ports, parameters = self._ports, self._plan.parameters
        pod = ports.view.get(Kind.POD, namespace, f"{name}-0")
        health = asking.answer(ports.pods, ports.clock, parameters, pod, Question.HEALTH)
        height = asking.answer(ports.pods, ports.clock, parameters, pod, Question.HEIGHT)
        return Vitals(
            at=ports.clock.now(),
            ready=seen.pod_ready(pod),
            starts=rollout.starts(pod) if pod else "",
            health=health.status,
            reason=health.reason,
            height=seen.height(height),
        )
