"""Conformance cases 23 to 29: what each axis truly is."""

from __future__ import annotations

from pathlib import Path

import index_tables as it
import numpy as np
import pytest
import xarray as xr
from agreement import assert_file_agrees, open_main
from usid_files import MAIN, Side, line, write_file

ONE_POSITION = Side(np.zeros((1, 1), int), ["X"], ["m"])


def read_axis(path: Path, values: np.ndarray) -> xr.DataArray:
    """Return the axis as the engine reads it, once it is exact in every way of opening."""
    assert_file_agrees(write_file(path, ONE_POSITION, line("Bias", values)))
    axis = open_main(path, MAIN)["Bias"]
    native = values.astype(values.dtype.newbyteorder("="))
    assert axis.dtype == native.dtype
    assert axis.values.tobytes() == native.tobytes()
    return axis


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1", ">f4", ">i4"])
def test_case_23_descending_linear(path: Path, dtype: str) -> None:
    assert read_axis(path, np.array([3, 2, 1], dtype)).attrs["usid_axis"] == "uniform"


def test_case_23_half_precision_keeps_its_type(path: Path) -> None:
    """An xarray index would be float64: the dim shows its index, the Values stay beside it."""
    assert_file_agrees(write_file(path, ONE_POSITION, line("Bias", np.array([3, 2, 1], "f2"))))
    ds = open_main(path, MAIN)
    assert ds["Bias_values"].dtype == np.dtype("f2")
    assert ds["Bias_values"].values.tolist() == [3, 2, 1]
    assert ds["Bias_values"].dims == ("Bias",)


@pytest.mark.parametrize(
    "values", [np.logspace(6, 0, 7), [10, 9, 5, 0, -20], [-1, -2, -4, -8, -16]], ids=str
)
def test_case_24_descending_non_linear(path: Path, values: list[float]) -> None:
    assert read_axis(path, np.array(values, "f4")).attrs["usid_axis"] == "monotonic"


def test_case_25_ascending_quadratic(path: Path) -> None:
    assert read_axis(path, np.arange(12.0) ** 2).attrs["usid_axis"] == "monotonic"


def test_case_25_one_step_in_the_middle(path: Path) -> None:
    values = np.arange(100.0)
    values[50:] += 5
    assert read_axis(path, values).attrs["usid_axis"] == "monotonic"


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 2, 3, 2, 1, 0],
        np.sin(np.linspace(0, 6.28, 32)),
        np.concatenate([np.linspace(5.46e-6, 5.58e-6, 30), np.linspace(5.58e-6, 5.46e-6, 30)[1:]]),
        [0, 2, 1, 3],
    ],
    ids=["triangle", "sine", "force-curve", "swapped"],
)
def test_case_26_out_and_back(path: Path, values: list[float]) -> None:
    from usid_tasks.validate import validate_file

    axis = read_axis(path, np.array(values, "f4"))
    assert axis.attrs["usid_axis"] == "non-monotonic"
    findings = validate_file(path)
    assert not [f for f in findings if f.severity.value == "error"]
    twin = write_file(
        path.with_name("twin.h5"), ONE_POSITION, line("Bias", np.arange(9, dtype="f4"))
    )
    assert {f.id for f in findings} - {f.id for f in validate_file(twin)}


def test_case_27_long_float32_linspace(path: Path) -> None:
    axis = read_axis(path, np.linspace(1, 2, 5000, dtype="f4"))
    assert axis.attrs["usid_axis"] == "uniform"


def test_case_27_growing_error_is_seen(path: Path) -> None:
    """A scale of one step would be 4 steps off at the end."""
    steps = np.full(4095, 1.0)
    steps[:2048] *= 1.002
    values = np.concatenate([[0], np.cumsum(steps)])
    assert read_axis(path, values).attrs["usid_axis"] == "monotonic"


def test_case_27_jitter_keeps_the_values(path: Path) -> None:
    jitter = np.random.default_rng(0).uniform(-9e-4, 9e-4, 4096)
    read_axis(path, np.cumsum(1 + jitter))


def test_case_27_large_offset_in_float32(path: Path) -> None:
    axis = read_axis(path, (20000 + 0.01 * np.arange(64)).astype("f4"))
    assert axis.attrs["usid_axis"] == "uniform"


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i8"])
@pytest.mark.parametrize("values", [[120, 100, 80, 60], [0, 40, 80, 120]])
def test_case_28_integer_values(path: Path, dtype: str, values: list[int]) -> None:
    assert read_axis(path, np.array(values, dtype)).attrs["usid_axis"] == "uniform"


def test_case_28_unsigned_descending_to_zero(path: Path) -> None:
    axis = read_axis(path, np.arange(255, -1, -5, dtype="u1"))
    assert axis.attrs["usid_axis"] == "uniform"


def test_case_28_integers_over_the_whole_range(path: Path) -> None:
    read_axis(path, np.array([-(2**63), 0, 2**63 - 1], "i8"))
    axis = open_main(path, MAIN)["Bias"]
    assert axis.attrs["usid_axis"] == "uniform"


@pytest.mark.parametrize("dtype", ["f4", "u1", "f8"])
def test_case_29_constant(path: Path, dtype: str) -> None:
    axis = read_axis(path, np.full(5, 7, dtype))
    assert axis.attrs["usid_axis"] == "constant"
    assert axis.attrs.get("scale") != 0


def test_case_29_collapsed_timestamps(path: Path) -> None:
    axis = read_axis(path, (1.7e9 + np.arange(10)).astype("f4"))
    assert axis.attrs["usid_axis"] == "constant"


@pytest.mark.parametrize(
    "values", [[np.nan] * 4, [0, np.nan, 2, 3], [np.nan, 1, 2], [1, 2, np.nan]], ids=str
)
def test_case_29_undefined(path: Path, values: list[float]) -> None:
    axis = read_axis(path, np.array(values, "f4"))
    assert axis.attrs["usid_axis"] == "undefined"


@pytest.mark.parametrize("values", [[0, 1, np.inf], [-np.inf, 0, np.inf, 2]], ids=str)
def test_case_29_infinite(path: Path, values: list[float]) -> None:
    assert read_axis(path, np.array(values)).attrs["usid_axis"] != "uniform"


def test_case_29_undefined_position_values(path: Path) -> None:
    table = it.grid({"Y": 3, "X": 4})
    side = Side(table, ["X", "Y"], values=np.full(table.shape, np.nan))
    assert_file_agrees(write_file(path, side))
    assert open_main(path, MAIN)["X"].attrs["usid_axis"] == "undefined"


def test_position_values_keep_double_precision(path: Path) -> None:
    table = it.grid({"Y": 3, "X": 4})
    side = Side(table, ["X", "Y"], values=1e-9 * table + 1, value_dtype=">f8")
    assert_file_agrees(write_file(path, side))
    assert open_main(path, MAIN)["X"].dtype == np.dtype("f8")
