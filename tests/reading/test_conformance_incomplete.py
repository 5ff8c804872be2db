"""Conformance cases 15 to 22: scans that fill no grid, Values that depend on several dims."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import index_tables as it
import numpy as np
import pytest
from agreement import assert_file_agrees, open_main
from usid_files import MAIN, Side, line, write_file

BIAS = line("Bias", np.array([-1, 0, 1], "f4"))
RASTER = it.grid({"Y": 4, "X": 5})
DTYPES = ["f4", "f2", ">f8", "c8", "i2", "u1", "?", [("a", "f4"), ("b", "i2")]]


def warnings_of(path: Path) -> list[str]:
    """Return the ids of warnings that a full raster of the same labels does not draw."""
    from usid_tasks.validate import validate_file

    with TemporaryDirectory() as folder:
        twin = write_file(Path(folder) / "twin.h5", Side(RASTER, ["X", "Y"]), BIAS)
        known = {f.id for f in validate_file(twin)}
    found = validate_file(path)
    assert not [f for f in found if f.severity.value == "error"], found
    return [f.id for f in found if f.severity.value == "warning" and f.id not in known]


@pytest.mark.parametrize("n_points", [6, 11, 15, 16, 19])
@pytest.mark.parametrize("snake", [[], ["X"]])
def test_case_15_truncated_last_row(path: Path, n_points: int, snake: list[str]) -> None:
    table = it.truncated(it.grid({"Y": 4, "X": 5}, snake=snake), n_points)
    (want,) = assert_file_agrees(write_file(path, Side(table, ["X", "Y"]), BIAS)).values()
    ds = open_main(path, MAIN)
    if n_points % 5:
        assert int(ds["valid"].sum()) == n_points
        assert ds["valid"].dims == ("Y", "X")
        assert np.isnan(ds["Raw_Data"].values[~ds["valid"].values]).all()
    else:
        assert want.valid is None
        assert "valid" not in ds


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_case_15_padding_keeps_the_dtype(path: Path, dtype: object) -> None:
    side = Side(it.truncated(RASTER, 13), ["X", "Y"])
    assert_file_agrees(write_file(path, side, BIAS, dtype=dtype))


@pytest.mark.parametrize("n_points", [13, 14, 15, 18, 20, 25])
@pytest.mark.parametrize("snake", [[], ["X"], ["X", "Y"]])
def test_case_15_truncated_volume(path: Path, n_points: int, snake: list[str]) -> None:
    table = it.truncated(it.grid({"Z": 3, "Y": 3, "X": 4}, snake=snake), n_points)
    (want,) = assert_file_agrees(write_file(path, Side(table, ["X", "Y", "Z"]), BIAS)).values()
    assert want.flat == (False, False)


@pytest.mark.parametrize("columns", [["X", "Y"], ["Y", "X"]])
@pytest.mark.parametrize("snake", [[], ["X"]])
@pytest.mark.parametrize("n_points", [6, 9, 17])
def test_case_15_truncated_whatever_the_columns(
    path: Path, columns: list[str], snake: list[str], n_points: int
) -> None:
    table = it.truncated(it.grid({"Y": 4, "X": 5}, columns=columns, snake=snake), n_points)
    assert_file_agrees(write_file(path, Side(table, columns), BIAS))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("Y", "X", "Bias")


@pytest.mark.parametrize("columns", list(permutations("XYZ")), ids="".join)
@pytest.mark.parametrize("n_points", [3, 5, 6, 7, 11])
def test_case_15_truncated_snake_of_pairs(
    path: Path, columns: tuple[str, ...], n_points: int
) -> None:
    """Two points a line: in a snake the fast indices form runs as the slow ones do."""
    table = it.grid({"Z": 4, "Y": 2, "X": 2}, columns=columns, snake=["X", "Y"])
    assert_file_agrees(write_file(path, Side(table[:n_points], columns), BIAS), ways=({},))
    dims = open_main(path, MAIN)["Raw_Data"].dims
    assert dims == (("Z", "Y", "X", "Bias") if n_points > 4 else ("Y", "X", "Bias"))


def test_case_15_truncated_interlaced_and_backwards(path: Path) -> None:
    table = it.grid({"Y": 4, "X": 5}, visits={"Y": [0, 2, 1, 3]}, backwards=["X"])
    side = Side(it.truncated(table, 12), ["X", "Y"])
    (want,) = assert_file_agrees(write_file(path, side, BIAS)).values()
    assert want.valid is not None
    assert want.valid.tolist() == [[True] * 5, [False] * 3 + [True] * 2, [True] * 5]


def test_case_15_is_flagged(path: Path) -> None:
    write_file(path, Side(it.truncated(RASTER, 13), ["X", "Y"]), BIAS)
    from usid_tasks.validate import validate_file

    assert any("13" in f.found and "15" in f.found + f.expected for f in validate_file(path))


def test_case_15_truncated_spectra_stay_flat(path: Path) -> None:
    spectral = Side(it.truncated(it.grid({"Cycle": 3, "Bias": 4}), 10), ["Bias", "Cycle"])
    assert_file_agrees(write_file(path, Side(RASTER, ["X", "Y"]), spectral))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("Y", "X", "spectroscopic")


@pytest.mark.parametrize(
    "gone", [[0], [7], [16], [0, 19], [18, 5]], ids=["head", "hole", "last-line", "ends", "two"]
)
def test_case_15_a_hole_is_no_aborted_raster(path: Path, gone: list[int]) -> None:
    side = Side(np.delete(RASTER, gone, axis=0), ["X", "Y"])
    assert_file_agrees(write_file(path, side, BIAS))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("position", "Bias")


@pytest.mark.parametrize("n_filled", [1, 7, 19])
def test_case_16_preallocated_zero_tail(path: Path, n_filled: int) -> None:
    side = Side(it.preallocated(RASTER, n_filled), ["X", "Y"])
    assert_file_agrees(write_file(path, side, BIAS))
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].dims == ("position", "Bias")
    assert ds.sizes["position"] == 20
    assert warnings_of(path)


def test_case_16_one_cell_twice(path: Path) -> None:
    table = RASTER.copy()
    table[11] = table[4]
    assert_file_agrees(write_file(path, Side(table, ["X", "Y"]), BIAS))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("position", "Bias")
    assert warnings_of(path)


SPOTS = np.array([[150, 3.75], [200, 0], [100, 3.75], [50, 2.5], [300, 5], [0, 1.25]])


@pytest.mark.parametrize("dtype", ["f4", "c16", [("a", "f4"), ("b", "i2")]], ids=str)
def test_case_17_sparse(path: Path, dtype: object) -> None:
    side = Side(it.sparse(6, 2), ["X", "Y"], ["nm", "um"], SPOTS)
    assert_file_agrees(write_file(path, side, BIAS, dtype=dtype))
    ds = open_main(path, MAIN)
    assert ds.sizes == {"position": 6, "Bias": 3}
    assert ds["X"].values.tolist() == SPOTS[:, 0].tolist()
    assert ds["Y"].values.tolist() == SPOTS[:, 1].tolist()
    assert ds["X"].attrs["units"] == "nm"
    assert ds["Y"].attrs["units"] == "um"


def test_case_17_sparse_spectra(path: Path) -> None:
    spectral = Side(it.sparse(6, 2), ["Bias", "Field"], ["V", "T"], SPOTS)
    assert_file_agrees(write_file(path, Side(RASTER, ["X", "Y"]), spectral))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("Y", "X", "spectroscopic")


def test_case_17_sparse_on_both_sides(path: Path) -> None:
    spectral = Side(it.sparse(6, 2), ["Bias", "Field"], ["V", "T"], SPOTS)
    assert_file_agrees(write_file(path, Side(it.sparse(6, 2), ["X", "Y"], values=SPOTS), spectral))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("position", "spectroscopic")


def test_case_18_sparse_with_incomplete_dimensions(path: Path) -> None:
    attrs = {"incomplete_dimensions": np.array([b"X", b"Y"])}
    side = Side(it.sparse(6, 2), ["X", "Y"], ["nm", "um"], SPOTS, attrs=attrs)
    assert_file_agrees(write_file(path, side, BIAS))
    assert open_main(path, MAIN).sizes == {"position": 6, "Bias": 3}


CYCLES = it.grid({"Cycle": 3, "Bias": 4})


def test_case_20_values_that_depend_on_another_dim(path: Path) -> None:
    bias = (CYCLES[:, 0] - 1.5) * (CYCLES[:, 1] + 1)
    spectral = Side(CYCLES, ["Bias", "Cycle"], ["V", ""], np.column_stack([bias, CYCLES[:, 1]]))
    assert_file_agrees(write_file(path, Side(RASTER, ["X", "Y"]), spectral))
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].dims == ("Y", "X", "Cycle", "Bias")
    assert ds["Bias"].values.tolist() == [0, 1, 2, 3]
    assert ds["Bias"].attrs["usid_axis"] == "index"
    assert ds["Bias_values"].dims == ("Cycle", "Bias")
    assert ds["Bias_values"].values.tolist() == [
        [-1.5, -0.5, 0.5, 1.5], [-3, -1, 1, 3], [-4.5, -1.5, 1.5, 4.5],
    ]  # fmt: skip
    assert ds["Bias_values"].attrs["units"] == "V"
    assert warnings_of(path)


def test_case_20_values_that_depend_only_on_the_other_dim(path: Path) -> None:
    values = np.column_stack([CYCLES[:, 1] * 2.0, CYCLES[:, 1]])
    spectral = Side(CYCLES, ["Bias", "Cycle"], values=values)
    assert_file_agrees(write_file(path, Side(RASTER, ["X", "Y"]), spectral))
    assert open_main(path, MAIN)["Bias_values"].dims == ("Cycle",)


def test_case_20_dependent_values_of_a_dim_of_size_one(path: Path) -> None:
    table = np.column_stack([RASTER, np.zeros(20, int)])
    values = np.column_stack([RASTER, RASTER[:, 0] * 0.5])
    side = Side(table, ["X", "Y", "Height"], values=values)
    assert_file_agrees(write_file(path, side, BIAS))
    assert open_main(path, MAIN)["Height_values"].dims == ("X",)


@pytest.mark.parametrize("of", [0, 1])
def test_case_21_dependent_extra_row(path: Path, of: int) -> None:
    spectral = Side(it.with_dependent_column(CYCLES, of), ["Bias", "Cycle", "Field"])
    assert_file_agrees(write_file(path, Side(RASTER, ["X", "Y"]), spectral))
    assert open_main(path, MAIN)["Raw_Data"].dims == ("Y", "X", "spectroscopic")


def test_case_21_forc(path: Path) -> None:
    table = it.forc(4, 5)
    spectral = Side(table, ["Bias", "FORC"], values=np.sin(table) + table)
    assert_file_agrees(write_file(path, Side(RASTER, ["X", "Y"]), spectral))
    ds = open_main(path, MAIN)
    assert ds["Raw_Data"].dims == ("Y", "X", "spectroscopic")
    assert ds["FORC"].dims == ds["Bias"].dims == ("spectroscopic",)


@pytest.mark.parametrize("n_points", [20, 13])
def test_case_22_measured_positions(path: Path, n_points: int) -> None:
    table = it.truncated(RASTER, n_points)
    values = table + np.random.default_rng(1).normal(0, 0.05, table.shape)
    assert_file_agrees(write_file(path, Side(table, ["X", "Y"], values=values), BIAS))
    ds = open_main(path, MAIN)
    for name in "XY":
        assert ds[name].attrs["usid_axis"] == "index"
        assert ds[f"{name}_values"].dims == ("Y", "X")
    assert ds["X"].values.tolist() == [0, 1, 2, 3, 4]
    assert warnings_of(path)


def test_case_22_measured_positions_as_integers_are_padded_with_zero(path: Path) -> None:
    table = it.truncated(RASTER, 13)
    steps = np.random.default_rng(1).integers(0, 100, table.shape)
    side = Side(table, ["X", "Y"], values=1000 * table + steps, value_dtype="i4")
    assert_file_agrees(write_file(path, side, BIAS))
    assert open_main(path, MAIN)["X_values"].values[2, 3:].tolist() == [0, 0]
