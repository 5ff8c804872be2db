"""Whether a store holds what its recipe says: every cell, or some that the seed chooses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from benchmarks.data import Recipe, Region
from usid_tasks.errors import VerificationError

REMEDY = "The times of this run mean nothing: find out which side is wrong."

WHOLE_BYTES = 256 * 2**20
"""Arrays up to this size are compared whole after every run."""

_N_CELLS = 16
_PIECE_CELLS = 2**22


def check_array(
    folder: Path,
    recipe: Recipe,
    *,
    is_whole: bool,
    dims: Sequence[str] | None = None,
    chunks: Sequence[int] | None = None,
) -> None:
    """Compare an array of a Zarr store with its recipe, by plain zarr-python.

    Parameters
    ----------
    folder
        Where the array's ``zarr.json`` lies.
    recipe
        What it has to hold.
    is_whole
        Whether every cell is compared; otherwise 16, one in each sixteenth of the slowest
        dimension, unless the array is small.
    dims
        Names of the array's dimensions, slowest first; those of the recipe if None.
    chunks
        What the array has to be stored in, if that matters.

    Raises
    ------
    VerificationError
        If shape, type, chunks or a value is another.
    """
    order = [recipe.dims.index(name) for name in dims or recipe.dims]
    shape = tuple(recipe.shape[number] for number in order)
    array = zarr.open_array(folder, mode="r")
    if array.shape != shape or array.dtype != np.float32:
        found = f"{array.dtype} {array.shape}, expected float32 {shape}"
        raise VerificationError(folder.name, found, REMEDY)
    if chunks is not None and array.chunks != tuple(chunks):
        found = f"is in chunks {array.chunks}, expected {tuple(chunks)}"
        raise VerificationError(folder.name, found, REMEDY)
    if is_whole or recipe.size_bytes <= WHOLE_BYTES:
        regions = _grid(shape, array.shards or array.chunks)
    else:
        regions = _seeded_cells(shape, recipe.seed)

    def check(region: Region) -> None:
        found = np.asarray(array[region])
        for piece in _pieces(region):
            start = piece[0].start - region[0].start
            part = found[start : start + piece[0].stop - piece[0].start]
            if not np.array_equal(part, _expected(recipe, order, piece)):
                where = tuple(each.start for each in piece)
                raise VerificationError(
                    folder.name, f"the cells from {where} on are not those of the source", REMEDY
                )

    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(check, regions):
            pass


def _expected(recipe: Recipe, order: Sequence[int], region: Region) -> NDArray[np.float32]:
    """Return a region of the array: its dimensions are those of the recipe in another order."""
    of_recipe = tuple(region[order.index(number)] for number in range(len(order)))
    return recipe.cells(of_recipe).transpose(order)


def _grid(shape: tuple[int, ...], edges: tuple[int, ...]) -> Iterator[Region]:
    starts = [range(0, size, edge) for size, edge in zip(shape, edges, strict=True)]
    for corner in itertools.product(*starts):
        yield tuple(
            slice(at, min(at + edge, size))
            for at, edge, size in zip(corner, edges, shape, strict=True)
        )


def _seeded_cells(shape: tuple[int, ...], seed: int) -> Iterator[Region]:
    random = np.random.default_rng(seed)
    first, *others = shape
    for number in range(_N_CELLS):
        row = int((number + random.random()) * first / _N_CELLS)
        cell = (row, *(int(random.integers(size)) for size in others))
        yield tuple(slice(at, at + 1) for at in cell)


def _pieces(region: Region) -> Iterator[Region]:
    """Yield slabs of a region, so that what is compared with it stays small."""
    first, *others = region
    cells = int(np.prod([part.stop - part.start for part in others], dtype=np.int64))
    step = max(_PIECE_CELLS // max(cells, 1), 1)
    for at in range(first.start, first.stop, step):
        yield (slice(at, min(at + step, first.stop)), *others)
