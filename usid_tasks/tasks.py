"""The Prefect tasks: what a run's record shows as a step of its own.

Nothing is cached, persisted or tried again by Prefect: the receipts decide what is done, each
file's failure is a record and not an exception, and the next run takes it up where that helps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from usid_tasks.convert import ConvertResult, convert_file
from usid_tasks.errors import UsidError
from usid_tasks.ingest import FileRecord
from usid_tasks.model import Finding
from usid_tasks.printable import printable
from usid_tasks.process.many import Order
from usid_tasks.progress import Progress
from usid_tasks.rechunk import RechunkResult, rechunk_store
from usid_tasks.settings import Settings
from usid_tasks.sources import SourceFile
from usid_tasks.validate import validate_paths
from usid_tasks.workers import Engine

_TOLD = 3
_LENGTH = 300
"""Files that a task's message names, and the characters it has for each."""


@dataclass(frozen=True)
class Examined:
    """The records of the files of one task; Prefect's logs need not show them."""

    records: tuple[FileRecord, ...] = field(repr=False)


@task(name="ingest files", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def ingest_files(
    name: str, files: Sequence[SourceFile], examine: Callable[[SourceFile], FileRecord]
) -> State[Any]:
    """Examine files one after the other, and fail where one of them is broken or failed.

    Parameters
    ----------
    name
        What the run is called in Prefect.
    files
        The files of the task.
    examine
        What makes the record of a file.

    Returns
    -------
    State
        Its data is :class:`Examined`, also where it is Failed.
    """
    del name
    records = tuple(examine(file) for file in files)
    worst_first = sorted(records, key=lambda record: not record.outcome.is_failure)
    told = [_told(record) for record in worst_first[:_TOLD]]
    if len(records) > _TOLD:
        told.append(f"and {len(records) - _TOLD} more")
    message = "; ".join(told)
    make = Failed if any(record.outcome.is_failure for record in records) else Completed
    return make(message=message, data=Examined(records))


def _told(record: FileRecord) -> str:
    reason = f": {record.reason}" if record.reason else ""
    told = printable(f"{record.key}: {record.outcome}{reason}")
    return told if len(told) <= _LENGTH else f"{told[: _LENGTH - 1]}…"


@task(name="validate files", cache_policy=NO_CACHE, persist_result=False)
def validate_files(
    paths: Sequence[Path], settings: Settings, progress: Progress
) -> tuple[list[tuple[Path, list[Finding]]], UsidError | None]:
    """Return what was found in each file, and what kept others from being read, if anything."""
    found = []
    try:
        for file, findings in validate_paths(paths, settings, progress=progress):
            found.append((file, findings))
    except UsidError as error:  # comes last, and must not take along what was found
        return found, error
    return found, None


@task(name="convert file", task_run_name="{file}", cache_policy=NO_CACHE, persist_result=False)
def convert_one(
    file: Path,
    dest: Path,
    datasets: Sequence[str],
    *,
    overwrite: bool,
    settings: Settings,
    progress: Progress,
    engine: Engine | None = None,
) -> ConvertResult:
    """Convert one file to one store."""
    return convert_file(
        file,
        dest,
        dataset=datasets or None,
        overwrite=overwrite,
        settings=settings,
        progress=progress,
        engine=engine,
    )


@task(name="rechunk store", task_run_name="{store}", cache_policy=NO_CACHE, persist_result=False)
def rechunk_one(
    store: Path,
    dest: Path,
    *,
    intent: str,
    memory: str,
    workers: int | None,
    overwrite: bool,
    settings: Settings,
    progress: Progress,
    engine: Engine | None = None,
) -> RechunkResult:
    """Make a store of the same values in other chunks."""
    return rechunk_store(
        store,
        dest,
        intent=intent,
        memory=memory,
        workers=workers,
        overwrite=overwrite,
        settings=settings,
        progress=progress,
        engine=engine,
    )


@task(name="process file", task_run_name="{file}", cache_policy=NO_CACHE, persist_result=False)
def process_one(file: Path, root: Path | None, order: Order) -> State[Any]:
    """Run a tool over one file, and fail where it failed or was refused.

    Returns
    -------
    State
        Its data is :class:`~usid_tasks.process.many.Processed`, also where it is Failed.
    """
    done = order.process(file, root)
    if done.is_failure:
        return Failed(message=printable(done.told)[:_LENGTH], data=done)
    return Completed(message=f"{len(done.results)} results groups", data=done)
