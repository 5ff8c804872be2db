"""What reading a dataset of an HDF5 file takes, by the shape of the blocks: for plans."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from usid_tasks.grid import Placement
from usid_tasks.reading_cost import ReadCount, reading_cost
from usid_tasks.stages import Edges

_PROBED = 2**12
"""Lines along a dimension that are looked at for its stride."""


@dataclass(frozen=True, eq=False)
class MainOrigin:
    """A Main dataset: 2-D storage whose rows and columns are placed in N dimensions.

    Parameters
    ----------
    position, spectroscopic
        Where the cells lie in the 2-D dataset.
    shape, itemsize
        Of the 2-D dataset; bytes of one of its cells.
    chunks
        Shape of an HDF5 chunk, None if the dataset is not chunked.
    scratch_bytes
        What reading needs besides the block.
    """

    position: Placement
    spectroscopic: Placement
    shape: tuple[int, int]
    itemsize: int
    chunks: tuple[int, int] | None
    scratch_bytes: int
    _known: dict[Edges, ReadCount] = field(default_factory=dict, init=False, repr=False)

    def pieces(self, block: Edges) -> int:
        """Return the chunks decoded, or runs of bytes read, for all blocks of a shape."""
        return self._cost(block).pieces

    def size_bytes(self, block: Edges) -> int:
        """Return the bytes of these."""
        return self._cost(block).size_bytes

    def memory_bytes(self, block: Edges) -> int:
        """Return what one worker needs besides its block."""
        del block
        return self.scratch_bytes

    def edges(self) -> Edges:
        """Return the N-D extents that come nearest to a chunk, or to a row where there is none."""
        rows, columns = self.chunks or (1, self.shape[1])
        return covered(self.position, rows) + covered(self.spectroscopic, columns)

    def _cost(self, block: Edges) -> ReadCount:
        if block not in self._known:
            self._known[block] = reading_cost(
                self.position,
                self.spectroscopic,
                shape2d=self.shape,
                itemsize=self.itemsize,
                chunks=self.chunks,
                block=block,
            )
        return self._known[block]


@dataclass(frozen=True)
class WholeOrigin:
    """An array that is read as it is stored, each cell once.

    ``copies`` tells how many times a block is in memory while it is read, besides itself.
    """

    shape: Edges
    itemsize: int
    copies: int

    def pieces(self, block: Edges) -> int:
        """Return the number of blocks."""
        return math.prod(-(-n // edge) for n, edge in zip(self.shape, block, strict=True))

    def size_bytes(self, block: Edges) -> int:
        """Return the bytes of the array."""
        del block
        return math.prod(self.shape) * self.itemsize

    def memory_bytes(self, block: Edges) -> int:
        """Return what one worker needs besides its block."""
        cells = math.prod(min(n, edge) for n, edge in zip(self.shape, block, strict=True))
        return self.copies * cells * self.itemsize


def covered(placement: Placement, extent: int) -> Edges:
    """Return the extents that a run of rows covers, of which there are ``extent``."""
    edges = []
    for size, stride in zip(placement.shape, strides(placement), strict=True):
        edges.append(max(1, min(size, -(-extent // stride))))
    return tuple(edges)


def strides(placement: Placement) -> Edges:
    """Return how many rows lie between neighbours along each dimension, at least 1.

    Where rows are placed one by one, it is the median of some neighbours that were measured.
    """
    if placement.rows is None:
        return tuple(max(1, abs(stride)) for stride in placement.strides)
    return _median_strides(placement)


def _median_strides(placement: Placement) -> Edges:
    assert placement.rows is not None, "rows are placed one by one"
    grid = placement.rows.reshape(placement.shape)
    found = []
    for dim, size in enumerate(placement.shape):
        lines = np.moveaxis(grid, dim, -1).reshape(-1, size)
        lines = lines[:: max(1, len(lines) * size // _PROBED), :_PROBED]
        pair = (lines[:, 1:] >= 0) & (lines[:, :-1] >= 0)
        steps = np.abs(np.diff(lines, axis=1))[pair]
        found.append(max(1, int(np.median(steps))) if steps.size else 1)
    return tuple(found)
