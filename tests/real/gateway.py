"""A door in front of the API server that counts one process's writes, and kills the process after one of them.

It speaks TLS to both sides, passes each request on with a connection of its own, and tunnels upgrades (port-forward).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trustme

WRITES = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Write:
    """A request that changes something: answered by the API server, its answer not passed on yet."""

    method: str
    path: str
    body: bytes = b""

    @property
    def dry_run(self) -> bool:
        return "dryRun=" in self.path


OnWrite = Callable[[Write], None]


class Gateway:
    """The door; ``on_write`` is called after each write was carried out, before its answer is passed on."""

    def __init__(self, url: str, ca: Path, folder: Path, on_write: OnWrite) -> None:
        host, port = url.removeprefix("https://").split(":")
        self._upstream = (host, int(port))
        self._to = ssl.create_default_context(cafile=str(ca))
        self._on_write = on_write
        authority = trustme.CA()
        self.ca = folder / "gateway-ca.crt"
        authority.cert_pem.write_to_path(self.ca)
        self._own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._own)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = False
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Gateway:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, ValueError), raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = self._own.wrap_socket(raw, server_side=True)
            head, rest = _read_head(client)
            if not head:
                return
            method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
            plain = socket.create_connection(self._upstream)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upstream = self._to.wrap_socket(plain, server_hostname="127.0.0.1")
            with upstream:
                if _header(head, b"upgrade"):
                    upstream.sendall(head + b"\r\n\r\n" + rest)
                    _tunnel(client, upstream)
                    return
                length = int(_header(head, b"content-length") or 0)
                while len(rest) < length:
                    rest += client.recv(65536)
                upstream.sendall(_closing(head) + b"\r\n\r\n" + rest)
                self._answer(client, upstream, Write(method, path, rest))

    def _answer(self, client: ssl.SSLSocket, upstream: ssl.SSLSocket, write: Write) -> None:
        if write.method not in WRITES:
            _pipe(upstream, client)
            return
        answer = b""
        while chunk := upstream.recv(65536):
            answer += chunk
        if answer.split(b" ", 2)[1].startswith(b"2"):
            self._on_write(write)
        client.sendall(answer)


def _read_head(connection: ssl.SSLSocket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b"", b""
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode()
    return ""


def _closing(head: bytes) -> bytes:
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close"])


def _pipe(source: ssl.SSLSocket, sink: ssl.SSLSocket) -> None:
    while chunk := source.recv(65536):
        sink.sendall(chunk)


def _tunnel(one: ssl.SSLSocket, other: ssl.SSLSocket) -> None:
    while True:
        waiting = [s for s in (one, other) if s.pending()] or select.select([one, other], [], [], 30)[0]
        if not waiting:
            return
        for source in waiting:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)
