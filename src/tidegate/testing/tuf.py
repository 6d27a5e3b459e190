"""A fleet's update repository in memory, which tests can make hostile."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidegate.trust.signer import FileSigner, Signer
from tidegate.trust.tuf import repository, roles
from tidegate.trust.tuf.client import Client, NotServed
from tidegate.trust.tuf.repository import Change, TargetEntry
from tidegate.trust.tuf.roles import Row
from tidegate.trust.tuf.target import Policy

START = datetime(2026, 6, 1, tzinfo=UTC)


def new_signer() -> FileSigner:
    return FileSigner(Ed25519PrivateKey.generate())


def entry(path: str, content: bytes = b"content") -> TargetEntry:
    return TargetEntry(path, len(content), hashlib.sha256(content).hexdigest())


class MovingClock:
    """Satisfies `Clock`; stands still until `advance`."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def advance(self, by: timedelta) -> None:
        self._now += by


class World:
    """Publisher, node and network of one fleet: `rows` are current, `served` is what a device can fetch."""

    def __init__(self, fleet: str = "default", clock: MovingClock | None = None) -> None:
        self.fleet = fleet
        self.clock = clock or MovingClock()
        self.keys: dict[str, Signer] = {
            role: new_signer() for role in ("root", "targets", "publisher", "snapshot", "timestamp")
        }
        self.rows: dict[str, Row] = {}
        self.served: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.put(repository.create(fleet, self.keys, self.clock.now()))

    def put(self, made: dict[str, Row]) -> None:
        self.rows |= made
        for row in made.values():
            name = "timestamp" if row.role == "timestamp" else f"{row.version}.{row.role}"
            self.served[f"metadata/{name}.json"] = row.data

    def publish(self, change: Change) -> None:
        self.clock.advance(timedelta(seconds=1))
        made = repository.prepare(self.rows, change, self.keys["publisher"], self.clock.now())
        self.seal(made)

    def seal(self, made: dict[str, Row]) -> None:
        self.put({**made, **repository.seal(made, self.rows, self.keys, self.clock.now())})

    def resign_root(self, *, keys: dict[str, Signer] | None = None, signers: list[Signer] | None = None) -> Row:
        """The next root version; `keys` replaces keys, `signers` says who signs it (the old and the new root key)."""
        old = self.keys["root"]
        self.keys |= keys or {}
        root = roles.new_root(self.fleet, self.keys, self.clock.now(), self.rows["root"].version + 1)
        row = roles.sign("root", root, signers if signers is not None else [old, self.keys["root"]])
        self.put({"root": row})
        return row

    def fetch(self, path: str, max_bytes: int) -> bytes:
        self.fetched.append(path)
        try:
            return self.served[path]
        except KeyError:
            raise NotServed(f"cannot find {path}") from None

    def client(self, folder: Path, *, anchored: bool = True) -> Client:
        client = Client(folder, self.fetch, Policy(self.fleet), self.clock)
        if anchored and not client.has_anchor():
            client.anchor(self.rows["root"].data)
        return client
