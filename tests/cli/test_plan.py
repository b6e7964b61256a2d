"""``plan``: what it says, what it exits with, and that it writes nothing."""

from __future__ import annotations

import pytest

from seimigrate.domain.kube.kinds import HOLD_LABEL, Kind
from seimigrate.simulation.world import World
from tests.cli.world import GO, SEI, SPLIT, WorldSession, say


@pytest.fixture
def world() -> World:
    made = World()
    made.add_node(SEI, "full-0")
    return made


def test_json_has_exactly_its_keys(world: World) -> None:
    told = say(WorldSession(world), "plan", *SPLIT, "-o", "json")
    assert (told.code, told.err) == (0, "")
    page = told.json
    assert list(page) == [*("version", "migration", "cluster", "fingerprint", "summary", "estimate", "waves", "nodes")]
    assert page["waves"] == [{"kind": "canary", "nodes": ["sei/full-0"]}]
    assert page["version"] == 1
    assert page["migration"] == "split-listeners"
    system = world.cache.get(Kind.NAMESPACE, "", "kube-system")
    assert system is not None
    assert page["cluster"] == system["metadata"]["uid"]
    assert page["summary"] == {"nodes": 1, "pending": 0, "blocked": 1, "done": 0, "restarts": 2}
    [node] = page["nodes"]
    assert list(node) == [
        *("namespace", "name", "mode", "chain", "shape", "stage", "restarts", "changes", "blockers", "warnings")
    ]
    assert (node["mode"], node["chain"], node["stage"]) == ("fullNode", "pacific-1", "expose")
    assert node["shape"] == {"template": "shared", "pod": "shared"}
    assert [list(change) for change in node["changes"]] == [["stage", "kind", "path", "before", "after"]] * 9
    assert [list(blocker) for blocker in node["blockers"]] == [["code", "reason", "remedy"]]
    assert node["blockers"][0]["code"] == "policy-missing"


def test_a_blocked_node_exits_0_and_still_lists_what_would_change(world: World) -> None:
    told = say(WorldSession(world), "plan", *SPLIT)
    assert told.code == 0
    assert "1 node: 0 to cut over, 1 blocked, 0 done; 2 restarts" in told.out
    assert "kube-rbac-proxy: livenessProbe.httpGet.port" in told.out
    assert "8443 → 9100" in told.out
    assert "policy-missing" in told.out
    assert "→ to print a suitable policy: seimigrate policy render" in told.out


def test_it_ends_with_the_next_command_and_its_options(world: World) -> None:
    told = say(WorldSession(world), "plan", *GO, "-n", SEI, "--strategy", "merged")
    last = told.out.splitlines()[-1]
    assert last.startswith(f"next: seimigrate apply -n {SEI} --set ")
    assert last.endswith(" --strategy merged --accept-policy-violations")
    assert "merged" in told.out.splitlines()[0]


def test_it_fits_on_100_columns_and_has_no_colour_in_a_pipe(world: World) -> None:
    world.add_node("a-namespace-of-some-length", "a-node-with-a-rather-long-name-0", "validator")
    told = say(WorldSession(world), "plan", "-A", *GO)
    *lines, last = told.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in told.out
    assert last.startswith("next: ")  # a command is one line, to be copied whole


def test_changes_are_said_once_for_the_nodes_that_share_them(world: World) -> None:
    for name in ("full-1", "full-2", "full-3", "full-4"):
        world.add_node(SEI, name)
    told = say(WorldSession(world), "plan", *GO)
    assert told.out.count("SEI_SIDECAR_PUBLIC_PORT]") == 1
    assert "changes on sei/full-0, sei/full-1, sei/full-2 and 2 more" in told.out


def test_detailed_exitcode_is_3_until_everything_is_done(world: World) -> None:
    session = WorldSession(world)
    assert say(session, "plan", *SPLIT, "--detailed-exitcode").code == 3
    assert say(session, "plan", *GO, "--detailed-exitcode").code == 3
    world.replace_controller("new")
    assert say(session, "apply", "--no-guard", *GO, "--yes").code == 0
    told = say(session, "plan", *GO, "--detailed-exitcode", "-o", "json")
    assert told.code == 0
    assert told.json["summary"] == {"nodes": 1, "pending": 0, "blocked": 0, "done": 1, "restarts": 0}


def test_a_done_node_that_is_held_still_is_named(world: World) -> None:
    session = WorldSession(world)
    assert say(session, "apply", "--no-guard", *GO, "--yes").code == 9
    [node] = say(session, "plan", *GO, "-o", "json").json["nodes"]
    assert any("still held" in warning for warning in node["warnings"])


def test_the_fingerprint_changes_with_the_plan_and_the_nodes_alone(world: World) -> None:
    def fingerprint(*words: str) -> str:
        found: str = say(WorldSession(world), "plan", "-o", "json", *words).json["fingerprint"]
        return found

    first = fingerprint(*SPLIT)
    world.run(120)
    label = {"op": "add", "path": "/metadata/labels/somebody", "value": "else"}
    world.cluster.patch(Kind.STATEFUL_SET, SEI, "full-0", [label])
    assert fingerprint(*SPLIT) == first
    assert fingerprint(*SPLIT, "--set", "ports.public=9200") != first
    world.edit_seinode(SEI, "full-0", {"podLabels": {"a": "b"}})
    assert fingerprint(*SPLIT) != first


def test_it_writes_nothing_and_takes_neither_lock_nor_token(world: World) -> None:
    session = WorldSession(world)
    world.stop_controller()
    world.cluster.requests.clear()
    assert say(session, "plan", *GO).code == 0
    assert say(session, "status", "-A", *GO[:4]).code == 0
    assert {request.verb for request in world.cluster.requests} <= {"get", "list"}
    assert session.opened == ["connect None"] * 2


def test_a_held_node_is_planned_like_any_other(world: World) -> None:
    session = WorldSession(world)
    before = say(session, "plan", *GO, "-o", "json").json["nodes"]
    assert say(session, "hold", "--yes").code == 0
    assert HOLD_LABEL in world.statefulset(SEI, "full-0")["metadata"]["labels"]
    assert say(session, "plan", *GO, "-o", "json").json["nodes"] == before
