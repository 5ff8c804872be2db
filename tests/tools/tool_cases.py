"""Headers and arrays for tests of tools, and what holds for every tool by position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from usid_tasks.tools import Dim, MainHeader, Parameters, Tool
from usid_tasks.tools.in_memory import Results, compute, header_of


def scan(
    array: NDArray,
    *,
    positions: dict[str, int],
    steps: dict[str, NDArray | int],
    units: dict[str, str] | None = None,
    main_units: str = "V",
) -> MainHeader:
    """Return the header of an array: positions by size, steps by their Values (or size only)."""
    units = units or {}
    dims = [
        Dim(name, size, "position", units.get(name, "m"), np.arange(size) * 1.0)
        for name, size in positions.items()
    ]
    for name, values in steps.items():
        if isinstance(values, int):
            dims.append(Dim(name, values, "spectroscopic", units.get(name, "")))
        else:
            values = np.asarray(values)
            dims.append(Dim(name, values.size, "spectroscopic", units.get(name, ""), values))
    return header_of(array, dims, quantity="Deflection", units=main_units)


def assert_same_bits(left: Results, right: Results) -> None:
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        assert array.dtype == right[name].dtype
        assert array.shape == right[name].shape
        assert array.tobytes() == right[name].tobytes(), name


def assert_blocks_do_not_count(
    tool: Tool, array: NDArray, header: MainHeader, params: Parameters | dict[str, object]
) -> None:
    """One position at a time, some, and all of them: the same bits."""
    whole = compute(tool, array, header, params)
    for size in (1, 2, 3, 5, 7):
        assert_same_bits(whole, compute(tool, array, header, params, block_positions=size))
