"""The version of the tables: brought up at open, under a lock; newer ones are refused."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from usid_tasks.catalog.databases import Database, writing
from usid_tasks.catalog.tables import VERSION_TABLE
from usid_tasks.errors import RefusedError

VERSIONS = ("0001", "0002")
"""Versions of the tables that this program knows, oldest first."""

_LOCK = 0x75736964  # any number that is ours; a lock of PostgreSQL for the whole database


def bring_up(database: Database) -> None:
    """Make the tables, or bring them up to this program's version; nothing where they are.

    Raises
    ------
    RefusedError
        If a newer usid-flows made them, or the database holds other tables of these names.
    """
    engine = database.engine
    with engine.connect() as connection:
        version = _version(connection)
    if version == VERSIONS[-1]:
        return
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        version = _version(connection)  # another process may have been first
        if version == VERSIONS[-1]:
            return
        _refuse(database, connection, version)
        upgrade(connection, VERSIONS[-1])


def upgrade(connection: Connection, version: str) -> None:
    """Bring the tables up to a version, within the transaction of the connection."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _escaped(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    told = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608
    return told.scalar()


def _refuse(database: Database, connection: Connection, version: str | None) -> None:
    if version is None and inspect(connection).has_table("sources"):
        raise RefusedError(
            database.where,
            "holds a table 'sources' that is not the catalogue's",
            "Give the catalogue a database of its own: set catalog.url.",
        )
    if version is not None and version not in VERSIONS:
        raise RefusedError(
            database.where,
            f"the catalogue has version {version}, expected at most {VERSIONS[-1]}",
            "A newer usid-flows made it: install that version here too, or set catalog.url to "
            "another database and run `usid catalog rebuild DEST`.",
        )


def _escaped(folder: Path) -> str:
    return str(folder).replace("%", "%%")  # a sign of the configuration's format
