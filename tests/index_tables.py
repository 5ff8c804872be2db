"""Index tables of scans: which indices the instrument visits, point after point.

Every function returns ``(n_points, n_dims)`` int64; a Spectroscopic table is written transposed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np


def grid(
    sizes: Mapping[str, int],
    *,
    columns: Sequence[str] | None = None,
    snake: Sequence[str] = (),
    backwards: Sequence[str] = (),
    visits: Mapping[str, Sequence[int]] | None = None,
    offset: Mapping[str, int] | None = None,
    stride: Mapping[str, int] | None = None,
) -> np.ndarray:
    """Return the table of nested loops, ``sizes`` given slowest first.

    Parameters
    ----------
    columns
        Order of the columns; by default the specification's, fastest first.
    snake
        Dimensions whose direction turns at every pass.
    backwards
        Dimensions visited from their last index to their first.
    visits
        Order of the indices of a dimension in every pass (interlaced lines).
    offset, stride
        First index and distance between indices, per dimension.
    """
    passes = dict.fromkeys(sizes, 0)
    visits = visits or {}

    def walk(loops: Sequence[str]) -> Iterator[dict[str, int]]:
        if not loops:
            yield {}
            return
        name = loops[0]
        line = list(visits.get(name, range(sizes[name])))
        if name in backwards:
            line.reverse()
        if name in snake and passes[name] % 2:
            line.reverse()
        passes[name] += 1
        for index in line:
            for inner in walk(loops[1:]):
                yield {name: index, **inner}

    columns = list(reversed(list(sizes))) if columns is None else columns
    rows = [
        [
            point[name] * (stride or {}).get(name, 1) + (offset or {}).get(name, 0)
            for name in columns
        ]
        for point in walk(list(sizes))
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, len(columns))


def shuffled(table: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the same points in random order."""
    return np.random.default_rng(seed).permutation(table, axis=0)


def truncated(table: np.ndarray, n_points: int) -> np.ndarray:
    """Return the first ``n_points``: the scan was aborted there."""
    return table[:n_points]


def preallocated(table: np.ndarray, n_points: int) -> np.ndarray:
    """Return the table with zeros after ``n_points``: allocated, never filled."""
    filled = table.copy()
    filled[n_points:] = 0
    return filled


def sparse(n_points: int, n_dims: int) -> np.ndarray:
    """Return the table of a sparse scan: every column counts the points."""
    return np.repeat(np.arange(n_points)[:, None], n_dims, axis=1)


def with_dependent_column(table: np.ndarray, of: int = 0) -> np.ndarray:
    """Return the table with one more column, a copy of column ``of``."""
    return np.column_stack([table, table[:, of]])


def forc(n_curves: int, n_steps: int) -> np.ndarray:
    """Return a FORC table: the step's index never resets, the curve counts slowly.

    Curve ``k`` has ``n_steps + k`` steps.
    """
    curve = np.concatenate([np.full(n_steps + k, k) for k in range(n_curves)])
    return np.column_stack([np.arange(curve.size), curve])


def values_at(table: np.ndarray, *axes: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the Values table whose column ``k`` takes ``axes[k]`` at each index's rank."""
    columns = []
    for column, axis in zip(table.T, axes, strict=True):
        ranks = np.searchsorted(np.unique(column), column)
        columns.append(np.asarray(axis)[ranks])
    return np.column_stack(columns) if columns else np.empty(table.shape)
