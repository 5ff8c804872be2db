"""Rows and columns of a Main dataset gathered from its N-D arrays: the placing, the other way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.grid import GridKind, arrange
from usid_tasks.shards import Region, Scratch, ShardedArray, buffer_of

Picked = slice | NDArray[np.intp]


@dataclass(frozen=True)
class Piece:
    """Cells of one chunk that are wanted: ``region`` of the side's dims holds them.

    ``inside`` are their places in the region (C order), ``wanted`` those among the rows or
    columns that are asked for.
    """

    region: Region
    inside: Picked
    wanted: Picked


@dataclass(frozen=True, eq=False)
class Cells:
    """Where the rows (or columns) of a Main dataset lie along the dims of its side.

    ``ranks`` is ``(n_rows, n_dims)``, slow to fast; ``shape`` that of the dims.
    """

    ranks: NDArray[np.intp]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, table: NDArray[Any], *, may_pad: bool) -> Cells:
        """Return the places that an index table tells, ``(n_points, n_dims)``.

        ``may_pad`` is True for Positions; see :func:`usid_tasks.grid.arrange`.
        """
        grid = arrange(table, may_pad=may_pad)
        shape = grid.placement.shape
        if grid.kind is GridKind.FLAT:
            return cls(np.arange(len(table), dtype=np.intp)[:, None], shape)
        columns = [
            column for column in grid.columns if grid.sizes[column] > 1 or not grid.placement.n_rows
        ]
        return cls(grid.ranks[:, columns], shape)

    def steps(self, edges: Sequence[int]) -> list[int]:
        """Return the numbers of rows that chunks of these edges cover, if acquired in order."""
        return [edge * math.prod(self.shape[dim + 1 :]) for dim, edge in enumerate(edges)]

    def repeats(self, n_rows: int, edges: Sequence[int]) -> float:
        """Return in how many runs of so many rows a chunk has cells, on average."""
        if not len(self.ranks):
            return 1.0
        chunks = self._chunks(self.ranks, edges)
        n_chunks = int(chunks.max()) + 1
        runs = np.arange(len(chunks)) // n_rows
        return len(np.unique(runs * n_chunks + chunks)) / len(np.unique(chunks))

    def _chunks(self, ranks: NDArray[np.intp], edges: Sequence[int]) -> NDArray[np.intp]:
        """Return the number of the chunk that each row lies in."""
        counts = [-(-n // edge) for n, edge in zip(self.shape, edges, strict=True)]
        return _flat(ranks // np.array(edges, np.intp), counts)

    def pieces(self, rows: slice, edges: Sequence[int]) -> Iterator[Piece]:
        """Yield the cells of an interval of rows, chunk by chunk."""
        ranks = self.ranks[rows]
        chunks = self._chunks(ranks, edges)
        order = np.argsort(chunks, kind="stable")
        ends = np.flatnonzero(np.diff(chunks[order])) + 1
        for wanted in np.split(order, ends):
            first = ranks[wanted[0]] // np.array(edges, np.intp)
            region = tuple(
                slice(int(at) * edge, min((int(at) + 1) * edge, n))
                for at, edge, n in zip(first, edges, self.shape, strict=True)
            )
            starts = np.array([part.start for part in region], np.intp)
            extent = [part.stop - part.start for part in region]
            yield Piece(region, _short(_flat(ranks[wanted] - starts, extent)), _short(wanted))


def _flat(ranks: NDArray[np.intp], shape: Sequence[int]) -> NDArray[np.intp]:
    if not shape:
        return np.zeros(len(ranks), np.intp)
    flat: NDArray[np.intp] = np.ravel_multi_index(tuple(ranks.T), tuple(shape))
    return flat


def _short(places: NDArray[np.intp]) -> Picked:
    """Return places as a slice, where they are evenly spaced."""
    first = int(places[0])
    if len(places) == 1:
        return slice(first, first + 1)
    step = int(places[1]) - first
    if step == 0 or not np.array_equal(np.diff(places), np.full(len(places) - 1, step)):
        return places
    stop = int(places[-1]) + (1 if step > 0 else -1)
    return slice(first, None if stop < 0 else stop, step)


@dataclass(frozen=True, eq=False)
class MainValues:
    """The values of a Main dataset, read from the N-D arrays of its components.

    Parameters
    ----------
    position, spectroscopic
        Places of its rows and of its columns.
    cell
        Type of a cell, as the file holds it.
    components
        For each array the names that lead to its field, none for a plain dataset.
    """

    position: Cells
    spectroscopic: Cells
    cell: np.dtype[Any]
    components: tuple[tuple[tuple[str, ...], ShardedArray], ...]

    @property
    def itemsize(self) -> int:
        """Bytes of a cell."""
        return self.cell.itemsize

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return (len(self.position.ranks), len(self.spectroscopic.ranks))

    @property
    def beside_bytes(self) -> int:
        """What reading takes besides the box: a chunk decoded, encoded and cut out."""
        return max(2 * array.chunk_bytes + self._cut_bytes(array) for _, array in self.components)

    def steps(self, dim: int) -> list[int]:
        """Return extents of boxes along a dimension that cut few chunks in two."""
        side = (self.position, self.spectroscopic)[dim]
        return [
            step for _, array in self.components for step in side.steps(self._edges(array)[dim])
        ]

    def repeats(self, box: Sequence[int]) -> tuple[float, float]:
        """Return how often a chunk is decoded for boxes, on average: by their rows and columns."""
        down, along = zip(*(self._edges(array) for _, array in self.components), strict=True)
        return (
            max(self.position.repeats(box[0], edges) for edges in dict.fromkeys(down)),
            max(self.spectroscopic.repeats(box[1], edges) for edges in dict.fromkeys(along)),
        )

    def _edges(self, array: ShardedArray) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the edges of a chunk along the Position and the Spectroscopic dims."""
        n_position = len(self.position.shape)
        n_dims = n_position + len(self.spectroscopic.shape)
        return array.chunk[:n_position], array.chunk[n_position:n_dims]

    def _cut_bytes(self, array: ShardedArray) -> int:
        """Return the bytes of the cells of a chunk; of a cell that is an array all are wanted."""
        down, along = self._edges(array)
        inner = array.shape[len(down) + len(along) :]
        return math.prod((*down, *along, *inner)) * array.dtype.itemsize

    def read(self, box: Region) -> NDArray[Any]:
        """Return the cells of some rows and columns, ``(rows, columns)``, as opaque bytes.

        Raises
        ------
        VerificationError, UsidError
            If a shard is missing, damaged or cannot be read.
        """
        rows, columns = box
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        size = math.prod(shape) * self.itemsize
        out = buffer_of(size)[:size]
        cells = out.view(self.cell.base).reshape(shape + self.cell.shape)
        for field, array in self.components:
            target = cells
            for name in field:
                target = target[name]
            self._read_component(array, rows, columns, target)
        return out.view(f"V{self.itemsize}").reshape(shape)

    def _read_component(
        self, array: ShardedArray, rows: slice, columns: slice, target: NDArray[Any]
    ) -> None:
        edges = self._edges(array)
        n_position, n_dims = len(edges[0]), len(edges[0]) + len(edges[1])
        across = list(self.spectroscopic.pieces(columns, edges[1]))
        inner = tuple(slice(0, n) for n in array.shape[n_dims:])
        scratch, held = Scratch(array.chunk_bytes), buffer_of(self._cut_bytes(array))
        for down in self.position.pieces(rows, edges[0]):
            for along in across:
                region = down.region + along.region + inner
                extent = [part.stop - part.start for part in region]
                size = math.prod(extent) * array.dtype.itemsize
                block = held[:size].view(array.dtype).reshape(extent)
                array.read(region, block, scratch)
                n_rows = math.prod(extent[:n_position])
                cells = block.reshape((n_rows, -1, *array.shape[n_dims:]))
                _put(target, down, along, cells)


def _put(target: NDArray[Any], down: Piece, along: Piece, cells: NDArray[Any]) -> None:
    """Copy the wanted cells of a chunk, ``(rows, columns, ...)``, to where they are wanted."""
    if isinstance(along.wanted, slice) and isinstance(along.inside, slice):
        target[down.wanted, along.wanted] = cells[down.inside, along.inside]
        return
    columns = np.arange(target.shape[1])[along.wanted]
    inside = np.arange(cells.shape[1])[along.inside]
    rows = np.arange(target.shape[0])[down.wanted]
    target[np.ix_(rows, columns)] = cells[down.inside][:, inside]
