"""What breaks the rules on the order of the points and on their Values."""

from __future__ import annotations

import index_tables as it
import numpy as np
from cases import ERROR, FULL_STEPS, INFO, NO_GRID, SPOTS, Case, axis, cycles, on, raster
from usid_files import Side

GRID = it.grid({"Y": 3, "X": 4})


def points(table: np.ndarray, **more: object) -> dict[str, Side]:
    """Return how to write a Main at these positions."""
    return {"position": Side(table, ["X", "Y"], **more)}


def steps(*indices: float) -> dict[str, Side]:
    """Return how to write a Main with these indices of Bias, as floats."""
    table = np.array(indices)[:, None]
    return {"spectroscopic": Side(table, ["Bias"], ["V"], np.arange(3)[:, None], "f4")}


RULES_ON_ORDER = [
    Case("R14", "Y counts from 7 to 9", how=raster(offset={"Y": 7}), twin=raster()),
    Case("R14", "X has gaps: 0, 2, 4, 6 and 1 more", how=raster(stride={"X": 2}), twin=raster()),
    Case("R14", "Bias has gaps: 0.0, 0.5, 1.0", how=steps(0, 0.5, 1), twin=steps(0, 1, 2)),
    Case(
        "R14", "lines that turn back (snake) or leave out lines that follow later (interlaced)",
        INFO, how=raster(snake=["X"]), twin=raster(),
    ),
    Case(
        "R14", "lines that turn back (snake) or leave out lines that follow later (interlaced)",
        INFO, how=raster(visits={"Y": [0, 2, 1]}), twin=raster(),
    ),
    Case(
        "R14", "X from the last index to the first", INFO,
        how=raster(backwards=["X"]), twin=raster(),
    ),
    Case("R14", "points in no regular order", INFO, how=points(it.shuffled(GRID))),
    Case(
        "R14", "Spectroscopic_Indices: 1 entries are NaN or infinite", ERROR,
        how=steps(0, 1, np.nan), twin=steps(0, 1, 2),
    ),
    Case(
        "R15", "columns Y, X; fastest to slowest X, Y", INFO,
        how={"position": Side(it.grid({"Y": 3, "X": 4}, columns=["Y", "X"]), ["Y", "X"])},
    ),
    Case("R16", "13 of 15 positions; missing: Y 2, X 3 to 4", how=raster(13), twin=raster()),
    Case(
        "R16", "rows 7 to 11 all have the indices of row 0: allocated, and never filled",
        how=points(it.preallocated(GRID, 7)),
    ),
    Case(
        "R16", "1 of 12 rows repeat indices: row 11 has those of row 4",
        how=points(np.vstack([GRID[:11], [[0, 1]]])),
    ),
    Case(
        "R16",
        "14 of 15 combinations of 5 X × 3 Y, and the missing ones are not the end of a scan",
        how=points(np.delete(it.grid({"Y": 3, "X": 5}), 7, axis=0)), twin=raster(),
    ),
    Case(
        "R16",
        "12 of 36 combinations of 4 Bias × 3 Cycle × 3 Field, and the missing ones are not "
        "the end of a scan",
        how={"spectroscopic": Side(
            it.with_dependent_column(FULL_STEPS, 1), ["Bias", "Cycle", "Field"]
        )},
        twin={"spectroscopic": Side(FULL_STEPS, ["Bias", "Cycle"])},
    ),
    Case("R16", "no positions at all", how=points(np.zeros((0, 2), int))),
    Case(
        "R21", "6 sparse positions, no grid", INFO,
        how=NO_GRID, twin=points(it.grid({"Y": 2, "X": 3})),
    ),
    Case(
        "R22", "incomplete_dimensions X, Y", INFO, twin=NO_GRID,
        how=points(SPOTS, attrs={"incomplete_dimensions": np.array([b"X", b"Y"])}),
    ),
    Case(
        "R22", "incomplete_dimensions X, but the indices fill a grid",
        how=on("Position", "incomplete_dimensions", "X"),
    ),
    Case(
        "R22", "dependent_dimensions names Field, which is no dimension",
        how=on("Position", "dependent_dimensions", "Field"),
    ),
    Case(
        "R22", "incomplete_dimensions differs between Indices and Values", twin=NO_GRID,
        how={**NO_GRID, "table_attrs": {
            "Position_Indices": {"incomplete_dimensions": np.array([b"X", b"Y"])},
            "Position_Values": {"incomplete_dimensions": np.array([b"X"])},
        }},
    ),
    Case(
        "R22", "type [1, 1]", INFO,
        how=points(SPOTS, attrs={"type": np.array([1, 1])}),
        twin=points(SPOTS, attrs={"type": np.array([0, 0])}),
    ),
]  # fmt: skip

RULES_ON_VALUES = [
    Case(
        "R17", "the Values of Bias depend on Cycle",
        how=cycles((FULL_STEPS[:, 0] - 1.5) * (FULL_STEPS[:, 1] + 1)),
        twin=cycles(FULL_STEPS[:, 0] - 1.5),
    ),
    Case(
        "A1", "Bias: 0 to 9 V in 4 steps of 1 to 5", INFO,
        how=axis(0, 1, 4, 9), twin=axis(0, 3, 6, 9),
    ),
    Case(
        "A1", "Bias: 1e+06 to 1 V in 4 steps of 99 to 990000", INFO,
        how=axis(1e6, 1e4, 100, 1), twin=axis(4, 3, 2, 1),
    ),
    Case(
        "A2", "Bias: 0 to 0 V in 5 steps, turning once between 0 and 2",
        how=axis(0, 1, 2, 1, 0), twin=axis(0, 1, 2, 3, 4),
    ),
    Case(
        "A2", "Bias: 0 to 2 V in 4 steps, some values twice",
        how=axis(0, 1, 1, 2), twin=axis(0, 1, 2, 3),
    ),
    Case(
        "A3", "Bias: 7 V at all 5 indices",
        how=axis(7, 7, 7, 7, 7), twin=axis(7, 8, 9, 10, 11),
    ),
    Case(
        "A4", "Bias: 1 of 5 values are NaN or infinite",
        how=axis(0, np.nan, 2, 3, 4), twin=axis(0, 1, 2, 3, 4),
    ),
    Case(
        "A4", "X: 1 of 6 values are NaN or infinite", twin=NO_GRID,
        how=points(SPOTS, values=np.where(np.add(SPOTS, [[0, 9]]) == 3, np.nan, SPOTS)),
    ),
]  # fmt: skip
