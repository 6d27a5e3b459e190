"""Publishing as one act, on both databases; and what a device makes of it through the repository it is served."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from tests.store.storages import STORAGES

from tidegate.clock import SystemClock
from tidegate.control.domain.access import Scope
from tidegate.control.domain.artifacts import Artifact
from tidegate.control.services import artifacts, trust, uploads
from tidegate.control.services.keyring import Keyring
from tidegate.control.services.node import Node
from tidegate.control.store import engine, schema
from tidegate.control.store import trust as trust_store
from tidegate.errors import Conflict, Forbidden, Invalid, NotFound, Untrusted
from tidegate.testing.node import admin_scope
from tidegate.trust.signer import FileSigner
from tidegate.trust.tuf import repository, roles
from tidegate.trust.tuf.client import Client, NotServed
from tidegate.trust.tuf.roles import PUBLISHER
from tidegate.trust.tuf.target import Policy
from tidegate.wire import descriptor as wire
from tidegate.wire.descriptor import ModelManifest, PayloadFile
from tidegate.wire.operator.artifacts import ListArtifacts, NewFile, PublishArtifact

pytestmark = STORAGES
MANIFEST = ModelManifest(framework="onnx", license="MIT")


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


def _request(
    scope: Scope, node: Node, version: str, *, content: bytes = b"weights", name: str = "vad", **more: Any
) -> PublishArtifact:
    upload = uploads.upload_stream(scope, node, "model.onnx", len(content), [content])
    fields = {"name": name, "version": version, "manifest": MANIFEST, **more}
    return PublishArtifact(files=(NewFile(name="model.onnx", upload=upload.id),), **fields)


def _publish(scope: Scope, node: Node, version: str, **more: Any) -> Artifact:
    return artifacts.publish(scope, node, _request(scope, node, version, **more))


def _device(node: Node, folder: Path) -> Client:
    """A device that sees what the node would serve it."""

    def fetch(path: str, max_bytes: int) -> bytes:
        name = path.removeprefix("metadata/").removesuffix(".json")
        version, _, role = name.rpartition(".")
        with node.db.read() as tx:
            data = trust_store.document(tx, admin_scope(node).fleet_id, role, int(version) if version else None)
        if data is None:
            raise NotServed(f"cannot find {path}")
        return data

    client = Client(folder / "device", fetch, Policy("default"))
    if not client.has_anchor():
        client.anchor(trust.export_root(admin_scope(node), node))
    return client


def _path(version: str) -> str:
    return f"default/vad/{version}/descriptor.json"


def _everything(node: Node) -> dict[str, list[Any]]:
    """Every row that publishing may touch."""
    tables = (
        schema.artifacts,
        schema.tuf_metadata,
        schema.tuf_repositories,
        schema.audit_records,
        schema.audit_heads,
        schema.uploads,
    )
    with node.db.read() as tx:
        return {table.name: sorted(map(repr, tx.execute(sa.select(table)))) for table in tables}


# -- one act ----------------------------------------------------------------------------------------------------------


def test_a_published_version_reaches_a_device(node: Node, scope: Scope, tmp_path: Path) -> None:
    artifact = _publish(scope, node, "5", content=b"five")
    client = _device(node, tmp_path)
    client.refresh()
    target = client.find(_path("5"))
    assert target.sha256 == artifact.descriptor_sha256
    described = wire.decode(node.blobs.read(target.sha256))
    assert (described.fleet, described.name, described.version, described.manifest) == ("default", "vad", "5", MANIFEST)
    assert node.blobs.read(client.find("default/vad/5/model.onnx").sha256) == b"five"
    with node.db.read() as tx:
        head = tx.execute(sa.select(schema.audit_records).order_by(schema.audit_records.c.sequence.desc())).first()
        assert tx.execute(sa.select(schema.uploads)).all() == []
    assert head is not None
    assert (head.actor, head.action, head.subject) == ("user:admin", "artifact.publish", "artifact:vad/5")


def test_a_version_never_changes(node: Node, scope: Scope) -> None:
    _publish(scope, node, "5")
    before = _everything(node)
    request = _request(scope, node, "5", content=b"other")
    with pytest.raises(Conflict, match="published already"):
        artifacts.publish(scope, node, request)
    after = _everything(node)
    assert {name: rows for name, rows in after.items() if name != "uploads"} == {
        name: rows for name, rows in before.items() if name != "uploads"
    }


def test_withdrawing_takes_it_out_of_the_metadata_for_good(node: Node, scope: Scope, tmp_path: Path) -> None:
    _publish(scope, node, "5")
    _publish(scope, node, "6")
    client = _device(node, tmp_path)
    client.refresh()
    assert client.find(_path("5"))
    with pytest.raises(Invalid, match="reason"):
        artifacts.withdraw(scope, node, "vad", "5", " ")
    artifacts.withdraw(scope, node, "vad", "5", "crashes on start")
    client.refresh()
    with pytest.raises(Untrusted, match="cannot find"):
        client.find(_path("5"))
    assert client.find(_path("6"))
    with pytest.raises(Conflict, match="it is withdrawn"):
        artifacts.withdraw(scope, node, "vad", "5", "again")
    with pytest.raises(Conflict, match="withdrawn already"):
        _publish(scope, node, "5")
    assert artifacts.find(scope, node, "vad", "5").artifact.withdrawn_reason == "crashes on start"


def _boom(*_args: Any, **_named: Any) -> Any:
    raise RuntimeError("the process dies here")


@pytest.mark.parametrize(
    "step",
    [
        "tidegate.control.blobs.Blobs.put",
        "tidegate.control.store.artifacts.find",
        "tidegate.control.blobs.Blobs.size",
        "tidegate.control.store.artifacts.insert",
        "tidegate.control.services.repository.change",
        "tidegate.trust.tuf.repository.prepare",
        "tidegate.trust.tuf.repository.renew_publisher",
        "tidegate.trust.signer.FileSigner.sign",
        "tidegate.trust.tuf.repository.seal",
        "tidegate.control.store.trust.put",
        "tidegate.control.store.trust.changed",
        "tidegate.control.store.uploads.delete",
        "tidegate.control.services.audit.record",
        "sqlalchemy.engine.base.Connection.commit",
    ],
)
def test_a_crash_in_the_middle_of_publishing_leaves_nothing(
    node: Node, scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    _publish(scope, node, "4")
    node.keyring._generations.clear()  # a new process: its first change renews everything
    request = _request(scope, node, "5")
    before = _everything(node)
    with monkeypatch.context() as patched:
        patched.setattr(step, _boom)
        with pytest.raises(RuntimeError, match="dies here"):
            artifacts.publish(scope, node, request)
    assert _everything(node) == before
    artifacts.publish(scope, node, request)  # the same upload still serves
    client = _device(node, tmp_path)
    client.refresh()
    assert client.find(_path("5"))


def test_of_two_publishes_of_one_version_one_is_a_conflict(node: Node, scope: Scope, tmp_path: Path) -> None:
    requests = [_request(scope, node, "5", content=f"{number}".encode()) for number in range(4)]
    start, outcomes = threading.Barrier(len(requests)), []

    def run(request: PublishArtifact) -> None:
        start.wait()
        try:
            outcomes.append(artifacts.publish(scope, node, request).descriptor_sha256)
        except Conflict:
            outcomes.append(None)

    threads = [threading.Thread(target=run, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = [outcome for outcome in outcomes if outcome is not None]
    assert len(outcomes) == 4
    client = _device(node, tmp_path)
    client.refresh()
    assert client.find(_path("5")).sha256 == won


def test_different_versions_published_at_once_are_all_there(node: Node, scope: Scope, tmp_path: Path) -> None:
    requests = [_request(scope, node, str(number)) for number in range(4)]
    failures: list[BaseException] = []

    def run(request: PublishArtifact) -> None:
        try:
            artifacts.publish(scope, node, request)
        except BaseException as error:  # collected and shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    client = _device(node, tmp_path)
    client.refresh()
    assert all(client.find(_path(str(number))) for number in range(4))


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": "Vad"}, "/name"),
        ({"name": "a/b"}, "/name"),
        ({"version": "../1"}, "/version"),
        ({"kind": "container"}, "/kind"),
        ({"manifest": None}, "/manifest"),
        ({"files": ()}, "/files"),
        ({"file": "descriptor.json"}, "/files/0/name"),
        ({"file": ".hidden"}, "/files/0/name"),
        ({"twice": True}, "/files/1/name"),
        ({"target_hardware": "ram_bytes >="}, "/target_hardware"),
        ({"target_hardware": "nonsense == 1"}, "/target_hardware"),
    ],
)
def test_bad_input_names_the_field_and_changes_nothing(
    node: Node, scope: Scope, change: dict[str, Any], pointer: str
) -> None:
    request, change = _request(scope, node, "5"), dict(change)
    before = _everything(node)
    if file := change.pop("file", None):
        request = msgspec.structs.replace(request, files=(msgspec.structs.replace(request.files[0], name=file),))
    if change.pop("twice", None):
        request = msgspec.structs.replace(request, files=request.files * 2)
    with pytest.raises(Invalid) as refused:
        artifacts.publish(scope, node, msgspec.structs.replace(request, **change))
    assert pointer in [error.pointer for error in refused.value.errors]
    assert _everything(node) == before


def test_an_upload_that_is_not_whole_or_not_there_is_refused(node: Node, scope: Scope) -> None:
    upload = uploads.create(scope, node, "model.onnx", 10)
    request = PublishArtifact(name="vad", version="5", files=(NewFile(name="m", upload=upload.id),), manifest=MANIFEST)
    with pytest.raises(Invalid, match="must be whole: 0 of 10"):
        artifacts.publish(scope, node, request)
    gone = msgspec.structs.replace(request, files=(NewFile(name="m", upload="0" * 32),))
    with pytest.raises(NotFound, match="cannot find the upload"):
        artifacts.publish(scope, node, gone)


def test_an_empty_file_is_refused_because_a_version_never_changes(node: Node, scope: Scope) -> None:
    upload = uploads.upload_stream(scope, node, "model.onnx", 0, [])
    request = PublishArtifact(name="vad", version="5", files=(NewFile(name="m", upload=upload.id),), manifest=MANIFEST)
    before = _everything(node)
    with pytest.raises(Invalid, match="must not be empty") as refused:
        artifacts.publish(scope, node, request)
    assert [error.pointer for error in refused.value.errors] == ["/files/0/upload"]
    assert _everything(node) == before


def test_who_may_not_publish_is_told_which_permission(node: Node, scope: Scope) -> None:
    request = _request(scope, node, "5")
    viewer = Scope(scope.actor, scope.fleet_id, scope.fleet, frozenset({"artifacts.read"}))
    for act in (
        lambda: artifacts.publish(viewer, node, request),
        lambda: artifacts.withdraw(viewer, node, "vad", "5", "no"),
        lambda: uploads.create(viewer, node, "m", 1),
        lambda: uploads.find(viewer, node, request.files[0].upload),
    ):
        with pytest.raises(Forbidden, match=r"artifacts\.publish"):
            act()


def test_lists_walk_by_cursor_and_filter(node: Node, scope: Scope) -> None:
    for version in ("1", "2", "3"):
        _publish(scope, node, version)
    _publish(scope, node, "1", name="wake-word")
    artifacts.withdraw(scope, node, "vad", "2", "bad")
    walked, cursor = [], ""
    while True:
        page = artifacts.listed(scope, node, ListArtifacts(limit=2, cursor=cursor))
        walked += [(one.name, one.version) for one in page.items]
        assert page.total == 4
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert walked == [("wake-word", "1"), ("vad", "3"), ("vad", "2"), ("vad", "1")]
    assert [
        one.version for one in artifacts.listed(scope, node, ListArtifacts(name="vad", state="available")).items
    ] == ["3", "1"]
    assert [one.name for one in artifacts.listed(scope, node, ListArtifacts(search="word")).items] == ["wake-word"]
    assert artifacts.listed(scope, node, ListArtifacts(search="%")).items == []


# -- a restored backup ------------------------------------------------------------------------------------------------


def _backup(node: Node) -> dict[sa.Table, list[Any]]:
    with node.db.read() as tx:
        return {
            table: [dict(row._mapping) for row in tx.execute(sa.select(table))]
            for table in schema.metadata.sorted_tables
        }


def _restore(node: Node, saved: dict[sa.Table, list[Any]]) -> None:
    with node.db.write() as tx:
        for table in reversed(schema.metadata.sorted_tables):
            tx.execute(sa.delete(table))
        for table, rows in saved.items():
            if rows:
                tx.execute(sa.insert(table), rows)


def test_a_restored_backup_is_not_refused_as_a_rollback(
    node: Node, scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every bin was published into since; the restored node publishes into one, and a device takes it all."""
    _publish(scope, node, "1")
    saved = _backup(node)
    for number in range(20):  # most bins
        _publish(scope, node, f"lost-{number}")
    client = _device(node, tmp_path)
    client.refresh()
    client.find(_path("lost-19"))
    seen = trust.metadata_file(scope, node, "timestamp", None)

    _restore(node, saved)
    restarted = dataclasses.replace(node, keyring=Keyring(node.settings.data_dir))
    # Before the restored node signs, it has only the old timestamp: that is refused, and nothing is lost.
    assert trust.metadata_file(scope, restarted, "timestamp", None) != seen
    with pytest.raises(Untrusted, match="timestamp"):
        client.refresh()
    monkeypatch.setattr(engine, "now", _an_hour_later(engine.now))
    _publish(scope, restarted, "2")
    client = _device(restarted, tmp_path)
    monkeypatch.setattr(client, "_clock", _Later())
    client.refresh()
    assert client.find(_path("1"))
    assert client.find(_path("2"))
    with pytest.raises(Untrusted, match="cannot find"):
        client.find(_path("lost-19"))


class _Later:
    def now(self) -> Any:
        return SystemClock().now() + timedelta(hours=1)


def _an_hour_later(true_now: Any) -> Any:
    return lambda tx: true_now(tx) + timedelta(hours=1)


def test_the_worker_alone_heals_a_restored_backup(
    node: Node, scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(scope, node, "1")
    saved = _backup(node)
    for number in range(10):
        _publish(scope, node, f"lost-{number}")
    client = _device(node, tmp_path)
    client.refresh()
    _restore(node, saved)
    # A database restored under a running process is noticed by its generation.
    monkeypatch.setattr(engine, "now", _an_hour_later(engine.now))
    assert trust.keep_fresh(scope, node)
    monkeypatch.setattr(client, "_clock", _Later())
    client.refresh()
    assert client.find(_path("1"))


# -- freshness --------------------------------------------------------------------------------------------------------


def test_freshness_signs_what_is_due_and_nothing_else(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.keep_fresh(scope, node)  # the first pass of a process renews everything
    versions = _versions(node, scope)
    assert not trust.keep_fresh(scope, node)
    true_now = engine.now
    for hours, expected in (
        (13, {"timestamp"}),
        (24 * 4, {"timestamp", "snapshot"}),
        (24 * 61, {"timestamp", "snapshot", PUBLISHER, "bins"}),
    ):
        monkeypatch.setattr(engine, "now", lambda tx, hours=hours: true_now(tx) + timedelta(hours=hours))
        assert trust.keep_fresh(scope, node)
        assert not trust.keep_fresh(scope, node)
        now = _versions(node, scope)
        assert {role for role in now if now[role] != versions[role]} == expected
        versions = now


def _versions(node: Node, scope: Scope) -> dict[str, int]:
    return {role.role: role.version for role in trust.status(scope, node).roles}


def test_old_documents_are_forgotten_but_never_roots(node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(scope, node, "1")
    true_now = engine.now
    monkeypatch.setattr(engine, "now", lambda tx: true_now(tx) + timedelta(days=9))
    trust.keep_fresh(scope, node)
    with node.db.read() as tx:
        kept = tx.execute(sa.select(schema.tuf_metadata).where(sa.not_(schema.tuf_metadata.c.current))).all()
        assert {row.role for row in kept} <= {"timestamp", "snapshot"}
        assert trust_store.root_chain(tx, scope.fleet_id)


# -- the publisher elsewhere ------------------------------------------------------------------------------------------


class _Publisher:
    """The machine that holds the publisher key; it sees only what the API shows."""

    def __init__(self, node: Node, scope: Scope, folder: Path) -> None:
        kept = folder / "publisher.pem"
        shutil.move(node.settings.data_dir / "keys" / "online" / "default" / "publisher.pem", kept)
        self.key = FileSigner.load(kept)
        self._node, self._scope = node, scope

    def rows(self) -> dict[str, roles.Row]:
        with self._node.db.read() as tx:
            names = trust_store.heads(tx, self._scope.fleet_id)
            return trust_store.current(tx, self._scope.fleet_id, names)

    def sign(self, change: repository.Change) -> str:
        now = self._node.clock.now()
        made = repository.prepare(self.rows(), change, self.key, now)
        return self.hand_over({name: row.data.decode() for name, row in made.items()})

    def hand_over(self, documents: dict[str, str]) -> str:
        data = msgspec.json.encode(documents)
        return uploads.upload_stream(self._scope, self._node, "signed.json", len(data), [data]).id

    def signed_request(self, version: str, content: bytes = b"weights") -> PublishArtifact:
        request = _request(self._scope, self._node, version, content=content)
        upload = uploads.find(self._scope, self._node, request.files[0].upload)
        assert upload.sha256 is not None
        described = artifacts.describe("default", request, (PayloadFile("model.onnx", upload.sha256, len(content)),))
        entries = artifacts.entries(described, wire.encode(described))
        return msgspec.structs.replace(request, signed=self.sign(repository.Change(add=entries)))


@pytest.fixture
def publisher(node: Node, scope: Scope, tmp_path: Path) -> _Publisher:
    _publish(scope, node, "4")
    node.keyring.online("default")  # loaded while it was here; moving the file must be enough
    return _Publisher(node, scope, tmp_path)


def test_publishing_with_the_key_elsewhere(node: Node, scope: Scope, publisher: _Publisher, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="publisher key is not on this node"):
        _publish(scope, node, "5")
    artifacts.publish(scope, node, publisher.signed_request("5"))
    client = _device(node, tmp_path)
    client.refresh()
    assert client.find(_path("5"))
    assert client.find(_path("4"))
    status = trust.status(scope, node)
    assert not status.publisher_on_node
    assert "publisher-on-node" not in {warning.kind for warning in status.warnings}


def test_withdrawing_and_renewing_with_the_key_elsewhere(
    node: Node, scope: Scope, publisher: _Publisher, tmp_path: Path
) -> None:
    view = artifacts.find(scope, node, "vad", "4")
    with pytest.raises(Conflict, match="publisher key is not on this node"):
        artifacts.withdraw(scope, node, "vad", "4", "bad")
    signed = publisher.sign(repository.Change(remove=view.target_paths))
    artifacts.withdraw(scope, node, "vad", "4", "bad", signed)
    rows = publisher.rows()
    made = repository.renew_publisher(rows, [PUBLISHER, *repository.all_bins(rows)], publisher.key, node.clock.now())
    artifacts.submit_renewal(scope, node, publisher.hand_over({name: row.data.decode() for name, row in made.items()}))
    client = _device(node, tmp_path)
    client.refresh()
    with pytest.raises(Untrusted, match="cannot find"):
        client.find(_path("4"))


def test_freshness_goes_on_without_the_publisher(
    node: Node, scope: Scope, publisher: _Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.keyring._generations.clear()
    before = _versions(node, scope)
    monkeypatch.setattr(engine, "now", _an_hour_later(engine.now))
    assert trust.keep_fresh(scope, node)
    after = _versions(node, scope)
    assert after[PUBLISHER] == before[PUBLISHER]
    assert after["bins"] == before["bins"]
    assert after["timestamp"] > before["timestamp"]


def test_a_signed_submission_publishes_only_what_the_catalog_says(
    node: Node, scope: Scope, publisher: _Publisher
) -> None:
    """Signed for other bytes, other names, or nothing; and a node's own key in the place of the publisher's."""
    good = publisher.signed_request("5")
    before = _everything(node)
    for bad in (
        msgspec.structs.replace(good, version="6"),
        msgspec.structs.replace(good, manifest=ModelManifest(framework="gguf")),
        msgspec.structs.replace(good, signed=publisher.hand_over({})),
        msgspec.structs.replace(good, signed=publisher.hand_over({"targets": "{}"})),
        msgspec.structs.replace(good, signed=_own_bins(node, publisher)),
    ):
        with pytest.raises(Untrusted):
            artifacts.publish(scope, node, bad)
    after = _everything(node)
    assert {name: rows for name, rows in after.items() if name != "uploads"} == {
        name: rows for name, rows in before.items() if name != "uploads"
    }
    for content in (b"[]", b"{", b'{"publisher": 7}', b"\xff"):
        upload = uploads.upload_stream(scope, node, "signed.json", len(content), [content])
        with pytest.raises(Invalid, match="JSON object from role to document"):
            artifacts.publish(scope, node, msgspec.structs.replace(good, signed=upload.id))
    artifacts.publish(scope, node, good)


def _own_bins(node: Node, publisher: _Publisher) -> str:
    """What somebody signs who holds the node's snapshot key only."""
    rows = publisher.rows()
    name = next(iter(repository.bins_for(rows, [_path("5")])))
    forged = roles.new_bin(name, {}, rows[name].version + 10, node.clock.now())
    return publisher.hand_over(
        {name: roles.sign(name, forged, [node.keyring.online("default")["snapshot"]]).data.decode()}
    )


def test_a_fleet_without_trust_domain_signs_nothing(node: Node, scope: Scope) -> None:
    with node.db.write() as tx:
        tx.execute(sa.delete(schema.tuf_metadata))
        tx.execute(sa.delete(schema.tuf_repositories))
    with pytest.raises(Conflict, match="has no trust domain"):
        trust.keep_fresh(scope, node)
    with pytest.raises(NotFound, match="has none"):
        trust.status(scope, node)
