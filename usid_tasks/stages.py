"""Stages of a rechunking: what is read, held and written, in closed form and by arithmetic only.

A *block* is what one task holds in memory: it is read from the chunks of one array and written as
whole shards of the next. Bytes are those of decoded chunks, padding at the array's end included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from usid_tasks.model import JSON

KIB, MIB = 2**10, 2**20

WORKER_BYTES = 8 * MIB
"""Memory of a worker besides its block and its chunks: stack, hashing, the allocator's slack."""

_ENCODE_BYTES = 256 * KIB
"""What of it a codec may work in."""

PIECE_COST = 64 * KIB
"""What it costs to find and start a chunk, told in bytes."""

Edges = tuple[int, ...]


class Encoder(Protocol):
    """What a plan has to know of a codec."""

    @property
    def is_compressed(self) -> bool:
        """Whether what is stored differs from what is encoded."""
        ...

    def encode_bytes(self, chunk_bytes: int) -> int:
        """Return the most memory that encoding a chunk takes beside it."""
        ...


@dataclass(frozen=True)
class Copying:
    """A codec that takes so many times the memory of a chunk; 0 for none."""

    copies: int

    @property
    def is_compressed(self) -> bool:
        """Whether there is a codec."""
        return self.copies > 0

    def encode_bytes(self, chunk_bytes: int) -> int:
        """Return the memory that encoding a chunk takes beside it."""
        return self.copies * encoded_bytes(chunk_bytes)


UNENCODED = Copying(0)
"""Chunks as they are."""


@dataclass(frozen=True)
class Layout:
    """Chunks and shards of an array; equal where a file holds one chunk."""

    chunk: Edges
    shard: Edges


class Origin(Protocol):
    """What is read where that is no Zarr array: a file whose cells lie in another order."""

    def pieces(self, block: Edges) -> int:
        """Return the chunks decoded, or runs of bytes read, for all blocks of a shape."""
        ...

    def size_bytes(self, block: Edges) -> int:
        """Return the bytes of these."""
        ...

    def memory_bytes(self, block: Edges) -> int:
        """Return what one worker needs besides its block."""
        ...


@dataclass(frozen=True)
class Stage:
    """One pass over an array, or over arrays that share their shape (the fields of a compound).

    Parameters
    ----------
    shape, itemsize
        Of the array; of several, the dimensions that they share, and the bytes of a cell of all.
    source
        The chunk of what is read; where that is no Zarr array, what comes nearest to one.
    block
        What one task reads, and writes as whole shards; the last ones are cut off.
    target
        What is written; None where blocks are only hashed.
    is_decoding
        False where what is read is stored without a codec.
    encoder
        The codec of what is written.
    is_hashing
        Whether the blocks lie on the tiles of the array's digest, and are hashed.
    n_parts
        Arrays that are written.
    origin
        The source, where it is no Zarr array.
    """

    shape: Edges
    itemsize: int
    source: Edges
    block: Edges
    target: Layout | None
    is_decoding: bool = True
    encoder: Encoder = UNENCODED
    is_hashing: bool = False
    n_parts: int = 1
    origin: Origin | None = None

    @property
    def counts(self) -> Edges:
        """Blocks by dimension."""
        return tuple(-(-n // edge) for n, edge in zip(self.shape, self.block, strict=True))

    @property
    def n_tasks(self) -> int:
        """Blocks, each one task."""
        return math.prod(self.counts)

    @property
    def block_bytes(self) -> int:
        """Bytes of the largest block."""
        return volume(self.block, self.shape) * self.itemsize

    @property
    def chunks_read(self) -> int:
        """Chunks decoded by all tasks; one that several need is counted for each."""
        if self.origin is not None:
            return self.origin.pieces(self.block)
        return self.n_parts * math.prod(
            overlaps(n, edge, chunk)
            for n, edge, chunk in zip(self.shape, self.block, self.source, strict=True)
        )

    @property
    def bytes_read(self) -> int:
        """Bytes of all chunks read."""
        if self.origin is not None:
            return self.origin.size_bytes(self.block)
        return self.chunks_read // self.n_parts * math.prod(self.source) * self.itemsize

    @property
    def repeats(self) -> float:
        """How often a chunk is read, on average."""
        if self.origin is not None:
            return self.bytes_read / max(math.prod(self.shape) * self.itemsize, 1)
        there = math.prod(-(-n // c) for n, c in zip(self.shape, self.source, strict=True))
        return self.chunks_read / self.n_parts / there

    @property
    def chunks_written(self) -> int:
        """Chunks encoded by all tasks."""
        if self.target is None:
            return 0
        chunk = self.target.chunk
        return self.n_parts * math.prod(-(-n // c) for n, c in zip(self.shape, chunk, strict=True))

    @property
    def bytes_written(self) -> int:
        """Bytes of all chunks written; as many are read back."""
        chunk = self.target.chunk if self.target else ()
        return self.chunks_written // self.n_parts * math.prod(chunk) * self.itemsize

    @property
    def memory_bytes(self) -> int:
        """Peak memory of one worker: the block and every copy of a chunk beside it."""
        target = math.prod(self.target.chunk) * self.itemsize if self.target else 0
        encoded = encoded_bytes(target)
        if self.origin is not None:
            source, reading = 0, self.origin.memory_bytes(self.block)
        else:
            source = math.prod(self.source) * self.itemsize
            reading = encoded_bytes(source) if self.is_decoding else 0
        writing = max(self.encoder.encode_bytes(target) - _ENCODE_BYTES, 0)
        # what was read back, and a truth value for every eight bytes of it
        comparing = target + target // 8 + (encoded if self.encoder.is_compressed else 0)
        beside = max(reading, writing, comparing)
        return WORKER_BYTES + self.block_bytes + max(source, target) + beside

    @property
    def cost(self) -> int:
        """What decides between plans: bytes read, written and read back, and starts of chunks.

        Bytes that a codec makes of others count twice.
        """
        starts = self.chunks_read + 2 * self.chunks_written
        reading = self.bytes_read * (2 if self.is_decoding else 1)
        writing = self.bytes_written * (4 if self.encoder.is_compressed else 2)
        return reading + writing + starts * PIECE_COST

    def regions(self) -> Iterator[tuple[slice, ...]]:
        """Yield the cells of every block, C order."""
        counts = self.counts
        for number in range(self.n_tasks):
            yield self.region(number, counts)

    def region(self, number: int, counts: Edges) -> tuple[slice, ...]:
        """Return the cells of one block by its number in C order."""
        at = []
        for count in reversed(counts):
            number, rest = divmod(number, count)
            at.append(rest)
        return tuple(
            slice(i * edge, min((i + 1) * edge, n))
            for i, edge, n in zip(reversed(at), self.block, self.shape, strict=True)
        )

    def to_json(self) -> dict[str, JSON]:
        """Return the stage and what follows from it as JSON."""
        target = self.target
        return {
            "block": list(self.block),
            "reads_chunk": list(self.source) if self.origin is None else None,
            "writes_chunk": list(target.chunk) if target else None,
            "writes_shard": list(target.shard) if target else None,
            "is_hashing": self.is_hashing,
            "tasks": self.n_tasks,
            "chunks_read": self.chunks_read,
            "chunks_written": self.chunks_written,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "bytes_read_back": self.bytes_written,
            "worker_memory_bytes": self.memory_bytes,
        }


def encoded_bytes(size_bytes: int) -> int:
    """Return what a chunk can come to when it is encoded, at most."""
    return size_bytes + size_bytes // 128 + 4 * KIB


def volume(block: Sequence[int], shape: Sequence[int]) -> int:
    """Return the cells of a block, cut off at the array's end."""
    return math.prod(min(edge, n) for edge, n in zip(block, shape, strict=True))


def overlaps(size: int, block: int, chunk: int) -> int:
    """Return how many pairs of a block and a chunk have cells in common along one dimension."""
    blocks, chunks = -(-size // block), -(-size // chunk)
    return blocks + chunks - -(-size // math.lcm(block, chunk))
