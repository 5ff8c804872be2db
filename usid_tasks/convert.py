"""One file to one store whose place is named: ``usid convert FILE DEST``."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from usid_tasks.conversion import (
    Converted,
    changed,
    convert_to,
    open_source,
    options_of,
)
from usid_tasks.errors import (
    ClaimedError,
    FileBusyError,
    NoMainDatasetError,
    NotHDF5Error,
    RefusedError,
    UsidError,
    VerificationError,
)
from usid_tasks.estimates import estimated
from usid_tasks.file_digests import SourceDigest, looks_of
from usid_tasks.journal import JOURNAL
from usid_tasks.model import JSON, LAYOUT_VERSION, Finding, Outcome
from usid_tasks.places import STORE_SUFFIX, receipt_path
from usid_tasks.plans import Plan, refuse_space
from usid_tasks.progress import NullProgress, Progress
from usid_tasks.proof import build_receipt, versions
from usid_tasks.publish import Destination
from usid_tasks.receipts import SourceRecord, utc_now
from usid_tasks.settings import Settings, load_settings, shaping_digest
from usid_tasks.settle import lock_state
from usid_tasks.speeds import free_bytes
from usid_tasks.stores.zarr import PlannedStore, plan_store
from usid_tasks.workers import Counted, Engine

_WRONG = (VerificationError, FileBusyError, NoMainDatasetError, RefusedError, NotHDF5Error)
"""Errors after which a part of the work is worth nothing."""


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """What became of one file: ``store`` and ``receipt`` lie side by side, if there is a store.

    ``counted`` is what this run did of the ``plan``; there is none without a store.
    """

    outcome: Outcome
    reason: str
    findings: tuple[Finding, ...]
    arrays: tuple[str, ...]
    store: Path
    receipt: Path
    plan: Plan | None = None
    counted: Counted | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return what was made as JSON."""
        counted = self.counted or Counted()
        return {
            "outcome": self.outcome.value,
            "reason": self.reason,
            "findings": [finding.to_json() for finding in self.findings],
            "store": str(self.store),
            "receipt": str(self.receipt),
            "arrays": list(self.arrays),
            "tasks_done": counted.n_tasks,
            "tasks_kept": counted.n_kept,
            "bytes_read": counted.bytes_read,
            "bytes_written": counted.bytes_written,
            "plan": self.plan.to_json() if self.plan else None,
        }


def convert_file(
    file: Path | str,
    dest: Path | str,
    *,
    dataset: str | Sequence[str] | None = None,
    overwrite: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
    begun: SourceDigest | None = None,
) -> ConvertResult:
    """Convert one h5USID file to one verified Zarr store and give it a receipt.

    Parameters
    ----------
    file, dest
        The source, and the store to make: a name that ends in ``.zarr``.
    dataset
        HDF5 paths of the Main datasets to take; all by default.
    overwrite
        Whether a store of ours at ``dest`` gives way. It is not deleted: it moves, with its
        receipt, to ``.usid/superseded`` beside it.
    settings
        The merged configuration; that of the environment by default.
    progress
        Told of every block.
    engine
        What does the tasks; threads by default.
    begun
        The digest of the source, where the caller has begun with it already.

    Run again after a kill, with the same source and settings, it takes up what is done.

    Raises
    ------
    RefusedError
        If memory or space do not suffice (what does is told); if ``dest`` is there and
        ``overwrite`` is not asked for, was not written by usid, or is
        no name for a store. Nothing is written then.
    NotHDF5Error, FileBusyError, OSError
        If the source cannot be opened.
    NoMainDatasetError
        If a ``dataset`` that was named is no sound Main dataset.
    VerificationError
        If what was written does not read back as the source.
    """
    settings = settings or load_settings()
    progress = progress or NullProgress()
    source = Path(file)
    store = _absolute(dest)
    key = _key(store)
    datasets = [dataset] if isinstance(dataset, str) else list(dataset or ())
    if os.path.lexists(store) and not overwrite:
        raise RefusedError(store, "is there already", "Name another store, or add --overwrite.")
    store.parent.mkdir(parents=True, exist_ok=True)
    destination = destination_of(store.parent, settings)
    started = utc_now()
    with destination.claim(key, run_id=f"convert-{secrets.token_hex(4)}") as claim:
        lock = lock_state(source)
        if lock.is_busy:
            raise FileBusyError(source, lock.value, "Try again when the writer is done.")
        with begun or SourceDigest(source) as digest:
            looks, before = digest.looks, source.stat()
            staged = destination.staging(claim, work=work_of(source, looks, settings, datasets))
            with keeping_unfinished(destination, staged):
                converted = convert_to(
                    source,
                    staged,
                    settings=settings,
                    datasets=datasets,
                    journal=staged.parent / JOURNAL,
                    engine=engine,
                    check=claim.check,
                    begin=lambda total: progress.begin("converting", size_bytes=total),
                    advance=lambda n_bytes: progress.advance(size_bytes=n_bytes),
                    approve=lambda planned: approve(planned, store.parent),
                )
                source_digest = digest.result()
                if looks_of(source) != looks:
                    raise changed(source)
                if not converted.arrays:
                    destination.discard(staged)
                    return _result(converted, store)
                receipt = build_receipt(
                    SourceRecord(
                        root_name="",
                        path=key,
                        size=before.st_size,
                        mtime_ns=before.st_mtime_ns,
                        ctime_ns=before.st_ctime_ns,
                        inode=before.st_ino,
                        digest=source_digest,
                    ),
                    converted,
                    started=started,
                    settings_digest=shaping_digest(settings),
                    extra={"source_path": str(source.absolute()), "datasets": datasets or None},
                )
                destination.publish(staged, receipt, claim)
    return _result(converted, store)


def plan_file(
    file: Path | str,
    dest: Path | str,
    *,
    dataset: str | Sequence[str] | None = None,
    settings: Settings | None = None,
) -> Plan:
    """Return how a file would be converted, with free space and a time estimate.

    Nothing is made. Parameters and errors are those of :func:`convert_file`.
    """
    settings = settings or load_settings()
    store = _absolute(dest)
    _key(store)
    datasets = [dataset] if isinstance(dataset, str) else list(dataset or ())
    opened = open_source(Path(file), settings=settings, datasets=datasets)
    if not opened.has_mains:
        raise NoMainDatasetError(
            file, "there is no sound Main dataset to convert", "See `usid validate`."
        )
    planned = estimated(plan_store(opened.tree, options_of(settings)), store.parent)
    approve(planned, store.parent)
    return planned.plan


def approve(planned: PlannedStore, place: Path) -> None:
    """Refuse a plan that does not fit the disk, or names a dimension that is not there.

    Raises
    ------
    RefusedError
        What was found, and what would do.
    """
    mains = [a.subject for a in planned.plan.arrays if a.subject.is_position is not None]
    known = sorted({dim for subject in mains for dim in subject.dims})
    for dim in planned.options.intent.unknown(known):
        raise RefusedError(
            "intent", f"no Main dataset has a dimension {dim!r}; there are {', '.join(known)}",
            "Name one of these.",
        )  # fmt: skip
    free = free_bytes(place)
    if planned.plan.space_bytes > free and planned.plan.speeds is None:
        planned = estimated(planned, place)  # what it comes to when it is encoded
    refuse_space(replace(planned.plan, free_bytes=free), place)


def destination_of(place: Path, settings: Settings) -> Destination:
    """Return a destination with the permissions and claims of the settings."""
    return Destination(
        place,
        file_mode=settings.convert.file_mode,
        dir_mode=settings.convert.dir_mode,
        renew_s=settings.claims.renew_s,
        dead_after_s=settings.claims.dead_after_s,
    )


def work_of(
    source: Path, looks: Sequence[int], settings: Settings, datasets: Sequence[str] = ()
) -> str:
    """Return the name of a conversion: the same where a killed one can be taken up."""
    convert = settings.convert
    told = json.dumps(
        [
            str(source.absolute()), list(looks), sorted(datasets), shaping_digest(settings),
            convert.memory, convert.threads, convert.resume_from, LAYOUT_VERSION, dict(versions()),
        ]
    )  # fmt: skip
    return f"convert-{blake3(told.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


@contextmanager
def keeping_unfinished(destination: Destination, staged: Path) -> Iterator[None]:
    """Keep what is staged where the machine failed, if a part is done; not where it is wrong."""
    try:
        yield
    except ClaimedError:
        raise  # it is another's now
    except BaseException as error:
        is_machine = not isinstance(error, Exception) or isinstance(error, (UsidError, OSError))
        is_wrong = isinstance(error, _WRONG)
        if is_wrong or not is_machine or not any((staged.parent / JOURNAL).glob("*.done")):
            destination.discard(staged)
        raise


def _absolute(path: Path | str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - keeps links as given


def _key(store: Path) -> str:
    name = store.name
    if not name.endswith(STORE_SUFFIX) or name == STORE_SUFFIX:
        raise RefusedError(
            store, "is no name for a store", f"Let it end in {STORE_SUFFIX}: {name}{STORE_SUFFIX}"
        )
    return name.removesuffix(STORE_SUFFIX)


def _result(converted: Converted, store: Path) -> ConvertResult:
    return ConvertResult(
        outcome=converted.outcome,
        reason=converted.reason,
        findings=converted.findings,
        arrays=tuple(converted.arrays),
        store=store,
        receipt=receipt_path(store.parent, _key(store)),
        plan=converted.plan,
        counted=converted.counted,
    )
