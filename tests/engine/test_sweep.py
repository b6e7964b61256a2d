"""``hold`` and ``rollback`` accept control requests, and leave the campaign of a cutover as it is."""

from __future__ import annotations

from seimigrate.domain.fleet.actions import FleetAction
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.control import ControlCommand
from seimigrate.domain.fleet.observation import FleetObservation
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.engine import run_control
from seimigrate.engine.run_store import RunJournal
from tests.engine.fleet import Ships, fleet_plan
from tests.engine.test_fleet import FULL


def cut_over() -> Ships:
    """Return a fleet that was cut over, whose next run has not started yet."""
    ships = Ships(FULL, fleet_plan(soak=0, at_once="2"))
    assert set(ships.outcomes().values()) == {Outcome.DONE_HELD}
    ships.started.clear()
    return ships


def replies(ships: Ships) -> list[tuple[bool, str]]:
    config_maps = ships.world.cluster.objects[Kind.CONFIG_MAP]
    board = run_control._read(config_maps[SYSTEM_NAMESPACE, run_control.NAME])
    return [(reply.accepted, reply.message) for reply in board.replies]


def test_rollback_paused_starts_no_node_until_it_is_resumed() -> None:
    ships = cut_over()
    paused_at: list[float] = []

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(ships.started) == 2 and not paused_at:
            paused_at.append(fleet.now)
            ships.wish(ControlCommand.PAUSE)
        elif campaign.paused and not fleet.in_progress and fleet.now > paused_at[0] + 500:
            assert len(ships.started) == 2
            ships.wish(ControlCommand.RESUME)

    ships.on_step = operator
    assert set(ships.rollback().values()) == {Outcome.ROLLED_BACK}
    assert paused_at
    assert [accepted for accepted, _ in replies(ships)] == [True, True]


def test_rollback_aborted_finishes_nodes_in_progress_and_starts_no_other() -> None:
    ships = cut_over()

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(ships.started) == 2 and not campaign.stopped:
            ships.wish(ControlCommand.ABORT)

    ships.on_step = operator
    outcomes = ships.rollback()
    assert len(outcomes) == 2
    assert set(outcomes.values()) == {Outcome.ROLLED_BACK}
    shapes = [ships.shape(name) for name, _, _ in FULL]
    assert (shapes.count(Shape.SHARED), shapes.count(Shape.ENFORCED)) == (2, len(FULL) - 2)


def test_rollback_leaves_out_a_node_that_was_skipped() -> None:
    ships = cut_over()
    last = FULL[-1][0]

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(ships.started) == 1 and not campaign.finished:
            ships.wish(ControlCommand.SKIP, last)

    ships.on_step = operator
    run = ships.process()
    run.start()
    results = {result.name: result.outcome for result in run.rollback(ships.keys)}
    assert set(results) == {name for name, _, _ in FULL} - {last}
    assert run.skipped == {f"sei/{last}"}
    assert ships.shape(last) is Shape.ENFORCED


def test_rollback_refuses_requests_that_apply_to_a_cutover_only() -> None:
    ships = cut_over()
    asked: list[ControlCommand] = []

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(ships.started) == 1 and not asked:
            asked.extend((ControlCommand.PROMOTE, ControlCommand.RETRY, ControlCommand.ABORT))
            ships.wish(ControlCommand.PROMOTE)
            ships.wish(ControlCommand.RETRY, FULL[0][0])
            ships.wish(ControlCommand.ABORT, rollback=True)

    ships.on_step = operator
    assert set(ships.rollback().values()) == {Outcome.ROLLED_BACK}
    assert [accepted for accepted, _ in replies(ships)] == [False] * 3
    assert all("applies to a cutover only" in message for _, message in replies(ships))


def test_rollback_leaves_the_campaign_of_the_cutover_as_it_was() -> None:
    ships = cut_over()
    before = ships.campaign()
    ships.rollback()
    assert ships.campaign() == before
    record = RunJournal(ships.world.cluster).load()
    assert record is not None
    assert record.sweep is not None
    assert record.current is record.sweep
    assert dict.fromkeys(record.sweep.finished.values()) == {"rolled-back": None}


def test_rollback_killed_anywhere_leaves_the_campaign_of_the_cutover_as_it_was() -> None:
    ships = cut_over()
    before = ships.campaign()
    deaths = 0
    for writes in range(1, 40, 3):
        ships.die_after(writes)
        try:
            ships.rollback()
        except BaseException as error:
            if type(error).__name__ != "Interrupted":
                raise
            deaths += 1
        assert ships.campaign() == before
    ships.die_after(-1)
    assert set(ships.rollback().values()) <= {Outcome.ROLLED_BACK, None}
    assert ships.campaign() == before
    assert deaths > 5


def test_hold_can_be_paused_and_aborted() -> None:
    ships = Ships(FULL * 1, fleet_plan(soak=0))
    asked: list[str] = []

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if not asked:
            asked.append("pause")
            ships.wish(ControlCommand.PAUSE)
        elif campaign.paused and len(asked) == 1:
            asked.append("abort")
            ships.wish(ControlCommand.ABORT)

    ships.on_step = operator
    run = ships.process()
    run.start()
    run.hold(ships.keys)
    assert [accepted for accepted, _ in replies(ships)] == [True, True]
    record = RunJournal(ships.world.cluster).load()
    assert record is not None
    assert record.campaign is None
    assert record.sweep is not None
    assert record.sweep.stopped == "aborted by ann"
