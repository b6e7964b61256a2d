"""Plans are read from files, or by name from those that came along."""

from __future__ import annotations

from pathlib import Path

import pytest

from seimigrate.planfile import PlanError, load_plan, read_plan
from tests.planfile.files import TEXT


def refused(reference: str) -> str:
    with pytest.raises(PlanError) as caught:
        read_plan(reference)
    [problem] = caught.value.problems
    return str(problem)


def test_a_plan_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("\ufeff" + TEXT.replace("\n", "\r\n"), newline="")
    assert read_plan("split-listeners") == read_plan(str(file)) == load_plan(TEXT, "p.yaml")


def test_overrides_apply_to_files_too() -> None:
    assert read_plan("split-listeners", ["ports.public=9200"]).parameters.ports.public == 9200


def test_an_unknown_name_gets_the_nearest() -> None:
    assert 'did you mean "split-listeners"?' in refused("split-listener")


@pytest.mark.parametrize("reference", ["none.yaml", "./none", "\0", "x" * 5000, ""])
def test_what_cannot_be_read_says_so_in_one_line(reference: str) -> None:
    assert "\n" not in refused(reference)


def test_a_folder_is_no_plan(tmp_path: Path) -> None:
    assert "cannot be read" in refused(str(tmp_path))


def test_a_byte_that_is_not_utf_8_is_shown_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_bytes("# ä\nversion: ä\xff".encode("latin-1").replace(b"\xe4", "ä".encode()))
    assert refused(str(file)) == f"{file}:2:11: byte 0xff is not UTF-8"


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    assert "has more than" in refused(str(file))
