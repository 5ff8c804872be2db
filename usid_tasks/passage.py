"""The cheapest stages from one layout of an array to another, in the memory that is allowed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from usid_tasks.digests import tile_shape
from usid_tasks.stages import (
    KIB,
    MIB,
    UNENCODED,
    WORKER_BYTES,
    Edges,
    Encoder,
    Layout,
    Origin,
    Stage,
    encoded_bytes,
    overlaps,
    volume,
)

_MOST_STAGES = 4

_LEAST_SHARDS, _SMALL_SHARD = 32, 8 * MIB
"""Arrays are cut into so many shards, that workers can share them, unless these become small."""

_WORTHWHILE = 0.98

_SMALL_BLOCK, _GOOD_PIECE = 16 * MIB, 512 * KIB
"""Blocks between stages are as small as this, unless the pieces of an intermediate array become
smaller than that; so that there are enough tasks for all workers."""

_HASHED_BLOCK = 32 * MIB
"""Blocks that are only hashed become larger only where that saves reads."""

_MANY_BLOCKS = 2**14
"""Blocks of arrays so large that there would be more are larger."""


def digest_stage(
    shape: Edges,
    itemsize: int,
    chunk: Edges,
    *,
    is_decoding: bool,
    worker_bytes: int,
    tile: Edges | None = None,
    n_parts: int = 1,
) -> Stage:
    """Return the pass that only reads and hashes, in as large blocks as the memory allows."""

    def stage(block: Edges) -> Stage:
        return Stage(
            shape, itemsize, chunk, block, None,
            is_decoding=is_decoding, is_hashing=True, n_parts=n_parts,
        )  # fmt: skip

    def fits(block: Edges) -> bool:
        return stage(block).memory_bytes <= worker_bytes

    tile = _clipped(tile or tile_shape(shape), shape)
    block = _grown(
        tile, shape, chunk, fits=lambda b: fits(b) and stage(b).block_bytes <= _HASHED_BLOCK
    )
    block = _grown(block, shape, chunk, fits=fits, is_sparing=True)
    return stage(block)


@dataclass(frozen=True)
class Passage:
    """From the chunks ``source`` of an array to the chunks ``chunk``.

    Parameters
    ----------
    shape, itemsize, source, encoder, n_parts
        Those of :class:`Stage`.
    chunk
        Of the array that is made.
    is_decoding
        Whether the source has a codec; by default, where the array that is made has one.
    tiles
        The tiles of the digest; those of an array of this shape by default.
    origin
        The source, where it is no Zarr array; ``source`` is then what comes nearest to a chunk.
    """

    shape: Edges
    itemsize: int
    source: Edges
    chunk: Edges
    encoder: Encoder = UNENCODED
    n_parts: int = 1
    is_decoding: bool | None = None
    tiles: Edges | None = None
    origin: Origin | None = None

    def least_bytes(self) -> int:
        """Return the memory that one worker needs at least."""
        return max(
            self._last(self.source, _clipped(self.chunk, self.shape), self._whole(self.chunk))
            .memory_bytes,
            digest_stage(
                self.shape, self.itemsize, self.chunk,
                is_decoding=self._is_decoding, worker_bytes=0,
                tile=self._tile, n_parts=self.n_parts,
            ).memory_bytes,
        )  # fmt: skip

    def stages(
        self, *, worker_bytes: int, shard_bytes: int, least_tasks: int = 1
    ) -> tuple[Stage, ...]:
        """Return the cheapest stages of which none needs more memory than a worker may have.

        The worker has at least :meth:`least_bytes`. Blocks do not grow beyond a shard where
        there would be fewer than ``least_tasks`` then.
        """
        most = min(shard_bytes, max(self._bytes(self.shape) // _LEAST_SHARDS, _SMALL_SHARD))

        def fits(block: Edges) -> bool:
            last = self._last(self.source, block, self._whole(self.chunk))
            return last.memory_bytes <= worker_bytes

        def fits_raw(block: Edges) -> bool:
            return self._raw(block).memory_bytes <= worker_bytes

        begin, shard = self._begin(fits, most)

        def fits_many(block: Edges) -> bool:
            last = self._last(self.source, block, shard)
            return last.n_tasks >= least_tasks and last.memory_bytes <= worker_bytes

        block = _grown(begin, self.shape, self.source, fits=fits_many, is_sparing=True)
        ways: list[tuple[Stage, ...]] = [(self._last(self.source, block, shard),)]
        begin, shard = self._begin(fits_raw, most)
        small = max(_SMALL_BLOCK, self._bytes(self.shape) // _MANY_BLOCKS)
        for n_stages in range(2, _MOST_STAGES + 1):
            for block_bytes in _doublings(small, worker_bytes):
                found = self._staged(n_stages, begin, shard, worker_bytes, block_bytes)
                ways += found
                if any(_smallest_piece(way) * self.itemsize >= _GOOD_PIECE for way in found):
                    break
        ways = [self._with_digest(way, worker_bytes) for way in ways]
        return min(ways, key=lambda way: (sum(stage.cost for stage in way), len(way)))

    def _begin(self, fits: Callable[[Edges], bool], most: int) -> tuple[Edges, Edges]:
        """Return the smallest block of the last stage, and the shards that it is written as.

        It lies on the tiles of the digest, if such a block fits; then it may hold several shards
        of ``most`` bytes.
        """

        def is_shard(block: Edges) -> bool:
            return fits(block) and self._bytes(block) <= most

        def is_within(block: Edges) -> bool:
            return is_shard(block) and all(b <= a for b, a in zip(block, aligned, strict=True))

        aligned = tuple(
            min(n, math.lcm(edge, tile))
            for n, edge, tile in zip(self.shape, self.chunk, self._tile, strict=True)
        )
        start = _clipped(self.chunk, self.shape)
        if not is_shard(aligned) and fits(aligned):
            held = _grown(start, self.shape, self.source, fits=is_within)
            return aligned, self._whole(held)
        start = aligned if is_shard(aligned) else start
        held = _grown(start, self.shape, self.source, fits=is_shard)
        return held, self._whole(held)

    def _bytes(self, block: Edges) -> int:
        return volume(block, self.shape) * self.itemsize

    def _whole(self, block: Edges) -> Edges:
        """Return the shard of a block: whole chunks, past the array's end if need be."""
        return tuple(-(-b // c) * c for b, c in zip(block, self.chunk, strict=True))

    @property
    def _tile(self) -> Edges:
        return self.tiles or tile_shape(self.shape)

    @property
    def _is_decoding(self) -> bool:
        return self.encoder.is_compressed if self.is_decoding is None else self.is_decoding

    def _last(self, source: Edges, block: Edges, shard: Edges, *, is_raw: bool = False) -> Stage:
        """Return the stage that writes the array, from the source or, if raw, from pieces."""
        return Stage(
            self.shape,
            self.itemsize,
            source,
            block,
            Layout(self.chunk, shard),
            is_decoding=self._is_decoding and not is_raw,
            encoder=self.encoder,
            is_hashing=all(
                b >= n or b % tile == 0
                for b, n, tile in zip(block, self.shape, self._tile, strict=True)
            ),
            n_parts=self.n_parts,
            origin=None if is_raw else self.origin,
        )

    def _raw(self, block: Edges) -> Stage:
        """Return the last stage as it is where pieces of an intermediate array are read."""
        return self._last(self.chunk, block, self._whole(self.chunk), is_raw=True)

    def _with_digest(self, way: tuple[Stage, ...], worker_bytes: int) -> tuple[Stage, ...]:
        """Return the stages with a pass that hashes where the last one's blocks cut tiles."""
        if way[-1].is_hashing:
            return way
        digest = digest_stage(
            self.shape, self.itemsize, self.chunk,
            is_decoding=self._is_decoding, worker_bytes=worker_bytes,
            tile=self._tile, n_parts=self.n_parts,
        )  # fmt: skip
        return (*way, digest)

    def _staged(
        self, n_stages: int, held: Edges, shard: Edges, worker_bytes: int, block_bytes: int
    ) -> list[tuple[Stage, ...]]:
        """Return ways through intermediate arrays without a codec, one for each way to align."""

        def fits(block: Edges) -> bool:
            return self._bytes(block) <= most

        def fits_last(block: Edges) -> bool:
            return fits(block) and self._raw(block).memory_bytes <= worker_bytes

        beside = self._beside()
        most = min(block_bytes, max(worker_bytes - WORKER_BYTES - beside, 1))
        last = _grown(held, self.shape, self.source, fits=fits_last, is_sparing=True)
        piece_bytes = min(most // 8, self._bytes(self.chunk))
        first = _clipped(self.source, self.shape)
        while not fits(first) and max(first) > 1:
            first = _halved(first, self.shape)
        first = _grown(first, self.shape, last, fits=fits, is_sparing=True)
        ways = []
        for begin in dict.fromkeys((first, _onto(first, last, self.shape))):
            blocks = [begin]
            for step in range(1, n_stages - 1):
                middle = _between(begin, last, step / (n_stages - 1), self.shape)
                while not fits(middle) and max(middle) > 1:
                    middle = _halved(middle, self.shape)
                blocks.append(middle)
            way = self._chain([*blocks, last], shard, piece_bytes)
            if all(stage.memory_bytes <= worker_bytes for stage in way):
                ways.append(way)
        return ways

    def _beside(self) -> int:
        """Return what the first of several stages needs besides its block."""
        if self.origin is not None:
            return self.origin.memory_bytes(_clipped(self.source, self.shape))
        return self._bytes(self.source) + encoded_bytes(self._bytes(self.source))

    def _chain(self, blocks: Sequence[Edges], shard: Edges, piece_bytes: int) -> tuple[Stage, ...]:
        """Return the stages that hold these blocks one after the other."""
        stages: list[Stage] = []
        source, is_decoding = self.source, self._is_decoding
        for block, following in itertools.pairwise(blocks):
            piece = _piece(block, following, self.shape)
            while self._bytes(piece) > max(piece_bytes, 4 * KIB) and max(piece) > 1:
                piece = _divided(piece, self.shape)
            held = tuple(-(-b // c) * c for b, c in zip(block, piece, strict=True))
            stages.append(
                Stage(
                    self.shape, self.itemsize, source, block, Layout(piece, held),
                    is_decoding=is_decoding, encoder=UNENCODED, n_parts=self.n_parts,
                    origin=None if stages else self.origin,
                )
            )  # fmt: skip
            source, is_decoding = piece, False
        return (*stages, self._last(source, blocks[-1], shard, is_raw=True))


def _doublings(first: int, last: int) -> Iterator[int]:
    """Yield a size and its doublings, and at the end the last."""
    while first < last:
        yield first
        first *= 2
    yield last


def _smallest_piece(way: Sequence[Stage]) -> int:
    """Return the cells of the smallest chunk of an intermediate array."""
    return min(math.prod(stage.source) for stage in way[1:] if stage.target)


def _clipped(block: Sequence[int], shape: Sequence[int]) -> Edges:
    return tuple(min(edge, n) for edge, n in zip(block, shape, strict=True))


def _grown(
    block: Edges,
    shape: Edges,
    other: Sequence[int],
    *,
    fits: Callable[[Edges], bool],
    is_sparing: bool = False,
) -> Edges:
    """Return a block doubled again and again where that saves most reads of ``other`` chunks.

    It grows as long as it ``fits``; a sparing one only while reads are saved.
    """
    block = _clipped(block, shape)
    while True:
        found: list[tuple[float, float, int, Edges]] = []
        for dim, (edge, size) in enumerate(zip(block, shape, strict=True)):
            if edge >= size:
                continue
            larger = (*block[:dim], min(2 * edge, size), *block[dim + 1 :])
            if fits(larger):
                before = overlaps(size, edge, other[dim])
                after = overlaps(size, larger[dim], other[dim])
                if after < _WORTHWHILE * before or not is_sparing:
                    found.append((after / before, edge / other[dim], -dim, larger))
        if not found:
            return block
        block = min(found)[-1]


def _smallest_factor(number: int) -> int:
    factor = 2
    while factor * factor <= number:
        if number % factor == 0:
            return factor
        factor += 1
    return number


def _halved(block: Edges, shape: Edges) -> Edges:
    """Return a block with its longest edge halved."""
    dim = max(range(len(block)), key=lambda d: min(block[d], shape[d]))
    return (*block[:dim], -(-min(block[dim], shape[dim]) // 2), *block[dim + 1 :])


def _divided(piece: Edges, shape: Edges) -> Edges:
    """Return a piece of which whole numbers make the given one, its longest edge shortened."""
    dim = max(range(len(piece)), key=lambda d: piece[d])
    edge = piece[dim]
    # a piece as long as the array need not divide anything: the shard is rounded up
    new = -(-edge // 2) if edge >= shape[dim] else edge // _smallest_factor(edge)
    return (*piece[:dim], new, *piece[dim + 1 :])


def _piece(one: Edges, two: Edges, shape: Edges) -> Edges:
    """Return the chunk of an array that is written in blocks ``one`` and read in blocks ``two``.

    It divides the blocks that are written, unless they are as long as the array.
    """
    piece = []
    for a, b, size in zip(one, two, shape, strict=True):
        if a >= size:
            piece.append(min(b, size))
        elif b >= size:
            piece.append(a)
        else:
            common = math.gcd(a, b)
            largest = next(a // n for n in range(-(-a // b), a + 1) if a % n == 0)
            piece.append(common if 4 * common >= min(a, b) else largest)
    return tuple(piece)


def _onto(block: Edges, other: Edges, shape: Edges) -> Edges:
    """Return a block whose edges are multiples or parts of the other's, not longer than before."""
    edges = []
    for edge, goal, size in zip(block, other, shape, strict=True):
        if edge >= size or goal >= size or edge % goal == 0 or goal % edge == 0:
            edges.append(edge)
        elif edge > goal:
            edges.append(goal * 2 ** ((edge // goal).bit_length() - 1))
        else:
            edges.append(
                next(goal // n for n in range(-(-goal // edge), goal + 1) if goal % n == 0)
            )
    return tuple(edges)


def _between(one: Edges, two: Edges, share: float, shape: Edges) -> Edges:
    """Return the block that lies between two, geometrically, on the edges of one of them."""
    edges = []
    for a, b, size in zip(one, two, shape, strict=True):
        a, b = min(a, size), min(b, size)
        wanted = a ** (1 - share) * b**share
        small, large = min(a, b), max(a, b)
        edge = small
        while 2 * edge <= wanted * 1.42 and 2 * edge <= large:
            edge *= 2
        edges.append(edge)
    return tuple(edges)
