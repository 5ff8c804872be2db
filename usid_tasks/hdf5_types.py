"""HDF5 datatypes described as JSON, enough to create them again.

A file has few types and many objects: each type is worked out once, told by its own encoding.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from typing import Any

import h5py
import numpy as np
from h5py import h5i, h5t

from usid_tasks.model import JSON

_PADDING = {h5t.STR_NULLTERM: "null-terminated", h5t.STR_NULLPAD: "null-padded"}
_CSET = {h5t.CSET_ASCII: "ascii", h5t.CSET_UTF8: "utf-8"}
_TYPES = 512
"""How many types are remembered."""


@dataclass(frozen=True)
class StoredType:
    """An HDF5 type: its description, and how NumPy holds its values.

    ``description`` is shared by all objects of the type. ``dtype`` is None where h5py knows none;
    ``memory`` is the HDF5 type of ``dtype``, None where it has none, for the reason ``problem``.
    ``is_shared`` is True where the bytes in the file are those of NumPy.
    """

    description: JSON
    dtype: np.dtype | None
    memory: h5t.TypeID | None
    problem: str = ""
    is_shared: bool = False

    def describe(self) -> JSON:
        """Return a description of one's own, to keep or to change (see :func:`describe`)."""
        return _copied(self.description)


def stored_type(kind: h5t.TypeID) -> StoredType:
    """Return what an HDF5 type is."""
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
    return StoredType(_describe(kind), dtype, memory, is_shared=_is_shared(kind, dtype))


def _is_shared(kind: h5t.TypeID, dtype: np.dtype) -> bool:
    if dtype.hasobject:
        return False
    try:
        return bool(h5t.py_create(dtype, logical=True).equal(kind))
    except (TypeError, ValueError, NotImplementedError):
        return False


def describe(kind: h5t.TypeID) -> JSON:
    """Return ``kind`` as JSON: a NumPy type string for plain numbers, else an object.

    Objects have a ``class``: string (with ``size`` or ``variable``, ``charset``, ``padding``),
    reference (``to`` object or region), compound (``fields`` with name, offset, type), enum,
    array, variable-length, opaque, bitfield, time, or a float of unusual layout; what these
    words do not tell in full has HDF5's own encoding too (``encoded``, hexadecimal).
    """
    return stored_type(kind).describe()


def _copied(told: JSON) -> JSON:
    if isinstance(told, dict):
        copy = dict(told)
        for name, value in told.items():
            if isinstance(value, (dict, list)):
                copy[name] = _copied(value)
        return copy
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
            name.decode("utf-8", "surrogateescape"): int(kind.get_member_value(i))
            for i, name in enumerate(names)
        }
        return {"class": "enum", "base": _describe(kind.get_super()), "members": members}
    if isinstance(kind, h5t.TypeCompoundID):
        fields = [
            {
                "name": kind.get_member_name(i).decode("utf-8", "surrogateescape"),
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
            "tag": kind.get_tag().decode("utf-8", "surrogateescape"),
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
            "encoded": kind.encode().hex(),
        }
    return {
        "class": type(kind).__name__, "size": kind.get_size(), "encoded": kind.encode().hex()
    }  # fmt: skip


def name_of(kind: h5t.TypeID) -> str:
    """Return the path of a type that is an object of its own; empty for all others."""
    name = h5i.get_name(kind) if kind.committed() else None
    return name.decode("utf-8", "surrogateescape") if name else ""


def mended_runs(values: Any, dtype: np.dtype[Any]) -> Any:
    """Return what h5py read, with the bytes of runs of variable length in their right order.

    h5py (3.16) takes the bytes of a foreign order in such a run for those of this machine.
    """
    if not dtype.hasobject or not _takes_runs_as_they_lie():
        return values
    base = h5t.check_vlen_dtype(dtype)
    if isinstance(base, np.dtype):
        if not isinstance(values, np.ndarray) or values.dtype != object:
            return values if base.hasobject else np.asarray(values).view(base)
        mended = np.empty(values.shape, dtype)
        mended.reshape(-1)[:] = [mended_runs(run, dtype) for run in values.ravel()]
        return mended
    if dtype.names is not None:
        mended = np.array(values, dtype)
        for name in dtype.names:
            mended[name] = mended_runs(values[name], dtype[name])
        return mended if isinstance(values, np.ndarray) else mended[()]
    return values


_TRYING = threading.Lock()


def _takes_runs_as_they_lie() -> bool:
    with _TRYING:  # a cache alone lets two threads try at once
        return _tried_runs()


@cache
def _tried_runs() -> bool:
    kind = np.dtype("<i4" if sys.byteorder == "big" else ">i4")
    with h5py.File(BytesIO(), "w") as file:  # nameless: none in memory can be in its way
        run = file.create_dataset("run", (), dtype=h5py.vlen_dtype(kind))
        run[()] = np.array([1], kind)
        return int(run[()][0]) != 1
