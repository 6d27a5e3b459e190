"""The migrated schema is the declared one, on both databases."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tidegate.control.store import migrations
from tidegate.control.store.engine import Database
from tidegate.control.store.schema import metadata


def _described(connection: sa.Connection) -> dict[str, Any]:
    """Everything about every table that the database itself reports."""
    look = sa.inspect(connection)
    return {
        table: {
            "columns": [
                (c["name"], str(c["type"]), c["nullable"], str(c["default"]), c.get("autoincrement"))
                for c in look.get_columns(table)
            ],
            "primary key": look.get_pk_constraint(table),
            "foreign keys": sorted(look.get_foreign_keys(table), key=str),
            "unique": sorted(look.get_unique_constraints(table), key=str),
            "checks": sorted(look.get_check_constraints(table), key=str),
            "indexes": sorted((_index(i) for i in look.get_indexes(table)), key=str),
        }
        for table in sorted(look.get_table_names())
        if table != "alembic_version"
    }


def _index(index: Any) -> dict[str, Any]:
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return {**index, "dialect_options": options}


def test_the_migrated_schema_is_the_declared_one(database: Database) -> None:
    with database.engine.connect() as connection:
        migrated = _described(connection)
        metadata.drop_all(connection)
        assert _described(connection) == {}
        metadata.create_all(connection)
        declared = _described(connection)
        connection.rollback()
    assert migrated == declared, "run `make migration`"
    assert len(migrated) == len(metadata.tables)


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    migrations.upgrade(database)
    assert migrations.current(database) == migrations.newest() == "0001"
