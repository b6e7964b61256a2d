"""GET requests for the gates: to a url by urllib3, to a pod by port-forward. Tokens are read when they are needed.

A token stays out of every message: what http.client says of a header that it refuses would quote it.
"""

from __future__ import annotations

import os
import ssl
from functools import cached_property
from pathlib import Path

import urllib3

from seimigrate import __version__
from seimigrate.adapters.connection import CONNECT_SECONDS, Connection, reason
from seimigrate.adapters.pods import BODY_LIMIT, ForwardedPodClient
from seimigrate.domain.plan.gates import Token
from seimigrate.engine.errors import SeimigrateError, Unreachable
from seimigrate.engine.ports import Response

_MAX_TOKEN_BYTES = 64 * 1024


class GateHttpClient:
    """The engine's port for gates."""

    def __init__(self, connection: Connection) -> None:
        self._pods = ForwardedPodClient(connection)

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        """Trust the machine's own authorities, not certifi's: a company's Prometheus has a certificate of theirs.

        Reading them takes 50 ms of CPU, which no run without such a gate has to spend.
        """
        return urllib3.PoolManager(ssl_context=ssl.create_default_context(), num_pools=4)

    def get(self, url: str, *, token: Token | None, timeout: float) -> Response:
        """Ask a url; raises ``Unreachable`` when there is no answer, ``SeimigrateError`` if the token is not there."""
        headers = {"User-Agent": f"seimigrate/{__version__}", "Accept": "*/*"}
        if token is not None:
            headers["Authorization"] = f"Bearer {read_token(token)}"
        limits = urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout), read=timeout, total=timeout)
        try:
            response = self._pool.request(
                "GET", url, headers=headers, timeout=limits, retries=False, redirect=False, preload_content=False
            )
            try:
                content = response.read(BODY_LIMIT, decode_content=True)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(reason(error)) from None
        except ValueError:
            raise Unreachable("the request cannot be sent") from None
        return Response(response.status, content.decode(errors="replace"))

    def get_from_pod(
        self, namespace: str, pod: str, port: int, path: str, *, token: Token | None, timeout: float
    ) -> Response:
        """Ask a pod by port-forward; raises as ``get``, and ``Forbidden`` if we may not forward ports."""
        headers = {} if token is None else {"Authorization": f"Bearer {read_token(token)}"}
        return self._pods.call(namespace, pod, port, "GET", path, headers=headers, timeout=timeout)

    def check_token(self, token: Token) -> None:
        """Raise ``SeimigrateError`` if a token is not there, or is none."""
        read_token(token)


def read_token(token: Token) -> str:
    """Read a token from its file or environment variable; raises ``SeimigrateError`` that names the place alone."""
    if token.env is not None:
        where, text = f"environment variable {token.env}", os.environ.get(token.env)
    else:
        where, text = f"file {token.file}", _contents(token.file or "")
    if text is None:
        raise SeimigrateError(f"the token of a gate is not there: {where}", hint="set it, or change the plan's gates")
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise SeimigrateError(f"what is in {where} is no bearer token", hint="it must be one word on one line")
    return text


def _contents(file: str) -> str | None:
    try:
        with Path(file).expanduser().open("rb") as stream:
            return stream.read(_MAX_TOKEN_BYTES).decode(errors="replace")
    except (OSError, ValueError, RuntimeError):
        return None
