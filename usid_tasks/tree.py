"""The one layout that the xarray engine shows and that stores hold: nodes, variables, attributes.

There is a node for every HDF5 group and every HDF5 dataset, at its HDF5 path. The node of a sound
Main dataset holds one variable (one for each component of a compound), its coordinates and, for
an aborted raster, ``valid``. The node of any other dataset (tables, counters, broken Mains) holds
one array as it is stored. Group nodes hold attributes only: xarray hands the dimensions of a
node down to all below it, where tables of other sizes would not align.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from usid_tasks.attributes import decodes_as_time
from usid_tasks.axes import AxisKind
from usid_tasks.chunks import BlockLimits, block_shape
from usid_tasks.errors import UnreadableDataError
from usid_tasks.extras import Encoding, ExtraSource, choose_encoding, read_extra
from usid_tasks.grid import GridKind
from usid_tasks.mains import Column, Component, Main, Side
from usid_tasks.model import JSON, LAYOUT_VERSION
from usid_tasks.names import Names
from usid_tasks.records import Attributes, Dataset, Storage
from usid_tasks.source import MainSource
from usid_tasks.usid import UsidFile, open_hdf5, read_usid

if TYPE_CHECKING:
    import h5py

Attrs = dict[str, JSON]


@dataclass(frozen=True)
class ComponentSource:
    """One component of a Main dataset as an N-D array read by path."""

    main: MainSource
    component: Component

    @property
    def shape(self) -> tuple[int, ...]:
        """N-D shape, with that of a single cell."""
        return self.main.shape + self.component.subshape

    @property
    def dtype(self) -> np.dtype:
        """Type of the values in memory."""
        return self.component.dtype


Source = NDArray | ComponentSource | ExtraSource


@dataclass(frozen=True)
class Variable:
    """One array of a node; in memory it may be shared by several, and must not be written to.

    ``block`` is the shape in which it is best read, if not whole.
    """

    dims: tuple[str, ...]
    source: Source
    attrs: Attrs
    is_coordinate: bool = False
    block: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the values in memory."""
        return self.source.dtype


@dataclass(frozen=True)
class Node:
    """A group of the tree: ``hdf5_path`` in the file, ``main`` where it is a Main dataset."""

    hdf5_path: str
    attrs: Attrs
    variables: Mapping[str, Variable]
    main: Main | None = None


@dataclass(frozen=True)
class Tree:
    """All nodes by their path in the tree, parents first, ``/`` the root.

    The nodes of ``unreadable`` datasets have their attributes and no array.
    """

    file: UsidFile
    nodes: Mapping[str, Node]
    unreadable: tuple[UnreadableDataError, ...] = ()

    def path_of(self, hdf5_path: str) -> str | None:
        """Return the path in the tree of a group or sound Main dataset."""
        for path, node in self.nodes.items():
            if node.hdf5_path == hdf5_path:
                return path
        return None


def _own(attributes: Attributes) -> Attrs:
    """Return a level's attributes as they stand in a node: plain ones, and ``usid_attrs``."""
    attrs = dict(attributes.values)
    if attributes.records:
        attrs["usid_attrs"] = dict(attributes.records)
    return attrs


def _all_values(attributes: Attributes) -> Attrs:
    """Return every attribute's value, those that decoding would consume included."""
    hidden = {
        name: record["value"] for name, record in attributes.records.items() if "value" in record
    }
    return {**attributes.values, **hidden}


def _units(units: str) -> Attrs:
    """Return the attribute that holds the units, out of reach of CF decoding where need be."""
    return {"usid_units" if decodes_as_time(units) else "units": units}


def _storage(storage: Storage) -> JSON:
    return {
        "layout": storage.layout,
        "chunks": list(storage.chunks) if storage.chunks else None,
        "filters": list(storage.filters),
        "filter_options": [
            {"number": number, "flags": flags, "values": list(values)}
            for number, flags, values in storage.filter_options
        ],
        "maxshape": list(storage.maxshape) if storage.maxshape is not None else None,
        "fill": storage.fill,
        "times": list(storage.times),
        **({"named_type": storage.named_type} if storage.named_type else {}),
        **({"unwritten": [list(rows) for rows in storage.unwritten]} if storage.unwritten else {}),
        **({"elsewhere": _elsewhere(storage)} if storage.elsewhere else {}),
    }


def _elsewhere(storage: Storage) -> JSON:
    return [{"file": part.file, "problem": part.problem} for part in storage.elsewhere]


def _renamed(name: str, original: str) -> Attrs:
    return {} if name == original else {"usid_name": original}


class _MainNode:
    """Builds the variables of one Main dataset, handing out names as it goes."""

    def __init__(self, main: Main, limits: BlockLimits) -> None:
        self.main = main
        self.limits = limits
        self.sides: tuple[Side, Side] = (main.position, main.spectroscopic)
        flat = [side.name for side in self.sides if side.grid.kind is GridKind.FLAT]
        self.has_valid = main.position.grid.kind is GridKind.ABORTED
        labels = [column.label for side in self.sides for column in side.columns]
        reserved = [*flat, *(["valid"] if self.has_valid else [])]
        self.names = Names(reserved, coming=[*map(self._title, main.components), *labels])
        self.variables: dict[str, Variable] = {}

    def build(self) -> dict[str, Variable]:
        arrays = [(part, self.names.take(self._title(part))) for part in self.main.components]
        labels = {
            (side.name, column.column): self.names.take(
                column.label, keep_spaces=self._is_dim(side, column)
            )
            for side in self.sides
            for column in side.columns
        }
        self.labels = labels
        dims = tuple(dim for side in self.sides for dim in self._dims(side))
        for part, name in arrays:
            self._add_component(part, name, dims)
        if self.has_valid:
            valid = self.main.position.grid.valid
            assert valid is not None, "an aborted raster knows its cells"
            attrs = {"long_name": "cells that were measured", "usid_role": "valid"}
            self.variables["valid"] = Variable(self._dims(self.main.position), valid, attrs)
        for side in self.sides:
            for column in side.columns:
                self._add_coordinates(side, column)
        return self.variables

    def _title(self, part: Component) -> str:
        return ".".join(part.field) if part.field else self.main.candidate.dataset.name

    @staticmethod
    def _is_dim(side: Side, column: Column) -> bool:
        return column.column in side.axes

    def _dims(self, side: Side) -> tuple[str, ...]:
        return tuple(self._dim(side, column) for column in side.axes)

    def _dim(self, side: Side, column: int | None) -> str:
        return side.name if column is None else self.labels[(side.name, column)]

    def _add_component(self, part: Component, name: str, dims: tuple[str, ...]) -> None:
        main = self.main
        source = ComponentSource(MainSource.of(main), part)
        inner = tuple(self.names.take(f"{name}_{number}") for number in range(len(part.subshape)))
        attrs: Attrs = {
            "quantity": main.quantity,
            **_units(main.units),
            "long_name": main.quantity or name,
            "usid_role": "main",
            "usid_dtype": part.stored_dtype,
            **_renamed(name, self._title(part)),
        }
        if part.field:
            attrs["usid_field"] = list(part.field)
        block = block_shape(
            main.position.grid.placement,
            main.spectroscopic.grid.placement,
            itemsize=part.dtype.itemsize * int(np.prod(part.subshape, dtype=np.int64)),
            storage_chunks=main.candidate.dataset.storage.chunks,
            limits=self.limits,
        )
        self.variables[name] = Variable(dims + inner, source, attrs, block=block + part.subshape)

    def _add_coordinates(self, side: Side, column: Column) -> None:
        name = self.labels[(side.name, column.column)]
        attrs: Attrs = {
            **_units(column.units),
            "long_name": column.label,
            "usid_role": side.name,
            "usid_axis": column.kind.value,
            "usid_dtype": column.stored_dtype,
            **_renamed(name, column.label),
        }
        along = tuple(self._dim(side, other) for other in column.along)
        if not column.keeps_index:
            self.variables[name] = Variable(along, column.values, attrs, is_coordinate=True)
            return
        index = {**attrs, "units": "", "usid_axis": AxisKind.INDEX.value}
        index.pop("usid_units", None)
        indices = column.indices
        if indices.dtype == np.float16:
            indices = indices.astype(np.float32)
        dims: tuple[str, ...] = (name,)
        if not self._is_dim(side, column):
            dims, indices = (), indices.reshape(())
        index["usid_dtype"] = indices.dtype.str
        self.variables[name] = Variable(dims, indices, index, is_coordinate=True)
        other = self.names.take(f"{column.label}_values", keep_spaces=False)
        attrs.pop("usid_name", None)
        attrs.update(_renamed(other, f"{column.label}_values"), usid_values_of=name)
        self.variables[other] = Variable(along, column.values, attrs, is_coordinate=True)

    def describe(self) -> JSON:
        """Return how the N-D form came out of the tables: ``usid_sides`` of the node."""
        return {
            side.name: {
                "indices": side.indices_path,
                "values": side.values_path,
                "form": side.grid.kind.value,
                "acquisition": side.grid.acquisition.value,
                "dimensions": [self.labels[(side.name, column.column)] for column in side.columns],
                "sizes": list(side.grid.sizes),
            }
            for side in self.sides
        }


def _parents(shown: Mapping[str, Attrs], path: str) -> Attrs:
    """Return the attributes of every group above ``path``, by group path."""
    parts = path.strip("/").split("/")[:-1]
    above = ["/", *("/" + "/".join(parts[: depth + 1]) for depth in range(len(parts)))]
    return {group: shown[group] for group in above}


_PARENT_BYTES = 4096
"""Larger attributes of a group stand on the group's own node only, not on each Main below it."""


def _small_values(attributes: Attributes) -> Attrs:
    """Return the values of a group's attributes that are worth repeating on every Main below."""
    values = _all_values(attributes)
    large = [name for name, value in values.items() if len(json.dumps(value)) > _PARENT_BYTES]
    small = {name: value for name, value in values.items() if name not in large}
    return {**small, "usid_left_out": large} if large else small


def _main_node(main: Main, shown: Mapping[str, Attrs], limits: BlockLimits, renamed: Attrs) -> Node:
    builder = _MainNode(main, limits)
    variables = builder.build()
    dataset = main.candidate.dataset
    attrs = {
        **_own(dataset.attributes),
        **renamed,
        "usid_path": main.path,
        "usid_type": dataset.type,
        "usid_shape": list(dataset.shape or ()),
        "usid_storage": _storage(dataset.storage),
        "usid_sides": builder.describe(),
        "usid_parents": _parents(shown, main.path),
    }
    return Node(main.path, attrs, variables, main)


def _extra_node(
    dataset: Dataset, source: Source | None, encoding: Encoding, name: str, renamed: Attrs
) -> Node:
    if source is None:
        attrs = {**_own(dataset.attributes), **renamed, "usid_path": dataset.path}
        return Node(dataset.path, {**attrs, "usid_type": dataset.type}, {})
    dims = tuple(f"{name}_{number}" for number in range(len(source.shape)))
    attrs = {
        **_own(dataset.attributes),
        **renamed,
        "usid_path": dataset.path,
        "usid_type": dataset.type,
        "usid_shape": list(dataset.shape) if dataset.shape is not None else None,
        "usid_storage": _storage(dataset.storage),
        "usid_encoding": encoding.value,
    }
    variable = Variable(dims, source, {"usid_role": "dataset"})
    return Node(dataset.path, attrs, {name: variable})


class _Extras:
    """Arrays of what is no Main dataset; the file is opened once one of them is read at once."""

    def __init__(self, file: UsidFile, opened: ExitStack) -> None:
        self._path = file.path
        self._opened = opened
        self._handle: h5py.File | None = None

    def read(self, dataset: Dataset) -> tuple[Encoding, Source]:
        """Return how a dataset is kept, and its array (see :func:`read_extra`)."""
        if self._handle is None and choose_encoding(dataset) in (Encoding.TEXT, Encoding.JSON):
            self._handle = self._opened.enter_context(open_hdf5(self._path))
        return read_extra(self._handle, str(self._path), dataset)


def build_tree(file: UsidFile, *, limits: BlockLimits | None = None) -> Tree:
    """Return the tree of a parsed file; the values of Main datasets are not read."""
    limits = limits or BlockLimits()
    record = file.record
    nodes: dict[str, Node] = {}
    names: dict[str, str] = {"/": "/"}
    unreadable: list[UnreadableDataError] = []
    shown = {path: _small_values(group.attributes) for path, group in record.groups.items()}
    with ExitStack() as opened:
        extras = _Extras(file, opened)
        for group in record.groups.values():
            here = names[group.path]
            taken = Names(coming=group.members)
            below: dict[str, Node] = {}
            for member in group.members:
                child = f"{group.path.rstrip('/')}/{member}"
                name = taken.take(member)
                path = f"{here.rstrip('/')}/{name}"
                if child in record.groups:
                    names[child] = path
                elif child in file.mains:
                    below[path] = _main_node(
                        file.mains[child], shown, limits, _renamed(name, member)
                    )
                else:
                    dataset = record.datasets[child]
                    source: Source | None = None
                    encoding = Encoding.NUMBERS
                    try:
                        encoding, source = extras.read(dataset)
                    except UnreadableDataError as error:
                        unreadable.append(error)
                    below[path] = _extra_node(
                        dataset, source, encoding, name, _renamed(name, member)
                    )
            attrs = _own(group.attributes)
            if group.links:
                attrs["usid_links"] = dict(group.links)
            if group.path == "/":
                attrs["usid_layout"] = LAYOUT_VERSION
            else:
                attrs.update(_renamed(here.rsplit("/", 1)[-1], group.path.rsplit("/", 1)[-1]))
            nodes[here] = Node(group.path, attrs, {})
            nodes.update(below)
    return Tree(file, nodes, tuple(unreadable))


def open_tree(
    path: Path | str, *, tolerance: float | None = None, limits: BlockLimits | None = None
) -> Tree:
    """Return the tree of a file (see :func:`usid_tasks.usid.read_usid` for what it raises)."""
    options = {} if tolerance is None else {"tolerance": tolerance}
    return build_tree(read_usid(path, **options), limits=limits)
