"""What an answer says about a gate."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seimigrate.domain.plan import conditions
from seimigrate.domain.plan.gates import GateResult, GateTarget, HttpGate, PrometheusGate, Verdict, evaluate, is_final

AT = GateTarget(service="monitoring/prometheus", port=9090)


def prometheus(condition: str = "all == 1") -> PrometheusGate:
    return PrometheusGate(gate="prometheus", name="up", target=AT, query="up", condition=condition)


def vector(*values: float | str, **more: Any) -> str:
    result = [
        {"metric": {"__name__": "up", "instance": f"n{i}"}, "value": [1, str(value)]} for i, value in enumerate(values)
    ]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}, **more})


def said(condition: str, *values: float | str) -> tuple[Verdict, str]:
    result = evaluate(prometheus(condition), 200, vector(*values))
    assert result.gate == "up"
    return result.verdict, result.reason


CASES = [
    ("all == 1", (1, 1), Verdict.PASS, "2 of 2 samples == 1"),
    ("== 1", (1, 0), Verdict.FAIL, '1 of 2 samples not == 1: up{instance="n1"} is 0'),
    ("all == 1", (), Verdict.INCONCLUSIVE, "the query found no samples"),
    ("all == 1", (1, "NaN"), Verdict.INCONCLUSIVE, '1 of 2 samples have no value: up{instance="n1"} is nan'),
    ("all != 1", ("NaN",), Verdict.INCONCLUSIVE, '1 of 1 samples have no value: up{instance="n0"} is nan'),
    ("all == 1", (0, "NaN"), Verdict.FAIL, '1 of 2 samples not == 1: up{instance="n0"} is 0'),
    ("any > 0.5", (0, 0.6), Verdict.PASS, '1 of 2 samples > 0.5: up{instance="n1"} is 0.6'),
    ("any > 0.5", (0,), Verdict.FAIL, 'none of 1 samples > 0.5: up{instance="n0"} is 0'),
    ("any != 0", ("NaN",), Verdict.INCONCLUSIVE, '1 of 1 samples have no value: up{instance="n0"} is nan'),
    ("count == 0", (), Verdict.PASS, "0 samples, == 0"),
    ("count >= 6", (1,), Verdict.FAIL, "1 samples, not >= 6"),
    ("all < 1e3", ("+Inf",), Verdict.FAIL, '1 of 1 samples not < 1000: up{instance="n0"} is inf'),
]


@pytest.mark.parametrize(("condition", "values", "verdict", "reason"), CASES)
def test_a_condition_judges_a_vector(condition: str, values: Any, verdict: Verdict, reason: str) -> None:
    assert said(condition, *values) == (verdict, reason)


NOTHING = [
    (503, "no healthy upstream", "it answered 503, and not as Prometheus does"),
    (200, "[]", "it answered 200, and not as Prometheus does"),
    (200, '{"status": "success"}', "the answer is not what Prometheus gives"),
    (
        400,
        '{"status": "error", "errorType": "bad_data", "error": "parse error"}',
        "the query was not answered (400): bad_data: parse error",
    ),
    (200, vector(1, warnings=["store unreachable"]), "the answer may be partial: store unreachable"),
    (
        200,
        '{"status": "success", "data": {"resultType": "matrix", "result": []}}',
        "the query gives a matrix, not a vector of samples",
    ),
]


@pytest.mark.parametrize(("status", "body", "reason"), NOTHING)
def test_an_answer_that_tells_nothing_is_inconclusive(status: int, body: str, reason: str) -> None:
    assert evaluate(prometheus(), status, body) == GateResult("up", Verdict.INCONCLUSIVE, reason)


@given(
    st.integers(100, 599),
    st.text(max_size=80)
    | st.recursive(
        st.none() | st.text(max_size=8) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["status", "data", "resultType", "result", "value", "metric"]), inner)
        ),
    ).map(json.dumps),
)
def test_nothing_but_samples_ever_passes_or_fails(status: int, body: str) -> None:
    assert evaluate(prometheus(), status, body).verdict is Verdict.INCONCLUSIVE


@given(st.sampled_from(["==", "!=", ">=", "<=", ">", "<"]), st.floats(-1e6, 1e6), st.lists(st.floats(-1e6, 1e6)))
def test_all_and_any_mean_what_python_means(how: str, number: float, values: list[float]) -> None:
    text = f"{how} {number:.3f}"
    compare = conditions.parse(text).is_met_by
    found = [conditions.Sample(str(value), value) for value in values]
    expected = (all(map(compare, values)), any(map(compare, values))) if values else (None, None)
    assert conditions.is_met(conditions.parse(f"all {text}"), found)[0] is expected[0]
    assert conditions.is_met(conditions.parse(f"any {text}"), found)[0] is expected[1]


def test_an_http_answer_is_judged_by_its_status_and_text() -> None:
    gate = HttpGate(gate="http", name="smoke", target=AT, path="/smoke", contains="ok")
    assert evaluate(gate, 200, "all ok").verdict is Verdict.PASS
    assert evaluate(gate, 500, "all ok") == GateResult("smoke", Verdict.FAIL, "/smoke answered 500, not 200")
    assert evaluate(gate, 200, "bad") == GateResult("smoke", Verdict.FAIL, '/smoke answered 200, without "ok"')


def test_only_a_pass_counts_at_once_the_rest_when_the_time_is_over() -> None:
    gate = prometheus()
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        result = GateResult("up", verdict, "")
        assert not is_final(gate, result, 1000, 1000 + gate.timeout - 1)
        assert is_final(gate, result, 1000, 1000 + gate.timeout)
    assert is_final(gate, GateResult("up", Verdict.PASS, ""), 1000, 1000)
