"""Shards written here are read by zarr-python, and the reverse; tile digests on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from usid_tasks import shards
from usid_tasks.digests import array_digest, tile_digests, tile_shape
from usid_tasks.errors import RefusedError, VerificationError
from usid_tasks.journal import DoneFile, Journal, TileFile
from usid_tasks.shards import Scratch, open_array, rechunked_document

CODECS = {
    "none": None,
    "zstd": ZstdCodec(level=3, checksum=True),
    "blosc": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
}


def made(folder, shape, chunks, shards, *, codec="zstd", dtype="f4", **more):
    array = zarr.create_array(
        folder, shape=shape, dtype=dtype, chunks=chunks, shards=shards,
        compressors=CODECS.get(codec, codec), zarr_format=3,
        config={"write_empty_chunks": True}, **more,
    )  # fmt: skip
    array[...] = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    return array


def opened(folder):
    return open_array(folder, json.loads((folder / "zarr.json").read_text("utf-8")))


def whole(array):
    return tuple(slice(0, n) for n in array.shape)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_region_reads_as_zarr_reads_it(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("array") / "a"
    shape = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    shards = tuple(c * data.draw(st.integers(1, 3)) for c in chunks)
    reference = made(
        folder, tuple(shape), chunks, shards,
        codec=data.draw(st.sampled_from(list(CODECS))),
        dtype=data.draw(st.sampled_from(["?", "u1", "i2", "f2", "f4", "f8", "c16"])),
    )  # fmt: skip
    array = opened(folder)
    starts = [data.draw(st.integers(0, n - 1)) for n in shape]
    region = tuple(
        slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True)
    )
    block = np.empty([part.stop - part.start for part in region], array.dtype)
    scratch = Scratch(array.chunk_bytes)
    array.read(region, block, scratch)
    expected = reference[region]
    assert block.tobytes() == expected.tobytes()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("nth", range(5))
def test_a_byte_that_the_disk_changes_is_found(tmp_path, codec, nth, monkeypatch):
    reference = made(tmp_path / "a", (6, 8), (3, 4), (6, 8), codec=codec, dtype="i2")
    values = np.array(reference[...])
    array, plain, written = opened(tmp_path / "a"), shards._write_all, []

    def write(stream, data):
        written.append(data)
        damaged = bytearray(memoryview(data).cast("B"))
        if len(written) == nth + 1:
            damaged[len(damaged) // 2] ^= 1
        plain(stream, damaged)

    monkeypatch.setattr(shards, "_write_all", write)
    region = (slice(0, 6), slice(0, 8))
    with pytest.raises(VerificationError, match="read back"):
        array.write(region, values, Scratch(array.chunk_bytes))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", ["?", "i2", "f4", "c16"])
@pytest.mark.parametrize(("chunk", "shard"), [((3, 4), (6, 8)), ((5, 5), (5, 5)), ((7, 9), (7, 9))])
def test_what_is_written_is_read_by_zarr(tmp_path, codec, dtype, chunk, shard):
    source = made(tmp_path / "source", (13, 17), (13, 17), None, codec=codec, dtype=dtype)
    document = json.loads((tmp_path / "source" / "zarr.json").read_text("utf-8"))
    folder = tmp_path / "target"
    folder.mkdir()
    told = rechunked_document(document, chunk, shard)
    (folder / "zarr.json").write_text(json.dumps(told), "utf-8")
    array = open_array(folder, told)
    values = source[...]
    scratch = Scratch(array.chunk_bytes)
    for start in range(0, 13, shard[0]):
        region = (slice(start, min(13, start + shard[0])), slice(0, 17))
        array.write(region, values[region], scratch)
        assert array.has(region)
    assert zarr.open_array(folder, mode="r")[...].tobytes() == values.tobytes()


def test_other_codecs_are_refused(tmp_path):
    made(tmp_path / "a", (4, 4), (2, 2), None, codec=GzipCodec())
    with pytest.raises(RefusedError, match="gzip"):
        opened(tmp_path / "a")


def test_a_chunk_that_is_left_out_is_an_error_and_no_zeros(tmp_path):
    array = zarr.create_array(
        tmp_path / "a", shape=(8,), dtype="f4", chunks=(2,), shards=(8,), zarr_format=3
    )
    array[:2] = 1
    mine = opened(tmp_path / "a")
    block = np.empty(8, "f4")
    with pytest.raises(VerificationError, match="chunk is missing"):
        mine.read(whole(mine), block, Scratch(mine.chunk_bytes))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(0, 300), min_size=0, max_size=3),
    dtype=st.sampled_from(["?", "u1", ">i2", "f4", "c16"]),
    seed=st.integers(0, 99),
)
def test_tiles_on_disk_come_to_the_digest_of_the_array(shape, dtype, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    values = np.random.default_rng(seed).integers(0, 2**7, shape).astype(dtype)
    tile = tile_shape(shape)
    with TileFile(folder / "tiles", shape, values.dtype) as tiles:
        if values.size:
            halves = [
                sorted({0, min(n, t * max(1, n // t // 2)), n})
                for n, t in zip(shape, tile, strict=True)
            ]
            for index in np.ndindex(*(len(half) - 1 for half in halves)):
                region = tuple(
                    slice(half[i], half[i + 1]) for half, i in zip(halves, index, strict=True)
                )
                tiles.add_digests(tile_digests(values[region], tile), [r.start for r in region])
        assert tiles.result() == array_digest(values)


def test_marks_outlive_their_file_being_closed(tmp_path):
    with DoneFile(tmp_path / "done", 5, is_durable=True) as done:
        done.mark([3])
    with DoneFile(tmp_path / "done", 5, is_durable=True) as done:
        assert [done.is_done(number) for number in range(5)] == [False] * 3 + [True, False]
        assert done.n_done == 1
    with DoneFile(tmp_path / "done", 6, is_durable=True) as other:
        assert other.n_done == 0


def test_what_was_not_flushed_is_forgotten_with_the_boot(tmp_path):
    journal = Journal(tmp_path / "journal")
    kept, between = (journal.done(0, at, 2, is_kept=at == 1) for at in (1, 0))
    with kept, between:
        kept.mark([0])
        between.mark([0])
    journal.between(0, 0).mkdir()
    journal.forget_other_boots()
    assert journal.between(0, 0).exists()
    journal._boot = "another"
    journal.forget_other_boots()
    assert [path.name for path in journal.folder.iterdir()] == ["0.1.done"]
