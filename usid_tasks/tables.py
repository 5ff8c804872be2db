"""The ancillary tables of one open file, each read once, and equal ones kept once.

Channels that were measured together repeat their tables, shared by reference or copied cell by
cell. A table whose bytes are those of another one becomes the same array; a side is worked out
once for the same two arrays with the same labels and units.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from usid_tasks.checks.subjects import JudgedTables
from usid_tasks.grid import Grid
from usid_tasks.labels import read_labels, read_units
from usid_tasks.mains import Side, build_side, grid_of
from usid_tasks.model import SideName
from usid_tasks.records import Ancillary, Candidate

_SAMPLES = 64
"""How many bytes of a table tell it from others before all are compared."""


def read_piece(fd: int, values: NDArray, offset: int) -> None:
    """Fill an array of C order with the bytes at ``offset`` of an open file.

    Raises
    ------
    OSError
        If the file ends before.
    """
    left = memoryview(values.reshape(-1).view(np.uint8).data)
    while left:
        n_bytes = os.preadv(fd, [left], offset)
        if n_bytes == 0:
            raise OSError(f"the file ends at byte {offset}, {len(left)} bytes short")
        left, offset = left[n_bytes:], offset + n_bytes


class Tables:
    """Tables and sides of one file, made once however many Main datasets use them.

    Parameters
    ----------
    read
        Reads the whole dataset at an HDF5 path, as a NumPy array of C order.
    dialect
        The vendor's dialect of the file.
    tolerance
        Deviation from a straight line that still counts as uniform, in steps.
    """

    def __init__(self, read: Callable[[str], NDArray], *, dialect: str, tolerance: float) -> None:
        self._read = read
        self._dialect = dialect
        self._tolerance = tolerance
        self._by_path: dict[str, NDArray] = {}
        self._by_looks: dict[tuple[object, ...], list[NDArray]] = {}
        self._sides: dict[tuple[str, str, str], Side] = {}
        self._grids: dict[tuple[str, int], Grid] = {}
        self._sides_by_content: dict[tuple[object, ...], Side] = {}

    def read(self, path: str) -> NDArray:
        """Return the table at ``path`` as stored; tables of the same bytes are one array.

        Raises
        ------
        OSError, RuntimeError, ValueError
            If HDF5 cannot read it.
        """
        if path not in self._by_path:
            self._by_path[path] = self._one_of_equals(self._read(path))
        return self._by_path[path]

    def _one_of_equals(self, table: NDArray) -> NDArray:
        content = table.reshape(-1).view(np.uint8)
        step = max(len(content) // _SAMPLES, 1)
        looks = (table.dtype.str, table.shape, content[::step].tobytes())
        known = self._by_looks.setdefault(looks, [])
        for other in known:
            if np.array_equal(other.reshape(-1).view(np.uint8), content):
                return other
        known.append(table)
        return table

    def side(self, candidate: Candidate, name: str) -> Side:
        """Return one side of a sound candidate; ``name`` is Position or Spectroscopic.

        Mains that refer to the same two tables get the same object.
        """
        indices = candidate.ancillaries[f"{name}_Indices"]
        values = candidate.ancillaries[f"{name}_Values"]
        paths = (indices.dataset.path, values.dataset.path)
        if (name, *paths) not in self._sides:
            side = self._side_by_content(name, paths, values)
            self._sides[(name, *paths)] = replace(side, indices_path=paths[0], values_path=paths[1])
        return self._sides[(name, *paths)]

    def _side_by_content(self, name: str, paths: tuple[str, str], values: Ancillary) -> Side:
        tables = [self.read(path) for path in paths]
        n_dims = tables[0].shape[1 if name == "Position" else 0]
        labels = read_labels(values.labels, n_dims).values or ()
        units = read_units(values.units, n_dims, dialect=self._dialect).values or ()
        content = (name, *map(id, tables), labels, units)
        if content not in self._sides_by_content:
            side: SideName = "position" if name == "Position" else "spectroscopic"
            indices, columns = tables if name == "Position" else [table.T for table in tables]
            if (name, id(tables[0])) not in self._grids:
                self._grids[name, id(tables[0])] = grid_of(side, indices)
            self._sides_by_content[content] = build_side(
                side, indices, columns, labels, units,
                paths=paths, tolerance=self._tolerance, grid=self._grids[name, id(tables[0])],
            )  # fmt: skip
        return self._sides_by_content[content]

    def judged(self, candidate: Candidate) -> JudgedTables:
        """Return the candidate with its tables, or why one of them cannot be read."""
        arrays: dict[str, NDArray] = {}
        problems: dict[str, str] = {}
        for attribute, ancillary in candidate.ancillaries.items():
            try:
                arrays[attribute] = self.read(ancillary.dataset.path)
            except (OSError, RuntimeError, ValueError) as error:
                problems[attribute] = str(error)
        return JudgedTables(candidate, arrays, problems)
