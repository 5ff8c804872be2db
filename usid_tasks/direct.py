"""Values of a dataset read straight from its file, past HDF5's global lock.

Contiguous datasets are read by their offset, chunked ones by the chunk index, with the common
filters undone here. Reads use ``preadv``, never a memory map: a file cut short is an error, not a
signal. Where cells stay together they are read right into the array of the block, others by way
of a small buffer. What cannot be read so (other filters, virtual or external storage, types whose
bytes NumPy does not share) is read by h5py, for a reason that is told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from usid_tasks.chunked import NEVER_WRITTEN, ChunkIndex
from usid_tasks.extents import Plain, read_extents, read_right
from usid_tasks.filters import Filter
from usid_tasks.loops import Window
from usid_tasks.outputs import WINDOW_BYTES, Outputs
from usid_tasks.reading_cost import ReadCount, Stored
from usid_tasks.regions import Side
from usid_tasks.storage import why_not
from usid_tasks.usid import open_hdf5, open_object


@dataclass(frozen=True)
class Direct:
    """Where the bytes of a 2-D dataset lie in its file.

    ``offset`` is that of a contiguous dataset; a chunked one has an ``index``.
    """

    path: str
    shape: tuple[int, int]
    dtype: np.dtype
    offset: int = 0
    index: ChunkIndex | None = None

    @property
    def way(self) -> str:
        """How it is read, as a person would say it."""
        if self.index is None:
            return "by offset"
        return ", ".join(["by chunk index", *(each.name for each in self.index.filters)])

    @property
    def stored(self) -> Stored:
        """What the cost of reading follows from."""
        edges = None if self.index is None else self.index.edges
        return Stored(self.shape, self.dtype.itemsize, edges)

    @property
    def window_bytes(self) -> int:
        """What is copied at a time: a chunk, or a small buffer."""
        if self.index is not None:
            return self.index.chunk_bytes
        return max(WINDOW_BYTES, self.dtype.itemsize)

    @property
    def memory_bytes(self) -> int:
        """What reading takes besides the block: the chunk index, and the buffers of a thread."""
        return self.window_bytes if self.index is None else self.index.memory_bytes

    def read(self, fd: int, rows: Side, columns: Side, outputs: Outputs) -> ReadCount:
        """Fill the cells of some rows and columns, and return what was read.

        Raises
        ------
        OSError
            If the file ends before the values do, or a chunk is damaged.
        """
        if self.index is not None:
            return self.index.read(fd, rows, columns, outputs)
        plain = Plain(self.offset, self.shape[1], self.dtype.itemsize)
        is_stored = outputs.as_stored(self.dtype) is not None
        if is_stored and plain.is_read_right([rows], [columns], outputs.shape):
            extents = plain.extents(rows, columns, outputs.shape)
            read_right(fd, self.path, extents, outputs, self.dtype)
            return self.stored.count(rows, columns)

        def fill(data: NDArray[np.uint8], some_rows: Window, some_columns: Window) -> None:
            read_extents(fd, self.path, plain.packed(some_rows, some_columns), data)

        return outputs.put_windows(self.stored, self.dtype, rows, columns, fill)


def locate(dataset: h5py.Dataset, path: str) -> Direct | None:
    """Return where an open dataset's bytes lie, None where :func:`why_not` has a reason."""
    if why_not(dataset):
        return None
    shape, dtype = dataset.shape, dataset.id.get_type().dtype
    if dataset.chunks is None:
        return Direct(path, shape, dtype, dataset.id.get_offset())
    plist = dataset.id.get_create_plist()
    filters = tuple(
        Filter(int(plist.get_filter(index)[0]), tuple(plist.get_filter(index)[2]))
        for index in range(plist.get_nfilters())
    )
    chunks = dataset.chunks
    counts = tuple(-(-size // edge) for size, edge in zip(shape, chunks, strict=True))
    addresses = np.full(counts, NEVER_WRITTEN, np.int64)
    sizes = np.zeros(counts, np.int64)
    skipped = np.zeros(counts, np.uint32)

    def note(chunk: Any) -> None:
        place = (chunk.chunk_offset[0] // chunks[0], chunk.chunk_offset[1] // chunks[1])
        addresses[place] = chunk.byte_offset
        sizes[place] = chunk.size
        skipped[place] = chunk.filter_mask

    dataset.id.chunk_iter(note)
    index = ChunkIndex(path, dtype, chunks, filters, dataset.fillvalue, addresses, sizes, skipped)
    return Direct(path, shape, dtype, 0, index)


@lru_cache(maxsize=16)
def _located(path: str, dataset: str, looks: tuple[int, int, int]) -> Direct | None:
    del looks  # a file that has changed is looked at anew
    with open_hdf5(path) as file:
        return locate(open_object(file, dataset), path)


def located(path: str, dataset: str) -> Direct | None:
    """Return where the bytes of a dataset lie, None where h5py has to read it."""
    status = Path(path).stat()
    return _located(path, dataset, (status.st_size, status.st_mtime_ns, status.st_ino))


@contextmanager
def open_direct(path: str, dataset: str) -> Iterator[tuple[Direct, int] | None]:
    """Give where a dataset's bytes lie and a file descriptor, None where h5py has to read it."""
    direct = located(path, dataset)
    if direct is None:
        yield None
        return
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        yield direct, fd
    finally:
        os.close(fd)
