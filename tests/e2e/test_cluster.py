"""What the test cluster is good for: everything that only a real kubelet, container, network or proxy can show."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seimigrate.adapters.pods import ForwardedPodClient
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import Unreachable
from seimigrate.simulation.objects import CONTROLLER_NAME, CONTROLLER_NAMESPACE, condition
from tests.e2e import cgroups, configuration, keeper, places
from tests.e2e.cluster import TestCluster, find
from tests.e2e.fleet import Fleet
from tests.e2e.places import CHECKOUT

MODES = ("fullNode", "archive", "replayer", "validator", "seed")
IGNORED = ("/v0/healthz", "/v0/livez", "/v0/startupz", "/v0/metrics")


@pytest.fixture(scope="module")
def nodes(fleet: Fleet, make_sei_namespace: Callable[[], str]) -> str:
    """Give a namespace with one Ready node of each mode, under the old controller."""
    namespace = make_sei_namespace()
    fleet.install("old", poll_seconds=5)
    for mode in MODES:
        fleet.add(namespace, _name(mode), mode, sidecar_port=7788 if mode == "archive" else 7777)
    fleet.await_ready(namespace, *map(_name, MODES))
    return namespace


def _name(mode: str) -> str:
    return f"{mode.lower()}-0"


@pytest.mark.usefixtures("test_cluster")
class TestTheClusterItself:
    def test_is_one_ready_kubernetes_node(self, test_cluster: TestCluster) -> None:
        node = test_cluster.get(Kind.NODE, "", configuration.FIRST.name)
        assert condition(node, "Ready") == "True"
        runtime = node["status"]["nodeInfo"]["containerRuntimeVersion"]
        print(node["status"]["nodeInfo"]["kubeletVersion"], runtime)
        assert runtime.startswith("containerd://2.")

    def test_is_reached_from_outside_and_from_inside(self, test_cluster: TestCluster) -> None:
        assert test_cluster.admin.request("GET", "/version")["major"] == "1"
        program = "from seimigrate.adapters.api import connect; print(connect().request('GET', '/version')['major'])"
        inside = test_cluster.enter(sys.executable, "-c", program, env={"PYTHONPATH": str(CHECKOUT)}, check=True)
        assert inside.stdout.strip() == "1"

    def test_adds_no_address_to_the_machines_network(self, test_cluster: TestCluster) -> None:
        addresses = Path("/proc/net/fib_trie").read_text()
        assert configuration.FIRST.address not in addresses
        assert test_cluster.enter("ip", "-brief", "address", check=True).stdout.count(configuration.FIRST.address) == 1

    def test_its_audit_log_tells_of_writes_and_of_no_token(self, test_cluster: TestCluster) -> None:
        mark = test_cluster.audit_mark()
        name = f"audited-{secrets.token_hex(4)}"
        test_cluster.create(Kind.CONFIG_MAP, {"metadata": {"namespace": "default", "name": name}})
        token = test_cluster.token("default", "default")
        events = list(test_cluster.audit_events(mark))
        assert [each["verb"] for each in events if each.get("objectRef", {}).get("name") == name] == ["create"]
        assert token not in json.dumps(events)
        assert test_cluster.tokens["admin"] not in json.dumps(events)

    def test_leaves_nothing_behind_when_the_process_that_holds_it_and_a_second_machine_is_killed(self) -> None:
        holder, state, second = _hold_a_cluster_elsewhere("and a second machine")
        assert _processes_of(second)
        holder.kill()
        holder.wait()
        _await(lambda: not (state.exists() or second.exists()), "the folders to go")
        assert _cgroups_of(state) + _cgroups_of(second) == []
        assert _processes_of(state) + _processes_of(second) == []

    def test_leaves_files_at_most_when_its_keeper_is_killed_and_the_next_one_removes_them(self) -> None:
        holder, state, _ = _hold_a_cluster_elsewhere()
        try:
            kept = [pid for pid in _processes_of(state) if "tests.e2e.keeper" in _command(pid)]
            assert len(kept) == 1
            os.kill(kept[0], signal.SIGKILL)
            _await(lambda: _processes_of(state) == [], "the node's programs to go")
        finally:
            holder.kill()
            holder.wait()
        with keeper.alone(places.states()):
            keeper.sweep(places.states())
        assert not state.exists()
        assert _cgroups_of(state) == []


class TestSeiNodes:
    @pytest.mark.parametrize("mode", MODES)
    def test_of_each_mode_get_ready_under_the_old_controller(
        self, nodes: str, fleet: Fleet, test_cluster: TestCluster, mode: str
    ) -> None:
        assert fleet.is_ready(nodes, _name(mode))
        pod = fleet.pod(nodes, _name(mode))
        order = [(each["name"], each.get("restartPolicy", "")) for each in pod["spec"]["initContainers"]]
        assert order == [("seid-init", ""), ("sei-sidecar", "Always"), ("kube-rbac-proxy", "Always")]
        containers = [each["name"] for each in pod["spec"]["containers"]]
        assert containers == (["seid"] if mode == "seed" else ["seid", "cosmos-exporter"])
        for each in pod["spec"]["initContainers"] + pod["spec"]["containers"]:
            assert each["securityContext"]["runAsNonRoot"]
        log = test_cluster.kubectl("-n", nodes, "logs", f"{_name(mode)}-0", "-c", "seid")
        assert "sidecar ready, starting seid" in log

    def test_are_found_by_name_from_a_pod(self, nodes: str, fleet: Fleet, test_cluster: TestCluster) -> None:
        name = f"fullnode-0-0.fullnode-0.{nodes}.svc.cluster.local"
        program = f"import socket; print(socket.gethostbyname('{name}'))"
        where = ("-n", CONTROLLER_NAMESPACE, "exec", f"deployment/{CONTROLLER_NAME}", "--")
        found = test_cluster.kubectl(*where, "/python/bin/python3", "-c", program).strip()
        assert found == fleet.pod(nodes, "fullnode-0")["status"]["podIP"]

    def test_are_marked_ready_by_their_controller_after_their_pod_was_deleted(
        self, nodes: str, fleet: Fleet, test_cluster: TestCluster
    ) -> None:
        name, before = "replayer-0", fleet.pod(nodes, "replayer-0")["metadata"]["uid"]
        seen = len(fleet.events(nodes, name, "sidecar"))
        fleet.switch(nodes, name, "stop-seconds", "3")
        test_cluster.kubectl("-n", nodes, "delete", "pod", f"{name}-0", "--wait=false")
        test_cluster.wait_for(lambda: test_cluster.pod_gone(nodes, before), "the old pod to go")
        fleet.await_ready(nodes, name)
        assert fleet.pod(nodes, name)["metadata"]["uid"] != before
        asked = [each for each in fleet.events(nodes, name, "sidecar")[seen:] if each["event"] == "request"]
        tasks = [(each["task"], each["user"], each["status"]) for each in asked if each["method"] == "POST"]
        account = f"system:serviceaccount:{CONTROLLER_NAMESPACE}:{CONTROLLER_NAME}"
        assert ("mark-ready", account, 201) in tasks
        told = [each["event"] for each in fleet.events(nodes, name, "seid")]
        print(told)
        assert told == ["start", "stopping", "clean stop", "start"]

    def test_keep_their_height_and_are_seen_growing_through_a_forwarded_port(
        self, nodes: str, test_cluster: TestCluster
    ) -> None:
        pods = ForwardedPodClient(test_cluster.admin)

        def height() -> int:
            answer = pods.call(nodes, "fullnode-0-0", 26657, "GET", "/status")
            return int(json.loads(answer.body)["result"]["sync_info"]["latest_block_height"])

        first = height()
        assert first >= 1000
        test_cluster.wait_for(lambda: height() > first, "the height to grow")

    def test_obey_switches_on_their_volume(self, nodes: str, fleet: Fleet, test_cluster: TestCluster) -> None:
        pods = ForwardedPodClient(test_cluster.admin)

        def status(path: str) -> int:
            return pods.call(nodes, "seed-0-0", 7777, "GET", path).status

        fleet.switch(nodes, "seed-0", "without", "/v0/metrics")
        fleet.switch(nodes, "seed-0", "unready.split")
        assert (status("/v0/metrics"), status("/v0/healthz")) == (404, 200)
        fleet.switch(nodes, "seed-0", "unready.shared")
        assert status("/v0/healthz") == 503
        for each in ("without", "unready.split", "unready.shared"):
            fleet.unswitch(nodes, "seed-0", each)
        assert (status("/v0/metrics"), status("/v0/healthz")) == (200, 200)


class TestTheProxy:
    def test_lets_ignored_paths_pass_and_asks_for_the_rest(self, nodes: str, test_cluster: TestCluster) -> None:
        pods = ForwardedPodClient(test_cluster.admin)
        passed = {path: pods.call(nodes, "fullnode-0-0", 8443, "GET", path).status for path in IGNORED}
        assert passed == dict.fromkeys(IGNORED, 200)
        assert pods.call(nodes, "fullnode-0-0", 8443, "GET", "/v0/tasks").status == 401

    def test_refuses_an_account_without_the_right_and_serves_one_with_it(
        self, nodes: str, test_cluster: TestCluster
    ) -> None:
        stranger = ForwardedPodClient(test_cluster.admin, lambda: test_cluster.token("default", "default"))
        assert stranger.call(nodes, "fullnode-0-0", 8443, "GET", "/v0/tasks", authorised=True).status == 403
        controller = ForwardedPodClient(
            test_cluster.admin, lambda: test_cluster.token(CONTROLLER_NAMESPACE, CONTROLLER_NAME)
        )
        answer = controller.call(nodes, "fullnode-0-0", 8443, "GET", "/v0/tasks", authorised=True)
        assert answer.status == 200
        assert "mark-ready" in {task["type"] for task in json.loads(answer.body)}

    def test_gives_a_forgotten_task_id_no_second_effect(self, nodes: str, test_cluster: TestCluster) -> None:
        pods = ForwardedPodClient(test_cluster.admin, lambda: test_cluster.token(CONTROLLER_NAMESPACE, CONTROLLER_NAME))

        def post(kind: str, **more: object) -> str:
            body = {"type": kind, **more}
            answer = pods.call(nodes, "validator-0-0", 8443, "POST", "/v0/tasks", body=body, authorised=True)
            assert answer.status == 201
            return str(json.loads(answer.body)["id"])

        def tasks() -> dict[str, Object]:
            answer = pods.call(nodes, "validator-0-0", 8443, "GET", "/v0/tasks", authorised=True)
            return {task["id"]: task for task in json.loads(answer.body)}

        failed, running = post("reset-data", params={"outcome": "failed"}), post("x", params={"outcome": "running"})
        assert (tasks()[failed]["status"], tasks()[running]["status"]) == ("failed", "running")
        marked = post("mark-ready")
        assert marked in tasks()
        completed = post("config-patch")
        assert post("config-patch", id=completed) == completed
        assert next(iter(tasks())) == completed


class TestNetworkPolicies:
    def test_are_enforced_and_leave_probes_and_forwarded_ports_alone(
        self, nodes: str, fleet: Fleet, test_cluster: TestCluster
    ) -> None:
        test_cluster.apply(json.dumps(_caller(nodes)))
        test_cluster.wait_for(lambda: test_cluster.pod_ready(nodes, "caller"), "the calling pod")
        host = f"fullnode-0-0.fullnode-0.{nodes}.svc.cluster.local"

        def reaches(port: int) -> bool:
            script = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/{port}'"
            return (
                test_cluster.enter("kubectl", "-n", nodes, "exec", "caller", "--", "bash", "-c", script).returncode == 0
            )

        assert (reaches(8443), reaches(26656)) == (True, True)
        test_cluster.apply(json.dumps(_only_p2p(nodes)))
        test_cluster.wait_for(lambda: not reaches(8443), "the policy to be enforced")
        assert (reaches(8443), reaches(26656)) == (False, True)
        pods = ForwardedPodClient(test_cluster.admin)
        assert pods.call(nodes, "fullnode-0-0", 8443, "GET", "/v0/healthz").status == 200
        assert test_cluster.pod_ready(nodes, "fullnode-0-0")
        test_cluster.kubectl("-n", nodes, "delete", "networkpolicy", "only-p2p")
        test_cluster.wait_for(lambda: reaches(8443), "the policy to be lifted")


class TestForwardedPorts:
    def test_that_nobody_listens_on_are_unreachable(self, nodes: str, test_cluster: TestCluster) -> None:
        with pytest.raises(Unreachable, match=f"{nodes}/fullnode-0-0:9100: nobody listens on port 9100"):
            ForwardedPodClient(test_cluster.admin).call(nodes, "fullnode-0-0", 9100, "GET", "/v0/healthz")


class TestTheNewController:
    def test_renders_the_split_and_marks_ready_what_it_polls_on_the_public_port(
        self, nodes: str, fleet: Fleet, make_sei_namespace: Callable[[], str], test_cluster: TestCluster
    ) -> None:
        fleet.stop()
        for mode in MODES:  # their controller's upgrade would roll all of them
            test_cluster.kubectl("-n", nodes, "delete", "seinode", _name(mode))
        fleet.install("new", poll_seconds=5)
        namespace = make_sei_namespace()
        fleet.add(namespace, "split-0")
        fleet.await_ready(namespace, "split-0")
        pods = ForwardedPodClient(test_cluster.admin)
        assert pods.call(namespace, "split-0-0", 9100, "GET", "/v0/metrics").status == 200
        assert pods.call(namespace, "split-0-0", 8443, "GET", "/v0/metrics").status == 401
        asked = [each for each in fleet.events(namespace, "split-0", "sidecar") if each["event"] == "request"]
        assert {each["listener"] for each in asked if each["path"] == "/v0/healthz"} == {"public"}
        assert {each["listener"] for each in asked if each["path"] == "/v0/tasks"} == {"tasks"}


# Helpers.


def _caller(namespace: str) -> Object:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    container = {"name": "caller", "image": "ghcr.io/sei-protocol/sei:v6.3.0", "command": ["sleep", "3600"]}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container | {"securityContext": security}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "caller", "namespace": namespace}, "spec": spec}


def _only_p2p(namespace: str) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "only-p2p", "namespace": namespace},
        "spec": {
            "podSelector": {"matchLabels": {"sei.io/node": "fullnode-0"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": 26656, "protocol": "TCP"}]}],
        },
    }


HOLDER = """
import contextlib, sys, time
from tests.e2e.cluster import TestCluster, find
from tests.e2e.secondmachine import SecondMachine
programs, _ = find()
with TestCluster(*programs) as held:
    second = SecondMachine(held)
    with second if sys.argv[1:] else contextlib.nullcontext():
        print(held.folder, second.folder, flush=True)
        time.sleep(600)
"""


def _hold_a_cluster_elsewhere(*second: str) -> tuple[subprocess.Popen[str], Path, Path]:
    """Let another process hold a cluster; give the folders of its machines, of which the second one may not be."""
    assert find()[0] is not None
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *second],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )
    assert holder.stdout is not None
    with holder.stdout:
        folders = holder.stdout.readline().split()
    assert folders, "no second cluster"
    return holder, Path(folders[0]), Path(folders[1])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _processes_of(state: Path) -> list[int]:
    """Give the processes whose command names a cluster's folder: every program of a node does, or its parent."""
    numbers = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
    return [number for number in numbers if str(state) in _command(number)]


def _cgroups_of(state: Path) -> list[Path]:
    return [path for path in cgroups.ROOT.rglob(state.name) if path.is_dir()]


def _await(reached: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)
