"""Questions of gates to a url, with a token that nobody else sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3
from kubernetes.client import Configuration

from seimigrate.adapters.connection import Connection
from seimigrate.adapters.gate_http import GateHttpClient
from seimigrate.adapters.pods import BODY_LIMIT
from seimigrate.domain.plan.gates import Token
from seimigrate.engine.errors import SeimigrateError, Unreachable

SECRET = "s3cret-of-a-gate"


class Handler(BaseHTTPRequestHandler):
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * (BODY_LIMIT + 9) if self.path == "/endless" else b"yes")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def asked() -> list[tuple[str, str | None]]:
    return []


@pytest.fixture
def url(asked: list[tuple[str, str | None]]) -> Iterator[str]:
    handler = type("Answers", (Handler,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def web() -> GateHttpClient:
    return GateHttpClient(Connection(Configuration()))


def test_a_url_is_asked_without_a_token_unless_there_is_one(web: GateHttpClient, url: str, asked: list[object]) -> None:
    response = web.get(f"{url}/api/v1/query?query=up", token=None, timeout=5)
    assert (response.status, response.body) == (200, "yes")
    assert asked == [("/api/v1/query?query=up", None)]


def test_a_token_comes_from_its_file_or_variable_at_each_question(
    web: GateHttpClient, url: str, asked: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    web.get(url, token=Token(file=str(file)), timeout=5)
    file.write_text("renewed")
    web.get(url, token=Token(file=str(file)), timeout=5)
    monkeypatch.setenv("GATE_TOKEN", SECRET)
    web.get(url, token=Token(env="GATE_TOKEN"), timeout=5)
    assert asked == [("/", f"Bearer {word}") for word in (SECRET, "renewed", SECRET)]


@pytest.mark.parametrize("text", ["", f"{SECRET} {SECRET}", f"{SECRET}\n{SECRET}", f"{SECRET}\x07", "sécret"])
def test_what_is_no_token_is_refused_and_not_shown(web: GateHttpClient, tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(SeimigrateError) as caught:
        web.check_token(Token(file=str(file)))
    assert "s3cret" not in caught.value.message + caught.value.hint
    assert str(file) in caught.value.message


def test_a_token_that_is_not_there_is_named_by_its_place(web: GateHttpClient, tmp_path: Path) -> None:
    for token in (Token(file=str(tmp_path / "absent")), Token(env="NO_SUCH_VARIABLE_HERE")):
        with pytest.raises(SeimigrateError, match="the token of a gate is not there"):
            web.check_token(token)


def test_a_redirect_is_an_answer_and_the_token_goes_nowhere_else(
    web: GateHttpClient, url: str, asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATE_TOKEN", SECRET)
    assert web.get(f"{url}/moved", token=Token(env="GATE_TOKEN"), timeout=5).status == 302
    assert len(asked) == 1


def test_an_endless_answer_is_cut(web: GateHttpClient, url: str) -> None:
    assert len(web.get(f"{url}/endless", token=None, timeout=5).body) == BODY_LIMIT


def test_nobody_there_is_unreachable_with_the_reason(web: GateHttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_TOKEN", SECRET)
    with pytest.raises(Unreachable) as caught:
        web.get("http://127.0.0.1:1/", token=Token(env="GATE_TOKEN"), timeout=5)
    assert "refused" in caught.value.message
    assert SECRET not in str(caught.value)


def test_urllib3_itself_logs_no_token(
    web: GateHttpClient, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GATE_TOKEN", SECRET)
    caplog.set_level("DEBUG", logger=urllib3.__name__)
    web.get(url, token=Token(env="GATE_TOKEN"), timeout=5)
    assert SECRET not in caplog.text
