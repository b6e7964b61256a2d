"""A cutover by a Job in the cluster: what becomes of it when its pods are lost, and what it was allowed to do.

The stories follow each other on six nodes of all modes: a Job that fails and is not begun again, Jobs without one of
their rights, then one that has them all, loses its pods, and brings the whole fleet through.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import FENCE_ANNOTATION, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.errors import NotFound
from tests.commandline import Done
from tests.e2e import wholefleet
from tests.e2e.conftest import OpenScene
from tests.e2e.deployed import kept_to_its_rights
from tests.e2e.deployedjob import USER, DeployedJob
from tests.e2e.leaks import leaks, searched
from tests.e2e.scene import POLL, Scene
from tests.e2e.wholefleet import AT_ONCE, NODES, PACE
from tests.rbac_usage import asked_only_what_it_may, assert_named, grants

PATIENT = {"response": 30, "ready": {"default": 120}, "stuck": 12, "eviction": 120}


@pytest.fixture(scope="module")
def scene(open_scene: OpenScene) -> Iterator[Scene]:
    """Give the whole fleet under the old controller."""
    with open_scene() as opened:
        wholefleet.furnish(opened)
        opened.plan(fleet=PACE, deadlines=PATIENT)
        yield opened
        opened.judge(AT_ONCE)


@pytest.fixture(scope="module")
def job(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedJob]:
    """Give the Job, which does not run before it has a plan."""
    folder = Path(tmp_path_factory.mktemp("job"))
    with kept_to_its_rights(DeployedJob(scene.cluster, folder, scene.namespace, "default")) as made:
        yield made


def test_a_run_that_came_to_its_end_is_not_begun_again(scene: Scene, job: DeployedJob) -> None:
    scene.fleet.switch(scene.namespace, "archive", "crash.split")
    before = scene.specs("archive")
    job.start(scene.save_plan("archive", first="archive"))
    scene.wait_for(lambda: job.end() is not None, "the Job to end", 240)
    scene.fleet.unswitch(scene.namespace, "archive", "crash.split")
    scene.told += [job.log(pod["metadata"]["name"]) for pod in job.pods()]
    print(job.end(), job.status())
    kind, reason, message = job.end() or ("", "", "")
    assert (kind, reason) == ("Failed", "PodFailurePolicy")
    assert "exit code 6" in message
    assert len(job.made()) == 2
    assert scene.record("archive")["outcome"] == "rolled-back"
    assert scene.specs("archive") == before


def test_without_any_one_of_its_rules_its_pod_names_that_one_once_and_does_nothing(
    scene: Scene, job: DeployedJob
) -> None:
    """Each is put back when the next one is left out; with all of them it goes on, in the next story."""
    saved = scene.save_plan(*NODES, first="full")
    tried, began = 0, time.monotonic()
    for role in job.roles():
        for number, rule in enumerate(role["rules"]):
            mark = scene.cluster.audit_mark()
            ended = job.without(saved, role, number)
            assert ended["exitCode"] == 1, ended
            [line] = ended["message"].splitlines()
            error = json.loads(line)["error"]
            who = f"user {USER} lacks permissions; nothing was changed. Missing:"
            assert error["message"].startswith(who), error
            assert_named(error["message"], role | {"rules": [rule]}, scene.namespace)
            what = f"{role['kind']} {role['metadata']['name']} of deploy/apply/rbac.yaml grants them: kubectl apply -k "
            assert error["hint"].startswith(what), error
            assert asked_only_what_it_may(scene.cluster.audit_events(mark), USER)
            scene.told.append(line)
            tried += 1
    print(f"{tried} rules left out in turn, {(time.monotonic() - began) / tried:.1f} s each; the last one: {error}")
    assert tried > 20


def test_it_goes_on_after_each_loss_of_its_pod_and_stays_paused_until_somebody_resumes(
    scene: Scene, job: DeployedJob
) -> None:
    """Killed while a budget keeps the first node, deleted while it is paused, drained while two more nodes move."""
    job.remove()
    assert scene.run("hold").code == 0
    scene.fleet.install("new", poll_seconds=POLL)
    restarts = scene.all_restarts()
    uids = {name: scene.uid(name) for name in NODES}
    scene.cluster.apply("\n---\n".join(map(json.dumps, _not_now(scene.namespace, "full"))))
    _spoil_the_hold(scene)
    made = len(job.made())
    job.start(scene.save_plan(*NODES, first="full"))

    scene.wait_for(lambda: scene.record("full")["eviction_blocked_since"] is not None, "an eviction to be refused", 120)
    first = _lose(scene, job, "kill")
    second = _next(scene, job, first)
    scene.wait_for(lambda: _fenced(scene, "full"), "the takeover of the pod that was to be evicted")
    scene.cluster.kubectl("-n", scene.namespace, "delete", "poddisruptionbudget/not-now", "pod/unwell", "--wait=false")
    assert _brake(scene, "pause").json["accepted"] is True
    assert _may_do(scene, second) == ["65532 65532", "/ False", "/opt/seimigrate False", "/plan False"]
    assert _breaks_the_restricted_standard(scene) == ""
    scene.wait_for(lambda: scene.record("full")["outcome"] is not None, "the first node to come to its end", 120)
    _lose(scene, job, "delete")
    third = _next(scene, job, first, second)
    scene.wait_for(lambda: "paused: by" in job.log(third), "the third pod to say that it is paused")
    assert [name for name in NODES if scene.uid(name) != uids[name]] == ["full"]

    scene.fleet.switch(scene.namespace, "seed", "stop-seconds", "10")
    assert _brake(scene, "resume").json["accepted"] is True
    scene.wait_for(lambda: scene.stopping("seed"), "a second node to stop", 120)
    _lose(scene, job, "evict")
    _next(scene, job, first, second, third)
    scene.fleet.unswitch(scene.namespace, "seed", "stop-seconds")
    watch = ("--watch", "-f", str(scene.cli.plan), "-o", "json")
    follower = scene.finish(scene.start("status", *watch), 400)
    scene.wait_for(lambda: job.end() is not None, "the Job to end", 60)
    status = follower.json
    print(job.end(), job.status(), status["summary"])
    followed = [json.loads(line) for line in follower.out.splitlines()[:-1]]
    assert follower.code == 0
    assert {event["outcome"] for event in followed if event["event"] == "outcome"} == {"done"}
    assert {node["outcome"] for node in status["nodes"]} == {"done"}
    assert (job.end() or ("",))[0] == "Complete"
    # Two at a time; two were killed or deleted, and the one that was drained is nobody's failure.
    assert (len(job.made()) - made, job.status()["failed"]) == (5, 2)
    assert {name: after - restarts[name] for name, after in scene.all_restarts().items()} == dict.fromkeys(NODES, 1)
    assert [scene.ours(name) for name in NODES] == [[] for _ in NODES]
    wholefleet.assert_the_next_validator_waited(scene)
    assert scene.killed_by_the_controller() == []
    scene.told += [job.log(pod["metadata"]["name"]) for pod in job.pods()]


def test_its_rights_are_what_it_used_in_these_stories_and_it_was_denied_nothing(scene: Scene, job: DeployedJob) -> None:
    allowed = len(grants(job.roles()))
    print(f"{job.requests()} requests; of {allowed} grants unused {job.unused()}, denied {job.denied()}")
    # The audit log has no Events, so that they are looked at themselves.
    assert job.unused() == ["ClusterRole seimigrate-apply: create events.events.k8s.io"]
    assert job.denied() == []
    events = scene.cluster.admin.request("GET", path_of(Kind.EVENT, scene.namespace))["items"]
    ours = [event for event in events if event.get("reportingController") == "seimigrate.sei.io/run"]
    who = {event["reportingInstance"].partition("@")[2].partition(":")[0] for event in ours}
    assert len(who & {*job.made()}) > 2


def test_no_token_is_in_any_log_journal_event_or_message(scene: Scene, job: DeployedJob) -> None:
    lines = sum(len(text.splitlines()) for text in scene.told)
    much = searched(scene.cluster, scene.told, scene.mark)
    print(f"searched {much}; {lines} lines of the Job and of commands among them")
    assert leaks(scene.cluster, scene.told, scene.mark) == []


def _brake(scene: Scene, word: str) -> Done:
    return scene.finish(scene.cli.start(word, "-o", "json"))


def _lose(scene: Scene, job: DeployedJob, how: str) -> str:
    """Keep what the pod said that runs now, and take it away; give its name."""
    name = job.holder()
    scene.told.append(job.log(name))
    getattr(job, how)(name)
    print(f"{how}: pod {name}")
    return name


def _next(scene: Scene, job: DeployedJob, *before: str) -> str:
    """Wait until a later pod's run has the lock; give its name."""
    scene.wait_for(lambda: job.holder(*before) != "", "the next pod's run", 150)
    return job.holder(*before)


def _may_do(scene: Scene, pod: str) -> list[str]:
    """Ask from inside a pod who it is, and where it may write; to write to /tmp must not fail."""
    program = (
        "import os; print(os.getuid(), os.getgid()); open('/tmp/x', 'w');"
        "[print(p, os.access(p, os.W_OK)) for p in ('/', '/opt/seimigrate', '/plan')]"
    )
    words = ("-n", SYSTEM_NAMESPACE, "exec", pod, "--", "/opt/seimigrate/bin/python", "-c", program)
    return scene.cluster.kubectl(*words).split("\n")[:4]


def _breaks_the_restricted_standard(scene: Scene) -> str:
    """Ask the API server which of the pods there would break the strictest pod security standard."""
    label = "pod-security.kubernetes.io/enforce=restricted"
    told = scene.cluster.enter("kubectl", "label", "--dry-run=server", "namespace", SYSTEM_NAMESPACE, label, check=True)
    print(told.stdout.strip(), told.stderr.strip())
    return told.stderr


def _fenced(scene: Scene, name: str) -> bool:
    """Tell whether a takeover has put its token on a pod whose replacement was begun."""
    try:
        meta: Any = scene.fleet.pod(scene.namespace, name)["metadata"]
    except NotFound:
        return False
    return FENCE_ANNOTATION in meta.get("annotations", {})


def _not_now(namespace: str, node: str) -> list[Object]:
    """Make a budget that allows one of two pods to go, and the other one of them, which fits nowhere."""
    meta = {"namespace": namespace}
    either = {"matchExpressions": [{"key": "sei.io/node", "operator": "In", "values": [node, "unwell"]}]}
    container = {"name": "none", "image": "none", "securityContext": {"allowPrivilegeEscalation": False}}
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta | {"name": "unwell", "labels": {"sei.io/node": "unwell"}},
            "spec": {"containers": [container], "nodeSelector": {"there-is": "none"}},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": meta | {"name": "not-now"},
            "spec": {"minAvailable": 1, "selector": either},
        },
    ]


def _spoil_the_hold(scene: Scene) -> None:
    """Change the hold in ways that deny no less, so that the run has to put it right."""
    noted = [{"op": "add", "path": "/spec/auditAnnotations", "value": [{"key": "by", "valueExpression": "'x'"}]}]
    audited = [{"op": "replace", "path": "/spec/validationActions", "value": ["Deny", "Audit"]}]
    for kind, change in (("validatingadmissionpolicy", noted), ("validatingadmissionpolicybinding", audited)):
        scene.cluster.kubectl("patch", kind, "seimigrate-hold", "--type=json", "-p", json.dumps(change))
