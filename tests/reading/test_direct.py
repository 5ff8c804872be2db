"""Bytes read past HDF5's lock are those that h5py reads, and every layout takes its way."""

from __future__ import annotations

import os
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usid_files import distinct

from usid_tasks import direct, storage
from usid_tasks.direct import locate, located
from usid_tasks.grid import in_order
from usid_tasks.mains import components_of
from usid_tasks.source import MainSource
from usid_tasks.storage import why_not

COMPOUND = np.dtype([("a", "<i2"), ("b", ">f8"), ("c", "u1", (3,))])
DTYPES = ["u1", "<i2", ">i4", "<f4", ">f8", "<c8", "?", "f2", COMPOUND]


def write(path, shape=(37, 23), dtype="<f4", **how):
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=distinct(shape, dtype), **how)
    return path


def source_of(path):
    with h5py.File(path) as file:
        shape, dtype = file["data"].shape, file["data"].dtype
    sides = (in_order(shape[:1]), in_order(shape[1:]))
    return MainSource(str(path), "data", *sides, components_of(dtype))


def read(path, rows, columns):
    """Return each component of a rectangle as read into an array; never by h5py."""
    source = source_of(path)
    assert located(source.path, "data") is not None
    shape = (rows[1] - rows[0], columns[1] - columns[0])
    out = [np.empty(shape + part.subshape, part.dtype) for part in source.components]
    source.read_into((slice(*rows), slice(*columns)), source.components, out)
    return out


def assert_same(path, rows, columns):
    with h5py.File(path) as file:
        cells = file["data"][slice(*rows), slice(*columns)]
    for got, part in zip(read(path, rows, columns), source_of(path).components, strict=True):
        want = cells
        for name in part.field:
            want = want[name]
        assert got.tobytes() == want.astype(part.dtype).tobytes()
    return cells


LAYOUTS = {
    "by offset": {},
    "by chunk index": {"chunks": (8, 10)},
    "by chunk index, deflate": {"chunks": (8, 10), "compression": "gzip"},
    "by chunk index, shuffle, deflate": {
        "chunks": (8, 10),
        "compression": "gzip",
        "shuffle": True,
    },
    "by chunk index, fletcher32": {"chunks": (8, 10), "fletcher32": True},
    "by chunk index, shuffle, deflate, fletcher32": {
        "chunks": (37, 1),
        "compression": "gzip",
        "shuffle": True,
        "fletcher32": True,
    },
    "by chunk index, shuffle": {"chunks": (1, 23), "shuffle": True},
    "by chunk index, lzf": {"chunks": (8, 10), "compression": "lzf"},
    "by chunk index, shuffle, lzf, fletcher32": {
        "chunks": (5, 23),
        "compression": "lzf",
        "shuffle": True,
        "fletcher32": True,
    },
}


@pytest.mark.parametrize("way", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_layout_filter_and_type_is_read_directly(path, way, dtype):
    write(path, dtype=dtype, **LAYOUTS[way])
    with h5py.File(path) as file:
        assert why_not(file["data"]) == ""
        assert locate(file["data"], str(path)).way == way
    for rows, columns in [((0, 37), (0, 23)), ((3, 20), (5, 21)), ((36, 37), (0, 1))]:
        assert_same(path, rows, columns)


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rectangle_of_any_layout(tmp_path_factory, data):
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    how = {}
    if data.draw(st.booleans()):
        how["chunks"] = tuple(data.draw(st.integers(1, n)) for n in shape)
        how["compression"] = data.draw(st.sampled_from([None, "gzip", "lzf"]))
        how["shuffle"] = data.draw(st.booleans())
        how["fletcher32"] = data.draw(st.booleans())
    dtype = data.draw(st.sampled_from(DTYPES))
    path = write(tmp_path_factory.mktemp("any") / "scan.h5", shape, dtype, **how)
    edges = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape]
    rows, columns = (
        (low, max(high, low + 1)) if low < n else (n - 1, n)
        for (low, high), n in zip(edges, shape, strict=True)
    )
    assert_same(path, rows, columns)


def test_blosc_and_zstd_decode_as_hdf5_plugins_do(path):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    filters = {
        "by chunk index, blosc": hdf5plugin.Blosc(cname="lz4", shuffle=2),
        "by chunk index, zstd": hdf5plugin.Zstd(),
    }
    for way, compression in filters.items():
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=distinct((64, 50)), chunks=(8, 50), **compression)
        with h5py.File(path) as file:
            assert locate(file["data"], str(path)).way == way
        assert_same(path, (3, 60), (7, 44))
        assert_same(path, (0, 64), (0, 50))


def test_chunks_never_written_read_as_the_fill_value(path):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (20, 20), "f4", chunks=(5, 5), fillvalue=-7)
        data[7:12, 3:9] = 1
    assert (assert_same(path, (0, 20), (0, 20)) == -7).any()


def test_a_filter_left_out_of_a_chunk_is_left_out(path):
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "data", (4, 6), "<i2", chunks=(2, 6), compression="gzip", shuffle=True
        )
        values = np.arange(24, dtype="<i2").reshape(4, 6)
        data[...] = values
        data.id.write_direct_chunk((2, 0), values[2:].tobytes(), filter_mask=0b11)
    assert assert_same(path, (0, 4), (0, 6)).tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"chunks": (8, 10), "scaleoffset": 0, "dtype": "i4"}, "scaleoffset"),
        ({"shape": (2, 3, 4)}, "3 dimensions"),
        ({"dtype": "S3"}, ""),
    ],
)
def test_what_cannot_be_read_directly_says_why(path, how, reason):
    how = dict(how)
    shape, dtype = how.pop("shape", (37, 23)), how.pop("dtype", "<f4")
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", shape, dtype, **how)
        data[...] = np.ones(shape, dtype)
        assert reason in why_not(data)


@pytest.mark.parametrize("way", LAYOUTS)
def test_inspect_tells_the_way_of_every_main(path, way):
    from usid_files import line, write_file

    from usid_tasks.inspect import inspect_file

    layout = {name: how for name, how in LAYOUTS[way].items() if name in ("chunks", "compression")}
    write_file(path, line("X", np.arange(40.0)), line("E", np.arange(30.0)), **layout)
    (main,) = inspect_file(path)["mains"]
    assert main["storage"]["read"] == way.split(",")[0]


def test_a_user_block_is_read_by_h5py(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["data"] = distinct((5, 4))
    assert located(str(path), "data") is None


@pytest.mark.parametrize("how", [{}, {"chunks": (10, 100)}, {"chunks": (10, 7), "shuffle": True}])
def test_a_truncated_file_is_an_error_and_no_signal(path, how, monkeypatch):
    write(path, (1000, 100), **how)
    with h5py.File(path) as file:
        whole = locate(file["data"], str(path))
    source = source_of(path)
    os.truncate(path, path.stat().st_size // 2)
    monkeypatch.setattr(direct, "located", lambda *_: whole)
    out = np.empty((1000, 100), "f4")
    with pytest.raises(OSError, match="the file ends at byte"):
        source.read_into((slice(0, 1000), slice(0, 100)), source.components, [out])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"fletcher32": True}, "checksum"),
        ({"compression": "gzip"}, "inflated"),
        ({"compression": "lzf"}, "no LZF"),
    ],
)
def test_a_damaged_chunk_is_an_error(path, how, told):
    write(path, chunks=(37, 23), **how)
    with h5py.File(path) as file:
        chunk = file["data"].id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset + 40)
        raw.write(b"\xff\x00\xff\x00" * 8)
    with pytest.raises(OSError, match=told):
        read(path, (0, 37), (0, 23))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (zlib.compress(bytes(37 * 23 * 4 * 50)), "more than"),
        (zlib.compress(bytes(37 * 23 * 4))[:-9], "cut short"),
        (zlib.compress(bytes(400)), "decodes to 400 bytes, expected 3404"),
    ],
)
def test_a_chunk_of_another_size_is_an_error_and_no_flood(path, content, told):
    write(path, chunks=(37, 23), compression="gzip")
    with h5py.File(path, "r+") as file:
        file["data"].id.write_direct_chunk((0, 0), content)
    with pytest.raises(OSError, match=told):
        read(path, (0, 37), (0, 23))


def test_lzf_is_left_to_hdf5_where_its_decoder_is_not_found(path, monkeypatch):
    monkeypatch.setattr(storage, "lzf_decompress", lambda: None)
    write(path, chunks=(8, 10), compression="lzf")
    with h5py.File(path) as file:
        assert why_not(file["data"]) == "the filter lzf"
    assert located(str(path), "data") is None
    source = source_of(path)
    out = np.empty((37, 23), "f4")
    source.read_into((slice(0, 37), slice(0, 23)), source.components, [out])
    np.testing.assert_array_equal(out, distinct((37, 23), "<f4"))
