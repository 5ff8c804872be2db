"""The results group as HDF5 objects: Main datasets, their tables, and attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from usid_tasks.grid import in_order
from usid_tasks.mains import Main, Side
from usid_tasks.process.layout import COMPLETED, Layout, SideTables
from usid_tasks.usid import open_object
from usid_tasks.writing.cells import RawTable
from usid_tasks.writing.opening import open_to_write
from usid_tasks.writing.structure import put_attributes
from usid_tasks.writing.tables import INDICES_DTYPE
from usid_tasks.writing.trial import allocated

GROUP = "results"
"""Name of the results group in a partial file: it has its own only when it is published."""

_ROWS_AT_ONCE = 2**18
_KINDS = ("Indices", "Values")


def write_partial(file: Path, layout: Layout, source: Main | None) -> None:
    """Make a file with a results group that holds everything but values and references.

    Parameters
    ----------
    source
        Whose tables are copied where a dimension is unchanged; None where they are linked.

    Raises
    ------
    UsidError
        If it cannot be written.
    """
    with open_to_write(file, is_new=True) as opened:
        group = opened.create_group(GROUP)
        for tables in layout.tables:
            if tables.new is not None:
                _write_new(group, tables)
            elif source is not None:
                _copy_tables(group, tables, source)
        for main in layout.mains:
            made = group.create_dataset(main.name, main.shape, main.output.dtype, dcpl=allocated())
            put_attributes(made, {"quantity": main.output.quantity, "units": main.output.units})
        done = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        done.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        group.create_dataset(COMPLETED, (layout.n_positions,), np.uint8, dcpl=done)


def raw_tables(file: Path, layout: Layout) -> dict[str, RawTable]:
    """Return where the values of each result lie in a partial file, by its name."""
    with h5py.File(file, "r", locking=False) as opened:
        return {
            main.name: RawTable(
                str(file),
                opened[GROUP][main.name].id.get_offset() or 0,
                main.output.dtype,
                in_order((main.shape[0],)),
                main.columns,
            )
            for main in layout.mains
        }


def completed_offset(file: Path) -> int:
    """Return where the bytes of ``completed_positions`` lie in a partial file."""
    with h5py.File(file, "r", locking=False) as opened:
        return int(opened[GROUP][COMPLETED].id.get_offset() or 0)


def link_tables(group: h5py.Group, layout: Layout, source: Main | None) -> None:
    """Make each Main dataset refer to its tables: those in the group, or those of the source.

    Parameters
    ----------
    source
        The Main dataset in the same file whose tables are linked; None where they were copied.
    """
    for main in layout.mains:
        made = group[main.name]
        for tables in main.tables:
            for kind, place in zip(_KINDS, _places(group, tables, source), strict=True):
                name = f"{tables.side.capitalize()}_{kind}"
                reference = open_object(group.file, place).ref
                made.attrs.create(name, reference, dtype=h5py.ref_dtype)


def _places(group: h5py.Group, tables: SideTables, source: Main | None) -> tuple[str, str]:
    if tables.new is None and source is not None:
        side = _side(source, tables)
        return side.indices_path, side.values_path
    above = str(group.name)
    return f"{above}/{tables.prefix}Indices", f"{above}/{tables.prefix}Values"


def _side(source: Main, tables: SideTables) -> Side:
    return source.position if tables.side == "position" else source.spectroscopic


def _write_new(group: h5py.Group, tables: SideTables) -> None:
    new = tables.new
    assert new is not None
    shape = (new.n_points, len(new.columns))
    is_position = tables.side == "position"
    dtypes = (INDICES_DTYPE, new.dtype)
    made = [
        group.create_dataset(tables.prefix + kind, shape if is_position else shape[::-1], dtype)
        for kind, dtype in zip(_KINDS, dtypes, strict=True)
    ]
    for points, *cells in new.pieces():
        for table, some in zip(made, cells, strict=True):
            table[points if is_position else (slice(None), points)] = (
                some if is_position else np.ascontiguousarray(some.T)
            )
    for table in made:
        _label(table, [one.label for one in new.stored], [one.units for one in new.stored])


def _copy_tables(group: h5py.Group, tables: SideTables, source: Main) -> None:
    side = _side(source, tables)
    labels = [column.label for column in side.columns]
    units = [column.units for column in side.columns]
    with h5py.File(source.candidate.file, "r") as opened:
        for kind, place in zip(_KINDS, (side.indices_path, side.values_path), strict=True):
            table = open_object(opened, place)
            made = group.create_dataset(tables.prefix + kind, table.shape, table.dtype)
            for part in _parts(table.shape):
                made[part] = table[part]
            for name in ("type", "incomplete_dimensions", "dependent_dimensions"):
                if name in table.attrs:
                    made.attrs[name] = table.attrs[name]
            _label(made, labels, units)


def _parts(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    for row in range(0, shape[0], _ROWS_AT_ONCE):
        for column in range(0, shape[1], _ROWS_AT_ONCE):
            yield slice(row, row + _ROWS_AT_ONCE), slice(column, column + _ROWS_AT_ONCE)


def _label(table: h5py.Dataset, labels: Sequence[str], units: Sequence[str]) -> None:
    for name, texts in (("labels", labels), ("units", units)):
        raw = [text.encode("utf-8") for text in texts]
        kind = h5py.string_dtype("utf-8", max([1, *map(len, raw)]))
        table.attrs.create(name, np.array(raw, kind), dtype=kind)
