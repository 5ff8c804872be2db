"""What a results group will hold, decided before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from usid_tasks.grid import Placement, in_order
from usid_tasks.model import SideName
from usid_tasks.process.headers import Subject
from usid_tasks.tools import Dim, Job, Output
from usid_tasks.writing.dimensions import NO_DIMENSION, Dimension
from usid_tasks.writing.tables import Tables

COMPLETED = "completed_positions"
"""The dataset that tells of each position whether it is done, as pyUSID has it."""

SIDES: tuple[SideName, SideName] = ("position", "spectroscopic")


@dataclass(frozen=True)
class SideTables:
    """The two tables of one side of some results.

    ``new`` is None where the dimension is unchanged: the tables are those of the source, linked
    in its own file and copied into another. ``prefix`` begins their names in the group.
    """

    side: SideName
    prefix: str
    new: Tables | None


@dataclass(frozen=True)
class ResultMain:
    """One result: a table of ``shape``, ``(rows, columns)``.

    ``columns`` tells where its points lie among the stored columns. ``is_by_row`` tells that its
    rows are those of the source.
    """

    output: Output
    shape: tuple[int, int]
    columns: Placement
    tables: tuple[SideTables, SideTables]
    is_by_row: bool

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self.output.name

    @property
    def size_bytes(self) -> int:
        """Bytes of its values."""
        return prod(self.shape) * self.output.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """All Main datasets of a results group, and the tables that they share."""

    mains: tuple[ResultMain, ...]
    n_positions: int

    @property
    def tables(self) -> tuple[SideTables, ...]:
        """Each pair of tables once."""
        return tuple({each.prefix: each for main in self.mains for each in main.tables}.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all values, and of tables that are made."""
        made = sum(each.new.size_bytes for each in self.tables if each.new is not None)
        return sum(main.size_bytes for main in self.mains) + made + self.n_positions


def layout_of(subject: Subject, job: Job) -> Layout:
    """Return what a job makes of a Main dataset.

    Raises
    ------
    UnwritableError
        If no type holds the Values of a new table exactly.
    """
    shared: dict[tuple[object, ...], SideTables] = {}
    mains = tuple(_result(subject, output, shared) for output in job.outputs)
    return Layout(mains, subject.n_positions)


def _result(
    subject: Subject, output: Output, shared: dict[tuple[object, ...], SideTables]
) -> ResultMain:
    position, spectroscopic = (_tables(subject, output, side, shared) for side in SIDES)
    n_columns = prod(dim.size for dim in output.side("spectroscopic"))
    is_by_row = position.new is None
    n_rows = subject.n_positions
    if not is_by_row:
        n_rows = prod(dim.size for dim in output.side("position"))
    columns = subject.columns if spectroscopic.new is None else in_order((n_columns,))
    return ResultMain(
        output, (n_rows, n_columns), columns, (position, spectroscopic), is_by_row=is_by_row
    )


def _tables(
    subject: Subject,
    output: Output,
    side: SideName,
    shared: dict[tuple[object, ...], SideTables],
) -> SideTables:
    dims = output.side(side)
    key = (side, *((dim.name, dim.size, dim.is_new) for dim in dims))
    if key not in shared:
        prefix = f"{side.capitalize()}_"
        if _is_unchanged(subject, dims, side):
            shared[key] = SideTables(side, prefix, None)
        else:
            wanted = tuple(_dimension(dim) for dim in dims) or (_no_dimension(output),)
            new = Tables.of(wanted, is_fastest_first=False)
            shared[key] = SideTables(side, f"{output.name}_{prefix}", new)
    return shared[key]


def _is_unchanged(subject: Subject, dims: tuple[Dim, ...], side: SideName) -> bool:
    own = subject.header.side(side)
    same = [(dim.name, dim.size) for dim in dims] == [(dim.name, dim.size) for dim in own]
    return same and not any(dim.is_new for dim in dims)


def _dimension(dim: Dim) -> Dimension:
    values = np.arange(dim.size, dtype=np.float64) if dim.values is None else dim.values
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    return Dimension(dim.name, dim.units, values)


def _no_dimension(output: Output) -> Dimension:
    """Return the arbitrary dimension of size one of a side that has vanished (R19)."""
    taken = {dim.name for dim in output.dims}
    return Dimension(next(_free(taken)), "a. u.", np.zeros(1), is_none=True)


def _free(taken: set[str]) -> Iterator[str]:
    yield from (
        name
        for number in range(len(taken) + 2)
        if (name := NO_DIMENSION if number == 0 else f"{NO_DIMENSION}_{number + 1}") not in taken
    )
