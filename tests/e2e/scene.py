"""SeiNodes on the test cluster, and seimigrate as a user runs it there; everything that happened is judged at the end.

Everybody calls sidecars through the real kube-rbac-proxy, so that its word is in the request logs that are judged.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import MANAGER, Kind, Object
from seimigrate.simulation.objects import CONTROLLER_USER
from tests.audit import judge
from tests.commandline import CommandLine, Done, finish, journal_of, plan_text
from tests.e2e.cluster import TestCluster
from tests.e2e.configuration import USERS
from tests.e2e.fleet import Fleet
from tests.forking import Command

FORGED = "forged-by-a-stranger"
"""Who a stranger says to be in a header that only the proxy may set."""
OTHERS = (*(name for name, _ in USERS.values() if name != "operator"), FORGED)
"""Who also acts in these tests, and is not seimigrate."""
POLL = 4.0
"""Seconds between two looks of the stand-in controllers; the real ones wait 30."""
MISSING_IMAGE = "127.0.0.1:1/sei-protocol/seictl@sha256:" + "e" * 64
"""A sidecar that the plan accepts, and that cannot be had: its registry refuses connections at once."""


class Scene:
    """A namespace with nodes, the command line, and the judge."""

    def __init__(self, cluster: TestCluster, fleet: Fleet, namespace: str, folder: Path) -> None:
        self.cluster, self.fleet, self.namespace = cluster, fleet, namespace
        self.names: list[str] = []
        self.told: list[str] = []
        self.mark = cluster.audit_mark()
        self.cli = CommandLine(cluster.kubeconfig("operator"), folder / "plan.yaml", folder)
        self.plan()

    def plan(self, image: str | None = None, **changes: Any) -> None:
        """Write the plan: deadlines for stand-ins that live faster, canaries that soak briefly, and the real grace."""
        deadlines = {"response": 30, "ready": {"default": 120}, "stuck": 12, "eviction": 6}
        release = {"agreementTimeout": 10, "stabilization": 2 * POLL + 1}
        fleet = {"canary": {"soak": 5}}
        defaults: dict[str, Any] = {"deadlines": deadlines, "release": release, "fleet": fleet}
        self.cli.plan.write_text(plan_text(image or self.cluster.images.sidecar_split, **(defaults | changes)))

    def stopping(self, name: str) -> bool:
        """Tell whether a node's pod is being deleted."""
        return "deletionTimestamp" in self.fleet.pod(self.namespace, name)["metadata"]

    def save_plan(self, *names: str, first: str) -> Path:
        """Plan some nodes, or all, from a laptop, with a canary; save that, and give the file."""
        file = self.cli.folder / "cutover.plan"
        words = ("--strategy", "merged", "--canary", f"{self.namespace}/{first}", "--out", str(file))
        done = self.finish(self.start("plan", *words, nodes=names))
        assert done.code == 0, done.err
        return file

    def add(self, **modes: str) -> None:
        """Make nodes of these names and modes, and wait until they are ready under the controller that there is."""
        for name, mode in modes.items():
            self.fleet.add(self.namespace, name, mode)
            self.names.append(name)
        self.fleet.await_ready(self.namespace, *modes)

    # What is there.

    def statefulset(self, name: str) -> Object:
        return self.cluster.get(Kind.STATEFUL_SET, self.namespace, name)

    def service(self, name: str) -> Object:
        return self.cluster.get(Kind.SERVICE, self.namespace, name)

    def specs(self, name: str) -> tuple[Object, Object]:
        """Give the specs of both objects: what a way back has to bring back."""
        return self.statefulset(name)["spec"], self.service(name)["spec"]

    def uid(self, name: str) -> str:
        """Give the uid of a node's pod, "" where there is none now."""
        items = self.cluster.admin.request("GET", path_of(Kind.POD, self.namespace))["items"]
        return next((str(pod["metadata"]["uid"]) for pod in items if pod["metadata"]["name"] == f"{name}-0"), "")

    def record(self, name: str) -> Any:
        return journal_of(self.cluster.admin, self.namespace, name)

    def ours(self, name: str) -> list[str]:
        """Everything of ours that is still on the two objects: labels, and entries of managedFields."""
        found: list[str] = []
        for obj in (self.statefulset(name), self.service(name)):
            meta = obj["metadata"]
            found += [label for label in meta.get("labels", {}) if label.startswith("seimigrate.")]
            found += [entry["manager"] for entry in meta["managedFields"] if entry["manager"] == MANAGER]
        return found

    def is_ready(self, name: str) -> bool:
        return self.cluster.pod_ready(self.namespace, f"{name}-0")

    def wait_for(self, reached: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
        self.cluster.wait_for(reached, what, seconds)

    # The command line.

    def words(self, *names: str) -> list[str]:
        """Give the options that name nodes, all of them where none is given."""
        return [word for name in names or self.names for word in ("--node", f"{self.namespace}/{name}")]

    def start(self, command: str, *more: str, nodes: tuple[str, ...] = ()) -> Command:
        """Start a command as a process of its own, for all nodes if none is given."""
        return self.cli.start(command, *self.words(*nodes), *more)

    def finish(self, process: Command, seconds: float = 400.0) -> Done:
        """Wait for a command's end, and keep what it told."""
        done = finish(process, seconds)
        self.told += [done.out, done.err]
        return done

    def run(self, command: str, *more: str, nodes: tuple[str, ...] = ()) -> Done:
        """Run a command to its end, and print what it took."""
        began = time.monotonic()
        done = self.finish(self.start(command, "-o", "json", *more, nodes=nodes))
        print(f"{command} {' '.join(more)}: exit {done.code} after {time.monotonic() - began:.0f} s", flush=True)
        for node in done.json["nodes"] if done.out else ():
            told = {key: node.get(key) for key in ("name", "outcome", "restarts", "held", "reason", "failure")}
            print(f"  {told}", flush=True)
        return done

    def controller_polled(self, name: str, times: int) -> Callable[[], bool]:
        """Give a condition: from now on the controller asked the node's sidecar for its health so many times."""
        seen = len(self.polls(name))
        return lambda: len(self.polls(name)) >= seen + times

    def polls(self, name: str) -> list[Object]:
        """Give the controller's looks at a sidecar's health that reached it."""
        asked = self.requests(name)
        return [each for each in asked if (each["path"], each["agent"]) == ("/v0/healthz", "sei-k8s-controller")]

    def requests(self, name: str) -> list[Object]:
        """Give all requests that a node's sidecar has had."""
        events = self.fleet.events(self.namespace, name, "sidecar")
        return [each for each in events if each["event"] == "request"]

    # The judge.

    def events(self) -> list[Object]:
        """Give what the API server was asked since the scene began."""
        return list(self.cluster.audit_events(self.mark))

    def pods_made(self) -> dict[str, list[tuple[float, str]]]:
        """Give when each pod of each node was made, and its uid: the first one, then one a restart.

        For all nodes at once: the audit log of a long story takes seconds to read.
        """
        made: dict[str, list[tuple[float, str]]] = {name: [] for name in self.names}
        for event in self.events():
            target = event.get("objectRef") or {}
            body = event.get("responseObject") or {}
            if (event["verb"], target.get("resource"), target.get("subresource")) != ("create", "pods", None):
                continue
            meta = body.get("metadata") or {}
            name, _, ordinal = str(meta.get("name")).rpartition("-")
            if target.get("namespace") == self.namespace and name in made and ordinal == "0" and meta.get("uid"):
                made[name].append((seconds(event["requestReceivedTimestamp"]), str(meta["uid"])))
        return {name: sorted(each) for name, each in made.items()}

    def all_restarts(self) -> dict[str, int]:
        """Count the pods of each node that came after the first one, by their uids."""
        return {name: len({uid for _, uid in made}) - 1 for name, made in self.pods_made().items()}

    def restarts(self, name: str) -> int:
        """Count the pods of one node that came after the first one."""
        return self.all_restarts()[name]

    def killed_by_the_controller(self) -> list[str]:
        """Give the pods of ours that the controller deleted."""
        return [
            str((event.get("objectRef") or {}).get("name"))
            for event in self.events()
            if event["user"]["username"] == CONTROLLER_USER
            and event["verb"].startswith("delete")
            and (event.get("objectRef") or {}).get("namespace") == self.namespace
            and event["responseStatus"]["code"] < 300
        ]

    def denials(self) -> int:
        """Count the controller's writes that were denied on our nodes."""
        return sum(
            event["user"]["username"] == CONTROLLER_USER
            and event["responseStatus"]["code"] in (403, 422)
            and (event.get("objectRef") or {}).get("namespace") == self.namespace
            for event in self.events()
        )

    def judge(self, budget: int = 1) -> None:
        """Judge everything that happened since the scene began, by rules that share no code with the project.

        ``budget`` is how many nodes may be without their pods at once.
        """
        split = (self.cluster.images.sidecar_split, MISSING_IMAGE)
        calls = [call for name, made in self.pods_made().items() for call in self._calls(name, made)]
        violations = judge(
            self.events(), calls, split_images=lambda image: image in split, others=OTHERS, budget=budget
        )
        ours = sum(call["user"] == "system:serviceaccount:seimigrate-system:seimigrate" for call in calls)
        figures = self.all_restarts()
        print(f"judged: {len(calls)} calls of sidecars ({ours} with our token); restarts {figures};", end=" ")
        print(f"{self.denials()} denials; {len(violations)} violations", flush=True)
        assert violations == [], "\n".join(map(str, violations))

    def _calls(self, name: str, made: list[tuple[float, str]]) -> Iterator[Object]:
        """Give a sidecar's request log as the judge reads it; which pod it was follows from when it was ``made``."""
        for each in self.requests(name):
            at = seconds(each["time"])
            uid = next((uid for since, uid in reversed(made) if since <= at), "")
            yield {
                "time": at,
                "namespace": self.namespace,
                "pod": f"{name}-0",
                "uid": uid,
                "port": 9100 if each["listener"] == "public" else 8443,
                "method": each["method"],
                "path": each["path"],
                "user": each["user"] or None,
                "status": each["status"],
                "body": {"type": each["task"], "id": each["id"]} if each["task"] else None,
            }


def seconds(timestamp: str) -> float:
    """Give a moment of a log in seconds since 1970."""
    return datetime.fromisoformat(timestamp).timestamp()


def new_namespace(fleet: Fleet) -> str:
    """Make a namespace for nodes; give its name."""
    name = f"sei-{secrets.token_hex(4)}"
    fleet.prepare(name)
    return name
