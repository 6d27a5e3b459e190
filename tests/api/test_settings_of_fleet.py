"""What a fleet sets for itself counts, is written down and stops at the fleet; what had its time is forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control.api import table
from tidegate.control.api.operations import routes
from tidegate.control.console import app as console_app
from tidegate.control.domain.access import Actor, Scope
from tidegate.control.domain.rollouts.model import Verb
from tidegate.control.services import fleet_settings, fleets, forgetting, secrets
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target, command_rollout, create_rollout, get_rollout
from tidegate.control.store import engine, people
from tidegate.control.store import sessions as session_store
from tidegate.control.store.schema import audit_records, device_events, idempotency
from tidegate.errors import Forbidden, Invalid
from tidegate.testing.asgi import Client
from tidegate.testing.fleet import catalog, enroll
from tidegate.testing.node import admin_scope

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MANUAL = {"waves": [{"percent": 100, "approval": "manual"}]}


def _person(node: Node, name: str) -> Scope:
    return replace(admin_scope(node), actor=Actor("user", name), person=name)


def _set(node: Node, scope: Scope | None = None, **changes: object) -> None:
    wanted = {"interval_seconds": 30, "four_eyes": False, "default_strategy": None, "device_events_days": None}
    fleet_settings.change(scope or admin_scope(node), node, **(wanted | changes))  # type: ignore[arg-type]


def test_a_change_is_one_audit_record_with_before_and_after_and_none_is_none(node: Node) -> None:
    for _ in range(2):
        _set(node, interval_seconds=60, four_eyes=True)
    with node.db.read() as tx:
        data = list(tx.scalars(sa.select(audit_records.c.data).where(audit_records.c.action == "fleet.set")))
    assert data == [
        '{"after":{"four_eyes":true,"interval_seconds":60},"before":{"four_eyes":false,"interval_seconds":5}}'
    ]


@on_sqlite
@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"interval_seconds": 0}, "/interval_seconds"),
        ({"interval_seconds": 3_601}, "/interval_seconds"),
        ({"device_events_days": 0}, "/device_events_days"),
        ({"default_strategy": {"waves": [{"percent": 0}]}}, "/default_strategy/waves/0/percent"),
        ({"default_strategy": {"wave": 1}}, "/default_strategy/wave"),
    ],
)
def test_what_cannot_be_set_is_named(node: Node, changes: dict[str, object], pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        _set(node, **changes)
    assert pointer in {one.pointer for one in refused.value.errors}


def test_four_eyes_of_a_fleet_bind_its_rollouts_and_no_other_fleets(node: Node) -> None:
    fleets.create_fleet(admin_scope(node), node, name="other")
    _set(node, four_eyes=True)
    ada, bob = _person(node, "ada"), _person(node, "bob")
    catalog(node, ada, "vad", "1.0")
    enroll(node, ada, ["cam-1"])
    rollout = create_rollout(ada, node, NewRollout("vad", "1.0", Target(everyone=True), strategy=MANUAL)).id
    with pytest.raises(Forbidden, match="another person"):
        command_rollout(ada, node, rollout, Verb.APPROVE)
    said = {one.verb: one.why_not for one in get_rollout(ada, node, rollout).verbs}
    assert "another person" in said[Verb.APPROVE]
    _set(node, four_eyes=False)  # turned off for what comes, not for this
    with pytest.raises(Forbidden):
        command_rollout(ada, node, rollout, Verb.APPROVE)
    assert command_rollout(bob, node, rollout, Verb.APPROVE).released_wave == 1
    assert not fleet_settings.get(admin_scope(node, "other"), node).four_eyes


@on_sqlite
def test_a_rollout_that_names_no_strategy_has_the_fleets(node: Node) -> None:
    scope = admin_scope(node)
    catalog(node, scope, "vad", "1.0")
    enroll(node, scope, [f"cam-{number}" for number in range(10)])
    request = NewRollout("vad", "1.0", Target(everyone=True))
    assert [wave.size for wave in create_rollout(scope, node, request).waves] == [10]
    _set(node, default_strategy={"waves": [{"percent": 10}, {"percent": 100, "approval": "manual"}]})
    assert [wave.size for wave in create_rollout(scope, node, request).waves] == [1, 9]
    assert [wave.size for wave in create_rollout(scope, node, replace(request, strategy={})).waves] == [10]


@on_sqlite
def test_the_api_and_the_page_set_the_same_and_show_no_secret(node: Node) -> None:
    secret, csrf = secrets.new_secret(secrets.SESSION_PREFIX), "of-this-session"
    with node.db.write() as tx:
        now = engine.now(tx)
        operator = people.insert_operator(tx, "root", "x", now)
        from tidegate.control.domain.access import EVERY_FLEET, Grant
        from tidegate.control.domain.people import SessionRecord

        people.replace_grants(tx, operator, [Grant("admin", EVERY_FLEET)])
        record = SessionRecord(
            secrets.digest(secret), operator, secrets.digest(csrf), now, now + timedelta(hours=1), now, ""
        )  # fmt: skip
        session_store.insert_session(tx, record)
    strict = replace(node, settings=msgspec.structs.replace(node.settings, database_url="postgresql://u@h/n"))
    api = Client(Starlette(routes=routes(strict, table.calls())), bearer=secret)
    body = {"interval_seconds": 45, "four_eyes": True, "default_strategy": MANUAL, "device_events_days": 7}
    assert api.request("PUT", "/v1/settings", body=body).status == 200
    told = api.request("GET", "/v1/settings").json()
    assert (told["interval_seconds"], told["four_eyes"], told["device_events_days"]) == (45, True, 7)
    assert api.request("PUT", "/v1/settings", body=body | {"interval_seconds": 0}).status == 422
    listed = {one["name"]: one for one in api.request("GET", "/v1/settings/node").json()["items"]}
    assert listed["database_url"]["given"]
    assert not listed["max_held"]["given"]

    page = Client(Starlette(routes=console_app.routes(strict)))
    headers = {
        "cookie": f"__Host-tidegate={secret}; __Host-tidegate-csrf={csrf}",
        "content-type": "application/x-www-form-urlencoded",
    }
    shown = page.request("GET", "/settings", headers=headers).body.decode()
    assert 'value="45"' in shown
    assert "device_events_days" in shown
    wrong = page.request("POST", "/settings", raw=f"csrf={csrf}&interval_seconds=x".encode(), headers=headers)
    assert wrong.status == 422
    assert b"must be a whole number" in wrong.body
    right = f"csrf={csrf}&interval_seconds=50&default_strategy=&device_events_days=".encode()
    assert page.request("POST", "/settings", raw=right, headers=headers).status == 303
    found = fleet_settings.get(admin_scope(node), node)
    assert (found.interval_seconds, found.four_eyes, found.default_strategy, found.device_events_days) == (
        50, False, None, None,
    )  # fmt: skip


@on_sqlite
def test_the_nodes_settings_are_for_who_manages_all_fleets(node: Node) -> None:
    one_fleet = replace(admin_scope(node), everywhere=frozenset())
    fleet_settings.get(one_fleet, node)
    with pytest.raises(Forbidden):
        fleet_settings.of_node(one_fleet, node)


# -- retention --------------------------------------------------------------------------------------------------------


def test_what_had_its_time_goes_by_fleet_in_batches_and_the_audit_log_stays(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "BATCH", 3)
    node = replace(node, settings=msgspec.structs.replace(node.settings, device_events_days=10, idempotency_hours=24))
    other = fleets.create_fleet(admin_scope(node), node, name="other").fleet
    (device,) = enroll(node, admin_scope(node), ["cam-1"])
    _set(node, device_events_days=2)
    with node.db.write() as tx:
        now = engine.now(tx)
        for fleet_id in (int(admin_scope(node).fleet_id), int(other.id)):
            for days in (1, 1, 3, 3, 3, 3, 3, 3, 3, 11):
                row = {"fleet_id": fleet_id, "device_id": device.ref.id, "at": now - timedelta(days=days), "kind": "k"}
                tx.execute(sa.insert(device_events).values(row))
        for hours in (1, 23, 25, 25, 25, 25, 500):
            tx.execute(
                sa.insert(idempotency).values(
                    actor="user:a", key=f"{hours}-{secrets.new_secret()}", request_sha256="", status=201, subject="",
                    created_at=now - timedelta(hours=hours),
                )
            )  # fmt: skip
        before = tx.scalar(sa.select(sa.func.count()).select_from(audit_records))
    forgetting.forget(node)
    with node.db.read() as tx:
        left = {
            fleet_id: sorted(round((now - at).total_seconds() / 86_400) for at in tx.scalars(
                sa.select(device_events.c.at).where(device_events.c.fleet_id == fleet_id, device_events.c.kind == "k")
            ))
            for fleet_id in (int(admin_scope(node).fleet_id), int(other.id))
        }  # fmt: skip
        assert list(left.values()) == [[1, 1], [1, 1, 3, 3, 3, 3, 3, 3, 3]]
        assert tx.scalar(sa.select(sa.func.count()).select_from(idempotency)) == 2
        assert tx.scalar(sa.select(sa.func.count()).select_from(audit_records)) == before
