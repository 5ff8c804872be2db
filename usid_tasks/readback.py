"""Seeded cells of a finished store, checked against the source by its index tables.

This shares nothing with the code that places cells: no grid, no placement, no tree. It reads
the 2-D dataset, its tables and the store, and asks of random cells whether value and axes at
the place that the indices name are those of the file.
"""

from __future__ import annotations

import importlib
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from usid_tasks.errors import VerificationError

if TYPE_CHECKING:
    import zarr

_REMEDY = "Nothing was published. Keep the source and report it with this message."


@dataclass(frozen=True)
class _Table:
    """One side of a Main dataset: its tables with points as rows, its names in the store."""

    indices: NDArray
    values: NDArray
    names: Sequence[str]
    flat: str | None
    sorted_indices: Sequence[NDArray]

    def places(self, point: int) -> dict[str, int]:
        """Return the index along each dimension of the store where a point must be."""
        if self.flat:
            return {self.flat: point}
        return {
            name: int(np.searchsorted(ordered, column[point]))
            for name, column, ordered in zip(
                self.names, self.indices.T, self.sorted_indices, strict=True
            )
        }


_SMALL_BYTES = 2**20


class _Stored:
    """An array of the store; a small one is read once, of another the chunk that was last read."""

    def __init__(self, array: zarr.Array) -> None:
        self.attrs: dict[str, Any] = dict(array.attrs)
        self.dims: tuple[str, ...] = getattr(array.metadata, "dimension_names", None) or ()
        self._array = array
        self._corner: tuple[int, ...] | None = None
        self._cells: Any = array[...] if array.nbytes <= _SMALL_BYTES else None
        self._is_small = self._cells is not None

    def at(self, places: dict[str, int]) -> Any:
        """Return the cell (all its inner values, if it is an array itself)."""
        index = tuple(places[name] for name in self.dims if name in places)
        if self._is_small:
            return self._cells[index]
        chunk = self._array.chunks
        corner = tuple(at // edge * edge for at, edge in zip(index, chunk, strict=False))
        if corner != self._corner:
            part = tuple(slice(at, at + edge) for at, edge in zip(corner, chunk, strict=False))
            self._corner, self._cells = corner, self._array[part]
        return self._cells[tuple(at - low for at, low in zip(index, corner, strict=True))]


_NEIGHBOURS = 8
"""Cells that are looked at in each rectangle, so that an HDF5 chunk is decoded once for them."""

_RECTANGLE = (16, 1024)


def _cells(
    data: h5py.Dataset, n_cells: int, chosen: random.Random
) -> Iterator[tuple[int, int, Any]]:
    """Yield random cells of a 2-D dataset with their row and column, some of a rectangle each."""
    edges = data.chunks or _RECTANGLE
    left = n_cells
    while left:
        corner, ends = [], []
        for n, edge, most in zip(data.shape, edges, _RECTANGLE, strict=True):
            at = chosen.randrange(n)
            corner.append(max(at // edge * edge, at - most // 2))
            ends.append(min((at // edge + 1) * edge, n, corner[-1] + most))
        cells = data[corner[0] : ends[0], corner[1] : ends[1]]
        for _ in range(min(_NEIGHBOURS, left)):
            row, column = (chosen.randrange(a, b) for a, b in zip(corner, ends, strict=True))
            yield row, column, cells[row - corner[0], column - corner[1]]
            left -= 1


def _is_same(left: Any, right: Any) -> bool:
    return np.asarray(left).tobytes() == np.asarray(right, dtype=np.asarray(left).dtype).tobytes()


def make_ready() -> None:
    """Import beside other work what :func:`check_cells` needs: it takes longer than the check."""
    threading.Thread(target=importlib.import_module, args=("zarr",), daemon=True).start()


def check_cells(
    source: Path | str, main: str, store: Path, node: str, *, n_cells: int, seed: int
) -> int:
    """Compare ``n_cells`` random cells and their axes; return how many were compared.

    Parameters
    ----------
    source, main
        File and HDF5 path of the Main dataset.
    store, node
        Folder of the store and path of the node in it.
    n_cells, seed
        How many cells, chosen by this seed.

    Raises
    ------
    VerificationError
        Naming the cell, what the source has there and what the store has.
    """
    import zarr  # see make_ready

    group = zarr.open_group(store, path=node.strip("/"), mode="r")
    attrs: dict[str, Any] = group.attrs.asdict()
    sides: dict[str, Any] = attrs["usid_sides"]
    arrays = {name: _Stored(array) for name, array in group.arrays()}
    chosen = random.Random(seed)  # noqa: S311  a sample, no secret
    with h5py.File(source, "r") as file:
        data = file[main.encode("utf-8", "surrogateescape")]
        tables = []
        for name, side in sides.items():
            pair = [
                file[side[kind].encode("utf-8", "surrogateescape")][()]
                for kind in ("indices", "values")
            ]
            if name == "spectroscopic":
                pair = [table.T for table in pair]
            flat = name if side["form"] == "flat" else None
            distinct = [np.unique(column) for column in pair[0].T]
            tables.append(_Table(pair[0], pair[1], side["dimensions"], flat, distinct))
        if 0 in data.shape:
            return 0
        for row, column, cell in _cells(data, n_cells, chosen):
            places = {**tables[0].places(row), **tables[1].places(column)}
            where = f"{source}:{main}[{row}, {column}]"
            for name, array in arrays.items():
                if array.attrs.get("usid_role") == "main":
                    expected = cell
                    for part in array.attrs.get("usid_field", []):
                        expected = expected[part]
                    _compare(where, name, expected, array.at(places))
                elif array.attrs.get("usid_role") == "valid":
                    _compare(where, name, True, array.at(places))  # noqa: FBT003
            for table, point in zip(tables, (row, column), strict=True):
                for number, name in enumerate(table.names):
                    held = arrays[name]
                    if held.attrs.get("usid_axis") == "index":
                        held = next(
                            other
                            for other in arrays.values()
                            if other.attrs.get("usid_values_of") == name
                        )
                    _compare(where, name, table.values[point, number], held.at(places))
    return n_cells


def _compare(where: str, name: str, expected: Any, found: Any) -> None:
    if not _is_same(expected, found) and not (expected is True and bool(found)):
        raise VerificationError(
            where, f"{name} is {found!r} in the store, expected {expected!r}", _REMEDY
        )
