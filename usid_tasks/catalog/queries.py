"""What the tables hold, as JSON objects for people and programs."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, func, literal, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from usid_tasks.catalog.conditions import conditions, main_conditions
from usid_tasks.catalog.tables import (
    Attribute,
    Coordinate,
    FindingRow,
    MainDataset,
    Output,
    Run,
    Source,
)
from usid_tasks.catalog.terms import FIELDS, Term
from usid_tasks.errors import RefusedError
from usid_tasks.model import JSON
from usid_tasks.places import RECEIPT_SUFFIX, STORE_SUFFIX

Record = dict[str, JSON]

_PAGE = 500
"""Sources that are read at once, with all that belongs to them."""

_SHORTEST_DIGEST = 16

_HIDDEN = ("id", "identity", "words", "looks", "folded", "source_id", "number", "main_number")
_SHOWN = [column for column in Source.__table__.columns if column.name not in ("words", "looks")]


def search(connection: Connection, terms: Sequence[Term], *, limit: int | None) -> Iterator[Record]:
    """Yield the sources for which all terms hold, newest first, with the Main datasets that fit.

    Raises
    ------
    RefusedError
        If a term names an attribute that no source has.
    """
    _refuse_unknown(connection, terms)
    chosen = (
        select(Source.id)
        .where(*conditions(terms))
        .order_by(Source.finished.desc().nulls_last(), Source.dest, Source.key)
        .limit(limit)
    )
    ids = list(connection.scalars(chosen))
    yield from _in_pages(connection, ids, main_conditions(terms))


def every(connection: Connection) -> Iterator[Record]:
    """Yield every source with all that belongs to it, by destination and key."""
    ids = list(connection.scalars(select(Source.id).order_by(Source.dest, Source.key)))
    yield from _in_pages(connection, ids)


def named(connection: Connection, name: str) -> Iterator[Record]:
    """Yield the sources of a name: a digest, a path or a former one, of a source or a store.

    The end of a path does where it begins after a ``/``; so do 16 characters of a digest and more.
    """
    plain = name.strip("/")
    chosen = select(Source.dest, Source.key, Source.id, Source.former_paths)
    has_words = Source.words.contains(plain.casefold(), autoescape=True)
    former = [row for row in connection.execute(chosen.where(has_words)) if plain in row[3]]
    direct = connection.execute(chosen.where(or_(*_named(name, plain))))
    ids = {(row[0], row[1]): row[2] for row in (*former, *direct)}
    yield from _in_pages(connection, [ids[place] for place in sorted(ids)])


def _named(name: str, plain: str) -> Iterator[ColumnElement[bool]]:
    """Yield what may hold of a source that is called so."""
    for end in {plain.removesuffix(suffix) for suffix in ("", RECEIPT_SUFFIX, STORE_SUFFIX)}:
        yield Source.key == end
        yield (Source.dest + "/" + Source.key).endswith(f"/{end}", autoescape=True)
    if name.startswith("/"):  # a source's path ends in its key
        ends_at = literal(len(name) + 1) - func.length(Source.key) - 1
        yield func.substr(name, ends_at, func.length(Source.key) + 1) == "/" + Source.key
    hexadecimal = name.rpartition(":")[2]
    if len(hexadecimal) >= _SHORTEST_DIGEST:
        yield Source.digest == name
        yield Source.digest.contains(f":{hexadecimal}", autoescape=True)
    stores = select(Output.source_id).where(Output.path == name.rstrip("/"))
    yield Source.id.in_(stores)


def counts(connection: Connection) -> Mapping[str, int]:
    """Return how many sources are in each state."""
    found = connection.execute(
        select(Source.state, func.count()).group_by(Source.state).order_by(Source.state)
    )
    return {state: n for state, n in found}  # noqa: C416 - rows are no pairs


def dests(connection: Connection) -> list[str]:
    """Return every destination that the catalogue knows."""
    of_sources = connection.scalars(select(Source.dest).distinct())
    of_runs = connection.scalars(select(Run.dest).distinct())
    return sorted({*of_sources, *of_runs})


def keys_of(connection: Connection, dest: str) -> list[str]:
    """Return the keys of all sources of a destination."""
    return list(connection.scalars(select(Source.key).where(Source.dest == dest)))


def runs(connection: Connection) -> list[Record]:
    """Return every run, newest first; one that left no record is told by its receipts alone.

    Of such a run ``ended`` is null, and ``counts`` are those of the sources that it was the last
    to work on.
    """
    found = {
        (row["dest"], row["run"]): {**_plain(row), "is_recorded": True}
        for row in connection.execute(select(Run.__table__)).mappings()
    }
    seen = connection.execute(
        select(Source.dest, Source.run, Source.state, func.count(), func.min(Source.started))
        .where(Source.run.is_not(None))
        .group_by(Source.dest, Source.run, Source.state)
        .order_by(Source.dest, Source.run, Source.state)
    )
    for dest, run, state, n, started in seen:
        told = found.setdefault(
            (dest, run),
            {
                "dest": dest,
                "run": run,
                "started": started,
                "ended": None,
                "flow_run": None,
                "counts": {},
                "is_recorded": False,
            },
        )
        if not told["is_recorded"]:
            told["counts"][state] = n
            told["started"] = min(told["started"], started)
    return sorted(found.values(), key=lambda one: (one["started"], one["run"]), reverse=True)


def _in_pages(
    connection: Connection, ids: Sequence[int], fitting: Sequence[ColumnElement[bool]] = ()
) -> Iterator[Record]:
    for at in range(0, len(ids), _PAGE):
        yield from _full(connection, ids[at : at + _PAGE], fitting)


def _full(connection: Connection, ids: Sequence[int], fitting: Sequence[Any]) -> Iterator[Record]:
    """Yield sources in the order of their ids given, with all that belongs to them."""
    rows = connection.execute(select(*_SHOWN).where(Source.id.in_(ids))).mappings()
    sources = {row["id"]: row for row in rows}
    coordinates: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for row in _children(connection, Coordinate, ids, Coordinate.main_number, Coordinate.number):
        coordinates[row["source_id"], row["main_number"]].append(_plain(row))
    mains = _grouped(
        _children(connection, MainDataset, ids, MainDataset.number, where=fitting),
        lambda row: {
            **_plain(row),
            "coordinates": coordinates[row["source_id"], row["number"]],
        },
    )
    attributes, findings, outputs = (
        _grouped(_children(connection, table, ids, table.number), _plain)
        for table in (Attribute, FindingRow, Output)
    )
    for one in ids:
        if one in sources:
            yield {
                **_plain(sources[one]),
                "mains": mains[one],
                "attributes": attributes[one],
                "findings": findings[one],
                "outputs": outputs[one],
            }


def _children(
    connection: Connection,
    table: type[MainDataset | Coordinate | Attribute | FindingRow | Output],
    ids: Sequence[int],
    *order: InstrumentedAttribute[int],
    where: Sequence[Any] = (),
) -> Iterator[RowMapping]:
    statement = select(table.__table__).where(and_(table.source_id.in_(ids), *where))
    yield from connection.execute(statement.order_by(*order)).mappings()


def _grouped(
    rows: Iterator[RowMapping], told: Callable[[RowMapping], Record]
) -> Mapping[int, list[Record]]:
    found: dict[int, list[Record]] = defaultdict(list)
    for row in rows:
        found[row["source_id"]].append(told(row))
    return found


def _plain(row: RowMapping) -> Record:
    return {name: value for name, value in row.items() if name not in _HIDDEN}


def _refuse_unknown(connection: Connection, terms: Sequence[Term]) -> None:
    for name in {term.field for term in terms if term.is_attribute}:
        there = select(Attribute.folded).where(Attribute.folded == name.casefold()).limit(1)
        if connection.scalar(there) is None:
            known = [*FIELDS, *connection.scalars(select(Attribute.folded).distinct())]
            close = difflib.get_close_matches(name.casefold(), known, 3, 0.6)
            told = f"Did you mean {', '.join(close)}? " if close else ""
            raise RefusedError(
                name,
                "is no field of the search, and no source has an attribute of this name",
                f"{told}Fields are {', '.join(FIELDS)}.",
            )
