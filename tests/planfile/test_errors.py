"""What is refused in a plan file: each with its place, and with what was probably meant."""

from __future__ import annotations

import pytest

from seimigrate.engine.errors import UsageError
from seimigrate.planfile import PlanError, load_plan
from tests.planfile.files import GATES, TEXT, error, errors, marked, spoiled


def test_the_projects_own_plan_is_sound() -> None:
    plan = load_plan(TEXT, "p.yaml")
    assert plan.migration == "split-listeners"
    assert len(plan.stages) == 8


SCHEMA = [
    ("strategy: mixed", "@@stratgy: mixed", 'stratgy: unknown key: did you mean "strategy"?'),
    ("public: 9100", "@@publik: 9100", 'parameters.ports.publik: unknown key: did you mean "public"?'),
    ("healthPaths", "@@health_paths", 'parameters.health_paths: unknown key: did you mean "healthPaths"?'),
    ("maxFailedNodes", "@@max_failed_nodes", 'failure.max_failed_nodes: unknown key: did you mean "maxFailedNodes"?'),
    ("\nstrategy", "\n@@ports: {}\nstrategy", 'ports: unknown key here: "ports" belongs to parameters'),
    (
        "\nparameters:",
        "\nparameters:\n  @@terminationGracePeriod: {}",
        'parameters.terminationGracePeriod: unknown key here: "terminationGracePeriod" belongs to the root',
    ),
    ("stuck: 180", "@@qqqq: 1", "deadlines.qqqq: unknown key: valid: response, ready, stuck, eviction"),
    ("strategy: mixed", "strategy: @@mergd", 'strategy: unknown value "mergd": did you mean "merged"?'),
    ("stage: policy", "stage: @@polity", 'stages[6].stage: unknown value "polity": did you mean "policy"?'),
    (
        "stage: hold",
        "stage: hold\n  @@rollback: [release]",
        "stages[0].rollback: unknown key: valid: stage, transforms",
    ),
    ("do: add-port", "do: @@add-prt", 'stages[2].transforms[1].do: unknown value "add-prt": did you mean "add-port"?'),
    ("{do: add-port, ", "@@{", "stages[2].transforms[1].do: is missing: it names the transform"),
    (
        "do: set-env, container: sidecar",
        "do: set-env, container: @@sidcar",
        'stages[2].transforms[2].container: unknown value "sidcar": did you mean "sidecar"?',
    ),
    ("name: SEI_", "@@nmae: SEI_", 'stages[2].transforms[2].nmae: unknown key: did you mean "name"?'),
    ("{do: set-env, container: sidecar", "@@{do: set-env", "stages[2].transforms[2].container: is missing"),
    ("version: 1", "version: @@2", "version: must be 1, the only version of plan files that there is, not 2"),
    ("version: 1", "version: @@true", "version: must be 1, not the boolean true"),
    ("version: 1\nmigration: split-listeners", "@@version: 1", "migration: is missing"),
    ("9100", "@@70000", "parameters.ports.public: must be at most 65535, not 70000"),
    ("9100", "@@0", "parameters.ports.public: must be at least 1, not 0"),
    ("9100", '@@"9100"', 'parameters.ports.public: must be a whole number, not the text "9100"'),
    ("9100", "@@true", "parameters.ports.public: must be a whole number, not the boolean true"),
    ("9100", "@@[9100]", "parameters.ports.public: must be a whole number, not a list"),
    ("9100", "@@9100.5", "parameters.ports.public: must be a whole number, not 9100.5"),
    ("9100", "@@999999999999999999999", "parameters.ports.public: is too large a number"),
    ("{default: 300}", "{default: @@0}", "terminationGracePeriod.default: must be at least 30, not 0"),
    ("response: 120", "response: @@-1", "deadlines.response: must be at least 0, not -1"),
    ("response: 120", "response: @@soon", 'deadlines.response: must be a number, not the text "soon"'),
    ("{fleet: 1,", "{fleet: @@0,", "fleet.maxUnavailable.fleet: must be a whole number from 1, or a percentage"),
    ('"100%"', "@@2.5", "fleet.waves[0]: must be a whole number from 1, or a percentage like"),
    ('"100%"', "@@0%", "fleet.waves[0]: must be a whole number from 1, or a percentage like"),
    ("[mode, chain]", "[@@tier]", "fleet.order[0]: must be mode, chain, namespace or label:KEY, not the text"),
    ("{node: null", "{node: @@full-0", "fleet.canary.node: must be NAMESPACE/NAME, not the text"),
    ("rollbackScope: none", "rollbackScope: @@some", 'failure.rollbackScope: unknown value "some": '),
    ("seid: seid", "seid: @@7", "parameters.containers.seid: must be text, not 7"),
    ("{default: 300}", "@@300", "terminationGracePeriod: must be a mapping, not 300"),
    ("supported: []", "supported: @@{}", "parameters.sidecars.supported: must be a list, not a mapping"),
    (
        "migration: split-listeners",
        "migration: @@Split",
        "migration: must be lower-case letters, digits and dashes, at most 63, like split-listeners, not the text",
    ),
    (
        "supported: []",
        "supported: [{minimumVersion: @@v2}]",
        'parameters.sidecars.supported[0].minimumVersion: must be a version like v1.2.3, not the text "v2"',
    ),
]


@pytest.mark.parametrize(("old", "new", "line"), SCHEMA, ids=[new.strip()[:30] for _, new, _ in SCHEMA])
def test_what_the_format_refuses_is_shown_with_its_place(old: str, new: str, line: str) -> None:
    text, place = marked((old, new))
    assert any(shown.startswith(f"{place}: {line}") for shown in errors(text)), errors(text)


READING = [
    ("", "p.yaml:1:1: is empty"),
    ("# nothing\n", "p.yaml:1:1: is empty"),
    ("- a\n", "p.yaml:1:1: must be a mapping that begins with version: 1"),
    ("just text", "p.yaml:1:1: must be a mapping that begins with version: 1"),
    ("null", "p.yaml:1:1: must be a mapping that begins with version: 1"),
    ("a: [1\n", "p.yaml:2:1: not YAML: did not find expected ',' or ']' (while parsing a flow sequence)"),
    ("a:\n\tb: 1\n", "p.yaml:2:1: not YAML: a tab: indent with spaces"),
    ("a: 1\nb: \x07\n", "p.yaml:2:4: the character U+0007 has no place in a text file"),
    ("a: \ud800", "p.yaml:1:4: the character U+D800 has no place in a text file"),
    ("[" * 100_000, "p.yaml:1:25: is nested more than 24 levels deep"),
    ("? {" * 100_000, "p.yaml:1:72: is nested more than 24 levels deep"),
    ("x" * (2 << 20), "p.yaml: has more than 1048576 characters"),
]


@pytest.mark.parametrize(("text", "line"), READING, ids=[text[:12].strip() or "empty" for text, _ in READING])
def test_what_is_no_plan_at_all_gives_one_line(text: str, line: str) -> None:
    assert line in errors(text)


YAML = [
    ("response: 120", "response: 120\n  @@response: 130", "deadlines.response: is there already, in line "),
    (
        "{default: 300}",
        "@@&a {default: 300}",
        "terminationGracePeriod: &a is an anchor: write the value out where it is used",
    ),
    (
        "{default: 300}",
        "{@@<<: {default: 3}}",
        "terminationGracePeriod.<<: merge keys are not used here: write the values out",
    ),
    ("{default: 300}", "{@@[a]: 1, default: 3}", "terminationGracePeriod: a key must be plain text"),
    ("{default: 300}", "{@@*a : 1, default: 3}", "terminationGracePeriod: *a is an alias: write the value out"),
    ("{default: 300}", "{&a default: 3, @@default: 4}", "terminationGracePeriod.default: is there already, in line "),
    ("9100", "@@!!int 9100", "parameters.ports.public: tag:yaml.org,2002:int is a tag: plan files have none"),
    ("\nfailure:", "\n@@---\nfailure:", "a second document begins here: one file is one document"),
    (
        "stabilization: 65",
        "stabilization: 65\n  @@on: 1",
        "release.on: unknown key: valid: agreementTimeout, stabilization",
    ),
    *(
        ("9100", f"@@{text}", f"parameters.ports.public: {text} means different things to different YAML readers")
        for text in ("yes", "Off", "010", "9_100", "1:30", "0x10", "0o17", ".inf", ".nan")
    ),
]


@pytest.mark.parametrize(("old", "new", "line"), YAML, ids=[new.strip()[:20] for _, new, _ in YAML])
def test_yaml_that_is_easily_misread_is_refused(old: str, new: str, line: str) -> None:
    text, place = marked((old, new))
    assert any(shown.startswith(f"{place}: {line}") for shown in errors(text)), errors(text)


def test_an_alias_is_not_complained_of_twice() -> None:
    lines = errors(spoiled(("{default: 300}", "&a {default: 300}"), ("stabilization: 65", "stabilization: *a")))
    assert [line.split(": ", 1)[1] for line in lines] == [
        "terminationGracePeriod: &a is an anchor: write the value out where it is used",
        "release.stabilization: *a is an alias: write the value out",
    ]


def test_all_errors_are_shown_at_once_in_the_files_order() -> None:
    text = spoiled(
        ("public: 9100", "publik: 9100"),  # of the format
        ("proxy: kube-rbac-proxy", "proxy: seid"),  # of the rules
        ("response: 120", "response: 120\n  response: 130"),  # of YAML
        ("onNodeFailure: rollback", "onNodeFailure: rolback"),
    )
    assert [line.split(": ", 1)[1].split(": ")[0] for line in errors(text, ["ports.proxi=1"])] == [
        'unknown key "ports.proxi"',
        "parameters.ports.publik",
        "parameters.containers.seid",
        "deadlines.response",
        "failure.onNodeFailure",
    ]


def shown(text: str, *overrides: str) -> list[str]:
    """The keys of all errors, in their order."""
    return [line.split(": ")[1] for line in errors(text, overrides)]


def test_within_one_part_the_rules_speak_of_what_the_format_does_not_refuse() -> None:
    text = spoiled(
        ("public: 9100", "public: 9100, publik: 1"),
        ("proxy: 8443", "proxy: 9100"),
        ("proxy: kube-rbac-proxy", "proxy: 7"),
        ("seid: seid", "seid: sei-sidecar"),
        ("{supported: [], image: null", "{supported: [{digest: x}, {tag: a, digest: null, x: 1}, {}], image: 'X Y'"),
        ("clients: []", "clients: [{x: 1}, {podSelector: 7}, {ipBlock: {cidr: ten}}]"),
        ("accounts: []", "accounts: [7, bob]"),
        ('["100%"]', "[0%, 5, 4]"),
        ("- stage: check\n", "- stage: check\n  transforms: [{do: set-imag, container: sidecar}]\n"),
    )
    assert shown(text) == [
        "parameters.ports.publik",
        "parameters.ports.proxy",
        "parameters.containers.proxy",
        "parameters.containers.seid",
        "parameters.sidecars.supported[0].digest",
        "parameters.sidecars.supported[1].x",
        "parameters.sidecars.supported[2]",
        "parameters.sidecars.image",
        "parameters.access.clients[0]",
        "parameters.access.clients[0].x",
        "parameters.access.clients[1].podSelector",
        "parameters.access.clients[2].ipBlock.cidr",
        "parameters.access.accounts[0]",
        "parameters.access.accounts[1]",
        "stages[1].transforms",
        "stages[1].transforms[0].do",
        "fleet.waves[0]",
        "fleet.waves[2]",
    ]


def test_a_value_that_is_off_makes_no_rule_speak_of_its_default() -> None:
    assert shown(spoiled(("public: 9100", "public: much"), ("proxy: 8443", "proxy: 9100"))) == [
        "parameters.ports.public"
    ]
    assert shown(spoiled(("proxy: kube-rbac-proxy", "proxy: 7"), ("seid: seid", "seid: kube-rbac-proxy"))) == [
        "parameters.containers.proxy"
    ]


def test_within_one_gate_the_rules_speak_of_what_the_format_does_not_refuse() -> None:
    gates = GATES.replace("name: smoke", "name: up").replace("path: /smoke", "path: smoke").replace("[canary]", "[]")
    gates = gates.replace("port: 80}", "port: 80, url: 'https://x'}").replace("message: look", "mesage: look")
    assert sorted(shown(TEXT + gates)) == [
        "gates[1].name",
        "gates[1].path",
        "gates[1].target",
        "gates[2].after",
        "gates[2].mesage",
    ]


def test_of_a_file_that_is_no_yaml_the_words_of_set_are_judged_too() -> None:
    assert [line.split(": ", 1)[0] for line in errors("a: [1\n", ["ports.proxi=1"])] == [
        "--set ports.proxi=1",
        "p.yaml:2:1",
    ]


def test_the_error_is_one_of_usage_and_says_where_the_format_is_told() -> None:
    with pytest.raises(UsageError, match=r"p\.yaml has 2 errors:") as caught:
        load_plan(spoiled(("9100", "0"), ("8443", "0")), "p.yaml")
    assert isinstance(caught.value, PlanError)
    assert "seimigrate schema" in caught.value.hint


def test_a_flood_of_errors_is_cut_short() -> None:
    with pytest.raises(PlanError) as caught:
        load_plan("".join(f"k{n}: 1\n" for n in range(500)), "p.yaml")
    assert len(caught.value.message.splitlines()) < 50
    assert caught.value.message.endswith("more")


def test_control_characters_of_a_file_do_not_reach_the_terminal() -> None:
    line = error(spoiled(("strategy: mixed", 'strategy: "\\e[31m"')))
    assert "\x1b" not in line
