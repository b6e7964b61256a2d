"""The tree of a run, as a person sees it."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from seimigrate.domain.fleet.actions import FleetWait
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.progress import NodeProgress, Progress
from seimigrate.domain.fleet.wave_planning import Wave, WaveKind
from seimigrate.domain.node.actions import QueryPod, SaveRecord, Wait
from seimigrate.domain.node.observation import PodQuery
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.plan.plan import StageName, Strategy
from seimigrate.render.tree import clock, tree

RECORD = Record("sei", "full-0", "u", "s", "image", "run-1", "plan", Strategy.STAGED, 0.0)
CAMPAIGN = Campaign(
    waves=(
        Wave(WaveKind.CANARY, ("sei/full-0",)),
        Wave(WaveKind.WAVE, ("sei/full-1", "sei/full-2", "sei/full-3")),
        Wave(WaveKind.WAVE, ("sei/validator-0",)),
    ),
    wave=1,
    finished={"sei/full-0": "done", "sei/full-3": "rolled-back"},
)


def drawn(progress: Progress, *, now: float = 200.0, width: int = 100, room: int = 30) -> list[str]:
    on = Console(file=io.StringIO(), width=width, highlight=False, force_terminal=False)
    on.print(tree(progress, now, "apply r1-abc", room))
    assert isinstance(on.file, io.StringIO)
    return [line.rstrip() for line in on.file.getvalue().splitlines()]


def node(key: str, **more: object) -> NodeProgress:
    made = NodeProgress(key=key, stage="ready", direction="forward", since=100.0)
    return replace(made, **more)  # type: ignore[arg-type]


def nodes(*listed: NodeProgress) -> dict[str, NodeProgress]:
    return {each.key: each for each in listed}


def test_those_that_move_or_failed_are_named_and_the_others_counted() -> None:
    on_their_way = nodes(
        node("sei/full-0", outcome="done", restarts=2),
        node("sei/full-1", wait_reason="pod is not Ready", restarts=1),
        node("sei/full-2", direction="rollback", stage="enforce", failure="the pod is stuck"),
        node("sei/full-3", outcome="rolled-back", failure="it broke " * 20, restarts=2),
    )
    progress = Progress(nodes=on_their_way, campaign=CAMPAIGN, wait_reason="1 of 1 may be unavailable")
    assert [" ".join(line.split()) for line in drawn(progress)] == [
        "apply r1-abc 1 rolled-back, 1 done, 2 in-progress, 1 pending",
        "1 of 1 may be unavailable",
        "├─ canary 1 done",
        "├─ wave 1 1 rolled-back, 2 in-progress",
        "│ ├─ sei/full-1 ready 1:40 1 restart waits: pod is not Ready",
        "│ ├─ sei/full-2 ← enforce 1:40 the pod is stuck",
        "│ └─ sei/full-3 rolled-back 2 restarts it broke it broke it broke it broke it bro…",
        "└─ wave 2 1 pending",
    ]


def test_a_pause_and_a_stop_are_said_with_their_reason() -> None:
    assert drawn(Progress(campaign=CAMPAIGN.pause("by ann")))[1] == "paused: by ann"
    assert drawn(Progress(campaign=replace(CAMPAIGN, stopped="2 failed")))[1] == "stopping: 2 failed"


def test_it_never_outgrows_the_terminal() -> None:
    keys = [f"sei/a-node-with-a-long-name-{i}" for i in range(1000)]
    campaign = Campaign(waves=(Wave(WaveKind.WAVE, tuple(keys)),))
    moving = nodes(*(node(key, wait_reason="a long reason " * 20) for key in keys[:500]))
    lines = drawn(Progress(nodes=moving, campaign=campaign), width=80, room=20)
    assert len(lines) <= 22
    assert max(map(len, lines)) <= 80
    assert "more" in lines[-1]


def test_without_a_campaign_there_are_just_the_nodes() -> None:
    lines = drawn(Progress(nodes=nodes(node("sei/full-0"))))
    assert [line.split()[:2] for line in lines[1:]] == [["└─", "nodes"], ["└─", "sei/full-0"]]


def test_the_time_counts_from_the_beginning_of_the_stage_and_the_reason_is_the_present_one() -> None:
    ready = replace(RECORD, stage=StageName.READY)
    progress = Progress().after(RECORD, Wait("a", 1), 10.0).after(ready, Wait("b", 1), 20.0)
    progress = progress.after(ready, Wait("c", 1), 30.0).after(ready, QueryPod((PodQuery.HEALTH,)), 40.0)
    assert progress.nodes["sei/full-0"] == NodeProgress("sei/full-0", "ready", "forward", 20.0, wait_reason="c")
    done = progress.after(ready, SaveRecord(ready.finished(Outcome.DONE)), 50.0)
    assert done.counts() == {"done": 1}
    assert done.at(CAMPAIGN, FleetWait(("a", "b"), 1.0)).wait_reason == "a; b"


def test_times_are_shown_as_a_clock_does() -> None:
    assert [clock(seconds) for seconds in (-1, 7.9, 754, 3723)] == ["0:00", "0:07", "12:34", "1:02:03"]
