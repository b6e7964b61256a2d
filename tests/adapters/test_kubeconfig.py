"""A kubeconfig that is off is named, with what is wrong with it and what to do, and no credential is quoted."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from seimigrate.adapters.connection import connect
from seimigrate.engine.errors import SeimigrateError

SERVER = "https://127.0.0.1:1"


def config(
    *,
    context: object = None,
    cluster: object = None,
    user: object = None,
    **parts: object,
) -> str:
    """Give a sound kubeconfig with some of its parts replaced."""
    whole = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": context or {"cluster": "x", "user": "u"}}],
        "clusters": [{"name": "x", "cluster": cluster or {"server": SERVER}}],
        "users": [{"name": "u", "user": user or {"token": "SECRET"}}],
    }
    return yaml.safe_dump({**whole, **parts})


def refused(file: Path, context: str | None = None) -> str:
    with pytest.raises(SeimigrateError) as caught:
        connect(context, str(file))
    assert caught.value.hint
    told = caught.value.message
    assert str(file) in told
    assert "Error" not in told, "the name of a Python error helps nobody"
    assert "SECRET" not in told
    return told


FILES = [
    (": : {[", "is not YAML, line 1"),
    ("a: [1\nb: 2\n", "is not YAML, line 2"),
    ("", "is empty"),
    ("- a\n", "is a list instead of a mapping with clusters, contexts and users"),
    ("hello", "is text instead of a mapping"),
    ("apiVersion: v1\nkind: Config\n", "has no current-context"),
    (config(contexts=5), "contexts must be a list, not a number"),
    (config(users="SECRET"), "users must be a list, not text"),
    (config(clusters=["x"]), "clusters[0] must be a mapping with a name and a cluster"),
    (config(contexts=[{"name": "c"}]), "contexts[0].context (c) must be a mapping, not nothing"),
    (config(**{"current-context": ["c"]}), "current-context must be text, not a list"),
    (config(**{"current-context": "d"}), "has no context d"),
    (config(context={"user": "u"}), "context c names no cluster"),
    (config(clusters=[]), "context c names cluster x, which is not there"),
    (config(users=None), "context c names user u, which is not there"),
    (config(cluster={"insecure-skip-tls-verify": True}), "the server of cluster x is missing"),
    (config(cluster={"server": 12}), "clusters[0].cluster.server (x) must be text, not a number"),
    (config(cluster={"server": "htp:/x y"}), "the server of cluster x is htp:/x y, and no address like https://HOST"),
    (config(cluster={"server": "https://h:port"}), "the server of cluster x is https://h:port, and no address"),
    (
        config(cluster={"server": SERVER, "certificate-authority-data": "#"}),
        "clusters[0].cluster.certificate-authority-data (x) is not base64",
    ),
    (config(user={"token": ["SECRET"]}), "users[0].user.token (u) must be text, not a list"),
    (config(user={"exec": 5}), "users[0].user.exec (u) must be a mapping with command, which is text"),
    (config(user={"tokenFile": "/nonexistent"}), "/nonexistent: No such file or directory"),
]


@pytest.mark.parametrize(("text", "told"), FILES, ids=[told[:40] for _, told in FILES])
def test_what_is_wrong_with_a_kubeconfig_is_said(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    assert told in refused(file)


def test_what_is_no_text_or_may_not_be_read_is_said(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_bytes(b"\xff\xfe\x00")
    assert "is not text" in refused(file)


def test_a_sound_kubeconfig_is_taken_and_the_entries_may_be_in_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text(config(users=[]))
    other.write_text(yaml.safe_dump({"users": [{"name": "u", "user": {"token": "SECRET"}}]}))
    monkeypatch.setenv("KUBECONFIG", f"{one}:{other}")
    assert connect().host == SERVER
    one.write_text(config(context={"cluster": "x", "user": ""}))
    assert connect(None, str(one)).host == SERVER
