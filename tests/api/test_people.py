"""Operators, sessions and API keys: who gets in, who stays in, who is shut out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tidegate.control.domain.access import EVERY_FLEET, Actor, Grant, Identity, Scope
from tidegate.control.domain.attempts import SIGN_IN_BY_ADDRESS, SIGN_IN_BY_NAME, Backoff, Failures, Rule
from tidegate.control.domain.people import PASSWORD_MAX, SESSION_IDLE
from tidegate.control.services import api_keys, people, sessions
from tidegate.control.services import fleets as fleet_services
from tidegate.control.services.limits import FailureLimit, Limits, address_key
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant
from tidegate.control.services.secrets import digest
from tidegate.control.store import attempts as attempt_store
from tidegate.control.store import engine, fleets
from tidegate.control.store.schema import api_keys as key_rows
from tidegate.control.store.schema import audit_records, failed_attempts, known_browsers
from tidegate.control.store.schema import sessions as session_rows
from tidegate.errors import Conflict, Forbidden, Invalid, NotFound, TooMany, Unauthenticated, Unavailable
from tidegate.ids import ApiKeyId
from tidegate.testing.node import admin_scope

PASSWORD = "correct horse battery"
WRONG = "wrong horse battery"


@pytest.fixture
def ada(node: Node) -> Scope:
    """An operator who administers all fleets, made as `tidegate init` makes the first one."""
    scope = admin_scope(node)
    people.create_operator(scope, node, name="ada", roles=[NamedGrant("admin", "*")], password=PASSWORD)
    return sessions.scope_in(node, _sign_in(node).identity, "default")


def _sign_in(node: Node, name: str = "ada", password: str = PASSWORD, address: str = "192.0.2.1") -> sessions.Session:
    signed_in = sessions.sign_in(node, name, password, user_agent="test", address=address)
    found = sessions.session(node, signed_in.session_secret)
    assert found is not None
    return found


def _refused(act: Callable[[], object]) -> str:
    with pytest.raises(Unauthenticated) as caught:
        act()
    return caught.value.detail


# -- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_opens_with_its_secret_only_and_the_secret_is_not_kept(node: Node, ada: Scope) -> None:
    signed_in = sessions.sign_in(node, "ada", PASSWORD, user_agent="test", address="192.0.2.1")
    assert sessions.authenticate(node, f"Bearer {signed_in.session_secret}").actor == Actor("user", "ada")
    _refused(lambda: sessions.authenticate(node, f"Bearer {signed_in.session_secret}x"))
    with node.db.read() as tx:
        stored = str(tx.execute(sa.select(session_rows)).all())
    assert signed_in.session_secret not in stored
    assert signed_in.csrf_secret not in stored
    found = sessions.session(node, signed_in.session_secret)
    assert found is not None
    assert found.csrf_matches(signed_in.csrf_secret)
    assert not found.csrf_matches("")


def test_every_reason_to_refuse_a_sign_in_sounds_alike(node: Node, ada: Scope) -> None:
    people.create_operator(ada, node, name="bob", roles=[], password=PASSWORD)
    people.disable_operator(ada, node, "bob")
    details = {
        _refused(lambda: _sign_in(node, "ada", WRONG)),
        _refused(lambda: _sign_in(node, "nobody", PASSWORD)),
        _refused(lambda: _sign_in(node, "bob", PASSWORD)),
        _refused(lambda: _sign_in(node, "ada", PASSWORD + "x" * PASSWORD_MAX)),
    }
    assert len(details) == 1


@pytest.mark.parametrize(("column", "ago"), [("expires_at", timedelta()), ("last_used_at", SESSION_IDLE)])
def test_a_session_ends_by_age_and_by_idleness(node: Node, ada: Scope, column: str, ago: timedelta) -> None:
    signed_in = sessions.sign_in(node, "ada", PASSWORD, user_agent="", address="192.0.2.1")
    with node.db.write() as tx:
        tx.execute(sa.update(session_rows).values({column: engine.now(tx) - ago}))
    assert sessions.session(node, signed_in.session_secret) is None


def test_last_used_is_written_once_a_minute_not_on_every_request(node: Node, ada: Scope) -> None:
    signed_in = sessions.sign_in(node, "ada", PASSWORD, user_agent="", address="192.0.2.1")
    statements: list[str] = []
    sa.event.listen(node.db.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    for _ in range(3):
        sessions.session(node, signed_in.session_secret)
    assert not [text for text in statements if text.startswith("UPDATE")]
    with node.db.write() as tx:
        tx.execute(sa.update(session_rows).values(last_used_at=engine.now(tx) - timedelta(minutes=2)))
    statements.clear()
    for _ in range(3):
        sessions.session(node, signed_in.session_secret)
    assert len([text for text in statements if text.startswith("UPDATE")]) == 1


def test_own_sessions_are_listed_and_ended_and_no_others(node: Node, ada: Scope) -> None:
    people.create_operator(ada, node, name="bob", roles=[], password=PASSWORD)
    mine, other = _sign_in(node), _sign_in(node, "bob")
    assert mine.record.id in {record.id for record in sessions.list_sessions(node, mine.identity)}
    assert other.record.id not in {record.id for record in sessions.list_sessions(node, mine.identity)}
    with pytest.raises(NotFound):
        sessions.end_session(node, mine.identity, other.record.id)
    sessions.end_session(node, mine.identity, mine.record.id)
    assert mine.record.id not in {record.id for record in sessions.list_sessions(node, mine.identity)}


# -- failures ---------------------------------------------------------------------------------------------------------


def test_nobody_shuts_an_operator_out_by_failing_under_their_name(node: Node, ada: Scope) -> None:
    first = sessions.sign_in(node, "ada", PASSWORD, user_agent="", address="192.0.2.1")
    _failed(node, SIGN_IN_BY_NAME, "ada", 98)
    for number in range(2):
        _refused(lambda number=number: _sign_in(node, "ada", WRONG, f"198.51.100.{number}"))  # type: ignore[misc]
    with pytest.raises(TooMany):
        _sign_in(node, address="203.0.113.5")  # guessing from everywhere is slow, for who was never here as well
    again = sessions.sign_in(
        node, "ada", PASSWORD, user_agent="", address="203.0.113.6", browser=first.browser_secret
    )  # fmt: skip
    assert again.browser_secret == first.browser_secret


def test_a_known_browser_is_slowed_down_by_its_own_failures(node: Node, ada: Scope) -> None:
    known = sessions.sign_in(node, "ada", PASSWORD, user_agent="", address="192.0.2.1").browser_secret
    for _ in range(5):
        _refused(lambda: sessions.sign_in(node, "ada", WRONG, user_agent="", address="192.0.2.1", browser=known))
    with pytest.raises(TooMany) as caught:
        sessions.sign_in(node, "ada", PASSWORD, user_agent="", address="192.0.2.9", browser=known)
    assert caught.value.retry_after_seconds > 0


def test_a_browser_is_known_by_a_secret_that_we_made_and_to_its_operator_only(node: Node, ada: Scope) -> None:
    people.create_operator(ada, node, name="bob", roles=[], password=PASSWORD)
    chosen = sessions.sign_in(node, "ada", PASSWORD, user_agent="", address="192.0.2.1", browser="planted")
    assert chosen.browser_secret != "planted"
    _failed(node, SIGN_IN_BY_NAME, "bob", 100)
    with pytest.raises(TooMany):
        sessions.sign_in(node, "bob", PASSWORD, user_agent="", address="192.0.2.1", browser=chosen.browser_secret)
    with node.db.read() as tx:
        assert chosen.browser_secret not in str(tx.execute(sa.select(known_browsers)).all())


def test_failures_slow_down_a_source_and_a_name_known_or_not(node: Node, ada: Scope) -> None:
    waits = []
    for name in ("ada", "nobody"):
        for _ in range(5):
            _refused(lambda name=name: _sign_in(node, name, WRONG, "192.0.2.3"))  # type: ignore[misc]
        with pytest.raises(TooMany) as caught:
            _sign_in(node, name, PASSWORD, "192.0.2.3")
        waits.append(caught.value.retry_after_seconds)
    assert waits[0] == waits[1]
    assert _sign_in(node, address="192.0.2.4").operator.name == "ada"  # and nobody else


def test_back_off_doubles_counts_attempts_under_way_and_forgets() -> None:
    rule, at = Backoff("a", 2, first=2, longest=10, quiet=60), datetime(2026, 1, 1, tzinfo=UTC)

    def wait(failed: int, under_way: int = 0, since: float = 0.0) -> float:
        return rule.wait(Failures(failed, at, at), under_way, at + timedelta(seconds=since))

    assert [wait(failed) for failed in range(7)] == [0, 0, 2, 4, 8, 10, 10]
    assert wait(2, since=1.5) == 0.5
    assert rule.wait(None, 1, at) == 0
    assert rule.wait(None, 2, at) == 2  # as many at once as there are free ones, and no more
    assert wait(1, under_way=1, since=50) == 2
    assert rule.forgotten_at(at, at + timedelta(seconds=9)) == at + timedelta(seconds=69)


def _failed(node: Node, rule: Rule, key: str, times: int) -> None:
    with node.db.write() as tx:
        for _ in range(times):
            attempt_store.count(tx, rule, digest(key), engine.now(tx))


def _replica(node: Node) -> Node:
    """Another process on the same database, or the same one started again."""
    return replace(node, limits=Limits())


def test_failures_count_on_every_replica_and_after_a_restart(node: Node, ada: Scope) -> None:
    for one in (node, _replica(node), node, _replica(node), node):
        _refused(lambda one=one: _sign_in(one, "ada", WRONG, "192.0.2.3"))  # type: ignore[misc]
    for one in (node, _replica(node)):
        with pytest.raises(TooMany):
            _sign_in(one, "ada", PASSWORD, "192.0.2.3")
    with node.db.write() as tx:  # its time comes
        past = engine.now(tx) - timedelta(seconds=2)
        tx.execute(sa.update(failed_attempts).values(last_at=past))
    _sign_in(_replica(node), "ada", PASSWORD, "192.0.2.3")
    with node.db.read() as tx:  # who got in begins anew; what the address has failed stays counted
        rules = dict(tx.execute(sa.select(failed_attempts.c.rule, failed_attempts.c.failures)).all())
    assert rules == {"sign-in-by-address": 5, "sign-in-by-name": 5}


def test_many_attempts_at_once_are_not_all_free(node: Node, ada: Scope) -> None:
    """The password is looked at for as many as may fail, whatever the number of threads."""
    gate, answers = threading.Barrier(12), Counter[str]()

    def guess() -> None:
        gate.wait()
        try:
            _sign_in(node, "ada", WRONG, "192.0.2.3")
        except (TooMany, Unauthenticated, Unavailable) as error:
            answers[type(error).__name__] += 1

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers["TooMany"] >= 7
    assert sum(answers.values()) == 12


def test_who_signs_in_without_a_failure_writes_no_count_and_nothing_typed_is_kept(node: Node, ada: Scope) -> None:
    _sign_in(node)
    with node.db.read() as tx:
        assert tx.execute(sa.select(failed_attempts)).all() == []
    for typed in ("My Secret Password", "My Other Password"):
        _refused(lambda typed=typed: _sign_in(node, typed, WRONG, "192.0.2.3"))  # type: ignore[misc]
    with node.db.read() as tx:
        by_name = tx.execute(sa.select(failed_attempts).where(failed_attempts.c.rule == "sign-in-by-name")).all()
    assert [(row.key_sha256, row.failures) for row in by_name] == [(digest(""), 2)]  # no name that there can be


def test_counted_failures_are_bounded_and_forgotten(node: Node, ada: Scope) -> None:
    for number in range(5):
        _failed(node, SIGN_IN_BY_ADDRESS, f"198.51.100.{number}", 1)
    _failed(node, SIGN_IN_BY_NAME, "ada", 1)
    with node.db.write() as tx:
        now = engine.now(tx)
        attempt_store.prune(tx, now, 2)
        left = tx.execute(sa.select(failed_attempts.c.rule).order_by(failed_attempts.c.last_at)).scalars().all()
        assert left == ["sign-in-by-address", "sign-in-by-name"]
        assert attempt_store.prune(tx, now + timedelta(seconds=301), 2) == 1
        rule, hashed = SIGN_IN_BY_NAME, digest("ada")
        assert attempt_store.find(tx, [(rule, hashed)], now + timedelta(seconds=3601)) == {}
        attempt_store.count(tx, rule, hashed, now + timedelta(seconds=3601))  # not pruned, and begins anew
        assert attempt_store.find(tx, [(rule, hashed)], now)[rule.name, hashed].count == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_pruning_waits_for_nobody_who_counts(node: Node, ada: Scope) -> None:
    """Who prunes has counted in the same transaction: waiting for each other, both would be cut off."""
    for address in ("198.51.100.1", "198.51.100.2"):
        _failed(node, SIGN_IN_BY_ADDRESS, address, 1)
    with node.db.write() as counting, node.db.write() as pruning:
        later = engine.now(counting) + timedelta(hours=2)
        attempt_store.count(counting, SIGN_IN_BY_ADDRESS, digest("198.51.100.1"), later)
        pruning.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        assert attempt_store.prune(pruning, later, 100) == 1
    with node.db.read() as tx:
        left = tx.execute(sa.select(failed_attempts.c.key_sha256)).scalars().all()
    assert left == [digest("198.51.100.1")]


def test_failures_are_limited_per_address(node: Node, ada: Scope) -> None:
    _failed(node, SIGN_IN_BY_ADDRESS, "192.0.2.7", 20)
    with pytest.raises(TooMany):
        _sign_in(node, address="192.0.2.7")
    assert _sign_in(node, address="192.0.2.8").operator.name == "ada"


def test_a_limit_forgets_with_time_and_never_holds_more_keys_than_its_bound() -> None:
    limit = FailureLimit(2, 60, max_keys=3)
    for now in (0.0, 1.0):
        limit.failed("a", now)
    with pytest.raises(TooMany) as caught:
        limit.check("a", 10.0)
    assert caught.value.retry_after_seconds == 51
    limit.check("a", 60.0)
    for key in "bcdefg":
        limit.failed(key, 2.0)
    limit.check("a", 10.0)  # pushed out by newer ones
    assert len(limit._seen) == 3


def test_addresses_that_one_subscriber_has_are_one() -> None:
    assert address_key("2001:db8:1:2:3::4") == address_key("2001:db8:1:2:ffff::1") != address_key("2001:db8:1:3::1")
    assert address_key("::ffff:192.0.2.1") == address_key("192.0.2.1")
    assert address_key("no address") == "no address"


# -- operators --------------------------------------------------------------------------------------------------------


def test_disabling_ends_sessions_at_once_and_enabling_lets_in_again(node: Node, ada: Scope) -> None:
    people.create_operator(ada, node, name="bob", roles=[NamedGrant("viewer", "default")], password=PASSWORD)
    signed_in = sessions.sign_in(node, "bob", PASSWORD, user_agent="", address="192.0.2.1")
    people.disable_operator(ada, node, "bob")
    assert sessions.session(node, signed_in.session_secret) is None
    people.enable_operator(ada, node, "bob")
    assert _sign_in(node, "bob").operator.name == "bob"


def test_the_last_admin_of_all_fleets_stays(node: Node, ada: Scope) -> None:
    with pytest.raises(Conflict, match="last admin"):
        people.disable_operator(ada, node, "ada")
    with pytest.raises(Conflict, match="last admin"):
        people.set_roles(ada, node, "ada", [NamedGrant("viewer", "*")])
    people.create_operator(ada, node, name="bob", roles=[NamedGrant("admin", "*")], password=PASSWORD)
    people.disable_operator(ada, node, "ada")


def test_an_admin_of_one_fleet_administers_nothing_beyond_it(node: Node, ada: Scope) -> None:
    with node.db.write() as tx:
        fleets.insert(tx, "other", at=engine.now(tx), interval_seconds=30)
    people.create_operator(ada, node, name="bob", roles=[NamedGrant("admin", "other")], password=PASSWORD)
    people.create_operator(ada, node, name="eve", roles=[], password=PASSWORD)
    bob = sessions.scope_in(node, _sign_in(node, "bob").identity, "other")
    assert people.set_roles(bob, node, "eve", [NamedGrant("operator", "other")]).roles == (
        NamedGrant("operator", "other"),
    )
    for roles in ([NamedGrant("admin", "*")], [NamedGrant("viewer", "default")]):
        with pytest.raises(Forbidden):
            people.set_roles(bob, node, "bob", [NamedGrant("admin", "other"), *roles])
    with pytest.raises(Forbidden):
        people.set_roles(bob, node, "ada", [])
    with pytest.raises(Forbidden):
        people.create_operator(bob, node, name="mallory", roles=[NamedGrant("admin", "*")], password=PASSWORD)
    with pytest.raises(Forbidden):
        people.reset_password(bob, node, "ada")
    with pytest.raises(Forbidden):
        api_keys.create_api_key(bob, node, name="k", role="admin", every_fleet=True, expires_days=None)
    with pytest.raises(NotFound):
        sessions.scope_in(node, _sign_in(node, "bob").identity, "default")


def test_passwords_have_one_rule_and_a_generated_one_keeps_it(node: Node, ada: Scope) -> None:
    for password in ("short", "x" * 300, "a" * 20):
        with pytest.raises(Invalid) as caught:
            people.create_operator(ada, node, name="bob", roles=[], password=password)
        assert caught.value.errors[0].pointer == "/password"
    _, generated = people.create_operator(ada, node, name="bob", roles=[], password=None)
    assert generated is not None
    assert _sign_in(node, "bob", generated).operator.name == "bob"


def test_changing_ones_password_ends_the_other_sessions(node: Node, ada: Scope) -> None:
    first, second = _sign_in(node), _sign_in(node)
    operator_id = first.identity.operator_id
    with pytest.raises(Invalid, match="current one is wrong"):
        people.change_own_password(ada, node, operator_id, current=WRONG, password="another long one")
    people.change_own_password(
        ada, node, operator_id, current=PASSWORD, password="another long one", keep_session=second.record.id
    )
    assert [record.id for record in sessions.list_sessions(node, second.identity)] == [second.record.id]
    _refused(lambda: _sign_in(node))
    assert _sign_in(node, password="another long one").operator.name == "ada"


# -- API keys ---------------------------------------------------------------------------------------------------------


def test_an_api_key_acts_with_its_role_counts_as_its_maker_and_is_not_kept(node: Node, ada: Scope) -> None:
    key, secret = api_keys.create_api_key(ada, node, name="ci", role="admin", every_fleet=False, expires_days=None)
    identity = sessions.authenticate(node, f"Bearer {secret}")
    scope = sessions.scope_in(node, identity, "default")
    assert (str(scope.actor), scope.person) == ("apikey:ci", "ada")
    assert scope.allows("rollouts.approve")
    assert not scope.allows("users.manage")
    assert not scope.allows("keys.manage")
    assert scope.everywhere == frozenset()
    assert secret.startswith("tg_")
    with node.db.read() as tx:
        assert secret not in str(tx.execute(sa.select(key_rows)).all())
    api_keys.revoke_api_key(ada, node, key.id)
    _refused(lambda: sessions.authenticate(node, f"Bearer {secret}"))


def test_an_api_key_expires(node: Node, ada: Scope) -> None:
    _, secret = api_keys.create_api_key(ada, node, name="ci", role="viewer", every_fleet=False, expires_days=1)
    sessions.authenticate(node, f"Bearer {secret}")
    with node.db.write() as tx:
        tx.execute(sa.update(key_rows).values(expires_at=engine.now(tx)))
    _refused(lambda: sessions.authenticate(node, f"Bearer {secret}"))


def test_a_key_of_another_fleet_cannot_be_found(node: Node, ada: Scope) -> None:
    with node.db.write() as tx:
        other = fleets.insert(tx, "other", at=engine.now(tx), interval_seconds=30)
    key, _ = api_keys.create_api_key(ada, node, name="ci", role="viewer", every_fleet=False, expires_days=None)
    bob = Identity(Actor("user", "bob"), (Grant("admin", other.id),), "bob").scope(other.id, "other")
    with pytest.raises(NotFound):
        api_keys.revoke_api_key(bob, node, key.id)
    assert api_keys.list_api_keys(bob, node).items == ()
    with pytest.raises(NotFound):
        api_keys.revoke_api_key(ada, node, ApiKeyId(999))


def test_two_living_keys_never_share_a_name(node: Node, ada: Scope) -> None:
    key, _ = api_keys.create_api_key(ada, node, name="ci", role="viewer", every_fleet=True, expires_days=None)
    assert key.grant == Grant("viewer", EVERY_FLEET)
    with pytest.raises(Conflict):
        api_keys.create_api_key(ada, node, name="ci", role="admin", every_fleet=False, expires_days=None)
    api_keys.revoke_api_key(ada, node, key.id)
    api_keys.create_api_key(ada, node, name="ci", role="admin", every_fleet=False, expires_days=None)
    with pytest.raises(Conflict):  # would act where the other does
        api_keys.create_api_key(ada, node, name="ci", role="admin", every_fleet=True, expires_days=None)
    fleet_services.create_fleet(ada, node, name="other")  # and is not told there
    other = sessions.scope_in(node, _sign_in(node).identity, "other")
    api_keys.create_api_key(other, node, name="ci", role="admin", every_fleet=False, expires_days=None)


def test_every_act_is_one_record_of_the_chain(node: Node, ada: Scope) -> None:
    key, _ = api_keys.create_api_key(ada, node, name="ci", role="viewer", every_fleet=False, expires_days=None)
    api_keys.revoke_api_key(ada, node, key.id)
    api_keys.revoke_api_key(ada, node, key.id)
    with node.db.read() as tx:
        rows = tx.execute(sa.select(audit_records).order_by(audit_records.c.chain, audit_records.c.sequence)).all()
    assert [(row.chain, row.actor, row.action, row.subject) for row in rows] == [
        (0, "user:admin", "operator.create", "user:ada"),
        (0, "user:ada", "session.begin", rows[1].subject),
        (1, "user:ada", "api-key.create", "apikey:ci"),
        (1, "user:ada", "api-key.revoke", "apikey:ci"),
    ]
