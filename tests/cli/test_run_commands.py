"""``apply``, ``hold`` and ``rollback`` on a simulated world, each exit code provoked."""

from __future__ import annotations

import re

import pytest

from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER, HOLD_LABEL, Kind
from seimigrate.simulation.cluster import Request
from seimigrate.simulation.world import SEID_IMAGE, SPLIT_IMAGE, World
from tests.cli.world import GO, SEI, SPLIT, WorldSession, say

ENDED = ["namespace", "name", "outcome", "stage", "reason", "failure", "blockers", "held", "restarts", "notes"]


@pytest.fixture
def world() -> World:
    made = World()
    made.add_node(SEI, "full-0")
    return made


def held(world: World, name: str = "full-0") -> bool:
    return HOLD_LABEL in world.statefulset(SEI, name)["metadata"]["labels"]


def test_done_and_handed_back_is_0_and_again_is_nothing_to_do(world: World) -> None:
    world.replace_controller("new")
    session = WorldSession(world)
    told = say(session, "apply", "--no-guard", *GO, "--yes", "-o", "json")
    assert told.code == 0
    assert list(told.json) == ["version", "event", "run", "nodes", "nextCommand"]
    assert told.json["run"] == world.lock.token
    [node] = told.json["nodes"]
    assert list(node) == ENDED
    assert (node["outcome"], node["stage"], node["held"], node["failure"]) == ("done", "release", False, None)
    assert not held(world)
    again = say(session, "apply", "--no-guard", *GO, "--yes", "-o", "json")
    assert again.code == 0
    assert [node["outcome"] for node in again.json["nodes"]] == ["unchanged"]


def test_done_but_the_controller_disagrees_is_9(world: World) -> None:
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes")
    assert told.code == 9
    assert "done-held" in told.out
    assert "2  held" in told.out  # two restarts
    assert told.out.splitlines()[-1].startswith("next: seimigrate apply --set")
    assert held(world)


def test_merged_restarts_once(world: World) -> None:
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes", "--strategy", "merged", "-o", "json")
    assert [node["restarts"] for node in told.json["nodes"]] == [1]


def test_all_blocked_is_4_and_says_why(world: World) -> None:
    told = say(WorldSession(world), "apply", "--no-guard", *SPLIT, "--yes", "-o", "json")
    assert told.code == 4
    [node] = told.json["nodes"]
    assert (node["outcome"], node["stage"], node["restarts"]) == ("blocked", None, 0)
    assert [blocker["code"] for blocker in node["blockers"]] == ["policy-missing"]
    assert not held(world)


def test_some_blocked_beside_one_that_moved_is_not_4(world: World) -> None:
    world.add_node(SEI, "full-1")
    world.edit_seinode(SEI, "full-1", {"paused": True})
    world.replace_controller("new")
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes", "-o", "json")
    assert [node["outcome"] for node in told.json["nodes"]] == ["done", "blocked"]
    assert told.code == 0


def test_paused_is_5_and_the_same_command_goes_on(world: World) -> None:
    session = WorldSession(world)

    def upgrade(request: Request) -> None:
        if request.kind is Kind.STATEFUL_SET and request.verb == "patch" and "/spec/template" in str(request.body):
            world.cluster.after_request = None
            world.edit_seinode(SEI, "full-0", {"image": "ghcr.io/sei-protocol/sei:v9"})

    # The proof of the hold is a patch of the template, too, but a dry run before the first journaled write.
    world.cluster.after_request = lambda request: None if request.dry_run else upgrade(request)
    told = say(session, "apply", "--no-guard", *GO, "--yes")
    assert told.code == 5
    assert "paused" in told.out
    assert "a chain upgrade takes precedence" in " ".join(told.out.split())
    assert told.out.splitlines()[-1].startswith("next: seimigrate apply --set")
    status = say(session, "status", *SPLIT, "-o", "json").json
    assert (status["summary"]["unfinished"], status["nodes"][0]["outcome"]) == (1, "paused")
    world.edit_seinode(SEI, "full-0", {"image": SEID_IMAGE})
    assert say(session, "apply", "--no-guard", *GO, "--yes").code == 9


def test_a_node_that_fails_goes_back_and_is_6(world: World) -> None:
    world.settings.splits = lambda image: False
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes", "-o", "json")
    assert told.code == 6
    [node] = told.json["nodes"]
    assert node["outcome"] == "rolled-back"
    assert node["failure"]
    assert not held(world)


def test_the_run_stops_after_a_failure_and_names_the_rest(world: World) -> None:
    world.add_node(SEI, "full-1")
    world.settings.splits = lambda image: False
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes", "-o", "json")
    assert told.code == 6
    assert [node["outcome"] for node in told.json["nodes"]] == ["rolled-back", "not-started"]


def test_a_lock_of_another_is_7_and_nothing_is_changed(world: World) -> None:
    world.stop_controller()
    world.cluster.requests.clear()
    for command in (["apply", "--no-guard", *GO], ["hold"], ["rollback"]):
        told = say(WorldSession(world, other="ann@there:1"), *command, "--yes")
        assert told.code == 7
        assert told.out == ""
        assert "error: ann@there:1 holds the lock\n  hint: seimigrate unlock\n" in told.err
    assert {request.verb for request in world.cluster.requests} <= {"get", "list"}


def test_rollback_of_a_done_node_is_0(world: World) -> None:
    session = WorldSession(world)
    before = world.statefulset(SEI, "full-0")["spec"]
    assert say(session, "apply", "--no-guard", *GO, "--yes").code == 9
    told = say(session, "rollback", *SPLIT, "--yes", "-o", "json")
    assert told.code == 0
    assert [list(node) for node in told.json["nodes"]] == [ENDED]
    assert told.json["nodes"][0]["outcome"] == "rolled-back"
    assert world.statefulset(SEI, "full-0")["spec"] == before
    again = say(session, "rollback", *SPLIT, "--yes", "-o", "json")
    assert (again.code, again.json["nodes"][0]["outcome"]) == (0, "unchanged")


def test_rollback_to_a_stage_stays_held_and_is_0(world: World) -> None:
    session = WorldSession(world)
    assert say(session, "apply", "--no-guard", *GO, "--yes").code == 9
    told = say(session, "rollback", *SPLIT, "--yes", "--to", "ready", "-o", "json")
    assert told.code == 0
    assert (told.json["nodes"][0]["outcome"], told.json["nodes"][0]["held"]) == ("rolled-back-held", True)
    assert say(session, "status", *SPLIT, "-o", "json").json["nodes"][0]["shape"]["template"] == "moved"


def test_rollback_to_a_stage_that_is_ahead_is_4_and_says_where_the_node_is(world: World) -> None:
    session = WorldSession(world)
    assert say(session, "hold", "--yes").code == 0
    told = say(session, "rollback", *SPLIT, "--yes", "--to", "enforce")
    assert told.code == 4
    shown = " ".join(told.out.split())
    assert (
        "stage-not-reached: it reached the end of stage hold; enforce comes later, and only apply goes forward" in shown
    )
    assert (
        "seimigrate rollback --node sei/full-0 --to hold, or completely: seimigrate rollback --node sei/full-0" in shown
    )
    assert told.out.splitlines()[-1].startswith("next: seimigrate status")
    assert "brought back" not in shown


def test_rollback_that_cannot_be_handed_back_is_9_and_says_what_to_revert(world: World) -> None:
    session = WorldSession(world)
    assert say(session, "apply", "--no-guard", *GO, "--yes").code == 9
    world.edit_seinode(SEI, "full-0", {"sidecar": {"image": SPLIT_IMAGE}})
    told = say(session, "rollback", *SPLIT, "--yes")
    assert told.code == 9
    assert "rerun" in " ".join(told.out.split())
    assert told.out.splitlines()[-1].startswith("next: seimigrate rollback --set")


def test_rollback_that_fails_is_8(world: World) -> None:
    session = WorldSession(world)
    assert say(session, "apply", "--no-guard", *GO, "--yes").code == 9
    world.faults(SEI, "full-0").unschedulable = True
    told = say(session, "rollback", *SPLIT, "--yes", "-o", "json")
    assert told.code == 8
    [node] = told.json["nodes"]
    assert (node["outcome"], node["held"]) == ("failed", True)
    status = say(session, "status", *SPLIT)
    assert status.out.splitlines()[-1].startswith("next: seimigrate rollback --node sei/full-0 --set ")


def test_hold_is_0_when_all_are_held_and_4_when_one_cannot_be(world: World) -> None:
    session = WorldSession(world)
    told = say(session, "hold", "--yes", "-o", "json")
    assert told.code == 0
    assert [list(node) for node in told.json["nodes"]] == [ENDED]
    assert (told.json["nodes"][0]["outcome"], told.json["nodes"][0]["held"]) == ("held", True)
    assert say(session, "hold", "--yes").code == 0
    world.stop_controller()
    world.add_node(SEI, "full-1", until_ready=False)
    told = say(session, "hold", "--yes", "-o", "json")
    assert told.code == 4
    assert [node["held"] for node in told.json["nodes"]] == [True, False]


def test_without_a_hold_nothing_may_be_the_controllers(world: World) -> None:
    world.stop_controller()
    world.cluster.requests.clear()
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes", "--hold", "none")
    assert told.code == 1
    assert f"{CONTROLLER_MANAGER} owns StatefulSet spec.template.spec." in told.err
    assert {request.verb for request in world.cluster.requests} <= {"get", "list"}


def test_without_a_hold_no_policy_is_made_where_the_controller_owns_nothing(world: World) -> None:
    world.stop_controller()
    for kind in (Kind.STATEFUL_SET, Kind.SERVICE):
        body = world.cluster.get(kind, SEI, "full-0")
        assert body is not None
        body["metadata"]["managedFields"] = []
        world.cluster.objects[kind][SEI, "full-0"] = body
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes", "--hold", "none", "-o", "json")
    assert not world.cache.list(Kind.ADMISSION_POLICY)
    assert told.json["nodes"][0]["outcome"] != "blocked"


def test_the_controller_can_be_named_where_no_deployment_shows_it(world: World) -> None:
    [deployment] = world.cache.list(Kind.DEPLOYMENT)
    meta = deployment["metadata"]
    world.cluster.delete(Kind.DEPLOYMENT, meta["namespace"], meta["name"], uid=meta["uid"])
    session = WorldSession(world)
    told = say(session, "hold", "--yes")
    assert told.code == 1
    assert "--controller-account" in told.err
    assert not held(world)
    account = f"{meta['namespace']}/{meta['name']}"
    assert say(session, "hold", "--yes", "--controller-account", account).code == 0


@pytest.mark.parametrize("command", [["apply", "--no-guard", *GO], ["hold"], ["rollback"]], ids=lambda words: words[0])
class TestAsking:
    def test_without_a_terminal_it_takes_yes(self, world: World, command: list[str]) -> None:
        session = WorldSession(world)
        told = say(session, *command)
        assert told.code == 2
        assert "--yes" in told.err
        assert session.opened == []

    def test_who_lacks_a_right_is_told_before_anything_is_read_or_asked(self, world: World, command: list[str]) -> None:
        world.stop_controller()
        world.cluster.requests.clear()
        session = WorldSession(world, lacks="patch statefulsets.apps")
        told = say(session, *command, "-n", SEI, typed="y\n")
        assert (told.code, told.err.count("error:")) == (1, 1)
        assert told.err.startswith("error: you may not patch statefulsets.apps\n  hint: ")
        assert world.cluster.requests == []
        assert session.opened[1:] == [session.asked]
        assert f"namespaces=('{SEI}',)" in session.asked

    def test_no_is_no(self, world: World, command: list[str]) -> None:
        world.stop_controller()
        world.cluster.requests.clear()
        for typed in ("n\n", "\n", ""):
            told = say(WorldSession(world), *command, typed=typed)
            assert told.code == 1
            assert "nothing was changed" in told.err
            assert "full-0" in told.err
        assert {request.verb for request in world.cluster.requests} <= {"get", "list"}

    def test_yes_goes_on(self, world: World, command: list[str]) -> None:
        session = WorldSession(world)
        told = say(session, *command, typed="y\n")
        assert told.code in (0, 9)
        assert session.opened[-1] == "released"


def test_what_is_asked_is_aligned_and_says_where(world: World) -> None:
    told = say(WorldSession(world), "apply", "--no-guard", *GO, typed="n\n")
    lines = told.err.splitlines()
    assert lines[0] == "Cut over by plan split-listeners:"
    rows = lines[1:-1]
    assert rows[0].split() == ["cluster", "https://simulated"]
    assert len({len(re.match(r" *\S.*?  +", row)[0]) for row in rows}) == 1  # type: ignore[index]


def test_only_the_nodes_namespaces_are_watched(world: World) -> None:
    world.add_node("other", "full-1")
    session = WorldSession(world)
    say(session, "hold", "--yes", "--node", "other/full-1")
    assert "view other" in session.opened
    assert not held(world)
    say(session, "hold", "--yes", "-A")
    assert "view " in session.opened
    assert held(world)


def test_a_token_is_asked_for_only_by_who_cannot_do_without(world: World) -> None:
    for words, account in (
        (("apply", "--no-guard", *GO), "account=('seimigrate-system', 'seimigrate')"),
        (("hold",), "account=None"),
        (("rollback",), "account=None"),
    ):
        session = WorldSession(world)
        say(session, *words, "-A", "--yes")
        assert account in session.asked
        assert "namespaces=('',)" in session.asked


def test_the_account_of_the_sidecars_token_can_be_named(world: World) -> None:
    session = WorldSession(world)
    say(session, "apply", "--no-guard", *GO, "--yes", "--service-account", "ops/carrier")
    assert "pods ops/carrier True" in session.opened
