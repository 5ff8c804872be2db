"""The catalogue: receipts recorded as runs go, searched, and made anew from what is on disk.

Recording a source reads its receipt and stores again, whoever asks: what the tables hold is what
the disk holds, so that recording file by file and making anew come to the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, Self, TextIO

from sqlalchemy import Connection

from usid_tasks.catalog import exports, queries, recording
from usid_tasks.catalog.databases import Database, catalog_url, in_turn, open_database, telling
from usid_tasks.catalog.entries import keys_in, looks_of, read_entry
from usid_tasks.catalog.queries import Record
from usid_tasks.catalog.runs import RunRecord, write_run
from usid_tasks.catalog.schema import bring_up
from usid_tasks.catalog.terms import Term
from usid_tasks.errors import RefusedError
from usid_tasks.progress import NullProgress, Progress
from usid_tasks.settings import Settings

BATCH = 200
"""Sources that are written in one transaction."""


class Catalog:
    """An open catalogue; safe with others of any number of processes.

    Parameters
    ----------
    database
        Open, with its tables at this program's version.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return the catalogue that the settings name, made or brought up where need be.

        Raises
        ------
        SettingsError, RefusedError
            If the setting is wrong, the file lies on a network file system, or a newer
            usid-flows made the tables.
        UsidError
            If the database does not answer.
        """
        return cls.at(catalog_url(settings))

    @classmethod
    def at(cls, url: str) -> Self:
        """Return the catalogue at a URL; errors are those of :meth:`open`."""
        database = open_database(url)
        try:
            with telling(database.where):
                bring_up(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Let all connections go."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The database: the path of a file, or a URL without a password."""
        return self.database.where

    def record(
        self,
        dest: Path,
        keys: Iterable[str],
        *,
        is_forced: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Bring the rows of sources up to what DEST holds of them, and return how many changed.

        Parameters
        ----------
        dest
            Root of the stores and receipts.
        keys
            Of the sources, such as those whose receipts a run has published; one without a
            receipt is removed from the tables.
        is_forced
            Whether to read again where the receipt's file looks as it did.
        progress
            Told of every file.

        Raises
        ------
        UsidError
            If the database or DEST fails.
        """
        dest = _absolute(dest)
        progress = progress or NullProgress()
        n_changed = 0
        for batch in _batches(dict.fromkeys(keys), BATCH):
            n_changed += self._record(dest, batch, is_forced=is_forced)
            progress.advance(files=len(batch))
        return n_changed

    def _record(self, dest: Path, keys: Sequence[str], *, is_forced: bool) -> int:
        """Record a batch, and again what others published while it was on its way."""
        text = recording.dest_text(dest)
        n_changed = 0
        while keys:
            known: Mapping[str, str] = {}
            if not is_forced:
                with self._reading() as connection:
                    known = recording.known_looks(connection, text, keys)
            looks = {key: looks_of(dest, key) for key in keys}
            changed = [key for key in keys if is_forced or known.get(key, "") != looks[key]]
            entries = [(key, read_entry(dest, key), looks[key]) for key in changed]
            if entries:
                with telling(self.where):
                    in_turn(self.database.engine, partial(_write, text, entries))
            n_changed += len(changed)
            # whoever read first may have written last
            keys = [key for key in changed if looks_of(dest, key) != looks[key]]
            is_forced = False
        return n_changed

    def record_run(self, dest: Path, run: RunRecord) -> None:
        """Leave the record of a run in DEST, and enter it.

        Raises
        ------
        UsidError
            If DEST cannot be written, or the database fails.
        """
        dest = _absolute(dest)
        write_run(dest, run)
        text = recording.dest_text(dest)
        with telling(self.where):
            in_turn(
                self.database.engine,
                lambda connection: recording.add_run(connection, text, run),
            )

    def rebuild(self, dests: Iterable[Path] = (), *, progress: Progress | None = None) -> int:
        """Make the rows of destinations anew from disk, and return how many sources there are.

        Others may go on recording meanwhile.

        Parameters
        ----------
        dests
            Roots of stores and receipts; all that the catalogue knows if there are none.
        progress
            Told of every file.

        Raises
        ------
        RefusedError
            If a destination is no folder, which may mean that its storage is not mounted.
        UsidError
            If the database or a destination fails.
        """
        progress = progress or NullProgress()
        roots = [_absolute(dest) for dest in dests] or [Path(one) for one in self.dests()]
        for dest in roots:
            if not dest.is_dir():
                raise RefusedError(
                    dest, "is no folder", "Mount its storage, or name the DEST that is meant."
                )
        n_sources = 0
        for dest in roots:
            text = recording.dest_text(dest)
            found = list(keys_in(dest))
            with self._reading() as connection:
                known = queries.keys_of(connection, text)
            progress.begin(f"reading {dest}", files=len({*found, *known}))
            self.record(dest, [*found, *known], is_forced=True, progress=progress)
            with telling(self.where):
                in_turn(self.database.engine, partial(_write_runs, text, dest))
            n_sources += len(found)
        return n_sources

    def dests(self) -> list[str]:
        """Return every destination that the catalogue knows."""
        with self._reading() as connection:
            return queries.dests(connection)

    def counts(self) -> Mapping[str, int]:
        """Return how many sources are in each state."""
        with self._reading() as connection:
            return queries.counts(connection)

    def search(self, terms: Sequence[Term] = (), *, limit: int | None = None) -> list[Record]:
        """Return the sources for which all terms hold, newest first.

        Raises
        ------
        RefusedError
            If a term names an attribute that no source has.
        """
        with self._reading() as connection:
            return list(queries.search(connection, terms, limit=limit))

    def show(self, name: str) -> list[Record]:
        """Return the sources of a name: a path or its end, a former path, a store, a digest."""
        with self._reading() as connection:
            return list(queries.named(connection, name))

    def runs(self) -> list[Record]:
        """Return every run, newest first."""
        with self._reading() as connection:
            return queries.runs(connection)

    def export(self, stream: TextIO, *, format: Literal["json", "csv"] = "json") -> None:  # noqa: A002
        """Write the whole catalogue as one JSON object, or as a table of Main datasets."""
        with self._reading() as connection:
            if format == "csv":
                exports.write_csv(stream, queries.every(connection))
            else:
                exports.write_json(stream, queries.every(connection), queries.runs(connection))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Give a connection that sees one moment of the catalogue."""
        engine = self.database.engine
        options = {}
        if engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        with telling(self.where), engine.connect().execution_options(**options) as connection:
            yield connection


def _write(dest: str, entries: Sequence[recording.Written], connection: Connection) -> None:
    recording.write_entries(connection, dest, entries)


def _write_runs(text: str, dest: Path, connection: Connection) -> None:
    recording.write_runs(connection, text, dest)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - keeps links as given


def _batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(keys)
    while batch := list(islice(rest, size)):
        yield batch
