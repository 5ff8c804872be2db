"""HDF5 datatypes described as JSON, enough to create them again."""

from __future__ import annotations

import h5py
import numpy as np
from h5py import h5t

from usid_tasks.model import JSON

_PADDING = {h5t.STR_NULLTERM: "null-terminated", h5t.STR_NULLPAD: "null-padded"}
_CSET = {h5t.CSET_ASCII: "ascii", h5t.CSET_UTF8: "utf-8"}


def describe(kind: h5t.TypeID) -> JSON:
    """Return ``kind`` as JSON: a NumPy type string for plain numbers, else an object.

    Objects have a ``class``: string (with ``size`` or ``variable``, ``charset``, ``padding``),
    reference (``to`` object or region), compound (``fields`` with name, offset, type), enum,
    array, variable-length, opaque, bitfield, time, or a float of unusual layout.
    """
    if isinstance(kind, h5t.TypeStringID):
        record: dict[str, JSON] = {
            "class": "string",
            "charset": _CSET.get(kind.get_cset(), "unknown"),
            "padding": _PADDING.get(kind.get_strpad(), "space-padded"),
        }
        return {
            **record,
            **({"variable": True} if kind.is_variable_str() else {"size": kind.get_size()}),
        }
    if isinstance(kind, h5t.TypeReferenceID):
        return {
            "class": "reference",
            "to": "region" if kind.equal(h5t.STD_REF_DSETREG) else "object",
        }
    if isinstance(kind, h5t.TypeEnumID):
        names = [kind.get_member_name(i) for i in range(kind.get_nmembers())]
        members = {
            name.decode("utf-8", "replace"): int(kind.get_member_value(i))
            for i, name in enumerate(names)
        }
        return {"class": "enum", "base": describe(kind.get_super()), "members": members}
    if isinstance(kind, h5t.TypeCompoundID):
        fields = [
            {
                "name": kind.get_member_name(i).decode("utf-8", "replace"),
                "offset": int(kind.get_member_offset(i)),
                "type": describe(kind.get_member_type(i)),
            }
            for i in range(kind.get_nmembers())
        ]
        return {"class": "compound", "size": kind.get_size(), "fields": fields}
    if isinstance(kind, h5t.TypeArrayID):
        return {
            "class": "array",
            "shape": list(kind.get_array_dims()),
            "base": describe(kind.get_super()),
        }
    if isinstance(kind, h5t.TypeVlenID):
        return {"class": "variable-length", "base": describe(kind.get_super())}
    if isinstance(kind, h5t.TypeOpaqueID):
        return {
            "class": "opaque",
            "size": kind.get_size(),
            "tag": kind.get_tag().decode("utf-8", "replace"),
        }
    if isinstance(kind, (h5t.TypeIntegerID, h5t.TypeFloatID)):
        try:
            dtype = kind.dtype
            if h5py.h5t.py_create(dtype).equal(kind):
                return dtype.newbyteorder("=").str if dtype.itemsize == 1 else dtype.str
        except (TypeError, ValueError):
            dtype = None
        return {
            "class": "float" if isinstance(kind, h5t.TypeFloatID) else "integer",
            "size": kind.get_size(),
            "order": "little" if kind.get_order() == h5t.ORDER_LE else "big",
            "precision": kind.get_precision(),
        }
    return {"class": type(kind).__name__, "size": kind.get_size()}


def readable_dtype(kind: h5t.TypeID) -> np.dtype | None:
    """Return the NumPy dtype in which h5py reads ``kind``, None where it cannot."""
    try:
        dtype: np.dtype = kind.dtype
        return dtype
    except (TypeError, ValueError, NotImplementedError):
        return None
