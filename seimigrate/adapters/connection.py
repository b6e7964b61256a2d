"""One connection to the API server: raw JSON in and out, every failure told as an ``ApiError``.

The kubernetes client reads the kubeconfig, runs credential plugins and makes the TLS pool. Its typed models stay out:
they drop the fields that they do not know.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import tenacity
import urllib3
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from seimigrate import __version__
from seimigrate.adapters import kubeconfig as checking
from seimigrate.adapters.api_errors import Throttled, error_for
from seimigrate.engine.errors import ApiError, SeimigrateError, Unauthorized, Unreachable

CONNECT_SECONDS = 5.0
MAX_ATTEMPTS = 4
MAX_RETRY_WAIT = 5.0
POOL_SIZE = 16


def connect(context: str | None = None, kubeconfig: str | None = None) -> Connection:
    """Connect by a kubeconfig (given, ``KUBECONFIG``, ``~/.kube/config``), else as a pod of the cluster itself.

    Sends nothing yet. Raises ``SeimigrateError`` with a hint when there is no usable configuration.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = POOL_SIZE
    chosen = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = [Path(each).expanduser() for each in chosen.split(os.pathsep) if each]
    if any(each.is_file() for each in files):
        checking.check(files, context)
        _load_kubeconfig(configuration, os.pathsep.join(map(str, files)), context)
    elif kubeconfig or context or "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise SeimigrateError(
            f"there is no kubeconfig: {', '.join(map(str, files))}",
            hint="name one with --kubeconfig or KUBECONFIG",
        )
    else:
        try:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except (ConfigException, OSError) as error:
            raise SeimigrateError(f"the pod's own credentials cannot be used: {error}") from None
    return Connection(configuration)


def _load_kubeconfig(configuration: Configuration, files: str, context: str | None) -> None:
    where = f"kubeconfig {files}" + (f", context {context}" if context else "")
    hint = "see what kubectl makes of it: kubectl config view"
    with _client_errors() as logged:
        try:
            load_kube_config(  # type: ignore[no-untyped-call]
                files, context=context, client_configuration=configuration, persist_config=False
            )
        except OSError as error:
            told = f"{error.filename or where}: {error.strerror or reason(error)}"
            raise SeimigrateError(f"{where} cannot be used: {told}", hint=hint) from None
        except Exception as error:  # the client raises whatever comes for a file that is off in its rarer parts
            kind = "" if isinstance(error, ConfigException) else f"{type(error).__name__}: "
            raise SeimigrateError(f"{where} cannot be used: {kind}{_first_line(str(error))}", hint=hint) from None
    if logged and not configuration.api_key and not configuration.cert_file:
        raise SeimigrateError(
            f"{where}: the credential plugin failed: {_first_line(logged[0])}",
            hint="run it by hand, or log in again; then try: kubectl auth whoami",
        )


class Connection:
    """Requests to one API server, for any number of threads."""

    def __init__(self, configuration: Configuration, lock: threading.Lock | None = None) -> None:
        self.configuration = configuration
        self._lock = lock or threading.Lock()
        try:
            self._pool = RESTClientObject(configuration).pool_manager
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raise SeimigrateError(f"the connection's settings cannot be used: {reason(error)}") from None

    @cached_property
    def host(self) -> str:
        """Give the API server's address; the client would look for proxies in the environment each time."""
        return str(self.configuration.host).rstrip("/")

    def with_own_pool(self, pool_size: int = POOL_SIZE) -> Connection:
        """Give a connection of the same settings that shares no socket: another API server may answer it."""
        configuration = Configuration()
        configuration.__dict__.update(self.configuration.__dict__)
        configuration.connection_pool_maxsize = pool_size
        # They share the credentials, and so the lock on them.
        return Connection(configuration, self._lock)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: float = 30.0,
    ) -> Any:
        """Send one request and give the decoded answer; ``timeout`` is in seconds, for each wait for data.

        A GET without an answer is sent again a few times. A write never is: whether it happened is for the caller to
        find out. What the API server turned away as too many (429) did not happen, and is sent again when it says.
        Raises an ``ApiError``.
        """

        def send() -> Any:
            with self._send(method, path, query, body, content_type, timeout) as response:
                return _decode(response.data, method, path)

        return self._retrying(method, timeout)(send)

    @contextmanager
    def stream(self, path: str, query: Mapping[str, str], timeout: float) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send a GET once and give the response unread; silence for ``timeout`` seconds ends it.

        Only the opening is told as an ``ApiError``: reading raises what urllib3 raises.
        """
        with self._send("GET", path, query, None, "", timeout, preload=False) as response:
            yield response

    def authorization(self) -> str | None:
        """Give the Authorization header, renewed if it has expired; one caller runs a credential plugin at a time."""
        with self._lock, _client_errors():
            try:
                value = self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
            except (ConfigException, OSError) as error:
                raise Unauthorized(f"the credentials cannot be read: {reason(error)}") from None
        value = value.strip() if value else None
        if value and not value.isprintable():
            # http.client would refuse it too, with the whole token in its message.
            raise Unauthorized("the token holds control characters", hint="renew the credentials")
        return value

    def _retrying(self, method: str, timeout: float) -> tenacity.Retrying:
        def again(error: BaseException) -> bool:
            return isinstance(error, Throttled) or (method == "GET" and isinstance(error, Unreachable))

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(again),
            wait=_wait,
            stop=tenacity.stop_after_attempt(MAX_ATTEMPTS) | tenacity.stop_after_delay(timeout),
            reraise=True,
        )

    @contextmanager
    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        content_type: str,
        timeout: float,
        preload: bool = True,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        headers = {"Accept": "application/json", "User-Agent": f"seimigrate/{__version__}"}
        if credential := self.authorization():
            headers["Authorization"] = credential
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            response = self._pool.request(
                method,
                self.host + path + (f"?{urlencode(query)}" if query else ""),
                body=None if body is None else encode(body),
                headers=headers,
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout), read=timeout),
                retries=False,
                redirect=False,
                preload_content=preload,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(method, path, error) from None
        except ValueError:  # a header that http.client refuses is in its message: say nothing of it
            raise Unreachable(f"{method} {path} cannot be sent to {self.host}", hint="check the address") from None
        try:
            if not 200 <= response.status < 300:
                raise error_for(method, path, content_type, response.status, response.headers, response.data)
            yield response
        finally:
            if not preload:
                response.close()

    def _unreachable(self, method: str, path: str, error: Exception) -> ApiError:
        hint = "is the cluster up and is this its address? kubectl cluster-info"
        if isinstance(error, urllib3.exceptions.SSLError):
            hint = "the certificates do not fit: check certificate-authority and the client certificate"
        return Unreachable(f"no answer from {self.host} to {method} {path}: {reason(error)}", hint=hint)


def encode(body: Any) -> bytes:
    r"""Encode JSON with ``<``, ``>`` and ``&`` as ``\u003c``, ``\u003e`` and ``\u0026``, as Go does.

    The API server compares a JSON Patch ``test`` with Go's encoding of the object, byte for byte in strings.
    """
    text = json.dumps(body, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def _decode(data: bytes, method: str, path: str) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError:
        hint = "is this the API server's address, or a proxy's?"
        raise Unreachable(f"the answer to {method} {path} is not JSON", hint=hint) from None


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Throttled):
        return min(error.retry_after, MAX_RETRY_WAIT)
    return tenacity.wait_random_exponential(multiplier=0.2, max=MAX_RETRY_WAIT)(state)


def reason(error: BaseException) -> str:
    """Give the innermost reason of an error in one line: urllib3 wraps them, with object addresses in the text."""
    while isinstance(error, urllib3.exceptions.HTTPError) and (inner := _inner(error)) is not None:
        error = inner
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return "timed out"
    return _first_line(str(getattr(error, "strerror", None) or error)) or type(error).__name__


def _inner(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return next((each for each in error.args if isinstance(each, BaseException)), None)


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:300] if lines else ""


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _client_errors() -> Iterator[list[str]]:
    """Collect what the kubernetes client logs to the root logger instead of raising, as for a failing plugin.

    Without a handler there, ``logging.error`` would also set logging up behind everybody's back.
    """
    collector = _Collector()
    root = logging.getLogger()
    root.addHandler(collector)
    try:
        yield collector.messages
    finally:
        root.removeHandler(collector)
