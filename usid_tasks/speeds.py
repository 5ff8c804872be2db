"""How fast this machine decodes, encodes, places and writes: measured for a moment, for a plan."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from usid_tasks.digests import tile_digests, tile_shape
from usid_tasks.plans import Speeds
from usid_tasks.shards import Scratch, ShardedArray, buffer_of

_WRITTEN_BYTES = 8 * 2**20
_SAMPLE_BYTES = 16 * 2**20
_ENCODED_BYTES = 2**20
_SAMPLE_S = 0.3
LEAST_S = 1e-6
"""What a clock tells at least."""


def free_bytes(place: Path) -> int:
    """Return the free space where a store is to be made."""
    return shutil.disk_usage(existing(place)).free


def existing(place: Path) -> Path:
    """Return the nearest folder at or above a place that is there."""
    while not place.is_dir():
        place = place.parent
    return place


def measure(array: ShardedArray, place: Path) -> Speeds:
    """Return speeds on some chunks of an array, and of a file without a name at a place."""
    scratch = Scratch(array.chunk_bytes)
    spent = {"decode": 0.0, "encode": 0.0, "place": 0.0}
    cells = 0
    for number in _spread(array):
        region = tuple(
            slice(at * edge, min((at + 1) * edge, n))
            for at, edge, n in zip(number, array.chunk, array.shape, strict=True)
        )
        shape = tuple(part.stop - part.start for part in region)
        size = math.prod(shape) * array.dtype.itemsize
        block = buffer_of(size)[:size].view(array.dtype).reshape(shape)
        began = time.perf_counter()
        array.read(region, block, scratch)
        decoded = time.perf_counter()
        scratch.release()
        part = block.reshape(-1)[: max(_ENCODED_BYTES // array.dtype.itemsize, 1)]
        if array.coder is not None:
            array.coder.encode(part)
        encoded = time.perf_counter()
        np.copyto(scratch.chunk(shape, array.dtype), block)
        tile_digests(block, tile_shape(block.shape))
        spent["place"] += time.perf_counter() - encoded
        spent["encode"] += (encoded - decoded) * block.nbytes / part.nbytes
        spent["decode"] += decoded - began
        cells += block.nbytes
        if sum(spent.values()) > _SAMPLE_S or cells > _SAMPLE_BYTES:
            break
    rates = {name: max(cells, 1) / max(seconds, LEAST_S) for name, seconds in spent.items()}
    return Speeds(**rates, write=writing(place))


def _spread(array: ShardedArray) -> list[tuple[int, ...]]:
    counts = [-(-n // edge) for n, edge in zip(array.shape, array.chunk, strict=True)]
    total = math.prod(counts)
    chosen = sorted({total * k // 8 for k in range(8)})
    return [tuple(map(int, np.unravel_index(number, counts))) for number in chosen]


def writing(folder: Path) -> float:
    """Return the bytes a second that go to the disk of a folder, flushed."""
    folder = existing(folder)
    data = os.urandom(_WRITTEN_BYTES)
    with tempfile.TemporaryFile(dir=folder) as stream:
        began = time.perf_counter()
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
        return _WRITTEN_BYTES / max(time.perf_counter() - began, LEAST_S)
