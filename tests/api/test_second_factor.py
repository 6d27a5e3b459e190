"""Second factors: what opens, what does not, what opens once, and who can take one away."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pyotp
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control.api import table
from tidegate.control.api.operations import routes
from tidegate.control.domain.access import Identity, Scope
from tidegate.control.domain.second_factor import STEP_SECONDS, matching_step
from tidegate.control.services import people, sealing, second_factor, second_step, sessions
from tidegate.control.services.limits import Limits
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant
from tidegate.control.services.second_step import SecondFactorAsked
from tidegate.control.services.sign_in import SignedIn, Visitor
from tidegate.control.store import engine
from tidegate.control.store.schema import audit_records, begun_sign_ins, operator_totp, recovery_codes
from tidegate.errors import Conflict, Forbidden, Invalid, TooMany, Unauthenticated, Unavailable
from tidegate.testing.asgi import Client
from tidegate.testing.node import admin_scope

PASSWORD = "correct horse battery"
HERE = Visitor("test", "192.0.2.1")
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

#: RFC 6238 appendix B, SHA-1, shortened to six digits as RFC 4226 says.
_RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
_RFC = [
    (59, "287082"), (1_111_111_109, "081804"), (1_111_111_111, "050471"),
    (1_234_567_890, "005924"), (2_000_000_000, "279037"), (20_000_000_000, "353130"),
]  # fmt: skip


@pytest.mark.parametrize(("at", "code"), _RFC)
def test_the_codes_are_those_of_the_rfc(at: int, code: str) -> None:
    assert matching_step(_RFC_SECRET, code, datetime.fromtimestamp(at, UTC), 0) == at // STEP_SECONDS


@pytest.mark.parametrize(("off", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_one_step_off_and_no_more(off: int, taken: bool) -> None:
    now = datetime.fromtimestamp(1_234_567_890, UTC)
    code = pyotp.TOTP(_RFC_SECRET).at(now + timedelta(seconds=off * STEP_SECONDS))
    assert (matching_step(_RFC_SECRET, code, now, 0) is not None) == taken


def test_no_code_of_the_last_step_or_before_it_is_taken() -> None:
    now = datetime.fromtimestamp(1_234_567_890, UTC)
    step = 1_234_567_890 // STEP_SECONDS
    earlier = pyotp.TOTP(_RFC_SECRET).at(now - timedelta(seconds=STEP_SECONDS))
    assert matching_step(_RFC_SECRET, "005924", now, step) is None
    assert matching_step(_RFC_SECRET, earlier, now, step) is None
    assert matching_step(_RFC_SECRET, "005924", now, step - 1) == step


# -- one's own --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ada(node: Node) -> Scope:
    scope = admin_scope(node)
    people.create_operator(scope, node, name="ada", roles=[NamedGrant("operator", "*")], password=PASSWORD)
    people.create_operator(scope, node, name="root", roles=[NamedGrant("admin", "*")], password=PASSWORD)
    return scope


def _sign_in(node: Node, code: str = "", password: str = PASSWORD) -> SignedIn:
    return sessions.sign_in(node, "ada", password, code=code, user_agent="test", address="192.0.2.1")


def _identity(node: Node, signed_in: SignedIn) -> Identity:
    found = sessions.session(node, signed_in.session_secret)
    assert found is not None
    return found.identity


def _code(node: Node, secret: str, steps: int = 0) -> str:
    with node.db.read() as tx:
        return pyotp.TOTP(secret).at(engine.now(tx) + timedelta(seconds=steps * STEP_SECONDS))


def _enrolled(node: Node) -> tuple[Identity, str, tuple[str, ...]]:
    """Who signed in before, the secret and the recovery codes; the code of the step before was the one taken."""
    identity = _identity(node, _sign_in(node))
    begun = second_factor.begin(node, identity, PASSWORD)
    codes = second_factor.confirm(node, identity, _code(node, begun.secret, -1))
    return identity, begun.secret, codes


def test_it_counts_from_the_first_code_on_and_is_asked_for_after_the_password(node: Node, ada: Scope) -> None:
    identity = _identity(node, _sign_in(node))
    begun = second_factor.begin(node, identity, PASSWORD)
    _sign_in(node)  # begun is not enough
    with pytest.raises(Invalid, match="cannot accept this code"):
        second_factor.confirm(node, identity, "000000")
    second_factor.confirm(node, identity, _code(node, begun.secret, -1))
    with pytest.raises(SecondFactorAsked):
        _sign_in(node)
    with pytest.raises(Unauthenticated) as wrong_password:
        _sign_in(node, _code(node, begun.secret), "wrong horse battery")
    assert not isinstance(wrong_password.value, SecondFactorAsked)
    with pytest.raises(Invalid, match="cannot sign in with this code"):
        _sign_in(node, "000000")
    assert _sign_in(node, _code(node, begun.secret)).session_secret


def test_other_sessions_end_when_it_begins_to_count_and_when_it_is_removed(node: Node, ada: Scope) -> None:
    first, second = _sign_in(node), _sign_in(node)
    begun = second_factor.begin(node, _identity(node, first), PASSWORD)
    second_factor.confirm(node, _identity(node, first), _code(node, begun.secret, -1))
    assert sessions.session(node, second.session_secret) is None
    assert sessions.session(node, first.session_secret) is not None
    third = _sign_in(node, _code(node, begun.secret))
    second_factor.remove(node, _identity(node, first), PASSWORD, _code(node, begun.secret, 1))
    assert sessions.session(node, third.session_secret) is None
    _sign_in(node)


def test_a_code_opens_once_even_for_who_has_the_password(node: Node, ada: Scope) -> None:
    _, secret, _ = _enrolled(node)
    code = _code(node, secret)
    _sign_in(node, code)
    with pytest.raises(Invalid):
        _sign_in(node, code)
    _sign_in(node, _code(node, secret, 1))


def test_recovery_codes_open_once_each_and_are_not_kept(node: Node, ada: Scope) -> None:
    identity, secret, codes = _enrolled(node)
    assert len(set(codes)) == 10
    _sign_in(node, codes[0].upper().replace("-", " "))  # as people type them
    with pytest.raises(Invalid):
        _sign_in(node, codes[0])
    assert second_factor.standing(node, identity).recovery_codes_left == 9
    with node.db.read() as tx:
        kept = str(tx.execute(sa.select(recovery_codes)).all()) + str(tx.execute(sa.select(operator_totp)).all())
        told = str(tx.execute(sa.select(audit_records.c.action, audit_records.c.data)).all())
    for shown in (codes[1], codes[1].replace("-", ""), secret):
        assert shown not in kept
        assert shown not in told
    assert '"second_factor":"recovery-code"' in told
    fresh = second_factor.renew_recovery_codes(node, identity, PASSWORD, _code(node, secret))
    with pytest.raises(Invalid):
        _sign_in(node, codes[1])
    _sign_in(node, fresh[0])


def test_wrong_codes_have_to_wait_and_a_right_one_among_them_too(node: Node, ada: Scope) -> None:
    _, secret, _ = _enrolled(node)
    for _ in range(5):
        with pytest.raises(Invalid):
            _sign_in(node, "000000")
    with pytest.raises(TooMany):
        _sign_in(node, _code(node, secret))


def test_begun_sign_ins_of_the_console_wait_as_well(node: Node, ada: Scope) -> None:
    _, secret, _ = _enrolled(node)
    begun = _begun(node)
    for _ in range(5):
        with pytest.raises(Invalid):
            second_step.finish(node, begun, "000000", HERE)
    with pytest.raises(TooMany):
        second_step.finish(node, begun, _code(node, secret), HERE)


def test_who_knows_the_password_and_floods_codes_does_not_hold_up_the_owner(node: Node, ada: Scope) -> None:
    """Neither by wrong codes, nor by beginning again and again, nor on another replica."""
    _, secret, codes = _enrolled(node)
    known = replace(HERE, browser=_sign_in(node, codes[0]).browser_secret)
    with pytest.raises(SecondFactorAsked) as asked:
        _sign_in(node)
    mine = second_step.keep(node, asked.value.operator, known, enrol=False).secret
    elsewhere = Visitor("flood", "203.0.113.9")
    begun = second_step.keep(node, asked.value.operator, elsewhere, enrol=False).secret
    for _ in range(5):
        with pytest.raises(Invalid):
            second_step.finish(node, begun, "000000", elsewhere)
    for replica in (node, replace(node, limits=Limits())):
        with pytest.raises(TooMany):
            second_step.finish(replica, begun, codes[1], elsewhere)
    begun = second_step.keep(node, asked.value.operator, elsewhere, enrol=False).secret
    assert second_step.finish(node, mine, _code(node, secret), known).operator.name == "ada"
    with pytest.raises(Unauthenticated):  # and what others have begun ends with it
        second_step.finish(node, begun, codes[2], elsewhere)
    mine = second_step.keep(node, asked.value.operator, known, enrol=False).secret
    for _ in range(5):
        with pytest.raises(Invalid):
            second_step.finish(node, mine, "000000", known)
    with pytest.raises(TooMany):  # a browser that was stolen guesses no faster
        second_step.finish(node, mine, codes[1], known)


def _begun(node: Node) -> str:
    with pytest.raises(SecondFactorAsked) as asked:
        _sign_in(node)
    return second_step.keep(node, asked.value.operator, HERE, enrol=asked.value.enrol).secret


@pytest.mark.parametrize("ends", ["time", "password", "disabled", "finished", "nonsense", "newer"])
def test_a_begun_sign_in_ends(node: Node, ada: Scope, ends: str) -> None:
    _, secret, _ = _enrolled(node)
    begun = _begun(node)
    match ends:
        case "time":
            with node.db.write() as tx:
                tx.execute(sa.update(begun_sign_ins).values(expires_at=engine.now(tx)))
        case "password":
            people.reset_password(ada, node, "ada")
        case "disabled":
            people.disable_operator(ada, node, "ada")
        case "finished":
            second_step.finish(node, begun, _code(node, secret, 1), HERE)
        case "newer":
            _begun(node)
        case "nonsense":
            begun = "nonsense"
    with pytest.raises(Unauthenticated):
        second_step.finish(node, begun, _code(node, secret), HERE)


# -- required ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "grants", "needed"),
    [
        (("*",), "operator", True),
        (("admin",), "operator", False),
        (("operator",), "operator", True),
        ((), "admin", False),
    ],
)
def test_the_setting_asks_everybody_or_roles_at_the_next_sign_in(
    node: Node, ada: Scope, asked: tuple[str, ...], grants: str, needed: bool
) -> None:
    people.set_roles(ada, node, "ada", [NamedGrant(grants, "*")])
    before = _sign_in(node)
    strict = replace(node, settings=msgspec.structs.replace(node.settings, totp_required=asked))
    assert sessions.session(strict, before.session_secret) is not None  # it goes on
    if not needed:
        _sign_in(strict)
        return
    with pytest.raises(SecondFactorAsked) as refused:
        _sign_in(strict)
    assert refused.value.enrol
    begun = second_step.keep(strict, refused.value.operator, HERE, enrol=True)
    enrolment = second_step.begun(strict, begun.secret)
    assert enrolment is not None
    with pytest.raises(Invalid):
        second_step.enrol(strict, begun.secret, "000000", HERE)
    with pytest.raises(SecondFactorAsked):  # a begun enrolment is no way around
        second_step.finish(strict, begun.secret, "", HERE)
    signed_in, codes = second_step.enrol(strict, begun.secret, _code(strict, enrolment.secret, -1), HERE)
    assert sessions.session(strict, signed_in.session_secret) is not None
    assert len(codes) == 10
    _sign_in(strict, _code(strict, enrolment.secret))


def test_a_secret_that_somebody_else_was_shown_is_never_the_one_that_counts(node: Node, ada: Scope) -> None:
    strict = replace(node, settings=msgspec.structs.replace(node.settings, totp_required=("*",)))

    def begun() -> tuple[str, str]:
        with pytest.raises(SecondFactorAsked) as asked:
            _sign_in(strict)
        secret = second_step.keep(strict, asked.value.operator, HERE, enrol=asked.value.enrol).secret
        enrolment = second_step.begun(strict, secret)
        assert enrolment is not None
        return secret, enrolment.secret

    thiefs, seen = begun()  # somebody who knows the password looks, and waits
    own, shown = begun()
    assert shown != seen
    with pytest.raises(Unauthenticated):
        second_step.begun(strict, thiefs)
    second_step.enrol(strict, own, _code(strict, shown), HERE)


def test_a_factor_confirmed_at_this_moment_is_not_replaced(node: Node, ada: Scope) -> None:
    strict = replace(node, settings=msgspec.structs.replace(node.settings, totp_required=("*",)))
    with pytest.raises(SecondFactorAsked) as late:
        _sign_in(strict)
    with pytest.raises(SecondFactorAsked) as asked:
        _sign_in(strict)
    begun = second_step.keep(strict, asked.value.operator, HERE, enrol=True).secret
    enrolment = second_step.begun(strict, begun)
    assert enrolment is not None
    second_step.enrol(strict, begun, _code(strict, enrolment.secret, -1), HERE)
    with pytest.raises(Conflict, match="there is one"):
        second_step.keep(strict, late.value.operator, HERE, enrol=True)
    _sign_in(strict, _code(strict, enrolment.secret))


# -- taken away -------------------------------------------------------------------------------------------------------


def test_an_admin_removes_it_for_others_not_for_themselves(node: Node, ada: Scope) -> None:
    _, secret, _ = _enrolled(node)
    living = _sign_in(node, _code(node, secret))
    begun = _begun(node)
    with pytest.raises(Forbidden):
        second_factor.remove_of(admin_scope(node, name="ada"), node, "ada")
    second_factor.remove_of(ada, node, "ada")
    assert sessions.session(node, living.session_secret) is None
    with pytest.raises(Unauthenticated):
        second_step.begun(node, begun)
    _sign_in(node)
    with pytest.raises(Conflict):
        second_factor.remove_of(ada, node, "ada")
    with node.db.read() as tx:
        actions = list(tx.scalars(sa.select(audit_records.c.action)))
    assert actions.count("operator.remove-totp") == 1


@pytest.mark.parametrize("which", ["password", "code"])
def test_a_session_alone_takes_nothing_away(node: Node, ada: Scope, which: str) -> None:
    identity, secret, _ = _enrolled(node)
    password = "wrong horse battery" if which == "password" else PASSWORD
    code = "000000" if which == "code" else _code(node, secret)
    acts: list[Callable[[], object]] = [
        lambda: second_factor.remove(node, identity, password, code),
        lambda: second_factor.renew_recovery_codes(node, identity, password, code),
    ]
    for act in acts:
        with pytest.raises(Invalid):
            act()
    with pytest.raises(Conflict):
        second_factor.begin(node, identity, PASSWORD)
    assert second_factor.standing(node, identity).since is not None


# -- sealed -----------------------------------------------------------------------------------------------------------


@on_sqlite
def test_a_sealed_secret_opens_with_its_key_for_its_row_only(node: Node, ada: Scope) -> None:
    sealed = sealing.sealer(node.settings).seal(b"secret", "totp:operator:1")
    assert sealing.sealer(node.settings).open(sealed, "totp:operator:1") == b"secret"
    assert b"secret" not in sealed
    path = node.settings.effective_seal_key_file
    assert path.stat().st_mode & 0o777 == 0o600
    for wrong, identity in (
        (sealed, "totp:operator:2"),
        (sealed[:-1] + b"x", "totp:operator:1"),
        (b"", "totp:operator:1"),
    ):
        with pytest.raises(Unavailable):
            sealing.sealer(node.settings).open(wrong, identity)
    path.unlink()
    with pytest.raises(Unavailable, match=r"cannot read the seal key"):
        sealing.sealer(node.settings)
    sealing.create_key(path)
    with pytest.raises(Unavailable, match="another key"):
        sealing.sealer(node.settings).open(sealed, "totp:operator:1")
    with pytest.raises(Conflict):
        sealing.create_key(path)


# -- over HTTP --------------------------------------------------------------------------------------------------------


@on_sqlite
def test_the_api_asks_for_the_code_by_a_problem_of_its_own(node: Node, ada: Scope) -> None:
    client = Client(Starlette(routes=routes(node, table.calls())))
    asked = {"name": "ada", "password": PASSWORD}
    begun = client.request("POST", "/v1/sessions", body=asked).json()
    mine = Client(Starlette(routes=routes(node, table.calls())), bearer=begun["secret"])
    assert mine.request("POST", "/v1/me/second-factor", body={"password": "wrong horse battery"}).status == 422
    secret = mine.request("POST", "/v1/me/second-factor", body={"password": PASSWORD}).json()["secret"]
    done = mine.request("POST", "/v1/me/second-factor/confirm", body={"code": _code(node, secret, -1)})
    assert len(done.json()["recovery_codes"]) == 10
    refused = client.request("POST", "/v1/sessions", body=asked)
    assert (refused.status, refused.json()["type"]) == (401, "/problems/second-factor-required")
    assert client.request("POST", "/v1/sessions", body=asked | {"code": "000000"}).status == 422
    assert client.request("POST", "/v1/sessions", body=asked | {"code": _code(node, secret)}).status == 201
    shown = mine.request("GET", "/v1/me/second-factor").json()
    assert shown["since"]
    assert not shown["required"]
    body = {"password": PASSWORD, "code": _code(node, secret, 1)}
    assert mine.request("POST", "/v1/me/second-factor/remove", body=body).status == 204
    assert client.request("POST", "/v1/sessions", body=asked).status == 201
