"""The small parts of the command line: exit codes, namespaces, two views, quiet lines, values."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from seimigrate.app import exit_codes
from seimigrate.app.exit_codes import Exit
from seimigrate.app.kube_context import context_namespace
from seimigrate.domain.kube.changes import Change
from seimigrate.domain.node.actions import ExecuteIntent, SaveRecord, Wait
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.record import Direction, Intent, IntentKind, Outcome, Record
from seimigrate.domain.plan.plan import StageName, Strategy
from seimigrate.engine.event_dispatcher import EventDispatcher
from seimigrate.engine.results import Result
from seimigrate.render import formatting, logs
from seimigrate.render.event_log import LogListener
from seimigrate.simulation.world import VirtualClock, World
from tests.cli.world import GO, SEI, WorldSession, say

RECORD = Record("sei", "full-0", "u", "s", "image", "run-1", "plan", Strategy.STAGED, 0.0)


def ended(outcome: Outcome, **fields: Any) -> Result:
    return Result("sei", "full-0", record=replace(RECORD, outcome=outcome, **fields))


DONE = ended(Outcome.DONE)
DONE_HELD = ended(Outcome.DONE_HELD)
PAUSED = ended(Outcome.PAUSED)
FAILED = ended(Outcome.FAILED, failure="x")
BACK = ended(Outcome.ROLLED_BACK, failure="x")
BACK_HELD = ended(Outcome.ROLLED_BACK_HELD, failure="x")
BLOCKED_LATE = ended(Outcome.BLOCKED, blocked=("x",))
BLOCKED_HELD = ended(Outcome.HELD, blocked=("x",))
HELD_AFTER_FAILURE = ended(Outcome.HELD, failure="x")
BLOCKED = Result("sei", "full-1", blockers=(Blocker("paused", "r", "do"),))
NOTHING = Result("sei", "full-2", unchanged=True)


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([DONE], Exit.DONE),
        ([NOTHING], Exit.DONE),
        ([], Exit.DONE),
        ([DONE, DONE_HELD], Exit.HELD),
        ([DONE_HELD, PAUSED], Exit.PAUSED),
        ([PAUSED, BACK], Exit.ROLLED_BACK),
        ([BACK_HELD], Exit.ROLLED_BACK),
        ([HELD_AFTER_FAILURE], Exit.ROLLED_BACK),
        ([BACK, FAILED, DONE_HELD], Exit.FAILED),
        ([BLOCKED], Exit.BLOCKED),
        ([BLOCKED_LATE], Exit.BLOCKED),
        ([BLOCKED_HELD], Exit.BLOCKED),
        ([BLOCKED, NOTHING], Exit.BLOCKED),
        ([BLOCKED, DONE], Exit.DONE),
        ([BLOCKED, DONE_HELD], Exit.HELD),
    ],
)
def test_exit_codes_of_apply_go_by_the_worst(results: list[Result], code: Exit) -> None:
    assert exit_codes.exit_of_apply(results) == code
    assert exit_codes.exit_of_apply(results[::-1]) == code


def test_exit_codes_of_a_rollback() -> None:
    assert exit_codes.exit_of_rollback([BACK, NOTHING], all_the_way=True) == Exit.DONE
    assert exit_codes.exit_of_rollback([BACK, BACK_HELD], all_the_way=True) == Exit.HELD
    assert exit_codes.exit_of_rollback([BACK_HELD], all_the_way=False) == Exit.DONE
    assert exit_codes.exit_of_rollback([BACK_HELD, PAUSED], all_the_way=True) == Exit.PAUSED
    assert exit_codes.exit_of_rollback([BACK_HELD, PAUSED, FAILED], all_the_way=False) == Exit.FAILED


def test_the_numbers_are_the_documented_ones() -> None:
    page = (Path(__file__).parents[2] / "docs" / "output.md").read_text()
    assert [*map(int, Exit)] == [*range(10), 143]
    for code in Exit:
        assert f"| {code.value} |" in page


class TestNamespace:
    def write(self, file: Path, current: str, **namespaces: str) -> Path:
        contexts = [{"name": name, "context": {"namespace": ns}} for name, ns in namespaces.items()]
        file.write_text(json.dumps({"current-context": current, "contexts": contexts}))
        return file

    def test_it_is_the_contexts(self, tmp_path: Path) -> None:
        file = str(self.write(tmp_path / "a", "one", one="first", two="second", bare=""))
        assert context_namespace(None, file) == "first"
        assert context_namespace("two", file) == "second"
        assert context_namespace("bare", file) == "default"
        assert context_namespace("absent", file) == "default"

    def test_of_several_files_the_first_that_speaks_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.write(tmp_path / "a", "", shared="of-a")
        second = self.write(tmp_path / "b", "shared", shared="of-b")
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{first}:{second}")
        assert context_namespace(None, None) == "of-a"

    def test_what_cannot_be_read_is_default(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("{")
        assert context_namespace(None, str(tmp_path / "a")) == "default"
        assert context_namespace(None, str(tmp_path / "absent")) == "default"


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
            ("hold", "begins"),
            ("hold", "waits: a"),
            ("hold", "waits: b"),
            ("ready", "begins"),
            ("ready", "waits: a"),
        ]

    def test_a_way_back_begins_with_the_reason(self) -> None:
        back = RECORD.rolling_back("it broke", 1.0)
        told = self.told((RECORD, SaveRecord(back)), (back, SaveRecord(back.finished(Outcome.ROLLED_BACK, "why"))))
        assert [(line["level"], line["event"]) for line in told] == [
            ("info", "begins"),
            ("warning", "failed: it broke"),
            ("info", "goes back"),
            ("info", "rolled-back: why"),
        ]
        assert told[-1]["direction"] == Direction.ROLLBACK

    def test_writes_are_told_in_debug_alone_and_never_with_values(self) -> None:
        change = Change("expose", "StatefulSet", "spec.x", None, "V4LUE")
        step = (RECORD, ExecuteIntent(Intent(IntentKind.PATCH, object_kind="StatefulSet", changes=(change,))))
        assert [line["event"] for line in self.told(step)] == ["begins"]
        told = self.told(step, verbose=True)
        assert told[-1]["event"] == "writes StatefulSet: spec.x"
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


def test_only_what_differs_of_a_long_value_is_shown() -> None:
    long = "x" * 100 + "/dev/tcp/localhost/{}" + "y" * 100
    change = Change("probes", "StatefulSet", "spec.a", long.format(7777), long.format(9100))
    shown = formatting.describe_change(change)
    assert "localhost/7777" in shown
    assert "localhost/9100" in shown
    assert max(map(len, shown.splitlines())) < 70
    path = "spec.template.spec.initContainers[name=kube-rbac-proxy].args"
    assert formatting.field_label(replace(change, path=path)) == "kube-rbac-proxy: args"
    assert formatting.describe_change(replace(change, before=8443, after=9100)) == "8443 → 9100"
    added = {"name": "a", "port": 1, "protocol": "TCP", "targetPort": 1}
    assert formatting.describe_change(replace(change, before=None, after=added)) == "+ name: a, port: 1"
    elsewhere = {**added, "targetPort": 2}
    assert (
        formatting.describe_change(replace(change, before=None, after=elsewhere)) == "+ name: a, port: 1, targetPort: 2"
    )
    assert formatting.describe_change(replace(change, before="--x", after=None)) == "- --x"
