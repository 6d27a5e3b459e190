"""Making a node: `tidegate init` as one act that leaves everything or nothing (SPEC section 4 and 15).

Everything is made in a hidden folder inside the data folder and moved into place at the end, the settings file last:
its presence says that the node is whole. On PostgreSQL the rows are committed between the moves and the settings file.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import sqlalchemy.exc

from tidegate.clock import Clock
from tidegate.control import settings as settings_module
from tidegate.control.blobs import open_blobs
from tidegate.control.domain.access import EVERY_FLEET, Actor, Grant
from tidegate.control.domain.fleets import DEFAULT_FLEET
from tidegate.control.domain.people import check_password
from tidegate.control.services import audit, sealing, secrets, trust
from tidegate.control.services.hub import Hub
from tidegate.control.services.keyring import Keyring
from tidegate.control.services.node import Node
from tidegate.control.settings import SETTINGS_FILE, Settings, split_bind
from tidegate.control.store import engine, fleets, migrations, people
from tidegate.control.store.engine import Database
from tidegate.errors import Conflict, Unavailable
from tidegate.ids import DEVICE_NAME, checked
from tidegate.trust.tuf.durable import fsync_folder, make_folder, write_file

_BUILD = ".init"
_SETUP = Actor("system", "init")


@dataclass(frozen=True, slots=True)
class Initialised:
    """The password is shown this once."""

    settings_file: Path
    admin: str
    password: str
    server_ca: Path


def initialise(
    data_dir: Path, values: dict[str, str | int], clock: Clock, *, admin: str = "admin", password: str | None = None
) -> Initialised:
    """Make a node in `data_dir`: schema, fleet `default` with its trust domain, certificates, the first admin.

    Args:
        values: what the settings file says, without `data_dir`.
        password: of the admin; one is generated when it is None.

    Raises:
        Conflict: there is a node already, the folder holds something else, or the database is in use.
        Invalid: a setting, the admin's name or password.
        Unavailable: disk or database.
    """
    checked(DEVICE_NAME, admin, "/admin")
    chosen = password if password is not None else secrets.new_password()
    check_password(admin, chosen)
    text = settings_module.render(values)
    final = settings_module.parse(text, folder=data_dir)
    try:
        with _building(data_dir) as build:
            _build(final, build, clock, admin=admin, password=chosen)
        write_file(data_dir / SETTINGS_FILE, text.encode(), 0o600)
    except (OSError, shutil.Error) as error:
        raise Unavailable(f"cannot make the data folder {data_dir}: {error}") from error
    return Initialised(data_dir / SETTINGS_FILE, admin, chosen, data_dir / "pki" / "server-ca.pem")


def serving_names(settings: Settings) -> list[str]:
    """The hosts that the serving certificate must name: those of the addresses, and loopback."""
    binds = (settings.console_bind, settings.enroll_bind, settings.device_bind)
    hosts = [split_bind(bind)[0] for bind in binds if bind]
    hosts += [urlsplit(url).hostname or "" for url in (settings.console_url, settings.enroll_url, settings.channel_url)]
    named = [host for host in hosts if host and host not in ("0.0.0.0", "::")]  # noqa: S104 - a comparison
    return list(dict.fromkeys([*named, "localhost", "127.0.0.1", "::1"]))


def open_database(settings: Settings) -> Database:
    return Database(settings.effective_database_url, pool_size=settings.database_connections)


def _build(final: Settings, build: Path, clock: Clock, *, admin: str, password: str) -> None:
    """Everything below `build`, then moved next to it; the rows are committed in between."""
    settings = msgspec.structs.replace(final, data_dir=build)
    node = Node(
        db=open_database(settings),
        blobs=open_blobs(settings),
        keyring=Keyring(build),
        hub=Hub(),
        settings=settings,
        clock=clock,
    )
    try:
        migrations.upgrade(node.db)
        node.keyring.create_pki(serving_names(final), clock.now())
        node.keyring.create_audit_key()
        if final.seal_key_file is None:
            sealing.create_key(settings.effective_seal_key_file)
        elif not final.seal_key_file.exists():
            sealing.create_key(final.seal_key_file)
        password_hash = secrets.hash_password(password)
        with node.db.write() as tx:
            if fleets.every(tx):
                raise Conflict("cannot initialise: the database holds a node already")
            at = engine.now(tx)
            fleet = fleets.insert(tx, DEFAULT_FLEET, at=at, interval_seconds=settings.interval_seconds)
            trust.initialise(tx, node, fleet, at)
            operator = people.insert_operator(tx, admin, password_hash, at)
            people.replace_grants(tx, operator, [Grant("admin", EVERY_FLEET)])
            data = {"admin": f"user:{admin}", "fleet": fleet.name, "trust_domain": settings.trust_domain}
            audit.record_node(tx, _SETUP, action="node.init", subject="node", data=data)
            if not node.db.is_sqlite:
                _move_up(build)
        if node.db.is_sqlite:
            node.db.dispose()  # the last connection folds the write-ahead log into the file
            _move_up(build)
    except sqlalchemy.exc.OperationalError as error:
        raise Unavailable(f"cannot use the database: {error.__cause__ or error}") from error
    finally:
        node.db.dispose()


@contextlib.contextmanager
def _building(data_dir: Path) -> Iterator[Path]:
    """A folder to build in; on any error it is removed, and what was moved out of it as well."""
    existed = data_dir.is_dir()
    if (data_dir / SETTINGS_FILE).exists():
        raise Conflict(f"cannot initialise {data_dir}: there is a node already")
    if existed and any(entry.name != _BUILD for entry in data_dir.iterdir()):
        raise Conflict(f"cannot initialise {data_dir}: the folder is not empty")
    make_folder(data_dir)
    build = data_dir / _BUILD
    if build.exists():  # cut off by a crash: nothing of it was ever in use
        shutil.rmtree(build)
    make_folder(build)
    try:
        yield build
    except BaseException:
        _remove_all(data_dir)
        if not existed:
            data_dir.rmdir()
        raise
    build.rmdir()
    fsync_folder(data_dir)


def _move_up(build: Path) -> None:
    for entry in sorted(build.iterdir()):
        entry.rename(build.parent / entry.name)
    fsync_folder(build.parent)


def _remove_all(folder: Path) -> None:
    entries: Sequence[Path] = list(folder.iterdir())
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
