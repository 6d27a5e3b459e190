"""Schema versions, applied by Alembic from code: `upgrade(database)`, never from a configuration file."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from tidegate.control.store.engine import Database
from tidegate.errors import Conflict


def upgrade(database: Database) -> None:
    """Bring the schema to the newest version, in one transaction; two processes that try at once wait for each other.

    Raises:
        Conflict: a newer program wrote the database.
    """
    with database.write() as tx:
        if not database.is_sqlite:
            tx.execute(sa.text("SET LOCAL statement_timeout = 0"))  # a large table is altered for as long as it takes
            tx.execute(sa.text("SELECT pg_advisory_xact_lock(7237)"))
        config = _config()
        config.attributes["connection"] = tx
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise Conflict(
                "cannot use the database: a newer program wrote it; install that one, or restore the backup from before"
                f" the upgrade ({error})"
            ) from error


def current(database: Database) -> str | None:
    """The version that the schema is at; None for a database that was never migrated."""
    with database.read() as tx:
        return MigrationContext.configure(tx).get_current_revision()


def newest() -> str | None:
    """The version that this program works with."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def is_known(version: str) -> bool:
    """Whether this program has that version, so that no newer one wrote it."""
    return version in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
