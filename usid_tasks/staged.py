"""Arrays made stage by stage, taken up where an earlier run was killed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from usid_tasks.digests import ArrayDigest
from usid_tasks.journal import DoneFile, Journal, TileFile
from usid_tasks.shards import ShardedArray, open_array, rechunked_document
from usid_tasks.stages import Stage
from usid_tasks.workers import Counted, Engine, Part, Reader, StageRun, StoreReader, Work


@dataclass(frozen=True)
class Making:
    """How arrays of one store are made.

    Parameters
    ----------
    journal
        Where it is noted what is done; None where nothing needs to outlive this process, and no
        array has more than one stage.
    engine, workers
        What does the tasks, and how many at once.
    is_verified, is_hashed
        Whether what is written is decoded from disk and compared, byte by byte; whether the
        digests of what is read are made. Only benchmarks do without.
    check
        Called before every task; raises where the work has to end.
    advance
        Called from several threads with the bytes of each block.
    """

    journal: Journal | None
    engine: Engine
    workers: int
    is_verified: bool = True
    is_hashed: bool = True
    check: Callable[[], None] = lambda: None
    advance: Callable[[int], None] = lambda _: None


@dataclass(frozen=True)
class StagedArrays:
    """Arrays of the same outer shape that are read together, and the stages that make them.

    Parameters
    ----------
    number
        Under which the journal knows them.
    stages, last
        From the plan; the number of the stage that writes ``targets``.
    reader
        Of the source.
    targets
        What is made; where nothing is written (a store's array copied as it is), what is hashed.
    parts
        Type and inner shape of each.
    """

    number: int
    stages: Sequence[Stage]
    last: int
    reader: Reader
    targets: tuple[ShardedArray, ...]
    parts: tuple[Part, ...]

    def make(self, making: Making) -> tuple[Counted, list[str]]:
        """Run the stages that are not done; return what was done and the arrays' digests."""
        tiles = tuple(self._tiles(making))
        try:
            counted = self._run(making, tiles)
            return counted, [each.result() for each in tiles] if making.is_hashed else []
        finally:
            for each in tiles:
                each.close()

    def _tiles(self, making: Making) -> Iterator[TileFile | ArrayDigest]:
        for part, target in enumerate(self.targets):
            if making.journal is None:
                yield ArrayDigest(target.shape, target.dtype)
            else:
                yield making.journal.tiles(self.number, part, target.shape, target.dtype)

    def _run(self, making: Making, tiles: tuple[TileFile | ArrayDigest, ...]) -> Counted:
        readers: list[Reader] = [self.reader]
        written: list[tuple[ShardedArray, ...]] = []
        for at, stage in enumerate(self.stages):
            targets: tuple[ShardedArray, ...] = ()
            if stage.target is not None:
                targets = self.targets if at == self.last else self._between(making, at, stage)
                readers.append(StoreReader(targets))
            written.append(targets)
        works = [
            Work(
                stage,
                readers[at],
                written[at],
                self.parts,
                tiles if stage.is_hashing and making.is_hashed else (),
                is_flushed=making.journal is not None and at >= self.last,
                is_verified=making.is_verified,
            )
            for at, stage in enumerate(self.stages)
        ]
        if making.journal is None:
            return sum((self._stage(making, work, None) for work in works), Counted())
        if any(isinstance(each, TileFile) and each.is_new for each in tiles):
            self._forget(making.journal)
        return self._resume(making, making.journal, works)

    def _forget(self, journal: Journal) -> None:
        """Forget what is done of the stages that hash: their digests are lost, or never were."""
        for at, stage in enumerate(self.stages):
            if stage.is_hashing:
                with self._done(journal, at) as done:
                    done.clear()

    def _resume(self, making: Making, journal: Journal, works: Sequence[Work]) -> Counted:
        first = self._first(journal, works)
        counted = Counted(n_kept=sum(stage.n_tasks for stage in self.stages[:first]))
        for stage in self.stages[:first]:
            making.advance(math.prod(stage.shape) * stage.itemsize)
        for at in range(first, len(works)):
            with self._done(journal, at) as done:
                counted += self._stage(making, works[at], done)
            if at and works[at].targets:
                journal.clear(self.number, at - 1)
        return counted

    def _first(self, journal: Journal, works: Sequence[Work]) -> int:
        """Return the stage to begin with: the one after the last that is whole."""
        for at in reversed(range(len(works))):
            if not works[at].targets:
                continue  # hashing again reads what is there
            with self._done(journal, at) as done:
                if StageRun(works[at], done).is_complete():
                    return at + 1
        return 0

    def _done(self, journal: Journal, at: int) -> DoneFile:
        return journal.done(self.number, at, self.stages[at].n_tasks, is_kept=at >= self.last)

    @staticmethod
    def _stage(making: Making, work: Work, done: DoneFile | None) -> Counted:
        run = StageRun(work, done, check=making.check, advance=making.advance)
        return run.run(making.engine, making.workers)

    def _between(self, making: Making, at: int, stage: Stage) -> tuple[ShardedArray, ...]:
        """Return the intermediate arrays that a stage writes, without a codec."""
        assert stage.target is not None, "a stage between two writes"
        assert making.journal is not None, "arrays of several stages have a journal"
        arrays = []
        for part, target in enumerate(self.targets):
            inner = target.shape[len(stage.shape) :]
            document = json.loads((target.folder / "zarr.json").read_text("utf-8"))
            between = rechunked_document(
                document,
                (*stage.target.chunk, *inner),
                (*stage.target.shard, *inner),
                is_compressed=False,
            )
            arrays.append(open_array(making.journal.between(self.number, at) / str(part), between))
        return tuple(arrays)
