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
from numpy.typing import NDArray

from usid_tasks.attributes import decode_text, encode_value
from usid_tasks.errors import UnreadableDataError
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
            raw = held[tuple(region)[: held.ndim]]
        raw = np.ascontiguousarray(raw)
        itemsize = raw.dtype.itemsize
        as_bytes = np.frombuffer(raw.tobytes(), dtype=np.uint8).reshape(*raw.shape, itemsize)
        return np.ascontiguousarray(as_bytes[..., region[-1]])


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
    return Encoding.JSON, _json_bytes(encode_value(raw, file))


def _json_bytes(value: object) -> NDArray:
    return np.frombuffer(json.dumps(value, ensure_ascii=False).encode(), dtype=np.uint8)
