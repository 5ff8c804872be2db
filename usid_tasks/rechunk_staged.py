"""The store that a rechunking makes, in its place of staging: array by array, stage by stage."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

from usid_tasks import durable
from usid_tasks.claims import Claim
from usid_tasks.digests import array_digest
from usid_tasks.errors import VerificationError
from usid_tasks.rechunk_journal import Journal, TileFile
from usid_tasks.rechunk_plan import ArrayPlan, RechunkPlan
from usid_tasks.rechunk_source import SourceStore
from usid_tasks.rechunk_stages import MIB, Stage
from usid_tasks.rechunk_workers import REPORT, Counted, StageRun
from usid_tasks.shards import ShardedArray, open_array, rechunked_document
from usid_tasks.stores.zarr import shard_files

_CELL_BYTES = 256 * MIB
"""What is decoded, at most, to compare cells of an array through zarr-python."""


class StagedStore:
    """The making of one store in its place of staging."""

    def __init__(
        self,
        source: SourceStore,
        plan: RechunkPlan,
        staged: Path,
        claim: Claim,
        advance: Callable[[int], None],
    ) -> None:
        self.source = source
        self.plan = plan
        self.staged = staged
        self.claim = claim
        self.advance = advance
        self.documents = source.rechunked(plan)
        self.journal = Journal(staged.parent / "rechunk")

    def make(self, *, n_cells: int) -> Counted:
        """Write every array and document, and compare the digests with the source's."""
        self.journal.forget_other_boots()
        for path, document in self.documents.items():
            folder = self.staged / path
            durable.make_folders(folder)
            with durable.writing(folder):
                text = json.dumps(document, indent=2, ensure_ascii=False)
                # a lone surrogate, of a name that is no UTF-8, becomes its escape
                (folder / "zarr.json").write_bytes(text.encode("utf-8", "backslashreplace"))
        counted = Counted()
        for number, array in enumerate(self.plan.arrays):
            counted += self._make_array(number, array)
            if not array.is_copied:
                self._check_cells(array.subject.path, n_cells)
        return counted

    def _make_array(self, number: int, array: ArrayPlan) -> Counted:
        path = array.subject.path
        folder = self.staged / path.strip("/")
        expected = self.source.receipt.arrays[path].digest
        if array.is_copied:
            self._copy(path, folder)
        if self.source.is_text(path):
            cells = np.asarray(zarr.open_array(folder, mode="r")[...], np.dtypes.StringDType())
            _compare(folder, array_digest(cells), expected)
            return Counted()
        target = open_array(folder, self.documents[path.strip("/")])
        with self.journal.tiles(number, target.shape, target.dtype) as tiles:
            counted = self._run(number, array, target, tiles)
            _compare(folder, tiles.result(), expected)
        return counted

    def _copy(self, path: str, folder: Path) -> None:
        """Copy the shards of an array as they are."""
        origin = self.source.folder_of(path)
        for file in shard_files(origin):
            copy = folder / file.relative_to(origin)
            durable.make_folders(copy.parent)
            self.claim.check()
            if not file.is_file():
                raise VerificationError(
                    file, "a shard is missing, expected every shard", "See `usid verify`."
                )
            with durable.writing(copy):
                shutil.copyfile(file, copy)

    def _run(self, number: int, array: ArrayPlan, target: ShardedArray, tiles: TileFile) -> Counted:
        """Run the stages that are not done."""
        arrays = [target] if array.is_copied else [self.source.array(array.subject.path)]
        for at, stage in enumerate(array.stages):
            if stage.target is not None:
                arrays.append(
                    target if at == array.last else self._between(number, at, stage, target)
                )
        counted = Counted()
        for at in range(self._first(number, array, arrays), len(array.stages)):
            counted += self._run_stage(number, at, array, arrays, tiles)
            if at and array.stages[at].target is not None:
                self.journal.clear(number, at - 1)
        return counted

    def _between(self, number: int, at: int, stage: Stage, target: ShardedArray) -> ShardedArray:
        """Return the intermediate array that a stage writes."""
        assert stage.target is not None, "a stage between two writes"
        folder = self.journal.between(number, at)
        document = rechunked_document(
            json.loads((target.folder / "zarr.json").read_text("utf-8")),
            stage.target.chunk,
            stage.target.shard,
            is_compressed=False,
        )
        return open_array(folder, document)

    def _first(self, number: int, array: ArrayPlan, arrays: list[ShardedArray]) -> int:
        """Return the stage to begin with: the one after the last that is whole."""
        for at in reversed(range(len(array.stages))):
            stage = array.stages[at]
            if stage.target is None:
                continue  # hashing again reads what is there
            with self.journal.done(number, at, stage.n_tasks, is_kept=at == array.last) as done:
                run = StageRun(
                    stage, arrays[at], arrays[at + 1], done=done, tiles=None, is_kept=True
                )
                if run.is_complete():
                    return at + 1
        return 0

    def _run_stage(
        self,
        number: int,
        at: int,
        array: ArrayPlan,
        arrays: list[ShardedArray],
        tiles: TileFile,
    ) -> Counted:
        stage = array.stages[at]
        is_kept = at >= array.last
        with self.journal.done(number, at, stage.n_tasks, is_kept=is_kept) as done:
            return StageRun(
                stage,
                arrays[at],
                None if stage.target is None else arrays[at + 1],
                done=done,
                tiles=tiles,
                is_kept=is_kept,
                check=self.claim.check,
                advance=self.advance,
            ).run(self.plan.workers)

    def _check_cells(self, path: str, n_cells: int) -> None:
        """Compare seeded cells of both stores as zarr-python reads them."""
        folders = (self.source.folder_of(path), self.staged / path.strip("/"))
        one, two = (zarr.open_array(folder, mode="r") for folder in folders)
        decoded = sum(int(np.prod(array.chunks)) * array.dtype.itemsize for array in (one, two))
        chosen = random.Random(path)  # noqa: S311 - which cells are looked at is no secret
        for _ in range(min(n_cells, max(1, _CELL_BYTES // decoded))):
            cell = tuple(chosen.randrange(n) for n in one.shape)
            left, right = (np.asarray(array[cell]).tobytes() for array in (one, two))
            if left != right:
                raise VerificationError(
                    folders[1], f"cell {cell} is not that of {folders[0]}", REPORT
                )


def _compare(folder: Path, found: str, expected: str) -> None:
    if found != expected:
        raise VerificationError(
            folder,
            f"its values have the digest {found}, expected {expected} by the source's receipt",
            "See `usid verify` on the source store; if it is sound, report this.",
        )
