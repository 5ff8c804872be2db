"""Chunks of a dataset read by the chunk index, each decoded once for a block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.extents import Extent, Plain, read_extents, read_right
from usid_tasks.filters import Filter, decode
from usid_tasks.loops import Stretches
from usid_tasks.outputs import Outputs, Placed, buffer
from usid_tasks.reading_cost import ReadCount
from usid_tasks.regions import Side

SPAN_BYTES = 4 * 2**20
"""Encoded chunks that lie one behind the other are read together, up to this size."""

NEVER_WRITTEN = -1

_CHUNKS_AT_ONCE = 4096


class Bands:
    """The wanted rows (or columns) of some rows (or columns) of chunks.

    ``stretches`` has the wanted entries of each band where they are one stretch, counted from
    the first of the band; it is None where those of some band are more.
    """

    def __init__(self, side: Side, numbers: NDArray[np.int64], edge: int) -> None:
        self.numbers = numbers
        self.stretches: Stretches | None = side.stretches_in(numbers, edge)
        self._side, self._edge = side, edge
        self._parts: dict[int, list[Side]] = {}
        self._placed: dict[int, list[Placed]] = {}

    def parts(self, place: int) -> list[Side]:
        """Return the wanted entries of one band, as pieces that are copied one by one."""
        if place not in self._parts:
            first = int(self.numbers[place]) * self._edge
            sides = self._side.within(first, first + self._edge)
            self._parts[place] = [part for side in sides for part in side.parts()]
        return self._parts[place]

    def rows(self, place: int, outputs: Outputs, pitch: int) -> list[Placed]:
        """Return where the rows of one band are in a chunk, and where they go."""
        if place not in self._placed:
            self._placed[place] = outputs.rows(self.parts(place), pitch, self._edge)
        return self._placed[place]

    def columns(self, place: int, outputs: Outputs, pitch: int) -> list[Placed]:
        """Return where the columns of one band are in a chunk, and where they go."""
        if place not in self._placed:
            self._placed[place] = outputs.columns(self.parts(place), pitch, self._edge)
        return self._placed[place]


@dataclass(frozen=True)
class Batch:
    """Chunks where some bands cross, in the order of the file.

    ``address``, ``size`` and ``skipped`` have an entry for each chunk, as have ``row`` and
    ``column``: its places among the bands.
    """

    rows: Bands
    columns: Bands
    row: NDArray[np.intp]
    column: NDArray[np.intp]
    address: NDArray[np.int64]
    size: NDArray[np.int64]
    skipped: NDArray[np.uint32]


@dataclass(frozen=True)
class ChunkIndex:
    """Where the chunks of a 2-D dataset lie in its file, and how they are encoded.

    ``addresses`` and ``sizes`` are ``(chunk rows, chunk columns)`` in bytes (address -1: never
    written, reads as ``fill``), ``skipped`` the filters left out of each chunk, a bit each;
    ``edges`` is the shape of a chunk.
    """

    path: str
    dtype: np.dtype
    edges: tuple[int, int]
    filters: tuple[Filter, ...]
    fill: Any
    addresses: NDArray[np.int64]
    sizes: NDArray[np.int64]
    skipped: NDArray[np.uint32]

    @property
    def chunk_bytes(self) -> int:
        """Size of a chunk, decoded."""
        return math.prod(self.edges) * self.dtype.itemsize

    @property
    def memory_bytes(self) -> int:
        """What reading takes besides the block: the index, and the buffers of a thread."""
        index = self.addresses.nbytes + self.sizes.nbytes + self.skipped.nbytes
        index += 8 * sum(self.addresses.shape)
        if not self.filters:
            return index + self.chunk_bytes
        span = max(SPAN_BYTES, int(self.sizes.max(initial=0)))
        return index + span + min(len(self.filters), 2) * self.chunk_bytes

    def read(self, fd: int, rows: Side, columns: Side, outputs: Outputs) -> ReadCount:
        """Fill the cells of some rows and columns, and return what was read.

        Raises
        ------
        OSError
            If the file ends before a chunk does, or it cannot be decoded.
        """
        down, along = rows.bands(self.edges[0]), columns.bands(self.edges[1])
        step = max(1, _CHUNKS_AT_ONCE // along.size)
        for left in range(0, along.size, _CHUNKS_AT_ONCE):
            some_columns = Bands(columns, along[left : left + _CHUNKS_AT_ONCE], self.edges[1])
            for top in range(0, down.size, step):
                some_rows = Bands(rows, down[top : top + step], self.edges[0])
                self._read(fd, self._batch(some_rows, some_columns), outputs)
        n_chunks = down.size * along.size
        return ReadCount(n_chunks, n_chunks * self.chunk_bytes)

    def _batch(self, rows: Bands, columns: Bands) -> Batch:
        place = np.ix_(rows.numbers, columns.numbers)
        addresses = self.addresses[place].ravel()
        order = np.argsort(addresses, kind="stable")
        row, column = np.divmod(order, columns.numbers.size)
        sizes, skipped = self.sizes[place].ravel(), self.skipped[place].ravel()
        return Batch(rows, columns, row, column, addresses[order], sizes[order], skipped[order])

    def _read(self, fd: int, batch: Batch, outputs: Outputs) -> None:
        n_never = int(np.searchsorted(batch.address, NEVER_WRITTEN, side="right"))
        for number in range(n_never):
            outputs.put_value(self.fill, *self._placed(batch, number, outputs))
        if self.filters:
            self._read_encoded(fd, batch, n_never, outputs)
        else:
            self._read_plain(fd, batch, n_never, outputs)

    def _placed(
        self, batch: Batch, number: int, outputs: Outputs
    ) -> tuple[list[Placed], list[Placed]]:
        """Return where the rows and the columns of a chunk go."""
        itemsize = self.dtype.itemsize
        rows = batch.rows.rows(int(batch.row[number]), outputs, self.edges[1] * itemsize)
        return rows, batch.columns.columns(int(batch.column[number]), outputs, itemsize)

    def _read_encoded(self, fd: int, batch: Batch, first: int, outputs: Outputs) -> None:
        address, size, skipped = batch.address.tolist(), batch.size.tolist(), batch.skipped.tolist()
        whole = self._places(batch, outputs)
        for begin, end in _spans(address, size, first):
            start = address[begin]
            span = buffer("encoded", address[end - 1] + size[end - 1] - start)
            read_extents(fd, self.path, [(start, 0, span.size)], span)
            for number in range(begin, end):
                offset = address[number] - start
                data = span[offset : offset + size[number]]
                place = None if whole is None else whole[number]
                out = buffer("chunk", self.chunk_bytes) if place is None else place
                try:
                    found = decode(self.filters, skipped[number], data, self.chunk_bytes, out)
                except OSError as error:
                    where = f"{self.path}: a chunk at byte {address[number]}"
                    raise OSError(f"{where}: {error}") from error
                if place is None:
                    outputs.put(found, self.dtype, *self._placed(batch, number, outputs))
                elif not np.may_share_memory(found, place):
                    place[...] = found

    def _places(self, batch: Batch, outputs: Outputs) -> list[NDArray[np.uint8] | None] | None:
        """Return where each chunk goes as a whole, None where it does not; None if none does."""
        target = outputs.as_stored(self.dtype)
        rows, columns = batch.rows.stretches, batch.columns.stretches
        if target is None or rows is None or columns is None or outputs.is_swapped(self.dtype):
            return None
        if outputs.shape[1] != self.edges[1] or columns.lengths[0] != self.edges[1]:
            return None
        first = np.where(rows.lengths == self.edges[0], rows.targets, -1)[batch.row]
        pitch = self.edges[1] * self.dtype.itemsize
        return [
            None if place < 0 else target[place * pitch : place * pitch + self.chunk_bytes]
            for place in first.tolist()
        ]

    def _read_plain(self, fd: int, batch: Batch, first: int, outputs: Outputs) -> None:
        """Read chunks that have no filter: the rows wanted of each."""
        extents = self._single_runs(batch, first, outputs)
        if extents is not None:
            read_right(fd, self.path, extents, outputs, self.dtype)
            return
        pending: list[Extent] = []
        itemsize, is_stored = self.dtype.itemsize, outputs.as_stored(self.dtype) is not None
        for number in range(first, batch.address.size):
            address = int(batch.address[number])
            rows = batch.rows.parts(int(batch.row[number]))
            columns = batch.columns.parts(int(batch.column[number]))
            plain = Plain(address, self.edges[1], itemsize)
            if is_stored and plain.is_read_right(rows, columns, outputs.shape):
                for part in rows:
                    pending += plain.extents(part, columns[0], outputs.shape)
                if len(pending) >= _CHUNKS_AT_ONCE:
                    read_right(fd, self.path, pending, outputs, self.dtype)
                    pending = []
                continue
            top = min(part.hull[0] for part in rows)
            bottom = max(part.hull[1] for part in rows)
            pitch = self.edges[1] * itemsize
            data = buffer("chunk", self.chunk_bytes)
            extent = (address + top * pitch, top * pitch, (bottom - top) * pitch)
            read_extents(fd, self.path, [extent], data)
            outputs.put(data, self.dtype, *self._placed(batch, number, outputs))
        if pending:
            read_right(fd, self.path, pending, outputs, self.dtype)

    def _single_runs(self, batch: Batch, first: int, outputs: Outputs) -> Iterator[Extent] | None:
        """Return the runs to read where they are one of each chunk, None where they are more."""
        rows, columns = batch.rows.stretches, batch.columns.stretches
        if outputs.as_stored(self.dtype) is None or rows is None or columns is None:
            return None
        is_line = outputs.shape[1] == self.edges[1] == columns.lengths[0]
        if not is_line and int(rows.lengths.max()) > 1:
            return None
        row, column = batch.row[first:], batch.column[first:]
        cells = rows.firsts[row] * self.edges[1] + columns.firsts[column]
        places = rows.targets[row] * outputs.shape[1] + columns.targets[column]
        sizes = rows.lengths[row] * columns.lengths[column]
        offsets = batch.address[first:] + cells * self.dtype.itemsize
        lists = (places * self.dtype.itemsize).tolist(), (sizes * self.dtype.itemsize).tolist()
        return zip(offsets.tolist(), *lists, strict=True)


def _spans(address: Sequence[int], size: Sequence[int], first: int) -> Iterator[tuple[int, int]]:
    """Yield runs of chunks that lie one behind the other in the file, a few MiB at a time."""
    begin = first
    for number in range(first + 1, len(address) + 1):
        if (
            number == len(address)
            or address[number] != address[number - 1] + size[number - 1]
            or address[number] + size[number] - address[begin] > SPAN_BYTES
        ):
            yield begin, number
            begin = number
