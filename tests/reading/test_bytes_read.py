"""Case 38: reading one block reads at most twice its bytes from the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import index_tables as it
import numpy as np
import pytest
from placements import empty_blocks
from usid_files import MAIN, Side, distinct, write_file

from usid_tasks.chunks import BlockLimits, block_shape
from usid_tasks.reading_cost import ReadCount, reading_cost
from usid_tasks.tree import ComponentSource, open_tree

SIZES = {"Y": 64, "X": 64}
ORDERS = {
    "raster": it.grid(SIZES),
    "snake": it.grid(SIZES, snake=["X"]),
    "interlaced": it.grid(SIZES, visits={"Y": [*range(0, 64, 2), *range(1, 64, 2)]}),
    "interlaced-snake": it.grid(
        SIZES, visits={"Y": [*range(0, 64, 2), *range(1, 64, 2)]}, snake=["X"]
    ),
    "columns": it.grid({"X": 64, "Y": 64}, columns=["X", "Y"], snake=["Y"]),
}
STORAGE = {"contiguous": None, "lines": (64, 512), "positions": (1, 512), "tiles": (256, 128)}
SPECTRUM = Side(it.grid({"C": 4, "B": 128}, snake=["B"]), ["B", "C"])

COUNT = """
import json, sys
import numpy as np
import xarray as xr

def read_so_far():
    for row in open("/proc/self/io"):
        if row.startswith("rchar"):
            return int(row.split()[1])

jobs, main = json.loads(sys.argv[1]), sys.argv[2]
counted = []
for path, chunks in jobs:
    ds = xr.open_dataset(path, engine="usid", group=main, chunks=chunks)
    data = ds["Raw_Data"].data
    data.blocks[(0,) * data.ndim][:1, :1, :1, :1].compute(scheduler="sync")
    wanted = {(0,) * data.ndim, tuple(n // 2 for n in data.numblocks),
              tuple(n - 1 for n in data.numblocks)}
    for where in sorted(wanted):
        block = data.blocks[where]
        before = read_so_far()
        cells = block.compute(scheduler="sync")
        counted.append([path, chunks, where, read_so_far() - before, cells.nbytes])
        assert cells.shape == block.shape
    full = np.asarray(data[:, :, 0, 0].compute(scheduler="sync"))
    assert len(np.unique(full)) == full.size
sys.stdout.write(json.dumps(counted))
"""


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux to count bytes")
@pytest.mark.parametrize("storage", STORAGE)
def test_one_block_reads_at_most_twice_its_bytes(tmp_path: Path, storage: str) -> None:
    data = distinct((4096, 512))
    jobs: list[tuple[str, dict[str, int]]] = []
    for order, table in ORDERS.items():
        path = tmp_path / f"{order}.h5"
        write_file(path, Side(table, ["X", "Y"]), SPECTRUM, data=data, chunks=STORAGE[storage])
        slow = "X" if order == "columns" else "Y"
        jobs += [(str(path), {}), (str(path), {slow: 16})]
        if storage == "contiguous":
            jobs += [(str(path), {slow: 16, "C": 2}), (str(path), {"C": 2})]
    done = subprocess.run(
        [sys.executable, "-c", COUNT, json.dumps(jobs), MAIN],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    assert len(counted) >= len(jobs)
    bad = [
        f"{Path(path).stem} {chunks} block {where}: {n_read} bytes read for {n_bytes}"
        for path, chunks, where, n_read, n_bytes in counted
        if n_read > 2 * n_bytes
    ]
    assert not bad, "\n".join(bad)


def test_opening_reads_no_data(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    write_file(path, Side(ORDERS["snake"], ["X", "Y"]), SPECTRUM, data=distinct((4096, 512)))
    script = COUNT.split("jobs, main")[0] + (
        "import usid_tasks.xarray_engine, h5py, dask.array\n"
        "before = read_so_far()\n"
        "ds = xr.open_dataset(sys.argv[1], engine='usid', group=sys.argv[2], chunks={})\n"
        "sys.stdout.write(json.dumps(read_so_far() - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), MAIN],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < np.prod((4096, 512))


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("order", ORDERS)
def test_blocks_of_the_planned_shape_read_few_bytes_twice(
    tmp_path: Path, storage: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "scan.h5", distinct((4096, 512))
    write_file(path, Side(ORDERS[order], ["X", "Y"]), SPECTRUM, data=data, chunks=STORAGE[storage])
    (source,) = (
        variable.source.main
        for node in open_tree(path).nodes.values()
        for variable in node.variables.values()
        if isinstance(variable.source, ComponentSource)
    )
    kib = 1024
    block = block_shape(
        source.position,
        source.spectroscopic,
        itemsize=4,
        storage_chunks=STORAGE[storage],
        limits=BlockLimits(least=128 * kib, most=2048 * kib, target=512 * kib),
    )
    n_read: list[int] = []
    preadv = os.preadv

    def counted(*args: Any) -> int:
        n_read.append(preadv(*args))
        return n_read[-1]

    monkeypatch.setattr(os, "preadv", counted)
    total = ReadCount(0, 0)
    for region in source.blocks(block):
        total += source.read_into(region, source.components, empty_blocks(source, region))
    assert len(list(source.blocks(block))) >= 4
    assert sum(n_read) <= total.size_bytes <= 1.5 * data.nbytes
    assert total == reading_cost(
        source.position,
        source.spectroscopic,
        shape2d=(4096, 512),
        itemsize=4,
        chunks=STORAGE[storage],
        block=block,
    )
