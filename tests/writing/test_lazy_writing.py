"""Dask arrays are written block by block, each computed once, in memory that does not grow."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usid_files import MAIN
from written_signals import assert_file_holds, signal

from usid_tasks import file_writer
from usid_tasks.errors import UsidError
from usid_tasks.writing import cells

LAYOUTS = [{}, {"chunks": (5, 7), "compression": "gzip"}]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_each_block_is_computed_once(path, layout):
    told = signal({"Y": 6, "X": 5}, {"Bias": 7}, "f8")
    seen, lock = [], threading.Lock()

    def look(block, block_info=None):
        with lock:
            seen.append(tuple(block_info[0]["chunk-location"]))
        return block

    lazy = da.from_array(told["data"], chunks=(4, 2, 3)).map_blocks(
        look, dtype="f8", meta=np.empty(0)
    )
    file_writer(path, {**told, "data": lazy}, **layout)
    assert sorted(seen) == list(np.ndindex(2, 3, 3))
    assert_file_holds(path, told)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_blocks_of_any_shape_go_where_they_belong(path, data):
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    chunks = []
    for size in sizes:
        cuts = data.draw(st.sets(st.integers(1, size - 1))) if size > 1 else set()
        edges = [0, *sorted(cuts), size]
        chunks.append(tuple(np.diff(edges).tolist()))
    names = dict(zip("ABCD", sizes, strict=False))
    split = data.draw(st.integers(0, len(sizes)))
    position = {name: names[name] for name in [*names][:split]}
    told = signal(position, {n: s for n, s in names.items() if n not in position}, "i4")
    lazy = {**told, "data": da.from_array(told["data"], chunks=tuple(chunks))}
    file_writer(path, lazy, replace=True, **data.draw(st.sampled_from([{}, {"chunks": True}])))
    assert_file_holds(path, told)


@pytest.mark.parametrize(
    "layout", [LAYOUTS[0], pytest.param(LAYOUTS[1], marks=pytest.mark.slow)], ids=str
)
def test_worker_processes_write_their_own_blocks(path, monkeypatch, layout):
    """This process owns the structure of the file, and is kept from writing any value."""
    told = signal({"Y": 6, "X": 5}, {"Bias": 7}, "f8")
    monkeypatch.setattr(cells, "_pwrite", None)
    with pytest.raises(TypeError, match="not callable"):
        file_writer(path, told)
    with dask.config.set(scheduler="processes", num_workers=2):
        file_writer(path, {**told, "data": da.from_array(told["data"], chunks=(2, 5, 7))}, **layout)
    assert_file_holds(path, told)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the cluster's own
def test_workers_of_a_cluster_write_their_own_blocks(path):
    from distributed import Client, LocalCluster

    told = signal({"Y": 6, "X": 5}, {"Bias": 7}, "f8")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        dask.config.set(scheduler=client),
    ):
        kept = client.persist(da.from_array(told["data"], chunks=(2, 5, 7)) + 0)
        for number, layout in enumerate(LAYOUTS):
            file_writer(path.with_name(f"{number}.h5"), {**told, "data": kept}, **layout)
            assert_file_holds(path.with_name(f"{number}.h5"), told)


def test_what_fails_in_a_block_is_told_as_it_is(path):
    def fail(block):
        raise OSError("the detector has gone")

    lazy = da.zeros((3, 4, 5), chunks=1).map_blocks(fail, dtype="f8", meta=np.empty(0))
    with pytest.raises(OSError, match="the detector has gone"):
        file_writer(path, signal(data=lazy))
    assert list(path.parent.iterdir()) == []


def test_a_block_that_is_not_as_promised_is_noticed(path):
    """Dask was told of other shapes and types than come."""
    lazy = da.zeros((3, 4, 5), chunks=3).map_blocks(lambda b: b[:1], dtype="f8", meta=np.empty(0))
    with pytest.raises((UsidError, ValueError)):
        file_writer(path, signal(data=lazy))
    assert list(path.parent.iterdir()) == []


# memory

CODE = """
import json, sys, threading
from pathlib import Path
import dask, dask.array as da, numpy as np
paths, path, layout = json.loads(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
sys.path[:0] = paths
from written_signals import axis
import usid_tasks.rosetta.writer, dask.threaded
from usid_tasks import file_writer

def pss():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))

def go():
    global peak
    while not stop.wait(0.01):
        peak = max(peak, pss())

def block(block_info=None):
    (ys, xs, es) = block_info[None]["array-location"]
    shape = tuple(b - a for a, b in (ys, xs, es))
    return np.random.default_rng(ys[0]).standard_normal(shape, dtype="f4")

def make(n):
    chunks = ((4,) * (n // 4), (64,), (2048,))
    lazy = da.map_blocks(block, chunks=chunks, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    axes = [axis("Y", n, True), axis("X", 64, True), axis("E", 2048)]
    return {"data": lazy, "axes": axes}

file_writer(path, make(8), **layout)
baseline = peak = pss()
stop = threading.Event()
watch = threading.Thread(target=go, daemon=True)
watch.start()
with dask.config.set(scheduler="threads", num_workers=2):
    file_writer(path, make(int(sys.argv[4])), replace=True, threads=2, **layout)
stop.set()
watch.join()
print(json.dumps({"baseline": baseline, "peak": peak}))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("layout", "n_lines", "most"),
    # contiguous: 1 GiB in blocks of 2 MiB; gzip: 256 MiB in bands of 16 MiB
    [
        ({}, 2048, 64e6),
        ({"chunks": [64, 2048], "compression": "gzip", "compression_opts": 1}, 512, 64e6),
    ],
    ids=["contiguous", "gzip"],
)
def test_memory_does_not_grow_with_the_array(path, layout, n_lines, most):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, json.dumps(sys.path), str(path),
         json.dumps(layout), str(n_lines)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    with h5py.File(path) as file:
        size = file[MAIN].size * 4
    assert size == n_lines * 64 * 2048 * 4
    beyond = told["peak"] - told["baseline"]
    assert 0 < beyond < most, told
    assert most < size
