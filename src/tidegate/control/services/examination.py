"""What `tidegate doctor` finds out on the node's own machine: each finding says what is the matter and what to do.

Nothing is changed: what is written to try a store is removed again. It works while the node runs and while it does not.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import sqlalchemy.exc
from cryptography import x509

from tidegate.clock import Clock
from tidegate.control.blobs import open_blobs
from tidegate.control.domain.access import PERMISSIONS, Actor, Scope
from tidegate.control.services import disk, trust
from tidegate.control.services.hub import Hub
from tidegate.control.services.keyring import Keyring
from tidegate.control.services.node import Node
from tidegate.control.services.setup import open_database
from tidegate.control.settings import Settings
from tidegate.control.store import engine, fleets, migrations
from tidegate.errors import TidegateError

Level = Literal["ok", "warning", "error"]

#: Beyond this, devices refuse metadata that the node signs, or certificates that it issues.
CLOCK_TOLERANCE = timedelta(seconds=60)
#: Certificates that end within this are told; the node renews its own earlier.
SOON = timedelta(days=14)
_KEY_MAX_BYTES = 64 << 10
_DOCTOR = Actor("system", "doctor")
_AS_THE_NODE = "run this as the user that the node runs as"
_BUCKET_NEXT = (
    "see that bucket and store are there; run this with the AWS_… of the node's environment: set -a; . its"
    " EnvironmentFile; set +a"
)
#: What makes a warning of the trust domain one that stops updates or connections.
_SERIOUS = frozenset({"expired", "certificate-expired"})
_SIGN_AGAIN = "tidegate serve signs online roles again by itself; the others: tidegate trust renew, or a ceremony"
_KEPT_HERE = {
    "convenience-trust-domain": "fine for a trial; before production copy keys/offline/ away and delete it here",
    "publisher-on-node": "fine for a trial; to change it, keep publisher.pem elsewhere and publish with --sign",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is stable. `said` is what was found, `next` what to do; empty where all is well."""

    check: str
    level: Level
    said: str
    next: str = ""


def examine(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Everything that can be told without asking the network."""
    yield from _attempt("data-folder", _AS_THE_NODE, lambda: _folder(settings.data_dir))
    yield from _attempt("key-files", _AS_THE_NODE, lambda: _keys(settings))
    if not os.access(settings.data_dir, os.R_OK | os.X_OK):
        return
    try:
        node = Node(
            db=open_database(settings), blobs=open_blobs(settings), keyring=Keyring(settings.data_dir), hub=Hub(),
            settings=settings, clock=clock,
        )  # fmt: skip
    except TidegateError as error:
        yield Finding("settings", "error", error.detail, "mend the file that it names, or the setting, and look again")
        return
    try:
        yield from _attempt("disk", "see that the data folder can be read", lambda: _space(node))
        yield from _database(node)
        remedy = _BUCKET_NEXT if settings.blob_url else "see that the folder blobs is there and can be written"
        yield from _attempt("blobs", remedy, lambda: _blobs(node))
    finally:
        node.db.dispose()


def _attempt(check: str, remedy: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What `look` finds; an error of it is a finding too."""
    try:
        yield from look()
    except TidegateError as error:
        yield Finding(check, "error", error.detail, remedy)
    except sqlalchemy.exc.SQLAlchemyError as error:
        yield Finding(check, "error", f"cannot use the database: {error.__cause__ or error}", remedy)
    except OSError as error:
        yield Finding(check, "error", f"cannot read {error.filename}: {error.strerror}", remedy)


# -- files ------------------------------------------------------------------------------------------------------------


def _folder(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding("data-folder", "error", f"there is no folder {folder}", "make a node with tidegate init")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("data-folder", "error", f"{folder} cannot be written", _AS_THE_NODE)
    else:
        yield Finding("data-folder", "ok", f"{folder} is there and can be written")


def _keys(settings: Settings) -> Iterator[Finding]:
    """Private keys are for their owner alone; the device CA and the seal key open everything."""
    found = [
        *settings.data_dir.glob("keys/**/*"),
        *settings.data_dir.glob("pki/**/*"),
        settings.effective_seal_key_file,
    ]
    open_to_others, unreadable, count = [], [], 0
    for path in dict.fromkeys(found):
        try:
            found_as = path.stat()
            if not stat.S_ISREG(found_as.st_mode) or found_as.st_size > _KEY_MAX_BYTES:
                continue
            private = path.suffix == ".key" or b"PRIVATE KEY" in path.read_bytes()
        except FileNotFoundError:
            continue  # the seal key, told where secrets are opened
        except OSError:
            unreadable.append(path)
            continue
        count += private
        if private and stat.S_IMODE(found_as.st_mode) & 0o077:
            open_to_others.append(path)
    for path in open_to_others:
        yield Finding("key-files", "error", f"{path} can be read by others than its owner", f"chmod 600 {path}")
    for path in unreadable:
        yield Finding("key-files", "error", f"{path} cannot be read", _AS_THE_NODE)
    if not open_to_others and not unreadable:
        yield Finding("key-files", "ok", f"{count} private keys, each for its owner alone")


def _space(node: Node) -> Iterator[Finding]:
    found = disk.look(node)
    said = found.warning or f"the disk of {found.folder} is {found.percent:.0f} % full"
    level: Level = {"ok": "ok", "high": "warning", "full": "error"}[found.state]  # type: ignore[assignment]
    yield Finding("disk", level, said, "" if level == "ok" else "free space, or move the blobs to a larger disk")


# -- database, blobs, trust -------------------------------------------------------------------------------------------


def _database(node: Node) -> Iterator[Finding]:
    file = node.settings.data_dir / "tidegate.db"
    if not node.settings.database_url and not file.is_file():
        yield Finding("database", "error", f"there is no {file}", "restore a backup, or make a node with tidegate init")
        return
    remedy = "see that the database runs and that database_url and its password are right"
    found = list(_attempt("database", remedy, lambda: _schema(node)))
    yield from found
    if any(one.level == "error" for one in found):
        return
    yield from _attempt("clock", remedy, lambda: _clock(node))
    for check, look in (("trust", _trust), ("certificates", _serving)):
        yield from _attempt(check, "restore the folder keys or pki from a backup", lambda look=look: look(node))  # type: ignore[misc]


def _schema(node: Node) -> Iterator[Finding]:
    at, newest = migrations.current(node.db), migrations.newest()
    if at is None:
        yield Finding("database", "error", "the database holds no node", "make one with tidegate init")
    elif not migrations.is_known(at):
        yield Finding(
            "database", "error", f"a newer program wrote the database: its schema is at {at}, this one knows {newest}",
            "install the program that wrote it, or restore the backup from before the upgrade",
        )  # fmt: skip
    elif at != newest:
        yield Finding(
            "database", "warning", f"the schema is at {at}, this program works with {newest}",
            "start the node: tidegate serve brings it up to date",
        )  # fmt: skip
    else:
        yield Finding("database", "ok", f"reachable, its schema is current ({at})")


def _clock(node: Node) -> Iterator[Finding]:
    before = node.clock.now()
    with node.db.read() as tx:
        theirs = engine.now(tx)
    ours = node.clock.now()
    # Renewed by the node itself, so a clock that went back lies before it.
    issued = x509.load_pem_x509_certificate(node.keyring.server_certificate_pem()).not_valid_before_utc
    remedy = "set the clock and keep it right with chrony or systemd-timesyncd"
    if theirs < before - CLOCK_TOLERANCE or theirs > ours + CLOCK_TOLERANCE:
        apart = round(abs((theirs - ours).total_seconds()))
        yield Finding("clock", "error", f"the database's clock and this machine's are {apart} s apart", remedy)
    elif issued > ours + CLOCK_TOLERANCE:
        yield Finding(
            "clock", "error", f"the clock says {ours:%Y-%m-%d %H:%M}, before what this node has issued", remedy
        )
    else:
        yield Finding("clock", "ok", f"{ours:%Y-%m-%d %H:%M:%S} UTC, not before anything that this node has issued")


def _trust(node: Node) -> Iterator[Finding]:
    with node.db.read() as tx:
        every = fleets.every(tx)
    for fleet in every:
        scope = Scope(_DOCTOR, fleet.id, fleet.name, PERMISSIONS, PERMISSIONS)
        found = trust.status(scope, node)
        soonest = min(found.roles, key=lambda role: role.expires_at)
        told = [one for one in found.warnings if not one.kind.startswith("certificate")]
        for one in told:
            level: Level = "error" if one.kind in _SERIOUS else "warning"
            remedy = _KEPT_HERE.get(one.kind, _SIGN_AGAIN)
            yield Finding("metadata", level, f"fleet {fleet.name}: {one.text}", remedy)
        if not told:
            first = f"{soonest.role} expires first, on {soonest.expires_at:%Y-%m-%d}"
            yield Finding("metadata", "ok", f"fleet {fleet.name}: root version {found.root_version}; {first}")


def _serving(node: Node) -> Iterator[Finding]:
    now = node.clock.now()
    for name, pem in (
        ("server certificate", node.keyring.server_certificate_pem()),
        ("server CA", node.keyring.server_ca_pem()),
        ("device CA", node.keyring.device_ca_pem()),
    ):
        ends = x509.load_pem_x509_certificate(pem).not_valid_after_utc
        said = f"the {name} is valid until {ends:%Y-%m-%d}"
        remedy = "start the node again: it renews its certificate by itself, as long as its CA is valid"
        if ends <= now:
            yield Finding("certificates", "error", f"the {name} expired on {ends:%Y-%m-%d}", remedy)
        elif ends - now < SOON:
            yield Finding("certificates", "warning", said, remedy)
        else:
            yield Finding("certificates", "ok", said)


def _blobs(node: Node) -> Iterator[Finding]:
    made = node.blobs.put(secrets.token_bytes(32))
    try:
        node.blobs.read(made)
    finally:
        node.blobs.delete(made)
    yield Finding("blobs", "ok", "a file was written, read and removed")
