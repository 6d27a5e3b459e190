"""A repository made by the node's own code, then a copy of it for each variant, with every key at hand."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from tuf.api.metadata import Metadata

from tidegate.control.services import artifacts, trust, uploads
from tidegate.control.services.node import Node
from tidegate.control.store import schema
from tidegate.control.store import trust as trust_store
from tidegate.testing.node import admin_scope
from tidegate.testing.tuf import MovingClock, World, new_signer
from tidegate.trust.signer import Signer
from tidegate.trust.tuf import repository, roles
from tidegate.trust.tuf.roles import PUBLISHER, Row
from tidegate.wire.descriptor import ModelManifest
from tidegate.wire.operator.artifacts import NewFile, PublishArtifact

FILE = "default/vad/2/model.onnx"
DESCRIPTOR = "default/vad/2/descriptor.json"
OTHER = "default/tones/1/a.bin"
WITHDRAWN = "default/vad/1/model.onnx"
CONTENT = b"the second weights"


class Repository(World):
    """What the node published, its current keys, and what any of them would sign; see `World`."""

    def __init__(self, node: Node) -> None:
        scope = admin_scope(node)
        self.fleet = "default"
        self.clock = MovingClock(node.clock.now().replace(microsecond=0))
        self.keys: dict[str, Signer] = {**node.keyring.online("default"), **node.keyring.offline("default")}
        self.rows, self.served, self.fetched = {}, {}, []
        self.in_turn: dict[str, list[bytes]] = {}
        with node.db.read() as tx:
            heads = trust_store.heads(tx, scope.fleet_id)
            self.rows = trust_store.current(tx, scope.fleet_id, list(heads))
            table = schema.tuf_metadata
            for found in tx.execute(sa.select(table.c.role, table.c.version, table.c.data)):
                expires_at = self.rows[found.role].expires_at
                self.put({found.role: Row(found.role, found.version, bytes(found.data), expires_at)})
            self.rows = trust_store.current(tx, scope.fleet_id, list(heads))
        self.served["metadata/timestamp.json"] = self.rows["timestamp"].data
        self.anchor = trust.export_root(scope, node)
        for name in self.bins():
            for path, target in roles.read_targets(self.rows[name]).targets.items():
                self.serve_target(path, node.blobs.read(target.hashes["sha256"]))

    def copied(self) -> Repository:
        other = copy.copy(self)
        other.keys, other.rows, other.served = dict(self.keys), dict(self.rows), dict(self.served)
        other.clock = MovingClock(self.clock.now())
        return other

    def site(self) -> dict[str, bytes | list[bytes]]:
        """What is to be served, to one reader."""
        return {**self.served, **{path: list(turns) for path, turns in self.in_turn.items()}}

    def bins(self) -> frozenset[str]:
        return repository.all_bins(self.rows)

    def bin_of(self, path: str) -> str:
        (name,) = repository.bins_for(self.rows, [path])
        return name

    def target_path(self, path: str, content: bytes, prefix: str = "") -> str:
        folder, _, file = path.rpartition("/")
        return f"targets/{folder}/{prefix or hashlib.sha256(content).hexdigest()}.{file}"

    def serve_target(self, path: str, content: bytes) -> None:
        self.served[self.target_path(path, content)] = content

    def name(self, role: str) -> str:
        return "metadata/timestamp.json" if role == "timestamp" else f"metadata/{self.rows[role].version}.{role}.json"

    def signer(self, role: str) -> Signer:
        return self.keys[PUBLISHER if roles.is_bin(role) else role]

    def signed(self, role: str) -> Any:
        return Metadata[Any].from_bytes(self.rows[role].data).signed

    def resign(
        self,
        role: str,
        change: Callable[[Any], None] = lambda _signed: None,
        signers: Sequence[Signer] | None = None,
    ) -> None:
        """The next version of `role` as `change` leaves it, signed, and listed by the roles that list it."""
        self.clock.advance(timedelta(seconds=1))
        signed = self.signed(role)
        signed.version += 1
        change(signed)
        row = roles.sign(role, signed, [self.signer(role)] if signers is None else signers)
        self.put({role: row})
        if role == "snapshot":
            stamp = roles.new_timestamp(row, self.rows["timestamp"].version + 1, self.clock.now())
            self.put({"timestamp": roles.sign("timestamp", stamp, [self.keys["timestamp"]])})
        elif role not in ("root", "timestamp"):
            self.seal({role: row})

    def rewrite(self, role: str, change: Callable[[bytes], bytes]) -> None:
        """Alter the served bytes of the current `role`, whatever that does to its signatures."""
        self.served[self.name(role)] = change(self.served[self.name(role)])


def publish_all(node: Node, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Several artifacts, one withdrawn, the bins cut anew, and the root's key and then the online keys rotated."""
    monkeypatch.setattr(repository, "BIN_MAX_TARGETS", 3)
    scope = admin_scope(node)

    def publish(name: str, version: str, **files: bytes) -> None:
        made = [
            NewFile(name=file.replace("_", "."), upload=uploads.upload_stream(scope, node, file, len(data), [data]).id)
            for file, data in files.items()
        ]
        manifest = ModelManifest(framework="onnx", license="Größe & „Maß“ ✓")
        artifacts.publish(
            scope, node, PublishArtifact(name=name, version=version, files=tuple(made), manifest=manifest)
        )

    publish("vad", "1", model_onnx=b"the first weights")
    publish("vad", "2", model_onnx=CONTENT)
    publish("tones", "1", **{f"{letter}_bin": letter.encode() * 100 for letter in "abcdefghijklmnopqrst"})
    artifacts.withdraw(scope, node, "vad", "1", "crashes on start")
    for number in range(20):
        publish("filler", str(number), file_bin=b"%d" % number)
    made = Repository(node)
    assert len(made.bins()) > 16, "the catalog was to be cut anew"
    made.resign_root(keys={"root": new_signer()})
    old = made.keys["root"]
    made.resign_root(keys={"snapshot": new_signer(), "timestamp": new_signer()}, signers=[old])
    made.seal({})
    return made


def expired(at: datetime) -> Callable[[Any], None]:
    def change(signed: Any) -> None:
        signed.expires = (at - timedelta(seconds=30)).replace(microsecond=0)

    return change
