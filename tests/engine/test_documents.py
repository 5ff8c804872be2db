"""Documents are those of zarr-python, for every type, codec and layout."""

from __future__ import annotations

import json

import numpy as np
import zarr
from hypothesis import given
from hypothesis import strategies as st

from usid_tasks.codecs import parse_codec
from usid_tasks.documents import array_document, group_document, write_document

TYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]


@given(
    dtype=st.sampled_from(TYPES),
    shape=st.lists(st.integers(0, 20), max_size=3),
    chunk=st.integers(1, 7),
    per_shard=st.integers(1, 3),
    codec=st.sampled_from(["none", "zstd", "blosc-lz4", "blosc-zstd-bitshuffle"]),
)
def test_an_arrays_document(tmp_path_factory, dtype, shape, chunk, per_shard, codec):
    folder = tmp_path_factory.mktemp("array")
    chunks = (chunk,) * len(shape)
    shards = (chunk * per_shard,) * len(shape)
    codecs = parse_codec(codec).document(np.dtype(dtype).itemsize)
    attributes = {"a": [1, 2.5, "µ"]}
    dims = [f"d{number}" for number in range(len(shape))]
    zarr.create_array(
        folder, shape=shape, dtype=dtype, chunks=chunks,
        shards=None if shards == chunks else shards, compressors=codecs or None,
        fill_value=np.zeros((), dtype)[()], attributes=attributes, dimension_names=dims,
        zarr_format=3,
    )  # fmt: skip
    expected = json.loads((folder / "zarr.json").read_text("utf-8"))
    made = array_document(
        shape, np.dtype(dtype), chunk=chunks, shard=shards, codecs=codecs,
        attributes=attributes, dims=dims,
    )  # fmt: skip
    if not shape:
        expected.setdefault("dimension_names", [])
    assert made == expected


def test_a_groups_document(tmp_path):
    attributes = {"a": 1, "b": {"c": None}}
    zarr.create_group(tmp_path / "group", zarr_format=3, attributes=attributes)
    expected = json.loads((tmp_path / "group/zarr.json").read_text("utf-8"))
    assert group_document(attributes) == expected


def test_a_document_that_is_there_is_left_alone_and_a_torn_one_made_whole(tmp_path):
    document = group_document({"name": "µ \ud800"})
    write_document(tmp_path / "a/b", document)
    file = tmp_path / "a/b/zarr.json"
    looks = file.stat().st_mtime_ns
    write_document(tmp_path / "a/b", document)
    assert file.stat().st_mtime_ns == looks
    file.write_bytes(file.read_bytes()[:20])
    write_document(tmp_path / "a/b", document)
    assert json.loads(file.read_bytes()) == document
