"""What is wrong with a kubeconfig, said before the kubernetes client stumbles over it with a ``TypeError``.

Only what a connection needs is looked at; no value of a credential is ever quoted.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from seimigrate.engine.errors import SeimigrateError

_LISTS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_TEXTS = {
    "contexts": ("cluster", "user", "namespace"),
    "clusters": ("server", "certificate-authority", "certificate-authority-data", "tls-server-name", "proxy-url"),
    "users": (
        *("token", "tokenFile", "username", "password"),
        *("client-certificate", "client-certificate-data", "client-key", "client-key-data"),
    ),
}
_KINDS = {dict: "a mapping", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
_CONTEXTS = "see the contexts that there are: kubectl config get-contexts"

Config = Mapping[str, Any]


def check(files: Sequence[Path], context: str | None) -> None:
    """Raise ``SeimigrateError`` naming the file and what is wrong with it; of several files the first entry counts."""
    configs = [_read(file) for file in files if file.is_file()]
    where = f"kubeconfig {':'.join(map(str, files))}"
    chosen = context or next((each["current-context"] for each in configs if each.get("current-context")), None)
    if chosen is None:
        raise SeimigrateError(f"{where} has no current-context", hint=f"name one: --context NAME; {_CONTEXTS}")
    if (found := _entry(configs, "contexts", chosen)) is None:
        raise SeimigrateError(f"{where} has no context {chosen}", hint=_CONTEXTS)
    if not found.get("cluster"):
        raise SeimigrateError(f"{where}: context {chosen} names no cluster", hint=_view(files))
    for kind in ("cluster", "user"):
        if found.get(kind) and _entry(configs, f"{kind}s", found[kind]) is None:
            told = f"context {chosen} names {kind} {found[kind]}, which is not there"
            raise SeimigrateError(f"{where}: {told}", hint=_view(files))
    server = (_entry(configs, "clusters", found["cluster"]) or {}).get("server", "")
    if not _is_address(server):
        told = f"is {server}, and no address like https://HOST:PORT" if server else "is missing"
        raise SeimigrateError(f"{where}: the server of cluster {found['cluster']} {told}", hint=_view(files))


def _read(file: Path) -> Config:
    try:
        data = yaml.safe_load(file.read_bytes().decode())
    except OSError as error:
        raise _bad(file, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _bad(file, "is not text") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise _bad(file, f"is not YAML{line}") from None
    if data is None:
        raise _bad(file, "is empty")
    if problem := next(_problems(data), None):
        raise _bad(file, problem)
    config: Config = data
    return config


def _problems(data: Any) -> Iterator[str]:
    if not isinstance(data, dict):
        yield f"is {_kind(data)} instead of a mapping with clusters, contexts and users"
        return
    if not isinstance(data.get("current-context") or "", str):
        yield f"current-context must be text, not {_kind(data['current-context'])}"
    for key, kind in _LISTS.items():
        entries = data.get(key) or []
        if not isinstance(entries, list):
            yield f"{key} must be a list, not {_kind(entries)}"
            return
        for index, entry in enumerate(entries):
            yield from _entry_problems(f"{key}[{index}]", kind, entry, _TEXTS[key])


def _entry_problems(place: str, kind: str, entry: Any, texts: Sequence[str]) -> Iterator[str]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        yield f"{place} must be a mapping with a name and a {kind}"
        return
    value = entry.get(kind)
    if not isinstance(value, dict):
        yield f"{place}.{kind} ({entry['name']}) must be a mapping, not {_kind(value)}"
        return
    for key in texts:
        given = value.get(key)
        if given is not None and not isinstance(given, str):
            yield f"{place}.{kind}.{key} ({entry['name']}) must be text, not {_kind(given)}"
        elif given and key.endswith("-data") and not _is_base64(given):
            yield f"{place}.{kind}.{key} ({entry['name']}) is not base64"
    plugin = value.get("exec", {"command": "", "apiVersion": ""})
    for key in ("command", "apiVersion"):
        if not isinstance(plugin, dict) or not isinstance(plugin.get(key), str):
            yield f"{place}.{kind}.exec ({entry['name']}) must be a mapping with {key}, which is text"


def _entry(configs: Sequence[Config], key: str, name: str) -> Config | None:
    entries = (entry for each in configs for entry in each.get(key) or [])
    return next((entry[_LISTS[key]] for entry in entries if entry["name"] == name), None)


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and port != 0 and " " not in text


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode("".join(text.split()), validate=True))
    except ValueError:
        return False


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "nothing")


def _bad(file: Path, problem: str) -> SeimigrateError:
    return SeimigrateError(f"kubeconfig {file}: {problem}", hint=_view([file]))


def _view(files: Sequence[Path]) -> str:
    named = f"--kubeconfig {files[0]} " if len(files) == 1 else ""
    return f"mend it, or name another with --kubeconfig; to see it: kubectl {named}config view"
