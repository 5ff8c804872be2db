"""HDF5 attributes as JSON, losing nothing: values, and beside them how they were stored."""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5r, h5t

from usid_tasks.hdf5_types import describe
from usid_tasks.model import JSON
from usid_tasks.records import Attributes, Texts

CONSUMED_BY_CF = frozenset(
    [
        "_FillValue",
        "missing_value",
        "scale_factor",
        "add_offset",
        "_Unsigned",
        "dtype",
        "coordinates",
        "_Encoding",
        "calendar",
        "grid_mapping",
        "bounds",
        "cell_measures",
        "formula_terms",
        "ancillary_variables",
        "char_dim_name",
        "_ARRAY_DIMENSIONS",
    ]
)
"""Attribute names that xarray takes away or acts on while decoding."""

TIME_UNITS = frozenset(
    ["days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds"]
)

OWN_PREFIX = "usid_"
"""Names that begin so are ours: a file's own such attribute stands in ``usid_attrs`` only."""


def decodes_as_time(units: JSON) -> bool:
    """Return True if xarray, by default, would turn numbers in these units into times."""
    return isinstance(units, str) and (units in TIME_UNITS or "since" in units)


def is_out_of_reach(name: str, value: JSON) -> bool:
    """Return True if ``name`` may stand among plain attributes, where decoding leaves it alone."""
    return not (
        name in CONSUMED_BY_CF
        or name.upper().startswith("_NC")
        or name.startswith(OWN_PREFIX)
        or (name == "units" and decodes_as_time(value))
    )


def decode_text(raw: str | bytes) -> tuple[str, str]:
    """Return the text and its encoding: ascii, utf-8, or latin-1 where it is not UTF-8."""
    data = raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else bytes(raw)
    if data.isascii():
        return data.decode("ascii"), "ascii"
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "latin-1"


def resolve_name(held: h5py.HLObject) -> str | None:
    """Return the path of an object, whatever bytes it is made of; None where it has none."""
    name = held.name
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name


def resolve(reference: h5r.Reference, file: h5py.File) -> tuple[str, str | None]:
    """Return the state and the path behind an object reference.

    The state is object, group, null or dangling. A reference to a deleted object still
    dereferences in HDF5, to an object without a name: dangling too.
    """
    if not reference:
        return "null", None
    try:
        target = file[reference]
        path = resolve_name(target)
    except (ValueError, KeyError, OSError, RuntimeError):
        return "dangling", None
    if path is None:
        return "dangling", None
    return ("object" if isinstance(target, h5py.Dataset) else "group"), path


class _Encoder:
    """Turn values that h5py reads into JSON, and remember the text encodings met."""

    def __init__(self, file: h5py.File) -> None:
        self.file = file
        self.encodings: set[str] = set()

    def encode(self, value: Any) -> JSON:
        if isinstance(value, (str, bytes)):
            text, encoding = decode_text(value)
            self.encodings.add(encoding)
            return text
        if value is None or isinstance(value, h5py.Empty):
            return None
        if isinstance(value, h5r.RegionReference):
            return self._region(value)
        if isinstance(value, h5r.Reference):
            return resolve(value, self.file)[1]
        if isinstance(value, np.ndarray) and value.dtype.names is None:
            return [self.encode(item) for item in (value if value.ndim else [value[()]])]
        if isinstance(value, (np.void, np.ndarray)):
            if value.dtype.names is None:
                return value.tobytes().hex()
            if isinstance(value, np.ndarray):
                return [self.encode(item) for item in value]
            return {name: self.encode(value[name]) for name in value.dtype.names}
        if isinstance(value, (list, tuple)):
            return [self.encode(item) for item in value]
        return self._number(value)

    @staticmethod
    def _number(value: Any) -> JSON:
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        if isinstance(value, (int, np.integer)):
            return int(value)
        if isinstance(value, np.longdouble) and np.longdouble(float(value)) != value:
            return str(value)
        if isinstance(value, (float, np.floating)):
            number = float(value)
            if math.isfinite(number):
                return number
            return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
        if isinstance(value, (complex, np.complexfloating)):
            return [_Encoder._number(value.real), _Encoder._number(value.imag)]
        return str(value)

    def _region(self, reference: h5r.RegionReference) -> JSON:
        if not reference:
            return None
        try:
            path = resolve_name(self.file[reference])
            space = h5r.get_region(reference, self.file.id)
            low, high = space.get_select_bounds()
        except (ValueError, KeyError, OSError, RuntimeError):
            return None
        bounds = [[int(edge) for edge in low], [int(edge) for edge in high]]
        region: dict[str, JSON] = {"path": path, "bounds": bounds}
        if space.get_select_type() == h5py.h5s.SEL_HYPERSLABS:
            region["blocks"] = np.asarray(space.get_select_hyper_blocklist()).tolist()
        elif space.get_select_type() == h5py.h5s.SEL_POINTS:
            region["points"] = np.asarray(space.get_select_elem_pointlist()).tolist()
        return region


def encode_value(value: Any, file: h5py.File) -> JSON:
    """Return any value that h5py reads as JSON (references as paths, NaN as ``"NaN"``)."""
    return _Encoder(file).encode(value)


def _read_one(attribute: h5a.AttrID, holder: h5py.HLObject, name: str) -> tuple[JSON, JSON]:
    kind = attribute.get_type()
    space = attribute.get_space()
    extent = space.get_simple_extent_type()
    record: dict[str, JSON] = {
        "type": describe(kind),
        "shape": None if extent == h5py.h5s.NULL else list(space.get_simple_extent_dims()),
    }
    encoder = _Encoder(holder.file)
    raw = holder.attrs[name]
    if record["shape"] == [] and isinstance(raw, np.ndarray) and raw.ndim == 0:
        raw = raw[()]
    value = encoder.encode(raw)
    if encoder.encodings:
        wide = encoder.encodings - {"ascii"}
        record["encoding"] = "mixed" if len(wide) > 1 else wide.pop() if wide else "ascii"
    if isinstance(kind, h5t.TypeReferenceID) and value is None:
        record["state"] = "null or dangling"
    return value, record


def read_attributes(holder: h5py.HLObject) -> Attributes:
    """Return all attributes of an HDF5 object, in their order of name."""
    values: dict[str, JSON] = {}
    records: dict[str, JSON] = {}
    unreadable: dict[str, str] = {}
    for index in range(h5a.get_num_attrs(holder.id)):
        attribute = h5a.open(holder.id, index=index)
        name = attribute.name.decode("utf-8", "surrogateescape")
        try:
            value, record = _read_one(attribute, holder, name)
        except (OSError, TypeError, ValueError, RuntimeError, KeyError) as error:
            unreadable[name] = str(error)
            records[name] = {"type": describe(attribute.get_type()), "unreadable": str(error)}
            continue
        records[name] = record
        if is_out_of_reach(name, value):
            values[name] = value
        else:
            record["value"] = value
    return Attributes(values, records, unreadable)


def read_texts(holder: h5py.HLObject, name: str) -> Texts:
    """Return a text attribute however it was stored: ``S``, variable-length, scalar, list.

    Nothing is stripped or joined here; elements that are one byte each are told by
    ``stored == "characters"`` and kept apart (a vendor writes ``cm-1`` as four elements).
    """
    if name not in holder.attrs:
        return Texts(None, "missing")
    try:
        raw = holder.attrs[name]
    except (OSError, TypeError, ValueError, RuntimeError):
        return Texts(None, "not text")
    if isinstance(raw, h5py.Empty):
        return Texts(("",), "empty")
    is_scalar = not isinstance(raw, np.ndarray) or raw.ndim == 0
    items: list[Any] = list(raw.ravel()) if isinstance(raw, np.ndarray) else [raw]
    if not all(isinstance(item, (str, bytes)) for item in items):
        return Texts(None, "not text")
    if not is_scalar and raw.dtype.kind == "S" and raw.dtype.itemsize == 1 and raw.size > 1:
        texts = tuple(item.decode("latin-1") for item in items)
        return Texts(texts, "characters", "bytes")
    decoded = [decode_text(item) for item in items]
    wide = {encoding for _, encoding in decoded} - {"ascii"}
    encoding = "mixed" if len(wide) > 1 else wide.pop() if wide else "ascii"
    return Texts(tuple(text for text, _ in decoded), "scalar" if is_scalar else "list", encoding)
