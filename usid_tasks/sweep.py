"""One run over its sources: what is found, what is known already, what has to wait."""

from __future__ import annotations

import logging
import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from usid_tasks.conversion import Converted
from usid_tasks.discover import Unreadable, discover
from usid_tasks.errors import ClaimedError, UsidError
from usid_tasks.model import JSON, LAYOUT_VERSION, Finding, Outcome, Severity
from usid_tasks.places import unusable_name
from usid_tasks.progress import NullProgress, Progress
from usid_tasks.proof import build_receipt, versions
from usid_tasks.publish import Destination
from usid_tasks.receipts import MainRecord, Receipt, SourceRecord, read_receipt, utc_now
from usid_tasks.settings import Settings, shaping_digest
from usid_tasks.settle import settled
from usid_tasks.sources import SourceFile

LOG = logging.getLogger("usid_tasks")

_RACY_NS = 2_000_000_000
"""A file written this shortly before it was examined may have changed within one clock tick."""


@dataclass(frozen=True, kw_only=True)
class IngestRequest:
    """What one run does; how it does it stands in the settings.

    ``sources`` are ``PATH`` or ``NAME=PATH``; ``refresh`` converts outdated files again;
    ``scheduled`` counts known failures that have not changed without failing the run;
    ``settle_s`` replaces the setting ``ingest.settle_s``.
    """

    sources: Sequence[str]
    dest: Path
    refresh: bool = False
    scheduled: bool = False
    settle_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What became of one file in a run.

    ``known`` is True where an earlier run came to this outcome and nothing has changed;
    ``bytes`` is the size of the source, ``mains`` the number of Main datasets stored.
    """

    path: str
    key: str
    outcome: Outcome
    reason: str = ""
    mains: int = 0
    seconds: float = 0.0
    bytes: int = 0
    findings: tuple[Finding, ...] = ()
    main_records: tuple[MainRecord, ...] = ()
    known: bool = False


@dataclass(frozen=True, kw_only=True)
class IngestSummary:
    """All files of a run with their outcomes; ``passed_over`` tells what looked like one."""

    files: tuple[FileRecord, ...]
    dest: Path
    scheduled: bool = False
    passed_over: tuple[str, ...] = ()

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many files came to each outcome."""
        return Counter(record.outcome for record in self.files)

    @property
    def exit_status(self) -> int:
        """0 where all is well, 1 where something in the data is wrong or failed."""
        return int(
            any(
                record.outcome.is_failure and not (self.scheduled and record.known)
                for record in self.files
            )
        )


@dataclass(frozen=True)
class Sweep:
    """One run over its sources: ``files`` are still to be examined, ``records`` are decided."""

    request: IngestRequest
    settings: Settings
    destination: Destination
    run_id: str
    files: tuple[SourceFile, ...]
    records: tuple[FileRecord, ...]
    shaping: str = ""
    passed_over: tuple[str, ...] = ()


def shared_out(settings: Settings) -> Settings:
    """Return the settings with the memory that one of the files converted at once may take."""
    share = settings.convert.memory // settings.ingest.workers
    return settings.model_copy(
        update={"convert": settings.convert.model_copy(update={"memory": share})}
    )


def begin_sweep(
    request: IngestRequest, settings: Settings, *, progress: Progress | None = None
) -> Sweep:
    """Find the files, mend what killed runs left, and decide all that needs no reading.

    Raises
    ------
    RefusedError
        Before anything is written: a source is missing or nested, or two files would share
        one store.
    """
    progress = progress or NullProgress()
    progress.begin("looking for files")
    settings = shared_out(settings)
    dest = Path(os.path.abspath(request.dest))  # noqa: PTH100 - keeps links as given
    found = discover(request.sources, dest, ignore=settings.ingest.ignore)
    destination = Destination(
        dest,
        file_mode=settings.convert.file_mode,
        dir_mode=settings.convert.dir_mode,
        renew_s=settings.claims.renew_s,
        dead_after_s=settings.claims.dead_after_s,
    )
    run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ") + f"-{secrets.token_hex(4)}"
    passed_over = (
        *(f"{link}: a symbolic link, not followed" for link in found.links),
        *(f"{name}: no HDF5, in spite of its name" for name in found.misnamed),
    )
    sweep = Sweep(
        request, settings, destination, run_id, (), (), shaping_digest(settings), passed_over
    )
    for mended in destination.mend(run_id=run_id):
        progress.note(f"mended {mended.key or 'DEST'}: {mended.what}")
    records = [_unreadable(sweep, one) for one in found.unreadable]
    unknown = []
    for file in found.files:
        record = _known_by_looks(sweep, file)
        if record is None:
            unknown.append(file)
        else:
            records.append(record)
    settle_s = settings.ingest.settle_s if request.settle_s is None else request.settle_s
    ready, deferred = settled(
        unknown,
        settle_s=settle_s,
        storage_now_ns=destination.storage_now_ns(),
        look_s=settings.ingest.look_interval_s,
    )
    records += [defer(sweep, one.file, one.reason) for one in deferred]
    return replace(sweep, files=ready, records=tuple(records))


def _unreadable(sweep: Sweep, one: Unreadable) -> FileRecord:
    """Return the record of what cannot be read, with a receipt where it is a file with a name."""
    key = f"{one.root_name}/{one.relative}" if one.root_name else one.relative
    record = FileRecord(path=str(one.path), key=key, outcome=one.outcome, reason=one.reason)
    try:
        status = one.path.stat()
        is_file = one.path.is_file()
    except OSError:
        is_file = False
    if not is_file or unusable_name(key):
        return record
    file = SourceFile(
        root_name=one.root_name,
        root=one.path.parents[len(Path(one.relative).parts) - 1],
        relative=one.relative,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
    )
    return fail(Work(sweep, file), one.reason)


def _known_by_looks(sweep: Sweep, file: SourceFile) -> FileRecord | None:
    """Return the record of a file that looks as its receipt says, without opening it."""
    try:
        receipt = read_receipt(file.receipt_path(sweep.destination.dest))
    except UsidError:
        return None  # told when the file is examined
    if receipt is None or receipt.source.digest is None or receipt.extra.get("elsewhere"):
        return None
    source = receipt.source
    looks = (source.size, source.mtime_ns, source.ctime_ns)
    if looks != (file.size, file.mtime_ns, file.ctime_ns):
        return None
    examined = str(receipt.extra.get("examined") or receipt.started)
    examined_ns = datetime.fromisoformat(examined).timestamp() * 1e9
    if max(file.mtime_ns, file.ctime_ns) > examined_ns - _RACY_NS:
        return None
    return known(sweep, file, receipt)


def known(sweep: Sweep, file: SourceFile, receipt: Receipt) -> FileRecord | None:
    """Return what an unchanged source's receipt says of this run, None if it is to be done."""
    if receipt.outcome is Outcome.DEFERRED:
        return None
    store = file.store_path(sweep.destination.dest)
    if receipt.has_store and not (store / "zarr.json").is_file():
        return None
    is_same = (receipt.layout_version, receipt.settings_digest) == (LAYOUT_VERSION, sweep.shaping)
    outcome, reason = receipt.outcome, receipt.reason
    if receipt.has_store and not is_same:
        if sweep.request.refresh:
            return None
        outcome = Outcome.OUTDATED
        reason = "its store was made with another layout or other settings: --refresh makes it anew"
    elif not receipt.has_store and (not is_same or receipt.versions != versions()):
        return None
    elif outcome is Outcome.DONE:
        outcome = Outcome.CURRENT
    return FileRecord(
        path=str(file.path),
        key=file.key,
        outcome=outcome,
        reason=reason,
        mains=sum(main.outcome is Outcome.DONE for main in receipt.mains),
        bytes=file.size,
        findings=receipt.findings,
        main_records=receipt.mains,
        known=True,
    )


def source_record(file: SourceFile, digest: str | None) -> SourceRecord:
    """Return what a receipt says of a file as it was found."""
    return SourceRecord(
        root_name=file.root_name,
        path=file.relative,
        size=file.size,
        mtime_ns=file.mtime_ns,
        ctime_ns=file.ctime_ns,
        inode=file.inode,
        digest=digest,
    )


@dataclass
class Work:
    """One file being examined: what is known so far, for the receipt."""

    sweep: Sweep
    file: SourceFile
    started: str = field(default_factory=utc_now)
    digest: str | None = None

    def receipt(self, converted: Converted, **extra: JSON) -> Receipt:
        """Return the receipt of what the file came to."""
        return build_receipt(
            source_record(self.file, self.digest),
            converted,
            started=self.started,
            settings_digest=self.sweep.shaping,
            extra={"run": self.sweep.run_id, **extra},
        )

    def record(self, converted: Converted) -> FileRecord:
        """Return the file's line in the summary."""
        return FileRecord(
            path=str(self.file.path),
            key=self.file.key,
            outcome=converted.outcome,
            reason=converted.reason,
            mains=sum(main.outcome is Outcome.DONE for main in converted.mains),
            bytes=self.file.size,
            findings=converted.findings,
            main_records=converted.mains,
        )


def without_store(outcome: Outcome, reason: str, findings: Sequence[Finding] = ()) -> Converted:
    """Return an outcome that has no store."""
    return Converted(outcome, reason, tuple(findings), {}, ())


def defer(sweep: Sweep, file: SourceFile, reason: str) -> FileRecord:
    """Leave a file for a later run, with a receipt; a warning when that lasts."""
    work = Work(sweep, file)
    try:
        with sweep.destination.claim(file.key, run_id=sweep.run_id) as claim:
            since = _deferred_since(sweep, file) or work.started
            findings = _deferred_too_long(sweep, file, since, reason)
            converted = without_store(Outcome.DEFERRED, reason, findings)
            sweep.destination.publish(None, work.receipt(converted, deferred_since=since), claim)
    except ClaimedError as error:
        converted = without_store(Outcome.DEFERRED, f"{error.what}")
    except (UsidError, OSError) as error:
        converted = without_store(Outcome.FAILED, str(error))
    return work.record(converted)


def _deferred_since(sweep: Sweep, file: SourceFile) -> str | None:
    former = read_receipt(file.receipt_path(sweep.destination.dest))
    if former is None:
        return None
    if former.outcome is Outcome.DEFERRED:
        since = former.extra.get("deferred_since")
    else:
        attempt = former.extra.get("last_attempt") or {}
        is_deferred = attempt.get("outcome") == Outcome.DEFERRED.value
        since = attempt.get("extra", {}).get("deferred_since") if is_deferred else None
    return str(since) if since else None


def _deferred_too_long(
    sweep: Sweep, file: SourceFile, since: str, reason: str
) -> tuple[Finding, ...]:
    waited = datetime.now(UTC) - datetime.fromisoformat(since)
    hours = waited.total_seconds() / 3600
    limit = sweep.settings.ingest.deferred_warning_hours
    if hours < limit:
        return ()
    finding = Finding(
        "F6", Severity.WARNING, str(file.path), "/",
        f"deferred for {hours:.0f} h: {reason}", f"a file that settles within {limit:g} h",
        "look whether its writer still runs; ingest with --settle 0 if the file is complete",
        "usid-flows, «Discover»",
    )  # fmt: skip
    return (finding,)


def fail(work: Work, reason: str) -> FileRecord:
    """Give a receipt to a failure of the machine: without digest, so that it is tried again."""
    work.digest = None
    converted = without_store(Outcome.FAILED, reason)
    sweep = work.sweep
    try:
        with sweep.destination.claim(work.file.key, run_id=sweep.run_id) as claim:
            sweep.destination.publish(None, work.receipt(converted), claim)
    except (UsidError, OSError) as error:
        LOG.warning("%s: no receipt could be written: %s", work.file.path, error)
        converted = replace(converted, reason=f"{reason}; and no receipt could be written: {error}")
    return work.record(converted)
