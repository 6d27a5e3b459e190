"""SBOMs of versions: attached, replaced, removed and read; checked by the job below (SPEC section 5).

What is sent is stored first and checked later, by a worker, in a child process with limits: a request never waits for a
check, and no document can hold up the node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from tidegate.control.domain import sboms as domain
from tidegate.control.domain.access import Scope, system_scope
from tidegate.control.domain.artifacts import Artifact
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.domain.sboms import Sbom
from tidegate.control.sbom.check import NoVerdict, check
from tidegate.control.sbom.verdict import Verdict
from tidegate.control.services import audit, uploads
from tidegate.control.services.node import Node
from tidegate.control.store import artifacts as artifact_store
from tidegate.control.store import engine, fleets
from tidegate.control.store import sboms as store
from tidegate.control.store import trust as trust_store
from tidegate.control.store import uploads as upload_store
from tidegate.errors import Conflict, FieldError, Invalid, NotFound, TooLarge

#: Those before the current one that are shown.
SHOWN_ENDED = 20
#: Of the bytes as sent; unpacked, a document may have twice as many (control/sbom/child.py).
MAX_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class SbomView:
    """`current` is None where the version has none now; `ended`: those before, the latest first."""

    artifact: Artifact
    current: Sbom | None
    ended: tuple[Sbom, ...]


@dataclass(frozen=True, slots=True)
class Component:
    name: str
    version: str
    purl: str
    license: str


@dataclass(frozen=True, slots=True)
class ComponentPage:
    items: list[Component]
    total: int
    next_cursor: str | None


def attach(scope: Scope, node: Node, name: str, version: str, upload_id: str) -> Sbom:
    """Make a sealed upload the version's SBOM; it is checked soon after. One that it had is replaced and kept.

    Raises:
        NotFound: no such version or upload.
        Invalid: the upload is not whole, or empty. TooLarge: more than `MAX_BYTES`.
        Conflict: it has exactly this one already, or the bytes are gone.
    """
    scope.require("artifacts.publish")
    source = uploads.find(scope, node, upload_id)
    if source.sha256 is None or not source.length:
        rule = "must not be empty" if source.sha256 else f"must be whole: {source.received} of {source.length} bytes"
        raise Invalid(f"cannot attach this SBOM: the upload {rule}", (FieldError("/upload", rule),))
    if source.length > MAX_BYTES:
        raise TooLarge(f"cannot attach an SBOM of more than {MAX_BYTES >> 20} MiB; compress it with gzip")
    with node.db.write() as tx:
        # The lock of publishing: nobody removes the bytes as an abandoned upload's meanwhile.
        trust_store.find(tx, scope.fleet_id, lock=True)
        artifact = _artifact(tx, scope, name, version)
        before = store.current(tx, artifact.id)
        domain.check_attach(artifact, before, source.sha256)
        if node.blobs.size(source.sha256) != source.length:
            raise Conflict("cannot attach this SBOM: its bytes are gone; upload it again")
        at, by = engine.now(tx), str(scope.actor)
        if before is not None:
            store.end(tx, before.id, at, by, "replaced")
        made = store.insert(
            tx, scope.fleet_id, artifact.id, sha256=source.sha256, size_bytes=source.length,
            file_name=source.file_name, at=at, by=by,
        )  # fmt: skip
        upload_store.delete(tx, source.id)
        replaced = before.sha256 if before is not None else None
        data: dict[str, object] = {"sha256": made.sha256, "size_bytes": made.size_bytes, "replaced": replaced}
        audit.record(tx, scope, action="sbom.attach", subject=artifact.subject, data=data)
    node.hub.nudge("sboms", scope.fleet_id)
    return made


def remove(scope: Scope, node: Node, name: str, version: str, reason: str) -> None:
    """The version has no SBOM any more; the document stays in its history.

    Raises:
        NotFound: it has none. Invalid: no reason.
    """
    scope.require("artifacts.publish")
    reason = domain.check_remove(reason)
    with node.db.write() as tx:
        trust_store.find(tx, scope.fleet_id, lock=True)
        artifact = _artifact(tx, scope, name, version)
        gone = _current(tx, artifact)
        store.end(tx, gone.id, engine.now(tx), str(scope.actor), reason)
        data = {"sha256": gone.sha256, "reason": reason}
        audit.record(tx, scope, action="sbom.remove", subject=artifact.subject, data=data)
    node.hub.nudge("sboms", scope.fleet_id)


def find(scope: Scope, node: Node, name: str, version: str) -> SbomView:
    """Raises `NotFound` when there is no such version."""
    scope.require("artifacts.read")
    with node.db.read() as tx:
        artifact = _artifact(tx, scope, name, version)
        return SbomView(artifact, store.current(tx, artifact.id), tuple(store.ended(tx, artifact.id, SHOWN_ENDED)))


def components(
    scope: Scope, node: Node, name: str, version: str, *, search: str = "", limit: int = 50, offset: int = 0,
    cursor: str = "",
) -> ComponentPage:  # fmt: skip
    """What the version's SBOM lists, in its order; nothing until it is valid.

    Raises:
        NotFound: the version has no SBOM.
        Invalid: the cursor, which counts for one document only.
    """
    scope.require("artifacts.read")
    position = decode_cursor(cursor, int, int)
    with node.db.read() as tx:
        sbom = _current(tx, _artifact(tx, scope, name, version))
        if position is not None and position[0] != sbom.id:
            rule = "is of an SBOM that was replaced meanwhile: begin again without it"
            raise Invalid(f"cannot go on with this list: cursor {rule}", (FieldError("/cursor", rule),))
        after = int(position[1]) if position else None
        found, total = store.components(tx, sbom.id, search=search, after=after, limit=limit + 1, offset=offset)
    items = [Component(row.name, row.version, row.purl, row.license) for row in found[:limit]]
    more = encode_cursor(sbom.id, found[limit - 1].position) if len(found) > limit else None
    return ComponentPage(items, total, more)


def document(scope: Scope, node: Node, name: str, version: str, sha256: str) -> tuple[Sbom, Iterator[bytes]]:
    """The bytes as they were sent, of one that is or was the version's. Raises `NotFound`."""
    scope.require("artifacts.read")
    with node.db.read() as tx:
        found = store.with_bytes(tx, _artifact(tx, scope, name, version).id, sha256)
    if found is None:
        raise NotFound(f"cannot find an SBOM of {name} {version} with this digest")
    return found, node.blobs.stream(found.sha256)


def _artifact(tx: Connection, scope: Scope, name: str, version: str) -> Artifact:
    artifact = artifact_store.find(tx, scope.fleet_id, name, version)
    if artifact is None:
        raise NotFound(f"cannot find the artifact {name[:128]} {version[:128]}")
    return artifact


def _current(tx: Connection, artifact: Artifact) -> Sbom:
    found = store.current(tx, artifact.id)
    if found is None:
        raise NotFound(f"cannot find an SBOM of {artifact.name} {artifact.version}: attach one first")
    return found


# -- the job ----------------------------------------------------------------------------------------------------------


def check_next(node: Node) -> bool:
    """Check the SBOM that waits longest; False when none does. Safe on any number of replicas, and after a crash."""
    with node.db.write() as tx:
        waiting = store.claim(tx, engine.now(tx))
    if waiting is None:
        return False
    try:
        # Outside of any transaction: it takes as long as it takes.
        verdict = check(node.blobs.stream(waiting.sha256))
    except NoVerdict as error:
        _no_verdict(node, waiting, str(error))
    except NotFound:
        _settle(node, waiting, Verdict(reasons=()), gone="must be in the blob store, where its bytes are gone")
    else:
        _settle(node, waiting, verdict)
    node.hub.nudge("sboms", waiting.fleet_id)
    return True


def _no_verdict(node: Node, sbom: Sbom, why: str) -> None:
    """Once may be bad luck, such as the node going down; a document that does it again and again is not checkable."""
    if sbom.attempts < domain.MOST_ATTEMPTS:
        with node.db.write() as tx:
            store.release(tx, sbom.id)
        return
    _settle(node, sbom, Verdict(), gone=f"must be checkable: {sbom.attempts} checks ended without a verdict, {why}")


def _settle(node: Node, sbom: Sbom, verdict: Verdict, *, gone: str = "") -> None:
    reasons = [("", gone)] if gone else [(one.pointer, one.rule) for one in verdict.reasons]
    state = "invalid" if reasons else "valid"
    with node.db.write() as tx:
        if not store.still_waiting(tx, sbom.id):
            return  # replaced or removed meanwhile
        store.settle(
            tx, sbom.id, engine.now(tx), state=state, format_=verdict.format, spec_version=verdict.spec_version,
            component_count=verdict.component_count, licenses=verdict.licenses, reasons=reasons,
        )  # fmt: skip
        rows = [(one.name, one.version, one.purl, one.license) for one in verdict.components]
        store.add_components(tx, sbom.id, rows)
        _record(tx, sbom, state, verdict)


def _record(tx: Connection, sbom: Sbom, state: str, verdict: Verdict) -> None:
    artifact = artifact_store.by_id(tx, sbom.artifact_id)
    fleet = fleets.by_id(tx, sbom.fleet_id)
    assert artifact is not None
    assert fleet is not None
    data: dict[str, Any] = {"sha256": sbom.sha256, "state": state, "components": verdict.component_count}
    scope = system_scope("sboms", fleet.id, fleet.name)
    audit.record(tx, scope, action="sbom.check", subject=artifact.subject, data=data)
