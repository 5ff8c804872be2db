"""How the blocks of one side cut its rows, counted by the nested loops that lead to them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from usid_tasks.grid import Placement
from usid_tasks.loops import run_totals

RunCount = tuple[int, int, int]
"""How many blocks have how many runs of rows, and how many rows these cover."""


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


class RegularBlocks:
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

    def runs(self, gap: int) -> Iterator[RunCount]:
        """Yield the runs of the blocks, gaps of at most so many rows passed over."""
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
