"""Metadata documents of Zarr 3 groups and arrays, as zarr-python writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from usid_tasks import durable
from usid_tasks.model import JSON

INDEX_CODECS: list[dict[str, JSON]] = [
    {"name": "bytes", "configuration": {"endian": "little"}},
    {"name": "crc32c"},
]
"""Codecs of the index of a shard."""

NUMBERS = "biufc"
"""Kinds of NumPy types that have a data type of the same name in Zarr 3."""


def group_document(attributes: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the document of a group."""
    return {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}


def array_document(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    *,
    chunk: Sequence[int],
    shard: Sequence[int],
    codecs: Sequence[Mapping[str, JSON]],
    attributes: Mapping[str, JSON],
    dims: Sequence[str],
) -> dict[str, JSON]:
    """Return the document of an array of numbers, which reads as zeros where nothing is stored.

    Parameters
    ----------
    shape, dtype
        Of the array; a type whose kind is one of :data:`NUMBERS`, at most 16 bytes wide.
    chunk, shard
        What is encoded at once, and what a file holds; equal where a file holds one chunk.
    codecs
        What encodes the bytes of a chunk, none or one.
    attributes, dims
        Attributes, and the name of every dimension.
    """
    zero: JSON = np.zeros((), dtype)[()].item()
    if dtype.kind == "c":
        zero = [0.0, 0.0]
    told = [bytes_codec(dtype), *map(dict, codecs)]
    return {
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shard)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": zero,
        "codecs": told if tuple(chunk) == tuple(shard) else [sharding(chunk, told)],
        "attributes": dict(attributes),
        "dimension_names": list(dims),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def bytes_codec(dtype: np.dtype[Any]) -> dict[str, JSON]:
    """Return the codec that turns numbers into bytes."""
    if dtype.itemsize == 1:
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}


def sharding(chunk: Sequence[int], codecs: Sequence[JSON]) -> dict[str, JSON]:
    """Return the codec that puts many chunks into one file."""
    inside = {
        "chunk_shape": list(chunk),
        "codecs": list(codecs),
        "index_codecs": INDEX_CODECS,
        "index_location": "end",
    }
    return {"name": "sharding_indexed", "configuration": inside}


def write_document(folder: Path, document: Mapping[str, JSON]) -> None:
    """Write the document of a group or array; nothing where it is there already."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    # a lone surrogate, of a name that is no UTF-8, becomes its escape
    data = text.encode("utf-8", "backslashreplace")
    durable.make_folders(folder)
    file = folder / "zarr.json"
    with durable.writing(file):
        if not file.is_file() or file.read_bytes() != data:
            file.write_bytes(data)
