"""What a filled-in page says, typed as it stands: the real kubectl brings a node back as the program would."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from seimigrate.adapters.api import ApiCluster, path_of
from seimigrate.adapters.clock import SystemClock
from seimigrate.app import break_glass_files
from seimigrate.app.selection import Selection
from seimigrate.app.snapshot import ClusterSnapshot
from seimigrate.domain.kube import changes
from seimigrate.domain.kube.changes import Change
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind, Object
from seimigrate.domain.node import preflight, transforms
from seimigrate.domain.plan.plan import StageName, Strategy
from seimigrate.planfile import read_plan
from tests.apiserver.conftest import MakeScene
from tests.apiserver.killing import Stopper
from tests.apiserver.scene import NAME, Scene, let_sleep
from tests.forking import FORKS

MODES = ("fullNode", "archive", "replayer", "validator", "seed")
OURS = ("seimigrate.sei.io/hold", "seimigrate.sei.io/freeze")


@pytest.mark.parametrize("stages", [("hold", "check", "expose", "probes"), ("ready", "enforce", "policy", "release")])
def test_from_each_stage_the_commands_of_its_page_give_the_node_back_as_it_was(
    make_scene: MakeScene, stages: tuple[str, ...]
) -> None:
    scene = make_scene()
    before = (scene.statefulset["spec"], scene.service["spec"])
    for stage in stages:
        Stopper(scene).run(stage, "apply", "--strategy", "staged")
        page = scene.run("runbook show", f"rollback-{stage}")
        assert page.code == 0, page.err
        done = _type_in(scene, _by_hand(page.out))
        assert done.returncode == 0, f"{stage}: {done.stdout}{done.stderr}"
        assert (scene.statefulset["spec"], scene.service["spec"]) == before, stage
        assert [label for label in scene.ours() if label in OURS] == [], stage
        assert scene.ready, stage
        if stage != stages[-1]:
            _forget(scene)
    closed = scene.run("rollback", "-o", "json")
    assert closed.code == 0, closed.err
    assert scene.ours() == []
    assert (scene.statefulset["spec"], scene.service["spec"]) == before


@pytest.mark.parametrize("mode", MODES)
def test_in_each_mode_and_from_each_stage_a_page_of_the_bundle_gives_the_node_back_as_it_was(
    make_scene: MakeScene, mode: str, tmp_path: Path
) -> None:
    """Stages and strategies that leave a node in the same state, with the same commands, are one case."""
    scene = make_scene(mode, sidecar_port=7778 if mode == "validator" else 7777, judged=False)
    assert scene.run("hold").code == 0  # what judges the controller's writes is there from now on
    before = (scene.statefulset["spec"], scene.service["spec"])
    cluster, plan, key = ApiCluster(scene.controlplane.admin), read_plan(str(scene.plan)), (scene.namespace, NAME)
    typed: dict[tuple[str, str], str] = {}
    for strategy in Strategy:
        snapshot = ClusterSnapshot(cluster, Selection((key,), (scene.namespace,)), plan, SystemClock())
        break_glass_files.write(str(tmp_path), snapshot, [key], strategy, None)
        observed = snapshot.observe(key)
        assert observed.statefulset is not None
        merged = strategy is Strategy.MERGED
        writes = transforms.batches(
            observed.statefulset, preflight.pending_changes(observed, plan).changes, plan.parameters, merged=merged
        )
        for stage in StageName:
            due = [change for last, batch in writes for change in batch if last.position <= stage.position]
            commands = _by_hand((tmp_path / scene.namespace / NAME / f"rollback-{stage}.md").read_text())
            replaced = bool(due) and stage.position >= StageName.READY.position
            case = (commands, f"{replaced} {due}")
            if case in typed:
                print(f"{strategy} {stage}: as {typed[case]}")
                continue
            typed[case] = f"{strategy} {stage}"
            _reach(scene, due, replaced=replaced)
            done = _type_in(scene, commands)
            assert done.returncode == 0, f"{typed[case]}: {done.stdout}{done.stderr}"
            assert (scene.statefulset["spec"], scene.service["spec"]) == before, typed[case]
            assert [label for label in scene.ours() if label in OURS] == [], typed[case]
            assert scene.ready, typed[case]
    assert len(typed) >= 5


def test_a_patch_of_a_page_fails_where_somebody_else_changed_the_field(scene: Scene) -> None:
    assert scene.run("apply").code == 9
    page = scene.run("runbook show", "rollback-release").out
    index = next(n for n, c in enumerate(_inits(scene)) if c["name"] == "kube-rbac-proxy")
    path = f"/spec/template/spec/initContainers/{index}/livenessProbe/httpGet/port"
    scene.edit(Kind.STATEFUL_SET, {"op": "replace", "path": path, "value": 9999})
    spec = scene.statefulset["spec"]
    command = next(line for line in _by_hand(page).splitlines() if " patch statefulset " in line)
    done = _type_in(scene, command)
    assert done.returncode != 0
    assert scene.statefulset["spec"] == spec
    again = scene.run("runbook show", "rollback-release").out
    assert "Not reverted (modified by another client): StatefulSet" in again
    scene.edit(Kind.STATEFUL_SET, {"op": "replace", "path": path, "value": 9100})
    assert scene.run("rollback").code == 0


@pytest.mark.parametrize("page", ["stuck-hold", "chain-upgrade", "release-all-nodes"])
def test_a_node_that_is_only_held_is_let_go_as_a_page_says(scene: Scene, page: str) -> None:
    assert scene.run("hold").code == 0
    before = (scene.statefulset["spec"], scene.service["spec"])
    shown = scene.run("runbook show", page).out
    done = _type_in(scene, _by_hand(shown))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [label for label in scene.ours() if label in OURS] == []
    assert (scene.statefulset["spec"], scene.service["spec"]) == before
    assert scene.ready


def test_a_page_that_is_run_by_its_name_gives_the_node_back_as_it_was(scene: Scene) -> None:
    before = (scene.statefulset["spec"], scene.service["spec"])
    assert scene.run("apply", "--strategy", "merged").code == 9
    done = scene.run("runbook run", "stranded-split-sidecar", "-o", "json")
    assert done.code == 0, done.err
    assert done.json["nodes"][0]["outcome"] == "rolled-back"
    assert (scene.statefulset["spec"], scene.service["spec"]) == before
    assert scene.ours() == []


def _reach(scene: Scene, due: Sequence[Change], *, replaced: bool) -> None:
    """Hold a node, freeze it, write what is due and replace its pod: as a run leaves it that dies at a stage."""
    for kind, name in ((Kind.SERVICE, transforms.SERVICE), (Kind.STATEFUL_SET, transforms.STATEFUL_SET)):
        mine = [change for change in due if change.kind == name]
        labels = OURS if mine and kind is Kind.STATEFUL_SET else OURS[:1]
        patch = changes.to_patch(scene.models.get(kind, scene.namespace, NAME), mine)
        scene.edit(kind, *(_labelling(label) for label in labels))
        if patch:
            scene.edit(kind, *patch)
    if replaced:
        admin, pods, uid = scene.controlplane.admin, path_of(Kind.POD, scene.namespace), scene.pod["metadata"]["uid"]
        admin.request("DELETE", f"{pods}/{NAME}-0")

        def another() -> bool:
            return any(pod["metadata"]["uid"] != uid for pod in admin.request("GET", pods)["items"])

        scene.wait_for(another, "another pod")


def _labelling(label: str) -> Object:
    return {"op": "add", "path": f"/metadata/labels/{label.replace('/', '~1')}", "value": "r1"}


def _inits(scene: Scene) -> list[dict[str, str]]:
    found: list[dict[str, str]] = scene.statefulset["spec"]["template"]["spec"]["initContainers"]
    return found


def _forget(scene: Scene) -> None:
    """Let the next cutover begin as if there had been none: by hand nobody closes the journal."""
    for namespace, name in ((scene.namespace, f"seimigrate-{NAME}"), (SYSTEM_NAMESPACE, "seimigrate-run")):
        scene.controlplane.admin.request("DELETE", path_of(Kind.CONFIG_MAP, namespace, name))


def _by_hand(page: str) -> str:
    """Give the commands under "By hand" and under "Verify"."""
    by_hand = page.partition("### With kubectl only")[2].partition("## Follow-up")[0]
    return "".join(re.findall(r"^```sh\n(.*?)^```$", by_hand, re.MULTILINE | re.DOTALL))


def _type_in(scene: Scene, script: str) -> subprocess.CompletedProcess[str]:
    """Type commands as they stand, stopping at the first one that fails."""
    kubectl = scene.controlplane.programs / "kubectl"
    if not os.access(kubectl, os.X_OK):
        pytest.skip(f"no real kubectl: {kubectl} is missing")
    FORKS.script(scene.folder)
    let_sleep(scene.folder, 0.3)
    path = [str(scene.folder), str(kubectl.parent), os.environ["PATH"]]
    kubeconfig = scene.controlplane.kubeconfig("admin", scene.folder / "admin.kubeconfig")
    return subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        env=os.environ
        | {"PATH": ":".join(path), "KUBECONFIG": str(kubeconfig), "NO_COLOR": "1", "GOGC": "off", "GOMAXPROCS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
