"""Digests of stored datasets, read once, in memory that does not grow with their size."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from usid_tasks.digests import ArrayDigest, tile_shape
from usid_tasks.errors import UnreadableDataError
from usid_tasks.grid import in_order
from usid_tasks.mains import Component, components_of, native
from usid_tasks.records import Dataset
from usid_tasks.source import MainSource, partition
from usid_tasks.usid import open_hdf5, open_object

FIELDS_ALGORITHM = "blake3-fields"
"""Digest of a compound: BLAKE3 of a line ``<field> <digest>`` for each of its arrays."""

BLOCK_BYTES = 16 * 2**20
"""How much one thread reads at a time, unless a row of tiles or a chunk is larger."""

Region = tuple[slice, ...]


def dataset_digest(path: Path | str, dataset: Dataset, *, threads: int | None = None) -> str:
    """Return the digest of the values of one dataset, as stored.

    Neither chunks nor filters nor byte order enter. It is ``blake3-tiles`` of
    :mod:`usid_tasks.digests`, for a compound ``blake3-fields`` over those of its fields.

    Parameters
    ----------
    path
        The file.
    dataset
        One dataset of it: numbers, compounds of numbers, or text.
    threads
        Threads that read and hash; by default as many as processors, at most 2. Each takes
        some 16 MiB; the digests take 32 bytes for every 16384 cells.

    Raises
    ------
    UnreadableDataError
        If HDF5 cannot read it, or its type is none of these.
    OSError
        If the file is not there.
    """
    try:
        if dataset.shape is None or dataset.dtype is None:
            raise TypeError("it has no values of a known type")
        if dataset.dtype.kind in "OSU":
            return _text_digest(Path(path), dataset, dataset.shape)
        components = components_of(dataset.dtype)
        digests = [ArrayDigest((*dataset.shape, *part.subshape), part.dtype) for part in components]
        if math.prod(dataset.shape):
            reader = _Reader(str(path), dataset, components, digests)
            _each(reader.take, reader.regions(), threads or min(2, os.cpu_count() or 1))
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise UnreadableDataError(
            path,
            f"{dataset.path} cannot be read: {error}",
            "Restore the file from its source, or see `usid validate`.",
            dataset.path,
        ) from error
    if len(components) == 1 and not components[0].field:
        return digests[0].result()
    lines = [
        f"{'.'.join(part.field)} {digest.result()}\n"
        for part, digest in zip(components, digests, strict=True)
    ]
    return f"{FIELDS_ALGORITHM}:{blake3(''.join(lines).encode()).hexdigest()}"


class _Reader:
    """Reads one dataset region by region, and hashes what it reads."""

    def __init__(
        self,
        path: str,
        dataset: Dataset,
        components: tuple[Component, ...],
        digests: Sequence[ArrayDigest],
    ) -> None:
        assert dataset.shape is not None, "a null dataspace has no regions"
        self.path, self.dataset, self.shape = path, dataset, dataset.shape
        self.components, self.digests = components, digests
        self.source: MainSource | None = None
        if len(self.shape) == 2:
            rows, columns = (in_order((size,)) for size in self.shape)
            self.source = MainSource(path, dataset.path, rows, columns, components)

    def regions(self) -> Sequence[Region]:
        """Return the regions to read: whole tiles of every component, and whole chunks."""
        n_dims = len(self.shape)
        tiles = [digest.tile[:n_dims] for digest in self.digests]
        edges = [max(tile[dim] for tile in tiles) for dim in range(n_dims)]
        assert self.dataset.dtype is not None, "types without one are refused"
        block = _block(self.shape, edges, self.dataset.storage.chunks, self.dataset.dtype.itemsize)
        return list(partition(self.shape, block))

    def take(self, region: Region) -> None:
        """Read one region, and hash it."""
        shape = tuple(part.stop - part.start for part in region)
        if self.source is not None:
            cells = [np.empty(shape + part.subshape, part.dtype) for part in self.components]
            self.source.read_into(region, self.components, cells)
        else:
            with open_hdf5(self.path) as file:
                held = np.asarray(open_object(file, self.dataset.path)[region or ()])
            cells = [_field(held, part.field) for part in self.components]
        for digest, part, block in zip(self.digests, self.components, cells, strict=True):
            digest.add(block, (*(each.start for each in region), *(0 for _ in part.subshape)))


def _field(held: Any, names: Sequence[str]) -> Any:
    for name in names:
        held = held[name]
    return np.asarray(held).astype(native(held.dtype), copy=False)


def _block(
    shape: Sequence[int], edges: Sequence[int], chunks: Sequence[int] | None, itemsize: int
) -> tuple[int, ...]:
    """Return the shape of a block: multiples of tiles, whole chunks if they fit, the rest long."""
    limit = max(BLOCK_BYTES // max(itemsize, 1), 1)
    units = [
        -(-max(edge, min(chunk, size)) // edge) * edge
        for edge, chunk, size in zip(edges, chunks or edges, shape, strict=True)
    ]
    if math.prod(units) > 4 * limit:
        units = list(edges)
    block = list(units)
    for dim in reversed(range(len(shape))):
        others = math.prod(block) // block[dim]
        whole = -(-shape[dim] // units[dim])
        block[dim] = units[dim] * max(1, min(whole, limit // (others * units[dim])))
    return tuple(block)


def _each(take: Any, regions: Sequence[Region], threads: int) -> None:
    if threads <= 1 or len(regions) == 1:
        for region in regions:
            take(region)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="usid-fingerprint") as pool:
        jobs = [pool.submit(take, region) for region in regions]
        try:
            for job in jobs:
                job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _text_digest(path: Path, dataset: Dataset, shape: tuple[int, ...]) -> str:
    """Return the digest of text: of fixed length as stored, of variable length as UTF-8."""
    with open_hdf5(path) as file:
        held = open_object(file, dataset.path)
        is_fixed = held.dtype.kind == "S"
        cells = held if is_fixed else held.asstr(errors="surrogateescape")
        digest = ArrayDigest(shape, held.dtype if is_fixed else object)
        edges = tile_shape(shape)
        regions = partition(shape, edges) if math.prod(shape) else ()
        for region in itertools.chain(regions):
            block = np.asarray(cells[region or ()], held.dtype if is_fixed else object)
            digest.add(block, tuple(part.start for part in region))
    return digest.result()
