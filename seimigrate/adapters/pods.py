"""HTTP calls to a pod's own loopback by port-forward, past every NetworkPolicy.

The kubernetes client's port-forward has no time limit anywhere and a thread that prints its exceptions; here one
request goes over one websocket in the caller's own thread, and the whole call has one deadline.
"""

from __future__ import annotations

import http.client
import io
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlencode

import websocket
from kubernetes.client import Configuration
from kubernetes.stream.ws_client import websocket_proxycare

from seimigrate import __version__
from seimigrate.adapters.api import ApiCluster, Connection, path_of
from seimigrate.adapters.api_errors import error_for
from seimigrate.domain.kube.kinds import Kind
from seimigrate.engine.errors import ApiError, Forbidden, SeimigrateError, Unreachable
from seimigrate.engine.ports import Response

BODY_LIMIT = 1024 * 1024
PROTOCOL = "v4.channel.k8s.io"
DATA, ERROR = 0, 1
"""The channels of the first and only port; each frame begins with its channel (kubelet's portforward/websocket.go)."""

FRAME = 32 * 1024


class TokenSource:
    """Give the bearer token of a ServiceAccount, renewed at half of its life; it is in memory only."""

    def __init__(
        self,
        cluster: ApiCluster,
        namespace: str,
        service_account: str,
        *,
        seconds: int = 600,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._account = (namespace, service_account)
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0.0

    def __call__(self) -> str:
        """Give a token that is valid for minutes still; raises an ``ApiError``."""
        with self._lock:
            now = self._monotonic()
            if not self._token or now >= self._renew_at:
                self._token = self._cluster.create_token(*self._account, self._seconds)
                self._renew_at = now + self._seconds / 2
            return self._token


class ForwardedPodClient:
    """The engine's port to pods; ``tokens`` gives the bearer token of authorised calls."""

    def __init__(self, connection: Connection, tokens: Callable[[], str] | None = None) -> None:
        self._connection = connection
        self._tokens = tokens

    def call(
        self,
        namespace: str,
        pod: str,
        port: int,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        authorised: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Response:
        """Send one request and give the answer, whatever its status; ``timeout`` seconds are for the whole call.

        Raises ``Unreachable`` when there is no answer, and ``Forbidden`` when we may not forward ports or have no
        token for it.
        """
        where = f"{namespace}/{pod}:{port}"
        sent = {"User-Agent": f"seimigrate/{__version__}", "Accept": "*/*", "Connection": "close"}
        sent |= headers or {}
        deadline = time.monotonic() + timeout
        try:
            if authorised:
                sent["Authorization"] = f"Bearer {self._token()}"
            data = None if body is None else json.dumps(body).encode()
            if data is not None:
                sent["Content-Type"] = "application/json"
            with _Forward(self._connection, namespace, pod, port, deadline) as forward:
                return _exchange(forward, port, method, path, data, sent)
        except Forbidden:
            raise
        except ApiError as error:
            raise Unreachable(f"no answer from {where}: {error.message}", hint=error.hint) from None
        except (TimeoutError, websocket.WebSocketTimeoutException):
            raise Unreachable(f"no answer from {where} within {timeout:g} s") from None
        except (websocket.WebSocketException, OSError) as error:
            raise Unreachable(f"no answer from {where}: {_short(error)}") from None
        except (http.client.HTTPException, ValueError) as error:
            # Their text may quote a header, and so a token.
            raise Unreachable(f"no proper HTTP answer from {where}: {type(error).__name__}") from None

    def _token(self) -> str:
        if self._tokens is None:
            raise SeimigrateError("authorised calls need a ServiceAccount", hint="name one")
        return self._tokens()


class _Forward:
    """One forwarded port, as much of a socket as ``http.client`` needs; every wait ends at the deadline."""

    def __init__(self, connection: Connection, namespace: str, pod: str, port: int, deadline: float) -> None:
        self._deadline = deadline
        self._port = port
        self._seen: set[int] = set()
        path = f"{path_of(Kind.POD, namespace, pod)}/portforward"
        url = f"{connection.host}{path}?{urlencode({'ports': port})}"
        headers = [f"User-Agent: seimigrate/{__version__}"]
        if credential := connection.authorization():
            headers.append(f"Authorization: {credential}")
        configuration = connection.configuration
        self._socket = websocket.WebSocket(sslopt=_tls(configuration))
        options: dict[str, Any] = {
            "header": headers,
            "subprotocols": [PROTOCOL],
            "suppress_origin": True,
            "redirect_limit": 0,
            "timeout": self._left(),
        }
        if configuration.proxy or configuration.proxy_headers:
            options = websocket_proxycare(options, configuration, url, {})  # type: ignore[no-untyped-call]
        try:
            self._socket.connect(url.replace("http", "ws", 1), **options)  # type: ignore[no-untyped-call]
        except websocket.WebSocketBadStatusException as error:
            body = error.resp_body or b""
            status = int(error.status_code)
            # To forward a port is a read for RBAC or a create, and no admission policy's business: so GET.
            raise error_for("GET", path, "", status, error.resp_headers or {}, body) from None

    def __enter__(self) -> _Forward:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown()  # type: ignore[no-untyped-call]

    def sendall(self, data: bytes) -> None:
        """Send bytes to the pod."""
        view = memoryview(data)
        for start in range(0, len(view), FRAME):
            self._socket.settimeout(self._left())
            self._socket.send_binary(bytes([DATA]) + view[start : start + FRAME])

    def receive(self) -> bytes:
        """Give the next bytes from the pod, none at the end; raises ``Unreachable`` with the kubelet's reason."""
        while True:
            self._socket.settimeout(self._left())
            try:
                opcode, frame = self._socket.recv_data()
            except websocket.WebSocketConnectionClosedException:
                return b""
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return b""
            if not frame:
                continue
            channel, data = frame[0], bytes(frame[1:])
            if channel not in self._seen:
                self._seen.add(channel)  # the first frame of a channel only repeats the port
            elif channel == ERROR:
                raise Unreachable(_reason(data.decode(errors="replace"), self._port))
            elif channel == DATA and data:
                return data

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        """Give what the pod sends as a file."""
        return io.BufferedReader(_Incoming(self))

    def close(self) -> None:
        """Do nothing: the forward ends with its ``with`` block."""

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Incoming(io.RawIOBase):
    """The bytes of a forward, as a raw stream."""

    def __init__(self, forward: _Forward) -> None:
        self._forward = forward
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = self._forward.receive()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _exchange(
    forward: _Forward, port: int, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
) -> Response:
    connection = http.client.HTTPConnection("localhost", port)
    connection.sock = cast(Any, forward)
    connection.request(method, path, body=data, headers=dict(headers))
    answer = connection.getresponse()
    content = answer.read(BODY_LIMIT)
    if answer.length and len(content) < BODY_LIMIT:
        raise http.client.IncompleteRead(content, answer.length)
    return Response(answer.status, content.decode(errors="replace"))


def _tls(configuration: Configuration) -> dict[str, Any]:
    """Give the kubeconfig's TLS settings in websocket-client's words."""
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE}
    if configuration.verify_ssl:
        options["ca_certs"] = configuration.ssl_ca_cert
        if configuration.assert_hostname is not None:
            options["check_hostname"] = configuration.assert_hostname
    if configuration.cert_file:
        options |= {"certfile": configuration.cert_file, "keyfile": configuration.key_file}
    if configuration.tls_server_name:
        options["server_hostname"] = configuration.tls_server_name
    return options


def _reason(text: str, port: int) -> str:
    """Give the end of a kubelet's chain of reasons: its beginning repeats the pod, sandbox and uid.

    A refused connection is somewhere in the middle of containerd's, which tries IPv6 after it.
    """
    if "connection refused" in text:
        return f"nobody listens on port {port} (connection refused)"
    parts = [part.strip() for part in text.strip().split(": ")]
    return ": ".join(parts[-2:])[:200] or "the kubelet gave no reason"


def _short(error: BaseException) -> str:
    text = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return (text[0][:200] if text else "") or type(error).__name__
