"""Workers that carry out a stage: a task reads a block, writes it, reads it back and hashes it."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from usid_tasks import durable
from usid_tasks.digests import DIGEST_BYTES, ArrayDigest, tile_digests
from usid_tasks.journal import DoneFile, TileFile
from usid_tasks.shards import Region, Scratch, ShardedArray, buffer_of
from usid_tasks.stages import Stage

REPORT = "This is a defect of usid-flows or of the disk: keep the source and report it."


@dataclass(frozen=True)
class Counted:
    """What a stage came to, to be held against its plan.

    ``bytes_read`` and ``bytes_written`` are of decoded chunks, as in
    :class:`~usid_tasks.stages.Stage`; ``n_kept`` tasks were done by an earlier run.
    """

    n_tasks: int = 0
    n_kept: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            self.n_tasks + other.n_tasks,
            self.n_kept + other.n_kept,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
        )


class Reader(Protocol):
    """What blocks are read from; it is picklable."""

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the buffer that it decodes chunks into; 0 if it has its own."""
        ...

    def read(self, region: Region, blocks: Sequence[NDArray[Any]], scratch: Scratch) -> int:
        """Fill the block of every part with a region, and return how many bytes were read."""
        ...


@dataclass(frozen=True)
class StoreReader:
    """Reads arrays of a store that have the same chunks, but for inner dimensions."""

    arrays: tuple[ShardedArray, ...]

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the largest chunk."""
        return max(array.chunk_bytes for array in self.arrays)

    def read(self, region: Region, blocks: Sequence[NDArray[Any]], scratch: Scratch) -> int:
        """Fill the blocks, and return the bytes of all chunks decoded."""
        n_bytes = 0
        for array, block in zip(self.arrays, blocks, strict=True):
            n_bytes += array.read(_with_inner(region, array), block, scratch) * array.chunk_bytes
        return n_bytes


@dataclass(frozen=True)
class Part:
    """One of the arrays that are read together: type and inner shape of a cell."""

    dtype: np.dtype[Any]
    inner: tuple[int, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of a cell."""
        return self.dtype.itemsize * math.prod(self.inner)


@dataclass(frozen=True)
class Work:
    """One stage on real arrays; picklable where its tiles are on disk.

    Parameters
    ----------
    stage
        The plan of it.
    reader, targets
        What is read, and the arrays that are written; none where blocks are only hashed.
    parts
        Type and inner shape of each array.
    tiles
        Where digests go, for a stage that hashes: one for each part, or none.
    is_flushed
        Whether what is written is flushed before it counts as done.
    is_verified
        Whether what is written is decoded from disk and compared, byte by byte.
    """

    stage: Stage
    reader: Reader
    targets: tuple[ShardedArray, ...]
    parts: tuple[Part, ...]
    tiles: tuple[TileFile | ArrayDigest, ...] = ()
    is_flushed: bool = False
    is_verified: bool = True

    def is_there(self, number: int) -> bool:
        """Return whether a block's shards are there; trivially where blocks are only hashed."""
        region = self.stage.region(number, self.stage.counts)
        return all(target.has(_with_inner(region, target)) for target in self.targets)

    def files(self, number: int) -> Iterator[Path]:
        """Yield the files that a task writes."""
        region = self.stage.region(number, self.stage.counts)
        for target in self.targets:
            yield from map(target.file, target.shards_in(_with_inner(region, target)))

    def flush(self, numbers: Iterable[int]) -> None:
        """Make durable what tasks wrote."""
        folders = set()
        for number in numbers:
            for file in self.files(number):
                with durable.writing(file):
                    durable.fsync_file(file, is_kept=False)
                folders.add(file.parent)
        for folder in folders:
            with durable.writing(folder):
                durable.fsync_folder(folder)
        for tiles in self.tiles:
            if isinstance(tiles, TileFile):
                tiles.flush()


class Worker:
    """Does tasks one after the other, in buffers of its own."""

    def __init__(self, work: Work) -> None:
        self.work = work
        stage = work.stage
        chunks = [work.reader.scratch_bytes, *(target.chunk_bytes for target in work.targets)]
        self._scratch = Scratch(max(chunks))
        cells = math.prod(min(b, n) for b, n in zip(stage.block, stage.shape, strict=True))
        self._buffers = [buffer_of(cells * part.size_bytes) for part in work.parts]
        self._counts = stage.counts

    def do(self, number: int) -> Counted:
        """Do one task.

        Raises
        ------
        VerificationError
            If what was written does not read back.
        UsidError
            If the source cannot be read or the disk does not take the shards.
        """
        work, scratch = self.work, self._scratch
        region = work.stage.region(number, self._counts)
        shape = tuple(part.stop - part.start for part in region)
        blocks = [
            buffer[: math.prod(shape) * part.size_bytes]
            .view(part.dtype)
            .reshape(shape + part.inner)
            for buffer, part in zip(self._buffers, work.parts, strict=True)
        ]
        n_read = work.reader.read(region, blocks, scratch)
        scratch.release()
        n_written = 0
        start = tuple(part.start for part in region)
        for place, block in enumerate(blocks):
            tiles = work.tiles[place] if work.tiles else None
            hashing = _Hashing(tiles, block, start) if tiles is not None else None
            if work.targets:
                target = work.targets[place]
                is_beside = hashing is not None and hashing.takes(target.chunk)
                n_chunks = target.write(
                    _with_inner(region, target),
                    block,
                    scratch,
                    is_verified=work.is_verified,
                    told=hashing.take if hashing is not None and is_beside else None,
                )
                n_written += n_chunks * target.chunk_bytes
            else:
                is_beside = False
            if hashing is not None:
                hashing.finish(is_done=is_beside)
        scratch.release()
        return Counted(1, 0, n_read, n_written)


class _Hashing:
    """The digests of the tiles of one block."""

    def __init__(
        self, tiles: TileFile | ArrayDigest, block: NDArray[Any], start: tuple[int, ...]
    ) -> None:
        self.tiles = tiles
        self.block = block
        self.start = start + (0,) * (block.ndim - len(start))
        counts = (-(-n // edge) for n, edge in zip(block.shape, tiles.tile, strict=True))
        self._digests = np.empty((*counts, DIGEST_BYTES), np.uint8)

    def takes(self, chunk: tuple[int, ...]) -> bool:
        """Return whether chunks of a shape lie on tiles, so that they can be hashed one by one."""
        edges = zip(chunk, self.tiles.tile, self.tiles.shape, strict=True)
        return all(c % tile == 0 or c >= n for c, tile, n in edges)

    def take(self, part: Region, cells: NDArray[Any]) -> None:
        """Hash the cells of one chunk."""
        digests = tile_digests(cells, self.tiles.tile)
        first = [
            (cut.start - at) // edge
            for cut, at, edge in zip(part, self.start, self.tiles.tile, strict=True)
        ]
        place = tuple(slice(at, at + n) for at, n in zip(first, digests.shape[:-1], strict=True))
        self._digests[place] = digests

    def finish(self, *, is_done: bool) -> None:
        """Keep the digests; where chunks were not hashed one by one, hash the block."""
        if not is_done:
            self._digests = tile_digests(self.block, self.tiles.tile)
        self.tiles.add_digests(self._digests, self.start)


Finished = Callable[[Sequence[int], Counted], None]
"""Told of tasks that are done, and durable where they have to be; from any thread."""


class Engine(Protocol):
    """What carries out the tasks of a stage: threads here, processes, or a cluster."""

    def run(
        self,
        work: Work,
        numbers: Sequence[int],
        *,
        workers: int,
        finished: Finished,
        check: Callable[[], None],
    ) -> None:
        """Do tasks; the first error ends all workers, what they have finished is told."""
        ...


class Threads:
    """Tasks on threads of this process; what they write is flushed beside the next ones."""

    def run(
        self,
        work: Work,
        numbers: Sequence[int],
        *,
        workers: int,
        finished: Finished,
        check: Callable[[], None],
    ) -> None:
        """Do tasks; the first error ends all workers, what they have finished is told."""
        todo = iter(numbers)
        lock, stop = threading.Lock(), threading.Event()

        def labour(done: Callable[[int, Counted], None]) -> None:
            worker = Worker(work)
            while not stop.is_set():
                with lock:
                    number = next(todo, None)
                if number is None:
                    return
                check()
                done(number, worker.do(number))

        n_workers = max(1, min(workers, len(numbers)))
        with (
            _flushing(work, finished) as done,
            ThreadPoolExecutor(n_workers, thread_name_prefix="usid-block") as pool,
        ):
            futures = [pool.submit(labour, done) for _ in range(n_workers)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                stop.set()
        for future in futures:
            future.result()


@contextmanager
def _flushing(work: Work, finished: Finished) -> Iterator[Callable[[int, Counted], None]]:
    """Give what takes finished tasks, and flushes them in a thread where they must be durable."""
    if not work.is_flushed:
        yield lambda number, counted: finished([number], counted)
        return
    waiting: queue.SimpleQueue[tuple[int, Counted] | None] = queue.SimpleQueue()
    errors: list[BaseException] = []

    def flush() -> None:
        is_open = True
        while is_open:
            tasks = [waiting.get()]
            while not waiting.empty():
                tasks.append(waiting.get())
            is_open = None not in tasks
            real = [task for task in tasks if task is not None]
            numbers = [number for number, _ in real]
            try:
                work.flush(numbers)
                finished(numbers, sum((counted for _, counted in real), Counted()))
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)

    def done(number: int, counted: Counted) -> None:
        if errors:
            raise errors[0]
        waiting.put((number, counted))

    thread = threading.Thread(target=flush, name="usid-flush")
    thread.start()
    try:
        yield done
    finally:
        waiting.put(None)
        thread.join()
    if errors:
        raise errors[0]


class StageRun:
    """One stage, of which an earlier run may have done a part.

    Parameters
    ----------
    work
        The stage on real arrays.
    done
        Marks of tasks; those that are set and whose shards are there are not done again. None
        where nothing outlives this process.
    check
        Called before every task; raises where the work has to end.
    advance
        Called from several threads with the bytes of each block.
    """

    def __init__(
        self,
        work: Work,
        done: DoneFile | None,
        *,
        check: Callable[[], None] = lambda: None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.work = work
        self.done = done
        self.check = check
        self.advance = advance

    def is_complete(self) -> bool:
        """Return whether an earlier run did all of it, and what it wrote is there."""
        n_tasks = self.work.stage.n_tasks
        if self.done is None or self.done.n_done < n_tasks:
            return False
        return all(map(self.work.is_there, range(n_tasks)))

    def run(self, engine: Engine, workers: int) -> Counted:
        """Do the tasks that are not done, and return what was done."""
        n_tasks = self.work.stage.n_tasks
        todo: Sequence[int] = range(n_tasks)
        total = Counted()
        if self.done is not None and self.done.n_done:
            kept = [n for n in self.done.numbers() if self.work.is_there(n)]
            missing = np.ones(n_tasks, np.bool_)
            missing[kept] = False
            todo = np.flatnonzero(missing).tolist()
            total = Counted(n_kept=len(kept))
            for number in kept:
                self.advance(self._size(number))
        lock = threading.Lock()

        def finished(numbers: Sequence[int], counted: Counted) -> None:
            nonlocal total
            with lock:
                total += counted
                if self.done is not None:
                    self.done.mark(numbers)
            for number in numbers:
                self.advance(self._size(number))

        if todo:
            engine.run(self.work, todo, workers=workers, finished=finished, check=self.check)
        return total

    def _size(self, number: int) -> int:
        region = self.work.stage.region(number, self.work.stage.counts)
        n_cells: int = math.prod(part.stop - part.start for part in region)
        return n_cells * self.work.stage.itemsize


def _with_inner(region: Region, array: ShardedArray) -> Region:
    """Return a region of the shared dimensions with the whole of an array's inner ones."""
    return region + tuple(slice(0, n) for n in array.shape[len(region) :])
