"""Ancillary tables that are there already, and are to be used again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from usid_tasks.attributes import AttributeReader, read_texts
from usid_tasks.grid import GridKind
from usid_tasks.labels import read_labels, read_units
from usid_tasks.mains import Side, build_side
from usid_tasks.model import SideName
from usid_tasks.printable import printable
from usid_tasks.thresholds import UNIFORM_TOLERANCE
from usid_tasks.usid import open_hdf5
from usid_tasks.writing.refusals import UnwritableError


@dataclass(frozen=True)
class GivenTable:
    """One table as it is stored; ``path`` is its own where it lies in the file to be written."""

    path: str
    cells: NDArray
    labels: tuple[str, ...]
    units: tuple[str, ...]


@dataclass(frozen=True)
class Given:
    """Both tables of one side, and what they make of its points."""

    indices: GivenTable
    values: GivenTable
    side: Side

    @property
    def n_points(self) -> int:
        """Number of points."""
        return self.side.grid.placement.n_rows

    @property
    def size_bytes(self) -> int:
        """Bytes that they take if they have to be copied."""
        tables = (self.indices, self.values)
        return sum(0 if table.path else table.cells.nbytes for table in tables)


def read_given(name: SideName, tables: Mapping[str, Any], target: Path | None) -> Given:
    """Return the tables of one side.

    Parameters
    ----------
    name
        The side.
    tables
        For each option that names one, in the order Indices, Values: an h5py dataset in any
        file, or the path of one in the file to be written.
    target
        The file that is added to; None where a new one is made.

    Raises
    ------
    UnwritableError
        If they are no two tables of a side, or leave cells of their grid without a point.
    FileBusyError, NotHDF5Error, OSError
        If the file to be written cannot be read.
    """
    indices, values = (_table(option, told, name, target) for option, told in tables.items())
    where = ", ".join(tables)
    if indices.cells.shape != values.cells.shape or indices.labels != values.labels:
        what = (
            f"Indices {indices.cells.shape} of {indices.labels} and Values {values.cells.shape} of "
            f"{values.labels} are no pair"
        )
        raise UnwritableError(where, what, "Give the tables that one Main dataset refers to")
    points = [table.cells if name == "position" else table.cells.T for table in (indices, values)]
    side = build_side(
        name, points[0], points[1], values.labels, values.units,
        paths=(indices.path, values.path), tolerance=UNIFORM_TOLERANCE,
    )  # fmt: skip
    if side.grid.kind is GridKind.ABORTED:
        what = f"{len(points[0])} points do not fill their grid of {side.shape}"
        raise UnwritableError(where, what, "Leave them out, so that tables are made")
    return Given(indices, values, side)


def _table(option: str, told: Any, name: SideName, target: Path | None) -> GivenTable:
    if isinstance(told, h5py.Dataset):
        is_there = target is not None and _is_same(Path(told.file.filename), target)
        return _read(option, told, name, path=str(told.name) if is_there else "")
    if not isinstance(told, str):
        what = f"is a {type(told).__name__}"
        raise UnwritableError(option, what, "Give an h5py dataset, or its path in the file")
    remedy = "Give the path of an Indices or Values table in the file"
    if target is None:
        raise UnwritableError(option, "there is no file yet that could hold it", remedy)
    with open_hdf5(target) as file:
        dataset = file.get(told)
        if not isinstance(dataset, h5py.Dataset):
            raise UnwritableError(option, f"no dataset at {printable(told)!r}", remedy)
        return _read(option, dataset, name, path=str(dataset.name))


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _read(option: str, dataset: h5py.Dataset, name: SideName, *, path: str) -> GivenTable:
    where = f"{option} ({printable(dataset.name)})"
    if dataset.ndim != 2 or dataset.dtype.kind not in "biuf":
        what = f"has shape {dataset.shape} and type {dataset.dtype}"
        raise UnwritableError(where, what, "Give a table of numbers, of two dimensions")
    n_dims = dataset.shape[1 if name == "position" else 0]
    attributes, kept = AttributeReader(dataset.file, {}).read(dataset.id, {"labels", "units"})
    labels = read_labels(read_texts(attributes, kept, "labels"), n_dims)
    units = read_units(read_texts(attributes, kept, "units"), n_dims)
    for part, found in (("labels", labels), ("units", units)):
        if found.values is None:
            raise UnwritableError(where, f"its {part}: {found.problem}", "Mend the attribute")
    assert labels.values is not None and units.values is not None  # noqa: PT018
    return GivenTable(path, np.asarray(dataset[()]), labels.values, units.values)
