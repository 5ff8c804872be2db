"""Conformance case 37: compounds, and every type of number."""

from __future__ import annotations

from pathlib import Path

import h5py
import index_tables as it
import numpy as np
import pytest
import xarray as xr
from agreement import assert_file_agrees, main_nodes, open_main
from usid_files import MAIN, Side, channel, distinct, line, write_file, write_main

POSITION = Side(it.grid({"Y": 3, "X": 4}, snake=["X"]), ["X", "Y"])
BIAS = line("Bias", np.arange(5.0))
SIMPLE = [
    "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16",
    ">i2", ">u4", ">f4", ">f8", ">c8", ">f2", "<i8",
]  # fmt: skip


@pytest.mark.parametrize("dtype", SIMPLE)
def test_case_37_numbers(path: Path, dtype: str) -> None:
    assert_file_agrees(write_file(path, POSITION, BIAS, dtype=dtype))
    var = open_main(path, MAIN)["Raw_Data"]
    assert var.dtype == np.dtype(dtype).newbyteorder("=")
    if dtype.startswith(">"):
        assert var.attrs["usid_dtype"].startswith(">")


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16", "f2"])
def test_case_37_bits_of_special_numbers(path: Path, dtype: str) -> None:
    data = distinct((12, 5), dtype)
    data.ravel()[:6] = [np.nan, np.inf, -np.inf, -0.0, 0.0, np.finfo(dtype).tiny]
    assert_file_agrees(write_file(path, POSITION, BIAS, data=data))


def test_case_37_components(path: Path) -> None:
    names = ["Amplitude [V]", "Phase (rad)", "Frequency.shift", "Güte", "n"]
    dtype = list(zip(names, ["f4", ">f8", "i2", "f2", "?"], strict=True))
    assert_file_agrees(write_file(path, POSITION, BIAS, dtype=dtype))
    ds = open_main(path, MAIN)
    assert set(ds.data_vars) == set(names)
    assert ds["Phase (rad)"].dtype == np.dtype("f8")
    assert ds["Phase (rad)"].attrs["usid_dtype"].startswith(">")


def test_case_37_complex_components(path: Path) -> None:
    dtype = [("drive", "c8"), ("response", ">c16"), ("ok", "?")]
    assert_file_agrees(write_file(path, POSITION, BIAS, dtype=dtype))


def test_case_37_a_compound_of_one(path: Path) -> None:
    assert_file_agrees(write_file(path, POSITION, BIAS, dtype=[("only", "f4")]))
    assert list(open_main(path, MAIN).data_vars) == ["only"]


def test_case_37_a_packed_and_a_padded_compound(path: Path) -> None:
    padded = np.dtype({"names": ["a", "b"], "formats": ["u1", "f8"], "offsets": [0, 8]})
    assert_file_agrees(write_file(path, POSITION, BIAS, dtype=padded))
    assert_file_agrees(write_file(path, POSITION, BIAS, dtype=[("a", "u1"), ("b", "f8")]))


@pytest.mark.parametrize("inner", [(3,), (2, 2), (1,)], ids=str)
@pytest.mark.parametrize("order", ["snake", "sparse", "truncated"])
def test_case_37_sub_array_fields(path: Path, inner: tuple[int, ...], order: str) -> None:
    table = {
        "snake": POSITION.indices,
        "sparse": it.sparse(6, 2),
        "truncated": it.grid({"Y": 3, "X": 4})[:7],
    }
    side = Side(table[order], ["X", "Y"])
    dtype = [("coefficients", "f4", inner), ("error", "f8")]
    assert_file_agrees(write_file(path, side, BIAS, dtype=dtype))


@pytest.mark.parametrize(
    "clash", [("a", "A"), ("X", "b"), ("valid", "b"), ("a/b", "a:b"), ("Bias", "bias")]
)
def test_case_37_components_that_clash(path: Path, clash: tuple[str, str]) -> None:
    dtype = [(name, "f4") for name in clash]
    write_file(path, POSITION, BIAS, dtype=dtype)
    ds = open_main(path, MAIN)
    assert len(ds.data_vars) == 2
    assert len({str(name).casefold() for name in ds.variables}) == len(ds.variables) == 5
    found = {var.attrs.get("usid_name", name) for name, var in ds.data_vars.items()}
    assert found == set(clash)


@pytest.mark.parametrize(
    "layout", [{}, {"chunks": (4, 2)}, {"chunks": (5, 5), "compression": "gzip"}]
)
def test_case_37_layouts(path: Path, layout: dict[str, object]) -> None:
    dtype = [("a", "f4"), ("b", ">c8")]
    assert_file_agrees(write_file(path, POSITION, BIAS, dtype=dtype, **layout))


def test_case_37_titles_tell_channels_apart(path: Path) -> None:
    """Each Main has its own quantity, and its own path in the tree."""
    with h5py.File(path, "w") as file:
        for k, quantity in enumerate(["Height", "Amplitude", "Phase"]):
            data = distinct((12, 5), start=1 + 100 * k)
            write_main(
                channel(file, 0, k), position=POSITION, spectroscopic=BIAS,
                quantity=quantity, data=data,
            )  # fmt: skip
    assert_file_agrees(path)
    with xr.open_datatree(path, engine="usid") as tree:
        told = {tree[main]["Raw_Data"].attrs["quantity"] for main in main_nodes(tree)}
    assert told == {"Height", "Amplitude", "Phase"}


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is double here")
def test_case_37_long_double_is_a_finding(path: Path) -> None:
    from usid_tasks.validate import validate_file

    write_file(path, POSITION, BIAS, dtype=np.longdouble)
    assert any(f.id == "R4" and f.path == MAIN for f in validate_file(path))


def test_enumerations_keep_their_numbers(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    with h5py.File(path, "r+") as file:
        group, links = file[MAIN].parent, dict(file[MAIN].attrs)
        del group["Raw_Data"]
        dtype = h5py.enum_dtype({"off": 0, "on": 1, "failed": 7}, basetype="i1")
        data = np.random.default_rng(0).choice([0, 1, 7], (12, 5)).astype(dtype)
        main = group.create_dataset("Raw_Data", data=data, dtype=dtype)
        main.attrs.update(links)
    assert_file_agrees(path)
    assert open_main(path, MAIN)["Raw_Data"].dtype == np.dtype("i1")
