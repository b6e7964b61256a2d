"""``status``: where nodes are, what is held and guarded, and when the controller may be upgraded."""

from __future__ import annotations

import pytest

from seimigrate.domain.kube.kinds import HOLD_LABEL, Kind
from seimigrate.simulation.world import World
from tests.cli.world import GO, SEI, SPLIT, WorldSession, hold_lock, say


@pytest.fixture
def world() -> World:
    made = World()
    made.add_node(SEI, "full-0")
    made.add_node("other", "full-1")
    return made


def unhold(world: World, kind: Kind, namespace: str, name: str) -> None:
    path = f"/metadata/labels/{HOLD_LABEL.replace('/', '~1')}"
    world.cluster.patch(kind, namespace, name, [{"op": "remove", "path": path}])


def test_json_has_exactly_its_keys(world: World) -> None:
    session = WorldSession(world)
    page = say(session, "status", "-o", "json").json
    assert list(page) == ["version", "run", "summary", "nodes"]
    assert page["run"] is None
    assert page["summary"] == {"nodes": 1, "unfinished": 0, "held": 0, "guarded": 0, "safeToUpgradeController": None}
    [node] = page["nodes"]
    assert list(node) == [
        *("namespace", "name", "mode", "chain", "shape", "stage", "direction", "outcome", "held", "guarded"),
        *("reason", "failure", "notes"),
    ]
    assert (node["stage"], node["direction"], node["outcome"], node["held"]) == (None, None, None, False)
    assert say(session, "apply", "--no-guard", *GO, "--yes").code == 9
    page = say(session, "status", *SPLIT, "-o", "json").json
    assert list(page["run"]) == ["token", "holder", "command", "plan", "started", "live", "waitReason"]
    assert (page["run"]["command"], page["run"]["live"]) == ("apply", False)
    assert page["run"]["started"].endswith("Z")
    [node] = page["nodes"]
    assert (node["stage"], node["direction"], node["outcome"]) == ("release", "forward", "done-held")
    assert (node["held"], node["guarded"]) == (True, False)
    assert node["shape"] == {"template": "enforced", "pod": "enforced"}
    assert "did not confirm this template" in node["reason"]
    wants = "kube-rbac-proxy: args, livenessProbe, readinessProbe; sei-sidecar: image; seid: args, startupProbe"
    assert node["reason"].endswith(f"fields that the controller rendered differently: {wants}")


def test_held_is_guarded_only_while_a_run_renews_the_lock(world: World) -> None:
    session = WorldSession(world)
    assert say(session, "hold", "--yes").code == 0

    def guarded() -> tuple[bool, bool]:
        page = say(session, "status", "-o", "json").json
        assert page["summary"]["held"] == 1
        return page["nodes"][0]["guarded"], page["run"]["live"]

    assert guarded() == (False, False)
    hold_lock(world, token=world.lock.token)
    assert guarded() == (True, True)
    hold_lock(world, token="r9-of-another-run")
    assert guarded() == (True, False)
    hold_lock(world, token=world.lock.token, age=16)
    assert guarded() == (False, False)
    hold_lock(world, holder="", token=world.lock.token)
    assert guarded() == (False, False)


def test_the_controller_may_be_upgraded_when_every_node_of_the_cluster_is_held(world: World) -> None:
    session = WorldSession(world)

    def safe(*words: str) -> tuple[bool | None, str]:
        found: bool | None = say(session, "status", *words, "-o", "json").json["summary"]["safeToUpgradeController"]
        return found, say(session, "status", *words).out

    assert safe()[0] is None
    assert "safe to upgrade" not in safe()[1]
    assert safe("-A")[0] is False
    say(session, "hold", "--yes", "-n", SEI)
    found, text = safe("-A", "--node", f"{SEI}/full-0")
    assert found is False
    assert "1 StatefulSet is not held: other/full-1" in text
    say(session, "hold", "--yes", "-A")
    found, text = safe("-A")
    assert found is True
    assert "safe to upgrade the controller: yes" in text
    world.add_node("third", "full-2")
    assert safe("-A")[0] is False


def test_it_is_not_safe_while_a_node_is_frozen_or_the_policies_are_off(world: World) -> None:
    session = WorldSession(world)
    say(session, "hold", "--yes", "-A")
    frozen = {"op": "add", "path": "/metadata/labels/seimigrate.sei.io~1freeze", "value": "moving"}
    world.cluster.patch(Kind.STATEFUL_SET, SEI, "full-0", [frozen])
    assert "1 node is in progress: sei/full-0" in say(session, "status", "-A").out
    world.cluster.patch(Kind.STATEFUL_SET, SEI, "full-0", [{"op": "remove", "path": frozen["path"]}])
    assert say(session, "status", "-A", "-o", "json").json["summary"]["safeToUpgradeController"] is True
    policy = world.cache.get(Kind.ADMISSION_POLICY, "", "seimigrate-hold")
    assert policy is not None
    world.cluster.delete(Kind.ADMISSION_POLICY, "", "seimigrate-hold", uid=policy["metadata"]["uid"])
    told = say(session, "status", "-A")
    assert "safe to upgrade the controller: no" in told.out
    assert "ValidatingAdmissionPolicy seimigrate-hold is gone" in told.out


def test_the_table_tells_guarded_from_unguarded_and_what_to_type(world: World) -> None:
    session = WorldSession(world)
    say(session, "apply", "--no-guard", *GO, "--yes")
    told = say(session, "status", *SPLIT)
    assert "unguarded" in told.out
    assert "is over" in told.out
    assert told.out.splitlines()[-1].startswith("next: seimigrate apply --set")
    hold_lock(world, token=world.lock.token)
    told = say(session, "status", *SPLIT)
    assert " guarded" in told.out
    assert "runs now" in told.out
    assert told.out.splitlines()[-1].startswith("next: seimigrate status")
