"""A creating call is carried out once for one Idempotency-Key (SPEC section 13), walked over the table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from tests.api.site import BY_NAME, Site, session

from tidegate.control.api.operations import Operation
from tidegate.control.store import engine, groups
from tidegate.control.store.schema import idempotency
from tidegate.control.workers import retention
from tidegate.testing.asgi import Answer, Client
from tidegate.testing.node import admin_scope

CREATES = [name for name, call in BY_NAME.items() if isinstance(call, Operation) and call.creates and not call.public]


#: What is posted and creates nothing: asked again, each does the same again or is refused by what it changed.
ACTS = {
    "me.change_password", "me.begin_second_factor", "me.confirm_second_factor", "me.renew_recovery_codes",
    "me.remove_second_factor", "operators.disable", "operators.enable", "operators.reset_password",
    "audit.sign_export", "trust.renew", "artifacts.withdraw", "devices.decommission", "devices.import_sheet",
    "groups.add", "groups.remove", "rollouts.preview", "rollouts.halt", "rollouts.resume", "rollouts.approve",
    "rollouts.abort",
}  # fmt: skip
#: Nobody is signed in yet: a session is begun anew, and enrolling is repeated by token and key.
PUBLIC = {"sessions.create", "enroll.create"}


def test_whatever_is_posted_either_creates_under_a_key_or_is_known_to_create_nothing() -> None:
    posted = {name for name, call in BY_NAME.items() if call.method == "POST"}
    assert posted == {*CREATES, *ACTS, *PUBLIC}


def _asked(site: Site, name: str) -> tuple[str, Any]:
    """A request that creates something new each time."""
    new = site.new()
    bodies: dict[str, Callable[[], Any]] = {
        "operators.create": lambda: {"name": new},
        "api_keys.create": lambda: {"name": new, "role": "viewer"},
        "roles.create": lambda: {"name": new, "permissions": ["devices.read"]},
        "artifacts.publish": lambda: {"name": new, "version": "1", "manifest": {"framework": "onnx"},
                                      "files": [{"name": "m.onnx", "upload": site.upload()}]},
        "uploads.create": lambda: {"file_name": f"{new}.onnx", "length": 1},
        "sboms.attach": lambda: {"upload": site.upload(new.encode())},
        "devices.ask_log": lambda: {"source": new},
        "devices.recover": lambda: {"expires_in_seconds": 60 + site.made},
        "tokens.mint": lambda: {"tags": {"n": new}},
        "groups.create": lambda: {"name": new},
        "fleets.create": lambda: {"name": new},
        "rollouts.create": lambda: {"artifact": "vad", "version": "1", "target": {"devices": ["cam-3"]},
                                    "strategy": {"soak_seconds": site.made}},
    }  # fmt: skip
    return site.path(BY_NAME[name].path), bodies[name]()


def test_creating_calls_are_carried_out_once_for_one_key(site: Site) -> None:
    other = Client(site.app, bearer=session(site.node, "somebody-else"))
    for name in CREATES:
        call = BY_NAME[name]
        assert isinstance(call, Operation)
        path, body = _asked(site, name)
        key = {"idempotency-key": f"walk-{name}"}
        first = site.client.request("POST", path, body=body, headers=key)
        again = site.client.request("POST", path, body=body, headers=key)
        assert first.status == 201, f"{name}: {first.body!r}"
        if call.secret_answer:
            assert again.status == 409, name
            assert f"id {first.json()['id']}" in again.json()["detail"], name
            for secret in ("secret", "password"):
                assert not first.json().get(secret) or first.json()[secret].encode() not in again.body, name
        else:
            assert (again.status, again.body) == (201, first.body), name
            assert again.headers["idempotency-replayed"] == "true"
        _, changed = _asked(site, name)
        reused = site.client.request("POST", path, body=changed, headers=key)
        assert (reused.status, reused.json()["type"]) == (422, "/problems/idempotency-key-reused"), name
        # Another actor's key of the same name is another key; where the name is taken, it says so by itself.
        theirs = other.request("POST", path, body=changed, headers=key)
        assert theirs.status == 201, f"{name}: {theirs.body!r}"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_key_of_what_the_database_refused_may_be_used_again(site: Site) -> None:
    """Who loses a race for a name has created nothing, and is told so each time. SQLite has one writer at a time."""
    answers: list[Answer] = []

    def ask() -> None:
        client = Client(site.app, bearer=site.secret)
        key = {"idempotency-key": "late"}
        answers.extend(client.request("POST", "/v1/groups", body={"name": "pier"}, headers=key) for _ in range(2))

    late = threading.Thread(target=ask)
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with site.node.db.write() as tx:
        groups.insert(tx, admin_scope(site.node).fleet_id, "pier", engine.now(tx))
        late.start()
        while not tx.scalar(waiting):
            tx.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
            assert late.is_alive(), answers
    late.join()
    assert [one.status for one in answers] == [409, 409]
    assert "at this moment" in answers[0].json()["detail"]
    assert answers[1].json()["type"] == "/problems/conflict", answers[1].body


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_api_keys_of_one_name_in_two_fleets_do_not_share_their_idempotency_keys(site: Site) -> None:
    site.ok("POST", "/v1/fleets", {"name": "harbour"})
    made = []
    for fleet in ("default", "harbour"):
        body = {"name": "ci", "role": "operator"}
        secret = site.ok("POST", f"/v1/api-keys?fleet={fleet}", body)["secret"]
        client, key = Client(site.app, bearer=secret), {"idempotency-key": "deploy-1"}
        made.append(client.request("POST", f"/v1/groups?fleet={fleet}", body={"name": "pier"}, headers=key))
    assert [one.status for one in made] == [201, 201], [one.body for one in made]
    assert made[0].json()["id"] != made[1].json()["id"]


@pytest.mark.parametrize("name", ["groups.create", "tokens.mint"])
def test_of_two_at_once_with_one_key_one_creates(site: Site, name: str) -> None:
    path, body = _asked(site, name)
    answers: list[Answer] = []
    at_once = threading.Barrier(4)
    clients = [Client(site.app, bearer=site.secret) for _ in range(4)]

    def ask(client: Client) -> None:
        at_once.wait()
        answers.append(client.request("POST", path, body=body, headers={"idempotency-key": "at-once"}))

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = [one for one in answers if one.status == 201 and "idempotency-replayed" not in one.headers]
    assert len(fresh) == 1
    assert {one.status for one in answers} <= {201, 409}
    assert len({one.json()["id"] for one in answers if one.status == 201}) == 1


def test_a_key_is_forgotten_after_its_time(site: Site) -> None:
    key = {"idempotency-key": "old"}
    first = site.client.request("POST", "/v1/groups", body={"name": "one"}, headers=key)
    assert first.status == 201
    with site.node.db.write() as tx:
        past = engine.now(tx) - timedelta(days=400)
        tx.execute(sa.update(idempotency).values(created_at=past))
    retention.RECONCILER.run(site.node)
    again = site.client.request("POST", "/v1/groups", body={"name": "two"}, headers=key)
    assert again.status == 201, again.body
