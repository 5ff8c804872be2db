"""Conformance case 38: blocks, tasks, schedulers, handles."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import dask
import h5py
import index_tables as it
import numpy as np
import pytest
import xarray as xr
from agreement import assert_agrees, open_main
from oracle import rebuild
from usid_files import MAIN, Side, line, write_file

pytestmark = pytest.mark.filterwarnings("ignore:The specified chunks separate:UserWarning")

MIB = 2**20
STORAGE: dict[str, tuple[int, int] | None] = {
    "contiguous": None,
    "one-position": (1, 4096),
    "h5py": (256, 64),
    "one-column": (16384, 1),
    "misaligned": (100, 4096),
    "all-positions": (16384, 16),
    "tiny": (16, 16),
    "whole": (16384, 4096),
}
BIG_POSITIONS = Side(it.grid({"Y": 128, "X": 128}), ["X", "Y"])
BIG_SPECTRA = Side(it.grid({"F": 64, "T": 64}), ["T", "F"])


@pytest.fixture(scope="module", params=STORAGE)
def big(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Main of 256 MiB of which nothing was written."""
    path = tmp_path_factory.mktemp("big") / f"{request.param}.h5"
    return write_file(
        path, BIG_POSITIONS, BIG_SPECTRA, dtype="f4", chunks=STORAGE[request.param], allocate=False
    )


def blocks_of(var: xr.DataArray) -> list[tuple[slice, ...]]:
    """Return where each of the array's blocks lies."""
    edges = [np.cumsum([0, *sizes]) for sizes in var.chunks or ()]
    ranges = [[slice(a, b) for a, b in pairwise(e)] for e in edges]
    return list(product(*ranges))


def test_case_38_task_count(big: Path) -> None:
    ds = open_main(big, MAIN, {})
    assert ds["Raw_Data"].shape == (128, 128, 64, 64)
    assert len(dict(ds["Raw_Data"].data.__dask_graph__())) <= 200
    (optimized,) = dask.optimize(ds["Raw_Data"].data)
    assert len(dict(optimized.__dask_graph__())) <= 200
    assert len(dict(open_main(big, MAIN, "auto")["Raw_Data"].data.__dask_graph__())) <= 400


def test_case_38_block_bounds(big: Path) -> None:
    var = open_main(big, MAIN, {})["Raw_Data"]
    sizes = [4 * int(np.prod([s.stop - s.start for s in block])) for block in blocks_of(var)]
    assert max(sizes) <= 128 * MIB
    assert sorted(sizes)[len(sizes) // 2] >= 4 * MIB


def test_case_38_every_chunk_is_decoded_once(big: Path) -> None:
    storage = STORAGE[big.stem]
    if storage is None or storage[0] * storage[1] * 4 > 128 * MIB:
        pytest.skip("no whole chunk, or none that fits a block")
    var = open_main(big, MAIN, {})["Raw_Data"]
    decoded: Counter[tuple[int, int]] = Counter()
    rows = np.arange(16384).reshape(128, 128)
    columns = np.arange(4096).reshape(64, 64)
    for block in blocks_of(var):
        down = np.unique(rows[block[:2]] // storage[0])
        across = np.unique(columns[block[2:]] // storage[1])
        decoded.update(product(down.tolist(), across.tolist()))
    twice = [chunk for chunk, times in decoded.items() if times > 1]
    assert not twice, f"{len(twice)} of {len(decoded)} chunks are decoded more than once"


ORDERS = {
    "raster": it.grid({"Y": 16, "X": 16}),
    "snake": it.grid({"Y": 16, "X": 16}, snake=["X"]),
    "interlaced": it.grid({"Y": 16, "X": 16}, visits={"Y": [*range(0, 16, 2), *range(1, 16, 2)]}),
    "backwards": it.grid({"Y": 16, "X": 16}, backwards=["X", "Y"]),
    "shuffled": it.shuffled(it.grid({"Y": 16, "X": 16})),
    "truncated": it.grid({"Y": 16, "X": 16}, snake=["X"])[:250],
}
SPECTRA = Side(it.grid({"C": 4, "B": 8}, snake=["B"]), ["B", "C"])


@pytest.fixture
def scan(path: Path) -> Path:
    return write_file(path, Side(ORDERS["snake"], ["X", "Y"]), SPECTRA, chunks=(16, 8))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("asked", [{"X": 5}, {"Y": 3, "B": 3}, {"C": 1, "X": 7, "Y": 6}], ids=str)
def test_case_38_blocks_of_any_shape(path: Path, order: str, asked: dict[str, int]) -> None:
    write_file(path, Side(ORDERS[order], ["X", "Y"]), SPECTRA, chunks=(10, 5))
    if order == "shuffled":
        asked = {name: size for name, size in asked.items() if name != "Y"}
    with open_main(path, MAIN, asked) as ds:
        assert_agrees(ds, rebuild(path, MAIN))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("chunks", [None, {}])
def test_case_38_parts_of_the_array(path: Path, order: str, chunks: Any) -> None:
    write_file(path, Side(ORDERS[order], ["X", "Y"]), SPECTRA)
    cells = rebuild(path, MAIN).data["Raw_Data"]
    with open_main(path, MAIN, chunks) as ds:
        var = ds["Raw_Data"]
        for key in (
            (3, 4, 1, 2),
            (slice(2, 9, 3), slice(None, None, -1)),
            (slice(None), 0),
            (np.array([5, 1, 1]), slice(0, 0)),
            (Ellipsis, slice(-3, None)),
            (Ellipsis, np.array([0, 3])),
            (slice(None, None, -2), -1, 1),
        ):
            np.testing.assert_array_equal(var[key].values, cells[key])
        pairs = xr.DataArray([1, 5, 9], dims="spot"), xr.DataArray([2, 0, 15], dims="spot")
        picked = var.isel(Y=pairs[0], X=pairs[1])
        np.testing.assert_array_equal(picked.values, cells[[1, 5, 9], [2, 0, 15]])


@pytest.mark.parametrize("chunks", [None, {}, {"Y": 4}])
def test_case_38_pickle(scan: Path, chunks: Any) -> None:
    with open_main(scan, MAIN, chunks) as ds:
        again = pickle.loads(pickle.dumps(ds))
        assert_agrees(again, rebuild(scan, MAIN))
        if chunks is not None:
            array = pickle.loads(pickle.dumps(ds["Raw_Data"].data))
            np.testing.assert_array_equal(array.compute(), ds["Raw_Data"].values)


def test_case_38_pickled_array_is_small(big: Path) -> None:
    """Blocks travel as a path and where to read, not as data or whole index tables."""
    with open_main(big, MAIN, {}) as ds:
        assert len(pickle.dumps(ds["Raw_Data"].data)) < MIB


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_case_38_schedulers(scan: Path, scheduler: str) -> None:
    want = rebuild(scan, MAIN)
    with open_main(scan, MAIN, {"Y": 8}) as ds:
        got = ds["Raw_Data"].data.compute(scheduler=scheduler, num_workers=2)
    np.testing.assert_array_equal(got, want.data["Raw_Data"])


def test_case_38_many_threads_read_at_once(scan: Path) -> None:
    want = rebuild(scan, MAIN).data["Raw_Data"]
    with open_main(scan, MAIN, {"Y": 1, "C": 1}) as ds:
        for _ in range(3):
            got = ds["Raw_Data"].data.compute(scheduler="threads", num_workers=16)
            np.testing.assert_array_equal(got, want)


@pytest.mark.slow
def test_case_38_distributed_processes(scan: Path) -> None:
    from distributed import Client, LocalCluster

    want = rebuild(scan, MAIN).data["Raw_Data"]
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        open_main(scan, MAIN, {"Y": 4}) as ds,
    ):
        data = ds["Raw_Data"].data
        np.testing.assert_array_equal(client.compute(data, sync=True), want)
        doubled = data.map_blocks(lambda block: 2 * block + block.shape[0], dtype=data.dtype)
        np.testing.assert_array_equal(client.compute(doubled, sync=True), 2 * want + 4)
        mean = client.compute(ds["Raw_Data"].mean("Y").data, sync=True)
        np.testing.assert_allclose(mean, want.mean(0), rtol=1e-6)
        mapped = xr.map_blocks(lambda part: part + 1, ds["Raw_Data"]).compute()
        np.testing.assert_array_equal(mapped.values, want + 1)


def open_files() -> set[str]:
    return {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


@pytest.mark.parametrize("chunks", [None, {}])
def test_case_38_no_handle_between_reads(scan: Path, chunks: Any) -> None:
    ds = open_main(scan, MAIN, chunks)
    tree = xr.open_datatree(scan, engine="usid", chunks=chunks)
    for _ in range(2):
        assert str(scan) not in open_files()
        with h5py.File(scan, "r+") as file:
            file.attrs["touched"] = True
        assert float(ds["Raw_Data"][0, 0, 0, 0]) == 1
        assert float(tree[MAIN]["Raw_Data"][0, 0, 0, 1]) == 2
    ds["Raw_Data"].data if chunks is None else ds["Raw_Data"].data.compute()
    assert str(scan) not in open_files()


def test_case_38_reads_while_the_file_is_open_elsewhere(scan: Path) -> None:
    with h5py.File(scan):
        assert float(open_main(scan, MAIN)["Raw_Data"][0, 0, 0, 0]) == 1
        assert float(open_main(scan, MAIN, {})["Raw_Data"][0, 0, 0, 1]) == 2


def test_case_38_no_handle_after_a_failure(scan: Path) -> None:
    ds = open_main(scan, MAIN)
    with pytest.raises(IndexError):
        ds["Raw_Data"][99].load()
    with pytest.raises(Exception, match="nowhere"):
        open_main(scan, "/nowhere")
    assert str(scan) not in open_files()


def test_case_38_relative_paths_survive_a_change_of_folder(
    scan: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(scan.parent)
    ds = xr.open_dataset(scan.name, engine="usid", group=MAIN, chunks={})
    monkeypatch.chdir("/")
    assert float(ds["Raw_Data"][0, 0, 0, 0]) == 1


@pytest.mark.parametrize("n_rows", [0, 3])
@pytest.mark.parametrize("n_columns", [0, 4])
@pytest.mark.parametrize("chunks", [None, {}, "auto"])
def test_case_38_no_rows_or_no_columns(
    path: Path, n_rows: int, n_columns: int, chunks: Any
) -> None:
    write_file(path, line("X", np.arange(n_rows, dtype="f4")), line("V", np.arange(n_columns)))
    with open_main(path, MAIN, chunks) as ds:
        var = ds["Raw_Data"]
        assert var.dtype == np.dtype("f4")
        assert var.size == n_rows * n_columns
        assert var.values.shape == var.shape
        if n_rows:
            assert ds.sizes["X"] == 3
        if n_columns:
            assert ds.sizes["V"] == 4


@pytest.mark.parametrize("dims", [0, 1, 2])
def test_case_38_no_rows_of_several_dims(path: Path, dims: int) -> None:
    position = Side(np.zeros((0, dims + 1), int), list("XYZ")[: dims + 1])
    write_file(path, position, line("V", np.arange(4)), dtype=[("a", "f4"), ("b", "i2")])
    with xr.open_datatree(path, engine="usid") as tree:
        assert tree[MAIN]["a"].size == 0
        assert tree[MAIN].sizes["V"] == 4
