"""Values of attributes and datasets, from JSON to arrays that HDF5 writes bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import h5py
import numpy as np
from h5py import h5r, h5s, h5t
from numpy.typing import NDArray

from usid_tasks.back.types import bytes_dtype, raw_name
from usid_tasks.model import JSON

MIXED = "mixed"
"""Encoding of texts of which some are UTF-8 and others Latin-1."""

Refer = Callable[[JSON], Any]
"""Makes a reference of what stands in the JSON: a path, a region, or None for none."""


def flattened(value: JSON, shape: Sequence[int]) -> list[JSON]:
    """Return the cells of nested lists, C order; those of no dimension are the value itself."""
    cells = [value]
    for _ in shape:
        cells = [inner for outer in cells for inner in outer]
    return cells


def array_of(
    value: JSON,
    kind: h5t.TypeID,
    shape: Sequence[int],
    *,
    refer: Refer,
    encodings: str | Sequence[str] = "utf-8",
) -> tuple[NDArray[Any], h5t.TypeID]:
    """Return values as an array, and the HDF5 type of its bytes in memory.

    Parameters
    ----------
    value
        As :func:`usid_tasks.attributes.encode_value` gave it.
    kind, shape
        Type and shape in the file.
    refer
        Makes the references among the values.
    encodings
        That of every text, or of each in the order of the cells.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the values do not fit the type.
    """
    dtype = bytes_dtype(kind)
    if not isinstance(kind, h5t.TypeStringID) and encodings == MIXED:
        raise ValueError("its texts are of several encodings, and it is not told which of which")
    texts = _texts(encodings)
    cells = flattened(value, shape)
    if len(cells) != math.prod(shape):
        raise ValueError(f"{len(cells)} values for the shape {tuple(shape)}")
    if dtype is None:
        out = np.zeros(len(cells), kind.dtype)
        _Filling(refer, texts).fill(out, kind, cells)
        return out.reshape((*shape, *out.shape[1:])), h5t.py_create(kind.dtype)
    out = np.zeros(len(cells), dtype)
    _Filling(refer, texts).fill(out, kind, cells)
    cell_bytes = np.dtype(f"V{kind.get_size()}")
    return np.frombuffer(out.tobytes(), cell_bytes).reshape(tuple(shape)), kind


def text_bytes(texts: Sequence[str], kind: h5t.TypeID) -> NDArray[Any]:
    """Return texts as an array of one dimension: bytes of a fixed size, or of their own each."""
    filling = _Filling(lambda _: None, _texts("utf-8"))
    out = np.zeros(len(texts), bytes_dtype(kind) or kind.dtype)
    filling.fill(out, kind, texts)
    return out


def _texts(encodings: str | Sequence[str]) -> Iterator[str]:
    if isinstance(encodings, str):
        while True:
            yield encodings
    yield from encodings


class _Filling:
    """Puts JSON cells into an array of one dimension, part by part of their type."""

    def __init__(self, refer: Refer, encodings: Iterator[str]) -> None:
        self._refer = refer
        self._encodings = encodings

    def fill(self, out: NDArray[Any], kind: h5t.TypeID, cells: Sequence[JSON]) -> None:
        if isinstance(kind, h5t.TypeStringID):
            self._fill_texts(out, kind, cells)
        elif isinstance(kind, h5t.TypeOpaqueID):
            out[...] = np.array([bytes.fromhex(cell) for cell in cells], out.dtype)
        elif isinstance(kind, h5t.TypeReferenceID):
            for place, cell in enumerate(cells):
                out[place] = self._reference(kind, cell)
        elif isinstance(kind, h5t.TypeVlenID):
            self._fill_runs(out, kind, cells)
        elif isinstance(kind, h5t.TypeArrayID):
            inner = flattened(list(cells), (len(cells), *kind.get_array_dims()))
            flat = np.zeros(len(inner), out.dtype)
            self.fill(flat, kind.get_super(), inner)
            out[...] = flat.reshape(out.shape)
        elif isinstance(kind, h5t.TypeCompoundID) and out.dtype.names is not None:
            for place in range(kind.get_nmembers()):
                name = kind.get_member_name(place).decode("utf-8", "surrogateescape")
                part = [cell[name] for cell in cells]
                self.fill(out[name], kind.get_member_type(place), part)
        else:
            _fill_numbers(out, cells)

    def _fill_texts(self, out: NDArray[Any], kind: h5t.TypeID, cells: Sequence[str]) -> None:
        encoded = (
            cell.encode("latin-1" if encoding == "latin-1" else "utf-8", "surrogateescape")
            for cell, encoding in zip(cells, self._encodings, strict=False)
        )
        pad = b" " if kind.get_strpad() == h5t.STR_SPACEPAD else b"\0"
        width = 0 if kind.is_variable_str() else kind.get_size()
        for place, text in enumerate(encoded):
            out[place] = text.ljust(width, pad)

    def _fill_runs(self, out: NDArray[Any], kind: h5t.TypeVlenID, cells: Sequence[JSON]) -> None:
        base = kind.get_super()
        for place, cell in enumerate(cells):
            run = np.zeros(len(cell), base.dtype)
            self.fill(run, base, cell)
            out[place] = run

    def _reference(self, kind: h5t.TypeID, cell: JSON) -> Any:
        if cell is not None:
            return self._refer(cell)
        return h5r.RegionReference() if kind.equal(h5t.STD_REF_DSETREG) else h5r.Reference()


def _fill_numbers(out: NDArray[Any], cells: Sequence[JSON]) -> None:
    if out.dtype.kind == "c":
        parts = np.zeros((len(cells), 2), _real(out.dtype))
        _fill_numbers(parts.reshape(-1), [part for cell in cells for part in cell])
        out[...] = parts.view(out.dtype.newbyteorder("=")).reshape(-1)
    elif out.dtype.kind == "f":
        wide = np.longdouble if out.dtype.itemsize > np.dtype("f8").itemsize else np.float64
        out[...] = np.array([wide(cell) for cell in cells], wide)
    else:
        out[...] = np.array(cells, out.dtype)


def _real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the real part of complex numbers, in native byte order."""
    return np.zeros((), dtype.newbyteorder("=")).real.dtype


def reference_to(file: h5py.File, cell: JSON) -> Any:
    """Return a reference to an object, or to a region of a dataset, that is in an open file.

    Raises
    ------
    KeyError, ValueError, RuntimeError
        If there is no such object, or the region does not lie within it.
    """
    if isinstance(cell, str):
        return h5r.create(file.id, raw_name(cell), h5r.OBJECT)
    path = raw_name(cell["path"])
    space = file[path].id.get_space()
    if "blocks" in cell:
        space.select_none()
        for first, last in cell["blocks"]:
            block = tuple(end - start + 1 for start, end in zip(first, last, strict=True))
            space.select_hyperslab(tuple(first), (1,) * len(block), block=block, op=h5s.SELECT_OR)
    elif "points" in cell:
        space.select_elements(np.array(cell["points"], np.uint64))
    return h5r.create(file.id, path, h5r.DATASET_REGION, space)
