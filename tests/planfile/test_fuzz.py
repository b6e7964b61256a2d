"""Whatever the text, there is a plan or there are errors with places: never a traceback."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seimigrate.planfile import PlanError, load_plan
from tests.planfile.files import TEXT

PIECES = st.sampled_from(
    ["a", "stages", "parameters", "do", ":", ": ", "- ", "? ", "\n", "\n  ", "{", "}", "[", "]", ",", "&a ", "*a",
     "!!x ", "<<", '"', "'", "|", ">", "%", "---\n", "...\n", "\t", "#", "~", "0", "1e999", "2001-99-99", "=",
     "\ufeff", "\ud800", "\x00"]
)  # fmt: skip
WILD = st.text() | st.lists(PIECES).map("".join)


def try_loading(text: str, *overrides: str) -> None:
    try:
        load_plan(text, "p.yaml", overrides)
    except PlanError as error:
        assert error.problems
        assert all(problem.message for problem in error.problems)
        error.message.encode()
        assert all(line.isprintable() for line in error.message.splitlines())


@given(WILD)
def test_any_text(text: str) -> None:
    try_loading(text)


@given(WILD, st.integers(0, len(TEXT)), st.integers(0, 40))
def test_the_plan_with_any_text_in_the_middle(text: str, start: int, dropped: int) -> None:
    try_loading(TEXT[:start] + text + TEXT[start + dropped :])


@given(WILD, st.sampled_from(["", "ports.public=", "sidecars.supported=", "healthPaths="]))
def test_any_override(text: str, key: str) -> None:
    try_loading(TEXT, key + text)
