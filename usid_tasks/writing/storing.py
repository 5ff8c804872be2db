"""The values of a Main dataset written: by their place in the file, or by HDF5 where it encodes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from usid_tasks.durable import writing
from usid_tasks.writing.cells import (
    Cells,
    RawTable,
    Region,
    Written,
    digest_of,
    parts_of,
    slabs,
    write_raw,
)
from usid_tasks.writing.contents import Contents
from usid_tasks.writing.opening import open_to_write
from usid_tasks.writing.structure import Made

BAND_BYTES = 16 * 2**20
"""Bytes that go to HDF5 at a time, in whole chunks."""

Rectangle = Callable[[slice, slice], NDArray]
"""Gives the cells of some rows and columns."""


def needs_scratch(contents: Contents) -> bool:
    """Return True where values are first written to a file of their own.

    HDF5 encodes a chunk well only when it has all of it. Cells that do not lie in memory in the
    order of the table are brought into it there, without taking more memory.
    """
    return not contents.is_raw and not (contents.is_in_order and contents.cells.is_table)


def write_values(file: Path, made: Made, contents: Contents, *, scratch: Path) -> list[Written]:
    """Write all values, and return what has to be read back.

    Parameters
    ----------
    file
        Holds the Main dataset; no one has it open.
    made
        Where it is.
    contents
        Holds the values.
    scratch
        A file that may be made, and is removed.

    Raises
    ------
    UsidError
        If a file cannot be written.
    """
    cells, threads = contents.cells, contents.options.threads
    rows, columns = contents.placements
    if made.offset is not None:
        table = RawTable(str(file), made.offset, cells.dtype, rows, columns)
        return write_raw(cells, table, threads=threads)
    if not needs_scratch(contents):
        in_memory = cells.as_table()
        _encode(file, made, cells, lambda rows, columns: in_memory[rows, columns])
        return _digests(cells, threads)
    try:
        with writing(scratch), scratch.open("wb") as stream:
            stream.truncate(cells.size_bytes)
        table = RawTable(str(scratch), 0, cells.dtype, rows, columns)
        written = write_raw(cells, table, threads=threads)
        _encode(file, made, cells, table.read)
    finally:
        scratch.unlink(missing_ok=True)
    return written


def _encode(file: Path, made: Made, cells: Cells, read: Rectangle) -> None:
    with open_to_write(file, is_new=False) as opened:
        main = opened[made.path]
        for rows, columns in _bands(main):
            block = read(rows, columns).astype(cells.dtype, copy=False)
            main[rows, columns] = block


def _bands(main: h5py.Dataset) -> Iterator[tuple[slice, slice]]:
    """Yield rectangles of whole chunks, as many as fit."""
    n_rows, n_columns = main.shape
    height, width = main.chunks or (1, n_columns)
    n_chunks = max(1, BAND_BYTES // (height * width * main.dtype.itemsize))
    in_a_row = -(-n_columns // width)
    width *= min(n_chunks, in_a_row)
    height *= max(1, n_chunks // in_a_row)
    for top, left in itertools.product(range(0, n_rows, height), range(0, n_columns, width)):
        bottom, right = min(top + height, n_rows), min(left + width, n_columns)
        yield slice(top, bottom), slice(left, right)


def _digests(cells: Cells, threads: int) -> list[Written]:
    def look(region: Region) -> Written:
        block = np.asarray(cells.array[region]).astype(cells.dtype, copy=False)
        return Written(region, digest_of(parts_of(block, cells.components)))

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(look, slabs(cells)))
