"""A whole node in this process, for tests: real database, keys, certificates and blobs, nothing listening."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from tidegate.clock import Clock, SystemClock
from tidegate.control.blobs import open_blobs
from tidegate.control.domain.access import EVERY_FLEET, PERMISSIONS, Actor, Grant, Scope
from tidegate.control.domain.fleets import DEFAULT_FLEET
from tidegate.control.services import sealing, secrets
from tidegate.control.services.hub import Hub
from tidegate.control.services.keyring import Keyring
from tidegate.control.services.node import Node
from tidegate.control.settings import Settings
from tidegate.control.store import api_keys, engine, fleets, people
from tidegate.control.store.engine import Database
from tidegate.errors import NotFound
from tidegate.ids import FleetId


def make_node(folder: Path, database: Database, *, clock: Clock | None = None, **settings: Any) -> Node:
    """A node on a migrated, empty database, with the fleet `default` and its trust domain; `settings` override."""
    chosen = Settings(**{"data_dir": folder, "trust_domain": "tidegate.test", "interval_seconds": 5, **settings})
    node = Node(
        db=database,
        blobs=open_blobs(chosen),
        keyring=Keyring(folder),
        hub=Hub(),
        settings=chosen,
        clock=clock or SystemClock(),
    )
    at = node.clock.now()
    node.keyring.create_pki(("127.0.0.1", "localhost"), at)
    node.keyring.create_audit_key()
    sealing.create_key(chosen.effective_seal_key_file)
    with database.write() as tx:
        fleet = fleets.insert(tx, DEFAULT_FLEET, at=engine.now(tx), interval_seconds=chosen.interval_seconds)
        if importlib.util.find_spec("tidegate.control.services.trust"):
            importlib.import_module("tidegate.control.services.trust").initialise(tx, node, fleet, at)
    return node


def api_key(node: Node, role: str = "admin", fleet_id: FleetId = EVERY_FLEET, *, name: str = "") -> str:
    """The secret of a new API key whose maker, the operator ``admin``, may do everything; written straight as rows."""
    secret = secrets.new_secret(secrets.API_KEY_PREFIX)
    with node.db.write() as tx:
        now = engine.now(tx)
        if people.operator_by_name(tx, "admin") is None:
            people.replace_grants(tx, people.insert_operator(tx, "admin", "x", now), [Grant("admin", EVERY_FLEET)])
        api_keys.insert_api_key(
            tx, name=name or role, secret_sha256=secrets.digest(secret), grant=Grant(role, fleet_id), at=now,
            by="admin", expires_at=None,
        )  # fmt: skip
    return secret


def admin_scope(node: Node, fleet: str = DEFAULT_FLEET, *, name: str = "admin") -> Scope:
    """Every permission in one fleet, as an operator."""
    with node.db.read() as tx:
        found = fleets.by_name(tx, fleet)
    if found is None:
        raise NotFound(f"cannot find the fleet {fleet}")
    return Scope(Actor("user", name), found.id, found.name, PERMISSIONS, PERMISSIONS, name)
