"""Zarr 3 arrays as files: chunks read and written one by one, in buffers that are given.

zarr-python reads the shards of a region all at once; here one chunk at a time is in memory,
besides the block. What is written opens with any reader of Zarr 3. A chunk that is not there is an
error, never a fill value.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, NoReturn

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from usid_tasks import durable
from usid_tasks.codecs import Codec, Coder, from_document
from usid_tasks.documents import sharding
from usid_tasks.errors import RefusedError, UsidError, VerificationError
from usid_tasks.model import JSON

_NOT_THERE = 2**64 - 1
_ENTRY_BYTES = 16
_CRC_BYTES = 4
_REMEDY = "Check the store with `usid verify`, and convert its source again."

Index = tuple[int, ...]
Region = tuple[slice, ...]


def buffer_of(size_bytes: int) -> NDArray[np.uint8]:
    """Return memory that goes back to the system at once when it is let go, unlike malloc's."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    held = mmap.mmap(-1, max(size_bytes, 1), flags=flags)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            held.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(held, np.uint8)


class Scratch:
    """The buffers of one worker: a decoded chunk, and for a while a second and an encoded one."""

    def __init__(self, chunk_bytes: int) -> None:
        self._decoded = buffer_of(chunk_bytes)
        self._second: NDArray[np.uint8] | None = None
        self._encoded: NDArray[np.uint8] | None = None

    def release(self) -> None:
        """Let the second and the encoded buffer go, until one is asked for."""
        self._second = self._encoded = None

    def second(self, size_bytes: int) -> NDArray[np.uint8]:
        """Return the buffer of what is compared with a chunk."""
        if self._second is None or self._second.size < size_bytes:
            self._second = buffer_of(size_bytes)
        return self._second[:size_bytes]

    def chunk(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the decoded buffer as a chunk, C order; it holds what was there before."""
        size = math.prod(shape) * dtype.itemsize
        return self._decoded[:size].view(dtype).reshape(shape)

    def encoded(self, size_bytes: int) -> memoryview:
        """Return the encoded buffer, cut to a size."""
        if self._encoded is None or self._encoded.size < size_bytes:
            self._encoded = None  # let the smaller one go first
            self._encoded = buffer_of(size_bytes)
        return self._encoded[:size_bytes].data


@dataclass(frozen=True)
class ShardedArray:
    """An array of a Zarr 3 store by its metadata document.

    ``chunk`` is what is decoded at once, ``shard`` what a file holds: one chunk, or, where
    ``is_sharded``, chunks and their index.
    """

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    codec: Codec
    is_sharded: bool
    is_index_last: bool = True
    coder: Coder | None = field(default=None, compare=False)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.chunk) * self.dtype.itemsize

    @property
    def per_shard(self) -> tuple[int, ...]:
        """Chunks of a shard, by dimension."""
        return tuple(s // c for s, c in zip(self.shard, self.chunk, strict=True))

    def file(self, shard: Index) -> Path:
        """Return the path of a shard."""
        return self.folder.joinpath("c", *map(str, shard))

    def shards_in(self, region: Region) -> Iterator[Index]:
        """Yield the shards that a region lies in."""
        yield from _numbers(region, self.shard)

    def has(self, region: Region) -> bool:
        """Return whether there is a file that is not empty for every shard of a region."""
        files = map(self.file, self.shards_in(region))
        return all(file.is_file() and file.stat().st_size > 0 for file in files)

    def read(self, region: Region, block: NDArray[Any], scratch: Scratch) -> int:
        """Read a region into a block of its shape, and return how many chunks were decoded."""
        n_chunks = 0
        for shard in self.shards_in(region):
            for part, chunk in self._chunks(shard, region, scratch):
                block[_within(part, region)] = chunk
                n_chunks += 1
        return n_chunks

    def write(
        self,
        region: Region,
        block: NDArray[Any],
        scratch: Scratch,
        *,
        is_verified: bool = True,
        told: Callable[[Region, NDArray[Any]], None] | None = None,
    ) -> int:
        """Write whole shards from a block, and return how many chunks were encoded.

        Parameters
        ----------
        region, block
            Where the cells lie in the array, and their values.
        scratch
            Buffers.
        is_verified
            Whether each chunk is read from its file again, decoded, and compared bit for bit.
        told
            Given the cells of every chunk, while they are in the processor's cache.

        Raises
        ------
        VerificationError
            If a chunk does not read back as it was written.
        UsidError
            If the disk does not take them.
        """
        n_chunks = 0
        for shard in self.shards_in(region):
            file = self.file(shard)
            durable.make_folders(file.parent)
            file.unlink(missing_ok=True)  # whoever still writes to it does so for nobody
            with durable.writing(file), file.open("x+b", buffering=0) as stream:
                writer = _ShardWriter(self, file, stream, scratch, is_verified=is_verified)
                for number, part in self._parts(shard, region):
                    cells = block[_within(part, region)]
                    chunk = self._chunk(cells, scratch)
                    writer.write(number, chunk, cells)
                    if told is not None:
                        told(part, chunk[_from_zero(part)])
                    n_chunks += 1
                writer.finish()
        return n_chunks

    def _chunk(self, cells: NDArray[Any], scratch: Scratch) -> NDArray[Any]:
        """Return a whole chunk in C order; at the array's end it is filled up with zeros."""
        if cells.shape == self.chunk and cells.flags.c_contiguous:
            return np.asarray(cells)
        chunk = scratch.chunk(self.chunk, self.dtype)
        if cells.shape != self.chunk:
            chunk[...] = np.zeros((), self.dtype)
        chunk[tuple(slice(0, n) for n in cells.shape)] = cells
        return chunk

    def _parts(self, shard: Index, region: Region) -> Iterator[tuple[Index, Region]]:
        """Yield the chunks of a shard within a region: number in the shard, cells in the array."""
        inside = tuple(
            slice(max(part.start, at * edge), min(part.stop, (at + 1) * edge))
            for part, at, edge in zip(region, shard, self.shard, strict=True)
        )
        for chunk in _numbers(inside, self.chunk):
            part = tuple(
                slice(max(at * edge, cut.start), min((at + 1) * edge, cut.stop))
                for at, edge, cut in zip(chunk, self.chunk, inside, strict=True)
            )
            yield tuple(at % n for at, n in zip(chunk, self.per_shard, strict=True)), part

    def _chunks(
        self, shard: Index, region: Region, scratch: Scratch
    ) -> Iterator[tuple[Region, NDArray[Any]]]:
        """Yield cells in the array and their values, until the next one is asked for."""
        file = self.file(shard)
        parts = list(self._parts(shard, region))
        try:
            fd = os.open(file, os.O_RDONLY)
        except FileNotFoundError:
            raise VerificationError(
                file, "a shard is missing, expected every shard", _REMEDY
            ) from None
        except OSError as error:
            raise UsidError(
                file, f"cannot be read ({error.strerror})", "Check that you may read it."
            ) from error
        try:
            entries = self._entries(file, fd, [number for number, _ in parts])
            for (_, part), (at, size) in zip(parts, entries, strict=True):
                whole = self._decoded(file, fd, at, size, scratch)
                cells = tuple(
                    slice(cut.start % edge, cut.start % edge + cut.stop - cut.start)
                    for cut, edge in zip(part, self.chunk, strict=True)
                )
                yield part, whole[cells]
        except OSError as error:
            raise UsidError(
                file, f"cannot be read ({error.strerror})", "Check that the storage is there."
            ) from error
        finally:
            os.close(fd)

    def _entries(self, file: Path, fd: int, numbers: Sequence[Index]) -> Sequence[tuple[int, int]]:
        """Return offset and size of chunks; the checksum is looked at where most are wanted."""
        size = os.fstat(fd).st_size
        if not self.is_sharded:
            return [(0, size)]
        n_chunks = math.prod(self.per_shard)
        n_bytes = n_chunks * _ENTRY_BYTES
        start = size - n_bytes - _CRC_BYTES if self.is_index_last else 0
        if start < 0:
            raise VerificationError(file, f"has {size} bytes, too few for a shard", _REMEDY)
        flat = [int(np.ravel_multi_index(number, self.per_shard)) for number in numbers]
        if len(flat) * 16 < n_chunks:
            told = [os.pread(fd, _ENTRY_BYTES, start + _ENTRY_BYTES * at) for at in flat]
            table = np.frombuffer(b"".join(told), "<u8").reshape(-1, 2)
        else:
            index = os.pread(fd, n_bytes + _CRC_BYTES, start)
            crc = int.from_bytes(index[n_bytes:], "little")
            if google_crc32c.value(index[:n_bytes]) != crc:
                raise VerificationError(file, "the checksum of its index is wrong", _REMEDY)
            table = np.frombuffer(index, "<u8", 2 * n_chunks).reshape(-1, 2)[flat]
        entries = [(int(at), int(n)) for at, n in table]
        if any(at == _NOT_THERE or at + n > size for at, n in entries):
            raise VerificationError(file, "a chunk is missing, expected every chunk", _REMEDY)
        return entries

    def _decoded(self, file: Path, fd: int, at: int, size: int, scratch: Scratch) -> NDArray[Any]:
        chunk = scratch.chunk(self.chunk, self.dtype)
        raw = chunk.reshape(-1).view(np.uint8)
        if self.coder is None:
            if size != raw.nbytes:
                raise VerificationError(
                    file, f"a chunk has {size} bytes, expected {raw.nbytes}", _REMEDY
                )
            _read_into(file, fd, raw.data, at)
            return chunk
        encoded = scratch.encoded(size)
        _read_into(file, fd, encoded, at)
        try:
            self.coder.decode(encoded, raw)
        except ValueError as error:
            raise VerificationError(file, f"a chunk cannot be decoded: {error}", _REMEDY) from error
        return chunk


def open_array(folder: Path, document: Mapping[str, JSON]) -> ShardedArray:
    """Return an array by its document, the content of ``zarr.json``.

    Raises
    ------
    RefusedError
        If it is stored in a way that usid does not write.
    """
    chunk = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    codecs, shard, is_index_last = list(document["codecs"]), chunk, True
    is_sharded = codecs[0]["name"] == "sharding_indexed"
    if is_sharded:
        inside = codecs[0]["configuration"]
        is_plain = len(codecs) == 1 and [c["name"] for c in inside["index_codecs"]] == [
            "bytes",
            "crc32c",
        ]
        chunk, codecs = tuple(inside["chunk_shape"]), list(inside["codecs"])
        is_index_last = inside.get("index_location", "end") == "end"
    else:
        is_plain = True
    first, *others = codecs
    dtype = np.dtype(document["data_type"])
    endian = first.get("configuration", {}).get("endian", "little")
    is_plain &= first["name"] == "bytes" and endian == "little"
    key = document.get("chunk_key_encoding", {})
    is_plain &= key.get("name") == "default"
    is_plain &= key.get("configuration", {}).get("separator", "/") == "/"
    if not is_plain:
        raise RefusedError(
            folder,
            f"is stored with the codecs {[codec['name'] for codec in document['codecs']]}",
            "Only stores that usid wrote can be rechunked: convert the source anew.",
        )
    codec = from_document(others, where=folder)
    return ShardedArray(
        folder,
        tuple(document["shape"]),
        dtype,
        chunk,
        shard,
        codec,
        is_sharded,
        is_index_last,
        codec.coder(dtype.itemsize) if codec.is_compressed else None,
    )


def rechunked_document(
    document: Mapping[str, JSON],
    chunk: Sequence[int],
    shard: Sequence[int],
    *,
    is_compressed: bool = True,
) -> dict[str, JSON]:
    """Return the document of the same array in other chunks and shards; nothing else changes."""
    codecs = list(document["codecs"])
    if codecs[0]["name"] == "sharding_indexed":
        codecs = list(codecs[0]["configuration"]["codecs"])
    if not is_compressed:
        codecs = codecs[:1]
    if tuple(chunk) != tuple(shard):
        codecs = [sharding(chunk, codecs)]
    grid = {"name": "regular", "configuration": {"chunk_shape": list(shard)}}
    return {**document, "chunk_grid": grid, "codecs": codecs}


def _numbers(region: Region, edges: Sequence[int]) -> Iterator[Index]:
    """Yield the numbers of the pieces of a regular grid that a region lies in, C order."""
    spans = [
        range(part.start // edge, -(-part.stop // edge))
        for part, edge in zip(region, edges, strict=True)
    ]
    yield from itertools.product(*spans)


class _ShardWriter:
    """Writes the chunks of one shard, and its index."""

    def __init__(
        self,
        array: ShardedArray,
        file: Path,
        stream: FileIO,
        scratch: Scratch,
        *,
        is_verified: bool,
    ) -> None:
        self.array = array
        self.file = file
        self.stream = stream
        self.scratch = scratch
        self.is_verified = is_verified
        self._index = np.full((*array.per_shard, 2), _NOT_THERE, "<u8")
        self._at = 0

    def write(self, number: Index, chunk: NDArray[Any], cells: NDArray[Any]) -> None:
        raw = chunk.reshape(-1).view(np.uint8)
        data = raw.data if self.array.coder is None else self.array.coder.encode(chunk)
        n_bytes = memoryview(data).nbytes
        _write_all(self.stream, data)
        del data
        if self.is_verified and not is_as_written(self, np.atleast_1d(cells), n_bytes):
            self._refuse(f"the chunk at byte {self._at}")
        self._index[number] = self._at, n_bytes
        self._at += n_bytes

    def finish(self) -> None:
        if not self.array.is_sharded:
            return
        told = self._index.tobytes()
        told += google_crc32c.value(told).to_bytes(_CRC_BYTES, "little")
        _write_all(self.stream, told)
        if self.is_verified and os.pread(self.stream.fileno(), len(told) + 1, self._at) != told:
            self._refuse("its index")

    def read_back(self, cells: NDArray[Any], n_bytes: int) -> bool:
        """Return whether what is on disk decodes to the cells of the block."""
        fd, decoded = self.stream.fileno(), self.scratch.second(self.array.chunk_bytes)
        if self.array.coder is None:
            _read_into(self.file, fd, decoded.data, self._at)
        else:
            encoded = self.scratch.encoded(n_bytes)
            _read_into(self.file, fd, encoded, self._at)
            try:
                self.array.coder.decode(encoded, decoded)
            except ValueError:
                return False
        chunk = decoded.view(cells.dtype).reshape(self.array.chunk or (1,))
        # gathered once more, not by the code that made the chunk: faster than comparing in place
        held = np.frombuffer(self.scratch.encoded(cells.nbytes), np.uint8)
        gathered = held.view(cells.dtype).reshape(cells.shape)
        np.copyto(gathered, cells)
        part = np.ascontiguousarray(chunk[tuple(slice(0, n) for n in cells.shape)])
        return _is_same_bytes(part.reshape(-1).view(np.uint8), held)

    def _refuse(self, what: str) -> NoReturn:
        raise VerificationError(
            self.file,
            f"{what} does not read back as it was written",
            "This is a defect of usid-flows or of the disk: keep the source and report it.",
        )


def is_as_written(writer: _ShardWriter, cells: NDArray[Any], n_bytes: int) -> bool:
    """Return whether a chunk just written reads back; tests put another answer here."""
    return writer.read_back(cells, n_bytes)


def _is_same_bytes(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> bool:
    whole = one.size // 8 * 8
    words = np.array_equal(one[:whole].view(np.uint64), two[:whole].view(np.uint64))
    return bool(words) and bool(np.array_equal(one[whole:], two[whole:]))


def _from_zero(part: Region) -> Region:
    return tuple(slice(0, cut.stop - cut.start) for cut in part)


def _write_all(stream: FileIO, data: Any) -> None:
    left = memoryview(data).cast("B")
    while left:
        left = left[stream.write(left) :]


def _within(part: Region, region: Region) -> Region:
    """Return cells of the array as cells of a block that is a region of it."""
    return tuple(
        slice(cut.start - whole.start, cut.stop - whole.start)
        for cut, whole in zip(part, region, strict=True)
    )


def _read_into(file: Path, fd: int, buffer: memoryview, at: int) -> None:
    done = 0
    while done < len(buffer):
        got = os.preadv(fd, [buffer[done:]], at + done)
        if not got:
            raise VerificationError(file, f"ended at byte {at + done}", _REMEDY)
        done += got
