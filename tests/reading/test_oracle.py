"""The oracle against itself: one logical array, acquired in many orders."""

from __future__ import annotations

from pathlib import Path

import h5py
import index_tables as it
import numpy as np
import oracle
import pytest
from usid_files import MAIN, Side, write_file

LOGICAL = np.arange(1, 1 + 3 * 4 * 2, dtype="f4").reshape(3, 4, 2)
"""Y, X, Bias."""
BIAS = Side(np.arange(2)[:, None], ["Bias"], ["V"])


def write_in_order(path: Path, table: np.ndarray, labels: list[str]) -> Path:
    y, x = table[:, labels.index("Y")], table[:, labels.index("X")]
    side = Side(table, labels, values=table * 0.5)
    return write_file(path, side, BIAS, data=LOGICAL[y, x])


ORDERS = {
    "raster": it.grid({"Y": 3, "X": 4}),
    "snake": it.grid({"Y": 3, "X": 4}, snake=["X"]),
    "backwards": it.grid({"Y": 3, "X": 4}, backwards=["X", "Y"]),
    "interlaced": it.grid({"Y": 3, "X": 4}, visits={"Y": [0, 2, 1]}),
    "shuffled": it.shuffled(it.grid({"Y": 3, "X": 4})),
}


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_gives_the_same_array(path: Path, order: str) -> None:
    want = oracle.rebuild(write_in_order(path, ORDERS[order], ["X", "Y"]), MAIN)
    assert want.dims == ("Y", "X", "Bias")
    assert (want.data["Raw_Data"] == LOGICAL).all()
    assert want.valid is None
    assert want.coords["X"].values.tolist() == [0, 0.5, 1, 1.5]


def test_slow_first_columns_give_the_same_array(path: Path) -> None:
    table = it.grid({"Y": 3, "X": 4}, columns=["Y", "X"])
    want = oracle.rebuild(write_in_order(path, table, ["Y", "X"]), MAIN)
    assert want.dims == ("Y", "X", "Bias")
    assert (want.data["Raw_Data"] == LOGICAL).all()


def test_y_fastest_gives_the_transposed_array(path: Path) -> None:
    table = it.grid({"X": 4, "Y": 3}, columns=["X", "Y"])
    want = oracle.rebuild(write_in_order(path, table, ["X", "Y"]), MAIN)
    assert want.dims == ("X", "Y", "Bias")
    assert (want.data["Raw_Data"] == LOGICAL.transpose(1, 0, 2)).all()


@pytest.mark.parametrize("n_points", [5, 7, 9, 11])
@pytest.mark.parametrize("snake", [[], ["X"]])
def test_an_aborted_raster_is_padded(path: Path, n_points: int, snake: list[str]) -> None:
    table = it.truncated(it.grid({"Y": 3, "X": 4}, snake=snake), n_points)
    want = oracle.rebuild(write_in_order(path, table, ["X", "Y"]), MAIN)
    assert want.valid is not None
    assert want.valid.sum() == n_points
    size = want.data["Raw_Data"].shape[0]
    seen = np.isfinite(want.data["Raw_Data"][..., 0])
    assert (seen == want.valid).all()
    assert (want.data["Raw_Data"][seen] == LOGICAL[:size][seen]).all()


@pytest.mark.parametrize(
    "table",
    [
        it.sparse(6, 2),
        it.preallocated(it.grid({"Y": 3, "X": 4}), 7),
        it.truncated(it.shuffled(it.grid({"Y": 3, "X": 4})), 9),
        np.delete(it.grid({"Y": 3, "X": 4}), 2, axis=0),
        np.delete(it.grid({"Y": 3, "X": 4}), [0], axis=0),
        np.delete(it.grid({"Y": 3, "X": 4}), [9], axis=0),
    ],
    ids=["sparse", "preallocated", "random", "hole", "no-head", "hole-in-last-line"],
)
def test_what_is_no_grid_stays_flat(path: Path, table: np.ndarray) -> None:
    side = Side(table, ["X", "Y"])
    want = oracle.rebuild(write_file(path, side, BIAS), MAIN)
    assert want.dims == ("position", "Bias")
    assert want.coords["X"].dims == ("position",)
    with h5py.File(path) as file:
        assert (want.data["Raw_Data"] == file[MAIN][()]).all()


def test_sparse_scan_along_a_diagonal_is_no_raster(path: Path) -> None:
    want = oracle.rebuild(write_file(path, Side(it.sparse(2, 2), ["X", "Y"])), MAIN)
    assert want.flat == (True, False)


def test_three_dims_abort_between_lines(path: Path) -> None:
    table = it.truncated(it.grid({"Z": 3, "Y": 3, "X": 2}), 14)
    want = oracle.rebuild(write_file(path, Side(table, ["X", "Y", "Z"])), MAIN)
    assert want.valid is not None
    assert want.valid.sum() == 14
    assert want.shape == (3, 3, 2)


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        (np.linspace(0, 1, 7, dtype="f4"), {"uniform"}),
        (np.array([3, 2, 1], "u1"), {"uniform"}),
        (np.array([1, 2, 4, 8, 16], "f8"), {"monotonic"}),
        (np.array([0, 1, 2, 1, 0], "f4"), {"non-monotonic"}),
        (np.array([2, 2, 2], "f4"), {"constant"}),
        (np.array([0, np.nan, 1], "f4"), {"undefined"}),
        ((20000 + 0.01 * np.arange(64)).astype("f4"), {"uniform"}),
    ],
)
def test_kinds_of_axes(values: np.ndarray, kinds: set[str]) -> None:
    assert oracle.kinds_of(values) == kinds
