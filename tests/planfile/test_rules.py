"""What makes sense as YAML and by the format, and yet is no plan."""

from __future__ import annotations

import re

import pytest

from seimigrate.planfile import load_plan
from tests.planfile.files import DIGEST, TEXT, error, errors, marked, spoiled

HEAD, *STAGES = re.split(r"(?=^- stage: )", TEXT, flags=re.M)
STAGES[-1], TAIL = re.split(r"(?=\n# Seconds\. )", STAGES[-1], maxsplit=1)
BY_NAME = {stage.split()[2]: stage for stage in STAGES}


def ordered(*names: str) -> str:
    return HEAD + "".join(BY_NAME[name] for name in names) + TAIL


def test_a_stage_that_is_missing_is_named_with_its_place_in_the_order() -> None:
    line = error(ordered("hold", "check", "expose", "probes", "ready", "policy", "release"))
    assert line.endswith('stages: stage "enforce" is missing: it belongs between "ready" and "policy"')


def test_the_fewest_stages_are_called_misplaced() -> None:
    line = error(ordered("release", "hold", "check", "expose", "probes", "ready", "enforce", "policy"))
    assert line.endswith('stages[0].stage: stage "release" is misplaced: it belongs after "policy"')


def test_a_stage_that_is_there_twice_is_told_where_the_first_is() -> None:
    line = error(ordered("hold", "check", "check", "expose", "probes", "ready", "enforce", "policy", "release"))
    assert line.endswith('stages[2].stage: stage "check" is there already, as stages[1]')


def test_all_stages_missing_are_named_at_once() -> None:
    lines = errors("version: 1\nmigration: x\nstages: []\n")
    assert [re.findall(r'stage "(\w+)" is missing', line) for line in lines] == [[name] for name in BY_NAME]


RULES = [
    ("proxy: 8443", "proxy: @@9100", "parameters.ports.proxy: is the public port too (9100): the two must differ"),
    ("seid: seid", "seid: @@sei-sidecar", "parameters.containers.seid: is the name of sidecar too"),
    ("seid: seid", "seid: @@Seid_1", "parameters.containers.seid: is not a container's name"),
    ("seid: seid", "seid: @@''", "parameters.containers.seid: is not a container's name"),
    ("[/v0/healthz", "[@@v0/healthz", "parameters.healthPaths[0]: must begin with /"),
    ("/v0/metrics]", "@@/v0/livez]", "parameters.healthPaths[3]: is there already"),
    ('["100%"]', "[5, @@3]", "fleet.waves[1]: must have no smaller size than the wave before it"),
    ('["100%"]', "@@[]", "fleet.waves: must have at least one size"),
    ("supported: []", "supported: [@@{}]", "parameters.sidecars.supported[0]: must have exactly one of digest"),
    (
        "supported: []",
        f"supported: [@@{{tag: v2, digest: '{DIGEST}'}}]",
        "parameters.sidecars.supported[0]: must have exactly",
    ),
    (
        "image: null",
        "image: @@x:v2",
        "parameters.sidecars.image: is not known to split its listeners: sidecars.supported is",
    ),
    ("clients: []", "clients: [@@{}]", "parameters.access.clients[0]: means nobody"),
    (
        "clients: []",
        "clients: [@@{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]",
        "parameters.access.clients[0]: has an ipBlock beside a selector",
    ),
    (
        "clients: []",
        "clients: [{ipBlock: {cidr: @@10.0.0.0/99}}]",
        "parameters.access.clients[0].ipBlock.cidr: is no block of addresses",
    ),
    (
        "clients: []",
        "clients: [{ipBlock: {cidr: 10.0.0.0/8, except: [@@ten]}}]",
        "parameters.access.clients[0].ipBlock.except[0]: is no block of addresses",
    ),
    (
        "clients: []",
        "clients: [{podSelector: {matchExpressions: [{key: a, operator: In, values: @@[]}]}}]",
        "parameters.access.clients[0].podSelector.matchExpressions[0].values: must name at least one value for In",
    ),
    (
        "clients: []",
        "clients: [{podSelector: {matchExpressions: [{key: a, operator: Exists, values: @@[b]}]}}]",
        "parameters.access.clients[0].podSelector.matchExpressions[0].values: must be empty for Exists",
    ),
    ("accounts: []", "accounts: [@@bob]", "parameters.access.accounts[0]: is none of system:serviceaccount:"),
    (
        "{supported: [], image: null",
        "{supported: [{tag: v3}], image: @@x:v2",
        "parameters.sidecars.image: is not known to split its listeners: no entry of sidecars.supported matches it",
    ),
    ("image: null", "image: @@X Y", "parameters.sidecars.image: is not an image reference"),
    (
        "- stage: check\n",
        "- stage: check\n  transforms: @@[{do: set-image, container: sidecar}]\n",
        'stages[1].transforms: stage "check" changes nothing: transforms belong to expose, probes, enforce',
    ),
]


@pytest.mark.parametrize(("old", "new", "line"), RULES, ids=[line[:50] for _, _, line in RULES])
def test_a_broken_rule_is_shown_with_its_place(old: str, new: str, line: str) -> None:
    text, place = marked((old, new))
    assert any(shown.startswith(f"{place}: {line}") for shown in errors(text)), errors(text)


def test_the_rules_for_what_is_sound_are_checked_beside_errors_of_the_format() -> None:
    lines = errors(spoiled(("proxy: 8443", "proxy: 9100"), ("seid: seid", "seid: 7"), ("stage: policy", "stage: x")))
    assert [line.split(": ")[1] for line in lines] == [
        "parameters.ports.proxy",
        "parameters.containers.seid",
        "stages[6].stage",
    ]


@pytest.mark.parametrize(
    "change",
    [
        ("{supported: [], image: null", "{supported: [{tag: v2}], image: host:5000/x:v2"),
        ("{supported: [], image: null", f"{{supported: [{{digest: '{DIGEST}'}}], image: 'x@{DIGEST}'"),
        ("{supported: [], image: null", "{supported: [{minimumVersion: v1.9.0}], image: x:v1.10.0"),
        ("strategy: mixed", "strategy: merged"),
        ("{default: 300}", "{default: 1e2, fullNode: 30.5}"),
        ('["100%"]', "[1, 5%, 5, 30%]"),
        ("[mode, chain]", "[chain, 'label:tier', mode]"),
        ("{fleet: 1, chain: null", "{fleet: 25%, chain: 1"),
    ],
)
def test_what_is_allowed_passes(change: tuple[str, str]) -> None:
    load_plan(spoiled(change), "p.yaml")
