"""A run that slept through the loss of its lock: whatever it still tries, it changes nothing any more."""

from __future__ import annotations

from typing import Any

import pytest

from seimigrate.domain.kube.kinds import HOLD_LABEL, Kind, Object
from seimigrate.domain.node.actions import Action, QueryPod, Stop, Wait
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.plan.plan import Release, Strategy
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.run import Run
from seimigrate.simulation.cluster import Request
from tests.engine.harness import KEY, Scene, make_plan

# Each variant sleeps before every third act; together they meet every kind of act.
QUICK = make_plan(release=Release(agreement_timeout=0))


class Slept:
    """A lock whose holder does not notice that it was taken over (``engine.ports.Lock``)."""

    def __init__(self, token: str) -> None:
        self.token = token

    def check(self) -> float:
        return 60.0


class OldView:
    """A view that shows what was there before the process slept (``engine.ports.View``)."""

    def __init__(self, scene: Scene) -> None:
        self._view = scene.world.cache
        self._old: dict[Kind, dict[tuple[str, str], Object]] | None = None
        self._scene = scene

    def fall_asleep(self) -> None:
        self._old = {kind: dict(objects) for kind, objects in self._scene.world.cluster.objects.items()}

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._view.get(kind, namespace, name) if self._old is None else self._old[kind].get((namespace, name))

    def list(self, kind: Kind, namespace: str = "") -> Any:
        if self._old is None:
            return self._view.list(kind, namespace)
        return [body for (where, _), body in self._old[kind].items() if namespace in ("", where)]

    def observe(self, kind: Kind, body: Object) -> None:
        if self._old is not None:
            self._old[kind][body["metadata"].get("namespace", ""), body["metadata"]["name"]] = body

    def wait_for_change(self, seconds: float) -> None:
        self._view.wait_for_change(seconds)

    def notify(self) -> None:
        """Do nothing: nobody waits."""


def _sleep_at(number: int, *, back: bool, finish: bool) -> tuple[Scene, bool, list[Request]]:
    """Let a run sleep right before its ``number``-th act, while another takes over; give what it did afterwards."""
    scene = Scene(strategy=Strategy.MERGED, plan=QUICK)
    if back:
        scene.apply()
    acts = 0
    asleep: list[int] = []
    cache = OldView(scene)
    lock = Slept(scene.world.lock.take_over().token)

    def until(record: Record, action: Action) -> bool:
        nonlocal acts
        acts += not isinstance(action, (Wait, QueryPod, Stop))
        if acts == number and not asleep:
            cache.fall_asleep()
            other = scene.process()
            other.start()
            if finish:
                _go(other, back=back)
            asleep.append(len(scene.requests))
            scene.watchdog.strict = False
        return False

    run = scene.process(lock=lock, cache=cache, until=until)
    run.start()
    try:
        _go(run, back=back)
    except SeimigrateError:
        pass
    else:
        assert not asleep
    scene.watchdog.strict = True
    after = scene.requests[asleep[0] :] if asleep else []
    user = scene.world.cluster.user
    writes = ("create", "update", "patch", "delete", "evict")
    return scene, bool(asleep), [r for r in after if r.user == user and r.verb in writes and not r.dry_run]


def _go(run: Run, *, back: bool) -> None:
    if back:
        run.rollback([KEY])
    else:
        run.apply([KEY])


@pytest.mark.parametrize("finish", [False, True], ids=["taken over", "taken over and finished"])
@pytest.mark.parametrize("back", [False, True], ids=["forward", "rollback"])
def test_a_run_that_slept_changes_nothing_once_it_was_taken_over(back: bool, finish: bool) -> None:
    number, refused = -2 * finish, 0
    while True:
        number += 3
        scene, slept, late = _sleep_at(number, back=back, finish=finish)
        if not slept:
            break
        assert not [(r.verb, r.kind.name, r.name) for r in late if r.outcome == "ok"], number
        refused += len(late)
        outcome = _end(scene, back=back)
        assert outcome in (Outcome.DONE_HELD, Outcome.ROLLED_BACK_HELD, Outcome.ROLLED_BACK)
    assert number > 15
    assert refused > 3


def _end(scene: Scene, *, back: bool) -> Outcome | None:
    result = scene.rollback() if back else scene.apply()
    return scene.record.outcome if result.unchanged else result.outcome


def test_a_takeover_relabels_before_it_does_anything_else() -> None:
    scene = Scene(plan=QUICK)
    scene.interrupt(lambda record, _: len(record.replaced_pods) == 1)
    old = scene.statefulset["metadata"]["labels"][HOLD_LABEL]
    first = len(scene.ours())
    scene.process().start()
    new = scene.statefulset["metadata"]["labels"][HOLD_LABEL]
    assert new != old
    assert scene.service["metadata"]["labels"][HOLD_LABEL] == new
    kinds = [request.kind for request in scene.ours()[first:]]
    assert kinds[0] is kinds[1] is Kind.CONFIG_MAP
    assert scene.record.run == new
