"""What rules look at: parsed records with all that a verdict needs, and no open file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from numpy.typing import NDArray

from usid_tasks.labels import ListReading, read_labels, read_units
from usid_tasks.mains import Main, Side
from usid_tasks.records import Ancillary, Candidate, FileRecord, Group
from usid_tasks.thresholds import Thresholds


@dataclass(frozen=True)
class TablePair:
    """The tables of one side of a candidate, as far as its references resolve.

    ``tables`` maps attribute names to tables, Indices first. ``n_points`` is what the Main
    dataset has on this side, None where it is not two-dimensional.
    """

    name: str
    tables: Mapping[str, Ancillary]
    n_points: int | None
    dialect: str

    @property
    def axis(self) -> int:
        """Axis of the tables along which the points run."""
        return 0 if self.name == "Position" else 1

    @property
    def path(self) -> str:
        """HDF5 path of the first table: where findings about both are told."""
        return next(iter(self.tables.values())).dataset.path

    @cached_property
    def misfits(self) -> Mapping[str, Ancillary]:
        """The tables without one row (Position) or column for each point."""
        return {
            attribute: table
            for attribute, table in self.tables.items()
            if (shape := table.dataset.shape) is None
            or len(shape) != 2
            or (self.n_points is not None and shape[self.axis] != self.n_points)
        }

    @cached_property
    def n_dims(self) -> int | None:
        """Number of dimensions; None where the tables fit neither the Main nor each other."""
        sizes = {
            shape[1 - self.axis]
            for table in self.tables.values()
            if (shape := table.dataset.shape) is not None and len(shape) == 2
        }
        if self.misfits or len(sizes) != 1 or 0 in sizes:
            return None
        return sizes.pop()

    @cached_property
    def readings(self) -> tuple[tuple[str, str, ListReading], ...]:
        """Attribute, ``"labels"`` or ``"units"``, and what it means, of each table.

        Attributes that are missing are left to R9, tables that do not fit to R7 and R8.
        """
        return () if self.n_dims is None else tuple(self._read(self.n_dims))

    def _read(self, n_dims: int) -> Iterator[tuple[str, str, ListReading]]:
        for attribute, table in self.tables.items():
            if table.labels.stored != "missing":
                yield attribute, "labels", read_labels(table.labels, n_dims)
            if table.units.stored != "missing":
                units = read_units(table.units, n_dims, dialect=self.dialect)
                yield attribute, "units", units


@dataclass(frozen=True)
class Judged:
    """A candidate, before any of its tables is read."""

    candidate: Candidate
    dialect: str = ""
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def path(self) -> str:
        """HDF5 path of the candidate."""
        return self.candidate.path

    @property
    def shape(self) -> tuple[int, int] | None:
        """Positions and spectroscopic steps; None where it is not two-dimensional (R1)."""
        shape = self.candidate.dataset.shape
        return (shape[0], shape[1]) if shape is not None and len(shape) == 2 else None

    @cached_property
    def pairs(self) -> tuple[TablePair, ...]:
        """Each side that has a table."""
        return tuple(self._pairs())

    def _pairs(self) -> Iterator[TablePair]:
        for axis, name in enumerate(("Position", "Spectroscopic")):
            tables = {
                attribute: table
                for attribute, table in self.candidate.ancillaries.items()
                if attribute.startswith(name)
            }
            if tables:
                n_points = None if self.shape is None else self.shape[axis]
                yield TablePair(name, tables, n_points, self.dialect)


@dataclass(frozen=True)
class JudgedTables:
    """A candidate whose tables were read: ``arrays`` or ``problems`` by attribute name."""

    candidate: Candidate
    arrays: Mapping[str, NDArray]
    problems: Mapping[str, str]

    @property
    def path(self) -> str:
        """HDF5 path of the candidate."""
        return self.candidate.path


@dataclass(frozen=True)
class JudgedSide:
    """One side of a sound Main dataset, with its two tables."""

    side: Side
    indices: Ancillary
    values: Ancillary

    @property
    def path(self) -> str:
        """HDF5 path of the Indices."""
        return self.side.indices_path

    @property
    def points(self) -> str:
        """What the points of this side are called."""
        return "positions" if self.side.name == "position" else "spectroscopic steps"

    @classmethod
    def of(cls, main: Main) -> tuple[JudgedSide, JudgedSide]:
        """Return both sides of a Main dataset."""
        tables = main.candidate.ancillaries
        position = cls(main.position, tables["Position_Indices"], tables["Position_Values"])
        indices, values = tables["Spectroscopic_Indices"], tables["Spectroscopic_Values"]
        return position, cls(main.spectroscopic, indices, values)


@dataclass(frozen=True)
class JudgedGroup:
    """One group of a file."""

    group: Group
    record: FileRecord

    @property
    def path(self) -> str:
        """HDF5 path of the group."""
        return self.group.path


@dataclass(frozen=True)
class JudgedFile:
    """A whole file with its sound Main datasets by path."""

    record: FileRecord
    mains: Mapping[str, Main]

    @property
    def path(self) -> str:
        """The root."""
        return "/"


def parent_of(path: str) -> str:
    """Return the path of the group that holds ``path``."""
    return path.rpartition("/")[0] or "/"
