"""``--set key=value`` changes parameters, and is judged like the file."""

from __future__ import annotations

import pytest

from seimigrate.planfile import load_plan
from tests.planfile.files import DIGEST, TEXT, error, errors, spoiled


def test_a_value_is_read_as_yaml_and_replaces_the_files() -> None:
    parameters = load_plan(
        TEXT, "p.yaml", ["ports.public=9200", "containers.seid=node", "healthPaths=[/a, /b]", "ports.public=9300"]
    ).parameters
    assert parameters.ports.public == 9300
    assert parameters.containers.seid == "node"
    assert parameters.health_paths == ("/a", "/b")


def test_lists_of_mappings_and_images_with_ports_tags_and_digests() -> None:
    image = f"host:5000/seictl:v2.1.0@{DIGEST}"
    sidecars = load_plan(
        TEXT, "p.yaml", [f"sidecars.image={image}", f"sidecars.supported=[{{digest: '{DIGEST}'}}, {{tag: v9}}]"]
    ).parameters.sidecars
    assert sidecars.image == image
    assert [entry.tag for entry in sidecars.supported] == [None, "v9"]


@pytest.mark.parametrize("nothing", ["sidecars.image=", "sidecars.image=null", "sidecars.image=~"])
def test_nothing_takes_an_image_away(nothing: str) -> None:
    text = spoiled(("{supported: [], image: null", "{supported: [{tag: v2}], image: x:v2"))
    assert load_plan(text, "p.yaml", [nothing]).parameters.sidecars.image is None


def test_an_override_fills_what_the_file_leaves_out() -> None:
    start = TEXT.index("parameters:")
    text = TEXT[:start] + TEXT[TEXT.index("# staged: two") :]
    assert load_plan(text, "p.yaml", ["ports.public=9200"]).parameters.ports.public == 9200


def test_an_override_cannot_hide_an_error_of_the_file() -> None:
    assert "yes means different things" in error(spoiled(("9100", "yes")), ["ports.public=9100"])


WRONG = [
    ("ports.publik=1", '--set ports.publik=1: unknown key "ports.publik": did you mean "ports.public"?'),
    ("public=1", '--set public=1: unknown key "public": did you mean "ports.public"?'),
    ("health_paths=[/]", '--set health_paths=[/]: unknown key "health_paths": did you mean "healthPaths"?'),
    ("ports.public.x=1", "--set ports.public.x=1: unknown key"),
    ("zzz=1", '--set zzz=1: unknown key "zzz": valid: ports.public, ports.proxy, '),
    ("=1", '--set =1: unknown key "": valid: '),
    (
        "parameters.ports.public=1",
        "--set parameters.ports.public=1: keys are relative to parameters: leave that word out",
    ),
    ("ports={public: 1}", "--set ports={public: 1}: ports is a group: set ports.public or ports.proxy"),
    ("ports.public", "--set ports.public: must be key=value, like ports.public=9200"),
    ("ports.public=x", '--set ports.public=x: parameters.ports.public: must be a whole number, not the text "x"'),
    ("ports.public=8443", "p.yaml:7:"),
    ("ports.proxy=9100", "--set ports.proxy=9100: parameters.ports.proxy: is the public port too (9100)"),
    ("healthPaths=[/x", "--set healthPaths=[/x: parameters.healthPaths: not YAML"),
    ("healthPaths=[x]", "--set healthPaths=[x]: parameters.healthPaths[0]: must begin with /"),
    (
        "sidecars.supported=[{tga: v2}]",
        "--set sidecars.supported=[{tga: v2}]: parameters.sidecars.supported[0].tga: unknown key: did",
    ),
    (
        "sidecars.image=x:v2",
        "--set sidecars.image=x:v2: parameters.sidecars.image: is not known to split its listeners",
    ),
]


@pytest.mark.parametrize(("assignment", "line"), WRONG, ids=[assignment for assignment, _ in WRONG])
def test_a_wrong_override_is_shown_with_what_was_typed(assignment: str, line: str) -> None:
    assert any(shown.startswith(line) for shown in errors(TEXT, [assignment])), errors(TEXT, [assignment])


def test_all_wrong_overrides_are_shown_at_once() -> None:
    assert len(errors(TEXT, [assignment for assignment, _ in WRONG[:9]])) == 9
