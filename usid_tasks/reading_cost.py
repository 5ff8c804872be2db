"""What reading blocks of a Main dataset costs: the rules that reading follows, and their totals.

Chunked storage: every chunk that holds a wanted cell is decoded, once for each block. Contiguous
storage: wanted cells are read in runs of bytes, and short gaps are read too, so that blocks of
pieces longer than a gap read at most twice their bytes. :func:`reading_cost` gives the sums over
a regular partition without looking at its blocks one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from usid_tasks.grid import Placement
from usid_tasks.list_counts import ListedBlocks
from usid_tasks.loop_counts import RegularBlocks
from usid_tasks.regions import Side

GAP_BYTES = 1024
"""A shorter gap within a row, or before the next, is read too: faster than another call."""

PAGE_BYTES = 4096
"""Rows not wanted that are shorter together are read too: the kernel reads whole pages."""


@dataclass(frozen=True)
class ReadCount:
    """What was, or will be, read.

    ``pieces`` are HDF5 chunks (those never written too), or runs of bytes where storage is not
    chunked; ``size_bytes`` the decoded bytes of whole chunks, or the bytes of the runs.
    """

    pieces: int
    size_bytes: int

    def __add__(self, other: ReadCount) -> ReadCount:
        return ReadCount(self.pieces + other.pieces, self.size_bytes + other.size_bytes)


@dataclass(frozen=True)
class Stored:
    """A 2-D dataset as it is stored: ``(rows, columns)``, bytes of a cell, shape of a chunk."""

    shape: tuple[int, int]
    itemsize: int
    chunks: tuple[int, int] | None

    @property
    def column_gap(self) -> int:
        """How many columns may be passed over within a run of a row."""
        return (GAP_BYTES - 1) // self.itemsize

    @property
    def row_gap(self) -> int:
        """How many rows may be passed over within a run of whole rows."""
        return (PAGE_BYTES - 1) // max(self.itemsize * self.shape[1], 1)

    def takes_whole_rows(self, n_runs: int, covered: int) -> bool:
        """Return True where what is left between the wanted columns of two rows is a short gap.

        ``n_runs`` and ``covered`` are those of the columns.
        """
        return n_runs == 1 and self.shape[1] - covered <= self.column_gap

    def count(self, rows: Side, columns: Side) -> ReadCount:
        """Return what reading a block costs where storage is not chunked."""
        n_runs, covered = columns.run_totals(self.column_gap)
        if self.takes_whole_rows(n_runs, covered):
            n_runs, n_rows = rows.run_totals(self.row_gap)
            return ReadCount(n_runs, n_rows * self.shape[1] * self.itemsize)
        n_rows = rows.run_totals(0)[1]
        return ReadCount(n_rows * n_runs, n_rows * covered * self.itemsize)


def reading_cost(
    position: Placement,
    spectroscopic: Placement,
    *,
    shape2d: tuple[int, int],
    itemsize: int,
    chunks: tuple[int, int] | None,
    block: Sequence[int],
) -> ReadCount:
    """Return what reading a Main dataset in blocks of one shape costs, all blocks together.

    It is the sum of what :meth:`usid_tasks.source.MainSource.read_into` returns for them. The
    work grows with the loops of a placement by strides, and with the rows of one by a table.

    Parameters
    ----------
    position, spectroscopic
        Where the cells lie in the 2-D dataset.
    shape2d, itemsize
        Of the 2-D dataset; bytes of one of its cells.
    chunks
        Shape of an HDF5 chunk, None if the dataset is not chunked.
    block
        Extents along the Position, then the Spectroscopic dimensions.
    """
    stored = Stored(shape2d, itemsize, chunks)
    n_position = len(position.shape)
    rows = _blocks_of(position, block[:n_position])
    columns = _blocks_of(spectroscopic, block[n_position:])
    if chunks is not None:
        pieces = rows.bands(chunks[0]) * columns.bands(chunks[1])
        return ReadCount(pieces, pieces * math.prod(chunks) * itemsize)
    n_rows = position.n_rows
    whole = list(rows.runs(stored.row_gap))
    whole_runs = sum(weight * n_runs for weight, n_runs, _ in whole)
    whole_rows = sum(weight * covered for weight, _, covered in whole)
    count = ReadCount(0, 0)
    for weight, n_runs, covered in columns.runs(stored.column_gap):
        if stored.takes_whole_rows(n_runs, covered):
            each = ReadCount(whole_runs, whole_rows * shape2d[1] * itemsize)
        else:
            each = ReadCount(n_rows * n_runs, n_rows * covered * itemsize)
        count += ReadCount(weight * each.pieces, weight * each.size_bytes)
    return count


def bands_touched(placement: Placement, block: Sequence[int], edge: int) -> int:
    """Return how many bands of ``edge`` rows the blocks of one side touch, each block's counted."""
    return _blocks_of(placement, block).bands(edge)


def _blocks_of(placement: Placement, block: Sequence[int]) -> RegularBlocks | ListedBlocks:
    extents = [max(1, min(edge, size)) for edge, size in zip(block, placement.shape, strict=True)]
    if placement.rows is None:
        return RegularBlocks(placement, extents)
    return ListedBlocks(placement, extents)
