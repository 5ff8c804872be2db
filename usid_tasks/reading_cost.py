"""What reading blocks of a Main dataset costs: the rules that reading follows, and their totals.

Chunked storage: every chunk that holds a wanted cell is decoded, once for each block. Contiguous
storage: wanted cells are read in runs of bytes, and short gaps are read too, so that blocks of
pieces longer than a gap read at most twice their bytes. :func:`reading_cost` gives the sums over
a regular partition without looking at its blocks one by one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from usid_tasks import regions
from usid_tasks.grid import Placement
from usid_tasks.regions import Side, run_totals

GAP_BYTES = 1024
"""A shorter gap within a row, or before the next, is read too: faster than another call."""

PAGE_BYTES = 4096
"""Rows not wanted that are shorter together are read too: the kernel reads whole pages."""

_CELLS_AT_ONCE = 2**20


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
    whole = rows.runs(stored.row_gap)
    count = ReadCount(0, 0)
    for weight, n_runs, covered in columns.runs(stored.column_gap):
        if stored.takes_whole_rows(n_runs, covered):
            width = shape2d[1]
            each = ReadCount(whole.total_runs, whole.total_covered * width * itemsize)
        else:
            each = ReadCount(n_rows * n_runs, n_rows * covered * itemsize)
        count += ReadCount(weight * each.pieces, weight * each.size_bytes)
    return count


def bands_touched(placement: Placement, block: Sequence[int], edge: int) -> int:
    """Return how many bands of ``edge`` rows the blocks of one side touch, each block's counted."""
    return _blocks_of(placement, block).bands(edge)


class _Runs:
    """Runs of all blocks of one side: how many blocks have how many runs that cover how much."""

    def __init__(self, counts: Iterator[tuple[int, int, int]]) -> None:
        self._counts = list(counts)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return iter(self._counts)

    @property
    def total_runs(self) -> int:
        return sum(weight * n_runs for weight, n_runs, _ in self._counts)

    @property
    def total_covered(self) -> int:
        return sum(weight * covered for weight, _, covered in self._counts)


def _blocks_of(placement: Placement, block: Sequence[int]) -> _RegularBlocks | _ListedBlocks:
    extents = [max(1, min(edge, size)) for edge, size in zip(block, placement.shape, strict=True)]
    if placement.rows is None:
        return _RegularBlocks(placement, extents)
    return _ListedBlocks(placement, extents)


@dataclass(frozen=True)
class _Loop:
    """A dimension in the order of the file: its size and stride, and how blocks cut it."""

    size: int
    stride: int
    extent: int
    is_reversed: bool

    @property
    def n_blocks(self) -> int:
        return -(-self.size // self.extent)

    def ends(self) -> Iterator[tuple[int, _Steps]]:
        """Yield the extents that blocks have, with the last index of each block in the file."""
        n_full, rest = divmod(self.size, self.extent)
        shift = rest if self.is_reversed else 0
        if n_full:
            yield self.extent, _Steps(shift + self.extent - 1, self.extent, n_full)
        if rest:
            yield rest, _Steps(rest - 1 if self.is_reversed else self.size - 1, 1, 1)


@dataclass(frozen=True)
class _Steps:
    """An arithmetic progression."""

    first: int
    step: int
    count: int

    def times(self, stride: int) -> _Steps:
        return _Steps(self.first * stride, self.step * stride, self.count)


def _joined(loops: Sequence[_Loop]) -> list[_Loop]:
    """Join neighbouring loops that blocks cut like a single one."""
    found: list[_Loop] = []
    for loop in loops:
        outer = found[-1] if found else None
        if outer and loop.extent == loop.size:
            size, extent = outer.size * loop.size, outer.extent * loop.size
            found[-1] = _Loop(size, loop.stride, extent, outer.is_reversed)
        elif outer and outer.extent == 1 and loop.size % loop.extent == 0:
            found[-1] = replace(loop, size=outer.size * loop.size)
        else:
            found.append(loop)
    return found


class _RegularBlocks:
    """The blocks of a side placed by strides, counted by the loops that make it."""

    def __init__(self, placement: Placement, extents: Sequence[int]) -> None:
        loops = [
            _Loop(size, abs(stride), extent, stride < 0)
            for size, stride, extent in zip(
                placement.shape, placement.strides, extents, strict=True
            )
            if size > 1
        ]
        self.loops = _joined(sorted(loops, key=lambda loop: -loop.stride))
        self.is_empty = math.prod(placement.shape) == 0

    def runs(self, gap: int) -> _Runs:
        return _Runs(self._runs(gap))

    def _runs(self, gap: int) -> Iterator[tuple[int, int, int]]:
        if self.is_empty:
            return
        for extents in itertools.product(*(loop.ends() for loop in self.loops)):
            sizes = [
                (extent, loop.stride) for (extent, _), loop in zip(extents, self.loops, strict=True)
            ]
            yield math.prod(ends.count for _, ends in extents), *run_totals(sizes, gap)

    def bands(self, edge: int) -> int:
        """Return the sum over the blocks of the bands that each touches.

        A block touches one band, and one more for each step from a row of its own to the next
        that leads into another band.
        """
        if self.is_empty:
            return 0
        total = math.prod(loop.n_blocks for loop in self.loops)
        n_outer = 1
        for level, loop in enumerate(self.loops):
            inner = self.loops[level + 1 :]
            for extents in itertools.product(*(each.ends() for each in inner)):
                pairs = list(zip(extents, inner, strict=True))
                reach = loop.stride - sum((n - 1) * each.stride for (n, _), each in pairs)
                ends = [last.times(each.stride) for (_, last), each in pairs]
                total += _steps_into_next(loop, n_outer, reach, ends, edge)
            n_outer *= loop.size
        return total


def _steps_into_next(
    loop: _Loop, n_outer: int, reach: int, ends: Sequence[_Steps], edge: int
) -> int:
    """Return how many steps of a loop lead into another band of ``edge`` rows.

    ``reach`` is how far a step leads, ``n_outer`` the number of steps of all slower loops, and
    ``ends`` are the rows at which the faster loops of a block end.
    """
    n_steps = n_outer * (loop.size - loop.n_blocks) * math.prod(each.count for each in ends)
    if reach >= edge or not n_steps:
        return n_steps
    anywhere = _Steps(0, loop.stride, n_outer * loop.size)
    found = _crossings([anywhere, *ends], reach, edge)
    outer = _Steps(0, loop.stride * loop.size, n_outer)
    for _, last in loop.ends():
        found -= _crossings([outer, last.times(loop.stride), *ends], reach, edge)
    return found


def _crossings(sums: Sequence[_Steps], reach: int, edge: int) -> int:
    """Return for how many sums of progressions another band begins within ``reach`` rows."""
    longest = max(sums, key=lambda each: each.count)
    most = sum(each.first + each.step * each.count for each in sums)
    starts = np.zeros(1, np.int64 if most < 2**31 else object)
    for each in sums:
        starts = starts + each.first
        if each is not longest:
            starts = np.add.outer(starts, np.arange(each.count) * each.step).ravel()
    low = _floor_sum(longest.count, edge, longest.step, starts)
    return _floor_sum(longest.count, edge, longest.step, starts + reach) - low


def _floor_sum(count: int, divisor: int, step: int, starts: NDArray) -> int:
    """Return the sum of ``(start + step * i) // divisor`` over all starts and ``i < count``.

    Lattice points under a line, counted as Euclid's algorithm goes.
    """
    counts = np.full_like(starts, count)
    total = 0
    while counts.any():
        total += int(np.sum(counts * (counts - 1) // 2)) * (step // divisor)
        total += int(np.sum(counts * (starts // divisor)))
        step, starts = step % divisor, starts % divisor
        ends = step * counts + starts
        counts, starts = ends // divisor, ends % divisor
        step, divisor = divisor, step
    return total


class _ListedBlocks:
    """The blocks of a side placed by a table, counted by the intervals of rows that they hold."""

    def __init__(self, placement: Placement, extents: Sequence[int]) -> None:
        self.placement = placement
        self.extents = extents or [1]

    def runs(self, gap: int) -> _Runs:
        return _Runs(count for each in self._intervals() for count in each.runs(gap))

    def bands(self, edge: int) -> int:
        return sum(each.bands(edge) for each in self._intervals())

    def _intervals(self) -> Iterator[_Intervals]:
        """Yield the intervals of some blocks at a time."""
        assert self.placement.rows is not None, "the placement is a table"
        grid = self.placement.rows.reshape(self.placement.shape or (1,))
        is_straight = self.placement.has_straight_lines
        for group in _groups(grid.shape, self.extents, _CELLS_AT_ONCE):
            found = _intervals_of(grid[group], self.extents, is_straight=is_straight)
            if found.firsts.size:
                yield found


@dataclass(frozen=True)
class _Intervals:
    """Intervals of rows, sorted by the pass that reads them and by row, ends included.

    ``is_next`` tells of each but the first whether the one before is read in the same pass.
    """

    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]
    is_next: NDArray[np.bool_]

    def runs(self, gap: int) -> Iterator[tuple[int, int, int]]:
        passed = self.firsts[1:] - self.lasts[:-1] - 1
        is_joined = self.is_next & (passed <= gap)
        covered = self.lasts - self.firsts + 1
        covered[1:] += np.where(is_joined, passed, 0)
        begins = np.append([0], np.flatnonzero(~self.is_next) + 1)
        n_runs = np.add.reduceat(np.append([1], 1 - is_joined), begins)
        covered = np.add.reduceat(covered, begins)
        most = int(covered.max()) + 1
        kinds, weights = np.unique(n_runs * most + covered, return_counts=True)
        for kind, weight in zip(kinds.tolist(), weights.tolist(), strict=True):
            yield weight, *divmod(kind, most)

    def bands(self, edge: int) -> int:
        low, high = self.firsts // edge, self.lasts // edge
        shared = np.count_nonzero(self.is_next & (low[1:] == high[:-1]))
        return int(np.sum(high - low + 1)) - int(shared)


def _groups(shape: Sequence[int], extents: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """Yield regions of whole blocks, of at most so many cells unless a block has more."""
    if not shape:
        yield ()
        return
    size, extent, inner = shape[0], extents[0], math.prod(shape[1:])
    step = max(1, most // max(extent * inner, 1)) * extent
    for first in range(0, size, step):
        some = slice(first, min(first + step, size))
        if extent * inner <= most:
            yield (some, *(slice(0, n) for n in shape[1:]))
            continue
        for rest in _groups(shape[1:], extents[1:], max(1, most // extent)):
            yield (some, *rest)


def _intervals_of(
    grid: NDArray[np.int64], extents: Sequence[int], *, is_straight: bool
) -> _Intervals:
    """Return the intervals of rows of whole blocks.

    Parameters
    ----------
    grid
        The row of each cell, -1 where nothing was measured.
    extents
        Of a block.
    is_straight
        Whether each line along the last dimension is rows in, or against, their order.
    """
    size, extent = grid.shape[-1], extents[-1]
    starts = np.arange(size)
    if is_straight:
        steps = np.arange(0, extent, min(extent, regions.LISTED_ENTRIES))
        starts = np.add.outer(np.arange(0, size, extent), steps).ravel()
        starts = starts[starts < size]
    numbers = _pass_numbers(grid.shape, extents, starts)
    bits = int(grid.max(initial=0)).bit_length()
    if starts.size == size:
        firsts = lasts = _sorted(grid, numbers, bits)
    else:
        ends = grid[..., starts], grid[..., np.append(starts[1:], [size]) - 1]
        firsts, lasts = (_sorted(side(*ends), numbers, bits) for side in (np.minimum, np.maximum))
    is_next = np.diff(firsts >> bits) == 0
    mask = (1 << bits) - 1
    return _Intervals(firsts & mask, lasts & mask, is_next)


def _sorted(rows: NDArray[np.int64], numbers: NDArray, bits: int) -> NDArray[np.int64]:
    """Return the rows that were measured, sorted by number and row: a number, then ``bits``."""
    is_measured = rows >= 0
    keys = rows | (numbers << bits)
    keys = keys.ravel() if is_measured.all() else keys[is_measured]
    keys.sort()
    return keys


def _pass_numbers(
    shape: Sequence[int], extents: Sequence[int], places: NDArray[np.int64]
) -> NDArray:
    """Return a number for the pass that reads each cell; see :func:`usid_tasks.regions.passes`.

    ``places`` are those along the last dimension that are asked for.
    """
    block = line = np.zeros((), np.int64)
    for size, extent in zip(shape[:-1], extents[:-1], strict=True):
        number, place = np.divmod(np.arange(size), extent)
        own = np.minimum(extent, size - number * extent)
        block = np.add.outer(block * -(-size // extent), number)
        line = line[..., None] * own + place
    size, extent, most = shape[-1], extents[-1], regions.LISTED_ENTRIES
    number, place = np.divmod(places, extent)
    block = np.add.outer(block * -(-size // extent), number)
    if math.prod(extents) > most:
        own = np.minimum(extent, size - number * extent)
        parts = -(-own // most)
        part = np.where(
            own <= most, line[..., None] // np.maximum(most // own, 1),
            line[..., None] * parts + place // most,
        )  # fmt: skip
        block = block * (part.max() + 1) + part
    return block
