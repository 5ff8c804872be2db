"""Holds what the engine reads against the oracle, cell by cell and axis by axis."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import xarray as xr

AXIS_WORDS = {"uniform", "monotonic", "non-monotonic", "constant", "undefined", "index"}
WAYS: tuple[Any, ...] = (None, {}, "auto")
"""Values of ``chunks``: eager, the storage's blocks, Dask's choice."""


def assert_same_bits(got: np.ndarray, want: np.ndarray, what: str) -> None:
    """Fail unless both arrays have one dtype, one shape and the same bytes."""
    assert got.dtype == want.dtype, f"{what}: dtype {got.dtype}, not {want.dtype}"
    assert got.dtype.isnative, f"{what}: not in native byte order"
    assert got.shape == want.shape, f"{what}: shape {got.shape}, not {want.shape}"
    if np.ascontiguousarray(got).tobytes() != np.ascontiguousarray(want).tobytes():
        np.testing.assert_array_equal(got, want, err_msg=what)
        raise AssertionError(f"{what}: equal values, other bits")


def assert_coordinate(ds: xr.Dataset, want: oracle.Coordinate) -> None:
    """Fail unless the coordinate has the expected dims, Values, units and kind."""
    what = f"coordinate {want.name!r}"
    assert want.name in ds.coords, f"{what} missing: {list(ds.variables)}"
    got = ds.coords[want.name]
    assert got.dims == want.dims, f"{what}: dims {got.dims}, not {want.dims}"
    values = np.asarray(want.values)
    if values.dtype.kind == "f" and ds.sizes != {} and np.isnan(values).any():
        assert got.dtype == values.dtype, f"{what}: dtype {got.dtype}, not {values.dtype}"
        np.testing.assert_array_equal(got.values, values, err_msg=what)
    else:
        assert_same_bits(np.asarray(got.values), values, what)
    attrs = got.variable.attrs
    is_time = want.units in oracle.TIME_UNITS or " since " in want.units
    key = "usid_units" if is_time else "units"
    if want.kinds is None or "index" not in want.kinds:
        assert attrs.get(key) == want.units, f"{what}: {key} {attrs.get(key)!r}, not {want.units!r}"
    if is_time:
        assert "units" not in attrs, f"{what}: units {attrs['units']!r} would decode as time"
    assert attrs.get("long_name") == want.label, f"{what}: long_name {attrs.get('long_name')!r}"
    original = f"{want.label}_values" if want.is_field else want.label
    if want.name != original:
        assert attrs.get("usid_name") == original, f"{what}: usid_name {attrs.get('usid_name')!r}"
    word = attrs.get("usid_axis")
    assert word is None or word in AXIS_WORDS, f"{what}: kind {word!r}"
    if want.kinds is not None:
        assert word in want.kinds, f"{what}: kind {word!r}, not {sorted(want.kinds)}"


def assert_agrees(ds: xr.Dataset, want: oracle.Expected) -> None:
    """Fail unless the dataset is what the oracle rebuilt."""
    names = set(want.data) | ({"valid"} if want.valid is not None else set())
    assert set(ds.data_vars) == names, f"data variables {set(ds.data_vars)}, not {names}"
    assert set(ds.coords) == set(want.coords), f"{set(ds.coords)}, not {set(want.coords)}"
    for name, cells in want.data.items():
        var = ds[name]
        inner = var.dims[len(want.dims) :]
        assert var.dims == want.dims + inner, f"{name}: dims {var.dims}, not {want.dims}"
        assert len(set(var.dims)) == len(var.dims), f"{name}: dims {var.dims} repeat"
        got = np.asarray(var.values)
        if want.valid is None:
            assert_same_bits(got, cells, name)
        else:
            assert_same_bits(got[want.valid], cells[want.valid], name)
            np.testing.assert_array_equal(got, cells, err_msg=f"{name}: padding")
        assert var.attrs.get("quantity") == want.quantity
        is_time = want.units in oracle.TIME_UNITS or " since " in want.units
        key = "usid_units" if is_time else "units"
        assert var.attrs.get(key) == want.units
        if name != want.components[name]:
            assert var.attrs.get("usid_name") == want.components[name]
    if want.valid is not None:
        assert ds["valid"].dims == want.valid_dims
        assert_same_bits(np.asarray(ds["valid"].values), want.valid, "valid")
    for coordinate in want.coords.values():
        assert_coordinate(ds, coordinate)
    xr.testing.assert_identical(xr.decode_cf(ds), ds)


def open_main(path: Path | str, main: str, chunks: Any = None) -> xr.Dataset:
    """Return the engine's dataset of one Main."""
    return xr.open_dataset(path, engine="usid", group=main, chunks=chunks)


def main_nodes(tree: xr.DataTree) -> set[str]:
    """Return the paths of the nodes that hold a Main: those that tell their parents."""
    return {node.path for node in tree.subtree if "usid_parents" in node.attrs}


def assert_file_agrees(
    path: Path | str, mains: Iterable[str] | None = None, ways: Iterable[Any] = WAYS
) -> dict[str, oracle.Expected]:
    """Fail unless every Main, opened alone and in the tree, eager and lazy, is as rebuilt.

    Return what was expected. ``mains`` are the sound ones, by default all.
    """
    mains = oracle.mains(path) if mains is None else list(mains)
    wanted = {main: oracle.rebuild(path, main) for main in mains}
    for chunks in ways:
        if chunks != "auto":
            with xr.open_datatree(path, engine="usid", chunks=chunks) as tree:
                assert main_nodes(tree) == set(wanted)
                for main, want in wanted.items():
                    assert_agrees(tree[main].to_dataset(), want)
        for main, want in wanted.items():
            with open_main(path, main, chunks) as alone:
                assert_agrees(alone, want)
                for name in want.data:
                    is_lazy = alone[name].chunks is not None
                    may_be = chunks is not None and alone[name].ndim > 0
                    assert is_lazy == may_be, f"{name}: chunks {chunks!r}"
    return wanted
