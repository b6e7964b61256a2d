"""A door in front of the API server that counts one process's writes, and kills the process after one of them.

It speaks TLS to both sides, has a connection to the API server for each of the process, and tunnels upgrades
(port-forward).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
        with contextlib.suppress(OSError, ssl.SSLError, ValueError), contextlib.ExitStack() as stack:
            stack.enter_context(raw)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = stack.enter_context(self._own.wrap_socket(raw, server_side=True))
            plain = stack.enter_context(socket.create_connection(self._upstream))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upstream = stack.enter_context(self._to.wrap_socket(plain, server_hostname="127.0.0.1"))
            asked, answered = client.makefile("rb"), upstream.makefile("rb")
            while head := _read_head(asked):
                length = int(_header(head, b"content-length") or 0)
                body = asked.read(length)
                if len(body) < length:  # it was killed while it wrote
                    return
                upstream.sendall(head + body)
                if _header(head, b"upgrade"):  # who asks for one sends nothing before it is granted
                    _tunnel(client, upstream)
                    return
                method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
                self._answer(client, answered, Write(method, path, body))

    def _answer(self, client: ssl.SSLSocket, answered: BinaryIO, write: Write) -> None:
        head = _read_head(answered)
        if not head:
            raise ConnectionError("the API server has closed the connection")
        pieces = _pieces(head, answered)
        if write.method in WRITES:
            whole = b"".join(pieces)
            if head.split(b" ", 2)[1].startswith(b"2"):
                self._on_write(write)
            client.sendall(head + whole)
            return
        client.sendall(head)
        for piece in pieces:
            client.sendall(piece)


def _read_head(stream: BinaryIO) -> bytes:
    """Read a head with the empty line that ends it; ``b""`` where the connection has ended."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    return head


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode()
    return ""


def _pieces(head: bytes, stream: BinaryIO) -> Iterator[bytes]:
    """Yield a body as it was sent, chunk by chunk: a watch has no end for a long time."""
    if _header(head, b"transfer-encoding") != "chunked":
        yield stream.read(int(_header(head, b"content-length") or 0))
        return
    size = -1
    while size:
        line = stream.readline()
        size = int(line.split(b";")[0], 16)
        yield line + stream.read(size + 2)


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
