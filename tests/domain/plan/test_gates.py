"""The verdict of a gate for a response."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seimigrate.domain.plan import conditions
from seimigrate.domain.plan.gates import GateResult, GateTarget, HttpGate, PrometheusGate, Verdict, evaluate, is_final

TARGET = GateTarget(service="monitoring/prometheus", port=9090)


def prometheus(condition: str = "all == 1") -> PrometheusGate:
    return PrometheusGate(gate="prometheus", name="up", target=TARGET, query="up", condition=condition)


def vector(*values: float | str, **more: Any) -> str:
    result = [
        {"metric": {"__name__": "up", "instance": f"n{i}"}, "value": [1, str(value)]} for i, value in enumerate(values)
    ]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}, **more})


def verdict_and_reason(condition: str, *values: float | str) -> tuple[Verdict, str]:
    result = evaluate(prometheus(condition), 200, vector(*values))
    assert result.gate == "up"
    return result.verdict, result.reason


CASES = [
    ("all == 1", (1, 1), Verdict.PASS, "2 of 2 samples == 1"),
    ("== 1", (1, 0), Verdict.FAIL, '1 of 2 samples not == 1: up{instance="n1"} is 0'),
    ("all == 1", (), Verdict.INCONCLUSIVE, "the query returned no samples"),
    ("all == 1", (1, "NaN"), Verdict.INCONCLUSIVE, '1 of 2 samples are NaN: up{instance="n1"} is nan'),
    ("all != 1", ("NaN",), Verdict.INCONCLUSIVE, '1 of 1 samples are NaN: up{instance="n0"} is nan'),
    ("all == 1", (0, "NaN"), Verdict.FAIL, '1 of 2 samples not == 1: up{instance="n0"} is 0'),
    ("any > 0.5", (0, 0.6), Verdict.PASS, '1 of 2 samples > 0.5: up{instance="n1"} is 0.6'),
    ("any > 0.5", (0,), Verdict.FAIL, 'none of 1 samples > 0.5: up{instance="n0"} is 0'),
    ("any != 0", ("NaN",), Verdict.INCONCLUSIVE, '1 of 1 samples are NaN: up{instance="n0"} is nan'),
    ("count == 0", (), Verdict.PASS, "0 samples, == 0"),
    ("count >= 6", (1,), Verdict.FAIL, "1 samples, not >= 6"),
    ("all < 1e3", ("+Inf",), Verdict.FAIL, '1 of 1 samples not < 1000: up{instance="n0"} is inf'),
]


@pytest.mark.parametrize(("condition", "values", "verdict", "reason"), CASES)
def test_condition_of_vector_has_verdict_and_reason(condition: str, values: Any, verdict: Verdict, reason: str) -> None:
    assert verdict_and_reason(condition, *values) == (verdict, reason)


UNUSABLE = [
    (503, "no healthy upstream", "the response (status 503) is not a Prometheus API response"),
    (200, "[]", "the response (status 200) is not a Prometheus API response"),
    (200, '{"status": "success"}', "the result is not in Prometheus' format"),
    (
        400,
        '{"status": "error", "errorType": "bad_data", "error": "parse error"}',
        "the query failed (400): bad_data: parse error",
    ),
    (200, vector(1, warnings=["store unreachable"]), "the result may be partial: store unreachable"),
    (
        200,
        '{"status": "success", "data": {"resultType": "matrix", "result": []}}',
        "the query returned a matrix, expected an instant vector",
    ),
]


@pytest.mark.parametrize(("status", "body", "reason"), UNUSABLE)
def test_unusable_prometheus_response_is_inconclusive(status: int, body: str, reason: str) -> None:
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
def test_response_without_samples_is_always_inconclusive(status: int, body: str) -> None:
    assert evaluate(prometheus(), status, body).verdict is Verdict.INCONCLUSIVE


@given(st.sampled_from(["==", "!=", ">=", "<=", ">", "<"]), st.floats(-1e6, 1e6), st.lists(st.floats(-1e6, 1e6)))
def test_all_and_any_equal_python_all_and_any(operator: str, threshold: float, values: list[float]) -> None:
    text = f"{operator} {threshold:.3f}"
    compare = conditions.parse(text).is_met_by
    samples = [conditions.Sample(str(value), value) for value in values]
    expected = (all(map(compare, values)), any(map(compare, values))) if values else (None, None)
    assert conditions.is_met(conditions.parse(f"all {text}"), samples)[0] is expected[0]
    assert conditions.is_met(conditions.parse(f"any {text}"), samples)[0] is expected[1]


def test_http_gate_verdict_depends_on_status_and_text() -> None:
    gate = HttpGate(gate="http", name="smoke", target=TARGET, path="/smoke", contains="ok")
    assert evaluate(gate, 200, "all ok").verdict is Verdict.PASS
    assert evaluate(gate, 500, "all ok") == GateResult("smoke", Verdict.FAIL, "/smoke returned 500, expected 200")
    assert evaluate(gate, 200, "bad") == GateResult(
        "smoke", Verdict.FAIL, '/smoke returned 200 without the expected text "ok"'
    )


def test_pass_is_final_immediately_other_verdicts_after_timeout() -> None:
    gate = prometheus()
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        result = GateResult("up", verdict, "")
        assert not is_final(gate, result, 1000, 1000 + gate.timeout - 1)
        assert is_final(gate, result, 1000, 1000 + gate.timeout)
    assert is_final(gate, GateResult("up", Verdict.PASS, ""), 1000, 1000)
