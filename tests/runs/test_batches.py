"""Which files share a task."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.batches import MOST_BYTES, MOST_FILES, TASKS, Batch, plan_batches
from usid_tasks.sources import SourceFile


def source_file(number: int, size: int = 1000) -> SourceFile:
    return SourceFile(
        root_name="",
        root=Path("/data"),
        relative=f"scan{number:06}.h5",
        size=size,
        mtime_ns=0,
        ctime_ns=0,
        inode=number,
    )


@pytest.mark.parametrize("n_files", [0, 1, 7, TASKS, TASKS + 1, 5000, 30_000])
def test_every_file_is_in_one_batch_in_order(n_files):
    files = [source_file(number) for number in range(n_files)]
    batches = plan_batches(files)
    assert [file for batch in batches for file in batch.files] == files
    assert all(1 <= len(batch.files) <= MOST_FILES for batch in batches)


def test_few_files_have_a_task_each():
    assert len(plan_batches([source_file(number) for number in range(TASKS)])) == TASKS


def test_many_small_files_are_few_tasks():
    assert len(plan_batches([source_file(number) for number in range(5000)])) == TASKS


def test_a_large_file_has_a_task_of_its_own():
    files = [source_file(number) for number in range(10 * TASKS)]
    files[5] = source_file(5, 2 * MOST_BYTES)
    (batch,) = [batch for batch in plan_batches(files) if files[5] in batch.files]
    assert batch.files == (files[5],)


def test_a_task_is_called_like_its_files():
    assert Batch((source_file(1),)).name == "scan000001.h5"
    assert Batch((source_file(1), source_file(2), source_file(3))).name == (
        "scan000001.h5 and 2 other files"
    )
