"""The store that a rechunking makes, in its place of staging: array by array, stage by stage."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import zarr

from usid_tasks import durable
from usid_tasks.digests import array_digest
from usid_tasks.documents import write_document
from usid_tasks.errors import VerificationError
from usid_tasks.plans import ArrayPlan, Plan
from usid_tasks.rechunk_source import SourceStore
from usid_tasks.shards import open_array
from usid_tasks.staged import Making, StagedArrays
from usid_tasks.stages import MIB
from usid_tasks.stores.zarr import shard_files
from usid_tasks.workers import REPORT, Counted, Part, StoreReader

_CELL_BYTES = 256 * MIB
"""What is decoded, at most, to compare cells of an array through zarr-python."""


class StagedStore:
    """The making of one store in its place of staging."""

    def __init__(self, source: SourceStore, plan: Plan, staged: Path, making: Making) -> None:
        self.source = source
        self.plan = plan
        self.staged = staged
        self.making = making
        self.documents = source.rechunked(plan)

    def make(self, *, n_cells: int) -> Counted:
        """Write every array and document, and compare the digests with the source's."""
        if self.making.journal is not None:
            self.making.journal.forget_other_boots()
        for path, document in self.documents.items():
            write_document(self.staged / path, document)
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
        origin = target if array.is_copied else self.source.array(path)
        arrays = StagedArrays(
            number, array.stages, array.last, StoreReader((origin,)), (target,),
            (Part(target.dtype),),
        )  # fmt: skip
        counted, (digest,) = arrays.make(self.making)
        _compare(folder, digest, expected)
        return counted

    def _copy(self, path: str, folder: Path) -> None:
        """Copy the shards of an array as they are."""
        origin = self.source.folder_of(path)
        for file in shard_files(origin):
            copy = folder / file.relative_to(origin)
            durable.make_folders(copy.parent)
            self.making.check()
            if not file.is_file():
                raise VerificationError(
                    file, "a shard is missing, expected every shard", "See `usid verify`."
                )
            with durable.writing(copy):
                shutil.copyfile(file, copy)

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
