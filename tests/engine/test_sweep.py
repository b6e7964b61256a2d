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
from tests.engine.fleet import FleetHarness, fleet_plan
from tests.engine.test_fleet import FULL


def cut_over() -> FleetHarness:
    """Return a fleet that was cut over, whose next run has not started yet."""
    harness = FleetHarness(FULL, fleet_plan(soak=0, max_unavailable="2"))
    assert set(harness.outcomes().values()) == {Outcome.DONE_HELD}
    harness.started.clear()
    return harness


def replies(harness: FleetHarness) -> list[tuple[bool, str]]:
    config_maps = harness.world.cluster.objects[Kind.CONFIG_MAP]
    mailbox = run_control._read(config_maps[SYSTEM_NAMESPACE, run_control.NAME])
    return [(reply.accepted, reply.message) for reply in mailbox.replies]


def test_rollback_paused_starts_no_node_until_it_is_resumed() -> None:
    harness = cut_over()
    paused_at: list[float] = []

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(harness.started) == 2 and not paused_at:
            paused_at.append(fleet.now)
            harness.send(ControlCommand.PAUSE)
        elif campaign.paused and not fleet.in_progress and fleet.now > paused_at[0] + 500:
            assert len(harness.started) == 2
            harness.send(ControlCommand.RESUME)

    harness.on_action = operator
    assert set(harness.rollback().values()) == {Outcome.ROLLED_BACK}
    assert paused_at
    assert [accepted for accepted, _ in replies(harness)] == [True, True]


def test_rollback_aborted_finishes_nodes_in_progress_and_starts_no_other() -> None:
    harness = cut_over()

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(harness.started) == 2 and not campaign.stopped:
            harness.send(ControlCommand.ABORT)

    harness.on_action = operator
    outcomes = harness.rollback()
    assert len(outcomes) == 2
    assert set(outcomes.values()) == {Outcome.ROLLED_BACK}
    shapes = [harness.shape(name) for name, _, _ in FULL]
    assert (shapes.count(Shape.SHARED), shapes.count(Shape.ENFORCED)) == (2, len(FULL) - 2)


def test_rollback_excludes_a_skipped_node() -> None:
    harness = cut_over()
    last = FULL[-1][0]

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(harness.started) == 1 and not campaign.finished:
            harness.send(ControlCommand.SKIP, last)

    harness.on_action = operator
    run = harness.new_run()
    run.start()
    results = {result.name: result.outcome for result in run.rollback(harness.keys)}
    assert set(results) == {name for name, _, _ in FULL} - {last}
    assert run.skipped == {f"sei/{last}"}
    assert harness.shape(last) is Shape.ENFORCED


def test_rollback_refuses_requests_that_apply_to_a_cutover_only() -> None:
    harness = cut_over()
    requested: list[ControlCommand] = []

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if len(harness.started) == 1 and not requested:
            requested.extend((ControlCommand.PROMOTE, ControlCommand.RETRY, ControlCommand.ABORT))
            harness.send(ControlCommand.PROMOTE)
            harness.send(ControlCommand.RETRY, FULL[0][0])
            harness.send(ControlCommand.ABORT, rollback=True)

    harness.on_action = operator
    assert set(harness.rollback().values()) == {Outcome.ROLLED_BACK}
    assert [accepted for accepted, _ in replies(harness)] == [False] * 3
    assert all("applies to a cutover only" in message for _, message in replies(harness))


def test_rollback_leaves_the_campaign_of_the_cutover_unchanged() -> None:
    harness = cut_over()
    before = harness.campaign()
    harness.rollback()
    assert harness.campaign() == before
    record = RunJournal(harness.world.cluster).load()
    assert record is not None
    assert record.sweep is not None
    assert record.current is record.sweep
    assert dict.fromkeys(record.sweep.finished.values()) == {"rolled-back": None}


def test_rollback_killed_anywhere_leaves_the_cutover_campaign_unchanged() -> None:
    harness = cut_over()
    before = harness.campaign()
    deaths = 0
    for writes in range(1, 40, 3):
        harness.crash_after(writes)
        try:
            harness.rollback()
        except BaseException as error:
            if type(error).__name__ != "Interrupted":
                raise
            deaths += 1
        assert harness.campaign() == before
    harness.crash_after(-1)
    assert set(harness.rollback().values()) <= {Outcome.ROLLED_BACK, None}
    assert harness.campaign() == before
    assert deaths > 5


def test_hold_can_be_paused_and_aborted() -> None:
    harness = FleetHarness(FULL * 1, fleet_plan(soak=0))
    requested: list[str] = []

    def operator(campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if not requested:
            requested.append("pause")
            harness.send(ControlCommand.PAUSE)
        elif campaign.paused and len(requested) == 1:
            requested.append("abort")
            harness.send(ControlCommand.ABORT)

    harness.on_action = operator
    run = harness.new_run()
    run.start()
    run.hold(harness.keys)
    assert [accepted for accepted, _ in replies(harness)] == [True, True]
    record = RunJournal(harness.world.cluster).load()
    assert record is not None
    assert record.campaign is None
    assert record.sweep is not None
    assert record.sweep.stopped == "aborted by ann"
