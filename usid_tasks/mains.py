"""A sound Main dataset as an N-D object: dimensions, coordinates, components.

Pure decisions on tables already read: no file is opened here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usid_tasks.axes import AxisKind, Dependence, along_own, classify, depends_on
from usid_tasks.grid import Grid, GridKind, arrange
from usid_tasks.model import SideName
from usid_tasks.records import Candidate
from usid_tasks.thresholds import UNIFORM_TOLERANCE


def padding_value(dtype: np.dtype) -> object:
    """Return what fills a cell that was not measured: NaN for floats, otherwise zero."""
    return dtype.type(np.nan) if dtype.kind in "fc" else np.zeros((), dtype)[()]


def native(dtype: np.dtype) -> np.dtype:
    """Return ``dtype`` in the byte order of this machine."""
    return dtype.newbyteorder("=")


@dataclass(frozen=True)
class Column:
    """One dimension of a side: its Values, reduced to the dimensions they depend on.

    ``values`` has one axis for each entry of ``along`` (columns of the table, slow to fast;
    ``None`` stands for the flat dimension). ``kind`` tells how the values run along the
    dimension itself; ``keeps_index`` is True where the values depend on other dimensions (or
    cannot be an index), so that the dimension is counted by the file's ``indices``.
    """

    column: int
    label: str
    units: str
    size: int
    values: NDArray
    along: tuple[int | None, ...]
    kind: AxisKind
    indices: NDArray
    stored_dtype: str
    keeps_index: bool = False


@dataclass(frozen=True)
class Side:
    """Positions or spectroscopic steps: their order and their columns, in file order."""

    name: SideName
    grid: Grid
    columns: tuple[Column, ...]
    indices_path: str
    values_path: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions that the array has, slow to fast."""
        return self.grid.placement.shape

    @property
    def axes(self) -> tuple[int | None, ...]:
        """Column of each dimension of the array, slow to fast; ``(None,)`` if flat."""
        if self.grid.kind is GridKind.FLAT:
            return (None,)
        if self.grid.placement.n_rows == 0:
            return self.grid.columns
        return tuple(column for column in self.grid.columns if self.grid.sizes[column] > 1)


@dataclass(frozen=True)
class Component:
    """One array of a Main dataset: the whole, or a field of a compound.

    ``field`` is the path of names into the compound, empty for a simple dataset;
    ``subshape`` the shape of one cell, for fields that are arrays themselves.
    """

    field: tuple[str, ...]
    dtype: np.dtype
    stored_dtype: str
    subshape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Main:
    """A sound Main dataset, ready to be laid out as a tree node or read in blocks."""

    candidate: Candidate
    quantity: str
    units: str
    position: Side
    spectroscopic: Side
    components: tuple[Component, ...]

    @property
    def path(self) -> str:
        """HDF5 path."""
        return self.candidate.path

    @property
    def shape(self) -> tuple[int, ...]:
        """N-D shape: Position dimensions, then Spectroscopic ones, each slow to fast."""
        return self.position.shape + self.spectroscopic.shape


def components_of(dtype: np.dtype) -> tuple[Component, ...]:
    """Return the arrays that a Main of this dtype is made of; nested compounds are flattened.

    Raises
    ------
    TypeError
        If a part is no number that the array model holds (text, references, long double).
    """

    def walk(kind: np.dtype, path: tuple[str, ...], outer: tuple[int, ...]) -> list[Component]:
        base, subshape = (kind.base, outer + kind.shape)
        if base.names is not None:
            return [
                component
                for name in base.names
                for component in walk(base[name], (*path, name), subshape)
            ]
        if base.kind not in "biufc" or base.itemsize > (16 if base.kind == "c" else 8):
            raise TypeError(f"{'.'.join(path) or 'values'} of type {base}")
        return [Component(path, native(base), base.str, subshape)]

    return tuple(walk(dtype, (), ()))


def _dependence(side: Grid, values: NDArray, order: Sequence[int], own: int) -> Dependence:
    """Return on which dimensions of a grid a column of Values depends, ``order`` slow to fast."""
    placement = side.placement
    sizes = [side.sizes[column] for column in order]
    if placement.n_rows == 0:
        return Dependence((own,), values[:0], np.ones(0, bool))
    if placement.rows is None:
        strides = iter(placement.strides)
        steps = [next(strides) if size > 1 else 0 for size in sizes]
        width = values.itemsize
        cells: NDArray = np.ndarray(
            sizes, values.dtype, values, placement.start * width, [step * width for step in steps]
        )
        backwards = [dim for dim, step in enumerate(steps) if step < 0]
        table = along_own(cells, own, backwards=backwards)
        if table is not None:
            return Dependence((own,), table, np.ones(len(table), bool))
    return depends_on(values, side.ranks[:, order], sizes, own)


def _column(
    side: Grid, column: int, label: str, units: str, values: NDArray, tolerance: float
) -> Column:
    size = side.sizes[column]
    stored = values.dtype.str
    values = np.ascontiguousarray(values, dtype=native(values.dtype))
    indices = side.indices[column]
    indices = indices.astype(native(indices.dtype))
    if side.kind is GridKind.FLAT:
        kind = classify(values, tolerance=tolerance)
        return Column(column, label, units, size, values, (None,), kind, indices, stored)
    order = list(side.columns)
    own = order.index(column)
    found = _dependence(side, values, order, own)
    along = tuple(order[dim] for dim in found.dims)
    table = found.values.copy()
    table[~found.measured] = padding_value(values.dtype)
    if along == (column,):
        kind = classify(table, tolerance=tolerance)
        unindexable = table.dtype == np.float16 and size > 1
        if size == 1 and side.placement.n_rows:
            table, along = table.reshape(()), ()
        return Column(
            column, label, units, size, table, along, kind, indices, stored, keeps_index=unindexable
        )
    kind = AxisKind.NON_MONOTONIC
    if table.ndim == 1:
        kind = classify(table, tolerance=tolerance)
    return Column(column, label, units, size, table, along, kind, indices, stored, keeps_index=True)


def grid_of(name: SideName, indices: NDArray) -> Grid:
    """Return the order of one side from its Indices, ``(n_points, n_dims)``."""
    return arrange(indices, may_pad=name == "position")


def build_side(
    name: SideName,
    indices: NDArray,
    values: NDArray,
    labels: Sequence[str],
    units: Sequence[str],
    *,
    paths: tuple[str, str],
    tolerance: float = UNIFORM_TOLERANCE,
    grid: Grid | None = None,
) -> Side:
    """Return one side from its two tables, each ``(n_points, n_dims)`` with points as rows.

    ``grid`` is what :func:`grid_of` returns for the Indices, where it is known already.
    """
    grid = grid or grid_of(name, indices)
    columns = tuple(
        _column(grid, column, label, unit, values[:, column], tolerance)
        for column, (label, unit) in enumerate(zip(labels, units, strict=True))
    )
    return Side(name, grid, columns, *paths)
