"""Rows or columns that are wanted in nested loops: where they lie in the file, where they go.

An *entry* is a row (or a column) of the 2-D dataset, its *target* the place of its cells along
the block's flattened Position (or Spectroscopic) dimensions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from usid_tasks.grid import Placement

if TYPE_CHECKING:
    from usid_tasks.regions import Side

STRETCHES_AT_ONCE = 1024

Region = Sequence[slice]
"""One slice of step 1 with given ends for each dimension."""


@dataclass(frozen=True)
class Digit:
    """One loop: how many entries, how far apart in the file, and how far apart in the block."""

    size: int
    stride: int
    target_stride: int


@dataclass(frozen=True)
class Window:
    """Runs of entries that are read together, laid end to end.

    ``firsts`` and ``lengths`` are the runs in the file, ascending; ``side`` tells which of the
    ``n_entries`` laid end to end are wanted, and where they go.
    """

    firsts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    n_entries: int
    side: Side

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Yield the first entry of each run, its place among those laid out, and its length."""
        places = np.cumsum(self.lengths) - self.lengths
        lists = self.firsts.tolist(), places.tolist(), self.lengths.tolist()
        yield from zip(*lists, strict=True)


@dataclass(frozen=True)
class Stretches:
    """Runs of entries that are consecutive both in the file and in the block."""

    firsts: NDArray[np.int64]
    targets: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def lists(self) -> tuple[list[int], list[int], list[int]]:
        """Return the three as lists."""
        return self.firsts.tolist(), self.targets.tolist(), self.lengths.tolist()


def hull(digits: Sequence[Digit]) -> int:
    """Return how many entries lie between the first and the last of nested loops, both counted."""
    return 1 + sum((digit.size - 1) * digit.stride for digit in digits)


def run_totals(loops: Sequence[tuple[int, int]], gap: int) -> tuple[int, int]:
    """Return the number of runs of nested loops, and how many entries the runs cover.

    Parameters
    ----------
    loops
        Size and stride of each, slow to fast; each stride is at least the span of the faster
        loops, so that gaps never grow smaller towards the slower ones.
    gap
        Entries not wanted that are passed over within a run, at most.
    """
    n_runs, covered, span = 1, 1, 1
    for size, stride in reversed(loops):
        if size > 1 and stride - span > gap:
            n_runs, covered = n_runs * size, covered * size
        elif size > 1:
            covered = (size - 1) * stride + span
        span += (size - 1) * stride
    return n_runs, covered


def _joined(digits: Sequence[Digit]) -> tuple[Digit, ...]:
    """Join loops that run on from one another both in the file and in the block."""
    found: list[Digit] = []
    for digit in digits:
        outer = found[-1] if found else None
        if outer and (outer.stride, outer.target_stride) == (
            digit.size * digit.stride,
            digit.size * digit.target_stride,
        ):
            found[-1] = Digit(outer.size * digit.size, digit.stride, digit.target_stride)
        else:
            found.append(digit)
    return tuple(found)


def _sums(digits: Sequence[Digit]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the entries and the targets of nested loops from zero, in the order of the file."""
    entries = targets = np.zeros(1, np.int64)
    for digit in digits:
        steps = np.arange(digit.size)
        entries = np.add.outer(entries, steps * digit.stride).ravel()
        targets = np.add.outer(targets, steps * digit.target_stride).ravel()
    return entries, targets


def _bands(firsts: NDArray[np.int64], lasts: NDArray[np.int64], edge: int) -> NDArray[np.int64]:
    """Return the bands of ``edge`` entries that runs touch; no two runs touch the same."""
    low, high = firsts // edge, lasts // edge
    counts = high - low + 1
    before = np.cumsum(counts) - counts
    return np.repeat(low - before, counts) + np.arange(int(counts.sum()))


@dataclass(frozen=True)
class Regular:
    """Nested loops over entries, slow to fast in the file; the first is ``start``."""

    start: int
    target: int
    digits: tuple[Digit, ...]

    @classmethod
    def of(cls, placement: Placement, region: Region) -> Regular:
        """Return one side of a block, of a placement by strides."""
        start, target, pitch = placement.start, 0, 1
        digits = []
        for part, stride in zip(reversed(region), reversed(placement.strides), strict=True):
            size = part.stop - part.start
            start += part.start * stride
            step = pitch if stride > 0 else -pitch
            if size > 1 and stride < 0:
                start += (size - 1) * stride
                target += (size - 1) * pitch
            if size > 1:
                digits.append(Digit(size, abs(stride), step))
            pitch *= size
        digits.sort(key=lambda digit: -digit.stride)
        return cls(start, target, _joined(digits))

    @property
    def n_entries(self) -> int:
        """How many entries are wanted."""
        return math.prod(digit.size for digit in self.digits)

    @property
    def is_straight(self) -> bool:
        """True for one run of entries with their targets in the same order."""
        return len(self.digits) == (1 if self._ends_straight else 0)

    @property
    def _ends_straight(self) -> bool:
        """True where the fastest loop steps from entry to entry and from target to target."""
        last = self.digits[-1] if self.digits else None
        return last is not None and (last.stride, last.target_stride) == (1, 1)

    @property
    def hull(self) -> tuple[int, int]:
        """The half-open interval of entries from the first wanted to the last."""
        return self.start, self.start + hull(self.digits)

    def run_totals(self, gap: int) -> tuple[int, int]:
        """Return the number of runs, passing over ``gap`` entries, and the entries they cover."""
        return run_totals([(digit.size, digit.stride) for digit in self.digits], gap)

    def _joined_from(self, gap: int) -> int:
        """Return the slowest loop whose steps, and those of all faster ones, make one run."""
        level = len(self.digits)
        while level and self.digits[level - 1].stride - hull(self.digits[level:]) <= gap:
            level -= 1
        return level

    def windows(self, gap: int, most: int) -> Iterator[Window]:
        """Yield the runs of at most ``gap`` unwanted entries, about ``most`` entries together.

        Parameters
        ----------
        gap
            As in :meth:`run_totals`.
        most
            Entries of a window at most, 1 or more; a longer run is cut.
        """
        digits, joined = self.digits, self._joined_from(gap)
        packed = [hull(digits[level:]) for level in range(len(digits) + 1)]
        for level in reversed(range(joined)):
            packed[level] = digits[level].size * packed[level + 1]
        inner = next(level for level, size in enumerate(packed) if size <= most)
        if inner == 0:
            yield self._window(0, 0, joined, packed, self.digits)
            return
        cut = digits[inner - 1]
        is_run = inner - 1 >= joined
        step = (most - packed[inner]) // cut.stride + 1 if is_run else most // packed[inner]
        for place in itertools.product(*(range(digit.size) for digit in digits[: inner - 1])):
            entry = sum(n * d.stride for n, d in zip(place, digits, strict=False))
            target = sum(n * d.target_stride for n, d in zip(place, digits, strict=False))
            for first in range(0, cut.size, step):
                part = Digit(min(step, cut.size - first), cut.stride, cut.target_stride)
                yield self._window(
                    entry + first * cut.stride,
                    target + first * cut.target_stride,
                    joined - (inner - 1),
                    packed[inner - 1 :],
                    (part, *digits[inner:]),
                )

    def _window(
        self, entry: int, target: int, joined: int, packed: Sequence[int], digits: Sequence[Digit]
    ) -> Window:
        """Return the window of some loops; those before ``joined`` step from run to run."""
        joined = max(joined, 0)
        firsts, _ = _sums(digits[:joined])
        length = hull(digits[joined:])
        laid = [
            Digit(
                digit.size,
                packed[level + 1] if level < joined else digit.stride,
                digit.target_stride,
            )
            for level, digit in enumerate(digits)
            if digit.size > 1
        ]
        side = Regular(0, self.target + target, _joined(laid))
        lengths = np.full(firsts.size, length)
        return Window(firsts + self.start + entry, lengths, firsts.size * length, side)

    def bands(self, edge: int) -> NDArray[np.int64]:
        """Return the numbers of the bands of ``edge`` entries that hold wanted ones, ascending."""
        joined = self._joined_from(edge - 1)
        firsts = self.start + _sums(self.digits[:joined])[0]
        return _bands(firsts, firsts + hull(self.digits[joined:]) - 1, edge)

    def within(self, low: int, high: int) -> list[Side]:
        """Return the parts of this side between two entries, counted from the first of them."""
        return list(_clipped(self.start - low, self.target, self.digits, high - low))

    def stretches_in(self, bands: NDArray[np.int64], edge: int) -> Stretches | None:
        """Return the one stretch of each band, counted from its first entry; None if one has more.

        ``bands`` are some of :meth:`bands`.
        """
        if self.is_straight:
            first, last = self.hull
            firsts = np.maximum(first, bands * edge)
            lengths = np.minimum(last, (bands + 1) * edge) - firsts
            return Stretches(firsts - bands * edge, self.target + firsts - first, lengths)
        if edge > 1:
            return None
        rest, targets = bands - self.start, np.full(bands.size, self.target)
        for digit in self.digits:
            step, rest = np.divmod(rest, digit.stride)
            targets += step * digit.target_stride
        return Stretches(np.zeros_like(bands), targets, np.ones_like(bands))

    def stretches(self) -> Iterator[Stretches]:
        """Yield the runs of entries that stay together in the block, some at a time."""
        outer, length = self.digits, 1
        if self._ends_straight:
            outer, length = outer[:-1], outer[-1].size
        n_stretches = math.prod(digit.size for digit in outer)
        for number in range(0, n_stretches, STRETCHES_AT_ONCE):
            rest = np.arange(number, min(number + STRETCHES_AT_ONCE, n_stretches))
            firsts, targets = np.full(rest.size, self.start), np.full(rest.size, self.target)
            for digit in reversed(outer):
                rest, step = np.divmod(rest, digit.size)
                firsts += step * digit.stride
                targets += step * digit.target_stride
            yield Stretches(firsts, targets, np.full(firsts.size, length))

    @property
    def stretch(self) -> float:
        """The mean number of entries that stay together in the block."""
        return self.digits[-1].size if self._ends_straight else 1

    def parts(self) -> list[Side]:
        """Return this side as pieces that are copied one by one."""
        return [self]


def _clipped(start: int, target: int, digits: tuple[Digit, ...], stop: int) -> Iterator[Regular]:
    """Yield the parts of nested loops whose entries lie in ``[0, stop)``."""
    span = hull(digits)
    if start >= stop or start + span <= 0:
        return
    if start >= 0 and start + span <= stop:
        yield Regular(start, target, digits)
        return
    first, inner = digits[0], digits[1:]
    span = hull(inner)
    touched = range(
        max(0, (-start - span) // first.stride + 1),
        min(first.size, -((start - stop) // first.stride)),
    )
    whole = range(
        max(0, -(start // first.stride)),
        min(first.size, (stop - span - start) // first.stride + 1),
    )
    if not whole:
        whole = range(touched.stop, touched.stop)

    def at(number: int) -> tuple[int, int]:
        return start + number * first.stride, target + number * first.target_stride

    for number in range(touched.start, whole.start):
        yield from _clipped(*at(number), inner, stop)
    if whole:
        own = () if len(whole) == 1 else (Digit(len(whole), first.stride, first.target_stride),)
        yield Regular(*at(whole.start), own + inner)
    for number in range(whole.stop, touched.stop):
        yield from _clipped(*at(number), inner, stop)
