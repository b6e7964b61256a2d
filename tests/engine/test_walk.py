"""Anything in any order: runs there and back that die anywhere, controllers that change, faults, people who interfere.

The watchdog judges every request of the walk. At the end the faults are mended, and one rollback brings the node to a
pod that is ready in the old shape, wherever the walk has left it.
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
from tests.engine.harness import KEY, NAME, NAMESPACE, Scene
from tests.engine.watchdog import Interrupted

ENDLESS = 4000
"""Actions after which a run is taken to have no end; the longest take some hundred."""


class Walk(RuleBasedStateMachine):
    """One node, and everything that can happen to it."""

    @initialize(mode=st.sampled_from(["fullNode", "seed"]), strategy=st.sampled_from(Strategy))
    def begin(self, mode: str, strategy: Strategy) -> None:
        self.scene = Scene(mode, strategy)
        self.edited = False

    def _run(self, command: Any, actions: int = ENDLESS, **kwargs: Any) -> None:
        """Run a command until its end or for some actions; a clear error is an end, too."""
        done = 0

        def until(record: Record, action: Action) -> bool:
            nonlocal done
            done += 1
            assert done < ENDLESS, "the run has no end"
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
        self._run(self.scene.apply, actions, strategy=strategy)

    @rule()
    def apply(self) -> None:
        self._run(self.scene.apply)

    @rule(write=st.integers(1, 40), after=st.booleans())
    def apply_and_die(self, write: int, after: bool) -> None:
        self.scene.crash(write, after=after, run=lambda: self._run(self.scene.apply))

    @rule(actions=st.integers(1, 50), to=st.sampled_from([None, None, *StageName]))
    def back_and_stop(self, actions: int, to: StageName | None) -> None:
        self._run(self.scene.rollback, actions, to=to)

    @rule(write=st.integers(1, 30), after=st.booleans())
    def back_and_die(self, write: int, after: bool) -> None:
        self.scene.crash(write, after=after, run=lambda: self._run(self.scene.rollback))

    @rule()
    def hold(self) -> None:
        self._run(self.scene.hold)

    # Others.

    @rule(generation=st.sampled_from(Generation))
    def swap_controller(self, generation: Generation) -> None:
        if self.scene.held:
            self.scene.world.replace_controller(generation)

    @precondition(lambda self: self.scene.world.pod(*KEY) is not None)
    @rule()
    def drain(self) -> None:
        self.scene.delete_pod()

    @precondition(lambda self: not self.edited)
    @rule()
    def add_an_argument(self) -> None:
        self.edited = True
        path = "/spec/template/spec/initContainers/2/args/-"
        self.scene.edit(Kind.STATEFUL_SET, {"op": "add", "path": path, "value": "--v=9"})

    @precondition(lambda self: not self.edited and self.scene.shape is not Shape.SHARED)
    @rule(ours=st.sampled_from(["ports", "env"]))
    def edit_a_field_of_ours(self, ours: str) -> None:
        self.edited = True
        sidecar = self.scene.template["initContainers"][1]
        where = f"/spec/template/spec/initContainers/1/{ours}/{len(sidecar[ours]) - 1}"
        self.scene.edit(Kind.STATEFUL_SET, {"op": "replace", "path": f"{where}/name", "value": "other"})

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.scene.world.edit_seinode(NAMESPACE, NAME, {"paused": paused or None})

    @rule(image=st.sampled_from([SEID_IMAGE, "ghcr.io/sei-protocol/sei:v9"]))
    def upgrade(self, image: str) -> None:
        self.scene.world.edit_seinode(NAMESPACE, NAME, {"image": image})

    # Faults.

    @rule(fault=st.sampled_from(["sidecar_crashes", "stays_unready", "unreachable"]), on=st.booleans())
    def switch(self, fault: str, on: bool) -> None:
        setattr(self.scene.world.faults(*KEY), fault, on)

    @rule(routes=st.sampled_from([(), ("/v0/metrics",), ("/v0/healthz",), ("/v0/tasks",)]))
    def lose_routes(self, routes: tuple[str, ...]) -> None:
        self.scene.world.faults(*KEY).missing_routes = frozenset(routes)

    @rule(broken=st.booleans())
    def break_image(self, broken: bool) -> None:
        images = self.scene.world.settings.broken_images
        images.add(SPLIT_IMAGE) if broken else images.discard(SPLIT_IMAGE)

    @rule(allowed=st.integers(0, 1))
    def allow_evictions(self, allowed: int) -> None:
        self.scene.budget(allowed)

    @rule(seconds=st.sampled_from([1, 40, 400]))
    def time_passes(self, seconds: int) -> None:
        self.scene.world.run(seconds)

    # The end.

    def teardown(self) -> None:
        if not hasattr(self, "scene"):
            return
        scene = self.scene
        self.pause(False)
        for fault in ("sidecar_crashes", "stays_unready", "unreachable"):
            self.switch(fault, False)
        self.lose_routes(())
        self.break_image(False)
        self.allow_evictions(1)
        scene.world.replace_controller("old")
        scene.world.run(400)
        result = scene.rollback(force=True)
        scene.world.run(400)
        if self.edited and result.outcome is Outcome.FAILED and scene.statefulset["spec"]["replicas"] == 0:
            assert scene.shape is Shape.SHARED
            return  # a pause, and somebody's edit with which the controller disagrees: only a person scales it up again
        back = result.outcome in (Outcome.ROLLED_BACK, Outcome.ROLLED_BACK_HELD)
        assert result.unchanged or back, (result.outcome, result.record and result.record.reason)
        assert scene.shape is scene.pod_shape is Shape.SHARED
        assert scene.pod_ready
        if result.outcome is Outcome.ROLLED_BACK:
            scene.assert_clean()


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=max(12, settings().max_examples // 6), stateful_step_count=12)
