"""The port-forward end of a kubelet: what the API server connects to when somebody forwards a port of a pod.

The API server hands a ``v4.channel.k8s.io`` websocket through to the kubelet at ``/portForward/{namespace}/{pod}``.
Each frame begins with its channel: 0 carries the data of the first port, 1 its errors; the first frame on each
carries the port as two little-endian bytes (kubelet, ``cri/streaming/portforward/websocket.go``).
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

Handler = Callable[[str, str, int, bytes], bytes]
"""Namespace, pod, port and one whole HTTP request in; the bytes of the response out (empty: hang up without a word).

Raise ``ConnectionRefusedError`` where nothing listens on the port."""

PROTOCOL = Subprotocol("v4.channel.k8s.io")
DATA, ERROR = b"\x00", b"\x01"
FRAME = 32 * 1024


class PortForwardServer:
    """Serve port-forwards over TLS on 127.0.0.1, one thread a forward and one HTTP request each."""

    def __init__(self, handler: Handler, cert_file: str | Path, key_file: str | Path) -> None:
        self._handler = handler
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(cert_file, key_file)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    def start(self) -> PortForwardServer:
        """Listen on a free port, which ``port`` gives from now on."""
        self._server = serve(self._forward, "127.0.0.1", 0, ssl=self._tls, subprotocols=[PROTOCOL], compression=None)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="kubelet", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening; forwards that are open end by themselves."""
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join()
            self._server = None

    def __enter__(self) -> PortForwardServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _forward(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        url = urlsplit(socket.request.path)
        query = parse_qs(url.query)
        parts = url.path.strip("/").split("/")
        if len(parts) < 3 or parts[0] != "portForward" or "port" not in query:
            socket.close(1008, "not a port-forward")
            return
        namespace, pod, port = parts[1], parts[2], int(query["port"][0])
        try:
            for channel in (DATA, ERROR):
                socket.send(channel + port.to_bytes(2, "little"))
            request = _read_request(socket)
            try:
                answer = self._handler(namespace, pod, port, request)
            except ConnectionRefusedError:
                text = f"failed to connect to localhost:{port} inside namespace: connect: connection refused"
                socket.send(ERROR + f"error forwarding port {port} to pod {pod}: {text}".encode())
            else:
                for start in range(0, len(answer), FRAME):
                    socket.send(DATA + answer[start : start + FRAME])
        except ConnectionClosed:
            pass  # the caller gave up, as callers do


def _read_request(socket: ServerConnection) -> bytes:
    """Read one HTTP request: its head, and as much body as it announces."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _data(socket)
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += _data(socket)
    return head + b"\r\n\r\n" + body


def _data(socket: ServerConnection) -> bytes:
    frame = socket.recv()
    if isinstance(frame, str) or frame[:1] != DATA:
        return b""
    return frame[1:]
