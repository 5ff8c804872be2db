"""Ancillary tables of a full grid in C order: Indices and Values, made some points at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.writing.dimensions import Dimension, values_dtype
from usid_tasks.writing.notes import notes_of

INDICES_DTYPE = np.dtype(np.uint32)
"""Type of the Indices (h5USID, "Ancillary data")."""

_POINTS_AT_ONCE = 2**18


@dataclass(frozen=True)
class Tables:
    """Indices and Values of one side.

    ``dimensions`` are in the order of the array, slow to fast; ``columns`` are those of the
    tables, each the number of a dimension.
    """

    dimensions: tuple[Dimension, ...]
    columns: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, dimensions: Sequence[Dimension], *, is_fastest_first: bool) -> Tables:
        """Return the tables of a side.

        Parameters
        ----------
        dimensions
            Slow to fast.
        is_fastest_first
            Whether the first column is the fastest dimension, as the specification has it;
            otherwise the slowest, as pyUSID writes it.

        Raises
        ------
        UnwritableError
            If no type holds the Values of all dimensions exactly.
        """
        columns = tuple(range(len(dimensions)))
        if is_fastest_first:
            columns = columns[::-1]
        return cls(tuple(dimensions), columns, values_dtype(dimensions))

    @property
    def n_points(self) -> int:
        """Number of points: rows of a Position table."""
        return math.prod(one.size for one in self.dimensions)

    @property
    def stored(self) -> tuple[Dimension, ...]:
        """The dimensions in the order of the tables' columns."""
        return tuple(self.dimensions[column] for column in self.columns)

    @property
    def notes(self) -> dict[str, Any]:
        """Attributes of both tables that tell what their cells do not."""
        is_fastest_first = self.columns[0] > self.columns[-1]
        return notes_of(self.stored, is_fastest_first=is_fastest_first)

    @property
    def size_bytes(self) -> int:
        """Bytes of both tables."""
        one_point = INDICES_DTYPE.itemsize + self.dtype.itemsize
        return self.n_points * len(self.columns) * one_point

    def pieces(self) -> Iterator[tuple[slice, NDArray[np.uint32], NDArray]]:
        """Yield runs of points with their Indices and Values, ``(n_points, n_dims)`` each."""
        for start in range(0, self.n_points, _POINTS_AT_ONCE):
            stop = min(start + _POINTS_AT_ONCE, self.n_points)
            yield slice(start, stop), *self._points(np.arange(start, stop))

    def _points(self, points: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray]:
        shape = (len(points), len(self.columns))
        indices, values = np.empty(shape, INDICES_DTYPE), np.empty(shape, self.dtype)
        for place, column in enumerate(self.columns):
            one = self.dimensions[column]
            faster = math.prod(other.size for other in self.dimensions[column + 1 :])
            index = points // faster % one.size
            indices[:, place], values[:, place] = index, one.values[index]
        return indices, values
