"""The judge as a whole, on made-up logs; the files beside this one take its rules one by one."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.audit import judge
from tests.audit.__main__ import main
from tests.audit.logs import Log, settled
from tests.audit.shapes import (
    SHARED,
    SPLIT,
)


def test_a_run_as_it_should_be_breaks_nothing(log: Log) -> None:
    for node in ("a", "b"):
        log.cut_over(node)
        log.release(node)
    assert log.judged() == []


def test_the_judge_imports_nothing_from_what_it_judges() -> None:
    for module in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "seimigrate" for name in names), module.name


@pytest.mark.parametrize(
    ("verb", "resource", "group"),
    [
        ("patch", "seinodes", "sei.io"),
        ("create", "seinodetasks", "sei.io"),
        ("create", "secrets", ""),
        ("list", "secrets", ""),
        ("update", "networkpolicies", "networking.k8s.io"),
    ],
)
def test_what_no_run_ever_asks_for(log: Log, verb: str, resource: str, group: str) -> None:
    log.ask(verb, resource, "a", group=group, user="somebody")
    assert settled(log) == set()
    log.ask(verb, resource, "a", group=group, code=403)
    assert settled(log) == {0}


def test_a_dry_run_in_the_controllers_name_is_the_proof_of_the_hold(log: Log) -> None:
    query = "dryRun=All&fieldManager=seinode-controller"
    log.ask("patch", "statefulsets", "a", body={}, answer={"kind": "Status"}, code=403, query=query)
    log.ask("patch", "statefulsets", "a", body={}, answer=log.has("statefulsets", "a"), query=query)
    assert settled(log) == set()


def test_networkpolicies_and_seinodes_may_be_read(log: Log) -> None:
    log.ask("list", "networkpolicies", "", group="networking.k8s.io")
    log.ask("get", "seinodes", "a", group="sei.io")
    assert settled(log) == set()


def test_a_log_may_break_off_in_its_last_line_only(log: Log) -> None:
    lines = [json.dumps(event) for event in log.audit]
    told = judge([*lines, '{"kind": "Ev'], [], split_images=SPLIT.__eq__)
    assert told == judge(lines, [], split_images=SPLIT.__eq__)
    with pytest.raises(ValueError, match="not a line of JSON"):
        judge(['{"kind": "Ev', *lines], [], split_images=SPLIT.__eq__)


def test_the_order_of_the_lines_is_not_the_order_of_the_writes(log: Log) -> None:
    for node in ("a", "b"):
        log.cut_over(node)
        log.release(node)
    shuffled = log.audit[::-1]
    assert judge(shuffled, log.calls, split_images=SPLIT.__eq__) == []


def test_the_command_prints_what_was_broken(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.cut_over("a")
    settled(log)
    audit, calls = tmp_path / "audit.log", tmp_path / "pods.log"
    audit.write_text("\n".join(json.dumps(event) for event in log.audit))
    calls.write_text("\n".join(json.dumps(call) for call in log.calls))
    assert main([str(audit), str(calls), "--split", SPLIT, "another"]) == 0
    assert main([str(audit), str(calls), "--split", SHARED]) == 1
    assert "rule 1" in capsys.readouterr().out
