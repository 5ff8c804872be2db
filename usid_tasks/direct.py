"""Values of a dataset read straight from its file, past HDF5's global lock.

Contiguous datasets are read by their offset, chunked ones by the chunk index, with the common
filters undone here: shuffle, deflate, Fletcher-32 (its checksum is verified), Zstandard and Blosc.
Reads use ``pread``, never a memory map: a file cut short is an error, not a signal. What cannot be
read so (other filters, virtual or external storage, types whose bytes NumPy does not share) is
read by h5py, for a reason that is told.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from isal import igzip_lib, isal_zlib
from numcodecs import Blosc, Fletcher32, Shuffle, Zstd
from numpy.typing import NDArray

from usid_tasks.storage import BLOSC, DECODED_HERE, DEFLATE, FLETCHER32, SHUFFLE, ZSTD, why_not
from usid_tasks.usid import open_hdf5, open_object

_SPAN_BYTES = 4 * 2**20
_NEVER_WRITTEN = -1


@dataclass(frozen=True)
class Filter:
    """One filter of the pipeline, by its registered number, with its parameters."""

    number: int
    values: tuple[int, ...]

    def undo(self, data: Any, size: int) -> Any:
        """Return the bytes before this filter; ``size`` is what the whole chunk comes to.

        Raises
        ------
        ValueError, RuntimeError, OSError
            If the bytes are damaged.
        """
        if self.number == DEFLATE:
            try:
                return isal_zlib.decompress(data, bufsize=size)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub lacks the base
                raise OSError(f"a chunk cannot be inflated: {error}") from error
        if self.number == SHUFFLE:
            itemsize = self.values[0]
            return data if itemsize <= 1 else Shuffle(itemsize).decode(data)
        if self.number == FLETCHER32:
            try:
                return Fletcher32().decode(data)
            except RuntimeError as error:
                raise OSError(f"a chunk does not match its checksum: {error}") from error
        if self.number == ZSTD:
            return Zstd().decode(data)
        if self.number == BLOSC:
            return Blosc().decode(data)
        raise OSError(f"the filter {self.number} is not decoded here")


@dataclass(frozen=True)
class Direct:
    """Where the bytes of a 2-D dataset lie in its file.

    ``offset`` is that of a contiguous dataset. Of a chunked one, ``addresses`` and ``sizes`` are
    ``(chunk rows, chunk columns)`` in bytes (address -1: never written, reads as ``fill``) and
    ``skipped`` the filters left out of each chunk, a bit each.
    """

    path: str
    shape: tuple[int, int]
    dtype: np.dtype
    offset: int = 0
    chunks: tuple[int, int] | None = None
    filters: tuple[Filter, ...] = ()
    fill: Any = 0
    addresses: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    skipped: NDArray[np.uint32] = field(default_factory=lambda: np.empty((0, 0), np.uint32))

    @property
    def way(self) -> str:
        """How it is read, as a person would say it."""
        if self.chunks is None:
            return "by offset"
        filters = ", ".join(DECODED_HERE[each.number] for each in self.filters)
        return f"by chunk index{', ' if filters else ''}{filters}"

    def read(self, fd: int, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray:
        """Return a rectangle, ``(rows, columns)`` in the file's own type and byte order.

        Raises
        ------
        OSError
            If the file ends before the values do, or a chunk is damaged.
        """
        shape = (rows[1] - rows[0], columns[1] - columns[0])
        if self.chunks is None:
            return self._contiguous(fd, rows, columns)
        out = np.empty(shape, self.dtype)
        for place, chunk in self._chunks(fd, rows, columns):
            top, left = (index * edge for index, edge in zip(place, self.chunks, strict=True))
            first, last = max(rows[0], top), min(rows[1], top + self.chunks[0])
            begin, end = max(columns[0], left), min(columns[1], left + self.chunks[1])
            target = out[first - rows[0] : last - rows[0], begin - columns[0] : end - columns[0]]
            if chunk is None:
                target[...] = self.fill
            else:
                target[...] = chunk[first - top : last - top, begin - left : end - left]
        return out

    def _contiguous(self, fd: int, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray:
        itemsize, width = self.dtype.itemsize, self.shape[1]
        n_rows, n_columns = rows[1] - rows[0], columns[1] - columns[0]
        start = self.offset + rows[0] * width * itemsize
        if 2 * n_columns > width or n_rows == 1:
            whole = np.empty((n_rows, width), self.dtype)
            if n_columns == width:
                _read_into(fd, whole, start, self.path)
                return whole
            if n_rows > 1:
                _read_into(fd, whole, start, self.path)
                return whole[:, columns[0] : columns[1]]
        out = np.empty((n_rows, n_columns), self.dtype)
        start += columns[0] * itemsize
        for number in range(n_rows):
            _read_into(fd, out[number], start + number * width * itemsize, self.path)
        return out

    def _chunks(
        self, fd: int, rows: tuple[int, int], columns: tuple[int, int]
    ) -> Iterator[tuple[tuple[int, int], NDArray | None]]:
        """Yield each chunk of a rectangle with its place, in the order of the file."""
        assert self.chunks is not None, "only chunked datasets have chunks"
        rectangle = tuple(
            slice(start // edge, -(-stop // edge))
            for (start, stop), edge in zip((rows, columns), self.chunks, strict=True)
        )
        addresses = self.addresses[rectangle]
        top, left = rectangle[0].start, rectangle[1].start
        wide = addresses.shape[1]
        order = np.argsort(addresses, axis=None, kind="stable")
        flat = addresses.reshape(-1)[order]
        sizes = self.sizes[rectangle].reshape(-1)[order]
        skipped = self.skipped[rectangle].reshape(-1)[order]
        for first, last in _spans(flat, sizes):
            start = int(flat[first])
            if start == _NEVER_WRITTEN:
                for number in order[first:last].tolist():
                    yield (top + number // wide, left + number % wide), None
                continue
            span = np.empty(int(flat[last - 1] + sizes[last - 1]) - start, np.uint8)
            _read_into(fd, span, start, self.path)
            for entry in range(first, last):
                begin = int(flat[entry]) - start
                data = span[begin : begin + int(sizes[entry])]
                number = int(order[entry])
                place = (top + number // wide, left + number % wide)
                yield place, self._decode(data, int(skipped[entry]))

    def _decode(self, data: Any, skipped: int) -> NDArray:
        assert self.chunks is not None, "only chunked datasets have filters"
        size = math.prod(self.chunks) * self.dtype.itemsize
        for number in reversed(range(len(self.filters))):
            if not skipped >> number & 1:
                try:
                    data = self.filters[number].undo(data, size)
                except (ValueError, RuntimeError) as error:
                    raise OSError(f"{self.path}: a chunk cannot be decoded: {error}") from error
        raw = np.frombuffer(data, np.uint8)
        if raw.size != size:
            raise OSError(f"{self.path}: a chunk decodes to {raw.size} bytes, expected {size}")
        return raw.view(self.dtype).reshape(self.chunks)


def _spans(addresses: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield runs of chunks that lie one behind the other in the file, a few MiB at a time."""
    if not addresses.size:
        return
    ends = addresses + sizes
    is_never = addresses == _NEVER_WRITTEN
    joined = (addresses[1:] == ends[:-1]) | (is_never[1:] & is_never[:-1])
    first, held = 0, 0
    for entry in range(addresses.size):
        held += int(sizes[entry])
        is_last = entry == addresses.size - 1
        if is_last or not joined[entry] or held >= _SPAN_BYTES:
            yield first, entry + 1
            first, held = entry + 1, 0


def _read_into(fd: int, target: NDArray, offset: int, path: str) -> None:
    """Fill a contiguous array from the file."""
    view = memoryview(target.reshape(-1).view(np.uint8).data)
    done = 0
    while done < len(view):
        n_bytes = os.preadv(fd, [view[done:]], offset + done)
        if n_bytes == 0:
            raise OSError(
                f"{path}: the file ends at byte {offset + done}, {len(view) - done} bytes short"
            )
        done += n_bytes


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
    addresses = np.full(counts, _NEVER_WRITTEN, np.int64)
    sizes = np.zeros(counts, np.int64)
    skipped = np.zeros(counts, np.uint32)

    def note(chunk: Any) -> None:
        place = (chunk.chunk_offset[0] // chunks[0], chunk.chunk_offset[1] // chunks[1])
        addresses[place] = chunk.byte_offset
        sizes[place] = chunk.size
        skipped[place] = chunk.filter_mask

    dataset.id.chunk_iter(note)
    return Direct(
        path, shape, dtype, 0, chunks, filters, dataset.fillvalue, addresses, sizes, skipped
    )


@lru_cache(maxsize=64)
def _located(path: str, dataset: str, looks: tuple[int, int, int]) -> Direct | None:
    del looks  # a file that has changed is looked at anew
    with open_hdf5(path) as file:
        return locate(open_object(file, dataset), path)


@contextmanager
def open_direct(path: str, dataset: str) -> Iterator[tuple[Direct, int] | None]:
    """Give where a dataset's bytes lie and a file descriptor, None where h5py has to read it."""
    status = Path(path).stat()
    looks = (status.st_size, status.st_mtime_ns, status.st_ino)
    direct = _located(path, dataset, looks)
    if direct is None:
        yield None
        return
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        yield direct, fd
    finally:
        os.close(fd)
