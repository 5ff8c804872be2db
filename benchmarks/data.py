"""The files that are measured: every value can be made again from its place, and checked."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from usid_tasks.errors import RefusedError
from usid_tasks.sizes import format_size

Region = tuple[slice, ...]
Dims = tuple[tuple[str, int], ...]
Values = Literal["noise", "counts"]

MAIN = "Measurement_000/Channel_000/Raw_Data"
"""Where a file has its first Main dataset, and a store its node."""

CHUNKS = (16, 16384)
"""Rows and columns of an HDF5 chunk."""

ITEMSIZE = 4
_MOST_CELLS = 2**32
_BATCH_BYTES = 8 * 2**20
_STEP = np.float32(2**-10)


@dataclass(frozen=True)
class Recipe:
    """What a Main dataset of float32 holds; a cell's value follows from its place and the seed.

    ``position`` and ``spectroscopic`` are names and sizes, slowest first. ``noise`` has 24 random
    bits in each value, which no codec shortens; ``counts`` are those of a detector, a smooth
    spectrum and a few counts of noise, in steps of 2**-10.
    """

    position: Dims
    spectroscopic: Dims
    values: Values = "noise"
    seed: int = 0

    def __post_init__(self) -> None:
        if math.prod(self.shape) > _MOST_CELLS:
            raise RefusedError(
                "--size",
                f"{format_size(self.size_bytes)}, expected {format_size(_MOST_CELLS * ITEMSIZE)} "
                "at most",
                "Give less: values would repeat.",
            )

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions, slowest first."""
        return tuple(name for name, _ in (*self.position, *self.spectroscopic))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions, slowest first."""
        return tuple(size for _, size in (*self.position, *self.spectroscopic))

    @property
    def is_position(self) -> tuple[bool, ...]:
        """Which dimensions are Position dimensions."""
        return (True,) * len(self.position) + (False,) * len(self.spectroscopic)

    @property
    def n_rows(self) -> int:
        """Number of positions: rows of the Main dataset."""
        return math.prod(size for _, size in self.position)

    @property
    def n_columns(self) -> int:
        """Number of spectroscopic points: columns of the Main dataset."""
        return math.prod(size for _, size in self.spectroscopic)

    @property
    def size_bytes(self) -> int:
        """Bytes of all cells."""
        return math.prod(self.shape) * ITEMSIZE

    @cached_property
    def _amplitudes(self) -> NDArray[np.float32]:
        phase = np.arange(self.n_rows) * (2 * np.pi * 3 / self.n_rows)
        amplitudes: NDArray[np.float32] = (1.5 + np.sin(phase)).astype(np.float32)
        return amplitudes

    @cached_property
    def _spectrum(self) -> NDArray[np.float32]:
        detuning = np.linspace(-4, 4, self.n_columns)
        return (8000 / (1 + detuning**2)).astype(np.float32)

    def table(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return a rectangle of the Main dataset, ``(rows, columns)``, float32, C order."""
        return self._cells(np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop))

    def cells(self, region: Region) -> NDArray[np.float32]:
        """Return a region of the N-D form, float32, C order; slices have a start and a stop."""
        n_position = len(self.position)
        rows = _flat_indices(region[:n_position], self.shape[:n_position])
        columns = _flat_indices(region[n_position:], self.shape[n_position:])
        return self._cells(rows, columns).reshape([part.stop - part.start for part in region])

    def _cells(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        start = (rows * self.n_columns).astype(np.uint32)
        bits = start[:, None] + columns.astype(np.uint32)
        _scramble(bits, self.seed)
        if self.values == "noise":
            noise = (bits >> np.uint32(8)).astype(np.float32)
            noise *= np.float32(2**-24)
            return noise
        triangle = (bits >> np.uint32(16)).astype(np.float32)
        triangle -= (bits & np.uint32(0xFFFF)).astype(np.float32)  # about +-65000, most often small
        triangle *= np.float32(2**-12)
        counts: NDArray[np.float32] = np.outer(self._amplitudes[rows], self._spectrum[columns])
        counts += triangle
        np.rint(counts, out=counts)
        counts *= _STEP
        return counts


def _flat_indices(region: Region, shape: tuple[int, ...]) -> NDArray[np.int64]:
    flat = np.zeros((), np.int64)
    for part, size in zip(region, shape, strict=True):
        flat = flat[..., None] * size + np.arange(part.start, part.stop)
    return flat.reshape(-1)


def _scramble(bits: NDArray[np.uint32], seed: int) -> None:
    """Make numbers random in place: a one-to-one map of 32 bits in which every bit counts."""
    bits ^= np.uint32((seed * 0x9E3779B9 + 0x7F4A7C15) % 2**32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits ^= bits >> np.uint32(shift)
        bits *= np.uint32(factor)
    bits ^= bits >> np.uint32(16)


def near_square(n: int) -> tuple[int, int]:
    """Return rows and columns of a raster of about ``n`` positions; columns are a power of two."""
    columns = 2 ** max((max(n, 4).bit_length() - 1) // 2, 1)
    return max(n // columns, 2), columns


def recipe_for(
    size_bytes: int, spectroscopic: Dims, *, values: Values = "noise", seed: int = 0
) -> Recipe:
    """Return the recipe of a raster of spectra of about a size, at least 2 x 2 of them."""
    n_columns = math.prod(size for _, size in spectroscopic)
    rows, columns = near_square(size_bytes // (n_columns * ITEMSIZE))
    return Recipe((("Y", rows), ("X", columns)), spectroscopic, values, seed)


def write_file(
    path: Path,
    recipe: Recipe,
    *,
    chunks: tuple[int, int] | None = None,
    compression: str | None = None,
    n_channels: int = 1,
) -> Path:
    """Write an h5USID file, flush it to disk, and return its path.

    Parameters
    ----------
    path
        Where it goes; what is there is replaced.
    recipe
        What each Main dataset holds; further channels have the next seeds.
    chunks, compression
        Of the HDF5 dataset; contiguous without chunks. What is compressed is shuffled first.
    n_channels
        How many Channel groups there are, each with a Main dataset and tables of its own.
    """
    with h5py.File(path, "w") as file:
        for number in range(n_channels):
            group = file.create_group(f"Measurement_000/Channel_{number:03d}")
            main = group.create_dataset(
                "Raw_Data",
                (recipe.n_rows, recipe.n_columns),
                "<f4",
                chunks=chunks and (min(chunks[0], recipe.n_rows), min(chunks[1], recipe.n_columns)),
                compression=compression,
                shuffle=compression is not None,
            )
            main.attrs["quantity"], main.attrs["units"] = "Current", "nA"
            _write_tables(main, "Position", recipe.position, "um")
            _write_tables(main, "Spectroscopic", recipe.spectroscopic, "V")
            _fill(main, replace(recipe, seed=recipe.seed + number))
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    return path


def _write_tables(main: h5py.Dataset, side: str, dims: Dims, units: str) -> None:
    """Write Indices and Values of a side, fastest dimension first, and point the Main at them."""
    sizes = [size for _, size in dims]
    indices = np.indices(sizes).reshape(len(sizes), -1)[::-1]
    tables = {"Indices": indices.astype("u4"), "Values": (indices * 0.5).astype("f4")}
    for kind, table in tables.items():
        rows = table.T if side == "Position" else table
        dataset = main.parent.create_dataset(f"{side}_{kind}", data=rows)
        dataset.attrs["labels"] = np.array([name for name, _ in reversed(dims)], dtype="S")
        dataset.attrs["units"] = np.array([units] * len(dims), dtype="S")
        main.attrs[f"{side}_{kind}"] = dataset.ref


def _fill(main: h5py.Dataset, recipe: Recipe) -> None:
    """Write all cells, a few MiB at a time; values are made in two threads."""
    columns = slice(0, recipe.n_columns)
    with ThreadPoolExecutor(2) as pool:
        for batch in _batches(recipe):
            for rows, cells in zip(
                batch, pool.map(lambda rows: recipe.table(rows, columns), batch), strict=True
            ):
                main[rows] = cells


def _batches(recipe: Recipe) -> Iterator[list[slice]]:
    row_bytes = recipe.n_columns * ITEMSIZE
    step = max(_BATCH_BYTES // row_bytes // CHUNKS[0], 1) * CHUNKS[0]
    rows = [slice(at, min(at + step, recipe.n_rows)) for at in range(0, recipe.n_rows, step)]
    for first in range(0, len(rows), 4):
        yield rows[first : first + 4]
