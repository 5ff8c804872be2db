"""Conformance cases 1 to 14: which cell goes where."""

from __future__ import annotations

from pathlib import Path

import index_tables as it
import numpy as np
import pytest
import xarray as xr
from agreement import assert_file_agrees, open_main
from usid_files import MAIN, Side, write_file

FREQUENCY = Side(np.arange(3)[:, None], ["Frequency"], ["kHz"], np.array([[300], [315], [330]]))


def logical(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1, 1 + int(np.prod(shape)), dtype="f4").reshape(shape)


def scan(path: Path, table: np.ndarray, labels: list[str], cells: np.ndarray | None = None) -> Path:
    """Write a scan whose cell ``[Y, X, Frequency]`` holds the logical value."""
    if cells is None:
        return write_file(path, Side(table, labels, ["um"] * len(labels)), FREQUENCY)
    where = [np.unique(table[:, labels.index(name)], return_inverse=True)[1] for name in "YX"]
    return write_file(
        path, Side(table, labels, ["um"] * len(labels)), FREQUENCY, data=cells[tuple(where)]
    )


def assert_image(path: Path, cells: np.ndarray) -> xr.Dataset:
    """Fail unless the file reads as these cells, ``[Y, X, Frequency]``."""
    assert_file_agrees(path)
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].dims == ("Y", "X", "Frequency")
    assert (ds["Raw_Data"].values == cells).all()
    return ds


def test_case_01_x_fast(path: Path) -> None:
    cells = logical((3, 4, 3))
    ds = assert_image(scan(path, it.grid({"Y": 3, "X": 4}), ["X", "Y"], cells), cells)
    assert ds["X"].values.tolist() == [10, 10.25, 10.5, 10.75]
    assert ds["Y"].values.tolist() == [20, 20.25, 20.5]
    assert ds["Frequency"].values.tolist() == [300, 315, 330]
    assert ds["X"].dtype == "f4"
    assert ds["Y"].attrs["units"] == "um"
    assert ds["Frequency"].attrs["units"] == "kHz"


def test_case_02_y_fast(path: Path) -> None:
    cells = logical((3, 4, 3))
    table = it.grid({"X": 4, "Y": 3}, columns=["X", "Y"])
    assert_file_agrees(scan(path, table, ["X", "Y"], cells))
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].dims == ("X", "Y", "Frequency")
    assert (ds["Raw_Data"].transpose("Y", "X", "Frequency").values == cells).all()


def test_case_03_slow_first_columns(path: Path) -> None:
    cells = logical((3, 4, 3))
    table = it.grid({"Y": 3, "X": 4}, columns=["Y", "X"])
    assert_image(scan(path, table, ["Y", "X"], cells), cells)


def test_case_04_three_mixed_dims_and_two_spectral(path: Path) -> None:
    position = Side(it.grid({"Y": 2, "Z": 3, "X": 4}, columns=["Y", "X", "Z"]), ["Y", "X", "Z"])
    spectral = Side(it.grid({"F": 5, "T": 2}, columns=["T", "F"]), ["T", "F"], ["s", "Hz"])
    assert_file_agrees(write_file(path, position, spectral))
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].dims == ("Y", "Z", "X", "F", "T")
    assert ds["Raw_Data"].shape == (2, 3, 4, 5, 2)


@pytest.mark.parametrize("columns", ["XY", "YX"])
@pytest.mark.parametrize("loops", ["YX", "XY"])
def test_case_05_equal_sizes(path: Path, columns: str, loops: str) -> None:
    table = it.grid(dict.fromkeys(loops, 4), columns=list(columns))
    assert_file_agrees(scan(path, table, list(columns)))
    assert open_main(path, MAIN)["Raw_Data"].dims == (*loops, "Frequency")


@pytest.mark.parametrize("loops", ["ABCDE", "CAEBD", "EDCBA"])
def test_case_06_five_dims_of_two(path: Path, loops: str) -> None:
    position = Side(it.grid(dict.fromkeys(loops, 2), columns=list("ABCDE")), list("ABCDE"))
    assert_file_agrees(write_file(path, position, FREQUENCY))
    assert open_main(path, MAIN)["Raw_Data"].dims == (*loops, "Frequency")


@pytest.mark.parametrize("snake", [["X"], ["X", "Y"]])
def test_case_07_snake_positions(path: Path, snake: list[str]) -> None:
    cells = logical((3, 4, 3))
    table = it.grid({"Y": 3, "X": 4}, snake=snake)
    assert_image(scan(path, table, ["X", "Y"], cells), cells)


def test_case_07_snake_in_three_dims(path: Path) -> None:
    table = it.grid({"Z": 2, "Y": 3, "X": 4}, snake=["X", "Y"])
    assert_file_agrees(write_file(path, Side(table, ["X", "Y", "Z"]), FREQUENCY))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("Z", "Y", "X", "Frequency")


def test_case_08_snake_spectra(path: Path) -> None:
    spectral = Side(it.grid({"Cycle": 4, "Bias": 5}, snake=["Bias"]), ["Bias", "Cycle"])
    position = Side(it.grid({"Y": 2, "X": 3}), ["X", "Y"])
    assert_file_agrees(write_file(path, position, spectral))
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].dims == ("Y", "X", "Cycle", "Bias")
    assert ds["Raw_Data"].values[0, 0, 1].tolist() == [10, 9, 8, 7, 6]


@pytest.mark.parametrize("seed", range(4))
def test_case_09_random_order(path: Path, seed: int) -> None:
    cells = logical((3, 4, 3))
    table = it.shuffled(it.grid({"Y": 3, "X": 4}), seed)
    assert_image(scan(path, table, ["X", "Y"], cells), cells)


def test_case_09_random_order_takes_the_columns_fastest_first(path: Path) -> None:
    table = it.shuffled(it.grid({"Y": 3, "X": 4}, columns=["Y", "X"]))
    assert_file_agrees(scan(path, table, ["Y", "X"]))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("X", "Y", "Frequency")


def test_case_09_random_spectra(path: Path) -> None:
    spectral = Side(it.shuffled(it.grid({"Cycle": 4, "Bias": 5})), ["Bias", "Cycle"])
    assert_file_agrees(write_file(path, Side(it.grid({"Y": 2, "X": 2}), ["X", "Y"]), spectral))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("Y", "X", "Cycle", "Bias")


def test_case_10_descending_fast_index(path: Path) -> None:
    cells = logical((3, 4, 3))
    table = it.grid({"Y": 3, "X": 4}, backwards=["X"])
    ds = assert_image(scan(path, table, ["X", "Y"], cells), cells)
    assert ds["X"].values.tolist() == [10, 10.25, 10.5, 10.75]


def test_case_11_descending_slow_index(path: Path) -> None:
    cells = logical((3, 4, 3))
    table = it.grid({"Y": 3, "X": 4}, backwards=["Y"])
    ds = assert_image(scan(path, table, ["X", "Y"], cells), cells)
    assert ds["Y"].values.tolist() == [20, 20.25, 20.5]


@pytest.mark.parametrize("lines", [[0, 2, 1, 3], [0, 2, 3, 1], [1, 0, 3, 2]])
def test_case_12_interlaced_lines(path: Path, lines: list[int]) -> None:
    cells = logical((4, 5, 3))
    table = it.grid({"Y": 4, "X": 5}, visits={"Y": lines})
    assert_image(scan(path, table, ["X", "Y"], cells), cells)


@pytest.mark.parametrize("offset", [{"X": 1, "Y": 7}, {"X": -3, "Y": -1}])
def test_case_13_index_offsets(path: Path, offset: dict[str, int]) -> None:
    cells = logical((3, 4, 3))
    table = it.grid({"Y": 3, "X": 4}, offset=offset)
    where = [np.unique(table[:, k], return_inverse=True)[1] for k in (1, 0)]
    side = Side(table, ["X", "Y"], ["um", "um"], index_dtype="i4")
    write_file(path, side, FREQUENCY, data=cells[tuple(where)])
    assert_image(path, cells)


def test_case_13_indices_stored_as_floats(path: Path) -> None:
    side = Side(it.grid({"Y": 3, "X": 4}), ["X", "Y"], index_dtype="f4")
    assert_file_agrees(write_file(path, side, FREQUENCY))


@pytest.mark.parametrize("stride", [{"Y": 2}, {"X": 3, "Y": 2}])
def test_case_14_index_gaps(path: Path, stride: dict[str, int]) -> None:
    cells = logical((3, 4, 3))
    table = it.grid({"Y": 3, "X": 4}, stride=stride)
    ds = assert_image(scan(path, table, ["X", "Y"], cells), cells)
    assert ds.sizes["Y"] == 3


def test_case_14_gap_of_an_index_that_has_no_value_of_its_own(path: Path) -> None:
    """The dim keeps the file's own indices where it cannot show Values."""
    table = it.grid({"Y": 3, "X": 4}, stride={"Y": 2}, offset={"X": 5})
    values = np.column_stack([table[:, 0], np.arange(12)])
    assert_file_agrees(write_file(path, Side(table, ["X", "Y"], values=values), FREQUENCY))
    assert open_main(path, MAIN)["Y"].values.tolist() == [0, 2, 4]
