"""Shapes of blocks, chunks and shards, chosen from shapes and storage alone.

A *chunk* is on disk, a *block* is what one task reads, a *shard* is a Zarr file of chunks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from usid_tasks.grid import Placement
from usid_tasks.reading_cost import bands_touched

MIB = 2**20


@dataclass(frozen=True)
class BlockLimits:
    """How large a block may be, in bytes."""

    least: int = 4 * MIB
    most: int = 128 * MIB
    target: int = 32 * MIB


def _extents(size: int, edge: int, aligned: int) -> list[int]:
    """Return extents along one dimension worth trying: multiples of ``edge``, and the whole."""
    extents = {size}
    for unit in (edge, math.lcm(edge, max(aligned, 1))):
        extent = unit
        while extent < size:
            extents.add(extent)
            extent *= 2
    return sorted(extents)


def _candidates(shape: Sequence[int], edges: Sequence[int], chunk: int) -> list[tuple[int, ...]]:
    """Return block shapes that are one piece in C order, as far as ``edges`` allow.

    Slower dimensions than the one that is cut have one edge, faster ones are whole.
    """
    if not shape:
        return [()]
    found = []
    for cut in range(len(shape)):
        before = tuple(min(edge, size) for edge, size in zip(edges[:cut], shape[:cut], strict=True))
        after = math.prod(shape[cut + 1 :])
        aligned = math.lcm(chunk, max(after, 1)) // max(after, 1)
        for extent in _extents(shape[cut], min(edges[cut], shape[cut]), aligned):
            found.append((*before, extent, *shape[cut + 1 :]))
    return list(dict.fromkeys(found))


def decodings(placement: Placement, block: Sequence[int], chunk: int) -> float:
    """Return how often a chunk is decoded when the blocks are read one by one, at least 1.

    ``chunk`` is the extent of an HDF5 chunk along the rows (or columns) of this side.
    """
    if chunk <= 1 or placement.n_rows == 0:
        return 1.0
    return bands_touched(placement, block, chunk) / -(-placement.n_rows // chunk)


def block_shape(
    position: Placement,
    spectroscopic: Placement,
    *,
    itemsize: int,
    storage_chunks: Sequence[int] | None,
    limits: BlockLimits | None = None,
    edges: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Return the shape of the blocks in which to read an N-D Main dataset.

    Parameters
    ----------
    position, spectroscopic
        Where the cells lie in the 2-D dataset.
    itemsize
        Bytes of one cell (all components that are read together).
    storage_chunks
        Shape of an HDF5 chunk, None if the dataset is not chunked.
    limits
        Allowed and wanted size.
    edges
        Extents, one for each dimension, of which a block holds whole multiples unless it
        reaches the end of the dimension; ones by default.

    Returns
    -------
    tuple of int
        Of all blocks within the limits, the one that makes the fewest chunks be decoded
        twice; of those, the one nearest to the target size.
    """
    limits = limits or BlockLimits()
    shape = position.shape + spectroscopic.shape
    if math.prod(shape) * itemsize <= limits.target:
        return tuple(max(size, 1) for size in shape)
    edges = tuple(edges or (1,) * len(shape))
    n_position = len(position.shape)
    chunk_rows, chunk_columns = storage_chunks or (1, 1)
    rows = _candidates(position.shape, edges[:n_position], chunk_rows)
    columns = _candidates(spectroscopic.shape, edges[n_position:], chunk_columns)
    whole = math.prod(spectroscopic.shape)
    row_costs = {block: decodings(position, block, chunk_rows) for block in rows}
    column_costs = {block: decodings(spectroscopic, block, chunk_columns) for block in columns}

    def cost(pair: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[float, ...]:
        size = math.prod(pair[0]) * math.prod(pair[1]) * itemsize
        outside = max(limits.least / size, 1.0) * max(size / limits.most, 1.0)
        repeated = row_costs[pair[0]] * column_costs[pair[1]]
        cut_rows = 0.0 if storage_chunks or math.prod(pair[1]) == whole else 1.0
        return (outside, round(repeated, 2), cut_rows, abs(math.log(size / limits.target)))

    best = min(itertools.product(rows, columns), key=cost)
    return best[0] + best[1]


def chunk_shape(
    shape: Sequence[int], shard: Sequence[int], edges: Sequence[int], *, itemsize: int, target: int
) -> tuple[int, ...]:
    """Return the shape of the chunks inside a shard: balanced over the dimensions.

    Parameters
    ----------
    shape
        Of the array.
    shard
        Of the block that becomes one shard; where it ends before the dimension does, the
        chunk divides it.
    edges
        Powers of two to start from.
    itemsize, target
        Bytes of an element, and of a chunk at most.
    """
    chunk = [max(1, min(edge, size)) for edge, size in zip(edges, shape, strict=True)]
    while math.prod(chunk) * itemsize > max(target, itemsize):
        widest = max(range(len(chunk)), key=lambda dim: chunk[dim])
        chunk[widest] = -(-chunk[widest] // 2)
    grown = True
    while grown:
        grown = False
        for dim in reversed(range(len(chunk))):
            larger = min(2 * chunk[dim], max(shape[dim], 1))
            is_cut = shard[dim] < shape[dim]
            others = math.prod(chunk) // chunk[dim]
            fits = others * larger * itemsize <= target
            if larger > chunk[dim] and fits and not (is_cut and shard[dim] % larger):
                chunk[dim] = larger
                grown = True
    return tuple(
        edge if block >= size or block % edge == 0 else math.gcd(edge, block)
        for edge, block, size in zip(chunk, shard, shape, strict=True)
    )


def shard_shape(
    shape: Sequence[int], block: Sequence[int], chunk: Sequence[int]
) -> tuple[int, ...]:
    """Return the shard that holds one block: whole chunks, past the array's end if need be."""
    return tuple(
        -(-max(min(extent, size), 1) // edge) * edge
        for size, extent, edge in zip(shape, block, chunk, strict=True)
    )
