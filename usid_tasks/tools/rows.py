"""From blocks of positions to rows along the core dimensions, and back."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from usid_tasks.errors import UsidError
from usid_tasks.tools.dims import Dim, MainHeader, Output


def _others(header: MainHeader, core: Sequence[Dim]) -> list[Dim]:
    names = {dim.name for dim in core}
    return [dim for dim in header.side("spectroscopic") if dim.name not in names]


def rows_per_position(header: MainHeader, core: Sequence[Dim]) -> int:
    """Return how many rows one position has: places along the dimensions that are not core."""
    return prod(dim.size for dim in _others(header, core))


def to_rows(block: NDArray, header: MainHeader, core: Sequence[Dim]) -> NDArray:
    """Return a block as rows.

    Parameters
    ----------
    block
        ``(n_positions, *Spectroscopic sizes)``, slow to fast as in the header.
    core
        Those of the Spectroscopic dimensions that become the axes of a row, in that order.

    Returns
    -------
    ndarray
        ``(n_positions * rows_per_position, *core sizes)``, C order, the same dtype.
    """
    axis = {dim.name: at for at, dim in enumerate(header.side("spectroscopic"), 1)}
    order = [0, *(axis[dim.name] for dim in (*_others(header, core), *core))]
    rows = len(block) * rows_per_position(header, core)
    return np.ascontiguousarray(block.transpose(order)).reshape(rows, *(dim.size for dim in core))


def from_rows(
    result: NDArray, n_positions: int, header: MainHeader, core: Sequence[Dim], output: Output
) -> NDArray:
    """Return what a function made of rows as positions by the dimensions of an output.

    Parameters
    ----------
    result
        ``(n_positions * rows_per_position, *sizes)``: of the core dimensions that the output
        keeps, in the order of ``core``, then of its new ones.

    Returns
    -------
    ndarray
        ``(n_positions, *Spectroscopic sizes of the output)``, slow to fast, C order.

    Raises
    ------
    UsidError
        If the shape is not what was declared.
    """
    others = _others(header, core)
    dims = output.side("spectroscopic")
    names = {dim.name for dim in dims}
    kept = [dim for dim in core if dim.name in names]
    known = {dim.name for dim in (*others, *kept)}
    own = [*kept, *(dim for dim in dims if dim.name not in known)]
    declared = (n_positions * rows_per_position(header, core), *(dim.size for dim in own))
    if result.shape != declared:
        raise UsidError(
            f"output {output.name!r}",
            f"a result of shape {result.shape} where {declared} is declared",
            "Let the function return what its declaration says.",
        )
    made = [*others, *own]
    shaped = result.reshape(n_positions, *(dim.size for dim in made))
    at = {dim.name: place for place, dim in enumerate(made, 1)}
    return np.ascontiguousarray(shaped.transpose([0, *(at[dim.name] for dim in dims)]))
