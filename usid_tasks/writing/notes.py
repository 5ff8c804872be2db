"""What the attributes of a table tell of its dimensions beyond the specification.

Cells alone tell neither where dimensions of size one stand among the others, nor the scale of
one point, nor whether an axis was a vector. So the writer notes that, and the reader takes it
where it agrees with the cells: another program may have changed these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.model import JSON
from usid_tasks.writing.dimensions import Dimension

ORDER = "column_order"
SCALES = "scales"
BINNED = "is_binned"
NAMES = (ORDER, SCALES, BINNED)

_ORDERS = {False: "slow to fast", True: "fast to slow"}


def notes_of(dimensions: Sequence[Dimension], *, is_fastest_first: bool) -> dict[str, Any]:
    """Return the attributes of both tables of a side; ``dimensions`` are in their order.

    ``scales`` are float64, NaN for a dimension that is a vector; ``is_binned`` is left out where
    no dimension is. A side that has none of the signal's axes has no notes.
    """
    if any(one.is_none for one in dimensions):
        return {}
    scales = [math.nan if one.scale is None else one.scale for one in dimensions]
    found = {ORDER: _ORDERS[is_fastest_first], SCALES: np.array(scales, np.float64)}
    if any(one.is_binned for one in dimensions):
        found[BINNED] = np.array([one.is_binned for one in dimensions])
    return found


@dataclass(frozen=True)
class Notes:
    """What a table tells of its columns; ``is_fastest_first`` is None where it has no notes."""

    is_fastest_first: bool | None = None
    scales: tuple[float, ...] = ()
    binned: tuple[bool, ...] = ()

    @classmethod
    def of(cls, attributes: Mapping[str, JSON], n_columns: int) -> Notes:
        """Return the notes among the attributes of a table, as records have them."""
        order = {text: is_first for is_first, text in _ORDERS.items()}.get(
            str(attributes.get(ORDER))
        )
        scales, binned = (_listed(attributes.get(name), n_columns) for name in (SCALES, BINNED))
        return cls(order, tuple(map(_number, scales)), tuple(each is True for each in binned))

    def is_binned(self, column: int) -> bool:
        """Return True where the axis of a column was told to be binned."""
        return column < len(self.binned) and self.binned[column]

    def is_vector(self, column: int) -> bool:
        """Return True where the Values of a column were given one by one."""
        return column < len(self.scales) and math.isnan(self.scales[column])

    def scale(self, column: int, values: NDArray) -> float | None:
        """Return the scale of a column whose Values, ``(n,)``, are what it makes of them."""
        is_told = column < len(self.scales) and math.isfinite(self.scales[column])
        if not is_told or values.dtype.kind not in "iuf":
            return None
        scale, found = self.scales[column], np.atleast_1d(values).astype(np.float64)
        made = found[0] + scale * np.arange(len(found))
        return scale if np.array_equal(made, found) else None


def _listed(told: JSON, n_columns: int) -> Sequence[JSON]:
    return told if isinstance(told, list) and len(told) == n_columns else ()


def _number(told: JSON) -> float:
    return float(told) if isinstance(told, (int, float)) else math.nan
