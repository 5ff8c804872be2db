"""Codecs: zarr-python reads what they write and the reverse, in the memory that is told."""

from __future__ import annotations

import contextlib
import itertools
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.blosc import list_compressors
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from usid_tasks.codec_names import AUTO, CODEC_NAMES, level_of
from usid_tasks.codecs import NO_CODEC, Codec, from_document, parse_codec
from usid_tasks.errors import RefusedError, SettingsError

MIB = 2**20
DTYPES = ["?", "u1", "i2", "f2", "f4", "f8", "c8", "c16"]
LEVELS = {name: (0, 1, 5, 9) if name.startswith("blosc") else (0, 1, 3, 9) for name in CODEC_NAMES}
CODECS = sorted(
    {parse_codec(name, level) for name, levels in LEVELS.items() for level in levels}, key=str
)
COMPRESSED = [codec for codec in CODECS if codec.is_compressed]


def reference(codec: Codec):
    """Return the codec as zarr-python makes it, told in zarr-python's words."""
    name, _, rest = codec.name.partition("-")
    if name == "none":
        return None
    if name == "zstd":
        return ZstdCodec(level=codec.level)
    cname, _, shuffle = rest.partition("-")
    return BloscCodec(cname=cname, clevel=codec.level, shuffle=shuffle or "shuffle")


def made(folder, codec, values, *, shards=None):
    array = zarr.create_array(
        folder, shape=values.shape, dtype=values.dtype, chunks=values.shape, shards=shards,
        compressors=codec, zarr_format=3, config={"write_empty_chunks": True},
    )  # fmt: skip
    array[...] = values
    return json.loads((folder / "zarr.json").read_text("utf-8"))


def chunk_file(folder, values):
    return folder.joinpath("c", *["0"] * values.ndim)


# names and documents


def test_every_name_is_read_back_with_its_level():
    for name, codec in itertools.product(CODEC_NAMES, CODECS):
        assert parse_codec(codec.name, codec.level) == codec
        assert parse_codec(name).name == name
        assert parse_codec(name).level == level_of(name)
        assert parse_codec(**codec.to_json()) == codec
    assert parse_codec("blosc-lz4").shuffle == "shuffle"
    assert parse_codec("none", 7) == NO_CODEC
    assert str(parse_codec("blosc-zstd-bitshuffle", 3)) == "blosc-zstd-bitshuffle 3"


@pytest.mark.parametrize(
    ("name", "level", "told"),
    [
        ("gzip", None, "'gzip'"),
        ("blosc", None, "'blosc'"),
        ("blosc-lz4-shuffle", None, "blosc-lz4-noshuffle"),
        (AUTO, None, "'auto'"),
        ("zstd", 23, "0 to 22"),
        ("zstd", -1, "0 to 22"),
        ("blosc-lz4", 10, "0 to 9"),
    ],
)
def test_names_and_levels_that_are_none_are_refused(name, level, told):
    with pytest.raises(ValueError, match=told):
        level_of(name, level)
    with pytest.raises(SettingsError, match=told) as raised:
        parse_codec(name, level)
    assert raised.value.where == "convert.codec"


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_documents_are_those_of_zarr(tmp_path, codec):
    for number, dtype in enumerate(DTYPES):
        values = np.zeros((4, 6), dtype)
        document = made(tmp_path / f"{number}", reference(codec), values)
        assert document["codecs"][1:] == codec.document(values.dtype.itemsize)
        assert json.dumps(document["codecs"][1:]) == json.dumps(
            codec.document(values.dtype.itemsize)
        )
        sharded = made(tmp_path / f"{number}s", reference(codec), values, shards=(8, 12))
        inside = sharded["codecs"][0]["configuration"]["codecs"]
        assert inside[1:] == document["codecs"][1:]
        assert from_document(document["codecs"][1:]) == codec


def test_text_of_any_length_is_one_byte_wide(tmp_path):
    codec = parse_codec("blosc-lz4")
    array = zarr.create_array(
        tmp_path / "a", shape=(2,), dtype="string", compressors=reference(codec), zarr_format=3
    )
    array[...] = np.array(["a", "µ"])
    document = json.loads((tmp_path / "a" / "zarr.json").read_text("utf-8"))
    assert document["codecs"][1:] == codec.document(1)


@pytest.mark.parametrize("cname", [name for name in list_compressors() if name != "lz4"])
def test_what_others_wrote_is_known_if_it_can_be_read(tmp_path, cname):
    values = np.arange(500, dtype="f4")
    other = BloscCodec(cname=cname, clevel=2, shuffle="bitshuffle", blocksize=512)
    document = made(tmp_path / "a", other, values)
    codec = from_document(document["codecs"][1:])
    assert codec.document(4) == document["codecs"][1:]
    out = np.empty_like(values)
    codec.coder(4).decode(chunk_file(tmp_path / "a", values).read_bytes(), out)
    assert np.array_equal(out, values)


def test_checksums_of_zstd_are_kept_and_looked_at(tmp_path):
    values = np.random.default_rng(1).integers(0, 255, 1000, "u1")
    document = made(tmp_path / "a", ZstdCodec(level=-5, checksum=True), values)
    codec = from_document(document["codecs"][1:])
    assert codec.document(1) == document["codecs"][1:]
    data = bytearray(chunk_file(tmp_path / "a", values).read_bytes())
    data[500] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        codec.coder(1).decode(data, np.empty_like(values))


@pytest.mark.parametrize(
    ("codecs", "told"),
    [
        ([GzipCodec().to_dict()], "gzip"),
        ([{"name": "crc32c"}], "crc32c"),
        (["zstd"], "zstd"),
        ([ZstdCodec().to_dict(), {"name": "crc32c"}], r"'zstd', 'crc32c'"),
        ([{"name": "blosc", "configuration": {"cname": "snappy", "clevel": 1}}], "blosc"),
        ([{"name": "blosc", "configuration": {"cname": "lz4", "clevel": 10}}], "blosc"),
        ([{"name": "blosc", "configuration": {"cname": "lz4"}}], "blosc"),
        (
            [{"name": "blosc", "configuration": {"cname": "lz4", "clevel": 1, "shuffle": "byte"}}],
            "blosc",
        ),
        ([{"name": "zstd", "configuration": {"level": 23}}], "zstd"),
    ],
)
def test_other_codecs_are_refused(codecs, told):
    with pytest.raises(RefusedError, match=told) as raised:
        from_document(codecs, where="scan.zarr/a")
    assert raised.value.where == "scan.zarr/a"


# encoding and decoding


@st.composite
def chunks(draw):
    """Draw a chunk: some noise, some pattern, of any type and shape."""
    shape = draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    high = draw(st.sampled_from([1, 2, 16, 256]))
    raw = rng.integers(0, high, (*shape, dtype.itemsize), "u1")
    return (raw % 2).astype("?")[..., 0] if dtype == "?" else raw.view(dtype)[..., 0].copy()


@settings(max_examples=60, deadline=None)
@given(values=chunks(), codec=st.sampled_from(CODECS))
def test_zarr_reads_what_is_encoded_and_the_reverse(values, codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "a"
    made(folder, reference(codec), values)
    file = chunk_file(folder, values)
    coder = codec.coder(values.dtype.itemsize)

    theirs = file.read_bytes()
    out = np.full_like(values, 1)
    coder.decode(theirs, out)
    assert out.tobytes() == values.tobytes()

    ours = coder.encode(values)
    assert bytes(ours) == theirs
    file.write_bytes(b"")
    file.write_bytes(ours)
    assert zarr.open_array(folder, mode="r")[...].tobytes() == values.tobytes()


@settings(max_examples=100, deadline=None)
@given(values=chunks(), codec=st.sampled_from(CODECS), kind=st.sampled_from(["bytes", "view"]))
def test_chunks_of_any_buffer_come_back(values, codec, kind):
    coder = pickle.loads(pickle.dumps(codec.coder(values.dtype.itemsize)))
    chunk = values.tobytes() if kind == "bytes" else memoryview(values.tobytes())
    encoded = coder.encode(chunk)
    assert bytes(encoded) == bytes(coder.encode(values))
    assert len(encoded) <= max(codec.encode_bytes(values.nbytes), values.nbytes)
    out = np.zeros(values.nbytes, "u1")
    coder.decode(bytearray(encoded), out)
    assert out.tobytes() == values.tobytes()


def test_without_a_codec_nothing_is_copied():
    values = np.arange(5.0)
    encoded = NO_CODEC.coder(8).encode(values)
    values[3] = -1
    assert encoded[3 * 8 : 4 * 8] == np.float64(-1).tobytes()


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_chunks_in_another_order_are_refused(codec):
    coder = codec.coder(4)
    square = np.arange(16, dtype="f4").reshape(4, 4)
    for wrong in (square.T, square[:, ::2], square[::-1]):
        with pytest.raises(ValueError, match="C order"):
            coder.encode(wrong)
        with pytest.raises(ValueError, match="C order"):
            coder.decode(coder.encode(np.ascontiguousarray(wrong)), wrong)
    frozen = np.zeros(4, "f4")
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="written"):
        coder.decode(coder.encode(np.ones(4, "f4")), frozen)


@settings(max_examples=150, deadline=None)
@given(values=chunks(), codec=st.sampled_from(CODECS), data=st.data())
def test_what_is_cut_off_or_of_another_size_is_an_error(values, codec, data):
    coder = codec.coder(values.dtype.itemsize)
    encoded = bytes(coder.encode(values))
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    with pytest.raises(ValueError):
        coder.decode(cut, np.empty_like(values))
    with pytest.raises(ValueError):
        coder.decode(encoded + b"\0", np.empty_like(values))
    n_bytes = data.draw(st.integers(1, 2 * values.nbytes).filter(lambda n: n != values.nbytes))
    with pytest.raises(ValueError):
        coder.decode(encoded, np.empty(n_bytes, "u1"))


@settings(max_examples=150, deadline=None)
@given(values=chunks(), codec=st.sampled_from(COMPRESSED), data=st.data())
def test_damaged_bytes_are_an_error_or_fill_the_chunk(values, codec, data):
    coder = codec.coder(values.dtype.itemsize)
    damaged = bytearray(coder.encode(values))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    beside = 64
    memory = np.full(values.nbytes + 2 * beside, 77, "u1")
    with contextlib.suppress(ValueError):
        coder.decode(damaged, memory[beside:-beside])
    assert (memory[:beside] == 77).all()
    assert (memory[-beside:] == 77).all()


def test_a_frame_that_does_not_tell_its_size_is_decoded():
    """A frame of raw blocks by RFC 8878: no content size, a window of 1 KiB, one last block."""
    content = b"spectrum"
    block = (len(content) << 3 | 1).to_bytes(3, "little")
    frame = b"\x28\xb5\x2f\xfd" + b"\x00\x00" + block + content
    coder = parse_codec("zstd").coder(1)
    out = np.zeros(len(content), "u1")
    coder.decode(frame, out)
    assert out.tobytes() == content
    with pytest.raises(ValueError):
        coder.decode(frame, np.zeros(len(content) + 1, "u1"))


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_791, 65_792, 70_000])
def test_every_form_of_a_frames_size_is_understood(size):
    coder = parse_codec("zstd").coder(1)
    values = np.zeros(size, "u1")
    out = np.ones(size, "u1")
    coder.decode(coder.encode(values), out)
    assert not out.any()
    with pytest.raises(ValueError, match=f"{size} bytes, expected {size + 1}"):
        coder.decode(coder.encode(values), np.empty(size + 1, "u1"))


def test_a_chunk_too_large_for_blosc_is_refused():
    chunk = np.zeros(2**31, "u1")  # never touched
    with pytest.raises(RefusedError, match="smaller chunks"):
        parse_codec("blosc-lz4").coder(1).encode(chunk)


# what it takes

PLAIN = """
import json, sys
from pathlib import Path
import numpy as np, xarray, zarr
told = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    array = zarr.open_group(folder, mode="r")["scan"]
    shown = xarray.open_zarr(folder, consolidated=False)["scan"].values
    told[folder.name] = [float(array[...].sum()), float(shown.sum())]
    codecs = {type(codec).__module__ for codec in array.metadata.codecs}
    assert codecs <= {"zarr.codecs.bytes", "zarr.codecs.blosc", "zarr.codecs.zstd"}
loaded = {name.partition(".")[0] for name in sys.modules}
json.dump({"told": told, "others": sorted(loaded & set(sys.argv[2:]))}, sys.stdout)
"""


def test_every_codec_opens_with_plain_zarr_and_xarray(tmp_path):
    values = np.random.default_rng(2).poisson(3, (64, 48)).astype("u2")
    codecs = [parse_codec(name) for name in CODEC_NAMES]
    for codec in codecs:
        group = zarr.create_group(tmp_path / str(codec), zarr_format=3)
        array = group.create_array(
            "scan", shape=values.shape, dtype="u2", chunks=values.shape,
            compressors=reference(codec), dimension_names=("Y", "X"),
        )  # fmt: skip
        file = chunk_file(array.store_path.store.root / "scan", values)
        file.parent.mkdir(parents=True)
        file.write_bytes(codec.coder(2).encode(values))
    others = ["usid_tasks", "hdf5plugin", "imagecodecs", "blosc", "blosc2", "zarrs"]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PLAIN, tmp_path, *others],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    read = json.loads(run.stdout)
    assert read["others"] == []
    assert read["told"] == {str(codec): [values.sum()] * 2 for codec in codecs}


MEMORY = """
import json, sys, threading
import numpy as np
from usid_tasks.codecs import parse_codec

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

name, level, itemsize, size, kind = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
rng = np.random.default_rng(0)
chunk = rng.integers(0, 256, size, dtype="u1")
if kind == "smooth":
    walk = np.cumsum(rng.integers(-1, 2, size // 4, dtype="i4"), dtype="i4")
    chunk[: walk.nbytes] = walk.view("u1")
    del walk
codec = parse_codec(name, level)
coder = codec.coder(itemsize)
coder.encode(chunk[:4096])
with open("/proc/self/clear_refs", "w") as stream:
    stream.write("5")  # the peak begins anew
before = status("VmRSS:")
encoded = []
worker = threading.Thread(target=lambda: encoded.append(len(coder.encode(chunk))))
worker.start()
worker.join()
peak = status("VmHWM:") - before
json.dump({"peak": peak, "told": codec.encode_bytes(size), "encoded": encoded[0]}, sys.stdout)
"""


@pytest.mark.parametrize(
    ("name", "level", "itemsize", "size"),
    [
        ("none", 0, 4, 16 * MIB),
        ("blosc-lz4", 5, 4, 16 * MIB),
        ("blosc-lz4-bitshuffle", 9, 16, 16 * MIB),
        ("blosc-zstd", 5, 4, 16 * MIB),
        ("blosc-zstd", 9, 8, 2 * MIB),
        ("zstd", 1, 4, 16 * MIB),
        ("zstd", 3, 4, MIB + 1),
        ("zstd", 9, 4, 16 * MIB),
        ("zstd", 19, 4, MIB + 1),
    ],
)
@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_encoding_takes_no_more_memory_than_told(name, level, itemsize, size, kind):
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, name, *map(str, (level, itemsize, size)), kind],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    slack = MIB // 4  # the interpreter's own
    assert found["peak"] <= found["told"] + slack, found
    if name != "none":
        assert found["peak"] + slack >= found["encoded"], found
        assert found["told"] <= 3 * max(found["peak"], size) + 8 * MIB, found


THREADS = """
import json, sys, threading
from pathlib import Path
import numcodecs.blosc
import numpy as np
from usid_tasks.codecs import parse_codec

assert "zarr" not in sys.modules and numcodecs.blosc.use_threads is None
values = np.random.default_rng(0).standard_normal(MIB // 2, dtype="f4")
hard, easy = parse_codec(sys.argv[1], int(sys.argv[2])), parse_codec(sys.argv[1], 1)
started, done = threading.Event(), threading.Event()
threads = lambda: len(list(Path("/proc/self/task").iterdir()))
others, told = threads(), {"short": 0, "threads": 0}

def long():
    started.set()
    hard.coder(4).encode(values)
    done.set()

def short():
    coder, chunk, out = easy.coder(4), values[:4096], np.empty(4096, "f4")
    started.wait()
    while not done.is_set():
        coder.decode(coder.encode(chunk), out)
        told["short"] += not done.is_set()
        told["threads"] = max(told["threads"], threads() - others)

workers = [threading.Thread(target=work) for work in (long, short)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
json.dump(told, sys.stdout)
""".replace("MIB", str(MIB))


@pytest.mark.parametrize(("name", "level"), [("blosc-zstd", 9), ("zstd", 19)])
def test_threads_encode_at_once_and_blosc_starts_none(name, level):
    """With a lock or the GIL held, nothing short would end before the long one (some 0.5 s)."""
    run = subprocess.run(
        [sys.executable, "-c", THREADS, name, str(level)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["short"] >= 5
    assert told["threads"] == 2
