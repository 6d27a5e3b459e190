"""The Python client against a server that misbehaves: what is sent again, what is raised, what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tidegate.client
from tidegate import errors, problems
from tidegate.client import (
    Client,
    Conflict,
    Defect,
    Forbidden,
    Invalid,
    NotFound,
    TidegateError,
    TooLarge,
    TooMany,
    Unavailable,
    Untrusted,
)
from tidegate.client.upload import BrokenOff
from tidegate.testing.tls_server import Asked, Handler, Pki, TlsServer, answer, http, refusal
from tidegate.wire.problem import Problem, ProblemField

ALIVE = answer({"alive": True})


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


def _in_turn(*answers: bytes | None) -> Handler:
    left = list(answers)
    return lambda _asked: left.pop(0) if len(left) > 1 else left[0]


def _client(pki: Pki, server: TlsServer, **options: Any) -> Client:
    return Client(server.url, ca=pki.ca_pem, key="tg_secret", **options)


BUSY = refusal("busy", 503)


@pytest.mark.parametrize(
    ("call", "times"),
    [
        (lambda client: client.node.alive(), 3),
        (lambda client: client.groups.create(name="lab"), 3),
        (lambda client: client.rollouts.halt(1), 1),
        (lambda client: client.groups.delete("lab"), 1),
        (lambda client: client.devices.change_tags("cam-1", put={"a": "b"}), 1),
    ],
)
def test_only_what_is_safe_is_sent_again(pki: Pki, call: Callable[[Client], object], times: int) -> None:
    with TlsServer(pki, _in_turn(None)) as server, _client(pki, server) as client:
        with pytest.raises(Unavailable, match="cannot reach"):
            call(client)
        assert len(server.asked) == times
        keys = {asked.headers.get("idempotency-key") for asked in server.asked}
        assert len(keys) == 1, "a repeat is the same request"
    with TlsServer(pki, _in_turn(BUSY)) as server, _client(pki, server) as client:
        with pytest.raises(Unavailable, match="cannot serve this"):
            call(client)
        assert len(server.asked) == times


def test_a_repeat_that_gets_through_is_the_answer(pki: Pki) -> None:
    with TlsServer(pki, _in_turn(None, BUSY, ALIVE)) as server, _client(pki, server) as client:
        assert client.node.alive().alive
    with TlsServer(pki, _in_turn(refusal("slow", 429, retry_after_seconds=3600), ALIVE)) as server:
        with _client(pki, server) as client, pytest.raises(TooMany) as told:
            client.node.alive()
        assert (told.value.retry_after_seconds, len(server.asked)) == (3600, 1), "an hour is the caller's to wait"


def test_a_key_of_ones_own_goes_out_as_it_is(pki: Pki) -> None:
    group = {"id": 1, "name": "lab", "size": 0, "created_at": "2026-01-01T00:00:00Z", "hold": None, "selector": None}
    made = answer({"id": 1, "group": group, "changed": 0, "unknown": []}, 201)
    with TlsServer(pki, _in_turn(made)) as server, _client(pki, server) as client:
        client.groups.create(name="lab", idempotency_key="release-7")
        assert server.asked[0].headers["idempotency-key"] == "release-7"
        assert server.asked[0].headers["authorization"] == "Bearer tg_secret"


def test_problems_are_the_errors_that_they_were(pki: Pki) -> None:
    fields = (ProblemField("/name", "is missing"),)
    for sent, kind in (
        (refusal("absent", 404), NotFound), (refusal("taken", 409), Conflict), (refusal("large", 413), TooLarge),
        (refusal("denied", 403, permission="rollouts.write"), Forbidden),
        (refusal("wrong", 422, errors=fields), Invalid),
    ):  # fmt: skip
        with TlsServer(pki, _in_turn(sent)) as server, _client(pki, server) as client:
            with pytest.raises(kind) as raised:
                client.rollouts.halt(7)
            assert raised.value.detail.startswith("cannot serve this")
            if isinstance(raised.value, Forbidden):
                assert raised.value.permission == "rollouts.write"
            if isinstance(raised.value, Invalid):
                assert [(one.pointer, one.detail) for one in raised.value.errors] == [("/name", "is missing")]


def test_every_kind_of_error_comes_back_as_itself_and_is_part_of_the_client() -> None:
    given = {"TooMany": {"retry_after_seconds": 7}, "Forbidden": {"permission": "rollouts.write"}}
    # Not told apart by their status: 422 is what breaks a rule.
    becomes = {"Refused": Invalid, "Untrusted": Invalid, "TidegateError": Defect}
    for name in errors.__all__:
        kind = getattr(tidegate.client, name)
        assert kind is getattr(errors, name)
        if not issubclass(kind, TidegateError):
            continue
        error = kind("cannot do this", type="of-its-own", **given.get(name, {}))
        problem = problems.problem_of(error)
        back = problems.error_of(msgspec.json.decode(msgspec.json.encode(problem), type=Problem))
        assert type(back) is becomes.get(name, kind), name
        assert (back.type, back.detail) == ("of-its-own", "cannot do this")
        for field, value in given.get(name, {}).items():
            assert getattr(back, field) == value


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (http(200, b"{"), "cannot read the answer"),
        (http(200, b'{"alive": "perhaps"}'), "cannot read the answer"),
        (http(502, b"<html>", "text/html"), "status 502 without a problem"),
        (http(302, b"", location="https://elsewhere"), "status 302 without a problem"),
        (http(303, b"", location="https://elsewhere/signin"), "status 303 without a problem"),
        (http(500, b"{", "application/problem+json"), "cannot read the problem"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "cannot receive the answer"),
        (b"nonsense\r\n\r\n", "cannot reach"),
    ],
)
def test_what_is_no_answer_is_unavailable(pki: Pki, sent: bytes, said: str) -> None:
    def handler(asked: Asked) -> bytes | None:
        asked.connection.sendall(sent)
        return None

    with TlsServer(pki, handler) as server, _client(pki, server, retries=0) as client:
        with pytest.raises(Unavailable, match=said) as raised:
            client.node.alive()
        assert "Connection(" not in str(raised.value)
        assert "tg_secret" not in str(raised.value)


def test_another_ca_is_not_trusted_and_hears_no_key(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Pki(tmp_path / "other")
    with TlsServer(pki, _in_turn(ALIVE)) as server, Client(server.url, ca=other.ca_pem, key="tg_secret") as client:
        with pytest.raises(Untrusted, match="cannot trust"):
            client.node.alive()
        assert not server.asked


def test_names_are_quoted_and_never_change_the_path(pki: Pki) -> None:
    with TlsServer(pki, _in_turn(refusal("absent", 404))) as server, _client(pki, server) as client:
        with pytest.raises(NotFound):
            client.devices.get("a/../../v1/me?x=1#é")
        assert server.asked[0].path == "/v1/devices/a%2F..%2F..%2Fv1%2Fme%3Fx%3D1%23%C3%A9?fleet=default"
        for name in ("..", ".", ""):
            with pytest.raises(Invalid, match="names nothing"):
                client.devices.get(name)
        assert len(server.asked) == 1
        with pytest.raises(NotFound):
            client.in_fleet("harbour").devices.get("cam-1")
        assert server.asked[1].path.endswith("?fleet=harbour")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://127.0.0.1:1", {}), ("https://", {}), ("https://127.0.0.1:99999", {}), ("https://u:p@host", {}),
        ("https://host/path", {}), ("https://host", {"ca": "-----BEGIN nothing"}),
        ("https://host", {"key": "two words"}),
        ("https://host", {"key": "a\r\nHost: b"}), ("https://host", {"key": Path("/nothing")}),
        ("https://host", {"ca": "/nothing"}),
    ],
)  # fmt: skip
def test_what_cannot_be_a_node_is_refused_at_once(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"^cannot "):
        Client(url, **options)


def test_a_list_is_walked_to_its_end(pki: Pki) -> None:
    def handler(asked: Asked) -> bytes:
        known = {"id": 1, "state": "live", "device_name": None, "may_replace": False, "uses_allowed": 1, "uses_left": 1,
                 "tags": {}, "groups": [], "created_at": "2026-01-01T00:00:00Z", "created_by": "x",
                 "expires_at": "2026-01-02T00:00:00Z", "revoked_at": None, "enrolled": []}  # fmt: skip
        number = 2 if "cursor=second" in asked.path else 1
        cursor = None if number == 2 else "second"
        return answer({"items": [{**known, "id": number}], "total": 2, "next_cursor": cursor})

    with TlsServer(pki, handler) as server, _client(pki, server) as client:
        assert [token.id for token in client.tokens.list(live=True)] == [1, 2]
        assert client.tokens.list().total == 2
        assert "live=true" in server.asked[0].path
        assert "limit=200" in server.asked[0].path


def test_an_upload_goes_on_where_the_node_says(pki: Pki) -> None:
    content = b"0123456789"
    stored = bytearray()
    broken = [True]

    def handler(asked: Asked) -> bytes | None:
        if asked.method == "PATCH":
            part = asked.body[:4] if broken[0] else asked.body
            stored.extend(part)
            if broken.pop() if broken else False:
                return None
        state = {"id": "1" * 32, "file_name": "m", "length": len(content), "received": len(stored),
                 "sha256": "a" * 64 if len(stored) == len(content) else None}  # fmt: skip
        broken[:] = broken or [False]
        return answer(state, 201 if asked.method == "POST" else 200)

    told: list[int] = []
    with TlsServer(pki, handler) as server, _client(pki, server) as client:
        made = client.upload(io.BytesIO(content), name="m", progress=lambda got, _of: told.append(got))
        assert made.sha256
        assert bytes(stored) == content
        assert told == [0, 4, 10]
        with pytest.raises(Conflict, match="of 10 bytes, not 3"):
            client.upload(io.BytesIO(b"abc"), name="m", resume="1" * 32)


def test_an_upload_that_is_refused_for_want_of_room_can_go_on_later(pki: Pki) -> None:
    state = {"id": "1" * 32, "file_name": "m", "length": 1, "received": 0, "sha256": None}
    with TlsServer(pki, _in_turn(answer(state, 201), refusal("disk-full", 503))) as server:
        with _client(pki, server) as client, pytest.raises(BrokenOff) as raised:
            client.upload(io.BytesIO(b"x"))
        assert raised.value.upload_id == "1" * 32


def test_a_download_is_whole_or_nothing(pki: Pki, tmp_path: Path) -> None:
    def short(asked: Asked) -> None:
        asked.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")

    with TlsServer(pki, short) as server, _client(pki, server) as client:
        with pytest.raises(Unavailable):
            client.trust.root().save(tmp_path / "root.json")
        assert not (tmp_path / "root.json").exists()
    with TlsServer(pki, _in_turn(http(200, b"x" * 100))) as server, _client(pki, server) as client:
        with pytest.raises(TooLarge):
            client.trust.root().read(99)
        assert client.trust.root().save(tmp_path / "root.json") == 100
        assert issubclass(TooLarge, TidegateError)


def test_the_environment_names_the_node(pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("tg_secret\n")
    (tmp_path / "ca").write_text(pki.ca_pem)
    monkeypatch.delenv("TIDEGATE_URL", raising=False)
    with pytest.raises(Invalid, match="TIDEGATE_URL"):
        Client.from_environment()
    with TlsServer(pki, _in_turn(ALIVE)) as server:
        for name, value in (
            ("URL", server.url),
            ("CA", tmp_path / "ca"),
            ("KEY_FILE", tmp_path / "key"),
            ("FLEET", "x"),
        ):
            monkeypatch.setenv(f"TIDEGATE_{name}", str(value))
        with Client.from_environment() as client:
            assert client.node.alive().alive
            assert (client.url, client.fleet) == (server.url, "x")
        assert server.asked[0].headers["authorization"] == "Bearer tg_secret"
