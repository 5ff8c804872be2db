"""Which rows or columns of a table a block wants, in the order of the file, and where they go.

One side of a block is :class:`~usid_tasks.loops.Regular`, a few nested loops, where the placement
is a start and strides; otherwise it is :class:`~usid_tasks.listed.Listed`, at most
:data:`LISTED_ENTRIES` at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from usid_tasks.grid import Placement
from usid_tasks.listed import Listed
from usid_tasks.loops import Digit, Region, Regular

LISTED_ENTRIES = 2**17
"""Entries of an index array that are held at once; a larger block is read in several passes."""

Side = Regular | Listed
"""The wanted entries of one side of a block."""


def passes(extents: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the intervals of flattened cells in which a listed side of a block is read.

    A pass holds whole lines along the fastest dimension, or a part of one line: at most
    :data:`LISTED_ENTRIES` cells. ``extents`` are those of the block along this side, none zero.
    """
    n_cells, line = math.prod(extents), extents[-1] if extents else 1
    if line <= LISTED_ENTRIES:
        step = LISTED_ENTRIES // line * line
        yield from ((first, min(first + step, n_cells)) for first in range(0, n_cells, step))
        return
    for start in range(0, n_cells, line):
        for first in range(start, start + line, LISTED_ENTRIES):
            yield first, min(first + LISTED_ENTRIES, start + line)


def sides(placement: Placement, region: Region) -> Iterator[Side]:
    """Yield one side of a block: as a whole, or a pass at a time where its entries are listed.

    The region has cells; passes in which none was measured are left out.
    """
    if placement.rows is None:
        yield Regular.of(placement, region)
        return
    extents = [part.stop - part.start for part in region]
    for first, last in passes(extents):
        rest, cells, pitch = np.arange(first, last), np.zeros(last - first, np.int64), 1
        for dim in reversed(range(len(extents))):
            rest, step = np.divmod(rest, extents[dim])
            step += region[dim].start
            step *= pitch
            cells += step
            pitch *= placement.shape[dim]
        yield from picked(placement.rows[cells], first)


def picked(entries: NDArray[np.int64], first_target: int = 0) -> Iterator[Side]:
    """Yield a side that is given entry by entry, unless all are below zero: not measured."""
    if entries.size and int(entries.max()) >= 0:
        side = Listed.of(entries, first_target)
        loop = (Digit(side.n_entries, 1, 1),) if side.n_entries > 1 else ()
        yield Regular(side.hull[0], side.target, loop) if side.is_straight else side
