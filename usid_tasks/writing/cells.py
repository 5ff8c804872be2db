"""The values of a signal, and where each of them goes in a table of two dimensions.

Blocks of the array are written by their place in the file, past HDF5: by threads, or by the worker
processes of Dask, which get nothing but a path and an offset.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from usid_tasks.durable import writing
from usid_tasks.grid import Placement
from usid_tasks.mains import Component, components_of
from usid_tasks.source import partition
from usid_tasks.writing.refusals import UnwritableError

SLAB_BYTES = 8 * 2**20
"""Bytes of a block of an array in memory."""

Region = tuple[slice, ...]


@dataclass(frozen=True)
class Cells:
    """The values of a signal: Position dimensions first, each side slow to fast.

    ``array`` is a NumPy or Dask array without its dimensions of size one; ``dtype`` the type in
    which they are stored.
    """

    array: Any
    n_position: int
    dtype: np.dtype

    @classmethod
    def of(cls, data: Any, order: Sequence[int], n_position: int, dtype: Any = None) -> Cells:
        """Return the values of an array whose dimensions are to come in another order.

        Parameters
        ----------
        data
            An array that :func:`refuse_other_arrays` lets pass.
        order
            Its dimensions, as they are to come.
        n_position
            How many of them are Position dimensions.
        dtype
            Type in which values are stored, if not that of the array.

        Raises
        ------
        UnwritableError
            If its cells are no numbers, or cannot be stored as that type.
        """
        stored = _stored_dtype(data.dtype, dtype)
        array = data.transpose(order)
        alone = tuple(axis for axis, size in enumerate(array.shape) if size == 1)
        n_kept = n_position - sum(axis < n_position for axis in alone)
        return cls(array.squeeze(axis=alone) if alone else array, n_kept, stored)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions that are larger than one."""
        return tuple(int(size) for size in self.array.shape)

    @property
    def table_shape(self) -> tuple[int, int]:
        """Shape of the Main dataset: positions, spectroscopic points."""
        return math.prod(self.shape[: self.n_position]), math.prod(self.shape[self.n_position :])

    @property
    def size_bytes(self) -> int:
        """Bytes of all cells as they are stored."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_lazy(self) -> bool:
        """True for a Dask array."""
        return not isinstance(self.array, np.ndarray)

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """The arrays that the Main dataset is made of."""
        return components_of(self.dtype)

    @property
    def is_table(self) -> bool:
        """True where the cells lie in memory in the order of a table."""
        return not self.is_lazy and bool(self.array.flags.c_contiguous)

    def as_table(self) -> NDArray:
        """Return the cells as a table; without a copy where :attr:`is_table`."""
        return np.asarray(self.array).reshape(self.table_shape)


def refuse_other_arrays(data: Any) -> None:
    """Raise UnwritableError for what is no NumPy or Dask array of a known shape, with cells."""
    is_lazy = hasattr(data, "__dask_graph__") and hasattr(data, "map_blocks")
    is_plain = isinstance(data, np.ndarray) and not isinstance(data, np.ma.MaskedArray)
    if not is_lazy and not is_plain:
        what = f"is a {type(data).__name__}, expected a NumPy or Dask array"
        raise UnwritableError("signal['data']", what, "Fill a masked array first")
    if not all(size > 0 for size in data.shape):  # not so for NaN: Dask does not know it
        what = f"has the shape {data.shape}: a size is unknown, or there are no cells"
        raise UnwritableError("signal['data']", what, "Call its compute_chunk_sizes() first")


def _stored_dtype(found: np.dtype, wanted: Any) -> np.dtype:
    try:
        dtype = np.dtype(found if wanted is None else wanted)
        components_of(dtype)
    except TypeError as error:
        what = f"its cells are no numbers that USID can hold: {error}"
        remedy = "Turn them into numbers of 64 bits or less (complex: 128)"
        raise UnwritableError("signal['data']", what, remedy) from error
    if dtype != found and not np.can_cast(found, dtype, "same_kind"):
        what = f"cells of type {found} cannot be stored as {dtype}"
        raise UnwritableError("dtype", what, "Leave it out, or convert the data first")
    return dtype


def digest_of(parts: Sequence[NDArray]) -> str:
    """Return the BLAKE3 digest of arrays, one after the other, C order."""
    found = blake3()
    for part in parts:
        found.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def parts_of(block: NDArray, components: Sequence[Component]) -> list[NDArray]:
    """Return the arrays of a block, in native byte order."""
    found = []
    for component in components:
        part = block
        for name in component.field:
            part = part[name]
        found.append(part.astype(component.dtype, copy=False))
    return found


@dataclass(frozen=True)
class _Runs:
    """Rows (or columns) of a table that a block fills: runs, ascending.

    ``order`` are the rows of the block in the order of the table; None where that is their own.
    """

    firsts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    order: NDArray[np.intp] | None

    def __iter__(self) -> Iterator[tuple[int, int]]:
        yield from zip(self.firsts.tolist(), self.lengths.tolist(), strict=True)


def _runs_of(placement: Placement, region: Sequence[slice]) -> _Runs:
    if placement.is_in_order:
        return _nested_runs(placement.shape, region)
    rows = placement.rows_of([np.arange(part.start, part.stop) for part in region]).reshape(-1)
    order = None
    if np.any(np.diff(rows) < 0):
        order = np.argsort(rows)
        rows = rows[order]
    starts = np.flatnonzero(np.diff(rows, prepend=rows[:1] - 2) != 1)
    return _Runs(rows[starts], np.diff(starts, append=len(rows)), order)


def _nested_runs(shape: Sequence[int], region: Sequence[slice]) -> _Runs:
    """Return the runs of a region of an array that is stored in C order."""
    firsts, length, stride = np.zeros(1, np.int64), 1, 1
    for size, part in zip(reversed(shape), reversed(region), strict=True):
        extent = part.stop - part.start
        if length == stride:  # whole so far: one run, of all that is faster
            firsts, length = firsts + part.start * stride, length * extent
        else:
            slower = np.arange(part.start, part.stop, dtype=np.int64) * stride
            firsts = (slower[:, None] + firsts).reshape(-1)
        stride *= size
    return _Runs(firsts, np.full(len(firsts), length), None)


@dataclass(frozen=True)
class RawTable:
    """A table of cells that lies in a file as it is, from the byte ``offset`` on.

    ``rows`` and ``columns`` tell where the cells of the array lie in it.
    """

    path: str
    offset: int
    dtype: np.dtype
    rows: Placement
    columns: Placement

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.n_rows, self.columns.n_rows

    def put(self, region: Region, block: NDArray) -> str:
        """Write a block of the array where it belongs, and return its digest.

        Raises
        ------
        UsidError
            If the file cannot be written.
        """
        n_position = len(self.rows.shape)
        rows = _runs_of(self.rows, region[:n_position])
        columns = _runs_of(self.columns, region[n_position:])
        cells = np.ascontiguousarray(block, self.dtype)
        digest = digest_of(parts_of(cells, components_of(self.dtype)))
        table = cells.reshape(int(rows.lengths.sum()), int(columns.lengths.sum()))
        table = table if rows.order is None else table[rows.order]
        table = table if columns.order is None else np.ascontiguousarray(table[:, columns.order])
        self._write(table.reshape(-1).view(np.uint8), rows, columns)
        return digest

    def _write(self, data: NDArray[np.uint8], rows: _Runs, columns: _Runs) -> None:
        size, pitch = self.dtype.itemsize, self.shape[1] * self.dtype.itemsize
        bytes_, done = memoryview(data.data), 0
        is_whole = int(columns.lengths[0]) == self.shape[1]
        with _opened(self.path, os.O_WRONLY) as fd:
            for first, n_rows in rows:
                if is_whole:
                    part = bytes_[done : done + n_rows * pitch]
                    _pwrite(fd, part, self.offset + first * pitch)
                    done += len(part)
                    continue
                for row in range(first, first + n_rows):
                    start = self.offset + row * pitch
                    for column, n_columns in columns:
                        part = bytes_[done : done + n_columns * size]
                        _pwrite(fd, part, start + column * size)
                        done += len(part)

    def read(self, rows: slice, columns: slice) -> NDArray:
        """Return a rectangle of the table.

        Raises
        ------
        UsidError
            If the file cannot be read, or ends before it.
        """
        found = np.empty((rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        size, width = self.dtype.itemsize, self.shape[1]
        lines = found.reshape(1, -1) if found.shape[1] == width else found
        with _opened(self.path, os.O_RDONLY) as fd:
            for number, line in enumerate(lines):
                start = self.offset + ((rows.start + number) * width + columns.start) * size
                _pread(fd, memoryview(line.view(np.uint8).data), start, self.path)
        return found


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    with writing(Path(path)):
        fd = os.open(path, flags)
        try:
            yield fd
        finally:
            os.close(fd)


def _pwrite(fd: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done


def _pread(fd: int, data: memoryview, offset: int, path: str) -> None:
    while data:
        done = os.preadv(fd, [data], offset)
        if not done:
            raise OSError(f"{path}: ends at byte {offset}, {len(data)} bytes short")
        data, offset = data[done:], offset + done


@dataclass(frozen=True)
class Written:
    """A block that was written, and the digest of its cells."""

    region: Region
    digest: str


def write_raw(cells: Cells, table: RawTable, *, threads: int) -> list[Written]:
    """Write all cells by their place in the file; return what must be read back.

    A NumPy array is written in slabs by threads, a Dask array block by block as Dask computes
    it, under its own scheduler.

    Raises
    ------
    UsidError
        If the file cannot be written.
    """
    if cells.is_lazy:
        return _write_lazy(cells, table)
    regions = list(slabs(cells))

    def put(region: Region) -> Written:
        return Written(region, table.put(region, cells.array[region]))

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(put, regions))


def slabs(cells: Cells) -> Iterator[Region]:
    """Yield the regions of an array in C order, each of about :data:`SLAB_BYTES`."""
    left = max(1, SLAB_BYTES // cells.dtype.itemsize)
    edges: list[int] = []
    for size in reversed(cells.shape):
        edges.append(min(size, max(1, left)))
        left //= size
    return partition(cells.shape, edges[::-1])


def _write_lazy(cells: Cells, table: RawTable) -> list[Written]:
    from dask.array.core import slices_from_chunks

    array = cells.array
    digests = array.map_blocks(
        _put_block,
        table=table,
        dtype=np.dtype("U64"),
        chunks=tuple((1,) * n for n in array.numblocks),
        meta=np.empty((0,) * array.ndim, "U64"),
    ).compute()
    regions = slices_from_chunks(array.chunks)
    return [
        Written(tuple(region), digest)
        for region, digest in zip(regions, np.ravel(digests).tolist(), strict=True)
    ]


def _put_block(block: NDArray, table: RawTable, block_info: Any = None) -> NDArray:
    region = tuple(slice(*ends) for ends in block_info[0]["array-location"])
    return np.full((1,) * block.ndim, table.put(region, np.asarray(block)))
