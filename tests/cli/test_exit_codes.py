"""Exit codes of ``apply`` and ``rollback`` by their results, as documented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seimigrate.app import exit_codes
from seimigrate.app.exit_codes import Exit
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.plan.plan import Strategy
from seimigrate.engine.results import Result

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
