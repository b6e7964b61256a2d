"""Gates in a plan file: what is read, and what is refused with its place."""

from __future__ import annotations

import pytest

from seimigrate.domain.plan.gates import GateTiming, HttpGate, ManualGate, PrometheusGate
from seimigrate.planfile import load_plan
from tests.planfile.files import GATES as UP
from tests.planfile.files import TEXT, errors


def test_gates_are_read() -> None:
    up, smoke, look = load_plan(TEXT + UP, "p.yaml").gates
    assert isinstance(up, PrometheusGate)
    assert (up.target.service, up.target.port, up.condition, up.timeout) == (
        "monitoring/prometheus",
        9090,
        "all == 1",
        120,
    )
    assert isinstance(smoke, HttpGate)
    assert (smoke.path, smoke.status, smoke.after) == ("/smoke", 200, (GateTiming.WAVE,))
    assert isinstance(look, ManualGate)


BAD = [
    ("all == 1", "all = 1", "gates[0].condition: must be all, any or count, a comparison and a number"),
    ("gate: http", "gate: htp", 'gates[1].gate: unknown value "htp": did you mean "http"?'),
    ("gate: manual, ", "", "gates[2].gate: is missing: it names the kind of gate"),
    ("name: smoke", "name: up", "gates[1].name: is the name of gates[0] too: each gate needs its own"),
    ("pod: sei/probe-0", "pod: probe-0", 'gates[1].target.pod: must be NAMESPACE/NAME, not the text "probe-0"'),
    (", port: 80}", "}", "gates[1].target: must have a port, to which it is forwarded"),
    ("pod: sei/probe-0, ", "", "gates[1].target: must have exactly one of url, service, pod; it has none"),
    ("{env: PROMETHEUS_TOKEN}", "{}", "gates[0].target.token: must have exactly one of file, env; it has none"),
    ("pod: sei/probe-0, port: 80", "url: probe", "gates[1].target.url: is not a url"),
    ("pod: sei/probe-0, port: 80", "'url': 'http://a:b@c'", "gates[1].target.url: must have neither a user"),
    (
        "pod: sei/probe-0, port: 80",
        "'url': 'http://c', port: 80",
        "gates[1].target.port: must have no place beside url",
    ),
    (
        "service: monitoring/prometheus, port: 9090",
        "url: 'http://prometheus'",
        "gates[0].target.url: must be https, since a token goes with it",
    ),
    ("after: [wave]", "after: []", "gates[1].after: must have canary, wave or both"),
    ("after: [wave]", "after: [waves]", 'gates[1].after[0]: unknown value "waves": did you mean "wave"?'),
    ("query: up", "qeury: up", 'gates[0].qeury: unknown key: did you mean "query"?'),
    ('query: up{job="sei"}', 'query: ""', "gates[0].query: must be some text, not empty text"),
]


@pytest.mark.parametrize(("old", "new", "said"), BAD, ids=[said[:40] for _, _, said in BAD])
def test_what_is_off_is_named(old: str, new: str, said: str) -> None:
    assert old in UP
    assert any(said in line for line in errors(TEXT + UP.replace(old, new)))
