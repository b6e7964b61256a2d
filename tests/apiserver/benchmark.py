"""How soon a live run acts on the brake: ``python -m tests.apiserver.benchmark [TRIES [pause|abort]]``; no test.

A real run over model nodes on a real API server (KUBEBUILDER_ASSETS), two nodes at once; ``pause`` and ``abort`` are
processes of their own, at random moments. When what was written is read from the API server's audit log.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from seimigrate.adapters.api import ApiCluster
from seimigrate.engine.run_store import IN_PROGRESS, RunJournal
from tests.apiserver.models.real import RealModels
from tests.apiserver.scene import new_namespace, plan_text
from tests.commandline import OPERATOR, CommandLine, finish, furnish
from tests.controlplane.process import ControlPlane, find_programs
from tests.forking import FORKS, Command

PACE = {"canary": {"soak": 0}, "waves": ["100%"], "maxUnavailable": {"fleet": 2}}
WATCHED = 1.5
"""Seconds for which a run is watched after it was told to begin nothing more."""


@dataclass
class Try:
    """One use of the brake: how it went, in seconds since its wish was written."""

    acted: float
    returned: float
    last_begin: float

    @property
    def after_return(self) -> float:
        """Give how long after the command's return the run began something more; 0 if it did not."""
        return max(0.0, self.last_begin - self.returned)


class Bench:
    """A fleet, and the runs over it."""

    def __init__(self, controlplane: ControlPlane, folder: Path) -> None:
        self.controlplane = controlplane
        self.namespace = new_namespace(controlplane)
        plan = folder / "plan.yaml"
        plan.write_text(plan_text(fleet=PACE, strategy="merged", release={"agreementTimeout": 0}))
        self.cli = CommandLine(controlplane.kubeconfig(OPERATOR, folder / "operator.kubeconfig"), plan, folder)
        self.moments = random.Random(7)
        self.log = folder / "runs.log"

    def start(self) -> Command:
        """Start a run whose words go to a file: it must not wait for a reader."""
        with self.log.open("ab") as log:
            return FORKS.start(self.cli.arguments("apply", "-n", self.namespace), cwd=self.cli.folder, log=log.fileno())

    def moving(self) -> set[str]:
        """Give the nodes that are on their way."""
        found = RunJournal(ApiCluster(self.controlplane.admin)).load()
        return {key for key, state in found.nodes.items() if state == IN_PROGRESS} if found else set()

    def wait_for_another(self, run: Command) -> None:
        """Wait until a node sets out that is not on its way yet."""
        before = self.moving()
        while not self.moving() - before:
            if run.poll() is not None:
                raise SystemExit(f"the run came to its end: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def brake(self, word: str) -> Try:
        """Use the brake, watch what follows, and read how it went."""
        mark = self.controlplane.audit_mark()
        time.sleep(self.moments.uniform(0.0, 1.5))
        done = finish(self.cli.start(word))
        returned = time.time()
        if done.code:
            raise SystemExit(f"{word}: {done.err}")
        time.sleep(WATCHED)
        return self._read(word, mark, returned)

    def _read(self, word: str, mark: int, returned: float) -> Try:
        asked = acted = last = 0.0
        known: set[str] | None = None
        for at, name, data in _written(self.controlplane, mark):
            if name == "seimigrate-control" and not asked:
                asked = at if any(request["command"] == word for request in data["requests"]) else 0.0
            if name != "seimigrate-run":
                continue
            moving = {key for key, state in data["nodes"].items() if state == IN_PROGRESS}
            if known is not None and moving - known:
                last = at
            known = moving
            if asked and not acted and (data["campaign"]["paused"] or data["campaign"]["stopped"]):
                acted = at
        return Try(acted - asked, returned - asked, last - asked)


def _written(controlplane: ControlPlane, mark: int) -> Iterator[tuple[float, str, Any]]:
    """Give each version of the wishes and of the run's record, and when its write was answered."""
    for event in controlplane.audit_events(mark):
        target = event.get("objectRef") or {}
        body = event.get("requestObject") or {}
        if target.get("resource") == "configmaps" and "data" in body and event["responseStatus"]["code"] < 300:
            at = datetime.fromisoformat(event["stageTimestamp"]).timestamp()
            yield at, target.get("name") or body["metadata"]["name"], json.loads(body["data"]["record"])


def pauses(bench: Bench, tries: int) -> list[Try]:
    """Pause and resume one run again and again."""
    run, found = bench.start(), []
    for _ in range(tries):
        bench.wait_for_another(run)
        found.append(bench.brake("pause"))
        finish(bench.cli.start("resume"))
    finish(bench.cli.start("abort"))
    run.wait(120)
    return found


def aborts(bench: Bench, tries: int) -> list[Try]:
    """Abort one run after the other."""
    found = []
    for _ in range(tries):
        run = bench.start()
        bench.wait_for_another(run)
        found.append(bench.brake("abort"))
        run.wait(120)
    return found


WORDS = {"pause": pauses, "abort": aborts}


def _show(word: str, tries: list[Try]) -> None:
    def line(what: str, values: list[float]) -> None:
        ordered = sorted(values)
        print(f"  {what:<58} median {ordered[len(ordered) // 2]:.2f}, longest {ordered[-1]:.2f} s")

    print(f"{word}, {len(tries)} tries")
    line("from the wish in the cluster until the run's record has it", [each.acted for each in tries])
    line("from the wish in the cluster until the command returns", [each.returned for each in tries])
    line("from the command's return until the run begins nothing more", [each.after_return for each in tries])


def main(tries: str = "20", *words: str) -> None:
    """Measure, and print."""
    programs, reason = find_programs()
    if programs is None:
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as place, ControlPlane(programs) as controlplane:
        furnish(controlplane.admin)
        bench = Bench(controlplane, Path(place))
        with RealModels(controlplane, log_path=Path(place) / "pods.log", poll_seconds=10) as models:
            models.adopt(bench.namespace)
            chosen = words or tuple(WORDS)
            names = [f"full-{number:03}" for number in range(3 * len(chosen) * int(tries) + 4)]
            with ThreadPoolExecutor(4) as crew:
                for name in names:
                    crew.submit(models.add_node, bench.namespace, name, "fullNode", until_ready=False)
            for name in names:
                models.wait_for(lambda name=name: models.is_ready(bench.namespace, name), name, 300)  # type: ignore[misc]
            for word in chosen:
                _show(word, WORDS[word](bench, int(tries)))


if __name__ == "__main__":
    main(*sys.argv[1:])
