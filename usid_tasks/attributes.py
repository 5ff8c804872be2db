"""HDF5 attributes as JSON, losing nothing: values, and beside them how they were stored."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5r, h5t

from usid_tasks.hdf5_types import StoredType, describe, mended_runs, name_of, stored_type
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


@dataclass(frozen=True)
class Target:
    """What an object reference leads to: state and path as of :func:`resolve`, and where it is."""

    state: str
    path: str | None
    address: int


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
        self.encodings: list[str] = []

    def encode(self, value: Any) -> JSON:
        if isinstance(value, (str, bytes)):
            text, encoding = decode_text(value)
            self.encodings.append(encoding)
            return text
        if isinstance(value, Target):
            return value.path
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


def encode_values(value: Any, file: h5py.File) -> tuple[JSON, str]:
    """Return any value as JSON, and the encoding of its text: empty, ascii, utf-8, ..., mixed."""
    encoder = _Encoder(file)
    told = encoder.encode(value)
    return told, _one_encoding(set(encoder.encodings)) if encoder.encodings else ""


class AttributeReader:
    """Reads the attributes of the objects of one open file, each attribute once.

    Parameters
    ----------
    file
        The open file.
    targets
        What lies at an address, for objects that have a single path. References to others are
        resolved by HDF5, which searches the whole file for each.
    """

    def __init__(self, file: h5py.File, targets: Mapping[int, Target]) -> None:
        self._file = file
        self._targets = targets

    def read(
        self, holder: h5d.DatasetID | h5g.GroupID | h5t.TypeID, keep: Collection[str] = ()
    ) -> tuple[Attributes, dict[str, Any]]:
        """Return all attributes of an object in their order of name, and what some of them hold.

        The second is by name, for those of ``keep`` that HDF5 could read: NumPy arrays and
        scalars, text as bytes, object references as :class:`Target`.
        """
        values: dict[str, JSON] = {}
        records: dict[str, JSON] = {}
        unreadable: dict[str, str] = {}
        kept: dict[str, Any] = {}
        names: list[bytes] = []
        if h5a.get_num_attrs(holder):
            h5a.iterate(holder, names.append)
        for raw_name in names:
            attribute = h5a.open(holder, raw_name)
            name = raw_name.decode("utf-8", "surrogateescape")
            kind = attribute.get_type()
            try:
                name.encode()  # no store has a name for other bytes
                stored, shape = stored_type(kind), attribute.shape
                held = self._held(attribute, stored, shape)
                if name in keep:
                    kept[name] = held
                encoder = _Encoder(self._file)
                value = encoder.encode(held)
            except (OSError, TypeError, ValueError, RuntimeError, KeyError) as error:
                unreadable[name] = str(error)
                records[name] = {
                    "type": describe(kind), "unreadable": str(error), **_raw(attribute, kind)
                }  # fmt: skip
                continue
            record = {"type": stored.describe(), "shape": None if shape is None else list(shape)}
            record.update(_encoding(encoder.encodings))
            if name_of(kind):
                record["named_type"] = name_of(kind)
            if value is None and isinstance(kind, h5t.TypeReferenceID):
                is_null = held.state == "null" if isinstance(held, Target) else not held
                record["state"] = "null" if is_null else "dangling"
            records[name] = record
            if is_out_of_reach(name, value):
                values[name] = value
            else:
                record["value"] = value
        return Attributes(values, records, unreadable), kept

    def _held(
        self, attribute: h5a.AttrID, stored: StoredType, shape: tuple[int, ...] | None
    ) -> Any:
        """Return the value of an attribute: an array, or a scalar where it has no dimension."""
        dtype = stored.dtype
        if dtype is None or (stored.memory is None and shape is not None):
            raise TypeError(stored.problem)
        if shape is None:
            return h5py.Empty(dtype)
        if h5t.check_ref_dtype(dtype) is h5r.Reference:
            return self._references(attribute, stored, shape)
        if dtype.subdtype is not None:
            dtype, inner = dtype.subdtype
            shape += inner
        held = np.zeros(shape, dtype)
        attribute.read(held, mtype=stored.memory)
        return mended_runs(held if held.ndim else held[()], dtype)

    def _references(self, attribute: h5a.AttrID, stored: StoredType, shape: tuple[int, ...]) -> Any:
        addresses = np.zeros(shape, np.uint64)
        attribute.read(addresses, mtype=h5t.STD_REF_OBJ)
        where = addresses.ravel().tolist()
        targets = [self._targets.get(address) for address in where]
        if None in targets:
            references = np.zeros(shape, h5py.ref_dtype)
            attribute.read(references, mtype=stored.memory)
            targets = [
                Target(*resolve(reference, self._file), address)
                for reference, address in zip(references.flat, where, strict=True)
            ]
        held = np.empty(shape, object)
        held.reshape(-1)[:] = targets
        return held if held.ndim else held[()]


def _encoding(encodings: Sequence[str]) -> dict[str, JSON]:
    """Return the encoding of texts as it is recorded; where they differ, that of each."""
    if not encodings:
        return {}
    one = _one_encoding(set(encodings))
    return {"encoding": one, **({"encodings": list(encodings)} if one == "mixed" else {})}


def _raw(attribute: h5a.AttrID, kind: h5t.TypeID) -> dict[str, JSON]:
    """Return shape and bytes of values that could not be read; nothing where they lie elsewhere."""
    dtype = stored_type(kind).dtype
    is_number = isinstance(kind, (h5t.TypeIntegerID, h5t.TypeFloatID, h5t.TypeTimeID))
    if attribute.shape is None or (dtype.hasobject if dtype is not None else not is_number):
        return {}
    cells = np.zeros(attribute.shape, f"V{kind.get_size()}")
    attribute.read(cells, mtype=kind)
    return {"shape": list(attribute.shape), "raw": cells.tobytes().hex()}


def _one_encoding(encodings: set[str]) -> str:
    wide = encodings - {"ascii"}
    return "mixed" if len(wide) > 1 else wide.pop() if wide else "ascii"


def read_texts(attributes: Attributes, kept: Mapping[str, Any], name: str) -> Texts:
    """Return a text attribute however it was stored: ``S``, variable-length, scalar, list.

    ``attributes`` and ``kept`` are those of :meth:`AttributeReader.read`. Nothing is stripped or
    joined here; elements that are one byte each are told by ``stored == "characters"`` and kept
    apart (a vendor writes ``cm-1`` as four elements).
    """
    if name not in attributes.records:
        return Texts(None, "missing")
    if name not in kept:
        return Texts(None, "not text")
    held = kept[name]
    if isinstance(held, h5py.Empty):
        return Texts(("",), "empty")
    is_list = isinstance(held, np.ndarray)
    items: list[Any] = list(held.ravel()) if is_list else [held]
    if not all(isinstance(item, (str, bytes)) for item in items):
        return Texts(None, "not text")
    if is_list and held.dtype.kind == "S" and held.dtype.itemsize == 1 and held.size > 1:
        texts = tuple(item.decode("latin-1") for item in items)
        return Texts(texts, "characters", "bytes")
    decoded = [decode_text(item) for item in items]
    encoding = _one_encoding({encoding for _, encoding in decoded})
    return Texts(tuple(text for text, _ in decoded), "list" if is_list else "scalar", encoding)
