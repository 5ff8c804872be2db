"""Signals to be written, and what a file must hold of them: told by plain NumPy and h5py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from usid_files import MAIN, distinct

Signal = dict[str, Any]
NAMES = ("Z", "Y", "X", "Cycle", "Bias", "Time", "Energy")


def axis(name: str, size: int, navigate: bool = False, **more: Any) -> dict[str, Any]:
    """Return a uniform axis, unless ``axis`` gives its vector."""
    told = {"name": name, "units": "nm", "size": size, "navigate": navigate, **more}
    return told if "axis" in told else {"offset": 1.0, "scale": 0.5, **told}


def signal(
    position: Mapping[str, int] | None = None,
    spectroscopic: Mapping[str, int] | None = None,
    dtype: Any = "f4",
    **more: Any,
) -> Signal:
    """Return a signal whose cells are distinct; sizes are slow to fast."""
    position = {"Y": 3, "X": 4} if position is None else position
    spectroscopic = {"Bias": 5} if spectroscopic is None else spectroscopic
    axes = [axis(name, size, True) for name, size in position.items()]
    axes += [axis(name, size) for name, size in spectroscopic.items()]
    shape = (*position.values(), *spectroscopic.values())
    made = {"data": distinct(shape, dtype), "axes": axes, "metadata": {}, "original_metadata": {}}
    return {**made, **more}


def values_of(told: Mapping[str, Any], size: int) -> np.ndarray:
    """Return the points of an axis, in float64."""
    if "axis" in told:
        return np.asarray(told["axis"])
    return np.array([told["offset"] + told["scale"] * place for place in range(size)])


def assert_file_holds(path: Path, told: Signal, main: str = MAIN, *, columns: int = 1) -> None:
    """Fail unless the Main dataset is the array as a table, and its tables tell every cell.

    ``columns`` is 1 for tables with the slowest dimension first, -1 for the fastest.
    """
    data = np.asarray(told["data"])
    nav = [k for k, one in enumerate(told["axes"]) if one["navigate"]]
    sig = [k for k, one in enumerate(told["axes"]) if not one["navigate"]]
    table = data.transpose([*nav, *sig]).reshape(
        int(np.prod([data.shape[k] for k in nav], dtype=int)), -1
    )
    with h5py.File(path) as file:
        found = file[main]
        assert found.dtype == data.dtype
        assert found[()].tobytes() == table.tobytes()
        for side, numbers in (("Position", nav), ("Spectroscopic", sig)):
            tables = [file[found.attrs[f"{side}_{kind}"]] for kind in ("Indices", "Values")]
            labels = [text.decode() for text in tables[0].attrs["labels"]]
            assert labels == [text.decode() for text in tables[1].attrs["labels"]]
            if not numbers:
                assert tables[0].shape == tables[1].shape == (1, 1)
                continue
            ordered = numbers[::columns]
            assert labels == [told["axes"][k]["name"] for k in ordered]
            assert_table(tables, [data.shape[k] for k in numbers], side, columns)
            points = [values_of(told["axes"][k], data.shape[k]) for k in ordered]
            values = tables[1][()] if side == "Position" else tables[1][()].T
            indices = tables[0][()] if side == "Position" else tables[0][()].T
            for column, vector in enumerate(points):
                np.testing.assert_array_equal(values[:, column], vector[indices[:, column]])


def assert_table(
    tables: Sequence[h5py.Dataset], sizes: Sequence[int], side: str, columns: int
) -> None:
    """Fail unless the Indices count a grid in C order."""
    indices = np.array(list(np.ndindex(*sizes)))[:, ::columns]
    stored = tables[0][()] if side == "Position" else tables[0][()].T
    assert stored.dtype == np.uint32
    np.testing.assert_array_equal(stored, indices)
