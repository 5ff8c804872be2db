"""What an axis truly is: how its values run, and along which dimensions they vary.

The test for uniformity is our own. It works on the whole axis (first to last value, never one
slope between neighbours), in steps rather than in percent, on signed differences in extended
precision, so that descending and unsigned values neither pass by their sign nor wrap around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from usid_tasks.thresholds import UNIFORM_TOLERANCE


class AxisKind(StrEnum):
    """How the values of one dimension run along its index."""

    UNIFORM = "uniform"
    MONOTONIC = "monotonic"
    NON_MONOTONIC = "non-monotonic"
    CONSTANT = "constant"
    UNDEFINED = "undefined"
    INDEX = "index"


def is_numeric(dtype: np.dtype) -> bool:
    """Return True for integers, floats, complex numbers and booleans."""
    return dtype.kind in "biufc"


def classify(values: NDArray, *, tolerance: float = UNIFORM_TOLERANCE) -> AxisKind:
    """Return how ``values`` run along their index.

    Parameters
    ----------
    values
        ``(n,)``, any numeric dtype, in index order.
    tolerance
        Largest deviation from the line through the first and the last value, in steps. The
        rounding of the values' own dtype (one unit in the last place of the largest
        magnitude) is allowed on top, as long as it is below half a step.
    """
    if values.ndim != 1:
        raise ValueError(f"an axis has one dimension, not {values.ndim}")
    if values.size == 0 or not np.all(np.isfinite(values)):
        return AxisKind.UNDEFINED
    if np.all(values == values[0]):
        return AxisKind.CONSTANT
    if values.dtype.kind == "c":
        return AxisKind.NON_MONOTONIC
    exact = values.astype(np.longdouble)
    steps = np.diff(exact)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        return AxisKind.NON_MONOTONIC
    step = (exact[-1] - exact[0]) / (exact.size - 1)
    line = exact[0] + step * np.arange(exact.size, dtype=np.longdouble)
    deviation = np.max(np.abs(exact - line))
    rounding = np.longdouble(0)
    if values.dtype.kind == "f":
        largest = np.max(np.abs(values))
        rounding = np.longdouble(np.spacing(largest))
    allowed = tolerance * abs(step) + min(rounding, abs(step) / 2)
    return AxisKind.UNIFORM if deviation <= allowed else AxisKind.MONOTONIC


def same_values(left: NDArray, right: NDArray) -> NDArray[np.bool_]:
    """Return elementwise equality in which NaN equals NaN."""
    equal = left == right
    if left.dtype.kind in "fc":
        equal |= np.isnan(left) & np.isnan(right)
    return np.asarray(equal)


@dataclass(frozen=True)
class Dependence:
    """A column of a Values table, reduced to the dimensions on which it depends.

    ``dims`` are positions in the slow-to-fast order that was given (empty: one value for
    all); ``values`` has one axis for each; ``measured`` is False in cells of ``values`` that
    no row of the table fills (never where ``dims`` has at most one entry).
    """

    dims: tuple[int, ...]
    values: NDArray
    measured: NDArray[np.bool_]


def _first_in_group(
    values: NDArray, ranks: NDArray[np.intp], dims: Sequence[int], sizes: Sequence[int]
) -> tuple[NDArray, NDArray[np.bool_], bool]:
    """Return each group's first value, which groups exist, and if all values agree."""
    shape = tuple(sizes[dim] for dim in dims)
    count = int(np.prod(shape, dtype=np.int64))
    if dims:
        group = np.ravel_multi_index([ranks[:, dim] for dim in dims], shape)
    else:
        group = np.zeros(len(values), dtype=np.intp)
    first = np.full(count, -1, dtype=np.int64)
    first[group[::-1]] = np.arange(len(values) - 1, -1, -1)
    measured = first >= 0
    table = np.zeros(count, dtype=values.dtype)
    table[measured] = values[first[measured]]
    agree = bool(np.all(same_values(table[group], values)))
    return table.reshape(shape), measured.reshape(shape), agree


def along_own(cells: NDArray, own: int, *, backwards: Sequence[int] = ()) -> NDArray | None:
    """Return the one value at each place along a dimension, None where they change along others.

    The answer of :func:`depends_on` for values that fill a grid and are named after the dimension
    that they depend on, without looking at each row's ranks.

    Parameters
    ----------
    cells
        The values in the order of the grid, one axis for each dimension.
    own
        The dimension.
    backwards
        Dimensions that were acquired from the last index to the first: of values that are equal,
        the first that was acquired counts (0 and -0, which NaN).
    """
    firsts = tuple(
        slice(None) if dim == own else slice(-1, None) if dim in backwards else slice(1)
        for dim in range(cells.ndim)
    )
    first = cells[firsts]
    if not (np.all(cells == first) or np.all(same_values(cells, first))):
        return None
    return np.array(first).reshape(-1)


def depends_on(
    values: NDArray, ranks: NDArray[np.intp], sizes: Sequence[int], own: int
) -> Dependence:
    """Return ``values`` as a function of the fewest dimensions that determine it.

    Parameters
    ----------
    values
        ``(n_points,)``, one column of a Values table, every cell at most once.
    ranks
        ``(n_points, n_dims)``, rank of each index within its dimension, slow to fast.
    sizes
        Size of each dimension, slow to fast.
    own
        Which of the dimensions the column is named after: tried first (R17).
    """
    table, measured, agree = _first_in_group(values, ranks, (own,), sizes)
    if agree:
        return Dependence((own,), table, measured)
    dims = tuple(range(len(sizes)))
    for dim in dims:
        fewer = tuple(other for other in dims if other != dim)
        if _first_in_group(values, ranks, fewer, sizes)[2]:
            dims = fewer
    table, measured, _ = _first_in_group(values, ranks, dims, sizes)
    return Dependence(dims, table, measured)
