"""Which files share a task: as few as Prefect's server can record, and large ones alone.

A task run costs the server 25 ms of its one process, and of thousands at once it forgets some.
So a sweep has about 200 tasks however many small files it finds, each task keeps to a hundred
files so that results show early, and no more than twenty tasks start in a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from usid_tasks.ingest import FileRecord
from usid_tasks.printable import printable
from usid_tasks.report import count
from usid_tasks.sources import SourceFile
from usid_tasks.tasks import Examined, ingest_files

TASKS = 200
MOST_FILES = 100
MOST_BYTES = 64 * 1024**2
PACE_S = 0.05
_NAME_LENGTH = 120


@dataclass(frozen=True)
class Batch:
    """Files that one task examines one after the other."""

    files: tuple[SourceFile, ...]

    @property
    def name(self) -> str:
        """What the task run is called: the file, or the first of them and how many."""
        first = printable(self.files[0].key)
        if len(first) > _NAME_LENGTH:
            first = "…" + first[-_NAME_LENGTH:]
        others = len(self.files) - 1
        return f"{first} and {count(others, 'other file')}" if others else first


def plan_batches(files: Sequence[SourceFile]) -> list[Batch]:
    """Return every file in one batch, in the order given.

    Up to :data:`TASKS` files have a task each. Of more, the small ones are put together, up to
    :data:`MOST_FILES` and :data:`MOST_BYTES`.
    """
    most_files = min(-(-len(files) // TASKS), MOST_FILES)
    batches: list[Batch] = []
    open_files: list[SourceFile] = []
    open_bytes = 0
    for file in files:
        if open_files and (len(open_files) >= most_files or open_bytes + file.size > MOST_BYTES):
            batches.append(Batch(tuple(open_files)))
            open_files, open_bytes = [], 0
        open_files.append(file)
        open_bytes += file.size
    if open_files:
        batches.append(Batch(tuple(open_files)))
    return batches


def run_batches(
    batches: Sequence[Batch], examine: Callable[[SourceFile], FileRecord], *, workers: int
) -> list[FileRecord]:
    """Return the record of every file; call it within a flow.

    Parameters
    ----------
    batches
        One task run each.
    examine
        What makes a file's record; called in threads.
    workers
        Tasks that run at the same time.
    """
    futures: list[PrefectFuture[Any]] = []
    places = threading.Semaphore(2 * workers)  # one running and one ready for each worker
    with ThreadPoolTaskRunner[Any](max_workers=workers) as runner:
        for batch in batches:
            places.acquire()
            future = runner.submit(
                ingest_files,
                {"name": batch.name, "files": quote(batch.files), "examine": examine},
            )
            future.add_done_callback(lambda _: places.release())
            futures.append(future)
            time.sleep(PACE_S)
        return [record for future in futures for record in _records(future)]


def _records(future: PrefectFuture[Any]) -> tuple[FileRecord, ...]:
    examined = future.result(raise_on_failure=False)  # a Failed task has its records too
    if isinstance(examined, Examined):
        return examined.records
    raise examined  # what the task raised
