"""Unusable configuration and credentials: one clear error with a hint, and never a token in it."""

from __future__ import annotations

import json
import logging
import socket
import sys
import traceback
from pathlib import Path

import pytest
import yaml

from seimigrate.adapters.api import ApiCluster, connect
from seimigrate.adapters.connection import encode
from seimigrate.engine.errors import SeimigrateError, Unauthorized, Unreachable
from tests.controlplane.process import ControlPlane

SECRET = "s3cret-t0ken-of-nobody"


def write_config(path: Path, server: str, user: dict[str, object]) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def told(error: BaseException) -> str:
    """Give everything that could be printed of an error."""
    hint = getattr(error, "hint", "")
    return "".join(traceback.format_exception(error)) + hint


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeimigrateError, match=r"there is no kubeconfig: .*nowhere") as caught:
        connect(None, str(tmp_path / "nowhere"))
    assert caught.value.hint


def test_without_any_kubeconfig_outside_of_a_cluster_there_is_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SeimigrateError) as caught:
        connect()
    assert "--kubeconfig" in caught.value.hint


def test_in_a_pod_without_its_token_file_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(SeimigrateError, match="the pod's own credentials"):
        connect()


def test_kubeconfig_of_the_environment_is_read_at_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", write_config(tmp_path / "config", "https://127.0.0.1:1", {"token": SECRET}))
    assert connect().host == "https://127.0.0.1:1"


def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config", "https://127.0.0.1:1", {"token": SECRET})
    with pytest.raises(SeimigrateError, match="context wrong") as caught:
        connect("wrong", config)
    assert "get-contexts" in caught.value.hint


def test_a_failing_credential_plugin_is_told_with_its_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    script = "import sys; sys.exit('please log in')"
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-c", script]}
    config = write_config(tmp_path / "config", "https://127.0.0.1:1", {"exec": plugin})
    with pytest.raises(SeimigrateError, match=r"credential plugin failed.*please log in"):
        connect(None, config)


def test_a_credential_plugin_that_is_not_there_is_told(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}
    config = write_config(tmp_path / "config", "https://127.0.0.1:1", {"exec": plugin})
    with pytest.raises(SeimigrateError, match=r"credential plugin failed.*no-such-plugin"):
        connect(None, config)


def test_where_nobody_listens_a_read_is_unreachable_with_the_address(tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{free_port()}"
    cluster = ApiCluster(connect(None, write_config(tmp_path / "config", url, {"token": SECRET})))
    with pytest.raises(Unreachable, match="refused") as caught:
        cluster.cluster_id()
    assert url in str(caught.value)
    assert "kubectl cluster-info" in caught.value.hint
    assert SECRET not in told(caught.value)


def test_a_name_that_no_resolver_knows_is_unreachable(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config", "https://cluster.invalid:6443", {"token": SECRET})
    with pytest.raises(Unreachable, match=r"cluster\.invalid"):
        connect(None, config).request("POST", "/api/v1/namespaces", body={})


def test_a_server_that_is_silent_is_unreachable_after_the_time_given(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        connection = connect(None, write_config(tmp_path / "config", url, {"token": SECRET}))
        with pytest.raises(Unreachable, match="timed out"):
            connection.request("PATCH", "/api/v1/namespaces/x", body=[], timeout=0.2)


def test_a_token_that_no_header_can_carry_is_not_quoted(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config", "http://127.0.0.1:1", {"token": f"{SECRET}\nX-Other: 1"})
    with pytest.raises(Unauthorized) as caught:
        connect(None, config).request("GET", "/version")
    assert SECRET not in told(caught.value)


def test_a_token_with_letters_beyond_latin_is_not_quoted(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config", f"http://127.0.0.1:{free_port()}", {"token": f"{SECRET}€"})
    with pytest.raises(SeimigrateError) as caught:
        connect(None, config).request("GET", "/version")
    assert SECRET not in told(caught.value)


def test_characters_that_go_escapes_are_sent_escaped() -> None:
    body = {"a": "if [ 1 <2 ] && exit >&2", "<&>": ["\\u003c", "ü"]}
    sent = encode(body)
    assert not set(b"<>&") & set(sent)
    assert json.loads(sent) == body


def test_a_token_that_the_server_does_not_know_is_unauthorized_and_not_quoted(
    controlplane: ControlPlane, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = controlplane.kubeconfig("operator", tmp_path / "config", token=SECRET)
    with pytest.raises(Unauthorized) as caught:
        ApiCluster(connect(None, str(path))).cluster_id()
    assert "kubectl auth whoami" in caught.value.hint
    assert SECRET not in told(caught.value) + caplog.text


def test_a_server_of_another_authority_is_unreachable_for_its_certificate(
    controlplane: ControlPlane, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "config", controlplane.url, {"token": SECRET})
    with pytest.raises(Unreachable, match="certificate") as caught:
        connect(None, config).request("GET", "/version")
    assert "certificate-authority" in caught.value.hint


def test_requests_are_told_apart_by_their_user_agent(controlplane: ControlPlane) -> None:
    mark = controlplane.audit_mark()
    controlplane.admin.request("GET", "/api/v1/namespaces/default")
    agents = [each["userAgent"] for each in controlplane.audit_events(mark) if each["user"]["username"] == "admin"]
    assert agents
    assert all(agent.startswith("seimigrate/") for agent in agents)
