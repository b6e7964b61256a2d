"""Arbitrary sequences of cutovers and rollbacks that die anywhere, controller upgrades, faults and external changes.

The invariant monitor checks every request. At the end the faults are removed, and one rollback makes the pod ready in
the old shape, whatever the state before.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node.actions import Action
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import StageName, Strategy
from seimigrate.engine.errors import SeimigrateError
from seimigrate.simulation.render import Generation
from seimigrate.simulation.world import SEID_IMAGE, SPLIT_IMAGE
from tests.engine.harness import KEY, NAME, NAMESPACE, Harness
from tests.engine.invariant_monitor import Interrupted

MAX_ACTIONS = 4000
"""Actions after which a run counts as endless; the longest take some hundred."""


class NodeStateMachine(RuleBasedStateMachine):
    """One node, with all operations, faults and external changes as rules."""

    @initialize(mode=st.sampled_from(["fullNode", "seed"]), strategy=st.sampled_from(Strategy))
    def start(self, mode: str, strategy: Strategy) -> None:
        self.harness = Harness(mode, strategy)
        self.edited = False

    def _run(self, command: Any, actions: int = MAX_ACTIONS, **kwargs: Any) -> None:
        """Run a command until it finishes or for some actions; an error with a hint also ends it."""
        done = 0

        def until(record: Record, action: Action) -> bool:
            nonlocal done
            done += 1
            assert done < MAX_ACTIONS, "the run does not finish"
            return done > actions

        try:
            command(until=until, **kwargs)
        except Interrupted:
            pass
        except SeimigrateError as error:
            assert error.hint or self.edited, error

    # Runs.

    @rule(actions=st.integers(1, 70), strategy=st.sampled_from(Strategy))
    def apply_and_stop(self, actions: int, strategy: Strategy) -> None:
        self._run(self.harness.apply, actions, strategy=strategy)

    @rule()
    def apply(self) -> None:
        self._run(self.harness.apply)

    @rule(write=st.integers(1, 40), after=st.booleans())
    def apply_and_die(self, write: int, after: bool) -> None:
        self.harness.crash(write, after=after, run=lambda: self._run(self.harness.apply))

    @rule(actions=st.integers(1, 50), stage=st.sampled_from([None, None, *StageName]))
    def rollback_and_stop(self, actions: int, stage: StageName | None) -> None:
        self._run(self.harness.rollback, actions, rollback_to=stage)

    @rule(write=st.integers(1, 30), after=st.booleans())
    def rollback_and_die(self, write: int, after: bool) -> None:
        self.harness.crash(write, after=after, run=lambda: self._run(self.harness.rollback))

    @rule()
    def hold(self) -> None:
        self._run(self.harness.hold)

    # External changes.

    @rule(generation=st.sampled_from(Generation))
    def swap_controller(self, generation: Generation) -> None:
        if self.harness.held:
            self.harness.world.replace_controller(generation)

    @precondition(lambda self: self.harness.world.pod(*KEY) is not None)
    @rule()
    def drain(self) -> None:
        self.harness.delete_pod()

    @precondition(lambda self: not self.edited)
    @rule()
    def add_an_argument(self) -> None:
        self.edited = True
        path = "/spec/template/spec/initContainers/2/args/-"
        self.harness.edit(Kind.STATEFUL_SET, {"op": "add", "path": path, "value": "--v=9"})

    @precondition(lambda self: not self.edited and self.harness.shape is not Shape.SHARED)
    @rule(ours=st.sampled_from(["ports", "env"]))
    def edit_a_field_of_ours(self, ours: str) -> None:
        self.edited = True
        sidecar = self.harness.template["initContainers"][1]
        path = f"/spec/template/spec/initContainers/1/{ours}/{len(sidecar[ours]) - 1}"
        self.harness.edit(Kind.STATEFUL_SET, {"op": "replace", "path": f"{path}/name", "value": "other"})

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.harness.world.edit_seinode(NAMESPACE, NAME, {"paused": paused or None})

    @rule(image=st.sampled_from([SEID_IMAGE, "ghcr.io/sei-protocol/sei:v9"]))
    def upgrade(self, image: str) -> None:
        self.harness.world.edit_seinode(NAMESPACE, NAME, {"image": image})

    # Faults.

    @rule(fault=st.sampled_from(["sidecar_crashes", "stays_unready", "unreachable"]), on=st.booleans())
    def switch(self, fault: str, on: bool) -> None:
        setattr(self.harness.world.faults(*KEY), fault, on)

    @rule(routes=st.sampled_from([(), ("/v0/metrics",), ("/v0/healthz",), ("/v0/tasks",)]))
    def lose_routes(self, routes: tuple[str, ...]) -> None:
        self.harness.world.faults(*KEY).missing_routes = frozenset(routes)

    @rule(broken=st.booleans())
    def break_image(self, broken: bool) -> None:
        images = self.harness.world.settings.broken_images
        images.add(SPLIT_IMAGE) if broken else images.discard(SPLIT_IMAGE)

    @rule(allowed=st.integers(0, 1))
    def allow_evictions(self, allowed: int) -> None:
        self.harness.put_disruption_budget(allowed)

    @rule(seconds=st.sampled_from([1, 40, 400]))
    def time_passes(self, seconds: int) -> None:
        self.harness.world.run(seconds)

    # Final state.

    def teardown(self) -> None:
        if not hasattr(self, "harness"):
            return
        harness = self.harness
        self.pause(False)
        for fault in ("sidecar_crashes", "stays_unready", "unreachable"):
            self.switch(fault, False)
        self.lose_routes(())
        self.break_image(False)
        self.allow_evictions(1)
        harness.world.replace_controller("old")
        harness.world.run(400)
        result = harness.rollback(overwrite=True)
        harness.world.run(400)
        if self.edited and result.outcome is Outcome.FAILED and harness.statefulset["spec"]["replicas"] == 0:
            assert harness.shape is Shape.SHARED
            return  # paused, and edited externally so that the controller disagrees: only an operator can scale it up
        rolled_back = result.outcome in (Outcome.ROLLED_BACK, Outcome.ROLLED_BACK_HELD)
        assert result.unchanged or rolled_back, (result.outcome, result.record and result.record.reason)
        assert harness.shape is harness.pod_shape is Shape.SHARED
        assert harness.pod_ready
        if result.outcome is Outcome.ROLLED_BACK:
            harness.assert_clean()


TestNodeStateMachine = NodeStateMachine.TestCase
TestNodeStateMachine.settings = settings(max_examples=max(12, settings().max_examples // 6), stateful_step_count=12)
