"""The dimensions of a Main dataset as axes of a signal.

A uniform dimension is an offset and a scale, one that is varied non-uniformly but monotonically
is its vector of Values. Any other is counted by its index: HyperSpy has no axis that turns back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.axes import AxisKind
from usid_tasks.grid import GridKind
from usid_tasks.mains import Column, Component, Main, Side
from usid_tasks.model import SideName
from usid_tasks.writing.dimensions import NO_DIMENSION
from usid_tasks.writing.notes import Notes

Axis = dict[str, Any]

_WHY_NOT = {
    AxisKind.MONOTONIC: "its steps are not equal",
    AxisKind.NON_MONOTONIC: "its Values turn back",
    AxisKind.CONSTANT: "its Values are all equal",
    AxisKind.UNDEFINED: "some of its Values are NaN or infinite",
}


@dataclass(frozen=True)
class Dimension:
    """One dimension of a Main dataset, size one included; ``name`` is its label, made distinct.

    ``is_axis`` tells if the signal has it as an axis. ``why_not`` tells why its Values are not
    uniform, and is empty where they are, or where there is but one. ``notes`` are what our writer
    told of its side.
    """

    name: str
    side: SideName
    column: Column
    is_axis: bool
    why_not: str
    notes: Notes
    depends_on: tuple[str, ...] = ()

    @property
    def is_vector(self) -> bool:
        """True where the Values can be an axis, and are not uniform, or were given one by one."""
        column = self.column
        if not self.is_axis or column.along != (column.column,):
            return False
        is_given = column.kind is AxisKind.UNIFORM and self.notes.is_vector(column.column)
        is_fit = column.kind is AxisKind.MONOTONIC or is_given
        return is_fit and not self.scale and bool(np.all(np.diff(_vector(column)) != 0))

    @property
    def scale(self) -> float | None:
        """The scale of the signal's axis, where its Values are still what that makes of them."""
        column = self.column
        is_own = column.along in ((), (column.column,))
        return self.notes.scale(column.column, column.values) if is_own else None

    @property
    def is_kept_aside(self) -> bool:
        """True where no axis tells the Values: ``original_metadata`` must."""
        return not self.is_axis or bool(self.why_not and not self.is_vector)

    def record(self) -> dict[str, Any]:
        """Return the dimension for ``original_metadata``: its units, kind, and exact Values."""
        column = self.column
        values: Any = column.values.copy() if column.values.ndim else column.values.item()
        told = {
            "side": self.side,
            "units": column.units,
            "size": column.size,
            "kind": column.kind.value,
            "values": values,
        }
        return {**told, "depends_on": list(self.depends_on)} if self.depends_on else told


@dataclass(frozen=True)
class Dimensions:
    """All dimensions of a Main dataset, and the axes of the signal of each component.

    ``is_of_signal`` tells that the dataset was written from a signal, whose axes are to come back
    as they were; ``without_dimensions`` are the sides on which that had none.
    """

    main: Main
    all: tuple[Dimension, ...]
    is_of_signal: bool
    without_dimensions: frozenset[SideName]

    @classmethod
    def of(cls, main: Main, *, is_of_signal: bool = False) -> Dimensions:
        """Return the dimensions of a sound Main dataset, slow to fast."""
        sides = (main.position, main.spectroscopic)
        taken: set[str] = {side.name for side in sides if side.grid.kind is GridKind.FLAT}
        found: list[Dimension] = []
        empty: set[SideName] = set()
        for side in sides:
            columns, axes = side.grid.columns, side.axes
            notes = _notes(main, side) if is_of_signal else Notes()
            if is_of_signal and _has_no_dimension(side, notes):
                empty.add(side.name)
            elif is_of_signal and None not in axes:
                axes = columns = _order_of_signal(side, notes)
            names = {at: _distinct(side.columns[at].label, taken) for at in columns}
            found += [_dimension(side, names, at, notes, is_axis=at in axes) for at in columns]
        return cls(main, tuple(found), is_of_signal, frozenset(empty))

    @property
    def kept_aside(self) -> list[Dimension]:
        """Those whose Values no axis tells, without what stands for a side that has none."""
        return [
            one for one in self.all if one.is_kept_aside and one.side not in self.without_dimensions
        ]

    def axes(self, component: Component) -> list[Axis]:
        """Return the axes of a component, slow to fast.

        Position dimensions navigate and all others are signal, unless nothing is left for the
        signal: an image alone is a signal. A lone value has one axis, of size one. A dataset that
        was written from a signal has that one's axes, those of size one too.
        """
        position = list(self._of_side(self.main.position))
        signal = list(self._of_side(self.main.spectroscopic))
        name = ".".join(component.field) or self.main.candidate.dataset.name
        signal += [_counter(f"{name}_{at}", size) for at, size in enumerate(component.subshape)]
        if not position and not signal:
            signal = [_lone(self.all[-1])]
        navigates = bool(signal) or self.is_of_signal
        axes = [{**axis, "navigate": navigates} for axis in position]
        axes += [{**axis, "navigate": False} for axis in signal]
        return [{**axis, "index_in_array": at} for at, axis in enumerate(axes)]

    def _of_side(self, side: Side) -> Iterator[Axis]:
        if side.grid.kind is GridKind.FLAT:
            yield _counter(side.name, side.grid.placement.n_rows)
            return
        for one in self.all:
            if one.side == side.name and one.is_axis:
                yield _axis(one) if one.column.size != 1 else _lone(one)


def _has_no_dimension(side: Side, notes: Notes) -> bool:
    """Return True for the side of a signal that had none of its axes: nothing is noted of it."""
    if notes.is_fastest_first is not None or side.grid.sizes != (1,):
        return False
    return bool(re.fullmatch(rf"{NO_DIMENSION}(_\d+)?", side.columns[0].label))


def _notes(main: Main, side: Side) -> Notes:
    """Return what our writer noted of the dimensions of a side."""
    table = main.candidate.ancillaries[f"{side.name.capitalize()}_Values"].dataset
    return Notes.of(table.attributes.values, len(side.columns))


def _order_of_signal(side: Side, notes: Notes) -> tuple[int, ...]:
    """Return the columns in the order of the signal's axes, those of size one in their places.

    Our writer writes them slow to fast, or the other way round. Where no two are longer than one,
    the rows do not tell which: its note does, and without one it is taken to be slow to fast.
    """
    ascending = tuple(range(len(side.columns)))
    orders = (ascending, ascending[::-1])
    for order in orders[::-1] if notes.is_fastest_first else orders:
        if tuple(at for at in order if side.grid.sizes[at] > 1) == side.axes:
            return order
    return side.grid.columns


def _lone(dimension: Dimension) -> Axis:
    """Return the axis of a single value; its scale is 1 where nobody told it."""
    column = dimension.column
    value = column.values.ravel()[0]
    axis = _counter(dimension.name, 1, column.units)
    if not (np.isrealobj(value) and bool(np.isfinite(value))):
        return axis
    scale = 1.0 if dimension.scale is None else dimension.scale
    return _marked(dimension, {**axis, "offset": float(value), "scale": scale})


def _distinct(label: str, taken: set[str]) -> str:
    name, number = label, 1
    while name in taken:
        number += 1
        name = f"{label}_{number}"
    taken.add(name)
    return name


def _dimension(
    side: Side, names: dict[int, str], at: int, notes: Notes, *, is_axis: bool
) -> Dimension:
    column = side.columns[at]
    others = tuple(names[other] for other in column.along if other is not None)
    depends_on = others if others and column.along != (at,) else ()
    why_not = ""
    if side.grid.sizes[at] > 1:
        if side.grid.kind is GridKind.FLAT:
            why_not = "its points fill no grid"
        elif depends_on:
            why_not = f"its Values depend on {', '.join(depends_on)}"
        else:
            why_not = _WHY_NOT.get(column.kind, "")
    found = Dimension(names[at], side.name, column, is_axis, why_not, notes, depends_on)
    return replace(found, why_not="") if found.scale else found


def _counter(name: str, size: int, units: str = "") -> Axis:
    return {"name": name, "units": units, "size": size, "offset": 0.0, "scale": 1.0}


def _axis(dimension: Dimension) -> Axis:
    column = dimension.column
    index = _counter(dimension.name, column.size, column.units)
    if dimension.is_vector:
        named = {"name": dimension.name, "units": column.units, "size": column.size}
        return _marked(dimension, {**named, "axis": _vector(column)})
    if dimension.why_not or not column.values.size:
        return _marked(dimension, index)
    first, last = column.values[0].astype(np.longdouble), column.values[-1].astype(np.longdouble)
    scale = dimension.scale or float((last - first) / (column.size - 1))
    return _marked(dimension, {**index, "offset": float(first), "scale": scale})


def _marked(dimension: Dimension, axis: Axis) -> Axis:
    """Return an axis, marked where it was told to be binned."""
    is_binned = dimension.notes.is_binned(dimension.column.column)
    return {**axis, "is_binned": True} if is_binned else axis


def _vector(column: Column) -> NDArray[np.float64]:
    """Return Values as HyperSpy calculates with them: unsigned integers would wrap around."""
    return column.values.astype(np.float64)
