"""Channels: moved, never to a withdrawn version; what they point at is resolved once, when a rollout is created."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control.api import table
from tidegate.control.api.operations import routes
from tidegate.control.domain.access import Scope
from tidegate.control.domain.channels import MOST_CHANNELS
from tidegate.control.services import artifacts, channels, rollouts, uploads
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.control.store import schema
from tidegate.errors import Conflict, Forbidden, Invalid, NotFound, TidegateError
from tidegate.testing.asgi import Client
from tidegate.testing.fleet import enroll
from tidegate.testing.node import admin_scope, api_key
from tidegate.wire.descriptor import ModelManifest
from tidegate.wire.operator.artifacts import NewFile, PublishArtifact


@pytest.fixture
def scope(node: Node) -> Scope:
    scope = admin_scope(node)
    for version in ("1", "2"):
        _publish(scope, node, version)
    return scope


def _publish(scope: Scope, node: Node, version: str, name: str = "vad") -> None:
    upload = uploads.upload_stream(scope, node, "model.onnx", 7, [b"weights"])
    files = (NewFile(name="model.onnx", upload=upload.id),)
    manifest = ModelManifest(framework="onnx")
    artifacts.publish(scope, node, PublishArtifact(name=name, version=version, files=files, manifest=manifest))


def _audited(node: Node) -> list[tuple[str, str, str]]:
    records = schema.audit_records
    with node.db.read() as tx:
        query = sa.select(records).where(records.c.action.like("channel.%")).order_by(records.c.sequence)
        return [(row.action, row.subject, row.data) for row in tx.execute(query)]


def test_a_channel_is_made_moved_and_deleted_and_its_history_tells_it_all(node: Node, scope: Scope) -> None:
    made = channels.move(scope, node, "vad", "stable", "1", "first release")
    assert (made.version, made.moved_by, made.reason) == ("1", "user:admin", "first release")
    moved = channels.move(scope, node, "vad", "stable", "2", "tested on the bench", seen="1")
    assert (moved.version, moved.created_at, moved.reason) == ("2", made.created_at, "tested on the bench")
    channels.delete(scope, node, "vad", "stable", "nobody uses it")
    with pytest.raises(NotFound, match="stable"):
        channels.get(scope, node, "vad", "stable")
    told = channels.history(scope, node, "vad", "stable")
    assert [(one.from_version, one.to_version, one.reason, one.by) for one in told.items] == [
        ("2", None, "nobody uses it", "user:admin"),
        ("1", "2", "tested on the bench", "user:admin"),
        (None, "1", "first release", "user:admin"),
    ]
    assert _audited(node) == [
        ("channel.move", "channel:vad/stable", '{"from":null,"reason":"first release","to":"1"}'),
        ("channel.move", "channel:vad/stable", '{"from":"1","reason":"tested on the bench","to":"2"}'),
        ("channel.delete", "channel:vad/stable", '{"from":"2","reason":"nobody uses it"}'),
    ]


def test_moving_to_where_it_is_does_and_records_nothing(node: Node, scope: Scope) -> None:
    first = channels.move(scope, node, "vad", "stable", "1", "first")
    assert channels.move(scope, node, "vad", "stable", "1", "again") == first
    assert channels.history(scope, node, "vad", "stable").total == len(_audited(node)) == 1


def test_never_to_a_withdrawn_version(node: Node, scope: Scope) -> None:
    artifacts.withdraw(scope, node, "vad", "1", "leaks memory")
    with pytest.raises(Conflict, match="withdrawn") as refused:
        channels.move(scope, node, "vad", "stable", "1", "why not")
    assert refused.value.type == "withdrawn"
    assert channels.listed(scope, node).items == []
    assert _audited(node) == []


def test_one_whose_version_is_withdrawn_stays_there_and_says_so(node: Node, scope: Scope) -> None:
    channels.move(scope, node, "vad", "stable", "2", "release")
    artifacts.withdraw(scope, node, "vad", "2", "leaks memory")
    found = channels.get(scope, node, "vad", "stable")
    assert (found.version, found.withdrawn, found.withdrawn_reason) == ("2", True, "leaks memory")
    enroll(node, scope, ["cam-1"])
    request = NewRollout("vad", "", Target(everyone=True), channel="stable")
    for refuse in (rollouts.create_rollout, rollouts.preview_rollout):
        with pytest.raises(Conflict, match=r"points at vad 2, which is withdrawn: leaks memory; move the channel"):
            refuse(scope, node, request)
    assert channels.move(scope, node, "vad", "stable", "1", "back").version == "1"
    assert rollouts.create_rollout(scope, node, request).version == "1"


def test_a_rollout_takes_the_version_once_and_keeps_it(node: Node, scope: Scope) -> None:
    channels.move(scope, node, "vad", "stable", "1", "release")
    enroll(node, scope, ["cam-1"])
    made = rollouts.create_rollout(scope, node, NewRollout("vad", "", Target(everyone=True), channel="stable"))
    assert (made.version, made.channel) == ("1", "stable")
    channels.move(scope, node, "vad", "stable", "2", "next")
    channels.delete(scope, node, "vad", "stable", "over")
    later = rollouts.get_rollout(scope, node, made.id)
    assert (later.version, later.channel) == ("1", "stable")


def test_who_looked_before_somebody_else_moved_it_is_told(node: Node, scope: Scope) -> None:
    channels.move(scope, node, "vad", "stable", "1", "release", seen="")
    with pytest.raises(Conflict, match="it points at 1 by now") as refused:
        channels.move(scope, node, "vad", "stable", "2", "mine", seen="")
    assert refused.value.type == "channel-moved"
    with pytest.raises(Conflict, match="there is none by now"):
        channels.move(scope, node, "vad", "canary", "2", "mine", seen="1")


def test_of_two_moves_at_once_one_saw_the_other(node: Node, scope: Scope) -> None:
    channels.move(scope, node, "vad", "stable", "1", "release")
    refused: list[TidegateError] = []
    start = threading.Barrier(2)

    def move() -> None:
        start.wait(10)
        try:
            channels.move(scope, node, "vad", "stable", "2", "mine", seen="1")
        except TidegateError as error:
            refused.append(error)

    threads = [threading.Thread(target=move) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [error.type for error in refused] == ["channel-moved"]
    assert channels.history(scope, node, "vad", "stable").total == 2


def test_names_reasons_and_numbers_have_limits(node: Node, scope: Scope) -> None:
    for name in ("Stable", "-x", "a" * 64, "a/b", ""):
        with pytest.raises(Invalid, match="must match"):
            channels.move(scope, node, "vad", name, "1", "why")
    for reason in ("", "   ", "x" * 1025):
        with pytest.raises(Invalid, match="reason must be given, at most 1024"):
            channels.move(scope, node, "vad", "stable", "1", reason)
    with pytest.raises(NotFound):
        channels.move(scope, node, "vad", "stable", "99", "why")
    for number in range(MOST_CHANNELS):
        channels.move(scope, node, "vad", f"c{number}", "1", "many")
    with pytest.raises(Conflict, match=f"at most {MOST_CHANNELS}"):
        channels.move(scope, node, "vad", "one-more", "1", "why")


def test_a_list_is_walked_by_cursor(node: Node, scope: Scope) -> None:
    _publish(scope, node, "1", name="asr")
    wanted = [("asr", "stable"), ("vad", "beta"), ("vad", "canary"), ("vad", "stable")]
    for artifact, name in reversed(wanted):
        channels.move(scope, node, artifact, name, "1", "x")
    found, cursor = [], ""
    for _ in range(4):
        page = channels.listed(scope, node, limit=1, cursor=cursor)
        found += [(one.artifact, one.name) for one in page.items]
        cursor = page.next_cursor or ""
    assert (found, cursor, page.total) == (wanted, "", 4)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_over_http(node: Node, scope: Scope) -> None:
    enroll(node, scope, ["cam-1"])
    app = Starlette(routes=routes(node, table.calls()))
    client = Client(app, bearer=api_key(node, "operator"))
    put = client.request("PUT", "/v1/channels/vad/stable", body={"version": "1", "reason": "release"})
    assert (put.status, put.json()["version"], put.json()["withdrawn_at"]) == (200, "1", None)
    assert client.request("PUT", "/v1/channels/vad/stable", body={"version": "1"}).status == 422
    assert [one["channel"] for one in client.request("GET", "/v1/channels?artifact=vad").json()["items"]] == ["stable"]
    target = {"artifact": "vad", "target": {"all": True}}
    both = client.request("POST", "/v1/rollouts", body={**target, "version": "1", "channel": "stable"})
    neither = client.request("POST", "/v1/rollouts", body=target)
    assert (both.status, neither.status) == (422, 422)
    assert "exactly one of version and channel" in both.json()["detail"]
    made = client.request("POST", "/v1/rollouts", body={**target, "channel": "stable"})
    assert (made.status, made.json()["version"], made.json()["channel"]) == (201, "1", "stable")
    assert client.request("DELETE", "/v1/channels/vad/stable").status == 422
    assert client.request("DELETE", "/v1/channels/vad/stable?reason=over").status == 204
    assert client.request("GET", "/v1/channels/vad/stable").status == 404
    history = client.request("GET", "/v1/channels/vad/stable/history").json()
    assert [one["to_version"] for one in history["items"]] == [None, "1"]
    viewer = Client(app, bearer=api_key(node, "viewer"))
    refused = viewer.request("PUT", "/v1/channels/vad/stable", body={"version": "1", "reason": "x"})
    assert (refused.status, refused.json()["permission"]) == (403, "artifacts.publish")


def test_another_fleets_channels_are_not_there(node: Node, scope: Scope) -> None:
    channels.move(scope, node, "vad", "stable", "1", "release")
    stranger = Scope(scope.actor, type(scope.fleet_id)(999), "other", scope.permissions)
    assert channels.listed(stranger, node).items == []
    for look in (channels.get, channels.history):
        with pytest.raises(NotFound):
            look(stranger, node, "vad", "stable")
    nobody = Scope(scope.actor, scope.fleet_id, scope.fleet, frozenset())
    with pytest.raises(Forbidden):
        channels.move(nobody, node, "vad", "stable", "2", "x")
