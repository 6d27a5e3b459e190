"""Compressed pages: the same bytes, a fraction of the weight, and a length that says nothing of the secret in them."""

from __future__ import annotations

import gzip
import random
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from tidegate.control.console import app, cookies
from tidegate.control.console.packing import gzip_around
from tidegate.control.services import sessions
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant, create_operator
from tidegate.testing.asgi import Answer, Client
from tidegate.testing.fleet import enroll
from tidegate.testing.node import admin_scope

PASSWORD = "correct horse battery staple"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def visitor(node: Node) -> dict[str, str]:
    """Cookies of somebody who is signed in."""
    create_operator(admin_scope(node), node, name="desk", roles=[NamedGrant("admin", "default")], password=PASSWORD)
    begun = sessions.sign_in(node, "desk", PASSWORD, user_agent="", address="127.0.0.1")
    return {cookies.SESSION_COOKIE: begun.session_secret, cookies.CSRF_COOKIE: begun.csrf_secret}


def _ask(node: Node, method: str, path: str, visitor: dict[str, str], encoding: str, **form: str) -> Answer:
    headers = {
        "cookie": "; ".join(f"{name}={value}" for name, value in visitor.items()),
        "content-type": "application/x-www-form-urlencoded",
        "accept-encoding": encoding,
    }
    client = Client(Starlette(routes=app.routes(node)))
    return client.request(method, path, raw=urlencode(form).encode(), headers=headers)


@on_sqlite
def test_a_page_arrives_whole_and_light_where_the_browser_takes_it(node: Node, visitor: dict[str, str]) -> None:
    enroll(node, admin_scope(node), [f"packed-{number:02d}" for number in range(50)])
    plain = _ask(node, "GET", "/devices", visitor, "identity")
    packed = _ask(node, "GET", "/devices", visitor, "deflate, GZIP;q=0.8")
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(packed.body) < len(plain.body) / 4
    # The line with the time at the foot, and ages, may differ by a second.
    assert len(gzip.decompress(packed.body)) == pytest.approx(len(plain.body), abs=200)
    assert gzip.decompress(packed.body).count(b"</tr>") == plain.body.count(b"</tr>") == 51
    refused = _ask(node, "GET", "/devices", visitor, "gzip;q=0, identity")
    assert "content-encoding" not in refused.headers


@on_sqlite
def test_what_a_page_shows_once_is_never_compressed(node: Node, visitor: dict[str, str]) -> None:
    csrf = visitor[cookies.CSRF_COOKIE]
    minted = _ask(node, "POST", "/add-device", visitor, "gzip", csrf=csrf, uses="1", expires="3600")
    assert b"tge_" in minted.body
    assert "content-encoding" not in minted.headers


@on_sqlite
def test_a_second_factor_that_is_being_set_up_is_never_compressed(node: Node, visitor: dict[str, str]) -> None:
    """The page says it again until it is confirmed, beside an address that anybody may send somebody to."""
    csrf = visitor[cookies.CSRF_COOKIE]
    begun = _ask(node, "POST", "/account/second-factor", visitor, "gzip", csrf=csrf, totp_password=PASSWORD)
    assert begun.status == 303, begun.body
    shown = _ask(node, "GET", "/account?guess=secret", visitor, "gzip")
    assert b'id="totp-secret"' in shown.body
    assert "content-encoding" not in shown.headers


@on_sqlite
def test_the_token_of_the_forms_travels_as_it_is(node: Node, visitor: dict[str, str]) -> None:
    """As often as it stands in the page it stands in what travels: the compressor has met none of them."""
    enroll(node, admin_scope(node), ["packed"])
    csrf = visitor[cookies.CSRF_COOKIE].encode()
    packed = _ask(node, "GET", "/devices/packed", visitor, "gzip").body
    assert packed.count(csrf) == gzip.decompress(packed).count(csrf) >= 2


_SECRETS = st.integers(min_value=0, max_value=2**64).map(
    lambda seed: bytes(random.Random(seed).choices(b"abcdefghijklmnopqrstuvwxyz0123456789-_", k=43))
)


@given(secret=_SECRETS, other=_SECRETS, known=st.integers(min_value=1, max_value=43), forms=st.integers(1, 5))
def test_a_right_guess_makes_a_page_no_shorter(secret: bytes, other: bytes, known: int, forms: int) -> None:
    """What somebody put into the page begins like the secret: its length is that of any other secret's page."""

    def page(token: bytes) -> bytes:
        form = b'<form><input type="hidden" name="csrf" value="' + token + b'"></form>'
        return b"<h1>Devices</h1><p>" + b'value="' + secret[:known] + b"</p>" + form * forms

    if other in page(secret) or secret in page(other):
        return
    right, wrong = gzip_around(page(secret), secret), gzip_around(page(other), other)
    assert gzip.decompress(right) == page(secret)
    assert len(right) == len(wrong)


@given(data=st.binary(max_size=5_000), secret=st.binary(max_size=64))
def test_every_page_is_unpacked_to_itself(data: bytes, secret: bytes) -> None:
    assert gzip.decompress(gzip_around(data, secret)) == data
