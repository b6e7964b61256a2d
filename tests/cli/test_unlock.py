"""``unlock``."""

from __future__ import annotations

from unittest.mock import patch

from seimigrate.domain.kube.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.simulation.world import World
from tests.cli.world import WorldSession, hold_lock, say


def holder(world: World) -> str:
    lease = world.cache.get(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME)
    assert lease is not None
    return str(lease["spec"].get("holderIdentity", ""))


def test_a_free_lock_needs_no_breaking() -> None:
    told = say(WorldSession(World()), "unlock", "--yes")
    assert (told.code, told.out) == (0, "the lock is not held\n\nnext: seimigrate status\n")


def test_it_breaks_the_lock_and_tells_whose_it_was() -> None:
    world = World()
    hold_lock(world, seconds=1)
    told = say(WorldSession(world), "unlock", typed="yes\n")
    assert told.code == 0
    assert "ann@there:1" in told.err
    assert "has not renewed the Lease" in told.err
    assert "the lock of ann@there:1 was released" in told.out
    assert holder(world) == ""


def test_a_holder_that_renews_keeps_the_lock_whatever_the_clocks_say() -> None:
    world = World()
    hold_lock(world, age=100, seconds=5)
    renewals = iter(range(100))

    def renew(kind: Kind, namespace: str, name: str) -> Object | None:
        if kind is Kind.LEASE and next(renewals) > 1:
            hold_lock(world, age=99, seconds=5)
        return found(kind, namespace, name)

    found = world.cluster.get
    with patch.object(world.cluster, "get", renew):
        told = say(WorldSession(world), "unlock", "--yes")
    assert told.code == 1
    assert "ann@there:1 is still running" in told.err
    assert "hint:" in told.err
    assert holder(world) == "ann@there:1"


def test_without_a_terminal_it_takes_yes() -> None:
    world = World()
    hold_lock(world, seconds=1)
    assert say(WorldSession(world), "unlock").code == 2
    assert holder(world) == "ann@there:1"
    told = say(WorldSession(world), "unlock", "--yes", "-o", "json")
    assert (told.code, told.json) == (0, {"version": 1, "holder": "ann@there:1"})
    assert holder(world) == ""
