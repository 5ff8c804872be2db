"""Entries written to the tables: a source and all that belongs to it, replaced as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Insert, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from usid_tasks.catalog.entries import SourceEntry
from usid_tasks.catalog.runs import RunRecord, read_runs, run_path
from usid_tasks.catalog.tables import (
    CHILDREN,
    Attribute,
    Coordinate,
    FindingRow,
    MainDataset,
    Output,
    Run,
    Source,
)
from usid_tasks.catalog.texts import storable
from usid_tasks.model import JSON

Row = dict[str, Any]
Written = tuple[str, SourceEntry | None, str]
"""A key, what is on disk of it (None: nothing any more), and the looks of its receipt."""


def identity_of(dest: str, key: str) -> str:
    """Return what a source is known by: short, whatever the length of its path."""
    return hashlib.sha256(f"{dest}\0{key}".encode("utf-8", "backslashreplace")).hexdigest()


def dest_text(dest: Path) -> str:
    """Return a destination as the tables hold it."""
    return storable(dest)


def known_looks(connection: Connection, dest: str, keys: Sequence[str]) -> Mapping[str, str]:
    """Return what the tables hold of the looks of the receipts of `keys`, by key."""
    identities = {identity_of(dest, key): key for key in keys}
    found = connection.execute(
        select(Source.identity, Source.looks).where(Source.identity.in_(list(identities)))
    )
    return {identities[identity]: looks for identity, looks in found}


def write_entries(connection: Connection, dest: str, entries: Sequence[Written]) -> None:
    """Replace what the tables hold of sources.

    Sources are taken in the order of their identities, so that two writers never wait for each
    other in a circle.
    """
    identified = sorted((identity_of(dest, key), entry, looks) for key, entry, looks in entries)
    removed = [identity for identity, entry, _ in identified if entry is None]
    if removed:
        connection.execute(delete(Source).where(Source.identity.in_(removed)))
    rows = [
        _source_row(dest, identity, entry, looks)
        for identity, entry, looks in identified
        if entry is not None
    ]
    if not rows:
        return
    ids = _upsert(connection, rows)
    for child in CHILDREN:
        connection.execute(delete(child).where(child.source_id.in_(list(ids.values()))))
    kept = [(ids[identity], entry) for identity, entry, _ in identified if entry is not None]
    for table, told in (
        (MainDataset, _main_rows),
        (Coordinate, _coordinate_rows),
        (Attribute, _attribute_rows),
        (FindingRow, _finding_rows),
        (Output, _output_rows),
    ):
        children = [row for source_id, entry in kept for row in told(source_id, entry)]
        if children:
            connection.execute(insert(table), children)


def write_runs(connection: Connection, dest: str, folder: Path) -> None:
    """Bring the runs into a destination up to the records that `folder`, its path, holds."""
    for record in read_runs(folder):
        add_run(connection, dest, record)
    for run in connection.scalars(select(Run.run).where(Run.dest == dest)).all():
        # looked for now: another process may have left it since
        if not run_path(folder, run).exists():
            connection.execute(delete(Run).where(Run.dest == dest, Run.run == run))


def add_run(connection: Connection, dest: str, record: RunRecord) -> None:
    """Write the row of one run, over a former one."""
    row = {
        "dest": dest,
        "run": storable(record.run),
        "started": storable(record.started),
        "ended": None if record.ended is None else storable(record.ended),
        "flow_run": None if record.flow_run is None else storable(record.flow_run),
        "counts": dict(record.counts),
    }
    connection.execute(_inserting(connection, Run, row, ("dest", "run")), row)


def _upsert(connection: Connection, rows: Sequence[Row]) -> Mapping[str, int]:
    """Insert or update sources, and return their ids by identity."""
    statement = _inserting(connection, Source, rows[0], ("identity",))
    connection.execute(statement, rows)
    identities = [row["identity"] for row in rows]
    found = connection.execute(
        select(Source.identity, Source.id).where(Source.identity.in_(identities))
    )
    return {identity: number for identity, number in found}  # noqa: C416 - rows are no pairs


def _inserting(
    connection: Connection, table: type[Source | Run], row: Row, unique: tuple[str, ...]
) -> Insert:
    """Return the statement that inserts rows of these columns, or updates them where they are."""
    if connection.dialect.name == "postgresql":
        added = postgresql.insert(table)
        changed = {name: added.excluded[name] for name in row if name not in unique}
        return added.on_conflict_do_update(index_elements=unique, set_=changed)
    put = sqlite.insert(table)
    changed = {name: put.excluded[name] for name in row if name not in unique}
    return put.on_conflict_do_update(index_elements=unique, set_=changed)


def _source_row(dest: str, identity: str, entry: SourceEntry, looks: str) -> Row:
    row: Row = {
        "identity": identity,
        "dest": dest,
        "key": storable(entry.key),
        "state": storable(entry.state),
        "reason": storable(entry.reason),
        "since": None if entry.since is None else storable(entry.since),
        "former_paths": [storable(path) for path in entry.former_paths],
        "words": _words(entry),
        "looks": looks,
        **_receipt_columns(entry),
    }
    return row


def _receipt_columns(entry: SourceEntry) -> Row:
    receipt = entry.receipt
    if receipt is None:
        none = ("size", "mtime_ns", "digest", "started", "finished", "run", "settings_digest")
        return {
            **dict.fromkeys(none),
            "root": "",
            "path": storable(entry.key),
            "outcome": storable(entry.state),
            "machine": "",
        }
    run = receipt.extra.get("run")
    return {
        "root": storable(receipt.source.root_name),
        "path": storable(receipt.source.path),
        "size": receipt.source.size,
        "mtime_ns": receipt.source.mtime_ns,
        "digest": receipt.source.digest,
        "outcome": receipt.outcome.value,
        "started": receipt.started,
        "finished": receipt.finished,
        "run": None if run is None else storable(run),
        "machine": storable(receipt.machine),
        "settings_digest": storable(receipt.settings_digest),
    }


def _words(entry: SourceEntry) -> str:
    """Return all that a search by words looks through, case folded, each text once."""
    texts: list[JSON] = [entry.key, entry.state, entry.reason, *entry.former_paths]
    if entry.receipt is not None:
        texts.append(entry.receipt.extra.get("source_path"))  # of `usid convert`
    for main in entry.mains:
        record = main.record
        texts += [record.path, record.quantity, record.units, record.dtype, record.reason]
        texts += [text for one in main.coordinates for text in (one.name, one.units)]
        texts += record.dims
    for attribute in entry.attributes:
        texts += [attribute.name, attribute.text]
    for finding in entry.findings:
        texts += [finding.id, finding.path, finding.found]
    told = dict.fromkeys(storable(text).casefold() for text in texts if text)
    return "\n".join(told)


def _main_rows(source_id: int, entry: SourceEntry) -> Iterator[Row]:
    for number, main in enumerate(entry.mains):
        record = main.record
        yield {
            "source_id": source_id,
            "number": number,
            "path": storable(record.path),
            "outcome": record.outcome.value,
            "reason": storable(record.reason),
            "quantity": storable(record.quantity),
            "units": storable(record.units),
            "dtype": storable(record.dtype),
            "shape": list(record.shape),
        }


def _coordinate_rows(source_id: int, entry: SourceEntry) -> Iterator[Row]:
    for main_number, main in enumerate(entry.mains):
        for number, one in enumerate(main.coordinates):
            yield {
                "source_id": source_id,
                "main_number": main_number,
                "number": number,
                "name": storable(one.name),
                "side": storable(one.side),
                "is_dim": one.is_dim,
                "size": one.size,
                "units": storable(one.units),
                "axis": storable(one.axis),
                "low": one.low,
                "high": one.high,
            }


def _attribute_rows(source_id: int, entry: SourceEntry) -> Iterator[Row]:
    for number, one in enumerate(entry.attributes):
        yield {
            "source_id": source_id,
            "number": number,
            "path": one.path,
            "name": one.name,
            "folded": one.name.casefold(),
            "text": one.text,
            "value": one.value,
        }


def _finding_rows(source_id: int, entry: SourceEntry) -> Iterator[Row]:
    for number, one in enumerate(entry.findings):
        yield {
            "source_id": source_id,
            "number": number,
            "rule": storable(one.id),
            "severity": one.severity.value,
            "path": storable(one.path),
            "found": storable(one.found),
            "expected": storable(one.expected),
            "remedy": storable(one.remedy),
            "section": storable(one.section),
        }


def _output_rows(source_id: int, entry: SourceEntry) -> Iterator[Row]:
    for number, one in enumerate(entry.outputs):
        yield {
            "source_id": source_id,
            "number": number,
            "path": storable(one.path),
            "kind": one.kind,
            "size": one.size,
            "codec": storable(one.codec),
            "layout_version": one.layout_version,
            "is_superseded": one.is_superseded,
            "made": one.made,
            "source_digest": one.source_digest,
            "metadata_digest": one.metadata_digest,
        }
