"""The signals of an h5USID file on their way to another format: values by blocks, axes, metadata.

They are what :func:`usid_tasks.file_reader` reads lazily, so the formats that hold them agree
with it, and with one another, in values, axes, units and metadata.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.errors import FileBusyError, RefusedError
from usid_tasks.mains import Column
from usid_tasks.rosetta.dimensions import Dimension, Dimensions
from usid_tasks.rosetta.reader import file_reader
from usid_tasks.rosetta.restored import restore
from usid_tasks.sizes import format_size
from usid_tasks.tree import Tree, open_tree

Region = tuple[slice, ...]

COPIES = 4
"""Of a region in memory: as it is read, in C order, encoded, and on its way to the disk."""

_LARGEST_FACTOR = 3
"""A dimension is cut into more parts at once only where no other can be cut."""


@dataclass(frozen=True, eq=False)
class Signal:
    """One signal of a file; ``data`` is a Dask array that reads it by its path.

    ``dimensions`` are those of its Main dataset, with their exact Values.
    """

    data: Any
    axes: list[dict[str, Any]]
    metadata: dict[str, Any]
    original_metadata: dict[str, Any]
    dimensions: tuple[Dimension, ...]

    @property
    def title(self) -> str:
        """Title, unlike that of any other signal of the file."""
        return str(self.metadata["General"]["title"])

    @property
    def dataset(self) -> str:
        """HDF5 path of the Main dataset."""
        return str(self.original_metadata["dataset_path"])

    @property
    def component(self) -> str:
        """Component of a compound, empty for other datasets."""
        return str(self.original_metadata.get("component", ""))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes, slow to fast."""
        return tuple(int(size) for size in self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""
        dtype: np.dtype[Any] = self.data.dtype
        return dtype

    @property
    def size_bytes(self) -> int:
        """Bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def block(self) -> tuple[int, ...]:
        """Shape in which the values are best read, at least one cell."""
        return tuple(max(1, int(sizes[0])) if sizes else 1 for sizes in self.data.chunks)

    def read(self, region: Region) -> NDArray[Any]:
        """Return the values of a region, C order."""
        return np.ascontiguousarray(self.data[region].compute(scheduler="synchronous"))

    def dimension_of(self, axis: int) -> Dimension | None:
        """Return the dimension that an axis stands for; none where points fill no grid."""
        name = self.axes[axis]["name"]
        return next((one for one in self.dimensions if one.name == name), None)

    def values_of(self, axis: int) -> NDArray[Any]:
        """Return the exact Values along an axis, or a count where no vector can hold them.

        Shape ``(size,)``; of the type of the Values, or uint32.
        """
        dimension, size = self.dimension_of(axis), self.shape[axis]
        column = dimension.column if dimension is not None else None
        if column is None or not _is_vector(column, size):
            return np.arange(size, dtype=np.uint32)
        return np.ascontiguousarray(np.broadcast_to(column.values, (size,)))


def _is_vector(column: Column, size: int) -> bool:
    """Return True where the Values of a dimension depend on its own index alone."""
    values = column.values
    is_number = values.dtype.kind in "iuf" and values.dtype.itemsize <= 8
    return is_number and (values.shape == (size,) if size != 1 else values.size == 1)


@dataclass(frozen=True, eq=False)
class Signals:
    """All signals that are asked of a file, and what its reader had to say."""

    source: Path
    signals: tuple[Signal, ...]
    complaints: tuple[str, ...]
    n_other: int
    identity: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all values."""
        return sum(one.size_bytes for one in self.signals)

    @property
    def datasets(self) -> tuple[str, ...]:
        """HDF5 paths of the Main datasets, each once."""
        return tuple(dict.fromkeys(one.dataset for one in self.signals))

    def told(self, kind: str) -> tuple[str, ...]:
        """Return what a file of signals lacks of its source, a sentence each."""
        rest = {0: "", 1: ", and one other dataset"}.get(
            self.n_other, f", and {self.n_other} other datasets"
        )
        lost = f"{kind} holds signals: the order of acquisition{rest} stay in the source"
        return (*self.complaints, lost)

    def check_unchanged(self) -> None:
        """Raise FileBusyError if the file is not what it was when it was opened."""
        if _identity(self.source) != self.identity:
            raise FileBusyError(
                self.source, "changed while it was read", "Wait until its writer is done."
            )


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_signals(source: Path, datasets: Sequence[str]) -> Signals:
    """Return the signals of an h5USID file.

    Parameters
    ----------
    source
        The file.
    datasets
        HDF5 paths of the Main datasets to take; all where there is none.

    Raises
    ------
    NoMainDatasetError
        If one of ``datasets`` is no sound Main dataset, or there is none.
    NotHDF5Error, FileBusyError
        If the file cannot be opened.
    """
    identity = _identity(source) if source.exists() else ()
    wanted = ["/" + path.strip("/") for path in datasets]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = file_reader(source, lazy=True)
        there = {one["original_metadata"]["dataset_path"] for one in found}
        for path in wanted:
            if path not in there:
                file_reader(source, lazy=True, dataset_path=path)  # tells why there is none
    tree = open_tree(str(source))
    dimensions = {
        path: one for node_path in tree.nodes for path, one in _dimensions(tree, node_path)
    }
    taken = [
        Signal(
            one["data"], one["axes"], one["metadata"], one["original_metadata"],
            dimensions[one["original_metadata"]["dataset_path"]],
        )
        for one in found
        if not wanted or one["original_metadata"]["dataset_path"] in wanted
    ]  # fmt: skip
    complaints = (str(one.message) for one in caught if one.category is UserWarning)
    return Signals(source, tuple(taken), tuple(complaints), _count_others(tree), identity)


def _dimensions(tree: Tree, path: str) -> Iterator[tuple[str, tuple[Dimension, ...]]]:
    """Yield the dimensions of a Main dataset by its path in the file, and by that in the tree."""
    node = tree.nodes[path]
    if node.main is not None:
        restored, _ = restore(tree.file, node.main)
        found = Dimensions.of(node.main, is_of_signal=restored is not None).all
        yield node.hdf5_path, found
        yield path, found


def _count_others(tree: Tree) -> int:
    """Return how many datasets are neither a Main dataset nor a table of one."""
    mains = tree.file.mains
    tables = {
        table.dataset.path
        for path in mains
        for table in tree.file.record.candidates[path].ancillaries.values()
    }
    return len(tree.file.record.datasets.keys() - mains.keys() - tables)


@dataclass(frozen=True)
class Passage:
    """How the values of a signal go over: chunks of the target, and regions of whole chunks."""

    chunk: tuple[int, ...]
    region: tuple[int, ...]
    workers: int

    def regions(self, shape: Sequence[int]) -> Iterator[Region]:
        """Yield the regions of an array, C order."""
        starts = [range(0, n, edge) for n, edge in zip(shape, self.region, strict=True)]
        for corner in itertools.product(*starts):
            yield tuple(
                slice(at, min(at + edge, n))
                for at, edge, n in zip(corner, self.region, shape, strict=True)
            )


def passage_of(
    signal: Signal, *, chunk_bytes: int, memory_bytes: int, threads: int, copies: int = COPIES
) -> Passage:
    """Return how a signal goes over in the memory allowed.

    Parameters
    ----------
    signal
        What goes over.
    chunk_bytes
        Bytes of a chunk of the target, at most; smaller where there is little memory.
    memory_bytes, threads
        What may be used.
    copies
        How many copies of a region each thread holds.

    Raises
    ------
    RefusedError
        If a single value does not fit into the memory.
    """
    itemsize, shape = signal.dtype.itemsize, signal.shape
    room = memory_bytes // (copies * threads)
    chunk = chunk_within(signal.block, shape, itemsize, min(chunk_bytes, room))
    region = _region_within(signal.block, chunk, max(room // max(itemsize, 1), 1))
    size = math.prod(region) * itemsize
    workers = max(1, min(threads, memory_bytes // max(copies * size, 1)))
    if copies * size > memory_bytes:
        raise RefusedError(
            signal.dataset,
            f"needs {format_size(copies * size)} at least, expected "
            f"{format_size(memory_bytes)} at most",
            f"Give --memory {-(-copies * size // 2**20)}MiB.",
        )
    return Passage(chunk, region, workers)


def chunk_within(
    block: Sequence[int], shape: Sequence[int], itemsize: int, most_bytes: int
) -> tuple[int, ...]:
    """Return the shape of chunks that a block is made of, balanced over the dimensions.

    A chunk divides the block in every dimension that the block does not span.
    """
    chunk = [max(1, min(edge, size)) for edge, size in zip(block, shape, strict=True)]
    while math.prod(chunk) * itemsize > most_bytes and max(chunk, default=1) > 1:
        smaller = {
            at: -(-edge // 2) if block[at] >= shape[at] else edge // _smallest_factor(edge)
            for at, edge in enumerate(chunk)
            if edge > 1
        }
        gentle = [at for at, edge in smaller.items() if edge * _LARGEST_FACTOR >= chunk[at]]
        widest = max(gentle or smaller, key=lambda at: chunk[at])
        chunk[widest] = smaller[widest]
    return tuple(chunk)


def _smallest_factor(number: int) -> int:
    return next((k for k in range(2, math.isqrt(number) + 1) if number % k == 0), number)


def _region_within(block: Sequence[int], chunk: Sequence[int], most_cells: int) -> tuple[int, ...]:
    """Return the largest part of a block, slow dimensions cut first, of whole chunks."""
    region = [-(-edge // unit) * unit for edge, unit in zip(block, chunk, strict=True)]
    for at, unit in enumerate(chunk):
        while math.prod(region) > most_cells and region[at] > unit:
            region[at] = -(-region[at] // (2 * unit)) * unit
    return tuple(region)
