"""Writes migration 0001 from the schema: `make migration`, for as long as nothing was released.

After the first release this module goes away, and every change of the schema is a migration of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy.sql.elements import False_, True_

from tidegate.control.store import migrations
from tidegate.control.store.engine import Database
from tidegate.control.store.schema import Instant, metadata

TARGET = Path(migrations.__file__).parent / "versions" / "m0001_initial.py"

_HEAD = '''"""The first schema.

Written by `make migration` from store/schema.py while nothing is released; afterwards it never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    {body}
'''


def generate() -> str:
    """The text of the migration that makes an empty database what store/schema.py says."""
    database = Database("sqlite://")
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
        operations = produce_migrations(context, metadata).upgrade_ops
        assert operations is not None
        body = render_python_code(operations, render_item=_render_item, migration_context=context)
    lines = [line for line in body.splitlines() if "# ###" not in line]
    return _HEAD.format(body="\n".join(lines).strip())


def _render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    # A migration names plain column types: what `Instant` becomes later must not change the past.
    if kind == "type" and isinstance(item, Instant):
        return "sa.BigInteger()"
    if kind == "type" and isinstance(item, sa.BigInteger) and item._variant_mapping:
        return 'sa.BigInteger().with_variant(sa.Integer(), "sqlite")'
    # Booleans are written differently by the two databases.
    if kind == "server_default" and isinstance(item, sa.DefaultClause) and isinstance(item.arg, (True_, False_)):
        return f"sa.{item.arg}()"
    return False


def main() -> None:
    TARGET.write_text(generate(), encoding="utf-8")


if __name__ == "__main__":
    main()
