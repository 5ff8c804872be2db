"""Runs of bytes of a file, read to where they belong: no map, no seek, no copy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usid_tasks.loops import Window
from usid_tasks.outputs import WINDOW_BYTES, Outputs
from usid_tasks.reading_cost import Stored
from usid_tasks.regions import Side

LONG_BYTES = 2**14
"""Shorter runs are read together and copied: that takes less time than to list them."""

FEW_RUNS = 16
"""So many runs are read each by itself, however short."""

_AT_ONCE = 1024

Extent = tuple[int, int, int]
"""Where bytes lie in the file, where they go in an array, and how many they are."""


@dataclass(frozen=True)
class Plain:
    """A table of cells that lies in a file as it is: ``offset`` in bytes, ``width`` in cells."""

    offset: int
    width: int
    itemsize: int

    def run_bytes(self, rows: Side, columns: Side, shape: tuple[int, int]) -> float:
        """Return the mean size of the runs that stay together in a block of this shape.

        ``columns`` is straight.
        """
        if self._is_line(columns, shape):
            return rows.stretch * self.width * self.itemsize
        return columns.n_entries * self.itemsize

    def is_read_right(
        self, rows: Sequence[Side], columns: Sequence[Side], shape: tuple[int, int]
    ) -> bool:
        """Return True where cells are read right into their array, without a buffer.

        That is so for long runs or few, and where only a part of each row is wanted.
        """
        if len(columns) != 1 or not columns[0].is_straight:
            return False
        stored = Stored((0, self.width), self.itemsize, None)
        if not stored.takes_whole_rows(1, columns[0].n_entries):
            return True
        n_rows = sum(part.n_entries for part in rows)
        is_long = all(self.run_bytes(part, columns[0], shape) >= LONG_BYTES for part in rows)
        return n_rows <= FEW_RUNS or is_long

    def _is_line(self, columns: Side, shape: tuple[int, int]) -> bool:
        """Return True where rows that follow one another do so in the block, without a gap."""
        return columns.n_entries == self.width == shape[1]

    def extents(self, rows: Side, columns: Side, shape: tuple[int, int]) -> Iterator[Extent]:
        """Yield the runs that stay together in a block of this shape; ``columns`` is straight."""
        pitch, target_pitch = self.width * self.itemsize, shape[1] * self.itemsize
        first, target = columns.hull[0] * self.itemsize, columns.target * self.itemsize
        n_bytes, is_line = columns.n_entries * self.itemsize, self._is_line(columns, shape)
        for some in rows.stretches():
            for row, place, length in zip(*some.lists(), strict=True):
                offset, to = self.offset + row * pitch + first, place * target_pitch + target
                if is_line:
                    yield offset, to, length * pitch
                    continue
                for number in range(length):
                    yield offset + number * pitch, to + number * target_pitch, n_bytes

    def packed(self, rows: Window, columns: Window) -> Iterator[Extent]:
        """Yield runs of rows and columns, to be laid end to end."""
        pitch, place = self.width * self.itemsize, 0
        runs = list(zip(columns.firsts.tolist(), columns.lengths.tolist(), strict=True))
        is_line = columns.n_entries == self.width
        for first, length in zip(rows.firsts.tolist(), rows.lengths.tolist(), strict=True):
            if is_line:
                yield self.offset + first * pitch, place, length * pitch
                place += length * pitch
                continue
            for row in range(first, first + length):
                for left, n_columns in runs:
                    n_bytes = n_columns * self.itemsize
                    yield self.offset + row * pitch + left * self.itemsize, place, n_bytes
                    place += n_bytes


def read_extents(fd: int, path: str, extents: Iterable[Extent], target: NDArray[np.uint8]) -> None:
    """Fill parts of an array from a file; those that lie end to end in the file in one call.

    Raises
    ------
    OSError
        If the file ends before they do.
    """
    whole = memoryview(target.data)
    views: list[memoryview] = []
    start = end = first = last = 0
    for offset, place, n_bytes in extents:
        if offset != end or place != last:
            views.append(whole[first:last])
            first = place
            if offset != end or len(views) >= _AT_ONCE:
                _read(fd, path, views, start, end - start)
                views, start = [], offset
        last, end = place + n_bytes, offset + n_bytes
    views.append(whole[first:last])
    _read(fd, path, views, start, end - start)


def read_right(
    fd: int, path: str, extents: Iterable[Extent], outputs: Outputs, dtype: np.dtype
) -> None:
    """Read cells right into the only array of a block, and turn their bytes if need be.

    Raises
    ------
    OSError
        If the file ends before they do.
    """
    target = outputs.as_stored(dtype)
    assert target is not None, "the cells are those of the file"
    if not outputs.is_swapped(dtype):
        read_extents(fd, path, extents, target)
        return
    step = max(1, WINDOW_BYTES // dtype.itemsize) * dtype.itemsize
    for offset, place, n_bytes in extents:
        for done in range(0, n_bytes, step):
            part = min(step, n_bytes - done)
            read_extents(fd, path, [(offset + done, place + done, part)], target)
            outputs.swap(place + done, place + done + part)


def _read(fd: int, path: str, views: list[memoryview], offset: int, size: int) -> None:
    while size:
        n_bytes = os.preadv(fd, views, offset)
        if n_bytes == size:
            return
        if n_bytes == 0:
            raise OSError(f"{path}: the file ends at byte {offset}, {size} bytes short")
        offset, size = offset + n_bytes, size - n_bytes
        while len(views[0]) <= n_bytes:
            n_bytes -= len(views.pop(0))
        views[0] = views[0][n_bytes:]
