"""Those who watch a run: the stream of events, ``status --watch``, Kubernetes Events, gates asked, metrics."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path

import pytest
import yaml

from seimigrate.app.follow import Follower
from seimigrate.app.selection import Selection
from seimigrate.domain.fleet.events import EventType, RunEvent
from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.plan.gates import Token
from seimigrate.engine.errors import Unreachable
from seimigrate.engine.event_dispatcher import EventDispatcher
from seimigrate.engine.ports import Response
from seimigrate.engine.run_store import RunJournal
from seimigrate.planfile import read_plan
from seimigrate.resources import plans_dir
from seimigrate.simulation.cluster import Request
from seimigrate.simulation.world import World
from tests.cli.world import GO, SEI, SPLIT, WorldSession, say
from tests.engine.invariant_monitor import Interrupted

EVENT = [
    *("version", "event", "time", "run", "node", "stage", "direction", "outcome", "restarts", "level", "message"),
]
STAGES = ["hold", "check", "expose", "probes", "ready", "enforce", "policy", "release"]
UP = {
    "gate": "prometheus",
    "name": "up",
    "target": {"pod": "monitoring/prometheus-0", "port": 9090},
    "query": "up",
    "condition": "all == 1",
}


@pytest.fixture
def world() -> World:
    made = World()
    made.add_node(SEI, "full-0")
    return made


def test_apply_with_json_is_a_stream_of_events_that_ends_with_the_outcomes(world: World) -> None:
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes", "-o", "json")
    *events, last = told.events
    assert all(list(event) == EVENT for event in events)
    assert {event["version"] for event in told.events} == {1}
    assert {event["run"] for event in told.events} == {world.lock.token}
    assert [event["stage"] for event in events if event["event"] == "stage"] == STAGES
    assert {event["node"] for event in events if event["event"] != "fleet"} == {"sei/full-0"}
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    assert [(e["outcome"], e["restarts"]) for e in events if e["event"] == "outcome"] == [("done-held", 2)]
    assert "step" not in {event["event"] for event in events}
    assert (last["event"], last["nodes"][0]["outcome"]) == ("ended", "done-held")
    assert last["nextCommand"].startswith("seimigrate apply")


def test_verbose_has_the_single_steps_too_and_never_a_value(world: World) -> None:
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes", "-o", "json", "-v")
    steps = [event["message"] for event in told.events if event["event"] == "step"]
    assert any("evict pod full-0-0" in step for step in steps)
    assert all("seictl" not in step for step in steps)


def test_kubernetes_events_tell_of_the_run_on_the_seinode(world: World) -> None:
    assert say(WorldSession(world), "apply", "--no-guard", *GO, "--yes").code == 9
    told = [event["reason"] for event in world.cluster.objects[Kind.EVENT].values()]
    assert told.count("StageStarted") == len(STAGES)
    assert told[-1] == "CutoverSucceededHeld"


def test_a_follower_tells_what_the_run_tells_itself(world: World) -> None:
    selection = Selection(((SEI, "full-0"),), (SEI,))
    session = WorldSession(world)
    plan = read_plan("split-listeners", GO[1:4:2])
    heard: list[RunEvent] = []
    follower = Follower(session, world.cache, selection, plan, EventDispatcher(world.clock, heard.append))

    def look(request: Request) -> None:
        if request.kind is Kind.CONFIG_MAP and request.verb in ("create", "update") and not request.dry_run:
            world.cluster.after_request = None
            follower.update()
            world.cluster.after_request = look

    world.cluster.after_request = look
    told = say(session, "apply", "--no-guard", *GO, "--yes", "-o", "json")
    follower.update()
    stages = [each.record.stage for each in heard if each.type is EventType.STAGE and each.record]
    assert stages == STAGES
    itself = {(event["stage"], event["message"]) for event in told.events[:-1] if event["event"] == "waiting"}
    waits = {
        (each.record.stage.value, each.message) for each in heard if each.type is EventType.WAITING and each.record
    }
    assert waits <= itself | {(stage, text) for stage, text in waits if "tasks" in text}
    assert waits
    assert [each.message for each in heard if each.type is EventType.OUTCOME] == [
        event["message"] for event in told.events[:-1] if event["event"] == "outcome"
    ]


def test_status_watch_without_a_live_run_says_so_and_shows_how_things_are(world: World) -> None:
    told = say(WorldSession(world), "status", "--watch", *SPLIT)
    assert told.code == 0
    assert "no live run" in told.err
    assert "no run yet" in told.out


def test_metrics_are_served_while_the_run_lasts(world: World) -> None:
    scraped: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def scrape(request: Request) -> None:
        if request.verb == "evict" and not scraped:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                scraped.append(answer.read().decode())

    world.cluster.after_request = scrape
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes", "--metrics-port", str(port))
    assert told.code == 9
    assert f"metrics: http://127.0.0.1:{port}/metrics" in told.err
    assert 'seimigrate_nodes{state="in-progress"} 1.0' in scraped[0]
    assert 'stage="ready"' in scraped[0]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)


class Answers:
    """Stands for what gates ask."""

    def __init__(self, *answers: Response | Unreachable) -> None:
        self.answers = list(answers)
        self.asked = 0

    def get(self, url: str, *, token: Token | None, timeout: float) -> Response:
        raise AssertionError("asked by port-forward alone")

    def get_from_pod(
        self, namespace: str, pod: str, port: int, path: str, *, token: Token | None, timeout: float
    ) -> Response:
        self.asked += 1
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Unreachable):
            raise answer
        return answer

    def check_token(self, token: Token) -> None:
        raise AssertionError("no gate here has a token")


def samples(*values: int) -> Response:
    result = [{"metric": {"pod": f"p-{i}"}, "value": [1, str(value)]} for i, value in enumerate(values)]
    return Response(200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}))


@pytest.fixture
def gated(tmp_path: Path) -> str:
    plan = yaml.safe_load((plans_dir() / "split-listeners.yaml").read_text())
    plan["gates"] = [UP]
    file = tmp_path / "gated.yaml"
    file.write_text(yaml.safe_dump(plan))
    return str(file)


def two_nodes(answers: Answers | None) -> WorldSession:
    world = World()
    for name in ("full-0", "full-1"):
        world.add_node(SEI, name)
    return WorldSession(world, prometheus=answers)


def outcomes(session: WorldSession, plan: str) -> tuple[int, list[str], str]:
    told = say(session, "apply", "-f", plan, "--no-guard", *GO, "--yes", "-o", "json")
    texts = "\n".join(event["message"] for event in told.events[:-1])
    return told.code, [node["outcome"] for node in told.json["nodes"]], texts


def test_a_gate_that_passes_lets_the_next_wave_follow(gated: str) -> None:
    code, found, texts = outcomes(two_nodes(None), gated)  # the simulated Prometheus sees both nodes up
    assert (code, found) == (9, ["done-held", "done-held"])
    assert texts.count("gate up: passed") == 1


def test_a_gate_that_passes_late_passes(gated: str) -> None:
    answers = Answers(samples(1, 0), samples(1, 0), samples(1, 1))
    code, found, _ = outcomes(two_nodes(answers), gated)
    assert (code, found) == (9, ["done-held", "done-held"])


def test_a_gate_that_fails_stops_the_run_after_its_time_and_says_why(gated: str) -> None:
    answers = Answers(samples(1, 0))
    _, found, texts = outcomes(two_nodes(answers), gated)
    assert found == ["done-held", "not-started"]
    assert 'stopping: gate up: 1 of 2 samples not == 1: {pod="p-1"} is 0' in texts
    assert answers.asked >= 12  # every 10 s, for 120 s


def test_a_gate_that_tells_nothing_pauses_the_run_and_asks_again_when_it_goes_on(gated: str) -> None:
    answers = Answers(Unreachable("connection refused"))
    session = two_nodes(answers)
    left_when(session, gated, '"paused":"gate')
    left = RunJournal(session.world.cluster).load()
    assert left is not None
    assert left.campaign is not None
    assert left.campaign.paused == ("gate up: pod monitoring/prometheus-0:9090 is unreachable: connection refused")
    assert standing(session, gated) == f"paused: {left.campaign.paused}"
    answers.answers = [samples(1, 1)]
    assert outcomes(session, gated)[:2] == (9, ["done-held", "done-held"])


def test_status_says_that_canaries_are_watched_and_for_how_long(gated: str) -> None:
    session = two_nodes(None)
    assert standing(session, gated) is None
    left_when(session, gated, '"wave_finished_at":1')
    assert standing(session, gated) == "canary soak: 300 s remaining"
    assert "\n  canary soak: 300 s remaining\n" in say(session, "status", "-f", gated, *SPLIT).out
    assert outcomes(session, gated)[:2] == (9, ["done-held", "done-held"])
    assert standing(session, gated) == ""


def standing(session: WorldSession, plan: str) -> str | None:
    """Give what ``status`` says of why nothing starts just now."""
    run = say(session, "status", "-f", plan, *SPLIT, "-o", "json").json["run"]
    return str(run["waitReason"]) if run else None


def left_when(session: WorldSession, plan: str, written: str) -> None:
    """Apply, and let the process die right after it wrote something into the run's record."""

    def leave(request: Request) -> None:
        if written in str(request.body):
            session.world.cluster.after_request = None
            raise Interrupted

    session.world.cluster.after_request = leave
    with pytest.raises(Interrupted):
        outcomes(session, plan)
