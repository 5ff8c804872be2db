"""The arrays that a block is read into, and how cells of the 2-D dataset get there.

Cells are copied as strided views, of as many dimensions as the loops of both sides have; only
where entries follow no loop they go by arrays of indices. Nothing here is as large as a block.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.listed import Listed
from usid_tasks.loops import Window
from usid_tasks.mains import Component, padding_value
from usid_tasks.reading_cost import ReadCount, Stored
from usid_tasks.regions import Side

WINDOW_BYTES = 2**20
"""Cells that are copied are read this many bytes at a time: they stay in the cache."""

_buffers = threading.local()

Index = NDArray[np.int64] | slice


def buffer(name: str, size_bytes: int) -> NDArray[np.uint8]:
    """Return bytes that this thread uses again and again: new memory costs as much as a copy."""
    held: NDArray[np.uint8] | None = getattr(_buffers, name, None)
    if held is None or held.size < size_bytes:
        held = np.empty(size_bytes, np.uint8)
        setattr(_buffers, name, held)
    return held[:size_bytes]


Fill = Callable[[NDArray[np.uint8], Window, Window], None]
"""Fills bytes with the cells of some runs of rows and of columns, ``(rows, columns)``."""


@dataclass(frozen=True)
class _Axes:
    """One side of a strided view; ``index`` picks from its only axis, where there is one."""

    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    index: Index | None = None

    @classmethod
    def of_entries(cls, side: Side, pitch: int, n_entries: int) -> _Axes:
        """Return the axes of a side in the file's order; ``pitch`` bytes from entry to entry."""
        if isinstance(side, Listed):
            first, last = side.hull
            is_all = last - first == side.n_entries and bool(np.all(np.diff(side.entries) == 1))
            index = slice(first, last) if is_all else side.entries
            return cls(0, (n_entries,), (pitch,), index)
        sizes = tuple(digit.size for digit in side.digits)
        return cls(side.start * pitch, sizes, tuple(d.stride * pitch for d in side.digits))

    @classmethod
    def of_targets(cls, side: Side, pitch: int, n_targets: int) -> _Axes:
        """Return the axes of a side in the block; ``pitch`` bytes from target to target."""
        if isinstance(side, Listed):
            return cls(0, (n_targets,), (pitch,), side.targets)
        sizes = tuple(digit.size for digit in side.digits)
        return cls(side.target * pitch, sizes, tuple(d.target_stride * pitch for d in side.digits))


@dataclass(frozen=True)
class Placed:
    """A part of one side: where its cells lie in a buffer, and where in each array."""

    source: _Axes
    targets: tuple[_Axes, ...]


def _view(data: Any, dtype: np.dtype, rows: _Axes, columns: _Axes) -> NDArray:
    """Return cells as an array of the axes of both sides, and those of a cell itself."""
    base, inner = dtype.base, dtype.shape
    strides = tuple(math.prod(inner[dim + 1 :]) * base.itemsize for dim in range(len(inner)))
    return np.ndarray(
        rows.sizes + columns.sizes + inner,
        base,
        data,
        rows.offset + columns.offset,
        rows.strides + columns.strides + strides,
    )


def _key(rows: _Axes, columns: _Axes) -> Any:
    """Return what picks the wanted cells out of a view."""
    if isinstance(rows.index, np.ndarray) and isinstance(columns.index, np.ndarray):
        return np.ix_(rows.index, columns.index)
    if columns.index is None:
        return ... if rows.index is None else rows.index
    first = (slice(None),) * len(rows.sizes) if rows.index is None else (rows.index,)
    return (*first, columns.index)


class Outputs:
    """The arrays of the components of one block, each as a table of cells.

    Parameters
    ----------
    arrays
        One for each component: C-contiguous, native byte order, of the block's shape and the
        component's ``subshape``.
    components
        Of the Main dataset.
    shape
        ``(rows, columns)``: the block's Position and Spectroscopic dimensions, each flattened.
    """

    def __init__(
        self, arrays: Sequence[NDArray], components: Sequence[Component], shape: tuple[int, int]
    ) -> None:
        self.shape = shape
        self._components = tuple(components)
        self._bytes = [array.reshape(-1).view(np.uint8) for array in arrays]
        self._cells = [
            np.dtype((part.dtype, part.subshape)) if part.subshape else part.dtype
            for part in components
        ]

    def pad(self) -> None:
        """Fill everything with the padding value of cells that were not measured."""
        for data, part in zip(self._bytes, self._components, strict=True):
            data.view(part.dtype)[...] = padding_value(part.dtype)

    def as_stored(self, dtype: np.dtype) -> NDArray[np.uint8] | None:
        """Return the bytes of the only array if its cells are those of the file.

        They may differ from them in byte order alone, see :meth:`swap`.
        """
        if len(self._cells) != 1:
            return None
        cell = self._cells[0]
        stored, inner = _leaf(dtype, self._components[0].field)
        is_same = stored.newbyteorder("=") == cell.base and inner == cell.shape
        return self._bytes[0] if is_same and dtype.itemsize == cell.itemsize else None

    def is_swapped(self, dtype: np.dtype) -> bool:
        """Return True if the bytes that :meth:`as_stored` gives come in the other byte order."""
        return not _leaf(dtype, self._components[0].field)[0].isnative

    def swap(self, first: int, last: int) -> None:
        """Turn the byte order of a part of the only array, given in bytes."""
        self._bytes[0][first:last].view(self._components[0].dtype).byteswap(inplace=True)

    def rows(self, parts: Sequence[Side], pitch: int, n_rows: int) -> list[Placed]:
        """Return where rows lie in a buffer of ``n_rows``, each of ``pitch`` bytes, and here."""
        pitches = [self.shape[1] * cell.itemsize for cell in self._cells]
        return [_placed(part, (pitch, n_rows), pitches, self.shape[0]) for part in parts]

    def columns(self, parts: Sequence[Side], pitch: int, n_columns: int) -> list[Placed]:
        """Return where columns lie in a buffer of so many of ``pitch`` bytes, and here."""
        pitches = [cell.itemsize for cell in self._cells]
        return [_placed(part, (pitch, n_columns), pitches, self.shape[1]) for part in parts]

    def put(
        self, data: Any, dtype: np.dtype, rows: Sequence[Placed], columns: Sequence[Placed]
    ) -> None:
        """Copy cells from a buffer that holds them in the file's own type."""
        for row, column in itertools.product(rows, columns):
            cells = _view(data, dtype, row.source, column.source)
            self._assign(cells, _key(row.source, column.source), row, column)

    def put_value(self, value: Any, rows: Sequence[Placed], columns: Sequence[Placed]) -> None:
        """Set cells to one value of the file's type."""
        for row, column in itertools.product(rows, columns):
            self._assign(np.asarray(value), ..., row, column)

    def _assign(self, cells: Any, key: Any, row: Placed, column: Placed) -> None:
        """Copy what ``key`` picks of some cells to one part of both sides, in each array."""
        for number, part in enumerate(self._components):
            values = cells
            for name in part.field:
                values = values[name]
            height, width = row.targets[number], column.targets[number]
            target = _view(self._bytes[number], self._cells[number], height, width)
            target[_key(height, width)] = values[key]

    def put_windows(
        self, stored: Stored, dtype: np.dtype, rows: Side, columns: Side, fill: Fill
    ) -> ReadCount:
        """Read cells by way of a small buffer, where storage is not chunked.

        Parameters
        ----------
        stored, dtype
            Of the 2-D dataset.
        rows, columns
            What is wanted.
        fill
            Reads some runs of rows and columns at a time.
        """
        itemsize, width = stored.itemsize, stored.shape[1]
        is_whole = stored.takes_whole_rows(*columns.run_totals(stored.column_gap))
        if is_whole and width * itemsize <= WINDOW_BYTES:
            across = iter([Window(np.zeros(1, np.int64), np.full(1, width), width, columns)])
        else:
            across = columns.windows(stored.column_gap, max(1, WINDOW_BYTES // itemsize))
        for some_columns in across:
            n_columns = some_columns.n_entries
            pitch = n_columns * itemsize
            placed_columns = self.columns(some_columns.side.parts(), itemsize, n_columns)
            most = max(1, WINDOW_BYTES // pitch)
            for some_rows in rows.windows(stored.row_gap if is_whole else 0, most):
                data = buffer("window", some_rows.n_entries * pitch)
                fill(data, some_rows, some_columns)
                placed_rows = self.rows(some_rows.side.parts(), pitch, some_rows.n_entries)
                self.put(data, dtype, placed_rows, placed_columns)
        return stored.count(rows, columns)


def _placed(part: Side, source: tuple[int, int], pitches: Sequence[int], n_targets: int) -> Placed:
    return Placed(
        _Axes.of_entries(part, *source),
        tuple(_Axes.of_targets(part, pitch, n_targets) for pitch in pitches),
    )


def _leaf(dtype: np.dtype, field: Sequence[str]) -> tuple[np.dtype, tuple[int, ...]]:
    """Return the number type of a component in the file, and the shape of its cells."""
    inner = dtype.shape
    for name in field:
        dtype = dtype.base[name]
        inner += dtype.shape
    return dtype.base, inner
