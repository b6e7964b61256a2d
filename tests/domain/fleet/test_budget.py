"""The disruption budgets as properties of the decision: no sequence of events leads to an action that exceeds one.

The model has few details: started nodes take some time and succeed or fail, other nodes become unavailable and
available, operators pause, resume and skip. Each start is checked when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from seimigrate.domain.fleet import actions
from seimigrate.domain.fleet.campaign import Campaign, SigningBaseline
from seimigrate.domain.fleet.control import ControlCommand, ControlRequest, apply_request
from seimigrate.domain.fleet.observation import FleetNode, FleetObservation
from seimigrate.domain.fleet.reconcile import next_action
from seimigrate.domain.fleet.signing import SigningStatus
from seimigrate.domain.fleet.soak import HealthSample, SoakHistory
from seimigrate.domain.fleet.wave_planning import Candidate, plan_waves
from seimigrate.domain.node.record import Direction, Outcome, Record
from seimigrate.domain.plan.fleet import Canary, Fleet, MaxUnavailable, max_count
from seimigrate.domain.plan.gates import GateResult, HttpGate, Verdict
from seimigrate.domain.plan.plan import Failure, Mode, Plan, RollbackScope, Strategy
from seimigrate.planfile import load_plan
from seimigrate.resources import plans_dir

PLAN = load_plan((plans_dir() / "split-listeners.yaml").read_text(), "split-listeners.yaml")
GATE = HttpGate.model_validate({"gate": "http", "name": "smoke", "target": {"url": "http://127.0.0.1"}})


def record(key: str, outcome: Outcome, *, failure: str | None = None) -> Record:
    namespace, name = key.split("/")
    new_record = Record(namespace, name, "u", "s", "image", "run", "plan", Strategy.STAGED, 0.0)
    return replace(new_record, outcome=outcome, failure=failure, replaced_pods=("pod",))


@dataclass
class Model:
    """Nodes, and a campaign over some of them."""

    plan: Plan
    nodes: dict[str, FleetNode]
    campaign: Campaign
    now: float = 1000.0
    in_progress: dict[str, Direction] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    gate_results: dict[str, GateResult] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    finished: bool = False

    def observe(self) -> FleetObservation:
        signing = {
            key: SigningStatus(self.now, "", key, int(self.now * 2), key not in self.silent, 2, 3)
            for key, node in self.nodes.items()
            if node.mode is Mode.VALIDATOR and key not in self.in_progress
        }
        sample = HealthSample(self.now, True, "x", 200, height=int(self.now))
        soak = {key: SoakHistory.start(sample) for key in self.nodes}
        return FleetObservation(
            self.now,
            dict(self.nodes),
            dict(self.in_progress),
            signing,
            soak,
            dict(self.gate_results),
            idle_since=self.now,
        )

    def decide(self) -> None:
        """Decide until nothing more can be decided now."""
        for _ in range(200):
            fleet = self.observe()
            action = next_action(self.campaign, self.plan, fleet)
            match action:
                case actions.SaveCampaign(campaign=campaign):
                    self.campaign = campaign
                case actions.StartNodes(keys=keys):
                    self.start(keys, fleet)
                case actions.RollBackNode(key=key):
                    self.rollback(key)
                case actions.RollBackInFlight(keys=keys):
                    self.in_progress |= dict.fromkeys(keys, Direction.ROLLBACK)
                case actions.QueryGate() | actions.FleetWait() | actions.CheckCanaryHealth() | actions.CheckSigning():
                    return
                case actions.Done():
                    self.finished = True
                    return
        raise AssertionError(f"the decision does not come to rest: {action}")

    def start(self, keys: tuple[str, ...], fleet: FleetObservation) -> None:
        before = self.campaign
        assert not before.stopped
        assert not before.paused
        assert len(before.failed) <= self.plan.failure.max_failed_nodes
        for key in keys:
            node = self.nodes[key]
            if node.mode is Mode.VALIDATOR:
                self.check_validator(node)
                signs = fleet.signing[key].signs
                self.campaign = self.campaign.expect_signature(key, SigningBaseline(key if signs else "", self.now))
            self.in_progress[key] = Direction.FORWARD
            self.started.append(key)
        self.check_limits(keys)
        self.check_order(keys)

    def rollback(self, key: str) -> None:
        """A single rollback is always allowed; beside other nodes in progress it is within the budgets."""
        assert Direction.FORWARD not in self.in_progress.values()
        is_alone, node = not self.in_progress, self.nodes[key]
        self.in_progress[key] = Direction.ROLLBACK
        if is_alone:
            return
        self.check_limits((key,))
        if node.mode is Mode.VALIDATOR:
            assert not self.down(self.other_validators(node))

    def other_validators(self, node: FleetNode) -> list[str]:
        validators = (o.key for o in self.nodes.values() if o.mode is Mode.VALIDATOR and o.chain == node.chain)
        return [key for key in validators if key != node.key]

    def down(self, keys: Any) -> set[str]:
        return {key for key in keys if key in self.in_progress or not self.nodes[key].available}

    def check_limits(self, keys: tuple[str, ...]) -> None:
        """Check that starting an available node takes no group over its limit."""
        allowed = self.plan.fleet.max_unavailable
        for key in (key for key in keys if self.nodes[key].available):
            node = self.nodes[key]
            groups = [(list(self.campaign.keys), allowed.fleet)]
            if allowed.chain:
                groups.append(([k for k, n in self.nodes.items() if n.chain == node.chain], allowed.chain))
            if allowed.namespace:
                groups.append(([k for k, n in self.nodes.items() if n.namespace == node.namespace], allowed.namespace))
            for members, limit in groups:
                assert len(self.down(members)) <= max_count(limit, len(members)), (key, limit)

    def check_validator(self, node: FleetNode) -> None:
        others = self.other_validators(node)
        assert not self.down(others)
        assert not [key for key in others if key in self.campaign.awaiting_signature]

    def check_order(self, keys: tuple[str, ...]) -> None:
        """Check that no node starts before all nodes of earlier waves have finished."""
        waves = self.campaign.waves
        wave_index = {key: index for index, wave in enumerate(waves) for key in wave.nodes}
        for key in keys:
            earlier = [other for wave in waves[: wave_index[key]] for other in wave.nodes]
            assert all(other in self.campaign.finished and other not in self.in_progress for other in earlier)

    def finish(self, key: str, outcome: Outcome, *, failed: bool) -> None:
        direction = self.in_progress.pop(key)
        if direction is Direction.ROLLBACK:
            outcome, failed = Outcome.ROLLED_BACK, False
        finished_record = replace(record(key, outcome, failure="it failed" if failed else None), direction=direction)
        self.campaign = self.campaign.after(finished_record, self.now)


@st.composite
def models(draw: st.DrawFn) -> Model:
    count = draw(st.integers(1, 10))
    nodes = {}
    for index in range(count):
        key = f"{draw(st.sampled_from(['x', 'y']))}/n{index}"
        is_available = draw(st.integers(0, 5)) > 0
        nodes[key] = FleetNode(
            key, draw(st.sampled_from(list(Mode))), draw(st.sampled_from(["a", "b"])), is_available, held=True
        )
    amounts = st.sampled_from(["1", "2", "4", "30%", "100%"])
    fleet = Fleet(
        canary=Canary(soak=draw(st.sampled_from([0, 30]))),
        waves=tuple(draw(st.lists(amounts, min_size=1, max_size=3))),
        max_unavailable=MaxUnavailable(
            fleet=draw(amounts),
            chain=draw(st.none() | amounts),
            namespace=draw(st.none() | amounts),
        ),
    )
    failure = Failure(
        max_failed_nodes=draw(st.integers(0, 2)),
        on_exceeded=draw(st.sampled_from(["stop", "pause"])),
        rollback_scope=draw(st.sampled_from([RollbackScope.NONE, RollbackScope.WAVE, RollbackScope.ALL])),
    )
    gates = (GATE,) if draw(st.booleans()) else ()
    plan = PLAN.model_copy(update={"fleet": fleet, "failure": failure, "gates": gates})
    selected = [key for key in nodes if draw(st.integers(0, 5)) > 0]
    waves = plan_waves([Candidate(key, nodes[key].mode, nodes[key].chain) for key in selected], fleet)
    return Model(plan, nodes, Campaign(waves))


@settings(max_examples=settings().max_examples * 5)
@given(models(), st.data())
def test_no_sequence_of_events_exceeds_a_budget(model: Model, data: st.DataObject) -> None:
    events = ["wait", "finish", "finish", "finish", "fail", "down", "up", "pause", "resume", "skip", "retry", "gate"]
    for turn in range(60):
        model.decide()
        if model.finished:
            break
        event = data.draw(st.sampled_from(events))
        apply_event(model, event, data, turn)
    if model.finished and not model.campaign.stopped:
        assert set(model.campaign.finished) == set(model.campaign.keys)


def apply_event(model: Model, event: str, data: st.DataObject, turn: int) -> None:
    model.now += 40
    match event:
        case "finish" | "fail" if model.in_progress:
            key = data.draw(st.sampled_from(sorted(model.in_progress)))
            outcome = Outcome.ROLLED_BACK if event == "fail" else data.draw(st.sampled_from(OUTCOMES))
            model.finish(key, outcome, failed=event == "fail")
        case "down" | "up":
            key = data.draw(st.sampled_from(sorted(model.nodes)))
            model.nodes[key] = replace(model.nodes[key], available=event == "up")
            (model.silent.add if event == "down" else model.silent.discard)(key)
        case "gate":
            verdict = data.draw(st.sampled_from(list(Verdict)))
            model.gate_results = {"smoke": GateResult("smoke", verdict, "because")}
        case "pause" | "resume" | "skip" | "retry":
            node = data.draw(st.sampled_from(sorted(model.nodes)))
            request = ControlRequest(str(turn), ControlCommand(event), "ann", "run", node)
            model.campaign, _ = apply_request(model.campaign, request, model.in_progress, model.now)
            if event == "resume":
                model.gate_results = {}
        case _:
            pass


OUTCOMES = [Outcome.DONE, Outcome.DONE_HELD, Outcome.BLOCKED]


@given(models())
def test_every_node_finishes_without_disturbance(model: Model) -> None:
    model.nodes = {key: replace(node, available=True) for key, node in model.nodes.items()}
    model.gate_results = {"smoke": GateResult("smoke", Verdict.PASS, "ok")}
    for _ in range(300):
        model.decide()
        if model.finished:
            break
        model.now += 40
        for key in list(model.in_progress):
            model.finish(key, Outcome.DONE, failed=False)
    assert model.finished
    assert set(model.campaign.finished) == set(model.campaign.keys)
    assert sorted(model.started) == sorted(model.campaign.keys)


@given(models(), st.sampled_from([Verdict.FAIL, Verdict.INCONCLUSIVE]))
def test_no_node_starts_after_a_gate_that_did_not_pass(model: Model, verdict: Verdict) -> None:
    model.nodes = {key: replace(node, available=True) for key, node in model.nodes.items()}
    model.plan = model.plan.model_copy(update={"gates": (GATE,)})
    model.gate_results = {"smoke": GateResult("smoke", verdict, "because")}
    for _ in range(100):
        model.decide()
        if model.finished:
            break
        model.now += 40
        for key in list(model.in_progress):
            model.finish(key, Outcome.DONE, failed=False)
    first = model.campaign.waves[0].nodes if model.campaign.waves else ()
    assert set(model.started) <= set(first)
    if len(model.campaign.waves) > 1:
        assert "because" in (model.campaign.stopped if verdict is Verdict.FAIL else model.campaign.paused)
