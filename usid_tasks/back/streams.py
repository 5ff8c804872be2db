"""Values written box by box into an HDF5 file, by several threads.

Contiguous datasets are written by their offset when the file's structure is finished and closed.
Chunks are encoded by threads and handed to HDF5 by one. Whatever else there is, HDF5 encodes.
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from h5py import h5d, h5s
from numpy.typing import NDArray

from usid_tasks import durable
from usid_tasks.back.boxes import boxes
from usid_tasks.back.encoding import ChunkEncoder, Encoded
from usid_tasks.back.filling import Filling
from usid_tasks.back.means import Means
from usid_tasks.back.reordering import suited
from usid_tasks.rechunk_source import SourceStore
from usid_tasks.shards import Region

_T = TypeVar("_T")


@dataclass(frozen=True)
class Stream:
    """From a store into a file that is being made.

    ``beside`` is a folder for arrays that have to be rechunked first; not there.
    """

    store: SourceStore
    beside: Path
    means: Means

    @contextmanager
    def boxed(
        self, filling: Filling, unit: Sequence[int], *, copies: int, is_cut: bool = False
    ) -> Iterator[tuple[Filling, list[Region]]]:
        """Give values, and the boxes of whole units in which they are best read.

        Where each unit has to be looked at, they are cut into units.
        """
        box = filling.box(unit, self.means, copies=copies)
        with suited(self.store, filling.values, box, self.beside, self.means) as values:
            suiting = replace(filling, values=values)
            box = tuple(unit) if is_cut else suiting.box(unit, self.means, copies=copies)
            yield suiting, list(boxes(values.shape, box))


def allocate(dataset: h5d.DatasetID, filling: Filling) -> int | None:
    """Return where a contiguous dataset's bytes go in the file; None where it has none.

    HDF5 allocates it as soon as a cell is written. That the creation property does not ask for it
    keeps the property as the source had it.
    """
    if not filling.size_bytes:
        return None
    space = dataset.get_space()
    if filling.values.shape:
        space.select_hyperslab((0,) * space.get_simple_extent_ndims(), (1,) * len(space.shape))
    cell = np.zeros(filling.memory.get_size(), np.uint8).view(f"V{filling.memory.get_size()}")
    dataset.write(h5s.create_simple((1,)), space, cell, mtype=filling.memory)
    return int(dataset.get_offset())


def write_by_hdf5(dataset: h5d.DatasetID, filling: Filling, stream: Stream) -> None:
    """Read boxes in threads, and let HDF5 encode and write them in this one."""
    means, fill = stream.means, _fill_of(dataset)

    def put(region: Region, cells: NDArray[Any]) -> None:
        space = dataset.get_space()
        extent = tuple(part.stop - part.start for part in region)
        if region:
            space.select_hyperslab(tuple(part.start for part in region), extent)
        memory = h5s.create_simple(extent) if extent else h5s.create(h5s.SCALAR)
        dataset.write(memory, space, cells, mtype=filling.memory)
        means.advance(cells.nbytes)

    is_cut = bool(filling.unwritten)
    with stream.boxed(filling, _unit(dataset), copies=3, is_cut=is_cut) as (suiting, regions):

        def read(region: Region) -> NDArray[Any]:
            means.check()
            return suiting.values.read(region)

        for region, cells in _ahead(regions, read, means.workers):
            if not (region and filling.leaves_out(region[0].start, cells, fill)):
                put(region, cells)


def write_chunks(dataset: h5d.DatasetID, filling: Filling, stream: Stream) -> None:
    """Read and encode chunks in threads, and hand them to HDF5 in this one."""
    plist = dataset.get_create_plist()
    chunk = plist.get_chunk()
    options = [plist.get_filter(place) for place in range(plist.get_nfilters())]
    filters = tuple((int(option[0]), tuple(map(int, option[2]))) for option in options)
    fill = _fill_of(dataset)
    encoder = ChunkEncoder(
        chunk, filters, fill, lambda first, cells: filling.leaves_out(first, cells, fill)
    )
    means, itemsize = stream.means, filling.values.itemsize
    with stream.boxed(filling, chunk, copies=4) as (suiting, regions):

        def read(region: Region) -> list[Encoded]:
            means.check()
            return list(encoder.encode(region, suiting.values.read(region)))

        for region, encoded in _ahead(regions, read, means.workers):
            for offset, data in encoded:
                dataset.write_direct_chunk(offset, data, 0)
            means.advance(math.prod(part.stop - part.start for part in region) * itemsize)


def _fill_of(dataset: h5d.DatasetID) -> Any:
    """Return the fill value of a dataset as opaque bytes, zeros where none was set."""
    plist, fill = dataset.get_create_plist(), np.zeros((), dataset.dtype)
    if plist.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED:
        plist.get_fill_value(fill)
    return np.void(fill.tobytes())


def _unit(dataset: h5d.DatasetID) -> tuple[int, ...]:
    """Return the chunk of a dataset, a cell where it has none."""
    plist = dataset.get_create_plist()
    if plist.get_layout() == h5d.CHUNKED:
        return tuple(plist.get_chunk())
    return (1,) * len(dataset.shape)


def _ahead(
    regions: Sequence[Region], read: Callable[[Region], _T], workers: int
) -> Iterator[tuple[Region, _T]]:
    """Yield every region with what is read of it, in order; others are read meanwhile."""
    waiting: deque[tuple[Region, Future[_T]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="usid-box") as pool:
        try:
            for region in regions:
                waiting.append((region, pool.submit(read, region)))
                if len(waiting) > workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def write_by_offset(path: Path, filling: Filling, offset: int, stream: Stream) -> None:
    """Write a contiguous dataset into a closed file, by several threads.

    Raises
    ------
    UsidError
        If the disk does not take it.
    """
    means, values = stream.means, filling.values
    lock, stop = threading.Lock(), threading.Event()

    def labour(fd: int, suiting: Filling, todo: Iterator[Region]) -> None:
        while not stop.is_set():
            with lock:
                region = next(todo, None)
            if region is None:
                return
            means.check()
            cells = suiting.values.read(region)
            first = _first_cell(region, values.shape) * values.itemsize
            with durable.writing(path):
                _write_all(fd, cells.reshape(-1).view(np.uint8), offset + first)
            means.advance(cells.nbytes)

    unit = (1,) * len(values.shape)
    with (
        _open_for_writing(path) as fd,
        stream.boxed(filling, unit, copies=2) as (suiting, regions),
        ThreadPoolExecutor(means.workers, thread_name_prefix="usid-box") as pool,
    ):
        todo = iter(regions)
        futures = [
            pool.submit(labour, fd, suiting, todo) for _ in range(min(means.workers, len(regions)))
        ]
        try:
            for future in futures:
                future.result()
        finally:
            stop.set()


@contextmanager
def _open_for_writing(path: Path) -> Iterator[int]:
    with durable.writing(path):
        fd = os.open(path, os.O_WRONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def _first_cell(region: Region, shape: Sequence[int]) -> int:
    at = 0
    for part, size in zip(region, shape, strict=True):
        at = at * size + part.start
    return at


def _write_all(fd: int, data: NDArray[np.uint8], at: int) -> None:
    done = 0
    while done < data.size:
        done += os.pwrite(fd, data[done:].data, at + done)
