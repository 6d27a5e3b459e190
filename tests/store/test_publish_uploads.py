"""Uploads: resumed after breaks and restarts, never more than announced, honest about a full disk."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store.storages import STORAGES

from tidegate.control.blobs import open_blobs
from tidegate.control.domain.access import Scope
from tidegate.control.services import artifacts, uploads
from tidegate.control.services.keyring import Keyring
from tidegate.control.services.node import Node
from tidegate.control.store import engine, schema
from tidegate.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable
from tidegate.testing.clock import FakeClock
from tidegate.testing.node import admin_scope
from tidegate.wire.descriptor import ModelManifest
from tidegate.wire.operator.artifacts import NewFile, PublishArtifact

pytestmark = STORAGES
DATA = bytes(range(256)) * 40


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


def _send(scope: Scope, node: Node, upload_id: str, offset: int, data: bytes) -> Any:
    with uploads.receive(scope, node, upload_id, offset) as receiver:
        receiver.write(data)
        return receiver.finish()


def _folder(node: Node) -> Path:
    return node.settings.data_dir / "uploads"


def test_an_upload_in_pieces_is_sealed_when_whole(node: Node, scope: Scope) -> None:
    upload = uploads.create(scope, node, "model.onnx", len(DATA))
    assert _send(scope, node, upload.id, 0, DATA[:1000]).received == 1000
    assert uploads.find(scope, node, upload.id).sha256 is None
    sealed = _send(scope, node, upload.id, 1000, DATA[1000:])
    assert sealed.sha256 == hashlib.sha256(DATA).hexdigest()
    assert node.blobs.read(sealed.sha256) == DATA
    assert list(_folder(node).iterdir()) == []
    with pytest.raises(Conflict, match="it is whole"):
        uploads.receive(scope, node, upload.id, len(DATA))


def test_an_empty_file_is_whole_at_once(node: Node, scope: Scope) -> None:
    upload = uploads.upload_stream(scope, node, "empty", 0, [])
    assert upload.sha256 == hashlib.sha256(b"").hexdigest()


def test_an_upload_goes_on_after_the_node_died_in_the_middle_of_writing(node: Node, scope: Scope) -> None:
    upload = uploads.create(scope, node, "model.onnx", len(DATA))
    _send(scope, node, upload.id, 0, DATA[:1000])
    # Bytes that were written but never acknowledged: the process died before `finish`.
    with uploads.receive(scope, node, upload.id, 1000) as receiver:
        receiver.write(b"x" * 500)
    assert (_folder(node) / upload.id).stat().st_size == 1500
    restarted = dataclasses.replace(node, keyring=Keyring(node.settings.data_dir), blobs=open_blobs(node.settings))
    assert uploads.find(scope, restarted, upload.id).received == 1000
    sealed = _send(scope, restarted, upload.id, 1000, DATA[1000:])
    assert node.blobs.read(sealed.sha256) == DATA


def test_a_crash_between_storing_and_recording_is_mended(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = uploads.create(scope, node, "model.onnx", len(DATA))

    def boom(*_args: Any) -> None:
        raise RuntimeError("the process dies here")

    with monkeypatch.context() as patched:
        patched.setattr("tidegate.control.store.uploads.seal", boom)
        with pytest.raises(RuntimeError):
            _send(scope, node, upload.id, 0, DATA)
    sealed = _send(scope, node, upload.id, len(DATA), b"")
    assert node.blobs.read(sealed.sha256) == DATA


def test_a_wrong_offset_says_where_to_go_on(node: Node, scope: Scope) -> None:
    upload = uploads.create(scope, node, "model.onnx", len(DATA))
    _send(scope, node, upload.id, 0, DATA[:10])
    for offset in (0, 9, 11, len(DATA)):
        with pytest.raises(Conflict, match="10 bytes were received"):
            uploads.receive(scope, node, upload.id, offset)


def test_two_senders_at_once_are_refused(node: Node, scope: Scope) -> None:
    upload = uploads.create(scope, node, "model.onnx", len(DATA))
    with uploads.receive(scope, node, upload.id, 0), pytest.raises(Conflict, match="being sent already"):
        uploads.receive(scope, node, upload.id, 0)


def test_more_than_announced_is_refused_and_not_kept(node: Node, scope: Scope) -> None:
    upload = uploads.create(scope, node, "model.onnx", 10)
    with (
        uploads.receive(scope, node, upload.id, 0) as receiver,
        pytest.raises(TooLarge, match="10 bytes were announced"),
    ):
        receiver.write(b"x" * 11)
    assert uploads.find(scope, node, upload.id).received == 0


@pytest.mark.parametrize(
    ("name", "length", "error"),
    [("../x", 1, Invalid), ("", 1, Invalid), ("x" * 129, 1, Invalid), ("x", -1, Invalid), ("x", 2**52, TooLarge)],
)
def test_limits(node: Node, scope: Scope, name: str, length: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        uploads.create(scope, node, name, length)
    assert not _folder(node).exists() or list(_folder(node).iterdir()) == []


def test_a_disk_without_room_is_said_before_anything_is_sent(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage(1000, 850, 150))
    with pytest.raises(Unavailable, match="150 bytes free") as refused:
        uploads.create(scope, node, "model.onnx", 151)
    assert (refused.value.type, refused.value.retry_after_seconds) == ("disk-full", 300)
    with pytest.raises(Unavailable, match="kept for the database"):
        uploads.create(scope, node, "model.onnx", 110)
    uploads.create(scope, node, "model.onnx", 90)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage(1000, 900, 100))
    with pytest.raises(Unavailable, match="the disk is 90 % full"):
        uploads.create(scope, node, "model.onnx", 1)


def test_a_disk_that_fills_up_loses_nothing_that_was_acknowledged(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = uploads.create(scope, node, "model.onnx", len(DATA))
    _send(scope, node, upload.id, 0, DATA[:1000])
    true_write, budget = os.write, [300]

    def write(descriptor: int, data: Any) -> int:
        if not budget[0]:
            raise OSError(28, "No space left on device")
        part = true_write(descriptor, bytes(data)[: budget[0]])
        budget[0] -= part
        return part

    with monkeypatch.context() as patched:
        patched.setattr("os.write", write)
        with pytest.raises(Unavailable, match="the disk is full") as refused:
            _send(scope, node, upload.id, 1000, DATA[1000:])
    assert refused.value.type == "disk-full"
    assert uploads.find(scope, node, upload.id).received == 1000
    assert node.blobs.read(_send(scope, node, upload.id, 1000, DATA[1000:]).sha256) == DATA


def test_a_failing_stream_leaves_nothing(node: Node, scope: Scope) -> None:
    def pieces() -> Any:
        yield DATA[:10]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        uploads.upload_stream(scope, node, "model.onnx", len(DATA), pieces())
    assert list(_folder(node).iterdir()) == []
    with node.db.read() as tx:
        assert tx.execute(sa.select(schema.uploads)).all() == []


def test_uploads_of_another_fleet_and_unknown_ones_are_not_found(node: Node, scope: Scope) -> None:
    upload = uploads.create(scope, node, "model.onnx", 10)
    stranger = dataclasses.replace(scope, fleet_id=type(scope.fleet_id)(99))
    for asked, by in ((upload.id, stranger), ("0" * 32, scope), ("../../etc/passwd", scope)):
        with pytest.raises(NotFound, match="cannot find the upload"):
            uploads.find(by, node, asked)


def test_purging_forgets_what_nobody_continued_but_nothing_published(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = uploads.upload_stream(scope, node, "model.onnx", len(DATA), [DATA])
    again = uploads.upload_stream(scope, node, "model.onnx", len(DATA), [DATA])
    lonely = uploads.upload_stream(scope, node, "other.onnx", 5, [b"other"])
    part = uploads.create(scope, node, "part.onnx", 10)
    request = PublishArtifact(
        name="vad",
        version="5",
        files=(NewFile(name="m", upload=published.id),),
        manifest=ModelManifest(framework="onnx"),
    )
    artifacts.publish(scope, node, request)
    assert uploads.purge(node) == 0
    true_now = engine.now
    later = timedelta(hours=node.settings.upload_keep_hours, minutes=1)
    monkeypatch.setattr(engine, "now", lambda tx: true_now(tx) + later)
    assert uploads.purge(node) == 3
    assert published.sha256 is not None
    assert lonely.sha256 is not None
    assert node.blobs.size(published.sha256) == len(DATA)
    assert node.blobs.size(lonely.sha256) is None
    for upload in (again, lonely, part):
        with pytest.raises(NotFound):
            uploads.find(scope, node, upload.id)


def test_blobs_that_nothing_names_are_removed_and_no_others(node: Node, scope: Scope) -> None:
    upload = uploads.upload_stream(scope, node, "model.onnx", len(DATA), [DATA])
    files = (NewFile(name="model.onnx", upload=upload.id),)
    manifest = ModelManifest(framework="onnx")
    published = artifacts.publish(
        scope, node, PublishArtifact(name="vad", version="1", files=files, manifest=manifest)
    )  # fmt: skip
    waiting = uploads.upload_stream(scope, node, "other.onnx", 5, [b"other"])
    discarded = uploads.upload_stream(scope, node, "gone.onnx", 4, [b"gone"])
    uploads.discard(scope, node, discarded.id)
    failed = node.blobs.put(b"a descriptor whose publication failed")
    assert uploads.sweep(node) == 0  # all of them are young: what names them may be about to be written
    half = node.settings.data_dir / "blobs" / "sha256" / "ab" / f".{'ab' * 32}.0123.unfinished"
    if node.blobs.folder is not None:
        half.parent.mkdir(exist_ok=True)
        half.write_bytes(b"half")
    node = dataclasses.replace(node, clock=FakeClock(node.clock.now() + timedelta(days=3)))
    assert uploads.sweep(node) == 2
    kept = [upload.sha256, waiting.sha256, published.descriptor_sha256]
    assert [node.blobs.size(str(one)) is not None for one in kept] == [True, True, True]
    assert [node.blobs.size(str(one)) for one in (discarded.sha256, failed)] == [None, None]
    assert not half.exists()
    assert uploads.sweep(node) == 0
