r"""Digests ``blake3-tiles:hex`` of arrays: BLAKE3 at the leaves and at the root of a tree.

The leaves are tiles of the logical array, whose shape follows from the array's shape alone
(:func:`tile_shape`), whatever the chunks, the shards, the codec or the order of reading. A tile's
bytes are its in-bounds cells in C order, little-endian. The root hashes one line,
``blake3-tiles {"dtype": "<f4", "shape": [3, 4]}\n``, and the tiles' digests in C order.

Text of variable length has the dtype ``utf-8``; a cell is its length in bytes (8 bytes,
little-endian) and its UTF-8 bytes.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import ArrayLike, NDArray

from usid_tasks.errors import VerificationError

ARRAY_ALGORITHM = "blake3-tiles"
TILE_CELLS = 2**14

DIGEST_BYTES = 32
"""Bytes of the digest of a tile."""

# cells are brought into tile order in slabs that stay in the processor's cache
_SLAB_BYTES = 2**20


def tile_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the tiles that an array of `shape` is hashed in.

    Edges are powers of two: in rounds from the last (fastest) dimension to the first, each is
    doubled until a tile would exceed 2**14 cells, or covers the dimension.
    """
    edges = [1] * len(shape)
    cells, grew = 1, True
    while grew:
        grew = False
        for axis in reversed(range(len(shape))):
            if edges[axis] < shape[axis] and cells * 2 <= TILE_CELLS:
                edges[axis] *= 2
                cells *= 2
                grew = True
    return tuple(edges)


def tile_digests(block: NDArray[Any], tile: Sequence[int]) -> NDArray[np.uint8]:
    """Return the digests of a block's tiles, shape ``(*tiles per dimension, 32)``, uint8, C order.

    The block starts on a tile's edge; what is left over at its end are tiles cut short. Needs
    no :class:`ArrayDigest`, so that a worker process can send digests instead of cells.
    """
    counts = tuple(-(-n // edge) for n, edge in zip(block.shape, tile, strict=True))
    digests = np.empty((*counts, DIGEST_BYTES), np.uint8)
    # per dimension the whole tiles, then the one cut short: each region is a regular grid
    parts = []
    for n, edge in zip(block.shape, tile, strict=True):
        whole = n // edge
        cut = n - whole * edge
        ends = [(0, whole, edge)] if whole else []
        parts.append([*ends, (whole, 1, cut)] if cut else ends)
    for region in product(*parts):
        cells: list[Any] = [
            slice(first * edge, first * edge + count * size)
            for (first, count, size), edge in zip(region, tile, strict=True)
        ]
        tiles = tuple(slice(first, first + count) for first, count, _ in region)
        grid = [count for _, count, _ in region]
        edges = [size for _, _, size in region]
        # the dots keep an array of no dimension an array
        digests[tiles] = _grid_digests(block[(*cells, ...)], grid, edges)
    return digests


def _grid_digests(cells: NDArray[Any], grid: list[int], edges: list[int]) -> NDArray[np.uint8]:
    """Return the digests of a region of whole tiles of one shape."""
    n_dims = cells.ndim
    split = cells.reshape([n for pair in zip(grid, edges, strict=True) for n in pair])
    tiles = split.transpose([*range(0, 2 * n_dims, 2), *range(1, 2 * n_dims, 2)])
    tile_cells = math.prod(edges)
    leaves: list[bytes] = []
    for slab in _slabs(tiles, n_dims, max(1, _SLAB_BYTES // (tile_cells * cells.itemsize or 1))):
        n_tiles = slab.size // tile_cells
        if cells.dtype.kind in "OT":
            flat = slab.reshape(n_tiles, tile_cells)
            leaves.extend(blake3(_text_bytes(row)).digest() for row in flat)
        elif not cells.itemsize:
            leaves.extend([blake3(b"").digest()] * n_tiles)
        else:
            data = _little_endian(slab).reshape(-1).view(np.uint8).data
            size = tile_cells * cells.itemsize
            starts = range(0, n_tiles * size, size)
            leaves.extend([blake3(data[start : start + size]).digest() for start in starts])
    return np.frombuffer(b"".join(leaves), np.uint8).reshape(*grid, DIGEST_BYTES)


def _slabs(tiles: NDArray[Any], n_dims: int, n_tiles: int) -> Iterator[NDArray[Any]]:
    """Yield runs of at most about `n_tiles` tiles, C order, cutting the slowest dimensions."""
    if n_dims == 0 or math.prod(tiles.shape[:n_dims]) <= n_tiles:
        yield tiles
        return
    step = max(1, n_tiles // math.prod(tiles.shape[1:n_dims]))
    for start in range(0, tiles.shape[0], step):
        run = tiles[start : start + step]
        if step > 1 or n_dims == 1:
            yield run
        else:
            yield from _slabs(run[0], n_dims - 1, n_tiles)


def _little_endian(cells: NDArray[Any]) -> NDArray[Any]:
    """Return the cells C-contiguous with their bytes in little-endian order, bit for bit."""
    steps = [abs(step) for step, n in zip(cells.strides, cells.shape, strict=True) if n > 1]
    if steps and steps[-1] > min(steps):
        # read memory in its own order first, then transpose within the cache: several times faster
        cells = cells.copy(order="K")
    packed = np.ascontiguousarray(cells)
    order = packed.dtype.byteorder
    is_big = order == ">" or (order == "=" and sys.byteorder == "big")
    return packed.byteswap() if is_big else packed


def _text_bytes(cells: NDArray[Any]) -> bytes:
    parts = []
    for text in cells.tolist():
        if not isinstance(text, str):
            raise TypeError(f"a cell of text is a str, not {type(text).__name__}")
        data = text.encode("utf-8", "surrogatepass")
        parts += [len(data).to_bytes(8, "little"), data]
    return b"".join(parts)


def _dtype_name(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "OT":
        return "utf-8"
    if dtype.kind not in "biufcSUmM":
        raise TypeError(f"no digest of dtype {dtype}: give one array per component")
    return dtype.newbyteorder("<").str


class ArrayDigest:
    """Digest of an array that arrives in blocks, in any order and from several threads.

    Parameters
    ----------
    shape
        Shape of the whole logical array.
    dtype
        Its dtype; numbers, booleans, fixed or variable text (object arrays of str).
    """

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(dtype)
        self.tile = tile_shape(self.shape)
        self._name = _dtype_name(self.dtype)
        counts = tuple(-(-n // edge) for n, edge in zip(self.shape, self.tile, strict=True))
        self._digests = np.zeros((*counts, DIGEST_BYTES), np.uint8)
        self._is_in = np.zeros(counts, np.bool_)
        self._n_twice = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Do nothing: the digests are in memory."""

    def add(self, block: NDArray[Any], offset: Sequence[int]) -> None:
        """Hash one block of cells, in any memory layout.

        Parameters
        ----------
        block
            Cells of the array's dtype (byte order may differ).
        offset
            Index of its first cell: on a tile's edge, as its end is, or at the array's end.
        """
        if _dtype_name(block.dtype) != self._name:
            raise TypeError(f"a block of {block.dtype} in an array of {self.dtype}")
        self._tiles(block.shape, offset)
        self.add_digests(tile_digests(block, self.tile), offset)

    def add_digests(self, digests: NDArray[np.uint8], offset: Sequence[int]) -> None:
        """Take what :func:`tile_digests` gave for the block at cell `offset`."""
        first = tuple(start // edge for start, edge in zip(offset, self.tile, strict=True))
        counts = digests.shape[:-1]
        tiles = tuple(slice(at, at + n) for at, n in zip(first, counts, strict=True))
        with self._lock:
            self._n_twice += int(self._is_in[tiles].sum())
            self._is_in[tiles] = True
            self._digests[tiles] = digests

    def result(self) -> str:
        """Return the digest.

        Raises
        ------
        VerificationError
            If a tile is missing or came twice.
        """
        n_missing = self._is_in.size - int(self._is_in.sum())
        if n_missing or self._n_twice:
            raise VerificationError(
                f"array of shape {self.shape}",
                f"{n_missing} of {self._is_in.size} tiles of {self.tile} cells were never hashed "
                f"and {self._n_twice} came twice, expected each once",
                "This is a defect of usid-flows: report it with the file.",
            )
        header = json.dumps({"dtype": self._name, "shape": list(self.shape)}, sort_keys=True)
        root = blake3(f"{ARRAY_ALGORITHM} {header}\n".encode())
        root.update(self._digests.data)
        return f"{ARRAY_ALGORITHM}:{root.hexdigest()}"

    def _tiles(self, extent: Sequence[int], offset: Sequence[int]) -> None:
        """Raise ValueError unless the block lies on tile edges."""
        for n, start, size, edge in zip(extent, offset, self.shape, self.tile, strict=True):
            end = start + n
            if start % edge or not 0 <= start <= end <= size or (end % edge and end != size):
                raise ValueError(
                    f"block {tuple(extent)} at {tuple(offset)} does not lie on tiles "
                    f"of {self.tile} in an array of {self.shape}"
                )


def array_digest(array: ArrayLike) -> str:
    """Return the digest of an array in memory."""
    cells = np.asarray(array)
    digest = ArrayDigest(cells.shape, cells.dtype)
    digest.add(cells, (0,) * cells.ndim)
    return digest.result()
