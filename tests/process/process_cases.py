"""Sources for runs of tools, what must come of them, and what did."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import oracle
from usid_files import MAIN, Side, write_file

from usid_tasks.settings import ProcessSettings, Settings
from usid_tasks.tools import Dim, MainHeader, find_tool
from usid_tasks.tools.in_memory import compute

GROUP = MAIN.rpartition("/")[0]
FREQUENCIES = np.linspace(300e3, 360e3, 13)


def raster(n_x: int, n_y: int, *, is_snake: bool = False) -> np.ndarray:
    """Return Indices (X, Y), X fastest; every other line backwards in a snake."""
    return np.array([
        (n_x - 1 - x if is_snake and y % 2 else x, y) for y in range(n_y) for x in range(n_x)
    ])  # fmt: skip


def cycles(*, is_transposed: bool = False) -> Side:
    """Return Spectroscopic tables of Frequency by Cycle, Frequency fastest unless transposed.

    Transposed ones go back and forth in Frequency, so that no order of dimensions is stored.
    """
    steps = [(f, c) for c in range(2) for f in range(len(FREQUENCIES))]
    if is_transposed:
        steps = [(f if c % 2 else 12 - f, c) for f, c in steps]
    indices = np.array(steps)
    values = np.stack([FREQUENCIES[indices[:, 0]], indices[:, 1] * 1.0], axis=1)
    return Side(indices, ["Frequency", "Cycle"], ["Hz", ""], values, value_dtype="f8")


def band(n_rows: int, dtype: Any, seed: int = 5) -> np.ndarray:
    """Return resonances, or noise on a slope: ``(n_rows, 26)``."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(n_rows, 2, 13)) * 0.02
    if np.dtype(dtype).kind != "c":
        data = noise + np.linspace(0, 1, 13) * random.uniform(1, 2, size=(n_rows, 2, 1))
        scale = 1000 if np.dtype(dtype).kind in "iu" else 1
        return (data * scale).reshape(n_rows, 26).astype(dtype)
    peak = random.uniform(320e3, 340e3, size=(n_rows, 2, 1))
    made = peak**2 / (peak**2 - FREQUENCIES**2 + 1j * FREQUENCIES * peak / 40)
    return (made * 1e-3 + noise * 1e-4).reshape(n_rows, 26).astype(dtype)


SOURCES = ("raster", "snake", "aborted", "sparse", "transposed", "chunked")


def source(
    path: Path, kind: str = "raster", dtype: Any = "f4", n: tuple[int, int] = (5, 7)
) -> Path:
    """Write a source and return its path."""
    indices = raster(*n, is_snake=kind == "snake")
    if kind == "aborted":
        indices = indices[: -(n[0] // 2 + 1)]
    if kind == "sparse":
        indices = np.stack([np.arange(9), np.arange(9)], axis=1)
    position = Side(indices, ["X", "Y"], ["um", "um"])
    how: dict[str, Any] = {"chunks": (4, 9), "compression": "gzip"} if kind == "chunked" else {}
    spectroscopic = cycles(is_transposed=kind == "transposed")
    data = band(len(indices), dtype)
    return write_file(path, position, spectroscopic, data=data, quantity="Amplitude", **how)


def small(**changed: Any) -> Settings:
    """Return settings for runs; one keyword for each of ``process``."""
    return Settings(process=ProcessSettings(**changed))


def expected(path: Path, tool: str, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return what the tool makes of the oracle's rebuild of a source, in memory."""
    whole = oracle.rebuild(path, MAIN)
    (array,) = whole.data.values()
    dims = []
    n_position = len(whole.valid_dims)
    for at, (name, size) in enumerate(zip(whole.dims, whole.shape, strict=True)):
        side = "position" if at < n_position else "spectroscopic"
        coordinate = whole.coords.get(name)
        known = coordinate is not None and coordinate.dims == (name,)
        values = coordinate.values if known else None
        units = coordinate.units if known else ""
        dims.append(Dim(name, size, side, units, values))
    n_rows = int(np.prod(whole.shape[:n_position]))
    header = MainHeader(tuple(dims), n_rows, array.dtype, whole.quantity, whole.units)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of padding
        return compute(find_tool(tool), array, header, dict(params)).arrays


def read_back(file: Path, group: str) -> dict[str, np.ndarray]:
    """Return the results of a group, rebuilt by the oracle, without dimensions of size one."""
    with h5py.File(file) as opened:
        names = [
            name for name, held in opened[group].items()
            if isinstance(held, h5py.Dataset) and "Position_Indices" in held.attrs
        ]  # fmt: skip
    found = {}
    for name in names:
        parts = oracle.rebuild(file, f"{group}/{name}").data
        found[name] = parts if len(parts) > 1 else next(iter(parts.values()))
    return found


def contents(file: Path) -> dict[str, Any]:
    """Return all values and attributes of a file but times, what refers by path."""
    told: dict[str, Any] = {}

    def plain(value: Any, opened: h5py.File) -> Any:
        if isinstance(value, h5py.Reference):
            return opened[value].name
        return np.asarray(value).tolist()

    with h5py.File(file) as opened:

        def visit(name: str, held: Any) -> None:
            attributes = {
                key: plain(value, opened) for key, value in held.attrs.items()
                if key not in ("timestamp", "time_stamp", "usid_provenance")
            }  # fmt: skip
            values = None
            if isinstance(held, h5py.Dataset):
                values = (held.shape, held.dtype.str, held[()].tobytes())
            told[name] = (attributes, values)

        opened.visititems(visit)
    return told
