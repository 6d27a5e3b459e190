"""A private PostgreSQL cluster for tests: started on first use, shared by parallel workers, gone at the end.

It listens on a Unix socket in a temporary folder only, runs as an unprivileged user when the tests run as root, and
trades every durability for speed.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

TEMPLATE = "tidegate_template"
_PREFIX, _OWNER = "tidegate-pg-", "owner"
_SETTINGS = {
    "listen_addresses": "''",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


_NOT_DURABLE = {"fsync", "synchronous_commit", "full_page_writes"}


class CannotStart(Exception):
    """PostgreSQL is not installed or did not start; says what to do."""


def new_folder(within: Path | None = None) -> Path:
    """A folder for `Cluster`; short, because a socket's path may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=within))
    (folder / _OWNER).write_text(str(os.getpid()))
    user = _server_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def sweep() -> None:
    """Stop and remove the clusters of runs that were killed before they could do it themselves."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            owner = int((folder / _OWNER).read_text())
        except (OSError, ValueError):  # somebody else's, or being made just now
            continue
        if not Path(f"/proc/{owner}").exists():
            Cluster(folder).stop()


class Cluster:
    """The cluster in `folder`, started by whichever process needs it first."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        """`durable`: what is committed outlives a crash of the server, for tests in which it crashes."""
        self._settings = {name: value for name, value in _SETTINGS.items() if not durable or name not in _NOT_DURABLE}
        self._folder = folder
        self._data = folder / "data"

    def url(self, name: str) -> str:
        user = _server_user()
        owner = user.pw_name if user is not None else pwd.getpwuid(os.getuid()).pw_name
        return f"postgresql://{owner}@/{name}?host={self._folder}"

    def start(self, prepare_template: Any) -> None:
        """Start the server and let `prepare_template(url)` fill the template, unless another process did."""
        with self._locked():
            if (self._folder / "ready").exists():
                return
            _run(_binaries() / "initdb", "-D", self._data, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            self.begin()
            self._execute(f'CREATE DATABASE "{TEMPLATE}"')
            prepare_template(self.url(TEMPLATE))
            (self._folder / "ready").touch()

    def begin(self) -> None:
        """Start the server again after `end`, or after it ended by itself."""
        options = " ".join(f"-c {name}={value}" for name, value in self._settings.items())
        _run(_binaries() / "pg_ctl", "-D", self._data, "-l", self._folder / "log", "-w", "-t", "60",
             "-o", f"-k {self._folder} {options}", "start")  # fmt: skip

    def end(self) -> None:
        """End the server if it runs, without a checkpoint, as a crash would."""
        if self.runs():
            _run(_binaries() / "pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def runs(self) -> bool:
        return (self._data / "postmaster.pid").exists()

    def fresh(self, name: str) -> AbstractContextManager[str]:
        """The URL of a new database made from the template; dropped at the end."""
        return self._database(name, TEMPLATE)

    def empty(self, name: str) -> AbstractContextManager[str]:
        """The URL of a new database with nothing in it; dropped at the end."""
        return self._database(name, "template1")

    @contextmanager
    def _database(self, name: str, template: str) -> Iterator[str]:
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield self.url(name)
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def stop(self) -> None:
        """Stop the server if anybody started it, and remove the folder."""
        self.end()
        shutil.rmtree(self._folder)

    def _execute(self, statement: str) -> None:
        url = sa.make_url(self.url("postgres")).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _binaries() -> Path:
    found = _find_binaries()
    if found is None:
        script = Path(__file__).parents[3] / "deploy" / "test-system.sh"
        if script.exists():
            subprocess.run([script], check=False)
        found = _find_binaries()
    if found is None:
        raise CannotStart("cannot find PostgreSQL's initdb and pg_ctl: run deploy/test-system.sh, or put them on PATH")
    return found


def _find_binaries() -> Path | None:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    on_path = shutil.which("pg_ctl")
    candidates = [*versions, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((path for path in candidates if (path / "initdb").exists() and (path / "pg_ctl").exists()), None)


def _server_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root; tests that do give the server to an unprivileged user."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise CannotStart("cannot start PostgreSQL as root, and there is no user postgres or nobody")


def _run(*argv: str | Path) -> None:
    user = _server_user()
    as_user: dict[str, Any] = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    done = subprocess.run(
        [str(part) for part in argv], cwd="/", env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **as_user,
    )  # fmt: skip
    if done.returncode != 0:
        raise CannotStart(f"cannot run {argv[0]}: {done.stdout.strip()}")
