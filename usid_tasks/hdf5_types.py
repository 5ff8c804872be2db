"""HDF5 datatypes described as JSON, enough to create them again.

A file has few types and many objects: each type is worked out once, told by its own encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from h5py import h5t

from usid_tasks.model import JSON

_PADDING = {h5t.STR_NULLTERM: "null-terminated", h5t.STR_NULLPAD: "null-padded"}
_CSET = {h5t.CSET_ASCII: "ascii", h5t.CSET_UTF8: "utf-8"}
_TYPES = 512
"""How many types are remembered."""


@dataclass(frozen=True)
class StoredType:
    """An HDF5 type: its description, and how NumPy holds its values.

    ``dtype`` is None where h5py knows none; ``memory`` is the HDF5 type of ``dtype``, None where
    it has none, for the reason ``problem``.
    """

    description: JSON
    dtype: np.dtype | None
    memory: h5t.TypeID | None
    problem: str = ""


def stored_type(kind: h5t.TypeID) -> StoredType:
    """Return what an HDF5 type is; ``description`` is shared, see :func:`describe` for a copy."""
    return _stored_type(kind.encode())


@lru_cache(maxsize=_TYPES)
def _stored_type(encoded: bytes) -> StoredType:
    kind = h5t.decode(encoded)
    dtype = None
    try:
        dtype = kind.dtype
        memory = h5t.py_create(dtype)
    except (TypeError, ValueError, NotImplementedError) as error:
        return StoredType(_describe(kind), dtype, None, str(error))
    return StoredType(_describe(kind), dtype, memory)


def describe(kind: h5t.TypeID) -> JSON:
    """Return ``kind`` as JSON: a NumPy type string for plain numbers, else an object.

    Objects have a ``class``: string (with ``size`` or ``variable``, ``charset``, ``padding``),
    reference (``to`` object or region), compound (``fields`` with name, offset, type), enum,
    array, variable-length, opaque, bitfield, time, or a float of unusual layout.
    """
    return _copied(stored_type(kind).description)


def _copied(told: JSON) -> JSON:
    if isinstance(told, dict):
        return {name: _copied(value) for name, value in told.items()}
    if isinstance(told, list):
        return [_copied(value) for value in told]
    return told


def _describe(kind: h5t.TypeID) -> JSON:
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
        return {"class": "enum", "base": _describe(kind.get_super()), "members": members}
    if isinstance(kind, h5t.TypeCompoundID):
        fields = [
            {
                "name": kind.get_member_name(i).decode("utf-8", "replace"),
                "offset": int(kind.get_member_offset(i)),
                "type": _describe(kind.get_member_type(i)),
            }
            for i in range(kind.get_nmembers())
        ]
        return {"class": "compound", "size": kind.get_size(), "fields": fields}
    if isinstance(kind, h5t.TypeArrayID):
        return {
            "class": "array",
            "shape": list(kind.get_array_dims()),
            "base": _describe(kind.get_super()),
        }
    if isinstance(kind, h5t.TypeVlenID):
        return {"class": "variable-length", "base": _describe(kind.get_super())}
    if isinstance(kind, h5t.TypeOpaqueID):
        return {
            "class": "opaque",
            "size": kind.get_size(),
            "tag": kind.get_tag().decode("utf-8", "replace"),
        }
    if isinstance(kind, (h5t.TypeIntegerID, h5t.TypeFloatID)):
        try:
            dtype = kind.dtype
            if h5t.py_create(dtype).equal(kind):
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
    return stored_type(kind).dtype
