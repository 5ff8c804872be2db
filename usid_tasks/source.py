"""Blocks of a dataset, read by path: picklable, no file held open between reads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import h5py
import numpy as np
from h5py import h5f, h5p
from numpy.typing import NDArray

from usid_tasks.direct import open_direct
from usid_tasks.grid import Placement
from usid_tasks.mains import Component, Main, native, padding_value
from usid_tasks.usid import open_object

Interval = tuple[int, int]


def open_for_blocks(path: str) -> h5py.File:
    """Open read-only without HDF5's sieve buffer, which reads 64 KiB around every small piece."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_sieve_buf_size(1)
    return h5py.File(h5f.open(path.encode("utf-8", "surrogateescape"), h5f.ACC_RDONLY, access))


def intervals(wanted: NDArray[np.int64], chunk: int | None) -> list[Interval]:
    """Return the half-open intervals to read so that every wanted entry is read once.

    Parameters
    ----------
    wanted
        Sorted, distinct rows or columns.
    chunk
        Extent of an HDF5 chunk along them: runs that share a chunk are read together, since
        each read decodes the whole chunk. None for contiguous storage, where a gap is read
        only if it is no longer than what is wanted before it: at most twice the bytes.
    """
    if wanted.size == 0:
        return []
    breaks = np.flatnonzero(np.diff(wanted) > 1) + 1
    starts = wanted[np.concatenate([[0], breaks])]
    stops = wanted[np.concatenate([breaks - 1, [wanted.size - 1]])] + 1
    merged: list[list[int]] = []
    budget = 0
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if merged:
            gap = start - merged[-1][1]
            if (chunk and start // chunk == (merged[-1][1] - 1) // chunk) or (
                not chunk and gap <= budget
            ):
                merged[-1][1] = stop
                budget += stop - start - (0 if chunk else gap)
                continue
        merged.append([start, stop])
        budget = stop - start
    return [(start, stop) for start, stop in merged]


def _selection(wanted: NDArray[np.int64], interval: Interval) -> slice | NDArray[np.int64]:
    """Return where the wanted entries lie within an interval, as a slice where they fill it."""
    if wanted.size == interval[1] - interval[0] and np.all(np.diff(wanted) == 1):
        return slice(None)
    return wanted - interval[0]


Fetch = Callable[[Interval, Interval], NDArray]
"""Reads a rectangle of a 2-D dataset, given by its rows and its columns."""


def read_cells(
    fetch: Fetch,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    *,
    dtype: np.dtype,
    chunks: tuple[int, int] | None,
) -> NDArray:
    """Return the cells at ``rows`` × ``columns`` of a 2-D dataset, each read once from disk.

    Parameters
    ----------
    fetch
        Reads rectangles.
    rows, columns
        1-D, in any order, no entry negative or twice.
    dtype, chunks
        Type of a cell in memory (it may be an array itself), and the shape of an HDF5 chunk, if
        the dataset has any.

    Returns
    -------
    NDArray
        ``(len(rows), len(columns))`` and the shape of a cell, native byte order, C order.
    """
    chunk_rows, chunk_columns = chunks or (None, None)
    row_order, column_order = np.argsort(rows), np.argsort(columns)
    sorted_rows, sorted_columns = rows[row_order], columns[column_order]
    parts = [
        (vertical, horizontal)
        for vertical in intervals(sorted_rows, chunk_rows)
        for horizontal in intervals(sorted_columns, chunk_columns)
    ]
    in_order = bool(np.all(rows == sorted_rows) and np.all(columns == sorted_columns))
    if len(parts) == 1 and in_order:
        (top, bottom), (left, right) = parts[0]
        if (bottom - top, right - left) == (len(rows), len(columns)):
            return np.ascontiguousarray(fetch(*parts[0]), dtype=dtype.base)
    out = np.empty((len(rows), len(columns), *dtype.shape), dtype=dtype.base)
    for (top, bottom), (left, right) in parts:
        block = fetch((top, bottom), (left, right))
        first, last = np.searchsorted(sorted_rows, [top, bottom])
        begin, end = np.searchsorted(sorted_columns, [left, right])
        inner_rows = _selection(sorted_rows[first:last], (top, bottom))
        inner_columns = _selection(sorted_columns[begin:end], (left, right))
        cells = block[inner_rows][:, inner_columns]
        out[np.ix_(row_order[first:last], column_order[begin:end])] = cells
    return out


@dataclass(frozen=True)
class _Table:
    """An open 2-D dataset; ``dtype`` is that of its file."""

    fetch: Fetch
    dtype: np.dtype
    chunks: tuple[int, int] | None
    is_field: bool

    def read(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray:
        dtype = native(self.dtype)
        return read_cells(self.fetch, rows, columns, dtype=dtype, chunks=self.chunks)


@contextmanager
def open_table(path: str, dataset: str, name: str | None) -> Iterator[_Table]:
    """Give what reads rectangles of a 2-D dataset: straight from the file, or by h5py.

    ``name`` is the field of a compound dataset to read; None for all.
    """
    with open_direct(path, dataset) as opened:
        if opened is not None:
            direct, fd = opened
            dtype = direct.dtype if name is None else direct.dtype[name]

            def fetch(rows: Interval, columns: Interval) -> NDArray:
                block = direct.read(fd, rows, columns)
                return block if name is None else block[name]

            yield _Table(fetch, dtype, direct.chunks, name is not None)
            return
        with open_for_blocks(path) as file:
            table = open_object(file, dataset)
            if table.dtype.subdtype is not None:
                name = None  # HDF5 reads fields of compounds, not of arrays of compounds
            holder = table if name is None else table.fields(name)
            dtype = table.dtype if name is None else table.dtype[name]
            yield _Table(
                lambda rows, columns: holder[slice(*rows), slice(*columns)],
                dtype,
                table.chunks,
                name is not None,
            )


@dataclass(frozen=True)
class MainSource:
    """The values of a Main dataset, read as blocks of its N-D form.

    ``position`` and ``spectroscopic`` place every cell; the array's dimensions are those of
    the first, then those of the second.
    """

    path: str
    dataset: str
    position: Placement
    spectroscopic: Placement
    components: tuple[Component, ...]

    @classmethod
    def of(cls, main: Main) -> MainSource:
        """Return the source of a sound Main dataset."""
        return cls(
            main.candidate.file,
            main.path,
            main.position.grid.placement,
            main.spectroscopic.grid.placement,
            main.components,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """N-D shape, without the shape of a single cell."""
        return self.position.shape + self.spectroscopic.shape

    def read(
        self, indexers: Sequence[NDArray[np.int64]], components: Sequence[Component]
    ) -> list[NDArray]:
        """Return the outer product of ``indexers`` of each component, read in one pass.

        Parameters
        ----------
        indexers
            One 1-D integer array for each dimension of :attr:`shape`.
        components
            Those wanted; of a compound, only a single field is read alone.

        Returns
        -------
        list of NDArray
            For each component ``tuple(map(len, indexers)) + subshape``, native byte order.
            Cells that were not measured hold the padding value.
        """
        n_position = len(self.position.shape)
        rows = self.position.rows_of(indexers[:n_position])
        columns = self.spectroscopic.rows_of(indexers[n_position:])
        block_shape = rows.shape + columns.shape
        measured = rows.ravel() >= 0
        wanted = np.unique(rows.ravel()[measured]), np.unique(columns)
        top_names = {component.field[0] for component in components if component.field}
        name = top_names.pop() if len(top_names) == 1 else None
        if wanted[0].size and wanted[1].size:
            with open_table(self.path, self.dataset, name) as table:
                cells = self._read(table, rows.ravel(), measured, columns.ravel())
                is_field = table.is_field
        else:
            cells, is_field = None, False
        return [
            self._component(cells, component, measured, block_shape, is_field=is_field)
            for component in components
        ]

    @staticmethod
    def _read(
        table: _Table,
        rows: NDArray[np.int64],
        measured: NDArray[np.bool_],
        columns: NDArray[np.int64],
    ) -> NDArray:
        """Return the measured cells, ``(measured rows, columns)``; repeated indices are allowed."""
        rows = rows[measured]
        distinct_rows, back_rows = np.unique(rows, return_inverse=True)
        distinct_columns, back_columns = np.unique(columns, return_inverse=True)
        if len(distinct_rows) == len(rows) and len(distinct_columns) == len(columns):
            return table.read(rows, columns)
        cells = table.read(distinct_rows, distinct_columns)
        return cells[back_rows][:, back_columns]

    def _component(
        self,
        cells: NDArray | None,
        component: Component,
        measured: NDArray[np.bool_],
        block_shape: tuple[int, ...],
        *,
        is_field: bool,
    ) -> NDArray:
        n_rows = measured.size
        n_columns = math.prod(block_shape[len(self.position.shape) :])
        shape = block_shape + component.subshape
        if cells is None:
            return np.full(shape, padding_value(component.dtype), dtype=component.dtype)
        for part in component.field[int(is_field) :]:
            cells = cells[part]
        if cells.shape[0] != n_rows:
            full = np.full(
                (n_rows, n_columns, *component.subshape),
                padding_value(component.dtype),
                component.dtype,
            )
            full[measured] = cells
            cells = full
        return np.ascontiguousarray(cells, dtype=component.dtype).reshape(shape)

    def blocks(self, block: Sequence[int]) -> Iterator[tuple[slice, ...]]:
        """Yield the regions of a regular partition into blocks of this shape, in C order."""
        return partition(self.shape, block)


def partition(shape: Sequence[int], block: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the regions of an array cut into blocks of one shape, in C order."""
    ranges = [
        [slice(start, min(start + edge, size)) for start in range(0, size, edge)]
        for size, edge in zip(shape, block, strict=True)
    ]
    yield from itertools.product(*ranges)


def indexers_of(region: Sequence[slice], shape: Sequence[int]) -> list[NDArray[np.int64]]:
    """Return the index arrays of a region."""
    return [np.arange(*part.indices(size)) for part, size in zip(region, shape, strict=True)]
