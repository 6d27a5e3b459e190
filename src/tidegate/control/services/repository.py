"""Changing a fleet's signed metadata, always inside the transaction of the act that it belongs to.

The publisher signs on this node or elsewhere; snapshot and timestamp are signed here. The first change that a process
makes renews everything that it may sign: the database could be a restored backup, in which bins and publisher have
lower versions than devices have already seen. Their new versions follow the clock and are higher than any lost one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tidegate.control.services.node import Node
from tidegate.control.store import artifacts as artifact_store
from tidegate.control.store import engine
from tidegate.control.store import trust as store
from tidegate.control.store.trust import Repository
from tidegate.errors import Conflict
from tidegate.ids import FleetId
from tidegate.trust.signer import Signer
from tidegate.trust.tuf import repository, submission
from tidegate.trust.tuf.repository import Change
from tidegate.trust.tuf.roles import PUBLISHER, Row
from tidegate.wire import descriptor as descriptors
from tidegate.wire.descriptor import PayloadFile

_TOP = ("root", "targets", PUBLISHER, "snapshot", "timestamp")


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did; give it to `committed` after the commit."""

    fleet_id: FleetId
    generation: int
    roles: tuple[str, ...]


def create(tx: Connection, node: Node, fleet_id: FleetId, fleet: str, at: datetime) -> None:
    """The convenience trust domain of a new fleet: keys on the node, the offline ones in a folder apart.

    Raises:
        Conflict: the fleet has a trust domain.
    """
    if store.find(tx, fleet_id) is not None:
        raise Conflict(f"cannot make a trust domain: fleet {fleet} has one")
    keys = node.keyring.create_fleet_keys(fleet)
    store.insert(tx, fleet_id, convenience=True)
    store.put(tx, fleet_id, repository.create(fleet, keys, at).values(), at)


def change(
    tx: Connection,
    node: Node,
    fleet_id: FleetId,
    fleet: str,
    wanted: Change,
    documents: Mapping[str, bytes] | None = None,
) -> Changed:
    """Publish or remove targets; locks the fleet's repository until the transaction ends.

    Args:
        documents: bins (and publisher) that were signed elsewhere; None: signed here.

    Raises:
        Conflict: the publisher key is not on this node and `documents` are not given.
        Untrusted: `documents` are not exactly `wanted`, signed by the fleet's publisher.
    """
    held, rows, keys, at = _open(tx, node, fleet_id, fleet)
    if documents is not None:
        touched = repository.all_bins(rows) if PUBLISHER in documents else repository.all_bins(rows) & set(documents)
        rows |= store.current(tx, fleet_id, touched)
        made = submission.accept(fleet, rows, documents, wanted, at)
    else:
        made = _sign_here(tx, node, held, rows, keys, wanted, at)
    return _store(tx, held, rows, made, keys, at)


def renew(tx: Connection, node: Node, fleet_id: FleetId, fleet: str) -> Changed | None:
    """Sign again what is due, or everything when this process has not signed before; None when nothing is due.

    What belongs to a publisher that is not here stays as it is; the trust status warns of its expiry.
    """
    held, rows, keys, at = _open(tx, node, fleet_id, fleet)
    bins = repository.all_bins(rows)
    due = repository.due({role: head.expires_at for role, head in store.heads(tx, fleet_id).items()}, bins, at)
    if _may_be_restored(node, held):
        due = frozenset({PUBLISHER, "snapshot", "timestamp", *bins})
    if PUBLISHER not in keys:
        due &= {"snapshot", "timestamp"}
    if not due:
        return None
    rows |= store.current(tx, fleet_id, due)
    store.prune(tx, fleet_id, at - timedelta(days=node.settings.old_metadata_days))
    if due == {"timestamp"}:
        made = repository.resign_timestamp(rows, keys, at)
        store.put(tx, fleet_id, made.values(), at)
        return _count(tx, held, rows, made, keys)
    signed = due - {"snapshot", "timestamp"}
    made = repository.renew_publisher(rows, signed, keys[PUBLISHER], at) if signed else {}
    return _store(tx, held, rows, made, keys, at)


def committed(node: Node, changed: Changed) -> None:
    """After the commit: remember what was signed, and wake whoever caches metadata."""
    node.keyring.note_generation(changed.fleet_id, changed.generation)
    node.hub.nudge("trust", changed.fleet_id)


def _open(
    tx: Connection, node: Node, fleet_id: FleetId, fleet: str
) -> tuple[Repository, dict[str, Row], Mapping[str, Signer], datetime]:
    held = store.find(tx, fleet_id, lock=True)
    if held is None:
        raise Conflict(f"cannot sign anything: fleet {fleet} has no trust domain")
    keys = node.keyring.online(fleet)
    missing = sorted({"snapshot", "timestamp"} - keys.keys())
    if missing:
        raise Conflict(f"cannot sign metadata: the key of {missing[0]} is not on this node", type="key-missing")
    return held, store.current(tx, fleet_id, _TOP), keys, engine.now(tx)


def _may_be_restored(node: Node, held: Repository) -> bool:
    seen = node.keyring.generation_seen(held.fleet_id)
    return seen is None or held.generation < seen


def _sign_here(
    tx: Connection,
    node: Node,
    held: Repository,
    rows: dict[str, Row],
    keys: Mapping[str, Signer],
    wanted: Change,
    at: datetime,
) -> dict[str, Row]:
    publisher = keys.get(PUBLISHER)
    if publisher is None:
        raise Conflict(
            "cannot sign: the publisher key is not on this node; sign where it is (tidegate artifact publish --sign)",
            type="publisher-off-node",
        )
    restored = _may_be_restored(node, held)
    every = repository.all_bins(rows)
    rows |= store.current(tx, held.fleet_id, every if restored else repository.bins_for(rows, wanted.paths))
    if repository.must_regrow(rows, wanted):
        rows |= store.current(tx, held.fleet_id, every)
    made = repository.prepare(rows, wanted, publisher, at)
    if restored and PUBLISHER not in made:
        rest = {PUBLISHER, *every} - made.keys()
        made |= repository.renew_publisher(rows, rest, publisher, at)
    return made


def _store(
    tx: Connection,
    held: Repository,
    rows: dict[str, Row],
    made: dict[str, Row],
    keys: Mapping[str, Signer],
    at: datetime,
) -> Changed:
    sealed = {**made, **repository.seal(made, rows, keys, at)}
    store.put(tx, held.fleet_id, sealed.values(), at)
    return _count(tx, held, rows, sealed, keys)


def _count(
    tx: Connection, held: Repository, rows: dict[str, Row], made: dict[str, Row], keys: Mapping[str, Signer]
) -> Changed:
    bins = len(repository.all_bins({**rows, **made}))
    generation = store.changed(tx, held, publisher_on_node=PUBLISHER in keys, bins=bins)
    return Changed(held.fleet_id, generation, tuple(sorted(made)))


# -- reading, for devices ---------------------------------------------------------------------------------------------


def document(node: Node, fleet_id: FleetId, role: str, version: int | None) -> bytes | None:
    """One signed document; the current one when `version` is None."""
    with node.db.read() as tx:
        return store.document(tx, fleet_id, role, version)


def files(node: Node, fleet_id: FleetId, name: str, version: str) -> dict[str, PayloadFile] | None:
    """What may be downloaded of a version, by file name; None when there is no such version or it is withdrawn."""
    with node.db.read() as tx:
        artifact = artifact_store.find(tx, fleet_id, name, version)
    if artifact is None or artifact.withdrawn_at is not None:
        return None
    data = artifact.descriptor.encode()
    return {file.name: file for file in descriptors.signed_files(descriptors.decode(data), data)}
