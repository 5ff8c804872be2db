"""Rules on the Indices: how points are counted and ordered, and whether they fill a grid.

R14, R15, R16, R21 and R22.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from usid_tasks.checks.rule import ERROR, INFO, WARNING, Rule, Violation, listed
from usid_tasks.checks.subjects import JudgedSide, JudgedTables
from usid_tasks.checks.tables import MODEL_TABLES
from usid_tasks.grid import Acquisition, FlatReason, Grid, GridKind
from usid_tasks.mains import Column, Side
from usid_tasks.model import JSON

SPARSE_SAMPLING = "Advanced topics, «Sparse Sampling / Compressed Sensing»"


def _are_finite(judged: JudgedTables) -> Iterator[Violation]:
    for attribute, table in judged.arrays.items():
        if attribute.endswith("Indices") and table.dtype.kind == "f":
            n_undefined = int(np.count_nonzero(~np.isfinite(table)))
            if n_undefined:
                path = judged.candidate.ancillaries[attribute].dataset.path
                yield Violation(path, f"{attribute}: {n_undefined} entries are NaN or infinite")


def _count_from_zero(judged: JudgedSide) -> Iterator[Violation]:
    side = judged.side
    if side.grid.kind is GridKind.FLAT:
        return
    odd = [told for column in side.columns if (told := _counting_problem(column))]
    if odd:
        yield Violation(judged.path, listed(odd))
    order = _order_problem(side)
    if order:
        yield Violation(
            judged.path, order, "every index in its turn", "nothing: data are read by index",
            severity=INFO,
        )  # fmt: skip


def _counting_problem(column: Column) -> str:
    indices = column.indices
    if np.array_equal(indices, np.arange(indices.size)):
        return ""
    low, high = indices[0], indices[-1]
    if indices.size == 1:
        return f"{column.label} is {low}"
    if np.array_equal(indices - low, np.arange(indices.size)):
        return f"{column.label} counts from {low} to {high}"
    return f"{column.label} has gaps: {listed(indices.tolist())}"


def _order_problem(side: Side) -> str:
    """Return in which other order the points come, empty for loops that all count upwards."""
    grid = side.grid
    placement = grid.placement
    if placement.is_in_order:
        return ""
    if grid.acquisition is Acquisition.UNORDERED:
        return "points in no regular order"
    if placement.rows is None:
        backwards = [
            side.columns[column].label
            for column, stride in zip(side.axes, placement.strides, strict=True)
            if stride < 0 and column is not None
        ]
        return f"{listed(backwards)} from the last index to the first" if backwards else ""
    measured = placement.rows[placement.rows >= 0]
    if np.array_equal(measured, np.arange(measured.size)):
        return ""
    return "lines that turn back (snake) or leave out lines that follow later (interlaced)"


def _fastest_first(judged: JudgedSide) -> Iterator[Violation]:
    grid = judged.side.grid
    if grid.kind is GridKind.FLAT or grid.acquisition is not Acquisition.NESTED:
        return
    many = [column for column in grid.columns if grid.sizes[column] > 1]
    if many != sorted(many, reverse=True):
        labels = [column.label for column in judged.side.columns]
        stored = [labels[column] for column in sorted(many)]
        actual = [labels[column] for column in reversed(many)]
        yield Violation(
            judged.path, f"columns {', '.join(stored)}; fastest to slowest {', '.join(actual)}"
        )


def _fill_a_grid(judged: JudgedSide) -> Iterator[Violation]:
    grid = judged.side.grid
    n_points = grid.placement.n_rows
    if n_points == 0:
        yield Violation(judged.path, f"no {judged.points} at all", remedy="nothing can be shown")
    elif judged.indices.dataset.storage.unwritten:
        return
    elif grid.kind is GridKind.ABORTED:
        n_cells = math.prod(grid.sizes)
        yield Violation(
            judged.path,
            f"{n_points} of {n_cells} {judged.points}; missing: {_missing_lines(judged.side)}",
            f"all {n_cells} {judged.points} of the grid, each once",
            "nothing: the end is padded, and `valid` tells which cells were measured",
        )
    elif grid.kind is GridKind.FLAT and grid.reason is FlatReason.DUPLICATES:
        yield Violation(
            judged.path,
            _repeated_points(grid),
            remedy="write the true indices; until then all points are kept along one dimension",
        )
    elif grid.kind is GridKind.FLAT and not _counts_points(grid):
        n_cells = math.prod(grid.sizes)
        yield Violation(
            judged.path,
            f"{n_points} of {n_cells} combinations of {_sizes(judged.side)}, "
            "and the missing ones are not the end of a scan",
            remedy="nothing: all points are kept along one dimension, with their Values",
        )


def _sizes(side: Side) -> str:
    return " × ".join(f"{column.size} {column.label}" for column in side.columns)


def _missing_lines(side: Side) -> str:
    """Return the cells that were not measured, line by line along the fastest dimension."""
    valid = side.grid.valid
    columns = [side.columns[column] for column in side.axes if column is not None]
    if valid is None or not columns:
        return ""
    lines = valid.reshape(-1, valid.shape[-1])
    told = []
    for line in np.flatnonzero(~lines.all(axis=1)):
        place = np.unravel_index(line, valid.shape[:-1])
        where = [f"{c.label} {c.indices[at]}" for c, at in zip(columns, place, strict=False)]
        runs = _runs(np.flatnonzero(~lines[line]), columns[-1])
        told.append(f"{', '.join([*where, ''])}{columns[-1].label} {runs}")
    return listed(told, most=3).replace("more", "more lines")


def _runs(ranks: NDArray[np.intp], column: Column) -> str:
    pieces = np.split(ranks, np.flatnonzero(np.diff(ranks) > 1) + 1)
    ends = [(column.indices[piece[0]], column.indices[piece[-1]]) for piece in pieces]
    return listed(f"{a}" if a == b else f"{a} to {b}" for a, b in ends)


def _repeated_points(grid: Grid) -> str:
    """Return which rows of the index table repeat the cell of an earlier one."""
    _, first, back = np.unique(grid.ranks, axis=0, return_index=True, return_inverse=True)
    earlier = first[back.ravel()]
    repeats = np.flatnonzero(earlier != np.arange(len(earlier)))
    tail = repeats[0] if len(repeats) else 0
    n_rows = len(earlier)
    if len(repeats) > 1 and len(repeats) == n_rows - tail and len(set(earlier[repeats])) == 1:
        found = f"rows {tail} to {n_rows - 1} all have the indices of row {earlier[tail]}"
        return f"{found}: allocated, and never filled"
    pairs = [f"row {row} has those of row {earlier[row]}" for row in repeats]
    return f"{len(repeats)} of {n_rows} rows repeat indices: {listed(pairs, most=3)}"


def _counts_points(grid: Grid) -> bool:
    """Return True where every column counts the points, as specified for a sparse scan."""
    n_rows = grid.placement.n_rows
    return set(grid.sizes) == {n_rows} and bool(np.all(grid.ranks == np.arange(n_rows)[:, None]))


def _is_sparse(judged: JudgedSide) -> Iterator[Violation]:
    grid = judged.side.grid
    if grid.kind is GridKind.FLAT and _counts_points(grid):
        yield Violation(judged.path, f"{grid.placement.n_rows} sparse {judged.points}, no grid")


def _as_names(value: JSON) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text.strip() for text in values if isinstance(text, str)]


def _declares_what_is(judged: JudgedSide) -> Iterator[Violation]:
    labels = [column.label for column in judged.side.columns]
    problems: list[str] = []
    told: list[str] = []
    declared: dict[str, list[JSON]] = {}
    for table in (judged.indices, judged.values):
        for name in ("incomplete_dimensions", "dependent_dimensions", "type"):
            if name in table.dataset.attributes.values:
                declared.setdefault(name, []).append(table.dataset.attributes.values[name])
    for name, values in declared.items():
        if name != "type":
            told.append(f"{name} {', '.join(_as_names(values[0]))}")
            problems += [
                f"{name} names {text}, which is no dimension"
                for text in dict.fromkeys(text for value in values for text in _as_names(value))
                if text not in labels
            ]
        elif any(_flags(value) for value in values):
            told.append(f"type {_flags(values[0])}")
        if len(values) == 2 and values[0] != values[1]:
            problems.append(f"{name} differs between Indices and Values")
    if _declares_incomplete(declared) and judged.side.grid.kind is GridKind.FULL:
        problems.append(f"{listed(told)}, but the indices fill a grid")
    if problems:
        yield Violation(judged.path, listed(problems), severity=WARNING)
    elif told:
        yield Violation(judged.path, listed(told))


def _flags(value: JSON) -> Sequence[int]:
    """Return the kinds of dimension that pyUSID writes, empty if all are ordinary or it is none."""
    values = value if isinstance(value, list) else [value]
    flags = [flag for flag in values if isinstance(flag, int)]
    return flags if any(flags) and len(flags) == len(values) else []


def _declares_incomplete(declared: dict[str, list[JSON]]) -> bool:
    return "incomplete_dimensions" in declared or any(
        1 in _flags(value) for value in declared.get("type", [])
    )


R14 = Rule(
    id="R14",
    severity=WARNING,
    varies="error for NaN, information for snake, reversed, interlaced and random order",
    title="Indices count from zero",
    why="They are counters. Here every cell is placed by its own indices, so offsets, gaps and "
    "any order do no harm; other readers of USID misplace cells or fail.",
    section=MODEL_TABLES,
    expected="0, 1, 2 ... for each dimension",
    remedy="nothing needs to be done here; new files: integers that count from 0",
    example="Y counts from 7 to 9",
    find=_count_from_zero,
)
R14_FINITE = replace(
    R14,
    severity=ERROR,
    expected="finite numbers",
    remedy="write Indices as integers that count from 0",
    find=_are_finite,
)
R15 = Rule(
    id="R15",
    severity=INFO,
    title="The fastest dimension comes first",
    why="Columns (Position) and rows (Spectroscopic) go from fast to slow; pyUSID since 0.0.6 "
    "writes the slowest first. The order is read off the indices, so both are understood.",
    section=f"{MODEL_TABLES}; h5USID, «Ancillary data»",
    expected="columns from fastest to slowest",
    remedy="nothing needs to be done; new files: fastest first",
    example="columns Y, X; fastest to slowest X, Y",
    find=_fastest_first,
)
R16 = Rule(
    id="R16",
    severity=WARNING,
    title="Points fill a grid, each cell once",
    why="Only a full grid has an N-D form. The missing end of a scan is padded; anything else "
    "becomes one dimension of all points, with nothing dropped or invented.",
    section=MODEL_TABLES,
    expected="every combination of indices, each once",
    remedy="nothing: all points are kept",
    example="13 of 15 positions; missing: Y 2, X 3 to 4",
    find=_fill_a_grid,
)
R21 = Rule(
    id="R21",
    severity=INFO,
    title="Sparse scans count their points in every column",
    why="That is how the specification stores points without a grid: they become one dimension "
    "with the true coordinates along it.",
    section=SPARSE_SAMPLING,
    expected="a grid, or this",
    remedy="nothing: this is as specified",
    example="6 sparse positions, no grid",
    find=_is_sparse,
)
R22 = Rule(
    id="R22",
    severity=INFO,
    varies="warning where it contradicts the tables",
    title="Declarations of incomplete dimensions agree with the indices",
    why="incomplete_dimensions, dependent_dimensions and type are not in the specification; what "
    "is incomplete is read off the indices alone.",
    section=SPARSE_SAMPLING,
    expected="no such attribute, or one that is true",
    remedy="nothing, or remove the attribute from both tables where it is wrong",
    example="incomplete_dimensions X, Y",
    find=_declares_what_is,
)
