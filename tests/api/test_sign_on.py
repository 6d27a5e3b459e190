"""Sign-on with a provider that lies: nothing but an honest answer to one's own question opens the node."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control import openid, settings
from tidegate.control.api import table
from tidegate.control.api.operations import routes as api_routes
from tidegate.control.console import app as console_app
from tidegate.control.console import cookies
from tidegate.control.domain.sign_on import operator_names
from tidegate.control.openid import Provider
from tidegate.control.services import api_keys, people, sessions, sign_on
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant
from tidegate.control.services.sign_in import SignedIn, Visitor
from tidegate.control.services.sign_on import Answer
from tidegate.control.settings_oidc import Oidc, OidcRole
from tidegate.control.store import people as people_store
from tidegate.control.store.schema import audit_records, failed_attempts, operator_roles, operators
from tidegate.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TidegateError,
    TooMany,
    Unauthenticated,
    Unavailable,
    Untrusted,
)
from tidegate.testing import openid as testing
from tidegate.testing.asgi import Client
from tidegate.testing.node import admin_scope, api_key
from tidegate.testing.openid import Lies, LyingProvider, new_key
from tidegate.testing.ports import free_ports

HERE = Visitor("test", "192.0.2.1")
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def liar() -> Iterator[LyingProvider]:
    with LyingProvider() as provider:
        yield provider


def _with(node: Node, oidc: Oidc) -> Node:
    return replace(node, settings=msgspec.structs.replace(node.settings, oidc=oidc), provider=Provider(oidc))


@pytest.fixture
def at(node: Node, liar: LyingProvider) -> Node:
    """The node that believes this provider."""
    return _with(node, testing.settings(liar.issuer, node.settings.data_dir))


def _sign_on(node: Node, liar: LyingProvider, back: str = "/", **answer: str) -> tuple[SignedIn, str]:
    departure = sign_on.begin(node, back, HERE.address)
    code, state = liar.visit(departure.url)
    return sign_on.finish(node, departure.cookie, Answer(**({"code": code, "state": state} | answer)), HERE)


def _grants(node: Node, name: str) -> set[tuple[str, str]]:
    return {(one.role, one.fleet) for one in people.get_operator(admin_scope(node), node, name).roles}


# -- honest -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RS256", "ES256", "EdDSA"])
@on_sqlite
def test_an_honest_answer_makes_an_operator_with_the_mapped_roles(at: Node, liar: LyingProvider, kind: str) -> None:
    key = new_key("k", kind)
    liar.lies = Lies(keys=[key], signs=key)
    signed_in, back = _sign_on(at, liar, back="/devices?q=a")
    assert back == "/devices?q=a"
    assert sessions.session(at, signed_in.session_secret) is not None
    assert signed_in.operator.name == "olga"
    assert signed_in.operator.sign_on == (liar.issuer, "sub-1")
    assert _grants(at, "olga") == {("operator", "default")}
    assert liar.forms[0]["redirect_uri"].endswith("/signin/sign-on/callback")
    assert liar.forms[0]["code_verifier"]


def test_roles_are_computed_anew_and_what_was_taken_ends_sessions(at: Node, liar: LyingProvider) -> None:
    first, _ = _sign_on(at, liar)
    liar.lies.claims = {"groups": ["fleet-ops", "fleet-admins"]}
    second, _ = _sign_on(at, liar)
    assert second.operator.id == first.operator.id
    assert _grants(at, "olga") == {("operator", "default"), ("admin", "*")}
    assert sessions.session(at, first.session_secret) is not None  # more, not less
    liar.lies.claims = {"groups": "fleet-ops"}  # one group as plain text
    third, _ = _sign_on(at, liar)
    assert _grants(at, "olga") == {("operator", "default")}
    assert sessions.session(at, first.session_secret) is None
    assert sessions.session(at, third.session_secret) is not None
    liar.lies.claims = {"groups": []}
    with pytest.raises(Forbidden, match="gives a role"):
        _sign_on(at, liar)
    assert sessions.session(at, third.session_secret) is None
    with at.db.read() as tx:
        actions = list(tx.scalars(sa.select(audit_records.c.action).order_by(audit_records.c.sequence)))
    assert [one for one in actions if one.startswith("operator.")] == [
        "operator.create", "operator.set-roles", "operator.set-roles", "operator.set-roles",
    ]  # fmt: skip


@on_sqlite
def test_unmapped_is_refused_and_leaves_nothing_or_becomes_a_viewer(at: Node, liar: LyingProvider) -> None:
    liar.lies.claims = {"groups": ["staff", 7, None]}
    with pytest.raises(Forbidden) as refused:
        _sign_on(at, liar)
    assert refused.value.type == "sign-on-unmapped"
    with at.db.read() as tx:
        assert list(tx.scalars(sa.select(operators.c.name))) == []
    assert at.settings.oidc is not None
    kind = _with(at, msgspec.structs.replace(at.settings.oidc, unmapped="viewer"))
    _sign_on(kind, liar)
    assert _grants(at, "olga") == {("viewer", "*")}


@on_sqlite
def test_a_mapping_to_what_is_not_there_gives_nothing(at: Node, liar: LyingProvider) -> None:
    assert at.settings.oidc is not None
    lines = (OidcRole(value="fleet-ops", role="operator", fleet="nowhere"), OidcRole(value="fleet-ops", role="made-up"))
    with pytest.raises(Forbidden):
        _sign_on(_with(at, msgspec.structs.replace(at.settings.oidc, roles=lines)), liar)


def test_a_name_that_a_local_operator_has_is_not_theirs(at: Node, liar: LyingProvider) -> None:
    scope = admin_scope(at)
    people.create_operator(scope, at, name="olga", roles=[NamedGrant("admin", "*")], password="correct horse battery")
    signed_in, _ = _sign_on(at, liar)
    assert signed_in.operator.name.startswith("olga-")
    assert _grants(at, signed_in.operator.name) == {("operator", "default")}
    assert _grants(at, "olga") == {("admin", "*")}
    again, _ = _sign_on(at, liar)
    assert again.operator.id == signed_in.operator.id
    liar.lies.claims = {"sub": "sub-2"}  # another subject of the same name
    other, _ = _sign_on(at, liar)
    assert other.operator.id != signed_in.operator.id


@pytest.mark.parametrize(
    ("wanted", "name"),
    [("Ada@example.org", "ada"), ("  Zoë Ångström ", "zoe-angstrom"), ("../etc", "etc"), (None, "user"),
     ("\0💣", "user"), ("x" * 300, "x" * 48), ("-admin-", "admin")],
)  # fmt: skip
def test_names_are_made_to_fit(wanted: object, name: str) -> None:
    plain, marked = operator_names(wanted, "https://issuer", "sub")
    assert plain == name
    assert marked.startswith(f"{name}-")
    assert len(marked) <= 63


@on_sqlite
def test_groups_may_come_from_the_user_information_of_the_same_subject(at: Node, liar: LyingProvider) -> None:
    liar.lies.claims = {"groups": None}
    liar.lies.userinfo = {"groups": ["fleet-ops"]}
    _sign_on(at, liar)
    assert _grants(at, "olga") == {("operator", "default")}
    liar.lies.userinfo = {"groups": ["fleet-admins"], "sub": "sub-2"}
    with pytest.raises(Untrusted, match="somebody else"):
        _sign_on(at, liar)


@on_sqlite
def test_who_signs_on_has_no_password_and_no_roles_given_here(at: Node, liar: LyingProvider) -> None:
    scope = admin_scope(at)
    signed_in, _ = _sign_on(at, liar)
    acts: list[Callable[[], object]] = [
        lambda: people.reset_password(scope, at, "olga"),
        lambda: people.set_roles(scope, at, "olga", [NamedGrant("admin", "*")]),
        lambda: people.change_own_password(
            scope, at, signed_in.operator.id, current="", password="correct horse battery"
        ),
    ]
    for act in acts:
        with pytest.raises(Conflict, match="signs on through a provider"):
            act()
    for guess in ("", "x"):
        with pytest.raises(Unauthenticated):
            sessions.sign_in(at, "olga", guess, user_agent="", address="192.0.2.9")
    people.disable_operator(scope, at, "olga")
    with pytest.raises(Unauthenticated, match="disabled"):
        _sign_on(at, liar)


def _lapse(node: Node, name: str, by: timedelta) -> None:
    """As if `by` had passed since their sign-on."""
    with node.db.write() as tx:
        operator = people_store.operator_by_name(tx, name)
        assert operator is not None
        assert operator.grants_until is not None
        people_store.set_grants_until(tx, operator.id, operator.grants_until - by)


def test_who_is_gone_at_the_provider_loses_keys_and_sessions_after_the_days(at: Node, liar: LyingProvider) -> None:
    liar.lies.claims = {"groups": ["fleet-admins"]}
    signed_in, _ = _sign_on(at, liar)
    scope = sessions.scope_in(at, signed_in.operator.identity(), None)
    key, secret = api_keys.create_api_key(scope, at, name="ci", role="operator", every_fleet=False, expires_days=None)
    made_by_local = api_key(at, "viewer", name="local")

    def listed() -> Any:
        return next(one for one in api_keys.list_api_keys(scope, at).items if one.id == key.id)

    _lapse(at, "olga", timedelta(days=30) - timedelta(minutes=5))
    assert sessions.authenticate(at, f"Bearer {secret}").actor.name == "ci"
    assert listed().state(at.clock.now()) == "valid"

    _lapse(at, "olga", timedelta(minutes=6))
    with pytest.raises(Unauthenticated, match="has not signed on for too long") as refused:
        sessions.authenticate(at, f"Bearer {secret}")
    assert refused.value.type == "api-key-lapsed"
    assert "olga" not in refused.value.detail
    assert listed().state(at.clock.now()) == "lapsed"
    assert sessions.session(at, signed_in.session_secret) is None
    assert sessions.authenticate(at, f"Bearer {made_by_local}").actor.name == "local"  # has a password here

    liar.lies.claims = {"groups": []}  # signing on without roles brings nothing back
    with pytest.raises(Forbidden):
        _sign_on(at, liar)
    with at.db.read() as tx:
        assert not list(tx.scalars(sa.select(operator_roles.c.role).join(operators).where(operators.c.name == "olga")))
    liar.lies.claims = {"groups": ["fleet-admins"]}
    again, _ = _sign_on(at, liar)
    assert sessions.session(at, again.session_secret) is not None
    assert sessions.authenticate(at, f"Bearer {secret}").actor.name == "ci"


@on_sqlite
def test_pages_and_lists_say_until_when_roles_from_sign_on_count(at: Node, liar: LyingProvider) -> None:
    liar.lies.claims = {"groups": ["fleet-admins"]}
    olga, _ = _sign_on(at, liar)
    liar.lies.claims = {"groups": ["fleet-admins"], "sub": "sub-2", "preferred_username": "otto"}
    otto, _ = _sign_on(at, liar)
    scope = sessions.scope_in(at, otto.operator.identity(), None)
    api_keys.create_api_key(scope, at, name="ci", role="viewer", every_fleet=False, expires_days=None)

    def told(path: str) -> str:
        headers = {"cookie": f"{cookies.SESSION_COOKIE}={olga.session_secret}"}
        answer = Client(Starlette(routes=console_app.routes(at))).request("GET", path, headers=headers)
        assert answer.status == 200
        return answer.body.decode()

    assert "count until" in told("/users/otto")
    assert "unless otto signs on" in told("/api-keys")
    _lapse(at, "otto", timedelta(days=31))
    assert "until they sign on again" in told("/users/otto")
    assert "does nothing until otto signs on" in told("/api-keys")
    assert "has to sign on" in told("/users")
    listing = Client(Starlette(routes=api_routes(at, table.calls())), bearer=olga.session_secret)
    key = listing.request("GET", "/v1/api-keys").json()["items"][0]
    assert key["state"] == "lapsed"
    assert key["lapses_at"] == listing.request("GET", "/v1/operators/otto").json()["grants_until"]


@on_sqlite
def test_never_has_to_be_said(at: Node, liar: LyingProvider) -> None:
    assert at.settings.oidc is not None
    _sign_on(at, liar)
    _sign_on(_with(at, msgspec.structs.replace(at.settings.oidc, grants_days="never")), liar)
    with at.db.read() as tx:
        assert tx.scalar(sa.select(operators.c.grants_until)) is None
    text = '[oidc]\nissuer = "https://i"\nclient_id = "c"\nunmapped = "viewer"\ngrants_days = '
    for wrong in ("0", '"always"', "-1", "1.5"):
        with pytest.raises(Invalid, match="grants_days"):
            settings.parse(text + wrong, folder=at.settings.data_dir)
    assert settings.parse(text + '"never"', folder=at.settings.data_dir).oidc is not None


@on_sqlite
def test_the_last_admin_with_a_password_stays_whoever_signs_on(at: Node, liar: LyingProvider) -> None:
    scope = admin_scope(at)
    people.create_operator(scope, at, name="root", roles=[NamedGrant("admin", "*")], password="correct horse battery")
    liar.lies.claims = {"groups": ["fleet-admins"]}
    _sign_on(at, liar)
    with pytest.raises(Conflict, match="last admin"):
        people.disable_operator(scope, at, "root")


@on_sqlite
def test_passwords_can_be_left_to_admins(at: Node, liar: LyingProvider) -> None:
    scope, password = admin_scope(at), "correct horse battery"
    for name, role in (("root", "admin"), ("bob", "approver")):
        people.create_operator(scope, at, name=name, roles=[NamedGrant(role, "*")], password=password)
    assert at.settings.oidc is not None
    strict = _with(at, msgspec.structs.replace(at.settings.oidc, local_sign_in="admins"))
    sessions.sign_in(at, "bob", password, user_agent="", address="192.0.2.1")
    sessions.sign_in(strict, "root", password, user_agent="", address="192.0.2.1")
    with pytest.raises(Unauthenticated):
        sessions.sign_in(strict, "bob", password, user_agent="", address="192.0.2.1")


# -- lies -------------------------------------------------------------------------------------------------------------


def _hs256_with_public_key(token: str, key: dict[str, Any]) -> str:
    """The classic: the public key as a shared secret."""
    head = _part({"alg": "HS256", "kid": "one"})
    payload = token.split(".")[1]
    secret = json.dumps(key).encode()
    mark = hmac.new(secret, f"{head}.{payload}".encode(), hashlib.sha256).digest()
    return f"{head}.{payload}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _flipped(token: str) -> str:
    head, payload, mark = token.split(".")
    changed = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{head}.{_part(changed | {'groups': ['fleet-admins']})}.{mark}"


def _lie(name: str, lies: Lies) -> None:
    now = int(time.time())
    claims: dict[str, dict[str, Any]] = {
        "issuer": {"iss": "https://other.example"},
        "audience": {"aud": "other"},
        "several audiences": {"aud": ["tidegate", "other"]},
        "party": {"azp": "other"},
        "nonce": {"nonce": "other"},
        "no nonce": {"nonce": None},
        "expired": {"exp": now - 120},
        "no expiry": {"exp": None},
        "expiry as text": {"exp": str(now + 300)},
        "from the future": {"iat": now + 300},
        "old": {"iat": now - 3_600, "exp": now + 3_600},
        "not yet": {"nbf": now + 300},
        "nobody": {"sub": ""},
        "no subject": {"sub": None},
        "subject as number": {"sub": 1},
        "long subject": {"sub": "x" * 256},
    }
    if name in claims:
        lies.claims = claims[name]
    elif name == "other key":
        lies.signs = new_key("one")
    elif name == "other kind of key":
        lies.signs = new_key("one", "ES256")
    elif name == "no algorithm":
        lies.token = lambda token: f"{_part({'alg': 'none'})}.{token.split('.')[1]}."
    elif name == "no algorithm, signed":
        lies.token = lambda token: f"{_part({'alg': 'none', 'kid': 'one'})}.{'.'.join(token.split('.')[1:])}"
    elif name == "shared secret":
        lies.token = lambda token: _hs256_with_public_key(token, lies.keys[0].as_dict(private=False))
    elif name == "weak hash":
        lies.header = {"alg": "RS512"}
    elif name == "critical extension":
        lies.header = {"crit": ["b64"], "b64": False}
    elif name == "key in the header":
        own = new_key("own")
        lies.signs, lies.header = own, {"jwk": own.as_dict(private=False)}
    elif name == "changed":
        lies.token = _flipped
    elif name == "no token":
        lies.raw["/token"] = b'{"access_token": "a"}'
    elif name == "nonsense":
        lies.raw["/token"] = b'{"id_token": "a.b.c"}'
    elif name == "not JSON":
        lies.raw["/token"] = b"<html>"
    elif name == "flood":
        lies.raw["/token"] = b'{"id_token": "' + b"a" * 600_000 + b'"}'
    elif name == "code refused":
        lies.status["/token"] = 400
    elif name == "token elsewhere":
        lies.redirect["/token"] = "http://127.0.0.1:1/token"
    elif name == "no keys":
        lies.raw["/keys"] = b'{"keys": [1, {"kty": "RSA", "n": "!"}, {"kty": "oct", "k": "AAAA"}]}'
    else:
        raise AssertionError(name)


_LIES = [
    "issuer", "audience", "several audiences", "party", "nonce", "no nonce", "expired", "no expiry", "expiry as text",
    "from the future", "old", "not yet", "nobody", "no subject", "subject as number", "long subject", "other key",
    "other kind of key", "no algorithm", "no algorithm, signed", "shared secret", "weak hash", "critical extension",
    "key in the header", "changed", "no token", "nonsense", "not JSON", "flood", "code refused", "token elsewhere",
    "no keys",
]  # fmt: skip


@on_sqlite
def test_no_lie_opens_the_node(at: Node, liar: LyingProvider) -> None:
    believed = []
    honest = liar.lies
    for name in _LIES:
        liar.lies = Lies(keys=honest.keys, signs=honest.signs)
        _lie(name, liar.lies)
        fresh = _with(at, at.settings.oidc) if at.settings.oidc else at
        with at.db.write() as tx:  # each lie is looked at
            tx.execute(sa.delete(failed_attempts))
        try:
            _sign_on(fresh, liar)
        except Untrusted as error:
            told = error.detail.startswith("cannot sign on: ") and "eyJ" not in error.detail
            if told:
                continue
        believed.append(name)
    assert believed == []
    with at.db.read() as tx:
        assert list(tx.scalars(sa.select(operators.c.name))) == []
    liar.lies = honest
    _sign_on(at, liar)


@on_sqlite
def test_the_clocks_may_be_a_minute_apart(at: Node, liar: LyingProvider) -> None:
    now = int(time.time())
    liar.lies.claims = {"iat": now + 50, "exp": now + 300}
    _sign_on(at, liar)
    liar.lies.claims = {"iat": now - 300, "exp": now - 50}
    _sign_on(at, liar)


@on_sqlite
@pytest.mark.parametrize(
    "name", ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"]
)
def test_a_discovery_document_of_another_or_with_unsafe_addresses_is_refused(
    at: Node, liar: LyingProvider, name: str
) -> None:
    liar.lies.discovery = {name: "http://other.example/x"}
    with pytest.raises(Untrusted):
        sign_on.begin(at, "/", HERE.address)


@on_sqlite
def test_only_the_browser_that_began_comes_back_and_only_with_its_own_state(at: Node, liar: LyingProvider) -> None:
    mine, theirs = sign_on.begin(at, "/", HERE.address), sign_on.begin(at, "/", HERE.address)
    code, state = liar.visit(theirs.url)  # an attacker's own sign-on, sent to the victim
    for cookie in (mine.cookie, "", "nonsense", mine.cookie[:-8], "x" * 5_000):
        with pytest.raises(Unauthenticated, match="not begun in this browser"):
            sign_on.finish(at, cookie, Answer(code=code, state=state), HERE)
    for other in ("", state + "x", "\ud800"):
        with pytest.raises(Unauthenticated):
            sign_on.finish(at, theirs.cookie, Answer(code=code, state=other), HERE)
    assert "/token" not in liar.asked
    assert mine.cookie != theirs.cookie
    for secret in (state, code):
        assert secret not in mine.cookie


@on_sqlite
def test_a_state_has_its_time(at: Node, liar: LyingProvider) -> None:
    from datetime import timedelta

    departure = sign_on.begin(at, "/", HERE.address)
    code, state = liar.visit(departure.url)

    class Later:
        def now(self) -> Any:
            return at.clock.now() + timedelta(minutes=16)

        def monotonic(self) -> float:
            return at.clock.monotonic()

    with pytest.raises(Unauthenticated, match="took too long"):
        sign_on.finish(replace(at, clock=Later()), departure.cookie, Answer(code=code, state=state), HERE)  # type: ignore[arg-type]


@on_sqlite
def test_the_issuer_beside_the_code_must_be_the_one_asked(at: Node, liar: LyingProvider) -> None:
    with pytest.raises(Untrusted, match="another issuer"):
        _sign_on(at, liar, issuer="https://other.example")
    _sign_on(at, liar, issuer=liar.issuer)
    assert at.settings.oidc is not None
    liar.lies.discovery = {"authorization_response_iss_parameter_supported": True}
    with pytest.raises(Untrusted, match="another issuer"):
        _sign_on(_with(at, at.settings.oidc), liar)  # promised, and missing


@on_sqlite
def test_failures_from_one_address_have_to_wait(at: Node, liar: LyingProvider) -> None:
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            sign_on.finish(at, "", Answer(), HERE)
    with pytest.raises(TooMany):
        _sign_on(at, liar)


@on_sqlite
def test_nobody_is_sent_to_the_provider_without_end(at: Node, liar: LyingProvider) -> None:
    app = Starlette(routes=console_app.routes(at))
    client, other = Client(app, client="192.0.2.1"), Client(app, client="192.0.2.2")
    assert {client.request("GET", "/signin/sign-on").status for _ in range(60)} == {303}
    refused = client.request("GET", "/signin/sign-on")
    assert refused.status == 429
    assert b"too many" in refused.body
    assert other.request("GET", "/signin/sign-on").status == 303


@on_sqlite
def test_new_keys_are_asked_for_when_one_is_unknown_and_not_more_often(
    at: Node, liar: LyingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sign_on(at, liar)
    assert liar.asked["/keys"] == 1
    fresh = new_key("two")
    liar.lies.keys.append(fresh)
    liar.lies.signs = fresh
    with pytest.raises(Untrusted):
        _sign_on(at, liar)  # asked a moment ago
    assert liar.asked["/keys"] == 1
    monkeypatch.setattr(openid, "KEYS_SECONDS", 0)
    _sign_on(at, liar)
    assert liar.asked["/keys"] == 2
    del liar.lies.keys[0]  # the old one is gone for good
    liar.lies.signs = new_key("one")
    with pytest.raises(Untrusted):
        _sign_on(at, liar)


@on_sqlite
def test_a_provider_that_is_down_slow_or_ill_says_so_in_time(
    at: Node, liar: LyingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openid, "ANSWER_SECONDS", 0.5)
    liar.lies.trickle = {"/token"}
    began = time.monotonic()
    with pytest.raises(Unavailable, match="took longer"):
        _sign_on(at, liar)
    assert time.monotonic() - began < 10
    liar.lies.trickle = set()
    liar.lies.status["/token"] = 503
    with pytest.raises(Unavailable, match="trouble of its own"):
        _sign_on(at, liar)
    down = _with(at, testing.settings(f"http://127.0.0.1:{free_ports(1)[0]}", at.settings.data_dir))
    with pytest.raises(Unavailable, match="does not answer"):
        sign_on.begin(down, "/", HERE.address)


@on_sqlite
def test_a_public_client_shows_no_secret_and_a_confidential_one_only_to_the_token_address(
    at: Node, liar: LyingProvider
) -> None:
    assert at.settings.oidc is not None
    _sign_on(at, liar)
    assert "client_secret" not in liar.forms[-1]  # in the header, as the provider asks by default
    liar.lies.discovery = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    _sign_on(_with(at, at.settings.oidc), liar)
    assert liar.forms[-1]["client_secret"] == testing.CLIENT_SECRET
    _sign_on(_with(at, msgspec.structs.replace(at.settings.oidc, client_secret_file=None)), liar)
    assert "client_secret" not in liar.forms[-1]


# -- pages and settings -----------------------------------------------------------------------------------------------


@on_sqlite
def test_the_pages_send_nobody_elsewhere_and_set_a_session_only_at_the_end(at: Node, liar: LyingProvider) -> None:
    client = Client(Starlette(routes=console_app.routes(at)))
    assert b"Sign in with the company" in client.request("GET", "/signin").body
    away = client.request("GET", "/signin/sign-on?next=//evil.example/")
    assert away.status == 303
    assert away.headers["location"].startswith(f"{liar.issuer}/authorize?")
    cookie = away.headers["set-cookie"]
    assert cookie.startswith(f"{cookies.SIGN_ON_COOKIE}=")
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= {one.strip().lower() for one in cookie.split(";")}
    sealed = cookie.split(";")[0].partition("=")[2].strip('"')
    code, state = liar.visit(away.headers["location"])
    target = f"/signin/sign-on/callback?code={code}&state={state}"
    assert client.request("GET", target).status == 401
    back = client.request("GET", target, headers={"cookie": f"{cookies.SIGN_ON_COOKIE}={sealed}"})
    assert (back.status, back.headers["location"]) == (303, "/")
    assert back.headers["referrer-policy"] == "same-origin"


@on_sqlite
def test_without_a_provider_there_is_no_such_way_in(node: Node) -> None:
    client = Client(Starlette(routes=console_app.routes(node)))
    assert client.request("GET", "/signin/sign-on").status == 404
    assert b"sign-on" not in client.request("GET", "/signin").body
    with pytest.raises(NotFound):
        sign_on.finish(node, "", Answer(), HERE)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ('issuer = "http://id.example"\nclient_id = "t"\nunmapped = "viewer"', "oidc/issuer"),
        ('issuer = "https://id.example/?a=b"\nclient_id = "t"\nunmapped = "viewer"', "oidc/issuer"),
        ('issuer = "https://user@id.example"\nclient_id = "t"\nunmapped = "viewer"', "oidc/issuer"),
        ('issuer = "https://id.example"\nclient_id = "t"', "oidc/roles"),
        ('issuer = "https://id.example"\nclient_id = "t"\nunmapped = "admin"', "oidc.unmapped"),
        ('issuer = "https://id.example"\nclient_id = "t"\nscopes = ["profile"]\nunmapped = "viewer"', "oidc/scopes"),
        ('issuer = "https://id.example"\nclient_id = "t"\nclient_secret = "s"', "client_secret"),
        ('issuer = "https://id.example"', "client_id"),
    ],
)
def test_settings_that_would_not_be_safe_are_refused(table: str, named: str, tmp_path: Any) -> None:
    with pytest.raises(Invalid) as refused:
        settings.parse(f"[oidc]\n{table}\n", folder=tmp_path)
    assert named in refused.value.detail
    assert isinstance(refused.value, TidegateError)


def test_relative_files_are_beside_the_settings(tmp_path: Any) -> None:
    text = '[oidc]\nissuer = "http://127.0.0.1:9/x"\nclient_id = "t"\nclient_secret_file = "s"\nunmapped = "viewer"\n'
    found = settings.parse(text, folder=tmp_path).oidc
    assert found is not None
    assert found.client_secret_file == tmp_path / "s"
