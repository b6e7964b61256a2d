"""The choice of canaries, and the order and size of waves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seimigrate.domain.fleet.wave_planning import IMPACT_ORDER, Candidate, UnknownCanary, Wave, WaveKind, plan_waves
from seimigrate.domain.plan.fleet import Canary, Fleet, max_count, min_count
from seimigrate.domain.plan.plan import Mode, Strategy


def node(key: str, mode: str = "fullNode", chain: str = "a", *, ready: bool = True, **labels: str) -> Candidate:
    return Candidate(f"sei/{key}", Mode(mode), chain, labels, ready)


def kinds_and_nodes(waves: tuple[Wave, ...]) -> list[tuple[str, str]]:
    return [(wave.kind.value, " ".join(key.removeprefix("sei/") for key in wave.nodes)) for wave in waves]


FIVE_MODES = [node(mode.value.lower(), mode.value) for mode in Mode]


def test_canary_has_lowest_impact_and_each_mode_has_a_canary() -> None:
    nodes = [node("full-1"), node("full-0"), node("validator-0", "validator"), node("validator-1", "validator")]
    assert kinds_and_nodes(plan_waves(nodes, Fleet())) == [
        ("canary", "full-0"),
        ("canary", "validator-0"),
        ("wave", "full-1 validator-1"),
    ]


def test_canary_is_of_smallest_chain_among_lowest_impact() -> None:
    nodes = [node("a-0"), node("a-1"), node("b-0", chain="b"), node("c-0", "archive", "c")]
    assert plan_waves(nodes, Fleet())[0].nodes == ("sei/b-0",)


def test_blocked_node_is_not_chosen_as_canary() -> None:
    assert plan_waves([node("a", ready=False), node("b")], Fleet())[0].nodes == ("sei/b",)


def test_validator_is_first_canary_only_on_request() -> None:
    nodes = [node("validator-0", "validator"), node("full-0", ready=False)]
    assert kinds_and_nodes(plan_waves(nodes, Fleet())) == [("canary", "full-0 validator-0")]
    assert plan_waves(nodes, Fleet(canary=Canary(node="sei/validator-0")))[0].nodes == ("sei/validator-0",)
    assert plan_waves(nodes, Fleet(), "sei/full-0")[0].nodes == ("sei/full-0",)


def test_unknown_canary_raises() -> None:
    with pytest.raises(UnknownCanary):
        plan_waves(FIVE_MODES, Fleet(), "sei/missing")


def test_nodes_are_sorted_by_order_of_plan() -> None:
    nodes = [node("a", chain="y", tier="2"), node("b", chain="x", tier="2"), node("c", chain="y", tier="1")]
    labelled = Fleet(order=("label:tier", "chain"), canary=Canary(node="sei/c"))
    assert kinds_and_nodes(plan_waves(nodes, labelled)) == [("canary", "c"), ("wave", "b a")]


def test_last_wave_size_applies_to_all_further_waves() -> None:
    nodes = [node(f"n{index:02}") for index in range(21)]
    waves = plan_waves(nodes, Fleet(waves=("1", "10%", "6")))
    assert [len(wave.nodes) for wave in waves] == [1, 1, 3, 6, 6, 4]


def test_mixed_strategy_is_staged_for_canaries_and_merged_for_waves() -> None:
    canary, wave = Wave(WaveKind.CANARY, ()), Wave(WaveKind.WAVE, ())
    assert (canary.strategy(Strategy.MIXED), wave.strategy(Strategy.MIXED)) == (Strategy.STAGED, Strategy.MERGED)
    assert (canary.strategy(Strategy.MERGED), wave.strategy(Strategy.STAGED)) == (Strategy.MERGED, Strategy.STAGED)


def test_percentage_is_rounded_and_at_least_one() -> None:
    assert [max_count("30%", of) for of in (0, 1, 3, 4, 10)] == [1, 1, 1, 1, 3]
    assert [min_count("30%", of) for of in (1, 3, 4, 10)] == [1, 1, 2, 3]


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Candidate], Fleet]:
    modes, chains = st.sampled_from([None, *Mode]), st.sampled_from("abc")
    nodes = [
        Candidate(f"sei/n{index}", draw(modes), draw(chains), {}, draw(st.booleans()))
        for index in range(draw(st.integers(0, 25)))
    ]
    sizes = draw(st.lists(st.sampled_from(["1", "2", "5", "10%", "50%", "100%"]), min_size=1, max_size=3))
    order = draw(st.permutations(["mode", "chain", "namespace"]))
    return nodes, Fleet(waves=tuple(sizes), order=tuple(order))


@given(fleets())
def test_each_node_is_in_one_wave_and_each_mode_has_a_canary(given: tuple[list[Candidate], Fleet]) -> None:
    nodes, settings = given
    waves = plan_waves(nodes, settings)
    planned = [key for wave in waves for key in wave.nodes]
    assert sorted(planned) == sorted(candidate.key for candidate in nodes)
    assert all(wave.nodes for wave in waves)
    modes = {candidate.key: candidate.mode for candidate in nodes}
    seen: set[Mode | None] = set()
    for wave in waves:
        new_modes = [modes[key] for key in wave.nodes if modes[key] not in seen]
        assert wave.kind is WaveKind.CANARY or not new_modes
        assert len(new_modes) == len(set(new_modes))
        seen |= set(new_modes)
    if waves and any(c.ready and c.mode not in (None, Mode.VALIDATOR) for c in nodes):
        assert modes[waves[0].nodes[0]] is not Mode.VALIDATOR
        assert len(waves[0].nodes) == 1


def test_impact_order_has_every_mode() -> None:
    assert sorted(IMPACT_ORDER) == sorted(Mode)
