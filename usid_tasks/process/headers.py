"""What a tool is told of a Main dataset, and its rows as blocks for tools."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usid_tasks.errors import RefusedError, UnreadableDataError
from usid_tasks.grid import GridKind, Placement, in_order
from usid_tasks.mains import Column, Component, Main, Side
from usid_tasks.source import MainSource
from usid_tasks.tools import Dim, MainHeader


@dataclass(frozen=True)
class RowSource:
    """Rows of a Main dataset in the order in which they are stored; it is picklable.

    ``sizes`` are those of the Spectroscopic dimensions, slow to fast. Columns are brought into
    that order, wherever the file has them.
    """

    values: MainSource
    component: Component
    sizes: tuple[int, ...]

    def read(self, first: int, last: int) -> NDArray:
        """Return rows as ``(last - first, *sizes)``, C order, native byte order.

        Raises
        ------
        UnreadableDataError
            If the file ends before the values do, or a chunk is damaged.
        """
        region = (slice(first, last), *(slice(0, size) for size in self.values.spectroscopic.shape))
        block = np.empty((last - first, *self.values.spectroscopic.shape), self.component.dtype)
        try:
            self.values.read_into(region, [self.component], [block])
        except (OSError, RuntimeError) as error:
            raise UnreadableDataError(
                f"{self.values.path}:{self.values.dataset}",
                f"rows {first} to {last} cannot be read ({error})",
                "Restore the file from its source.",
                self.values.dataset,
            ) from error
        return block.reshape(last - first, *self.sizes)

    @property
    def memory_bytes(self) -> int:
        """Bytes that reading takes in one thread, besides the rows themselves."""
        return self.values.read_memory([self.component])


@dataclass(frozen=True)
class Subject:
    """A Main dataset, or one component of it, as tools see it.

    ``places`` are the indices of each row along the Position dimensions of the header,
    ``(n_positions, n_dims)``, from 0.
    """

    main: Main
    component: Component
    header: MainHeader
    rows: RowSource
    places: NDArray[np.intp]

    @property
    def n_positions(self) -> int:
        """Rows."""
        return self.header.n_positions

    @property
    def columns(self) -> Placement:
        """Where the points of the header lie among the stored columns."""
        return self.main.spectroscopic.grid.placement


def subject_of(main: Main, component: str | None = None) -> Subject:
    """Return a sound Main dataset as tools see it.

    Parameters
    ----------
    component
        Name of the field of a compound, nested names joined by ``.``.

    Raises
    ------
    RefusedError
        If it is a compound and no component is named, or none of that name is there; if cells
        are arrays themselves.
    """
    chosen = _component(main, component)
    taken: set[str] = set()
    position = _dims(main.position, taken)
    spectroscopic = _dims(main.spectroscopic, taken)
    n_rows = main.position.grid.placement.n_rows
    units, quantity = main.units, main.quantity
    header = MainHeader((*position, *spectroscopic), n_rows, chosen.dtype, quantity, units)
    whole = MainSource.of(main)
    rows = MainSource(
        whole.path, whole.dataset, in_order((n_rows,)), whole.spectroscopic, whole.components
    )
    sizes = tuple(dim.size for dim in spectroscopic)
    return Subject(main, chosen, header, RowSource(rows, chosen, sizes), _places(main.position))


def _component(main: Main, name: str | None) -> Component:
    where = f"{main.candidate.file}:{main.path}"
    names = [".".join(each.field) for each in main.components]
    if name is None and len(names) > 1:
        raise RefusedError(
            where,
            f"it is a compound of {', '.join(map(repr, names))}",
            "Name one of them with --component.",
        )
    if name is not None and name not in names:
        known = ", ".join(map(repr, names)) if names != [""] else "no components"
        raise RefusedError(where, f"it has {known}, not {name!r}", "Name one that it has.")
    found = main.components[0 if name is None else names.index(name)]
    if found.subshape:
        raise RefusedError(
            where,
            f"each of its cells is an array of {found.subshape}",
            "Tools work on single numbers: write them along a dimension first.",
        )
    return found


def _dims(side: Side, taken: set[str]) -> tuple[Dim, ...]:
    """Return the dimensions of a side, slow to fast; one where its points fill no grid."""
    if side.grid.kind is GridKind.FLAT:
        n_points = side.grid.placement.n_rows
        if len(side.columns) > 1:
            return (Dim(_distinct(side.name, taken), n_points, side.name),)
        (column,) = side.columns
        name = _distinct(column.label, taken)
        return (Dim(name, n_points, side.name, column.units, column.values),)
    return tuple(_dim(side, side.columns[at], taken) for at in side.grid.columns)


def _dim(side: Side, column: Column, taken: set[str]) -> Dim:
    values: NDArray | None = None
    if column.along in ((), (column.column,)):
        values = column.values.reshape(column.size)
    return Dim(_distinct(column.label, taken), column.size, side.name, column.units, values)


def _distinct(label: str, taken: set[str]) -> str:
    name, number = label, 1
    while name in taken:
        number += 1
        name = f"{label}_{number}"
    taken.add(name)
    return name


def _places(side: Side) -> NDArray[np.intp]:
    if side.grid.kind is GridKind.FLAT:
        return np.arange(side.grid.placement.n_rows)[:, np.newaxis]
    return side.grid.ranks[:, list(side.grid.columns)]
