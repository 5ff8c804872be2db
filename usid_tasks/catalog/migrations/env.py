"""Alembic's environment: the connection is given, its transaction is the caller's."""

from __future__ import annotations

from alembic import context

from usid_tasks.catalog.tables import VERSION_TABLE, Base


def run() -> None:
    """Carry out the steps on the connection in the configuration's attributes."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
    )
    context.run_migrations()


run()
