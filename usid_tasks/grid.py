"""Which cell goes where: the N-D order of one side of a Main dataset, from its index table.

Nothing is assumed about the order of acquisition or of the columns. Every row of an index
table is placed by its own indices; the order of the dimensions (slow to fast) is read off the
table where rows were acquired as nested loops (also snake, interlaced, reversed), and follows
the specification's column order (USID model, "Ancillary Datasets": first column fastest) where
they were not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_CELLS_AT_ONCE = 2**18


class GridKind(StrEnum):
    """The form that one side of a Main dataset takes."""

    FULL = "full"
    ABORTED = "aborted"
    FLAT = "flat"


class FlatReason(StrEnum):
    """Why a side has no N-D form."""

    DUPLICATES = "duplicate cells"
    SPARSE = "not every combination of indices was measured"


class Acquisition(StrEnum):
    """In which order the cells of a side were acquired."""

    NESTED = "nested"
    UNORDERED = "unordered"


@dataclass(frozen=True)
class Placement:
    """Where the cells of an N-D side lie among the rows of its table.

    ``shape`` is slow to fast. The row of cell ``(i, j, ...)`` is ``start + i * strides[0] +
    ...`` where ``rows`` is None, else ``rows[i, j, ...]`` (flattened in C order), with -1 for
    a cell that was not measured.
    """

    shape: tuple[int, ...]
    n_rows: int
    start: int = 0
    strides: tuple[int, ...] = ()
    rows: NDArray[np.int64] | None = None

    def rows_of(self, indexers: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the rows of the outer product of ``indexers``, one 1-D array per dimension."""
        if self.rows is not None:
            grid = self.rows.reshape(self.shape)
            return np.asarray(grid[np.ix_(*indexers)]) if indexers else grid.reshape(())
        total = np.full((1,) * len(self.shape), self.start, dtype=np.int64)
        for dim, (indexer, stride) in enumerate(zip(indexers, self.strides, strict=True)):
            shape = [1] * len(self.shape)
            shape[dim] = -1
            total = total + (np.asarray(indexer, dtype=np.int64) * stride).reshape(shape)
        return total

    @property
    def is_in_order(self) -> bool:
        """True where the rows of the table already stand in C order of the N-D array."""
        return (
            self.rows is None
            and self.start == 0
            and all(
                stride == math.prod(self.shape[dim + 1 :])
                for dim, stride in enumerate(self.strides)
                if self.shape[dim] > 1
            )
        )

    @cached_property
    def has_straight_lines(self) -> bool:
        """True where a table places each line of the fastest dimension in, or against, order."""
        assert self.rows is not None, "the placement is a table"
        lines = self.rows.reshape(-1, self.shape[-1] if self.shape else 1)
        at_once = max(1, _CELLS_AT_ONCE // max(lines.shape[1], 1))
        for first in range(0, len(lines), at_once):
            some = lines[first : first + at_once]
            steps = np.diff(some, axis=1)
            if some.min(initial=0) < 0 or not np.all((steps == steps[:, :1]) & (abs(steps) == 1)):
                return False
        return True


def in_order(shape: Sequence[int]) -> Placement:
    """Return the placement of an array whose cells are stored in C order, one to a row."""
    strides = tuple(math.prod(shape[dim + 1 :]) for dim in range(len(shape)))
    return Placement(tuple(shape), math.prod(shape), 0, strides)


@dataclass(frozen=True)
class Grid:
    """The order of one side: ``columns`` slow to fast (size-one dimensions included)."""

    kind: GridKind
    columns: tuple[int, ...]
    sizes: tuple[int, ...]
    placement: Placement
    acquisition: Acquisition
    ranks: NDArray[np.intp]
    indices: tuple[NDArray, ...]
    reason: FlatReason | None = None

    @property
    def valid(self) -> NDArray[np.bool_] | None:
        """Which cells were measured; None where all were."""
        if self.kind is not GridKind.ABORTED or self.placement.rows is None:
            return None
        return (self.placement.rows >= 0).reshape(self.placement.shape)


def rank_columns(table: NDArray) -> tuple[NDArray[np.intp], tuple[NDArray, ...]]:
    """Return the rank of every index within its column, and each column's sorted indices.

    ``table`` is ``(n_points, n_dims)``; so are the ranks. Offsets and gaps vanish (R14).
    """
    ranks = np.empty(table.shape, dtype=np.intp)
    uniques = []
    for column in range(table.shape[1]):
        indices = np.ascontiguousarray(table[:, column])
        unique, inverse = _ranks_of_counter(indices)
        ranks[:, column] = inverse
        uniques.append(unique)
    return ranks, tuple(uniques)


def _ranks_of_counter(indices: NDArray) -> tuple[NDArray, NDArray[np.intp]]:
    """Return ``np.unique(indices, return_inverse=True)``, without a sort for dense counters."""
    if indices.size and indices.dtype.kind in "iu":
        low, high = int(indices.min()), int(indices.max())
        if high - low < 4 * indices.size + 1024:
            wide = np.int64 if high < 2**63 else np.uint64
            shifted = (indices.astype(wide) - wide(low)).astype(np.intp)
            present = np.bincount(shifted, minlength=high - low + 1) > 0
            unique = (np.flatnonzero(present).astype(wide) + wide(low)).astype(indices.dtype)
            return unique, (np.cumsum(present) - 1)[shifted]
    unique, inverse = np.unique(indices, return_inverse=True)
    return unique, inverse.astype(np.intp)


def _count_runs(ranks: NDArray[np.intp]) -> int:
    """Return the number of runs of equal rows in ``(n, k)`` ranks."""
    return 1 + int(np.count_nonzero(np.any(ranks[1:] != ranks[:-1], axis=1)))


def _count_distinct(ranks: NDArray[np.intp], sizes: Sequence[int]) -> int:
    cells = np.ravel_multi_index(list(ranks.T), tuple(sizes))
    return int(np.count_nonzero(np.bincount(cells)))


def _runs(column: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the value of each run of equal entries, and where each run starts."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(column)) + 1]).astype(np.intp)
    return column[starts], starts


def _is_prefix(part: NDArray[np.intp], whole: NDArray[np.intp]) -> bool:
    return len(part) <= len(whole) and (
        np.array_equal(part, whole[: len(part)]) or np.array_equal(part, whole[::-1][: len(part)])
    )


def _is_tail_missing(
    before: NDArray[np.intp], last: NDArray[np.intp], sizes: Sequence[int]
) -> bool:
    """Return True if the rows ``last`` are the beginning of a loop like ``before``.

    Both are ``(n, k)`` ranks of the remaining columns, slow to fast; ``before`` is complete.
    """
    if not sizes:
        return True
    values_before, starts_before = _runs(before[:, 0])
    values, starts = _runs(last[:, 0])
    if not _is_prefix(values, values_before):
        return False
    per_run = math.prod(sizes[1:])
    if np.any(np.diff(starts) != per_run):
        return False
    final = last[starts[-1] :, 1:]
    if len(final) == per_run:
        return True
    if len(starts) > 1:
        previous = last[starts[-2] : starts[-1], 1:]
    else:
        previous = before[starts_before[-1] :, 1:]
    return _is_tail_missing(previous, final, sizes[1:])


def _is_aborted(ranks: NDArray[np.intp], sizes: Sequence[int]) -> bool:
    """Return True if nested rows fill the grid but for the end of the last, slowest loop."""
    if len(sizes) < 2:
        return False
    values, starts = _runs(ranks[:, 0])
    per_run = math.prod(sizes[1:])
    if len(values) != sizes[0] or np.any(np.diff(starts) != per_run):
        return False
    before = ranks[starts[-2] : starts[-1], 1:]
    return _is_tail_missing(before, ranks[starts[-1] :, 1:], sizes[1:])


def _ties(ranks: NDArray[np.intp], columns: Sequence[int]) -> list[list[int]]:
    """Return the columns by how often their index changes, slow to fast.

    A faster loop never changes less often than a slower one. Where two change equally often
    (an aborted raster of short loops), the order is that of ``columns``.
    """
    changes = {
        column: int(np.count_nonzero(ranks[1:, column] != ranks[:-1, column])) for column in columns
    }
    rates = sorted(set(changes.values()))
    return [[column for column in columns if changes[column] == rate] for rate in rates]


def _nested_orders(
    ranks: NDArray[np.intp], sizes: Sequence[int], ties: Sequence[Sequence[int]]
) -> Iterator[tuple[int, ...]]:
    """Yield the orders of columns, slow to fast, in which rows run as nested loops.

    Each combination of the slower columns then fills exactly one run of rows. The order
    within a loop is free: reversed, interlaced and snake lines are nested loops too. Whether a
    column may come next depends on which columns are slower, not on their order, so orders grow
    column by column and each set of columns is looked at once; of tied columns those that
    come first are tried first.
    """
    known: dict[frozenset[int], bool] = {}
    n_columns = sum(map(len, ties))

    def is_nested(slower: tuple[int, ...]) -> bool:
        if frozenset(slower) not in known:
            part = ranks[:, sorted(slower)]
            n_distinct = _count_distinct(part, [sizes[column] for column in sorted(slower)])
            known[frozenset(slower)] = _count_runs(part) == n_distinct
        return known[frozenset(slower)]

    def grow(slower: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(slower) == n_columns:
            yield slower
            return
        tie = next(tie for tie in ties if not set(tie) <= set(slower))
        for column in tie:
            order = (*slower, column)
            # the fastest loop needs no test: every row is a combination of its own
            if column not in slower and (len(order) == n_columns or is_nested(order)):
                yield from grow(order)

    yield from grow(())


def _nesting(
    ranks: NDArray[np.intp], sizes: Sequence[int], *, is_full: bool
) -> tuple[int, ...] | None:
    """Return the columns slow to fast if rows were acquired as nested loops, to the end or not."""
    by_specification = list(range(len(sizes)))[::-1]
    still = tuple(column for column in by_specification if sizes[column] == 1)
    moving = [column for column in by_specification if sizes[column] > 1]
    for order in _nested_orders(ranks, sizes, _ties(ranks, moving)):
        many_sizes = [sizes[column] for column in order]
        if is_full or _is_aborted(ranks[:, order], many_sizes):
            return (*still, *order)
    return None


def _placement(ranks: NDArray[np.intp], shape: tuple[int, ...]) -> Placement:
    """Return where each cell of ``shape`` lies; ``ranks`` has one column for each dimension."""
    n_rows = len(ranks)
    cells = np.ravel_multi_index(list(ranks.T), shape) if shape else np.zeros(n_rows, np.intp)
    rows = np.full(math.prod(shape), -1, dtype=np.int64)
    rows[cells] = np.arange(n_rows)
    start = int(rows[0])
    if start >= 0:
        grid = rows.reshape(shape)
        strides = []
        for dim, size in enumerate(shape):
            unit = tuple(int(other == dim) for other in range(len(shape)))
            strides.append(int(grid[unit]) - start if size > 1 else 0)
        affine = Placement(shape, n_rows, start, tuple(strides))
        everywhere = affine.rows_of([np.arange(size) for size in shape])
        if np.array_equal(everywhere.ravel(), rows):
            return affine
    return Placement(shape, n_rows, rows=rows)


def _flat(
    columns: Sequence[int],
    sizes: Sequence[int],
    ranks: NDArray[np.intp],
    uniques: tuple[NDArray, ...],
    reason: FlatReason,
) -> Grid:
    n_rows = len(ranks)
    placement = Placement((n_rows,), n_rows, 0, (1,))
    return Grid(
        GridKind.FLAT, tuple(columns), tuple(sizes), placement, Acquisition.UNORDERED,
        ranks, uniques, reason,
    )  # fmt: skip


def arrange(table: NDArray, *, may_pad: bool) -> Grid:
    """Return the N-D order of one side from its index table.

    Parameters
    ----------
    table
        ``(n_points, n_dims)`` of integers or finite floats: Position_Indices as stored, or
        Spectroscopic_Indices transposed.
    may_pad
        True on the Position side: a raster whose end is missing keeps its N-D form, its
        missing cells told by :attr:`Grid.valid`.

    Returns
    -------
    Grid
        ``placement.shape`` holds the sizes of the dimensions larger than one, slow to fast,
        or ``(n_points,)`` where the points fill no grid. Nothing is dropped in either form.
    """
    n_rows, n_dims = table.shape
    ranks, uniques = rank_columns(table)
    sizes = [len(unique) for unique in uniques]
    if n_rows == 0:
        backwards = tuple(range(n_dims))[::-1]
        shape = (0,) * n_dims
        placement = Placement(shape, 0, 0, (0,) * n_dims)
        return Grid(
            GridKind.FULL, backwards, tuple(sizes), placement, Acquisition.NESTED, ranks, uniques
        )
    n_cells = math.prod(sizes)
    specification = list(range(n_dims))[::-1]
    if n_cells < n_rows:
        return _flat(specification, sizes, ranks, uniques, FlatReason.DUPLICATES)
    if n_cells >= 2 * n_rows:
        distinct = len(np.unique(ranks, axis=0))
        reason = FlatReason.SPARSE if distinct == n_rows else FlatReason.DUPLICATES
        return _flat(specification, sizes, ranks, uniques, reason)
    if _count_distinct(ranks, sizes) != n_rows:
        return _flat(specification, sizes, ranks, uniques, FlatReason.DUPLICATES)
    is_full = n_cells == n_rows
    nesting = _nesting(ranks, sizes, is_full=is_full) if is_full or may_pad else None
    if nesting is None and not is_full:
        return _flat(specification, sizes, ranks, uniques, FlatReason.SPARSE)
    order = tuple(specification) if nesting is None else nesting
    many = [column for column in order if sizes[column] > 1]
    many_sizes = [sizes[column] for column in many]
    return Grid(
        GridKind.FULL if is_full else GridKind.ABORTED,
        order,
        tuple(sizes),
        _placement(ranks[:, many], tuple(many_sizes)),
        Acquisition.UNORDERED if nesting is None else Acquisition.NESTED,
        ranks,
        uniques,
    )
