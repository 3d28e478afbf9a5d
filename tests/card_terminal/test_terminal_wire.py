"""The real transport against servers that misbehave: whatever comes back, it gives an answer or none, in time."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from card_terminal.client import Transport
from card_terminal.protocol import BODY_BYTES_MAX

GOOD = b'{"ok": true}'


def http(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@contextmanager
def server_that_says(*replies: bytes | None) -> Iterator[str]:
    """Answers each connection with the next bytes, or with None stays silent."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)
    done = threading.Event()

    def serve() -> None:
        for reply in replies:
            # A client that has read enough, or never comes, is none of this server's worries.
            with contextlib.suppress(OSError), listening.accept()[0] as connection:
                connection.recv(65_536)
                if reply is None:
                    done.wait(5)
                else:
                    connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        done.set()
        thread.join()
        listening.close()


def post(url: str, *, timeout_s: float = 2.0) -> tuple[int, object] | None:
    return Transport(url).post("hello", body={"message": "x"}, timeout_s=timeout_s)


def test_an_answer_is_given_with_its_status() -> None:
    with server_that_says(http(GOOD)) as url:
        assert post(url) == (200, {"ok": True})
    with server_that_says(http(GOOD, status="409 Conflict")) as url:
        assert post(url) == (409, {"ok": True})


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\x00\xff" * 100,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        http(b"<html>"),
        http(b"\xff\xfe"),
        http(b"[" * 100_000),
        http(b"x", headers="Content-Encoding: gzip\r\n"),
        http(b'"' + b"x" * (BODY_BYTES_MAX + 1) + b'"'),
    ],
    ids=["closed", "noise", "torn", "html", "no-text", "deep", "no-gzip", "huge"],
)
def test_what_cannot_be_read_is_no_answer(reply: bytes) -> None:
    with server_that_says(reply) as url:
        assert post(url) is None


def test_a_server_that_is_not_there_or_says_nothing_costs_no_more_than_the_time_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unheard:
        port = unheard.getsockname()[1]
    started_at = time.monotonic()
    assert post(f"http://127.0.0.1:{port}") is None
    with server_that_says(None) as url:
        assert post(url, timeout_s=0.3) is None
    assert time.monotonic() - started_at < 3


def test_a_redirect_is_not_followed_to_another_server() -> None:
    with server_that_says(http(GOOD)) as elsewhere:
        moved = http(GOOD, status="307 Temporary Redirect", headers=f"Location: {elsewhere}\r\n")
        with server_that_says(moved) as url:
            assert post(url) is None
        assert post(elsewhere) == (200, {"ok": True})


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with server_that_says(http(GOOD)) as url:
        assert post(url) == (200, {"ok": True})
