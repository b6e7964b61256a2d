"""Six SeiNodes of all five modes behind a NetworkPolicy that fits; two of them are validators of one chain."""

from __future__ import annotations

from typing import Any

from tests.commandline import OPERATOR, bound_to
from tests.e2e.scene import Scene, seconds

NODES = {
    "replayer": "replayer",
    "full": "fullNode",
    "seed": "seed",
    "archive": "archive",
    "alpha": "validator",
    "beta": "validator",
}
VALIDATORS = ("alpha", "beta")
ELSEWHERE = ("gamma", "delta")
"""The chain's other validators, which always sign: with one of its four away, three of them are in sight."""
AT_ONCE = 2
PACE: dict[str, Any] = {"canary": {"soak": 4}, "waves": ["2", "100%"], "maxUnavailable": {"fleet": AT_ONCE}}


def furnish(scene: Scene) -> None:
    """Make the nodes, ready in the old shape, and the policy that the project renders for them."""
    scene.add(**NODES)
    for name in VALIDATORS:
        others = [f"{v}-0.{v}.{scene.namespace}.svc.cluster.local" for v in VALIDATORS if v != name]
        scene.fleet.switch(scene.namespace, name, "peers", "\n".join([*others, *ELSEWHERE]))
    with bound_to(scene.cluster.admin, "seimigrate-verify", OPERATOR):
        scene.cluster.apply(scene.finish(scene.start("policy render")).out)
    scene.cli.accept = False


def assert_the_next_validator_waited(scene: Scene) -> None:
    """See in the seids' own logs that one signed three blocks again before the other was stopped for the first time."""
    first, second = (scene.fleet.events(scene.namespace, name, "seid") for name in VALIDATORS)
    signs = [each for each in first if each["event"] == "signs"][-1]
    stops = next(each for each in second if each["event"] == "stopping")
    took = seconds(stops["time"]) - seconds(signs["time"])
    print(f"alpha signed again from height {signs['height']}; beta stopped at {stops['height']}, {took:.1f} s later")
    assert took > 0
    assert stops["height"] >= signs["height"] + 3
