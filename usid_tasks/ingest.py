"""The main job: every file of a source folder to a verified store with its receipt.

Discover, settle, claim, digest, validate, convert, read back, publish, summarise: plain functions
that the command line calls and the Prefect flow wraps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from usid_tasks.checks.files import F1
from usid_tasks.checks.rule import Violation
from usid_tasks.claims import Claim
from usid_tasks.conversion import Converted, changed, convert_to
from usid_tasks.convert import keeping_unfinished, work_of
from usid_tasks.errors import ClaimedError, FileBusyError, NotHDF5Error, UsidError
from usid_tasks.file_digests import SourceDigest, file_digest, looks_of
from usid_tasks.journal import JOURNAL
from usid_tasks.model import Outcome
from usid_tasks.probe import probe
from usid_tasks.progress import NullProgress, Progress
from usid_tasks.provenance.unfinished import Derivation, derivation_of
from usid_tasks.receipts import read_receipt
from usid_tasks.settings import Settings
from usid_tasks.settle import lock_state
from usid_tasks.sources import SourceFile
from usid_tasks.sweep import (
    FileRecord,
    IngestRequest,
    IngestSummary,
    Sweep,
    Work,
    begin_sweep,
    defer,
    fail,
    known,
    source_record,
    without_store,
)

LOG = logging.getLogger("usid_tasks")

__all__ = [
    "FileRecord",
    "IngestRequest",
    "IngestSummary",
    "Sweep",
    "begin_sweep",
    "ingest",
    "ingest_one",
    "summarise",
]


class _Share:
    """Passes on a file's progress so that it sums to the size of the file."""

    def __init__(self, progress: Progress, size: int) -> None:
        self.progress, self.size = progress, size
        self.total = self.done = self.told = 0
        self._lock = threading.Lock()

    def begin(self, total: int) -> None:
        with self._lock:
            self.total, self.done = total, 0

    def advance(self, n_bytes: int) -> None:
        with self._lock:
            self.done += n_bytes
            share = min(self.size, self.size * self.done // max(self.total, 1))
            step, self.told = max(share - self.told, 0), max(share, self.told)
        self.progress.advance(size_bytes=step)

    def finish(self) -> None:
        self.progress.advance(files=1, size_bytes=self.size - self.told)


def ingest_one(sweep: Sweep, file: SourceFile, *, progress: Progress | None = None) -> FileRecord:
    """Examine one file and publish what comes of it; one bad file never stops the others.

    Returns
    -------
    FileRecord
        With outcome *failed* and the reason where anything went wrong: a damaged file, a
        disk that is full, a defect of this program (its traceback goes to the log).
    """
    began = time.monotonic()
    share = _Share(progress or NullProgress(), file.size)
    work = Work(sweep, file)
    try:
        record = _examine(work, share)
    except ClaimedError as error:
        record = work.record(without_store(Outcome.DEFERRED, error.what))
    except FileBusyError as error:
        record = defer(sweep, file, error.what)
    except (UsidError, OSError) as error:
        record = fail(work, str(error))
    except Exception as error:
        LOG.exception("%s: unexpected %s", file.path, type(error).__name__)
        reason = f"unexpected {type(error).__name__}: {error} (a defect of usid-flows: see the log)"
        record = fail(work, reason)
    share.finish()
    record = replace(record, seconds=time.monotonic() - began)
    LOG.info("%s: %s%s", file.path, record.outcome, f": {record.reason}" if record.reason else "")
    return record


def _examine(work: Work, share: _Share) -> FileRecord:
    sweep, file = work.sweep, work.file
    destination = sweep.destination
    with destination.claim(file.key, run_id=sweep.run_id) as claim:
        lock = lock_state(file.path)
        if lock.is_busy:
            raise FileBusyError(file.path, lock.value, "try again when the writer is done")
        before = looks_of(file.path)
        if before != (file.size, file.mtime_ns, file.ctime_ns, file.inode):
            raise changed(file.path)
        former = read_receipt(file.receipt_path(destination.dest))
        if former is not None:
            work.digest = file_digest(file.path)
        if (
            former is not None
            and former.source.digest == work.digest
            and former.extra.get("elsewhere", {})
            == _elsewhere(file.path, former.extra.get("elsewhere", {}))
        ):
            record = known(sweep, file, former)
            if record is not None:
                touched = replace(
                    former,
                    source=source_record(file, work.digest),
                    extra={**former.extra, "examined": work.started},
                )
                if former.has_store:
                    destination.restate(touched, claim)
                else:
                    destination.publish(None, touched, claim)
                return record
        staged = destination.staging(claim, work=work_of(file.path, before, sweep.settings))
        with (
            keeping_unfinished(destination, staged),
            SourceDigest(file.path, work.digest) as digest,
        ):
            converted, derivation = _convert(work, staged, share, claim)
            work.digest = digest.result()
            if looks_of(file.path) != before:
                raise changed(file.path)
            if not converted.arrays:
                destination.discard(staged)
            elsewhere = _elsewhere(file.path, converted.elsewhere)
            told = {"elsewhere": elsewhere, **derivation.to_json()}
            receipt = work.receipt(converted, **{name: one for name, one in told.items() if one})
            destination.publish(staged if converted.arrays else None, receipt, claim)
        return work.record(converted)


def _elsewhere(source: Path, names: Iterable[str]) -> dict[str, str | None]:
    """Return the digests of other files that hold values of the source, None of one not there."""
    paths = {name: source.parent / name for name in names}
    return {name: file_digest(path) if path.is_file() else None for name, path in paths.items()}


def _derivation(work: Work) -> Derivation:
    """Return where the results in a file come from.

    Raises
    ------
    FileBusyError
        If one of its results groups has positions still to do, and the file was written to within
        the hours after which waiting is a warning: later, its tool will not come back.
    """
    file, sweep = work.file, work.sweep
    found = derivation_of(file.path)
    if found.unfinished:
        idle_s = (sweep.destination.storage_now_ns() - file.mtime_ns) / 1e9
        if idle_s < sweep.settings.ingest.deferred_warning_hours * 3600:
            what = "; ".join(map(str, found.unfinished))
            raise FileBusyError(file.path, what, "It is taken once its tool is done.")
    return found


def _convert(work: Work, staged: Path, share: _Share, claim: Claim) -> tuple[Converted, Derivation]:
    file = work.file
    try:
        probe(file.path, timeout_s=work.sweep.settings.ingest.probe_timeout_s)
        derivation = _derivation(work)
        converted = convert_to(
            file.path,
            staged,
            settings=work.sweep.settings,
            journal=staged.parent / JOURNAL,
            check=claim.check,
            begin=share.begin,
            advance=share.advance,
        )
    except NotHDF5Error as error:
        finding = F1.finding(str(file.path), Violation("/", error.what))
        failed = without_store(Outcome.FAILED, f"{finding.id}: {error.what}", [finding])
        return failed, Derivation()
    return converted, derivation


def summarise(sweep: Sweep, records: Sequence[FileRecord]) -> IngestSummary:
    """Return the summary of a run from the records of its examined files."""
    everything = sorted([*sweep.records, *records], key=lambda record: record.key)
    return IngestSummary(
        files=tuple(everything),
        dest=sweep.destination.dest,
        scheduled=sweep.request.scheduled,
        passed_over=sweep.passed_over,
    )


def ingest(
    request: IngestRequest, settings: Settings, *, progress: Progress | None = None
) -> IngestSummary:
    """Ingest every file of the sources, several at a time, and return the summary.

    Raises
    ------
    RefusedError
        See :func:`begin_sweep`; what is wrong with single files stands in the summary.
    """
    progress = progress or NullProgress()
    sweep = begin_sweep(request, settings, progress=progress)
    size = sum(file.size for file in sweep.files)
    if sweep.files:
        progress.begin("converting", files=len(sweep.files), size_bytes=size)
    with ThreadPoolExecutor(settings.ingest.workers, thread_name_prefix="usid-file") as pool:
        jobs = [pool.submit(ingest_one, sweep, file, progress=progress) for file in sweep.files]
        try:
            records = [job.result() for job in jobs]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return summarise(sweep, records)
