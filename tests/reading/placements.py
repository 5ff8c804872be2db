"""Placements of every kind, and blocks read cell by cell from what a placement is defined as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st
from usid_files import distinct

from usid_tasks.grid import Placement
from usid_tasks.mains import components_of
from usid_tasks.source import MainSource

LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunks": {"chunks": True},
    "gzip": {"chunks": True, "compression": "gzip"},
    "shuffle, gzip": {"chunks": True, "compression": "gzip", "shuffle": True},
    "shuffle": {"chunks": True, "shuffle": True},
    "fletcher32": {"chunks": True, "fletcher32": True},
    "shuffle, lzf, fletcher32": {
        "chunks": True, "compression": "lzf", "shuffle": True, "fletcher32": True,
    },
}  # fmt: skip
"""How a dataset is stored; chunks of a shape of the test's own."""


def by_strides(shape: Sequence[int], loops: Sequence[int], backwards: Sequence[int]) -> Placement:
    """Return the placement of nested loops over the dimensions ``loops``, slowest first."""
    strides, start, step = [0] * len(shape), 0, 1
    for dim in reversed(loops):
        strides[dim] = step
        if dim in backwards:
            strides[dim] = -step
            start += (shape[dim] - 1) * step
        step *= shape[dim]
    strides = [0 if size == 1 else stride for size, stride in zip(shape, strides, strict=True)]
    return Placement(tuple(shape), prod(shape), start, tuple(strides))


def by_table(shape: Sequence[int], rows: np.ndarray) -> Placement:
    """Return the placement by a table of rows, -1 where nothing was measured."""
    table = np.asarray(rows, np.int64).ravel()
    return Placement(tuple(shape), int((table >= 0).sum()), rows=table)


def snake(shape: Sequence[int]) -> Placement:
    """Return a raster whose every other line was scanned backwards."""
    lines = np.arange(prod(shape)).reshape(-1, shape[-1]).copy()
    lines[1::2] = lines[1::2, ::-1]
    return by_table(shape, lines)


def interlaced(shape: Sequence[int]) -> Placement:
    """Return a raster whose odd lines were scanned after the even ones."""
    lines = np.empty((prod(shape[:-1]), shape[-1]), np.int64)
    count = np.arange(lines.size).reshape(lines.shape)
    half = -(-len(lines) // 2)
    lines[::2], lines[1::2] = count[:half], count[half:]
    return by_table(shape, lines)


def shuffled(shape: Sequence[int], seed: int) -> Placement:
    """Return cells in no order."""
    return by_table(shape, np.random.default_rng(seed).permutation(prod(shape)))


def sparse(shape: Sequence[int], seed: int) -> Placement:
    """Return a snake of which some cells were not measured."""
    rows = snake(shape).rows
    assert rows is not None
    gone = np.random.default_rng(seed).random(rows.size) < 0.3
    ranks = np.argsort(np.argsort(np.where(gone, rows + rows.size, rows)))
    return by_table(shape, np.where(gone, -1, ranks))


KINDS = ["strides", "snake", "interlaced", "shuffled", "sparse"]


@st.composite
def placements(draw: st.DrawFn, most: int = 60, kinds: Sequence[str] = KINDS) -> Placement:
    """One side of any shape and order, of at most this many rows."""
    shape: list[int] = []
    for _ in range(draw(st.integers(0, 3))):
        shape.append(draw(st.integers(1, min(17, max(1, most // prod(shape))))))
    kind = draw(st.sampled_from(kinds))
    if kind == "strides" or not shape:
        loops = draw(st.permutations(range(len(shape))))
        backwards = draw(st.lists(st.sampled_from(range(len(shape))))) if shape else []
        return by_strides(shape, loops, backwards)
    if kind == "snake":
        return snake(shape)
    if kind == "interlaced":
        return interlaced(shape)
    seed = draw(st.integers(0, 999))
    return shuffled(shape, seed) if kind == "shuffled" else sparse(shape, seed)


def row_of(placement: Placement, cell: Sequence[int]) -> int:
    """Return the row of one cell, -1 where it was not measured."""
    if placement.rows is None:
        steps = zip(cell, placement.strides, strict=True)
        return placement.start + sum(index * stride for index, stride in steps)
    number = 0
    for index, size in zip(cell, placement.shape, strict=True):
        number = number * size + index
    return int(placement.rows[number])


def rows_in(placement: Placement, region: Sequence[slice]) -> list[int]:
    """Return the rows of a region's cells one by one."""
    cells = product(*(range(part.start, part.stop) for part in region))
    return [row_of(placement, cell) for cell in cells]


def blocks(shape: Sequence[int], block: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the regions of a partition."""
    yield from product(
        *(
            [slice(first, min(first + edge, size)) for first in range(0, size, edge)]
            for size, edge in zip(shape, block, strict=True)
        )
    )


def write_source(
    path: Path,
    position: Placement,
    spectroscopic: Placement,
    dtype: Any = "<f4",
    **how: Any,
) -> tuple[MainSource, np.ndarray]:
    """Write a 2-D dataset, and return its source and its values."""
    values = distinct((position.n_rows, spectroscopic.n_rows), dtype)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=values, **how)
    parts = components_of(values.dtype)
    return MainSource(str(path), "data", position, spectroscopic, parts), values


def padding(dtype: np.dtype) -> Any:
    """Return what fills a cell that was not measured."""
    return np.nan if dtype.kind in "fc" else 0


def expected(source: MainSource, values: np.ndarray, region: Sequence[slice]) -> list[np.ndarray]:
    """Return each component of a region, cell by cell."""
    n_position = len(source.position.shape)
    rows = rows_in(source.position, region[:n_position])
    columns = rows_in(source.spectroscopic, region[n_position:])
    shape = tuple(part.stop - part.start for part in region)
    found = []
    for part in source.components:
        cells = values
        for name in part.field:
            cells = cells[name]
        out = np.full((len(rows), len(columns), *part.subshape), padding(part.dtype), part.dtype)
        for place, row in enumerate(rows):
            for along, column in enumerate(columns):
                if row >= 0 and column >= 0:
                    out[place, along] = cells[row, column]
        found.append(out.reshape(shape + part.subshape))
    return found


def empty_blocks(source: MainSource, region: Sequence[slice]) -> list[np.ndarray]:
    """Return arrays for a region, filled with what must not be left in them."""
    shape = tuple(part.stop - part.start for part in region)
    return [
        np.frombuffer(
            b"\x55" * (prod(shape + part.subshape) * part.dtype.itemsize), part.dtype
        ).reshape(shape + part.subshape).copy()
        for part in source.components
    ]  # fmt: skip
