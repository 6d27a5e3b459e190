"""A small repository of any shape that the specification allows: keys of every type, thresholds, delegations."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)


class Simulator:
    """`site` is what is served; `publish` signs the next version of roles and lists them."""

    def __init__(self, *, consistent: bool = True, key: Signer | None = None) -> None:
        self.consistent = consistent
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
        self.root = Root(1, expires=expires, consistent_snapshot=consistent)
        self.timestamp = Timestamp(1, expires=expires)
        self.snapshot = Snapshot(1, expires=expires)
        self.targets: dict[str, Targets] = {"targets": Targets(1, expires=expires)}
        self.signers: dict[str, list[Signer]] = {}
        self._published: set[str] = set()
        self.site: dict[str, bytes | list[bytes]] = {}
        for role in ("root", "timestamp", "snapshot", "targets"):
            self.signers[role] = [key or CryptoSigner.generate_ed25519()]
            self.root.add_key(self.signers[role][0].public_key, role)
        self.publish("root", "targets", "snapshot", "timestamp")
        self.anchor = self._bytes("root")

    def publish(self, *roles: str) -> None:
        for role in roles:
            signed = {"root": self.root, "timestamp": self.timestamp, "snapshot": self.snapshot, **self.targets}[role]
            signed.version += role in self._published
            self._published.add(role)
            if role == "snapshot":
                self.timestamp.snapshot_meta = MetaFile(signed.version)
            elif role in self.targets:
                self.snapshot.meta[f"{role}.json"] = MetaFile(signed.version)
            document = Metadata(signed)
            for signer in self.signers[role]:
                document.sign(signer, append=True)
            prefixed = role == "root" or (self.consistent and role != "timestamp")
            # Names are kept as they are requested: a quoted role name is one path segment.
            name = f"{signed.version}.{quote(role, safe='')}" if prefixed else quote(role, safe="")
            self.site[f"metadata/{name}.json"] = document.to_bytes()

    def add_target(
        self, path: str, content: bytes, role: str = "targets", hashes: tuple[str, ...] = ("sha256",)
    ) -> None:
        file = TargetFile.from_data(path, content, list(hashes))
        self.targets[role].targets[path] = file
        folder, slash, name = path.rpartition("/")
        for digest in file.hashes.values() if self.consistent else ("",):
            self.site[f"targets/{folder}{slash}{digest}{'.' if digest else ''}{name}"] = content

    def delegate(self, delegator: str, name: str, *paths: str, terminating: bool = False) -> None:
        signer = CryptoSigner.generate_ed25519()
        role = DelegatedRole(name, [signer.public_key.keyid], 1, terminating, list(paths))
        parent = self.targets[delegator]
        parent.delegations = parent.delegations or Delegations({}, roles={})
        assert parent.delegations.roles is not None
        parent.delegations.roles[name] = role
        parent.delegations.keys[signer.public_key.keyid] = signer.public_key
        self.targets.setdefault(name, Targets(1, expires=self.root.expires))
        self.signers.setdefault(name, []).append(signer)

    def rotate(self, role: str) -> None:
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        self.signers[role] = [CryptoSigner.generate_ed25519()]
        self.root.add_key(self.signers[role][0].public_key, role)

    def _bytes(self, role: str) -> bytes:
        data = self.site[f"metadata/1.{role}.json"]
        assert isinstance(data, bytes)
        return data


def digest(content: bytes, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, content).hexdigest()
