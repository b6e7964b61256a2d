"""What the cluster shows, kept fresh by one list and one endless watch for each kind.

The kubernetes client's own watch resumes wrongly at 410 and hangs on a half-open link, so the loop is here: a watch
asks for bookmarks, ends after a minute by itself, is dead after a little more silence, and starts again where it
was; where that is too old (410) everything is listed again.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import urllib3

from seimigrate.adapters.api import Connection, list_with_version, path_of
from seimigrate.adapters.api_errors import Expired, error_for
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import ApiError, Forbidden, NotFound, SeimigrateError, Unauthorized

WATCH_SECONDS = 60
SILENCE_SECONDS = 75.0
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
MAX_REFUSALS = 4
"""So often in a row may a watch that once worked be forbidden: an API server that just started forbids at first."""

Key = tuple[Kind, str, str]


class InformerCache:
    """The newest known state of all objects of some kinds, in some namespaces or (none named) in all.

    ``optional`` are kinds that the API server need not serve: then there are no objects of them. ``elsewhere`` are
    kinds that are watched in another namespace (``""``: all) than the rest.
    """

    def __init__(
        self,
        connection: Connection,
        kinds: Collection[Kind],
        namespaces: Collection[str] = (),
        *,
        optional: Collection[Kind] = (),
        elsewhere: Mapping[Kind, str] | None = None,
    ) -> None:
        near = frozenset(kinds) | frozenset(optional)
        self._places = {kind: frozenset(namespaces) if kind.resource.namespaced else frozenset() for kind in near}
        self._places |= {kind: frozenset({where} - {""}) for kind, where in (elsewhere or {}).items()}
        self._changed = threading.Condition()
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = {kind: {} for kind in self._places}
        self._versions: dict[Key, int] = {}  # of deleted objects too: an old answer must not bring them back
        self._changes = 0
        self._noted = 0
        self._failure: SeimigrateError | None = None
        places = [
            (kind, namespace)
            for kind in sorted(self._places, key=lambda each: each.name)
            for namespace in sorted(self._places[kind]) or [""]
        ]
        shared = connection.with_own_pool(len(places) + 1)
        self._watches = [_Watch(self, shared, kind, where, kind in frozenset(optional)) for kind, where in places]

    def start(self) -> InformerCache:
        """Return when everything is listed; raises the first error, ``NotFound`` for a kind that is not served."""
        for watch in self._watches:
            watch.thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._failure or all(watch.listed for watch in self._watches))
        try:
            self._raise_failure()
        except SeimigrateError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all watches; what is known stays readable."""
        for watch in self._watches:
            watch.stop()
        for watch in self._watches:
            if watch.thread.is_alive():
                watch.thread.join(5)

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Give the newest known state of an object, ``None`` if it is not there."""
        self._require_watched(kind, namespace)
        with self._changed:
            self._raise_failure()
            return self._objects[kind].get((namespace, name))

    def list(self, kind: Kind, namespace: str = "") -> Sequence[Object]:
        """Give the newest known state of all objects of a kind in a namespace (``""``: all), ordered by name."""
        self._require_watched(kind, namespace)
        with self._changed:
            self._raise_failure()
            objects = self._objects[kind]
            return [objects[key] for key in sorted(key for key in objects if namespace in ("", key[0]))]

    def observe(self, kind: Kind, body: Object) -> None:
        """Take in the answer to a write of ours, unless something newer is known or the kind is not watched."""
        places = self._places.get(kind)
        if places is not None and (not places or body["metadata"].get("namespace", "") in places):
            self.on_event(kind, body)

    def wait_for_change(self, seconds: float) -> None:
        """Return when something has changed since the last call, at the latest after ``seconds``.

        Raises what ended a watch for good.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self._changes != self._noted, max(0.0, seconds))
            self._noted = self._changes
            self._raise_failure()

    def notify(self) -> None:
        """Let whoever waits return."""
        with self._changed:
            self._notify()

    # What the watches tell: from here on nothing is for the engine.

    def on_event(self, kind: Kind, body: Object, *, deleted: bool = False) -> None:
        """Take in one state of an object, if it is newer than what is known."""
        with self._changed:
            if self._store(kind, body, deleted):
                self._notify()

    def on_list(self, watch: _Watch, bodies: Sequence[Object], version: str) -> None:
        """Take in a whole list as of ``version``: what it lacks and nobody saw later is gone."""
        listed = {_key(watch.kind, body) for body in bodies}
        with self._changed:
            changed = [self._store(watch.kind, body, False) for body in bodies]
            known = self._objects[watch.kind]
            for place in [place for place in known if watch.namespace in ("", place[0])]:
                key = (watch.kind, *place)
                if key not in listed and self._versions[key] <= int(version):
                    del known[place]
                    self._versions[key] = int(version)
                    changed.append(True)
            watch.listed = True
            if any(changed):
                self._notify()
            self._changed.notify_all()

    def fail(self, error: SeimigrateError) -> None:
        """Make the next call raise this."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _store(self, kind: Kind, body: Object, deleted: bool) -> bool:
        key, version = _key(kind, body), int(body["metadata"]["resourceVersion"])
        if version <= self._versions.get(key, -1):
            return False
        self._versions[key] = version
        if deleted:
            self._objects[kind].pop(key[1:], None)
        else:
            self._objects[kind][key[1:]] = body
        return True

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _require_watched(self, kind: Kind, namespace: str) -> None:
        """Refuse what would look like absence: an object of a kind or namespace that nobody watches."""
        places = self._places.get(kind)
        if places is None or (places and namespace and namespace not in places):
            raise LookupError(f"{kind.resource.plural} in namespace {namespace!r} are not watched")


class _Watch:
    """One kind in one namespace (``""``: all), and the thread that follows it."""

    def __init__(
        self, cache: InformerCache, connection: Connection, kind: Kind, namespace: str, optional: bool
    ) -> None:
        self.cache = cache
        self.connection = connection
        self.kind = kind
        self.namespace = namespace
        self.optional = optional
        self.listed = False
        self.version = ""
        self._stopped = threading.Event()
        self._response: urllib3.BaseHTTPResponse | None = None
        name = f"watch-{kind.resource.plural}"
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def stop(self) -> None:
        """End the thread, also while it waits for data."""
        self._stopped.set()
        response = self._response
        if response is not None:
            with contextlib.suppress(ValueError, RuntimeError, OSError):  # it ended by itself just now
                response.shutdown()

    def _run(self) -> None:
        failures = refusals = 0
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                if not self.version:
                    self._list()
                self._follow()
                failures = refusals = 0
                continue
            except Expired:
                self.version = ""
            except (Forbidden, Unauthorized, NotFound) as error:
                refusals += 1
                if self._is_final(error, refusals):
                    return
            except ApiError as error:
                refusals = 0
                if not self.listed:
                    self.cache.fail(error)
                    return
            except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError):
                # The connection broke: urllib3 has many words for it, AttributeError if closed under its hands.
                refusals = 0
            except Exception as error:  # a thread that dies silently would leave the view stale for ever
                self.cache.fail(ApiError(f"the watch of {self.kind.resource.plural} broke: {type(error).__name__}"))
                return
            # A link that held for a while and then broke is no series of failures.
            failures = 0 if time.monotonic() - began > SILENCE_SECONDS else failures + 1
            self._stopped.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])

    def _is_final(self, error: ApiError, refusals: int) -> bool:
        """Decide what a refusal means: an absent optional kind is nothing, any other is told when it lasts."""
        if isinstance(error, NotFound) and self.optional:
            self.cache.on_list(self, [], "0")
            return True
        if not self.listed or refusals >= MAX_REFUSALS:
            self.cache.fail(error)
            return True
        return False

    def _list(self) -> None:
        bodies, version = list_with_version(self.connection, self.kind.resource, self.namespace)
        self.version = version
        self.cache.on_list(self, bodies, version)

    def _follow(self) -> None:
        """Watch once, until the server ends it; raises ``Expired`` when it cannot go on from here."""
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self.version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        path = path_of(self.kind, self.namespace)
        with self.connection.stream(path, query, SILENCE_SECONDS) as response:
            self._response = response
            if self._stopped.is_set():  # set before the response was there for ``stop`` to shut
                return
            try:
                for event in _events(response):
                    if self._stopped.is_set():
                        return
                    self._take(event, path)
            finally:
                self._response = None

    def _take(self, event: dict[str, Any], path: str) -> None:
        body = event["object"]
        if event["type"] == "ERROR":
            code = int(body.get("code") or 500)
            raise error_for("GET", path, "", code, {}, json.dumps({**body, "kind": "Status"}).encode())
        if event["type"] != "BOOKMARK":
            self.cache.on_event(self.kind, body, deleted=event["type"] == "DELETED")
        self.version = body["metadata"]["resourceVersion"]


def _events(response: urllib3.BaseHTTPResponse) -> Iterator[dict[str, Any]]:
    """Yield the events of a watch: one JSON object a line, whatever the pieces that they arrive in."""
    rest = b""
    for piece in response.stream(64 * 1024, decode_content=True):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line:
                yield json.loads(line)


def _key(kind: Kind, body: Object) -> Key:
    return kind, body["metadata"].get("namespace", ""), body["metadata"]["name"]
