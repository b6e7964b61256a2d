"""Rule 1: a template or pod that could not start, and its neighbour that could."""

from __future__ import annotations

import pytest

from tests.audit.events import Json
from tests.audit.logs import STATEFULSETS, TOKEN, Log, settled
from tests.audit.shapes import (
    SPLIT,
    expect_hold,
    moved,
    pod_spec,
    replace_spec,
)
from tests.audit.startable import defects
from tests.audit.violations import CONTROLLER, HEALTH_PATHS


@pytest.mark.parametrize(
    ("spec", "starts"),
    [
        (pod_spec(), True),
        (pod_spec(own=7778, gate=7778), True),
        (pod_spec(own=7778, gate=7777), False),  # the gate asks where nothing listens
        (pod_spec(public=9100), True),  # exposed: a shared sidecar takes no notice
        (pod_spec(image=SPLIT), False),  # split under the old shape: the hang of every restart
        (pod_spec(probes=9100, gate=9100, public=9100), False),  # moved without the image
        (pod_spec(ignore=None), False),
        (pod_spec(ignore="--ignore-paths=/v0/healthz"), False),  # the liveness path asks for a token
        (pod_spec(ignore="--ignore-paths=/v0/*"), True),
        (pod_spec(ignore="--ignore-paths=/*"), False),  # a star does not cross a slash
        (pod_spec(gate=8443), True),  # through the proxy, which ignores the path
        (moved(), True),
        (moved(ignore=None), True),
        (moved(gate=7777), False),
        (moved(probes=8443), False),
        (moved(public=9200), False),
        (moved(public=9200, probes=9200, gate=9200), True),
        (moved(public=None), True),  # the sidecar's own default
        (moved(public=8443, probes=8443, gate=8443), False),  # beside the proxy on one port
    ],
)
def test_whether_a_pod_could_start_follows_from_its_spec(spec: Json, starts: bool) -> None:
    found = defects(spec, SPLIT.__eq__, health_paths=HEALTH_PATHS)
    assert (found == []) is starts, found


def test_a_probe_may_name_its_port_or_only_connect() -> None:
    spec = moved(ignore=None)
    sidecar, proxy = spec["initContainers"][1:]
    sidecar["ports"].append({"containerPort": 9100, "name": "public"})
    sidecar["readinessProbe"] = {"httpGet": {"path": "/v0/healthz", "port": "public"}}
    proxy["livenessProbe"] = {"tcpSocket": {"port": 9100}}
    assert not defects(spec, SPLIT.__eq__, health_paths=HEALTH_PATHS)
    sidecar["readinessProbe"]["httpGet"]["port"] = "sidecar"
    proxy["livenessProbe"]["tcpSocket"]["port"] = 7777
    assert len(defects(spec, SPLIT.__eq__, health_paths=HEALTH_PATHS)) == 2


def test_probes_of_other_servers_do_not_matter() -> None:
    spec = moved()
    spec["containers"].append({"name": "exporter", "livenessProbe": {"tcpSocket": {"port": 9300}}})
    assert not defects(spec, SPLIT.__eq__, health_paths=HEALTH_PATHS)


@pytest.mark.parametrize(("spec", "rules"), [(moved(), set()), (moved(gate=7777), {1})])
def test_a_template_that_seimigrate_writes_can_start(log: Log, spec: Json, rules: set[int]) -> None:
    log.intend("statefulsets", "a")
    log.patch("statefulsets", "a", expect_hold(TOKEN), replace_spec(spec))
    assert settled(log) - {4} == rules


def test_a_template_that_was_like_that_before_is_not_seimigrates() -> None:
    log = Log()
    log.run()
    log.node("a", spec=pod_spec(image=SPLIT))
    log.hold("a")
    log.journal("a", outcome="held")
    told = [(violation.object, violation.who.split()[0]) for violation in log.judged()]
    assert set(told) == {("pods sei/a-0", STATEFULSETS)}


def test_a_pod_that_could_not_start_is_told_whoever_wrote_its_template(log: Log) -> None:
    log.patch("statefulsets", "a", replace_spec(moved(probes=8443)), user=CONTROLLER)
    assert settled(log) == set()
    log.pod("a", "a-pod-2", ready=False)
    assert settled(log) == {1}
