"""The h5USID layout as the samples write it: axes, tables, Main datasets, stamped groups.

Plain h5py, no USID library: what the reading side finds was written by code that shares nothing
with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

STAMP: Mapping[str, str] = {
    "machine_id": "sample-instrument",
    "platform": "sample-platform",
    "pyUSID_version": "0.0.12",
    "timestamp": "2026_01_15-09_30_00",
}
"""Bookkeeping attributes of every group and Main dataset (h5USID, «Metadata»)."""

SideLabel = Literal["Position", "Spectroscopic"]


@dataclass(frozen=True)
class Axis:
    """One dimension: ``values`` is ``(n,)`` in the order of its index."""

    label: str
    units: str
    values: NDArray

    @classmethod
    def single(cls, label: str, value: float = 0.0, units: str = "") -> Axis:
        """Return a dimension of size one."""
        return cls(label, units, np.array([value]))


@dataclass(frozen=True)
class Table:
    """One side of a Main dataset with its points as rows, columns as the file has them."""

    labels: tuple[str, ...]
    units: tuple[str, ...]
    indices: NDArray
    values: NDArray


@dataclass(frozen=True)
class Sides:
    """The four ancillary datasets that a Main dataset refers to."""

    position_indices: h5py.Dataset
    position_values: h5py.Dataset
    spectroscopic_indices: h5py.Dataset
    spectroscopic_values: h5py.Dataset

    def references(self) -> dict[str, h5py.Reference]:
        """Return the four reference attributes."""
        return {
            "Position_Indices": self.position_indices.ref,
            "Position_Values": self.position_values.ref,
            "Spectroscopic_Indices": self.spectroscopic_indices.ref,
            "Spectroscopic_Values": self.spectroscopic_values.ref,
        }


@dataclass(frozen=True)
class Quantity:
    """What a Main dataset holds, with attributes of its own."""

    name: str
    units: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


def grid(axes: Sequence[Axis], *, fastest_first: bool = True, dtype: str = "f4") -> Table:
    """Return the table of a full grid acquired line by line.

    Parameters
    ----------
    axes
        Slow to fast: rows run in C order over them.
    fastest_first
        Column order of the specification; False is the order that pyUSID has written since
        version 0.0.6.
    dtype
        Type of the Values.
    """
    ranks = np.indices([axis.values.size for axis in axes]).reshape(len(axes), -1)
    columns = range(len(axes) - 1, -1, -1) if fastest_first else range(len(axes))
    return Table(
        tuple(axes[column].label for column in columns),
        tuple(axes[column].units for column in columns),
        np.stack([ranks[column] for column in columns], axis=1).astype("u4"),
        np.stack([axes[column].values[ranks[column]] for column in columns], axis=1).astype(dtype),
    )


def take(table: Table, rows: NDArray[np.intp]) -> Table:
    """Return some rows of a table, in this order."""
    return Table(table.labels, table.units, table.indices[rows], table.values[rows])


def stamp(holder: h5py.HLObject, attributes: Mapping[str, Any] | None = None) -> None:
    """Write the bookkeeping attributes, and others."""
    for name, value in {**STAMP, **(attributes or {})}.items():
        holder.attrs[name] = value


def new_group(
    parent: h5py.Group, name: str, attributes: Mapping[str, Any] | None = None
) -> h5py.Group:
    """Return a new, stamped group."""
    group = parent.create_group(name)
    stamp(group, attributes)
    return group


def write_table(
    group: h5py.Group, side: SideLabel, table: Table, *, prefix: str = "", regions: bool = False
) -> tuple[h5py.Dataset, h5py.Dataset]:
    """Write Indices and Values of one side; Spectroscopic ones lie transposed.

    ``regions`` adds the region reference for each label that writers before 2020 made.
    """
    written = []
    for kind, array in (("Indices", table.indices), ("Values", table.values)):
        stored = array if side == "Position" else array.T
        dataset = group.create_dataset(f"{prefix}{side}_{kind}", data=np.ascontiguousarray(stored))
        dataset.attrs["labels"] = np.array(table.labels, dtype=h5py.string_dtype())
        dataset.attrs["units"] = np.array(table.units, dtype=h5py.string_dtype())
        if regions:
            for number, label in enumerate(table.labels):
                one = slice(number, number + 1)
                where = (slice(None), one) if side == "Position" else (one, slice(None))
                dataset.attrs[label] = dataset.regionref[where]
        written.append(dataset)
    return written[0], written[1]


def write_sides(
    group: h5py.Group, position: Table, spectroscopic: Table, *, regions: bool = False
) -> Sides:
    """Write the four tables of a Main dataset into a group."""
    return Sides(
        *write_table(group, "Position", position, regions=regions),
        *write_table(group, "Spectroscopic", spectroscopic, regions=regions),
    )


def write_main(
    group: h5py.Group,
    name: str,
    cells: NDArray,
    quantity: Quantity,
    sides: Sides,
    **storage: Any,
) -> h5py.Dataset:
    """Write a Main dataset.

    Parameters
    ----------
    group, name
        Where.
    cells
        ``(n_positions, n_spectral)``.
    quantity
        Quantity, units, further attributes.
    sides
        Its tables.
    **storage
        Chunks and compression, as :meth:`h5py.Group.create_dataset` takes them.
    """
    dataset = group.create_dataset(name, data=cells, **storage)
    stamp(dataset, {"quantity": quantity.name, "units": quantity.units, **quantity.attributes})
    for attribute, reference in sides.references().items():
        dataset.attrs[attribute] = reference
    return dataset
