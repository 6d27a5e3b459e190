"""Publishing, withdrawing and looking up versions (SPEC section 5).

Publishing is one transaction: catalog row, signed metadata and audit record stand together or not at all. The bytes
are stored before it; bytes that no version names harm nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from tidegate.control.domain import artifacts as domain
from tidegate.control.domain.access import Scope
from tidegate.control.domain.artifacts import Artifact, Upload
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.services import audit, repository, uploads
from tidegate.control.services.node import Node
from tidegate.control.store import artifacts as store
from tidegate.control.store import engine
from tidegate.control.store import trust as trust_store
from tidegate.control.store import uploads as upload_store
from tidegate.errors import Conflict, FieldError, Invalid, NotFound, TooLarge
from tidegate.trust.tuf.repository import Change, TargetEntry
from tidegate.wire import config, selector
from tidegate.wire import descriptor as wire
from tidegate.wire.config import ConfigOptions
from tidegate.wire.descriptor import DESCRIPTOR_FILE, DESCRIPTOR_MAX_BYTES, Descriptor, PayloadFile
from tidegate.wire.operator.artifacts import ListArtifacts, PublishArtifact

SHOWN_DEVICES = 100
MAX_SIGNED_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """A version with what its descriptor says and where it runs."""

    artifact: Artifact
    descriptor: Descriptor
    target_paths: tuple[str, ...]
    running_on: tuple[str, ...]
    running_count: int


@dataclass(frozen=True, slots=True)
class ArtifactPage:
    items: list[Artifact]
    total: int
    next_cursor: str | None


def publish(scope: Scope, node: Node, request: PublishArtifact) -> Artifact:
    """Publish one immutable version from sealed uploads.

    Raises:
        Invalid: a field breaks a rule, or an upload is not whole.
        NotFound: no such upload.
        Conflict: the version exists, or the publisher key is elsewhere and nothing signed was given.
        Untrusted: what was signed elsewhere is not exactly this version.
    """
    scope.require("artifacts.publish")
    if request.target_hardware:
        selector.parse(request.target_hardware, "/target_hardware", selector.HARDWARE)
    domain.check_new(
        request.name, request.version, request.kind, [file.name for file in request.files], DESCRIPTOR_FILE
    )
    sources = [uploads.find(scope, node, file.upload) for file in request.files]
    descriptor = describe(scope.fleet, request, _payload(request, sources))
    data = checked_descriptor(descriptor)
    node.blobs.put(data)
    documents = _documents(scope, node, request.signed)
    with node.db.write() as tx:
        # The lock comes first: of two publishes of one version the second sees the first.
        trust_store.find(tx, scope.fleet_id, lock=True)
        domain.check_free(
            request.name,
            request.version,
            request.kind,
            store.find(tx, scope.fleet_id, request.name, request.version),
            store.kind_of(tx, scope.fleet_id, request.name),
        )
        _check_blobs(node, descriptor, data)
        artifact = _insert(tx, scope, descriptor, data)
        change = Change(add=entries(descriptor, data))
        changed = repository.change(tx, node, scope.fleet_id, scope.fleet, change, documents)
        for source in sources:
            upload_store.delete(tx, source.id)
        audit.record(
            tx, scope, action="artifact.publish", subject=artifact.subject, data=_publish_data(artifact, documents)
        )
    repository.committed(node, changed)
    return artifact


def withdraw(scope: Scope, node: Node, name: str, version: str, reason: str, signed: str | None = None) -> Artifact:
    """Take a version out of the signed metadata, for good; devices that run it keep running it.

    Raises:
        NotFound, Invalid (no reason), Conflict (withdrawn already, or the publisher key is elsewhere), Untrusted.
    """
    scope.require("artifacts.publish")
    documents = _documents(scope, node, signed)
    with node.db.write() as tx:
        trust_store.find(tx, scope.fleet_id, lock=True)
        artifact = _existing(tx, scope, name, version)
        domain.check_withdraw(artifact, reason)
        change = Change(remove=target_paths(scope.fleet, artifact))
        changed = repository.change(tx, node, scope.fleet_id, scope.fleet, change, documents)
        store.withdraw(tx, artifact.id, reason, engine.now(tx))
        artifact = _existing(tx, scope, name, version)
        data = {"reason": reason, "signed": "elsewhere" if documents else "here"}
        audit.record(tx, scope, action="artifact.withdraw", subject=artifact.subject, data=data)
    repository.committed(node, changed)
    node.hub.nudge("rollouts", scope.fleet_id)
    return artifact


def submit_renewal(scope: Scope, node: Node, signed: str) -> None:
    """Take publisher and bins signed again elsewhere, with nothing added, altered or removed."""
    scope.require("artifacts.publish")
    documents = _documents(scope, node, signed) or {}
    with node.db.write() as tx:
        changed = repository.change(tx, node, scope.fleet_id, scope.fleet, Change(), documents)
        data = {"documents": len(documents), "generation": changed.generation}
        audit.record(tx, scope, action="trust.renew", subject=f"trust:{scope.fleet}", data=data)
    repository.committed(node, changed)


def find(scope: Scope, node: Node, name: str, version: str) -> ArtifactView:
    """Raises `NotFound`."""
    scope.require("artifacts.read")
    with node.db.read() as tx:
        artifact = _existing(tx, scope, name, version)
        running, count = store.running_on(tx, artifact, SHOWN_DEVICES)
    descriptor = wire.decode(artifact.descriptor.encode())
    return ArtifactView(artifact, descriptor, target_paths(scope.fleet, artifact), tuple(running), count)


def listed(scope: Scope, node: Node, query: ListArtifacts) -> ArtifactPage:
    """Newest first."""
    scope.require("artifacts.read")
    position = decode_cursor(query.cursor, int)
    withdrawn = None if query.state == "" else query.state == "withdrawn"
    with node.db.read() as tx:
        found, total = store.listed(
            tx,
            scope.fleet_id,
            search=query.search,
            name=query.name,
            withdrawn=withdrawn,
            before=None if position is None else int(position[0]),
            limit=query.limit + 1,
            offset=query.offset,
        )
    items = found[: query.limit]
    more = encode_cursor(int(items[-1].id)) if len(found) > query.limit else None
    return ArtifactPage(items, total, more)


# -- what a version consists of ---------------------------------------------------------------------------------------


def describe(fleet: str, request: PublishArtifact, files: tuple[PayloadFile, ...]) -> Descriptor:
    return Descriptor(
        fleet=fleet,
        name=request.name,
        version=request.version,
        kind=request.kind,
        files=files,
        manifest=request.manifest,
        target_hardware=request.target_hardware,
        requires=request.requires,
        config=request.config,
    )


def checked_descriptor(descriptor: Descriptor) -> bytes:
    """The canonical bytes, read back as a device will read them. Raises `Invalid`, `TooLarge`."""
    if broken := _broken(descriptor):
        said = "; ".join(f"{one.pointer.lstrip('/')} {one.detail}" for one in broken)
        raise Invalid(f"cannot publish this version: {said}", broken)
    try:
        data = wire.encode(descriptor)
        wire.decode(data)
    except (msgspec.ValidationError, ValueError) as error:
        raise Invalid(f"cannot publish this version: {error}", (FieldError("", str(error)),)) from error
    if len(data) > DESCRIPTOR_MAX_BYTES:
        raise TooLarge(f"cannot publish this version: its descriptor is longer than {DESCRIPTOR_MAX_BYTES} bytes")
    return data


def _broken(descriptor: Descriptor) -> tuple[FieldError, ...]:
    """What a version of this kind must say, and what only others may."""
    if descriptor.kind == "model":
        rules = [("/manifest", "must be given for a model")] if descriptor.manifest is None else []
        rules += [] if descriptor.config is None else [("/config", "is for an artifact of the kind config only")]
        return tuple(FieldError(pointer, rule) for pointer, rule in rules)
    found = config.faults(descriptor.config or ConfigOptions(), tuple(file.length for file in descriptor.files))
    if descriptor.manifest is not None:
        found = (*found, ("/manifest", "is for an artifact of the kind model only"))
    return tuple(FieldError(pointer, rule) for pointer, rule in found)


def entries(descriptor: Descriptor, data: bytes) -> tuple[TargetEntry, ...]:
    """The TUF targets of a version: its descriptor and its files."""
    return tuple(
        TargetEntry(
            wire.target_path(descriptor.fleet, descriptor.name, descriptor.version, file.name), file.length, file.sha256
        )
        for file in wire.signed_files(descriptor, data)
    )


def target_paths(fleet: str, artifact: Artifact) -> tuple[str, ...]:
    """The TUF targets of a published version, the descriptor first."""
    files = [file.name for file in wire.decode(artifact.descriptor.encode()).files]
    return tuple(wire.target_path(fleet, artifact.name, artifact.version, name) for name in (DESCRIPTOR_FILE, *files))


def _payload(request: PublishArtifact, sources: list[Upload]) -> tuple[PayloadFile, ...]:
    files = []
    for index, (file, source) in enumerate(zip(request.files, sources, strict=True)):
        if source.sha256 is None:
            rule = f"must be whole: {source.received} of {source.length} bytes were received"
            raise Invalid(f"cannot publish: the upload {rule}", (FieldError(f"/files/{index}/upload", rule),))
        if source.length == 0:
            rule = f"must not be empty: {file.name} has no bytes, and a version never changes"
            raise Invalid(f"cannot publish: the upload {rule}", (FieldError(f"/files/{index}/upload", rule),))
        files.append(PayloadFile(file.name, source.sha256, source.length))
    return tuple(files)


def _check_blobs(node: Node, descriptor: Descriptor, data: bytes) -> None:
    for file in wire.signed_files(descriptor, data):
        if node.blobs.size(file.sha256) != file.length:
            raise Conflict(f"cannot publish: the bytes of {file.name} are gone; upload it again")


def _insert(tx: Connection, scope: Scope, descriptor: Descriptor, data: bytes) -> Artifact:
    return store.insert(
        tx,
        scope.fleet_id,
        name=descriptor.name,
        version=descriptor.version,
        kind=descriptor.kind,
        descriptor=data.decode(),
        descriptor_sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=sum(file.length for file in descriptor.files),
        published_at=engine.now(tx),
        published_by=str(scope.actor),
    )


def _existing(tx: Connection, scope: Scope, name: str, version: str) -> Artifact:
    artifact = store.find(tx, scope.fleet_id, name, version)
    if artifact is None:
        raise NotFound(f"cannot find the artifact {name[:128]} {version[:128]}")
    return artifact


def _documents(scope: Scope, node: Node, upload_id: str | None) -> dict[str, bytes] | None:
    """What was signed elsewhere, out of an upload. It stays an upload, and is purged like one."""
    if upload_id is None:
        return None
    source = uploads.find(scope, node, upload_id)
    if source.sha256 is None:
        raise _refused_signed(f"must be whole: {source.received} of {source.length} bytes were received")
    if source.length > MAX_SIGNED_BYTES:
        raise TooLarge(f"cannot accept the signed metadata: at most {MAX_SIGNED_BYTES} bytes")
    try:
        documents = msgspec.json.decode(node.blobs.read(source.sha256), type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused_signed("must be a JSON object from role to document") from error
    return {role: text.encode() for role, text in documents.items()}


def _refused_signed(rule: str) -> Invalid:
    return Invalid(f"cannot accept the signed metadata: the upload {rule}", (FieldError("/signed", rule),))


def _publish_data(artifact: Artifact, documents: Mapping[str, bytes] | None) -> dict[str, str | int]:
    return {
        "kind": artifact.kind,
        "descriptor_sha256": artifact.descriptor_sha256,
        "size_bytes": artifact.size_bytes,
        "signed": "elsewhere" if documents else "here",
    }
