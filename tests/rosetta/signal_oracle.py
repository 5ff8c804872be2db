"""What signals must be, by the rebuild from the index tables alone."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import oracle

from usid_tasks.rosetta import file_reader

Signal = dict[str, Any]


def read(path: Path | str, **options: Any) -> list[Signal]:
    """Return the signals of a file, its warnings aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return file_reader(path, **options)


def by_dataset(signals: list[Signal]) -> dict[str, list[Signal]]:
    """Return the signals of each Main dataset."""
    found: dict[str, list[Signal]] = {}
    for signal in signals:
        found.setdefault(signal["original_metadata"]["dataset_path"], []).append(signal)
    return found


def assert_signals_agree(path: Path | str) -> list[Signal]:
    """Fail unless the signals of all sound Main datasets, eager and lazy, are as rebuilt."""
    eager, lazy = read(path), read(path, lazy=True)
    for signals in (eager, lazy):
        for main, of_main in by_dataset(signals).items():
            want = oracle.rebuild(path, main)
            assert len(of_main) == len(want.data)
            for signal, (name, cells) in zip(of_main, want.data.items(), strict=True):
                assert_signal_agrees(signal, want, want.components[name], cells)
    assert_same_signals(eager, lazy)
    return eager


def assert_same_signals(eager: list[Signal], lazy: list[Signal]) -> None:
    """Fail unless lazy signals are the eager ones, but for when their values are read."""
    for one, other in zip(eager, lazy, strict=True):
        assert one["data"].dtype == other["data"].dtype
        assert one["metadata"] == other["metadata"]
        np.testing.assert_equal(one["axes"], other["axes"])
        np.testing.assert_equal(one["original_metadata"], other["original_metadata"])
        assert other["data"].chunks is not None


def assert_signal_agrees(
    signal: Signal, want: oracle.Expected, component: str, cells: np.ndarray
) -> None:
    """Fail unless one signal has the values, axes and metadata of its component."""
    data = np.asarray(signal["data"])
    expected = cells if cells.ndim else cells.reshape(1)
    assert data.dtype == cells.dtype
    assert data.dtype.isnative
    np.testing.assert_array_equal(data, expected, strict=True)
    assert len(signal["axes"]) == data.ndim
    assert [axis["index_in_array"] for axis in signal["axes"]] == list(range(data.ndim))
    assert [axis["size"] for axis in signal["axes"]] == list(data.shape)
    n_position = len(want.valid_dims)
    is_image = data.ndim == n_position
    for at, axis in enumerate(signal["axes"]):
        assert axis["navigate"] is (at < n_position and not is_image)
        if at < len(want.dims):
            assert_axis_agrees(axis, want, want.dims[at], signal["original_metadata"])
    told = signal["original_metadata"]
    if component == want.path.rsplit("/", 1)[1] and "component" not in told:
        assert (told["quantity"], told["units"]) == (want.quantity, want.units)
    else:
        assert told["component"] == component
    assert ("valid" in told) is (want.valid is not None)
    if want.valid is not None:
        np.testing.assert_array_equal(told["valid"], want.valid)


def assert_axis_agrees(
    axis: dict[str, Any], want: oracle.Expected, dim: str, told: dict[str, Any]
) -> None:
    """Fail unless an axis holds the exact Values, or counts and has them in the metadata."""
    if want.flat[dim == "spectroscopic"] and dim in ("position", "spectroscopic"):
        assert axis["name"] == dim
        assert (axis["offset"], axis["scale"], axis["units"]) == (0, 1, "")
        labels = [one.label for one in want.coords.values() if one.dims == (dim,)]
        assert {one["side"] for one in told["dimensions"].values()} >= {dim}
        assert len(told["dimensions"]) >= len(labels)
        return
    own = want.coords[dim]
    field = next((c for c in want.coords.values() if c.is_field and c.label == own.label), own)
    assert axis["name"] == own.label or axis["name"].startswith(f"{own.label}_")
    assert axis["units"] == field.units
    values = np.asarray(field.values)
    kinds = oracle.kinds_of(values) if values.ndim == 1 and field.dims == (dim,) else frozenset()
    if not values.size:
        return
    if "axis" in axis:
        assert "monotonic" in kinds
        assert axis["axis"].dtype == np.float64
        np.testing.assert_array_equal(axis["axis"], values.astype(np.float64))
    elif axis["name"] not in told["dimensions"]:
        assert "uniform" in kinds
        assert axis["scale"] != 0
        line = axis["offset"] + axis["scale"] * np.arange(axis["size"])
        rounding = np.spacing(np.abs(values).max()) if values.dtype.kind == "f" else 0
        off = np.abs(line - values.astype(np.float64)).max()
        assert off <= 0.0101 * abs(axis["scale"]) + 2 * float(rounding)
    else:
        assert kinds != {"uniform"}
        assert (axis["offset"], axis["scale"]) == (0, 1)
        kept = told["dimensions"][axis["name"]]
        np.testing.assert_array_equal(kept["values"], values, strict=True)
        assert kept["units"] == field.units
