"""How the blocks of one side cut its rows, counted by the table that places them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usid_tasks import regions
from usid_tasks.grid import Placement
from usid_tasks.loop_counts import RunCount

_CELLS_AT_ONCE = 2**20


class ListedBlocks:
    """The blocks of a side placed by a table, counted by the intervals of rows that they hold."""

    def __init__(self, placement: Placement, extents: Sequence[int]) -> None:
        self.placement = placement
        self.extents = extents or [1]

    def runs(self, gap: int) -> Iterator[RunCount]:
        """Yield the runs of the blocks, gaps of at most so many rows passed over."""
        for each in self._intervals():
            yield from each.runs(gap)

    def bands(self, edge: int) -> int:
        """Return the sum over the blocks of the bands of ``edge`` rows that each touches."""
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

    def runs(self, gap: int) -> Iterator[RunCount]:
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
