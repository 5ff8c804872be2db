"""HDF5 datasets made anew: type, shape, layout, filters and fill value, without values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from h5py import h5d, h5f, h5i, h5o, h5p, h5s, h5t, h5z
from numpy.typing import NDArray

from usid_tasks.back.stored import STORAGE, TYPE, StoredObject
from usid_tasks.back.types import make_type, raw_name
from usid_tasks.model import JSON
from usid_tasks.storage import ALLOCATED, FILLED

Tell = Callable[[str, str], None]
"""Takes a part of the object and what differs there."""

_LAYOUTS = {
    "compact": h5d.COMPACT,
    "contiguous": h5d.CONTIGUOUS,
    "chunked": h5d.CHUNKED,
}

_TIMES = {told: time for times in (ALLOCATED, FILLED) for time, told in times.items()}


def type_of(stored: StoredObject, tell: Tell) -> h5t.TypeID:
    """Return the type of a dataset; where it is not told in full, that of the store's array."""
    try:
        return make_type(stored.attrs["usid_type"])
    except ValueError as error:
        if stored.attrs.get("usid_encoding") != "numbers":
            raise
        ((_, document),) = stored.arrays.items()
        dtype = np.dtype(document["data_type"])
        tell(TYPE, f"is {dtype}: {error}")
        return h5t.py_create(dtype)


def named_type(
    file: h5f.FileID, path: str, kind: h5t.TypeID, tell: Callable[[str], None]
) -> h5t.TypeID:
    """Return the type that is an object at a path; ``kind`` where there is none, or no path."""
    if not path:
        return kind
    try:
        found = h5o.open(file, raw_name(path))
    except KeyError:
        tell(f"was the type {path}, which is not in the store")
        return kind
    return found


def space_of(stored: StoredObject) -> h5s.SpaceID:
    """Return the dataspace of a dataset, as extensible as it was."""
    shape = stored.shape
    if shape is None:
        return h5s.create(h5s.NULL)
    if not shape:
        return h5s.create(h5s.SCALAR)
    storage = stored.attrs["usid_storage"]
    most = (storage.get("maxshape") if storage["layout"] == "chunked" else None) or shape
    return h5s.create_simple(shape, tuple(h5s.UNLIMITED if n is None else n for n in most))


def properties_of(stored: StoredObject, kind: h5t.TypeID, tell: Tell) -> h5p.PropDCID:
    """Return how a dataset is laid out; what cannot be had again is told.

    Times of modification are left out, so that the same store makes the same file.
    """
    storage = stored.attrs["usid_storage"]
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_obj_track_times(False)
    layout = storage["layout"]
    if layout not in _LAYOUTS:
        tell(STORAGE, f"was {layout}: the values are in the file itself, contiguous")
    if layout == "chunked":
        plist.set_chunk(tuple(storage["chunks"]))
        _add_filters(plist, storage, tell)
    else:
        plist.set_layout(_LAYOUTS.get(layout, h5d.CONTIGUOUS))
    if storage.get("fill"):
        plist.set_fill_value(_fill_value(storage["fill"], kind))
    if layout in _LAYOUTS and "times" in storage:
        allocated, filled = storage["times"]
        plist.set_alloc_time(_TIMES[allocated])
        plist.set_fill_time(_TIMES[filled])
    return plist


def _add_filters(plist: h5p.PropDCID, storage: Mapping[str, JSON], tell: Tell) -> None:
    for name, option in zip(storage["filters"], storage["filter_options"], strict=True):
        number = option["number"]
        if not (h5z.filter_avail(number) and _can_encode(number)):
            tell(STORAGE, f"is without the filter {name} ({number}), which HDF5 does not have here")
            continue
        plist.set_filter(number, option["flags"], tuple(option["values"]))


def _can_encode(number: int) -> bool:
    return bool(h5z.get_filter_info(number) & h5z.FILTER_CONFIG_ENCODE_ENABLED)


def _fill_value(told: str, kind: h5t.TypeID) -> NDArray[Any]:
    return np.frombuffer(bytes.fromhex(told), kind.dtype).reshape(())


def make_dataset(
    above: Any, name: bytes, stored: StoredObject, links: h5p.PropLCID, tell: Tell
) -> h5d.DatasetID:
    """Return a new dataset in an open group.

    Raises
    ------
    ValueError, TypeError
        If its type is not told in full.
    """
    kind = type_of(stored, tell)
    named = stored.attrs["usid_storage"].get("named_type", "")
    return h5d.create(
        above,
        name,
        named_type(h5i.get_file_id(above), named, kind, lambda what: tell(TYPE, what)),
        space_of(stored),
        dcpl=properties_of(stored, kind, tell),
        lcpl=links,
    )
