"""``guard``, and what becomes of the nodes that an ``apply`` leaves held."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from seimigrate.app.process import Interrupted
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind
from seimigrate.simulation.cluster import Request
from seimigrate.simulation.world import World
from tests.cli.world import GO, SEI, SPLIT, WorldSession, hold_lock, say

TOKEN = "r3-guards"


@pytest.fixture
def world() -> World:
    made = World()
    made.add_node(SEI, "full-0")
    return made


def guard_lease(world: World, *nodes: str, holder: str = "guard-7:1") -> None:
    """Put there what a guard leaves that renewed its Lease just now and looks after these nodes."""
    now = datetime.fromtimestamp(world.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    world.add_namespace(SYSTEM_NAMESPACE)
    meta = {"namespace": SYSTEM_NAMESPACE, "name": "seimigrate-guard"}
    annotations = {"annotations": {"seimigrate.sei.io/run": TOKEN}}
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": now}
    world.cluster.put(Kind.LEASE, {"metadata": meta | annotations, "spec": spec})
    record = json.dumps({"guard": TOKEN, "guarded_nodes": nodes, "nodes": {}})
    world.cluster.put(Kind.CONFIG_MAP, {"metadata": dict(meta), "data": {"record": record}})


def delete_pod(world: World) -> None:
    pod = world.pod(SEI, "full-0")
    assert pod is not None
    world.cluster.client("person").delete(Kind.POD, SEI, "full-0-0", uid=pod["metadata"]["uid"], grace_seconds=30)
    world.run(40)


def is_ready(world: World) -> bool:
    pod = world.pod(SEI, "full-0")
    assert pod is not None
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def test_guard_brings_a_held_node_back_and_says_so(world: World) -> None:
    session = WorldSession(world)
    assert say(session, "apply", *GO, "--yes", "--no-guard").code == 9
    delete_pod(world)
    told = say(session, "guard", "--once")
    assert told.code == 0, told.err
    assert "marks pod full-0-0 ready" in told.err
    world.run(20)
    assert is_ready(world)
    assert "guard rights " in session.opened
    assert session.opened.count("seimigrate-guard") == 1
    assert "pods seimigrate-system/seimigrate True" in session.opened


@pytest.mark.parametrize("words", [["-n", "other"], ["--node", "other/full-0"], ["-l", "sei.io/role=none"]])
def test_guard_looks_after_the_nodes_that_were_chosen(world: World, words: list[str]) -> None:
    session = WorldSession(world)
    assert say(session, "apply", *GO, "--yes", "--no-guard").code == 9
    delete_pod(world)
    if words[0] == "-n":
        words = ["--node", "sei/another"]  # the view in memory shows all namespaces
    told = say(session, "guard", "--once", *words)
    assert told.code == 0
    assert "marks" not in told.err
    assert not is_ready(world)


def test_guard_may_be_told_several_namespaces(world: World) -> None:
    session = WorldSession(world)
    assert say(session, "hold", "--yes").code == 0
    told = say(session, "guard", "--once", "-n", "other", "-n", "sei", "-n", "other")
    assert told.code == 0, told.err
    assert "guard rights other,sei" in session.opened
    for words in (["-n", "sei", "-A"], ["-n", "a", "-n", "b", "--node", "sei/full-0"]):
        refused = say(session, "guard", "--once", *words)
        assert refused.code == 2
        assert "error: " in refused.err


def test_an_apply_that_is_told_so_ends_with_unguarded_nodes_at_once(world: World) -> None:
    told = say(WorldSession(world), "apply", *GO, "--yes", "--no-guard")
    assert told.code == 9
    assert "guard" not in told.err


def test_with_a_guard_an_apply_ends_and_status_says_guarded(world: World) -> None:
    session = WorldSession(world)

    def renew(request: Request) -> None:
        if request.kind is Kind.LEASE and request.verb == "get":
            world.cluster.before_request = None
            guard_lease(world, "sei/full-0")
            world.cluster.before_request = renew

    world.cluster.before_request = renew
    told = say(session, "apply", *GO, "--yes", typed="")
    assert told.code == 9
    assert "a guard covers the held nodes" in told.err
    page = say(session, "status", *SPLIT, "-o", "json").json
    assert page["nodes"][0]["guarded"] is True
    assert page["summary"]["guarded"] == 1
    world.cluster.before_request = None
    world.run(60)
    assert say(session, "status", *SPLIT, "-o", "json").json["nodes"][0]["guarded"] is False
    guard_lease(world, "sei/another")
    assert say(session, "status", *SPLIT, "-o", "json").json["nodes"][0]["guarded"] is False


def test_a_live_run_guards_the_namespaces_that_it_looks_at(world: World) -> None:
    session = WorldSession(world)
    say(session, "hold", "--yes")
    world.add_node("other", "full-1")
    say(session, "hold", "--yes", "-n", "other")
    hold_lock(world, token=world.lock.token)
    nodes = say(session, "status", "-A", "-o", "json").json["nodes"]
    assert [(node["namespace"], node["guarded"]) for node in nodes] == [("other", True), ("sei", False)]


@pytest.mark.parametrize("terminal", [True, False])
def test_an_apply_guards_in_the_foreground_until_a_guard_has_the_nodes(world: World, terminal: bool) -> None:
    session, looked = WorldSession(world), 0

    def watch(request: Request) -> None:
        nonlocal looked
        if request.kind is Kind.LEASE and request.name == "seimigrate-guard" and request.verb == "get":
            looked += 1
            if looked == 3:
                delete_pod(world)
            if looked > 150:
                guard_lease(world, "sei/full-0")

    world.cluster.before_request = watch
    told = say(session, "apply", *GO, "--yes", typed="" if terminal else None)
    assert told.code == 9
    assert "no guard covers sei/full-0; guarding in this process" in told.err
    assert "marks pod full-0-0 ready" in told.err
    assert "a guard took over the held nodes" in told.err
    assert session.opened[-1] == "released"


def while_it_guards(world: World, act: Callable[[], None]) -> None:
    """Let something happen when ``apply`` has looked for another guard ten times."""
    looked = 0

    def watch(request: Request) -> None:
        nonlocal looked
        if request.kind is Kind.LEASE and request.name == "seimigrate-guard":
            looked += 1
            if looked == 10:
                act()

    world.cluster.before_request = watch


def test_who_ends_the_guarding_is_told_that_the_nodes_are_unguarded(world: World) -> None:
    def interrupt() -> None:
        raise Interrupted

    while_it_guards(world, interrupt)
    told = say(WorldSession(world), "apply", *GO, "--yes", "-o", "json")
    assert told.code == 9
    assert told.json["nodes"][0]["outcome"] == "done-held"
    warned = [line for line in told.err.splitlines() if "held and NOT guarded" in line]
    assert ["sei/full-0" in line for line in warned] == [True]
    assert "seimigrate guard" in told.err


def test_who_is_asked_to_end_while_it_guards_ends_as_one_that_is_to_be_started_again(world: World) -> None:
    while_it_guards(world, lambda: signal.raise_signal(signal.SIGTERM))
    told = say(WorldSession(world), "apply", *GO, "--yes", "-o", "json")
    assert told.code == 143
    assert "held and NOT guarded" in told.err


def test_a_node_that_was_handed_back_needs_no_guard(world: World) -> None:
    world.replace_controller("new")
    told = say(WorldSession(world), "apply", *GO, "--yes")
    assert told.code == 0
    assert "guard" not in told.err
