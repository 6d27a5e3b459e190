"""The agent's link against servers that are broken, slow, hostile, or not ours."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidegate.agent.identity import Identity
from tidegate.agent.link import CertificateRefused, ChannelProblem, Ended, Link
from tidegate.agent.transport import Foreign
from tidegate.errors import Invalid, TidegateError, Unavailable, Untrusted
from tidegate.testing.tls_server import Asked, Handler, Pki, TlsServer, answer, http, refusal
from tidegate.wire import device as wire

BEAT = wire.Heartbeat(installation="0" * 32)
GOOD = wire.HeartbeatAnswer(30, "a" * 64, "b" * 64, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@contextmanager
def linked(pki: Pki, handler: Handler, *, timeout_seconds: float = 5.0) -> Iterator[tuple[Link, TlsServer]]:
    with TlsServer(pki, handler) as server:
        link = Link(server.url, pki.ca_pem, None, timeout_seconds=timeout_seconds)
        yield link, server
        link.close()


def said(pki: Pki, raw: bytes, *, timeout_seconds: float = 5.0) -> TidegateError:
    """What a heartbeat raises when the server sends `raw` and closes."""

    def handler(asked: Asked) -> None:
        asked.connection.sendall(raw)

    with linked(pki, handler, timeout_seconds=timeout_seconds) as (link, _), pytest.raises(TidegateError) as caught:
        link.heartbeat(BEAT)
    return caught.value


def test_answers_are_typed_and_the_connection_is_kept(pki: Pki) -> None:
    with linked(pki, lambda _: answer(GOOD)) as (link, server):
        assert link.heartbeat(BEAT) == GOOD
        assert link.heartbeat(BEAT) == GOOD
        assert len({id(asked.connection) for asked in server.asked}) == 1


def test_unknown_fields_of_an_answer_are_ignored(pki: Pki) -> None:
    with linked(pki, lambda _: answer({"device": "a", "fleet": "b", "interval_seconds": 3, "new": 1})) as (link, _):
        found = link.register(wire.Register(wire.HardwareProfile(), "0.1.0"))
    assert found == wire.Registered("a", "b", 3)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff garbage\r\n\r\n",
        b"HTTP/1.1 999999 what\r\n\r\n",
        http(200, b"not json"),
        http(200, b'{"interval_seconds": "soon"}'),
        http(200, b"[" * 100_000),
        http(200, b"\xff\xfe"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        http(204),
        http(404, b"<html>", "text/html"),
        http(503, b"{", "application/problem+json"),
        refusal("device-decommissioned", 403).replace(b"403 Status", b"409 Status"),
    ],
    ids=[
        "garbage", "status", "not-json", "wrong-type", "deep", "not-utf8", "truncated", "truncated-chunk",
        "headers", "empty", "html", "broken-problem", "problem-of-another-status",
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_trouble_and_nothing_else(pki: Pki, raw: bytes) -> None:
    error = said(pki, raw)
    assert type(error) in (Unavailable, Foreign)
    assert error.detail.startswith("cannot ")


def test_an_endless_answer_is_cut(pki: Pki) -> None:
    def handler(asked: Asked) -> None:
        asked.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            asked.connection.sendall(b" " * 65_536)

    with linked(pki, handler) as (link, _), pytest.raises(Unavailable, match="larger than 4194304 bytes"):
        link.heartbeat(BEAT)


def test_redirects_are_not_followed(pki: Pki) -> None:
    with linked(pki, lambda _: http(307, Location="/elsewhere")) as (link, server):
        with pytest.raises(Unavailable, match="points elsewhere"):
            link.heartbeat(BEAT)
        assert [asked.path for asked in server.asked] == ["/v1/device/heartbeat"]


def test_a_dripping_server_is_given_up_in_time(pki: Pki) -> None:
    over = threading.Event()

    def handler(asked: Asked) -> None:
        asked.connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not over.wait(0.05):
            asked.connection.sendall(b"y")

    with linked(pki, handler, timeout_seconds=0.5) as (link, _):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="in time"):
            link.heartbeat(BEAT)
        assert time.monotonic() - began < 3
        over.set()


def test_silence_is_given_up_in_time(pki: Pki) -> None:
    over = threading.Event()

    def handler(asked: Asked) -> None:
        over.wait(10)

    with linked(pki, handler, timeout_seconds=0.3) as (link, _):
        with pytest.raises(Unavailable, match="in time"):
            link.heartbeat(BEAT)
        over.set()


def test_refusals_keep_their_kind_and_when_to_ask_again(pki: Pki) -> None:
    raw = refusal("too-many-requests", 429).replace(b"Content-Length", b"Retry-After: 17\r\nContent-Length")
    with linked(pki, lambda _: raw) as (link, _), pytest.raises(ChannelProblem) as caught:
        link.heartbeat(BEAT)
    assert (caught.value.type, caught.value.status, caught.value.retry_after_seconds) == ("too-many-requests", 429, 17)


@pytest.mark.parametrize("text", ["-1", "1e9", "²", "99999999999999", "soon", ""])
def test_a_senseless_retry_after_is_no_instruction(pki: Pki, text: str) -> None:
    raw = refusal("conflict", 409).replace(b"Content-Length", f"Retry-After: {text}\r\nContent-Length".encode())
    error = said(pki, raw)
    assert isinstance(error, ChannelProblem)
    assert error.retry_after_seconds == 5


def test_another_ca_is_not_our_node(pki: Pki, tmp_path: Path) -> None:
    foreign = Pki(tmp_path)
    with TlsServer(foreign, lambda _: refusal("device-decommissioned")) as server:
        link = Link(server.url, pki.ca_pem, None, timeout_seconds=5)
        with pytest.raises(Untrusted, match="pinned CA"):
            link.heartbeat(BEAT)
        assert server.asked == []


def test_a_name_that_the_certificate_does_not_bear_is_not_our_node(pki: Pki) -> None:
    with TlsServer(pki, lambda _: answer(GOOD)) as server:
        link = Link(f"https://127.0.0.2:{server.port}", pki.ca_pem, None, timeout_seconds=5)
        with pytest.raises((Untrusted, Unavailable)):
            link.heartbeat(BEAT)
        assert server.asked == []


def test_a_refused_certificate_shows_as_connected_then_ended(pki: Pki, tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    other = Pki(tmp_path)
    certificate = identity.accept(other.device(identity.begin()))
    with TlsServer(pki, lambda _: answer(GOOD), client_ca=pki.device_ca.pem.decode()) as server:
        link = Link(server.url, pki.ca_pem, certificate.file, timeout_seconds=5)
        with pytest.raises(CertificateRefused, match="may refuse"):
            link.heartbeat(BEAT)


def test_nobody_listening_is_not_a_refused_certificate(pki: Pki) -> None:
    with TlsServer(pki, lambda _: answer(GOOD)) as server:
        url = server.url
    link = Link(url, pki.ca_pem, None, timeout_seconds=2)
    with pytest.raises(Unavailable) as caught:
        link.heartbeat(BEAT)
    assert type(caught.value) is Unavailable


def test_the_certificate_is_shown(pki: Pki, tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    certificate = identity.accept(pki.device(identity.begin()))
    with TlsServer(pki, lambda _: answer(GOOD), client_ca=pki.device_ca.pem.decode()) as server:
        link = Link(server.url, pki.ca_pem, certificate.file, timeout_seconds=5)
        link.heartbeat(BEAT)
        assert server.asked[0].certificate is not None
        link.close()


def test_a_connection_closed_meanwhile_is_opened_anew(pki: Pki) -> None:
    def handler(asked: Asked) -> bytes | None:
        asked.connection.sendall(answer(GOOD))
        return None

    with linked(pki, handler) as (link, server):
        link.heartbeat(BEAT)
        link.heartbeat(BEAT)
        assert len(server.asked) == 2


def test_a_held_heartbeat_can_be_ended(pki: Pki) -> None:
    held, over = threading.Event(), threading.Event()

    def handler(asked: Asked) -> bytes | None:
        if asked.path.endswith("register"):
            return answer(wire.Registered("a", "b", 3))
        held.set()
        over.wait(10)
        return None

    with linked(pki, handler, timeout_seconds=20) as (link, _):

        def end() -> None:
            held.wait(5)
            link.end_heartbeat()

        threading.Thread(target=end).start()
        with pytest.raises(Ended):
            link.heartbeat(BEAT)
        over.set()
        assert link.register(wire.Register(wire.HardwareProfile(), "x")).device == "a"


def test_small_documents_may_travel_compressed(pki: Pki) -> None:
    data = b"{}" * 5000
    with linked(pki, lambda _: http(200, gzip.compress(data), Content_Encoding="gzip")) as (link, _):
        assert link.get("/repository/metadata/1.root.json", len(data)) == data
        with pytest.raises(Unavailable, match="larger than"):
            link.get("/repository/metadata/1.root.json", len(data) - 1)


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"x" * 1000)[:-9]], ids=["no gzip", "cut short"])
def test_damaged_compression_is_trouble(pki: Pki, body: bytes) -> None:
    with linked(pki, lambda _: http(200, body, Content_Encoding="gzip")) as (link, _), pytest.raises(Unavailable):
        link.get("/x", 10_000)


def test_a_bomb_is_not_unpacked(pki: Pki) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with linked(pki, lambda _: http(200, bomb, Content_Encoding="gzip")) as (link, _), pytest.raises(Unavailable):
        link.get("/x", 100_000)


def test_downloads_resume_where_the_node_says(pki: Pki) -> None:
    body = bytes(range(256)) * 2000

    def handler(asked: Asked) -> bytes:
        if "range" not in asked.headers:
            return http(200, body)
        start = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
        return http(206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")

    with linked(pki, handler) as (link, _):
        with link.download("/repository/targets/x", 1000) as part:
            assert part.start == 1000
            assert b"".join(part.chunks) == body[1000:]
        with link.download("/repository/targets/x") as whole:
            assert (whole.start, b"".join(whole.chunks)) == (0, body)


def test_trouble_of_the_receiver_is_not_the_networks(pki: Pki) -> None:
    with (
        linked(pki, lambda _: http(200, b"x" * 100_000)) as (link, _),
        pytest.raises(OSError, match="disk full"),
        link.download("/x") as body,
    ):
        next(body.chunks)
        raise OSError(28, "disk full")


@pytest.mark.parametrize(
    "url",
    [
        "http://node",
        "https://",
        "https://node/path",
        "https://a@node",
        "https://node?x",
        "https://node:0x",
        "node:8443",
    ],
)
def test_addresses_that_are_none(pki: Pki, url: str) -> None:
    with pytest.raises(Invalid, match="must be https"):
        Link(url, pki.ca_pem, None)


def test_a_proxy_cannot_speak_for_the_node(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    listener = socket.create_server(("127.0.0.1", 0))

    def proxy() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(refusal("device-decommissioned"))

    threading.Thread(target=proxy, daemon=True).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    link = Link("https://node.example:9443", pki.ca_pem, None, timeout_seconds=5)
    with pytest.raises(Unavailable) as caught:
        link.heartbeat(BEAT)
    assert type(caught.value) is Unavailable
    listener.close()
