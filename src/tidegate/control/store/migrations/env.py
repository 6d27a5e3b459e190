"""What Alembic runs; the transaction is the caller's."""

from __future__ import annotations

from alembic import context

from tidegate.control.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=False,
    transactional_ddl=False,  # BEGIN and COMMIT are written by store/engine.py
)
context.run_migrations()
