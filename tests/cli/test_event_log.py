"""Log lines of a run: one per event, and never with field values."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr
from dataclasses import replace
from typing import Any

import structlog

from seimigrate.domain.kube.changes import Change
from seimigrate.domain.node.actions import ExecuteIntent, SaveRecord, Wait
from seimigrate.domain.node.record import Direction, Intent, IntentKind, Outcome, Record
from seimigrate.domain.plan.plan import StageName, Strategy
from seimigrate.engine.event_dispatcher import EventDispatcher
from seimigrate.render import logs
from seimigrate.render.event_log import LogListener
from seimigrate.simulation.world import VirtualClock, World
from tests.cli.world import GO, SEI, WorldSession, say

RECORD = Record("sei", "full-0", "u", "s", "image", "run-1", "plan", Strategy.STAGED, 0.0)


class TestLines:
    def told(self, *steps: tuple[Record, Any], verbose: bool = False) -> list[dict[str, Any]]:
        stream = io.StringIO()
        with redirect_stderr(stream):
            logs.configure(as_json=True, verbose=verbose, colour=False)
            tell = EventDispatcher(VirtualClock(), LogListener(structlog.get_logger()))
            for record, action in steps:
                tell(record, action)
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    def test_a_reason_to_wait_is_told_once_a_stage(self) -> None:
        ready = replace(RECORD, stage=StageName.READY)
        waits = [(RECORD, Wait("a", 1)), (RECORD, Wait("b", 1)), (RECORD, Wait("a", 2)), (ready, Wait("a", 1))]
        assert [(line["stage"], line["event"]) for line in self.told(*waits)] == [
            ("hold", "stage started"),
            ("hold", "waits: a"),
            ("hold", "waits: b"),
            ("ready", "stage started"),
            ("ready", "waits: a"),
        ]

    def test_a_way_back_begins_with_the_reason(self) -> None:
        back = RECORD.rolling_back("it broke", 1.0)
        told = self.told((RECORD, SaveRecord(back)), (back, SaveRecord(back.finished(Outcome.ROLLED_BACK, "why"))))
        assert [(line["level"], line["event"]) for line in told] == [
            ("info", "stage started"),
            ("warning", "failed: it broke"),
            ("info", "rollback started"),
            ("info", "rolled-back: why"),
        ]
        assert told[-1]["direction"] == Direction.ROLLBACK

    def test_writes_are_told_in_debug_alone_and_never_with_values(self) -> None:
        change = Change("expose", "StatefulSet", "spec.x", None, "V4LUE")
        step = (RECORD, ExecuteIntent(Intent(IntentKind.PATCH, object_kind="StatefulSet", changes=(change,))))
        assert [line["event"] for line in self.told(step)] == ["stage started"]
        told = self.told(step, verbose=True)
        assert told[-1]["event"] == "patch StatefulSet: spec.x"
        assert "V4LUE" not in json.dumps(told)


def test_logs_are_json_lines_with_json_results_and_aligned_lines_else() -> None:
    world = World()
    world.add_node(SEI, "full-0")
    told = say(WorldSession(world), "hold", "--yes", "-o", "json")
    assert {"time", "level", "event", "node", "stage", "direction"} <= set(json.loads(told.err.splitlines()[0]))
    assert told.json["nodes"]
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes")
    lines = told.err.splitlines()
    assert len({line.index("sei/full-0") for line in lines}) == 1
    assert all(len(line) > 10 for line in lines)
    assert "\x1b" not in told.err
