"""The database behind the catalogue: SQLite on a local disk, or PostgreSQL."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from usid_tasks import durable
from usid_tasks.catalog.mounts import network_file_system
from usid_tasks.errors import RefusedError, SettingsError, UsidError
from usid_tasks.settings import Settings

_BUSY_S = 60
"""How long a process waits for the others to finish their writing."""

_ATTEMPTS = 8
_WRITES = "usid_writes"

_T = TypeVar("_T")


@dataclass(frozen=True)
class Database:
    """An open database; ``where`` names it without a password."""

    engine: Engine
    where: str

    def close(self) -> None:
        """Let all connections go."""
        self.engine.dispose()


def catalog_url(settings: Settings) -> str:
    """Return the URL of the catalogue that the settings name."""
    if settings.catalog.url is not None:
        return settings.catalog.url
    return f"sqlite:///{state_dir(settings) / 'catalog.sqlite'}"


def state_dir(settings: Settings) -> Path:
    """Return the folder for what this machine keeps; it need not be there yet."""
    if settings.site.state_dir is not None:
        return settings.site.state_dir.expanduser().absolute()
    home = os.environ.get("XDG_STATE_HOME")
    above = Path(home) if home else Path.home() / ".local" / "state"
    return above / "usid-flows"


def open_database(url: str) -> Database:
    """Return the database at a URL, connected to once.

    Raises
    ------
    SettingsError
        If the URL is none of the two kinds, holds a password, or is no absolute path.
    RefusedError
        If SQLite's file would lie on a network file system, or psycopg is missing.
    UsidError
        If the database does not answer.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return _checked(_sqlite(parsed))
    return _checked(_postgresql(parsed))


@contextmanager
def telling(where: str) -> Iterator[None]:
    """Turn what the database says into a three-part error."""
    try:
        yield
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise UsidError(
            where,
            f"the catalogue's database failed ({said[0] if said else type(error).__name__})",
            "Check that it runs and that you may write to it; `usid catalog rebuild` makes the "
            "catalogue anew from the receipts, wherever catalog.url leads.",
        ) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give a connection whose transaction has the right to write from its beginning."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


def in_turn(engine: Engine, work: Callable[[Connection], _T]) -> _T:
    """Return what a transaction comes to; it is begun again where others were in its way."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with writing(engine) as connection:
                return work(connection)
        except DBAPIError as error:
            if attempt == _ATTEMPTS or not _is_in_the_way(error):
                raise
            time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - to part company
    raise AssertionError("unreachable")


def _is_in_the_way(error: DBAPIError) -> bool:
    """Return whether another transaction was the reason: a deadlock, or a lock held for long."""
    state = getattr(error.orig, "sqlstate", None)
    told = str(error.orig)
    return state in ("40001", "40P01") or "database is locked" in told


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    kinds = ("sqlite", "sqlite+pysqlite", "postgresql", "postgres", "postgresql+psycopg")
    if parsed is None or parsed.drivername not in kinds:
        raise SettingsError(
            "catalog.url",
            f"found {url.partition(':')[0]!r} as the kind of database, "
            "expected sqlite or postgresql",
            "Write sqlite:////absolute/path or postgresql://USER@HOST/DATABASE.",
        )
    if parsed.password or "password" in parsed.query:
        raise SettingsError(
            "catalog.url",
            "holds a password, which a configuration shows to everybody",
            "Take it out, and put it into ~/.pgpass or the variable PGPASSWORD.",
        )
    return parsed


def _sqlite(url: URL) -> Database:
    if not url.database or not Path(url.database).is_absolute():
        raise SettingsError(
            "catalog.url",
            f"names the file {url.database or ''!r}, expected an absolute path",
            "Write it with four slashes: sqlite:////var/lib/usid/catalog.sqlite.",
        )
    file = Path(url.database)
    kind = network_file_system(file.parent)
    if kind is not None:
        raise RefusedError(
            file,
            f"lies on a network file system ({kind}), where SQLite's locks cannot be trusted",
            "Let site.state_dir or catalog.url name a local disk, or use PostgreSQL. The catalogue "
            "need not be on safe storage: `usid catalog rebuild DEST` makes it anew from the "
            "receipts.",
        )
    durable.make_folders(file.parent)
    engine = create_engine(URL.create("sqlite", database=str(file)))
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return Database(engine, str(file))


def _set_up_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite alone
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_S * 1000}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = NORMAL")
    _set_wal(cursor)
    cursor.close()


def _set_wal(cursor: sqlite3.Cursor) -> None:
    """Let readers and one writer work at once; SQLite does not wait for others while it changes."""
    give_up = time.monotonic() + _BUSY_S
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    # a reader that becomes a writer half way is told "locked" at once
    is_writing = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _postgresql(url: URL) -> Database:
    where = url.render_as_string(hide_password=True)
    if find_spec("psycopg") is None:
        raise RefusedError(
            where,
            "PostgreSQL needs the package psycopg, which is not installed",
            'Run: pip install "usid-flows[postgres]"',
        )
    options: dict[str, Any] = {"connect_timeout": 10, "application_name": "usid-flows"}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args=options
    )
    return Database(engine, where)


def _checked(database: Database) -> Database:
    try:
        with telling(database.where), database.engine.connect():
            return database
    except BaseException:
        database.close()
        raise
