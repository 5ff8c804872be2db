"""Blocks read into given arrays are what the placements say, whatever the storage."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import index_tables as it
import numpy as np
import oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placements import (
    LAYOUTS,
    blocks,
    by_strides,
    empty_blocks,
    expected,
    interlaced,
    placements,
    shuffled,
    snake,
    sparse,
    write_source,
)  # fmt: skip
from usid_files import MAIN, Side, distinct, write_file

from usid_tasks import chunked, extents, listed, loops, outputs, reading_cost, regions
from usid_tasks.direct import located
from usid_tasks.grid import in_order
from usid_tasks.mains import components_of
from usid_tasks.reading_cost import ReadCount
from usid_tasks.source import MainSource
from usid_tasks.storage import why_not
from usid_tasks.tree import ComponentSource, open_tree

PAIR = np.dtype([("re", "<f4"), ("im", ">f4")])
NESTED = np.dtype([("a", "<i2"), ("b", [("c", ">f8", (2,)), ("d", "u1")], (3,))])
DTYPES = ["<f4", ">f4", "<f8", "u1", ">i2", "<c8", ">c16", "?", "f2", PAIR, NESTED]

quick = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_all(source, values, block):
    """Read every block, compare it with what is expected, and return the sum of counts."""
    total = ReadCount(0, 0)
    for region in blocks(source.shape, block):
        out = empty_blocks(source, region)
        total += source.read_into(region, source.components, out)
        for got, want in zip(out, expected(source, values, region), strict=True):
            np.testing.assert_array_equal(got, want)
    return total


@st.composite
def blocks_of(draw, source):
    return tuple(draw(st.integers(1, max(size, 1))) for size in source.shape)


def draw_layout(data, shape):
    how = dict(LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)), "layout")])
    if "chunks" in how:
        how["chunks"] = tuple(data.draw(st.integers(1, n)) for n in shape)
    return how


def draw_limits(data, patch):
    """Make every limit small, so that small data goes all the ways of large data."""
    patch.setattr(reading_cost, "GAP_BYTES", data.draw(st.sampled_from([1, 3, 16, 1024])))
    patch.setattr(reading_cost, "PAGE_BYTES", data.draw(st.sampled_from([1, 20, 4096])))
    patch.setattr(outputs, "WINDOW_BYTES", data.draw(st.sampled_from([1, 40, 500, 2**20])))
    patch.setattr(extents, "WINDOW_BYTES", data.draw(st.sampled_from([8, 40, 2**20])))
    patch.setattr(extents, "FEW_RUNS", data.draw(st.sampled_from([0, 3, 16])))
    patch.setattr(extents, "LONG_BYTES", data.draw(st.sampled_from([1, 50, 2**14])))
    patch.setattr(chunked, "SPAN_BYTES", data.draw(st.sampled_from([1, 300, 2**22])))
    patch.setattr(chunked, "_CHUNKS_AT_ONCE", data.draw(st.sampled_from([1, 5, 4096])))
    patch.setattr(extents, "_AT_ONCE", data.draw(st.sampled_from([1, 3, 1024])))
    patch.setattr(regions, "LISTED_ENTRIES", data.draw(st.sampled_from([1, 5, 11, 2**17])))
    at_once = data.draw(st.sampled_from([1, 7, 1024]))
    patch.setattr(loops, "STRETCHES_AT_ONCE", at_once)
    patch.setattr(listed, "STRETCHES_AT_ONCE", at_once)
    patch.setattr(listed, "_LONG_LOOP", data.draw(st.sampled_from([1, 2, 16])))


@given(data=st.data())
@quick
def test_every_block_is_what_the_placements_say(tmp_path_factory, data):
    position = data.draw(placements(), "position")
    spectroscopic = data.draw(placements(40), "spectroscopic")
    shape = position.n_rows, spectroscopic.n_rows
    if 0 in shape:
        return
    dtype = data.draw(st.sampled_from(DTYPES), "dtype")
    path = tmp_path_factory.getbasetemp() / "read_into.h5"
    source, values = write_source(path, position, spectroscopic, dtype, **draw_layout(data, shape))
    with pytest.MonkeyPatch.context() as patch:
        draw_limits(data, patch)
        block = data.draw(blocks_of(source), "block")
        assert located(source.path, "data") is not None
        read_all(source, values, block)


@pytest.mark.parametrize("most", [1, 7, 1000])
@pytest.mark.parametrize("how", [{}, {"chunks": (5, 12)}, {"chunks": (5, 7), "shuffle": True}])
def test_reads_that_come_in_pieces_are_put_together(path, how, most, monkeypatch):
    """The kernel may return less than was asked for: on a signal, or from a network."""
    source, values = write_source(path, snake((6, 5)), in_order((12,)), **how)
    preadv = os.preadv

    def short(fd, views, offset):
        left, some = most, []
        for view in views:
            some.append(view[:left])
            left -= len(some[-1])
        return preadv(fd, some, offset)

    located(source.path, "data")
    monkeypatch.setattr(os, "preadv", short)
    read_all(source, values, (6, 5, 12))
    read_all(source, values, (4, 5, 7))


@pytest.mark.parametrize("how", [{}, {"compression": "gzip"}])
def test_chunks_of_a_compound_never_written_hold_its_fill_value(path, how):
    fill = np.array((7, [([1.5, -2], 3)] * 3), NESTED)
    values = np.full((8, 6), fill, NESTED)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (8, 6), NESTED, chunks=(3, 4), fillvalue=fill, **how)
        values[3:5, 1:3] = distinct((2, 2), NESTED)
        data[3:5, 1:3] = values[3:5, 1:3]
    source = MainSource(
        str(path), "data", snake((4, 2)), in_order((6,)), components_of(values.dtype)
    )
    assert located(source.path, "data") is not None
    total = read_all(source, values, (4, 2, 6))
    assert total.pieces == 6


@pytest.mark.parametrize("layout", ["contiguous", "shuffle, gzip", "shuffle, lzf, fletcher32"])
def test_threads_do_not_share_buffers(path, layout):
    how = dict(LAYOUTS[layout])
    if "chunks" in how:
        how["chunks"] = (16, 40)
    sides = snake((16, 16)), by_strides((8, 12), (1, 0), ())
    source, values = write_source(path, *sides, "<f8", **how)

    def check(region):
        (out,) = empty_blocks(source, region)
        source.read_into(region, source.components, [out])
        np.testing.assert_array_equal(out, expected(source, values, region)[0])

    every = list(blocks(source.shape, (5, 16, 8, 12)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, every * 3))


def test_a_region_without_cells_reads_nothing(path):
    source, values = write_source(path, in_order((4, 3)), in_order((6,)))
    assert read_all(source, values, (4, 3, 6)) == ReadCount(1, values.nbytes)
    region = (slice(1, 1), slice(0, 3), slice(0, 6))
    out = [np.empty((0, 3, 6), "f4")]
    assert source.read_into(region, source.components, out) == ReadCount(0, 0)


ORDERS = {
    "raster": it.grid({"Y": 7, "X": 6}),
    "columns": it.grid({"X": 6, "Y": 7}, columns=["X", "Y"]),
    "reversed": it.grid({"Y": 7, "X": 6}, backwards=["X", "Y"]),
    "snake": it.grid({"Y": 7, "X": 6}, snake=["X"]),
    "interlaced": it.grid({"Y": 7, "X": 6}, visits={"Y": [0, 2, 4, 6, 1, 3, 5]}),
    "shuffled": it.shuffled(it.grid({"Y": 7, "X": 6})),
    "aborted": it.truncated(it.grid({"Y": 7, "X": 6}, snake=["X"]), 33),
    "sparse": it.sparse(40, 2),
}
SPECTRA = {
    "in order": it.grid({"C": 3, "B": 8}),
    "snake": it.grid({"C": 3, "B": 8}, snake=["B"]),
    "transposed": it.grid({"B": 8, "C": 3}, columns=["B", "C"]),
}
WAYS = {
    "by offset": {},
    "by chunk index": {"chunks": (4, 24)},
    "by chunk index, deflate": {"chunks": (5, 7), "compression": "gzip"},
    "by chunk index, lzf": {"chunks": (33, 5), "compression": "lzf"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_and_layout_takes_its_way_and_equals_the_oracle(path, order, way):
    for spectra in SPECTRA.values():
        sides = Side(ORDERS[order], ["X", "Y"]), Side(spectra, ["B", "C"])
        write_file(path, *sides, **WAYS[way])
        source = main_source(path)
        opened = located(source.path, source.dataset)
        assert opened is not None
        assert opened.way == way
        want = oracle.rebuild(path, MAIN).data["Raw_Data"]
        assert source.shape == want.shape
        for block in (source.shape, tuple(-(-n // 2) for n in source.shape), (3, 2, 2, 5)):
            for region in blocks(source.shape, block[: len(source.shape)]):
                (out,) = empty_blocks(source, region)
                source.read_into(region, source.components, [out])
                np.testing.assert_array_equal(out, want[region])


def main_source(path):
    """Return the source of the Main of a file, as the tree has it."""
    (found,) = (
        variable.source.main
        for node in open_tree(path).nodes.values()
        for variable in node.variables.values()
        if isinstance(variable.source, ComponentSource)
    )
    return found


def by_scaleoffset(file, values):
    file.create_dataset("data", data=values, chunks=(8, 10), scaleoffset=0)


def by_virtual(file, values):
    file["halves"] = values
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[...] = h5py.VirtualSource(file["halves"])
    file.create_virtual_dataset("data", layout)


def by_external(file, values):
    raw = Path(file.filename).with_suffix(".raw")
    raw.write_bytes(values.tobytes())
    file.create_dataset("data", values.shape, values.dtype, external=[(str(raw), 0, values.nbytes)])


def by_compact(file, values):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    kind = h5py.h5t.py_create(values.dtype)
    space = h5py.h5s.create_simple(values.shape)
    h5py.h5d.create(file.id, b"data", kind, space, plist)
    file["data"][...] = values


BY_HDF5 = {
    "the filter scaleoffset": by_scaleoffset,
    "virtual storage": by_virtual,
    "external storage": by_external,
    "compact storage": by_compact,
}


@pytest.mark.parametrize("reason", BY_HDF5)
@pytest.mark.parametrize("dtype", ["<i4", ">i4"])
def test_what_only_hdf5_reads_is_read_by_the_same_rules(path, reason, dtype, monkeypatch):
    position, spectroscopic = snake((5, 8)), by_strides((4, 6), (1, 0), (0,))
    values = distinct((40, 24), dtype)
    with h5py.File(path, "w") as file:
        BY_HDF5[reason](file, values)
        assert why_not(file["data"]).startswith(reason)
        chunks = file["data"].chunks
    source = MainSource(str(path), "data", position, spectroscopic, components_of(values.dtype))
    for window in (40, 2**20):
        monkeypatch.setattr(outputs, "WINDOW_BYTES", window)
        for block in ((5, 8, 4, 6), (2, 3, 3, 5), (5, 1, 1, 6)):
            total = read_all(source, values, block)
            assert total == reading_cost.reading_cost(
                position, spectroscopic, shape2d=(40, 24), itemsize=4, chunks=chunks, block=block
            )


def test_cells_that_are_arrays_are_read_by_hdf5(path):
    cell = np.dtype(("<f4", (3,)))
    values = distinct((6, 5, 3), "<f4")
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (6, 5), cell)[...] = values
        assert why_not(file["data"]) == "cells that are arrays"
    source = MainSource(str(path), "data", snake((3, 2)), in_order((5,)), components_of(cell))
    out = np.empty((3, 2, 5, 3), "f4")
    source.read_into((slice(0, 3), slice(0, 2), slice(0, 5)), source.components, [out])
    np.testing.assert_array_equal(out[1], values[[3, 2]])


@pytest.mark.parametrize(
    ("out", "told"),
    [
        (np.empty((4, 6), "f8"), "float64"),
        (np.empty((4, 5), "f4"), r"\(4, 5\)"),
        (np.empty((6, 4), "f4").T, "C-contiguous"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(path, out, told):
    source, _ = write_source(path, in_order((4,)), in_order((6,)))
    with pytest.raises(ValueError, match=told):
        source.read_into((slice(0, 4), slice(0, 6)), source.components, [out])


def test_a_slice_with_another_step_is_refused(path):
    source, _ = write_source(path, in_order((4,)), in_order((6,)))
    with pytest.raises(ValueError, match="step 1"):
        source.read_into((slice(0, 4, 2), slice(0, 6)), source.components, [np.empty((2, 6), "f4")])


@pytest.mark.parametrize("order", ["snake", "interlaced", "shuffled", "sparse"])
@pytest.mark.parametrize("chunks", [None, (4096, 1)])
def test_no_block_is_gathered_cell_by_cell(path, order, chunks, monkeypatch):
    """Calls that read or copy are counted: each moves hundreds of the cells, one to a row."""
    shape = (256, 256)
    places = {"snake": snake(shape), "interlaced": interlaced(shape)}
    places |= {"shuffled": shuffled(shape, 1), "sparse": sparse(shape, 1)}
    source, values = write_source(path, places[order], in_order((1,)), chunks=chunks)
    calls = []
    for holder, name in ((os, "preadv"), (outputs.Outputs, "_assign")):
        monkeypatch.setattr(holder, name, counting(getattr(holder, name), calls))
    whole = (slice(0, 256), slice(0, 256), slice(0, 1))
    out = np.empty((256, 256, 1), "f4")
    source.read_into(whole, source.components, [out])
    assert len(calls) < out.size / 256
    assert source.position.rows is not None
    rows = source.position.rows.reshape(256, 256)
    np.testing.assert_array_equal(out[..., 0], np.where(rows < 0, np.nan, values[rows, 0]))


def counting(function, calls):
    def call(*args):
        calls.append(function)
        return function(*args)

    return call


MEASURE = """
import pickle, sys
import numpy as np

def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024

with open(sys.argv[1], "rb") as file:
    source, region = pickle.load(file)
out = [np.ones(tuple(p.stop - p.start for p in region) + c.subshape, c.dtype)
       for c in source.components]
allowed = source.read_memory(source.components)
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
source.read_into(region, source.components, out)
sys.stdout.write(f"{status('VmHWM') - before} {allowed}")
"""
BIG = (2048, 1024)
MEMORY = {
    "contiguous": (in_order(BIG), in_order((4,)), "<f4", {}),
    "other byte order": (in_order(BIG), in_order((4,)), ">f4", {}),
    "transposed spectra": (in_order((4096,)), by_strides((32, 128), (1, 0), ()), "<f4", {}),
    "compound": (in_order((4096,)), in_order((2048,)), PAIR, {}),
    "shuffled, a cell to a row": (shuffled(BIG, 0), in_order((4,)), "<f4", {}),
    "images": (by_strides(BIG, (1, 0), ()), in_order((4,)), "<f4", {"chunks": (2**16, 1)}),
    "gzip": (
        in_order((2048,)), in_order((4096,)), "<f4",
        {"chunks": (64, 4096), "compression": "gzip", "compression_opts": 1, "shuffle": True},
    ),
    "lzf, transposed": (
        shuffled((64, 32), 0), by_strides((32, 128), (1, 0), ()), "<f4",
        {"chunks": (128, 4096), "compression": "lzf", "shuffle": True},
    ),
    "by h5py": (
        in_order((2048,)), in_order((4096,)), "<i4", {"chunks": (128, 4096), "scaleoffset": 0},
    ),
}  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure")
@pytest.mark.parametrize("case", MEMORY)
def test_reading_takes_the_memory_it_tells(path, case):
    position, spectroscopic, dtype, how = MEMORY[case]
    source, _ = write_source(path, position, spectroscopic, dtype, **how)
    region = tuple(slice(0, size) for size in source.shape)
    kept = path.with_suffix(".pickle")
    kept.write_bytes(pickle.dumps((source, region)))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(kept)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    took, allowed = map(int, done.stdout.split())
    assert took <= allowed < 64 * 2**20
