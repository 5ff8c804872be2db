"""Datasets that are no sound Main dataset: tables, logs, counters, broken Mains.

Each becomes one array. Numbers keep their shape and type. Text becomes an array of strings.
What no array type holds (compounds, long doubles, opaque bytes) is kept as its raw bytes along
a last dimension, in the file's own layout; variable-length data and references as the bytes of
a JSON text. The attribute ``usid_encoding`` tells which: numbers, text, bytes or json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import h5py
import numpy as np
from h5py import h5d, h5s, h5t
from numpy.typing import NDArray

from usid_tasks.attributes import decode_text, encode_values
from usid_tasks.errors import UnreadableDataError
from usid_tasks.hdf5_types import mended_runs
from usid_tasks.mains import native
from usid_tasks.records import Dataset
from usid_tasks.source import open_for_blocks
from usid_tasks.usid import open_object


class Encoding(StrEnum):
    """How a dataset's elements are kept in an array."""

    NUMBERS = "numbers"
    TEXT = "text"
    BYTES = "bytes"
    JSON = "json"


def is_plain_number(dtype: np.dtype | None) -> bool:
    """Return True for numbers that every array format of ours holds."""
    if dtype is None or dtype.kind not in "biufc" or dtype.subdtype is not None:
        return False
    return dtype.itemsize <= (16 if dtype.kind == "c" else 8)


def _has_pointers(dtype: np.dtype) -> bool:
    """Return True if elements refer to something outside themselves."""
    return dtype.hasobject


def choose_encoding(dataset: Dataset) -> Encoding:
    """Return how a dataset is kept, from its record alone (text may still turn out not to be)."""
    dtype = dataset.dtype
    if dataset.shape is None:
        return Encoding.JSON
    if is_plain_number(dtype):
        return Encoding.NUMBERS
    if isinstance(dataset.type, dict) and dataset.type.get("class") == "string":
        return Encoding.TEXT
    if dtype is None or _has_pointers(dtype):
        return Encoding.JSON
    return Encoding.BYTES


@dataclass(frozen=True)
class ExtraSource:
    """The elements of a dataset read by path; ``dtype`` and ``shape`` are those of the array."""

    path: str
    dataset: str
    encoding: Encoding
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, region: Sequence[slice]) -> NDArray:
        """Return the elements of a region (one slice of step one for each dimension)."""
        with open_for_blocks(self.path) as file:
            held = open_object(file, self.dataset)
            if self.encoding is Encoding.NUMBERS:
                return np.asarray(held[tuple(region)], dtype=self.dtype)
            whole = zip(region, self.shape, strict=True)
            bounded = [slice(*part.indices(size)) for part, size in whole]
            elements = _raw_elements(held.id, bounded[:-1], self.shape[-1])
        return np.ascontiguousarray(elements[..., region[-1]])


def _raw_elements(
    held: h5d.DatasetID, region: Sequence[slice], size_bytes: int
) -> NDArray[np.uint8]:
    """Return the bytes of elements as the file has them, or, of another size, as NumPy does."""
    kind, space = held.get_type(), held.get_space()
    extent = tuple(part.stop - part.start for part in region)
    elements = np.zeros(extent, f"V{size_bytes}")
    if elements.size:
        if extent:
            space.select_hyperslab(tuple(part.start for part in region), extent)
        memory = h5s.create_simple(extent) if extent else h5s.create(h5s.SCALAR)
        is_as_stored = kind.get_size() == size_bytes
        held.read(memory, space, elements, kind if is_as_stored else h5t.py_create(kind.dtype))
    return np.frombuffer(elements.tobytes(), np.uint8).reshape((*extent, size_bytes))


def read_extra(
    file: h5py.File, name: str, dataset: Dataset
) -> tuple[Encoding, NDArray | ExtraSource]:
    """Return how a dataset is kept and its array: in memory for text and JSON, else by path.

    Text that is no text (bytes that are not UTF-8) is kept as JSON bytes, with its encoding.

    Raises
    ------
    UnreadableDataError
        If HDF5 cannot read text or variable-length values; numbers are read later.
    """
    encoding = choose_encoding(dataset)
    shape = dataset.shape or ()
    if encoding is Encoding.NUMBERS and dataset.dtype is not None:
        return encoding, ExtraSource(name, dataset.path, encoding, shape, native(dataset.dtype))
    if encoding is Encoding.BYTES and dataset.dtype is not None:
        base = dataset.dtype
        whole = (*shape, base.itemsize)
        return encoding, ExtraSource(name, dataset.path, encoding, whole, np.dtype(np.uint8))
    held = open_object(file, dataset.path)
    if dataset.shape is None:
        return Encoding.JSON, _json_bytes(None)
    try:
        raw = held[()]
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise UnreadableDataError(
            f"{name}:{dataset.path}",
            f"HDF5 cannot read its values: {error}",
            "restore the file from its source, or leave the dataset out",
            dataset.path,
        ) from error
    if encoding is Encoding.TEXT:
        items = np.asarray(raw, dtype=object).ravel()
        decoded = [decode_text(item) for item in items]
        if all(code != "latin-1" for _, code in decoded):
            texts = np.array([text for text, _ in decoded], dtype=np.dtypes.StringDType())
            return encoding, texts.reshape(shape)
        values = [{"text": text, "encoding": code} for text, code in decoded]
        return Encoding.JSON, _json_bytes({"shape": list(shape), "values": values})
    if dataset.dtype is not None:
        raw = mended_runs(raw, dataset.dtype)
    value, encoding_of_text = encode_values(raw, file)
    if encoding_of_text in ("latin-1", "mixed"):
        value = {"encoding": encoding_of_text, "values": value}
    return Encoding.JSON, _json_bytes(value)


def _json_bytes(value: object) -> NDArray:
    return np.frombuffer(json.dumps(value, ensure_ascii=False).encode(), dtype=np.uint8)
