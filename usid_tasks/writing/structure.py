"""Groups, tables, attributes and the Main dataset of a new Measurement, in an open file."""

from __future__ import annotations

import platform
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import h5py
import numpy as np
from h5py import h5s
from numpy.typing import NDArray

from usid_tasks import __version__
from usid_tasks.model import SideName
from usid_tasks.printable import printable
from usid_tasks.writing import notes
from usid_tasks.writing.contents import Contents
from usid_tasks.writing.given import Given, GivenTable
from usid_tasks.writing.metadata import RESERVED
from usid_tasks.writing.tables import INDICES_DTYPE, Tables
from usid_tasks.writing.trial import allocated, create_main, refusing

PYUSID_VERSION = "0.0.12"
"""The pyUSID whose layout is written: the mandatory attribute of this name has to tell one."""

_MEASUREMENT = re.compile(r"Measurement_([0-9]{1,18})")
_OF_TABLES = frozenset(
    ["labels", "type", "incomplete_dimensions", "dependent_dimensions", *notes.NAMES, *RESERVED]
)
"""Attributes that mean something by their name: no region of a dimension may be called so."""


@dataclass(frozen=True)
class Made:
    """The Main dataset: its path, and where its values lie as they are; None if they do not."""

    path: str
    offset: int | None


def next_measurement(names: Sequence[str | bytes]) -> str:
    """Return the name of a new Measurement: one more than the highest number, whatever is free.

    Names that are not UTF-8 are bytes, as h5py has them.
    """
    texts = [name for name in names if isinstance(name, str)]
    numbers = [int(found[1]) for name in texts if (found := _MEASUREMENT.fullmatch(name))]
    return f"Measurement_{max(numbers, default=-1) + 1:03d}"


def bookkeeping() -> dict[str, str]:
    """Return the mandatory attributes (h5USID, "Attributes").

    The time has two names: ``time_stamp`` in the specification, ``timestamp`` in what pyUSID
    writes and looks for.
    """
    now = datetime.now().strftime("%Y_%m_%d-%H_%M_%S")  # the clock on the wall, as pyUSID has it
    return {
        "time_stamp": now,
        "timestamp": now,
        "machine_id": socket.getfqdn(),
        "platform": platform.platform(),
        "pyUSID_version": PYUSID_VERSION,
        "written_by": f"usid-flows {__version__}",
    }


def write_structure(file: h5py.File, contents: Contents, *, is_new: bool) -> Made:
    """Make a Measurement with all but its values; what is in the file stays as it is.

    Parameters
    ----------
    file
        Open for writing.
    contents
        What it will hold.
    is_new
        Whether the file is new, so that its root gets the mandatory attributes, too.

    Raises
    ------
    UnwritableError
        If HDF5 cannot hold an attribute, or does not know an option of the dataset.
    OSError
        If the file cannot be written.
    """
    kept = bookkeeping()
    measurement = file.create_group(next_measurement(list(file)))
    channel = measurement.create_group("Channel_000")
    for group in (file, measurement, channel) if is_new else (measurement, channel):
        put_attributes(group, kept)
    put_attributes(measurement, contents.metadata)
    options = contents.options
    references: dict[str, h5py.Reference] = {}
    for side, tables in contents.sides.items():
        pair = _write_side(channel, side, options.prefixes[side], tables)
        for kind, table in zip(("Indices", "Values"), pair, strict=True):
            references[f"{side.capitalize()}_{kind}"] = table.ref
    plist = allocated() if contents.is_raw else None
    main = create_main(channel, options.name, contents.cells, options.creation, plist)
    put_attributes(main, {"quantity": contents.quantity, "units": contents.units, **kept})
    put_attributes(main, contents.main_attributes)
    for name, reference in references.items():
        main.attrs.create(name, reference, dtype=h5py.ref_dtype)
    return Made(str(main.name), main.id.get_offset() if contents.is_raw else None)


def put_attributes(holder: h5py.HLObject, attributes: Mapping[str, Any]) -> None:
    """Write attributes: texts, tuples of texts, numbers and arrays of them.

    Raises
    ------
    UnwritableError
        If HDF5 cannot hold one.
    """
    for name, value in attributes.items():
        with refusing(f"attribute {printable(name)[:60]!r} of {holder.name}"):
            if isinstance(value, str):
                holder.attrs.create(name, value, dtype=h5py.string_dtype())
            elif isinstance(value, tuple):
                texts = np.array(value, object)
                holder.attrs.create(name, texts, dtype=h5py.string_dtype())
            else:
                holder.attrs.create(name, value)


def _write_side(
    group: h5py.Group, name: SideName, prefix: str, side: Tables | Given
) -> tuple[h5py.Dataset, h5py.Dataset]:
    is_position = name == "position"
    if isinstance(side, Tables):
        return _write_tables(group, prefix, side, is_position=is_position)
    indices = _given(group, f"{prefix}Indices", side.indices, is_position=is_position)
    return indices, _given(group, f"{prefix}Values", side.values, is_position=is_position)


def _given(group: h5py.Group, name: str, table: GivenTable, *, is_position: bool) -> h5py.Dataset:
    """Return a table that is in the file, or write one that is not."""
    if table.path:
        return group.file[table.path]
    made = group.create_dataset(name, data=table.cells)
    _label(made, table.labels, table.units, is_position=is_position)
    return made


def _write_tables(
    group: h5py.Group, prefix: str, tables: Tables, *, is_position: bool
) -> tuple[h5py.Dataset, h5py.Dataset]:
    shape = (tables.n_points, len(tables.columns))
    shape = shape if is_position else shape[::-1]
    indices = group.create_dataset(f"{prefix}Indices", shape, INDICES_DTYPE)
    values = group.create_dataset(f"{prefix}Values", shape, tables.dtype)
    for points, some_indices, some_values in tables.pieces():
        _put_points(indices, points, some_indices, is_position=is_position)
        _put_points(values, points, some_values, is_position=is_position)
    stored = tables.stored
    for table in (indices, values):
        labels, units = zip(*((one.label, one.units) for one in stored), strict=True)
        _label(table, labels, units, is_position=is_position)
        put_attributes(table, tables.notes)
    return indices, values


def _put_points(table: h5py.Dataset, points: slice, cells: NDArray, *, is_position: bool) -> None:
    if is_position:
        table[points] = cells
    else:
        table[:, points] = np.ascontiguousarray(cells.T)


def _label(
    table: h5py.Dataset, labels: Sequence[str], units: Sequence[str], *, is_position: bool
) -> None:
    """Write labels and units, and a reference to the region of each dimension by its label."""
    for name, texts in (("labels", labels), ("units", units)):
        raw = [text.encode("utf-8") for text in texts]
        kind = h5py.string_dtype("utf-8", max([1, *map(len, raw)]))
        table.attrs.create(name, np.array(raw, kind), dtype=kind)
    for number, label in enumerate(labels):
        if label in _OF_TABLES or label in table.attrs:
            continue
        space = h5s.create_simple(table.shape)
        start, count = ((0, number), (table.shape[0], 1))
        if not is_position:
            start, count = ((number, 0), (1, table.shape[1]))
        space.select_hyperslab(start, count)
        region = h5py.h5r.create(table.id, b".", h5py.h5r.DATASET_REGION, space)
        table.attrs.create(label, region, dtype=h5py.regionref_dtype)
