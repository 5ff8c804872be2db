"""HDF5 datatypes made from their description in a store, and how NumPy holds their bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from h5py import h5t

from usid_tasks.model import JSON

_PADDING = {
    "null-terminated": h5t.STR_NULLTERM,
    "null-padded": h5t.STR_NULLPAD,
    "space-padded": h5t.STR_SPACEPAD,
}
_CSET = {"ascii": h5t.CSET_ASCII, "utf-8": h5t.CSET_UTF8}


def raw_name(text: str) -> bytes:
    """Return a name of the file as bytes: UTF-8, or whatever it was."""
    return text.encode("utf-8", "surrogateescape")


def make_type(described: JSON) -> h5t.TypeID:
    """Return the HDF5 type that :func:`usid_tasks.hdf5_types.describe` told of.

    Raises
    ------
    ValueError
        If the description does not suffice to make the type again.
    """
    if isinstance(described, str):
        return h5t.py_create(np.dtype(described))
    if "encoded" in described:
        return h5t.decode(bytes.fromhex(described["encoded"]))
    make = _MAKERS.get(described["class"])
    if make is None:
        raise ValueError(f"a type of class {described['class']} is not described in full")
    return make(described)


def _string(described: dict[str, JSON]) -> h5t.TypeID:
    kind = h5t.C_S1.copy()
    kind.set_size(h5t.VARIABLE if described.get("variable") else described["size"])
    kind.set_strpad(_PADDING[described["padding"]])
    kind.set_cset(_CSET[described["charset"]])
    return kind


def _reference(described: dict[str, JSON]) -> h5t.TypeID:
    return (h5t.STD_REF_DSETREG if described["to"] == "region" else h5t.STD_REF_OBJ).copy()


def _compound(described: dict[str, JSON]) -> h5t.TypeID:
    kind = h5t.create(h5t.COMPOUND, described["size"])
    for part in described["fields"]:
        kind.insert(raw_name(part["name"]), part["offset"], make_type(part["type"]))
    return kind


def _enum(described: dict[str, JSON]) -> h5t.TypeID:
    kind = h5t.enum_create(make_type(described["base"]))
    for name, value in described["members"].items():
        kind.enum_insert(raw_name(name), value)
    return kind


def _array(described: dict[str, JSON]) -> h5t.TypeID:
    return h5t.array_create(make_type(described["base"]), tuple(described["shape"]))


def _variable_length(described: dict[str, JSON]) -> h5t.TypeID:
    return h5t.vlen_create(make_type(described["base"]))


def _opaque(described: dict[str, JSON]) -> h5t.TypeID:
    kind = h5t.create(h5t.OPAQUE, described["size"])
    kind.set_tag(raw_name(described["tag"]))
    return kind


_MAKERS: dict[str, Callable[[dict[str, JSON]], h5t.TypeID]] = {
    "string": _string,
    "reference": _reference,
    "compound": _compound,
    "enum": _enum,
    "array": _array,
    "variable-length": _variable_length,
    "opaque": _opaque,
}


def bytes_dtype(kind: h5t.TypeID) -> np.dtype[Any] | None:
    """Return the NumPy type whose bytes are those of the file; None where there is none.

    There is none for values that lie elsewhere in the file (of variable length, references), and
    for numbers that NumPy does not have.
    """
    try:
        dtype: np.dtype[Any] = kind.dtype
        if not dtype.hasobject and h5t.py_create(dtype, logical=True).equal(kind):
            return dtype
    except (TypeError, ValueError, NotImplementedError):
        pass
    return _dtype_by_parts(kind)


def _dtype_by_parts(kind: h5t.TypeID) -> np.dtype[Any] | None:
    if isinstance(kind, h5t.TypeStringID):
        return None if kind.is_variable_str() else np.dtype(f"S{kind.get_size()}")
    if isinstance(kind, h5t.TypeOpaqueID):
        return np.dtype(f"V{kind.get_size()}")
    if isinstance(kind, h5t.TypeEnumID):
        return bytes_dtype(kind.get_super())
    if isinstance(kind, h5t.TypeArrayID):
        base = bytes_dtype(kind.get_super())
        return None if base is None else np.dtype((base, kind.get_array_dims()))
    if isinstance(kind, h5t.TypeCompoundID):
        return _record(kind)
    return None


def _record(kind: h5t.TypeCompoundID) -> np.dtype[Any] | None:
    places = range(kind.get_nmembers())
    formats = [bytes_dtype(kind.get_member_type(place)) for place in places]
    if None in formats:
        return None
    names = [kind.get_member_name(place).decode("utf-8", "surrogateescape") for place in places]
    offsets = [int(kind.get_member_offset(place)) for place in places]
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": kind.get_size()}
    )
