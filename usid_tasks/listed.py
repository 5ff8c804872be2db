"""Rows or columns that are wanted one by one, where no nested loops lead to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from usid_tasks.loops import STRETCHES_AT_ONCE, Digit, Regular, Stretches, Window

if TYPE_CHECKING:
    from usid_tasks.regions import Side

_LONG_LOOP = 16


@dataclass(frozen=True)
class Listed:
    """Entries in ascending order (an entry may come twice), each with its target; never none."""

    entries: NDArray[np.int64]
    targets: NDArray[np.int64]

    @classmethod
    def of(cls, entries: NDArray[np.int64], first_target: int) -> Listed:
        """Return entries given in the order of their targets; those below zero have none."""
        bits = entries.size.bit_length()
        keys = entries << bits
        keys |= np.arange(entries.size)
        if int(entries.min()) < 0:
            keys = keys[entries >= 0]
        keys.sort()
        targets = keys & ((1 << bits) - 1)
        targets += first_target
        keys >>= bits
        return cls(keys, targets)

    @property
    def n_entries(self) -> int:
        """How many entries are wanted."""
        return self.entries.size

    @property
    def is_straight(self) -> bool:
        """True for one run of entries with their targets in the same order."""
        return all(bool(np.all(_steps(each) == 1)) for each in (self.entries, self.targets))

    @property
    def hull(self) -> tuple[int, int]:
        """The half-open interval of entries from the first wanted to the last."""
        return int(self.entries[0]), int(self.entries[-1]) + 1

    @property
    def target(self) -> int:
        """The target of the first entry."""
        return int(self.targets[0])

    def _runs(self, gap: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where runs start and stop among the entries."""
        return _between(np.flatnonzero(_steps(self.entries) > gap + 1), self.entries.size)

    def run_totals(self, gap: int) -> tuple[int, int]:
        """Return the number of runs, passing over ``gap`` entries, and the entries they cover."""
        starts, stops = self._runs(gap)
        covered = self.entries[stops - 1] - self.entries[starts] + 1
        return starts.size, int(covered.sum())

    def windows(self, gap: int, most: int) -> Iterator[Window]:
        """Yield the runs of at most ``gap`` unwanted entries, about ``most`` entries together."""
        starts, stops = self._runs(gap)
        runs = np.repeat(np.arange(starts.size), stops - starts)
        part = (self.entries - self.entries[starts][runs]) // most
        is_cut = (_steps(runs) > 0) | (_steps(part) > 0)
        starts, stops = _between(np.flatnonzero(is_cut), self.entries.size)
        firsts = self.entries[starts]
        lengths = self.entries[stops - 1] - firsts + 1
        ends = np.cumsum(lengths)
        first = 0
        while first < starts.size:
            before = int(ends[first - 1]) if first else 0
            last = max(int(np.searchsorted(ends, before + most, side="right")), first + 1)
            own = slice(int(starts[first]), int(stops[last - 1]))
            laid = np.repeat(
                ends[first:last] - lengths[first:last] - before - firsts[first:last],
                stops[first:last] - starts[first:last],
            )
            yield Window(
                firsts[first:last],
                lengths[first:last],
                int(ends[last - 1]) - before,
                Listed(self.entries[own] + laid, self.targets[own]),
            )
            first = last

    def bands(self, edge: int) -> NDArray[np.int64]:
        """Return the numbers of the bands of ``edge`` entries that hold wanted ones, ascending."""
        bands = self.entries // edge
        is_next = np.append([True], _steps(bands) > 0)
        return np.asarray(bands[is_next])

    def within(self, low: int, high: int) -> list[Side]:
        """Return the part of this side between two entries, counted from the first of them."""
        first, last = np.searchsorted(self.entries, [low, high])
        if first == last:
            return []
        return [Listed(self.entries[first:last] - low, self.targets[first:last])]

    def stretches_in(self, bands: NDArray[np.int64], edge: int) -> Stretches | None:
        """Return the one stretch of each band, counted from its first entry; None if one has more.

        ``bands`` are some of :meth:`bands`.
        """
        own = self.entries // edge
        together = (_steps(self.entries) == 1) & (_steps(self.targets) == 1) & (_steps(own) == 0)
        starts, stops = _between(np.flatnonzero(~together), own.size)
        if np.any(_steps(own[starts]) == 0):
            return None
        found = np.searchsorted(own[starts], bands)
        firsts, lengths = starts[found], (stops - starts)[found]
        return Stretches(self.entries[firsts] - bands * edge, self.targets[firsts], lengths)

    def stretches(self) -> Iterator[Stretches]:
        """Yield the runs of entries that stay together in the block, some at a time."""
        starts, lengths = self._stretches()
        for number in range(0, starts.size, STRETCHES_AT_ONCE):
            some = slice(number, number + STRETCHES_AT_ONCE)
            where = starts[some]
            yield Stretches(self.entries[where], self.targets[where], lengths[some])

    def _stretches(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        together = (_steps(self.entries) == 1) & (_steps(self.targets) == 1)
        starts, stops = _between(np.flatnonzero(~together), self.entries.size)
        return starts, stops - starts

    @property
    def stretch(self) -> float:
        """The mean number of entries that stay together in the block."""
        return self.entries.size / self._stretches()[0].size

    def parts(self) -> list[Side]:
        """Return this side as pieces that are copied one by one: loops, or else all at once."""
        steps = _steps(self.targets)
        starts, stops = _even_runs(_steps(self.entries) == 1, steps)
        lengths = stops - starts
        steps = np.where(lengths > 1, np.append(steps, [1])[starts], 1)
        alike = np.lexsort((starts, steps, lengths))
        starts, lengths, steps = starts[alike], lengths[alike], steps[alike]
        entries, targets = self.entries[starts], self.targets[starts]
        strides, target_strides = _steps(entries), _steps(targets)
        is_alike = (_steps(lengths) == 0) & (_steps(steps) == 0)
        starts, stops = _even_runs(is_alike, strides, target_strides)
        if starts.size * _LONG_LOOP > self.entries.size:
            return [self]
        found: list[Side] = []
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            digits = [Digit(int(lengths[start]), 1, int(steps[start]))]
            if stop - start > 1:
                outer = int(strides[start]), int(target_strides[start])
                digits.insert(0, Digit(stop - start, *outer))
            loops = tuple(digit for digit in digits if digit.size > 1)
            found.append(Regular(int(entries[start]), int(targets[start]), loops))
        return found


def _even_runs(
    may_follow: NDArray[np.bool_], *steps: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where runs of items with the same steps from one to the next start and stop.

    Parameters
    ----------
    may_follow
        Of each item but the first, whether it may be in one run with the item before.
    steps
        From the item before to each but the first.
    """
    size = may_follow.size
    same = may_follow[1:] & may_follow[:-1]
    for step in steps:
        same &= step[1:] == step[:-1]
    goes_on = may_follow & (size == 1)
    goes_on[1:] |= same
    goes_on[:-1] |= same
    goes_on[1:] &= same | ~goes_on[:-1]
    return _between(np.flatnonzero(~goes_on), size + 1)


def _steps(items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the difference of each item but the first to the one before."""
    return items[1:] - items[:-1]


def _between(breaks: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the parts of a sequence start and stop, cut behind each of some items."""
    bounds = np.empty(breaks.size + 2, np.int64)
    bounds[0], bounds[1:-1], bounds[-1] = 0, breaks + 1, size
    return bounds[:-1], bounds[1:]
