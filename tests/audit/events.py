"""What the two logs say, line by line: requests to the API server, and calls to pods."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
Key = tuple[str, str, str]
"""An object: the plural of its kind, its namespace, its name."""

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the API server, answered; ``at`` is when it arrived, in seconds since 1970."""

    audit_id: str
    at: float
    user: str
    agent: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    query: Mapping[str, str]
    code: int
    body: Any
    answer: Any

    @property
    def key(self) -> Key:
        """Give the object that the request is about."""
        return (self.resource, self.namespace, self.name)

    @property
    def what(self) -> str:
        """Give the object as a person would write it."""
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{resource} {self.namespace}/{self.name}" if self.namespace else f"{resource} {self.name}"

    @property
    def ok(self) -> bool:
        """Say whether the API server did it."""
        return 200 <= self.code < 300

    @property
    def dry(self) -> bool:
        """Say whether the request was only a question."""
        return bool(self.query.get("dryRun") or self.options.get("dryRun"))

    @property
    def write(self) -> bool:
        """Say whether the request asked for a change."""
        return self.verb in WRITES and not self.dry

    @property
    def evicts(self) -> bool:
        """Say whether the request asks to evict a pod."""
        return self.resource == "pods" and self.subresource == "eviction" and self.verb == "create"

    @property
    def kills(self) -> bool:
        """Say whether the request asks for the end of one pod or more, by deletion or eviction."""
        deletes = self.resource == "pods" and not self.subresource and self.verb in ("delete", "deletecollection")
        return self.write and (deletes or self.evicts)

    @property
    def options(self) -> Json:
        """Give the DeleteOptions that the request carries, in whatever form; empty if none."""
        body = self.body if isinstance(self.body, dict) else {}
        if self.evicts:
            return dict(body.get("deleteOptions") or {})
        if self.verb in ("delete", "deletecollection"):
            return body
        return {}

    @property
    def revision(self) -> int | None:
        """Give the resourceVersion of the object in the answer."""
        return revision_of(self.answer)


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request to a pod; ``body`` is parsed where it is JSON."""

    at: float
    namespace: str
    pod: str
    uid: str
    port: int
    method: str
    path: str
    user: str | None
    status: int
    body: Any

    @property
    def what(self) -> str:
        """Give the pod as a person would write it."""
        return f"pods {self.namespace}/{self.pod}"


def revision_of(answer: Any) -> int | None:
    """Give an object's resourceVersion as a number: etcd's revision, which orders all writes of a cluster."""
    if not isinstance(answer, dict) or answer.get("kind") == "Status":
        return None
    text = str((answer.get("metadata") or {}).get("resourceVersion", ""))
    return int(text) if text.isdigit() else None


def parse_audit(lines: Iterable[str | Json]) -> list[Request]:
    """Read an audit log (audit.k8s.io/v1); a request that is only begun (an open watch) counts once it is told of."""
    requests: dict[str, Request] = {}
    for number, event in enumerate(_parsed(lines)):
        stage = event.get("stage")
        watching = stage == "ResponseStarted" and event.get("verb") == "watch"
        if stage == "ResponseComplete" or watching:
            request = _request(event, str(event.get("auditID") or f"line {number}"))
            requests.setdefault(request.audit_id, request)
    return list(requests.values())


def parse_calls(lines: Iterable[str | Json]) -> list[Call]:
    """Read the pods' request log, ordered by time."""
    calls = [_call(line) for line in _parsed(lines) if "method" in line]
    return sorted(calls, key=lambda call: call.at)


def _parsed(lines: Iterable[str | Json]) -> Iterator[Json]:
    """Parse JSON lines; the last may be cut off, because its writer may have been killed."""
    broken: ValueError | None = None
    for line in lines:
        if broken is not None:
            raise broken
        if not isinstance(line, str):
            yield line
        elif line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                broken = ValueError(f"not a line of JSON: {line[:80]!r} ({error})")


def _request(event: Json, audit_id: str) -> Request:
    target = event.get("objectRef") or {}
    answer = event.get("responseObject")
    made = (answer.get("metadata") or {}).get("name", "") if isinstance(answer, dict) else ""
    query = parse_qs(urlsplit(event.get("requestURI") or "").query, keep_blank_values=True)
    return Request(
        audit_id=audit_id,
        at=seconds(event.get("requestReceivedTimestamp") or event.get("stageTimestamp") or ""),
        user=(event.get("user") or {}).get("username", ""),
        agent=event.get("userAgent") or "",
        verb=event.get("verb") or "",
        group=target.get("apiGroup") or "",
        resource=target.get("resource") or "",
        subresource=target.get("subresource") or "",
        namespace=target.get("namespace") or "",
        name=target.get("name") or made,
        query={name: values[-1] for name, values in query.items()},
        code=int((event.get("responseStatus") or {}).get("code") or 0),
        body=event.get("requestObject"),
        answer=answer,
    )


def _call(line: Json) -> Call:
    body = line.get("body")
    if isinstance(body, str):
        with suppress(ValueError):  # metrics and the like: only tasks are JSON, and only they are looked into
            body = json.loads(body)
    return Call(
        at=float(line["time"]),
        namespace=line["namespace"],
        pod=line["pod"],
        uid=line.get("uid") or "",
        port=int(line.get("port") or 0),
        method=line["method"],
        path=urlsplit(line["path"]).path,
        user=line.get("user"),
        status=int(line.get("status") or 0),
        body=body,
    )


def seconds(timestamp: str) -> float:
    """Turn an audit timestamp into seconds since 1970; what is no timestamp is 0."""
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return 0.0
