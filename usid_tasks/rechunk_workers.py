"""Workers that carry out a stage: threads that read a block, write it, read it back and hash it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from usid_tasks.digests import tile_digests
from usid_tasks.errors import VerificationError
from usid_tasks.rechunk_journal import DoneFile, TileFile
from usid_tasks.rechunk_stages import Stage
from usid_tasks.shards import Region, Scratch, ShardedArray, buffer_of

REPORT = "This is a defect of usid-flows or of the disk: keep the source and report it."


@dataclass(frozen=True)
class Counted:
    """What a stage came to, to be held against its plan.

    ``bytes_read`` and ``bytes_written`` are of decoded chunks, as in
    :class:`~usid_tasks.rechunk_stages.Stage`; ``n_kept`` tasks were done by an earlier run.
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


class StageRun:
    """One stage on real arrays.

    Parameters
    ----------
    stage
        The plan of it.
    source, target
        The arrays; no target where blocks are only hashed.
    done
        Marks of tasks; those that are set and whose shards are there are not done again.
    tiles
        Where digests go, for a stage that hashes.
    is_kept
        Whether what is written belongs to the store: it is flushed before it is marked.
    check
        Called before every task; raises where the work has to end.
    advance
        Called from several threads with the bytes of each block.
    """

    def __init__(
        self,
        stage: Stage,
        source: ShardedArray,
        target: ShardedArray | None,
        *,
        done: DoneFile,
        tiles: TileFile | None,
        is_kept: bool,
        check: Callable[[], None] = lambda: None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.stage = stage
        self.source = source
        self.target = target
        self.done = done
        self.tiles = tiles if stage.is_hashing else None
        self.is_kept = is_kept
        self.check = check
        self.advance = advance
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._next = 0
        self._counts = stage.counts
        self._n_tasks = stage.n_tasks

    def is_complete(self) -> bool:
        """Return whether an earlier run did all of it, and what it wrote is there."""
        if self.done.n_done < self._n_tasks:
            return False
        return self.target is None or all(map(self.target.has, self.stage.regions()))

    def run(self, workers: int) -> Counted:
        """Do the tasks that are not done, and return what was done.

        The first error ends all workers; what they have finished is marked.
        """
        total = Counted()
        n_workers = max(1, min(workers, self._n_tasks))
        with ThreadPoolExecutor(n_workers, thread_name_prefix="usid-rechunk") as pool:
            futures = [pool.submit(self._work) for _ in range(n_workers)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                self._stop.set()
        for future in futures:
            total += future.result()
        return total

    def _work(self) -> Counted:
        chunks = [self.source.chunk_bytes, self.target.chunk_bytes if self.target else 0]
        scratch = Scratch(max(chunks))
        buffer = buffer_of(self.stage.block_bytes)
        dtype = self.source.dtype
        total = Counted()
        while not self._stop.is_set() and (number := self._take()) is not None:
            region = self.stage.region(number, self._counts)
            shape = tuple(part.stop - part.start for part in region)
            n_bytes = math.prod(shape) * dtype.itemsize
            if self.done.is_done(number) and (self.target is None or self.target.has(region)):
                total += Counted(n_kept=1)
            else:
                self.check()
                block = buffer[:n_bytes].view(dtype).reshape(shape)
                n_read = self.source.read(region, block, scratch)
                scratch.release()
                n_written = self._write(region, block, scratch) if self.target else 0
                if self.tiles is not None:
                    digests = tile_digests(block, self.tiles.tile)
                    self.tiles.put(digests, [part.start for part in region], fsync=True)
                self.done.mark(number)
                total += Counted(1, 0, n_read * chunks[0], n_written * chunks[1])
            self.advance(n_bytes)
        return total

    def _take(self) -> int | None:
        with self._lock:
            number = self._next
            self._next += 1
        return number if number < self._n_tasks else None

    def _write(self, region: Region, block: NDArray[Any], scratch: Scratch) -> int:
        """Write a block, decode what is now on disk, and compare every byte."""
        assert self.target is not None, "there is something to write to"
        n_chunks = self.target.write(region, block, scratch, fsync=self.is_kept)
        wrong = self.target.differs(region, block, scratch)
        scratch.release()
        if wrong is not None:
            start = tuple(part.start for part in wrong)
            raise VerificationError(
                self.target.folder, f"chunk at {start} does not read back as it was written", REPORT
            )
        return n_chunks
