"""One file to one store whose place is named: ``usid convert FILE DEST``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from usid_tasks.conversion import Converted, changed, convert_to, looks_of
from usid_tasks.digests import file_digest
from usid_tasks.errors import FileBusyError, RefusedError
from usid_tasks.model import Finding, Outcome
from usid_tasks.places import STORE_SUFFIX, receipt_path
from usid_tasks.progress import NullProgress, Progress
from usid_tasks.proof import build_receipt
from usid_tasks.publish import Destination
from usid_tasks.receipts import SourceRecord, utc_now
from usid_tasks.settings import Settings, load_settings, shaping_digest
from usid_tasks.settle import lock_state


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """What became of one file: ``store`` and ``receipt`` lie side by side, if there is a store."""

    outcome: Outcome
    reason: str
    findings: tuple[Finding, ...]
    arrays: tuple[str, ...]
    store: Path
    receipt: Path


def convert_file(
    file: Path | str,
    dest: Path | str,
    *,
    dataset: str | Sequence[str] | None = None,
    overwrite: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
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

    Raises
    ------
    RefusedError
        If ``dest`` is there and ``overwrite`` is not asked for, was not written by usid, or is
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
    store = Path(os.path.abspath(dest))  # noqa: PTH100 - keeps links as given
    key = _key(store)
    if os.path.lexists(store) and not overwrite:
        raise RefusedError(store, "is there already", "Name another store, or add --overwrite.")
    store.parent.mkdir(parents=True, exist_ok=True)
    destination = Destination(
        store.parent,
        file_mode=settings.convert.file_mode,
        dir_mode=settings.convert.dir_mode,
        renew_s=settings.claims.renew_s,
        dead_after_s=settings.claims.dead_after_s,
    )
    started = utc_now()
    with destination.claim(key, run_id=f"convert-{secrets.token_hex(4)}") as claim:
        lock = lock_state(source)
        if lock.is_busy:
            raise FileBusyError(source, lock.value, "Try again when the writer is done.")
        looks, before = looks_of(source), source.stat()
        digest = file_digest(source)
        staged = destination.staging(claim)
        try:
            converted = convert_to(
                source,
                staged,
                settings=settings,
                datasets=[dataset] if isinstance(dataset, str) else list(dataset or ()),
                begin=lambda total: progress.begin("converting", size_bytes=total),
                advance=lambda n_bytes: progress.advance(size_bytes=n_bytes),
            )
            if looks_of(source) != looks:
                raise changed(source)
            if not converted.arrays:
                return _result(converted, store)
            receipt = build_receipt(
                SourceRecord(
                    root_name="",
                    path=key,
                    size=before.st_size,
                    mtime_ns=before.st_mtime_ns,
                    ctime_ns=before.st_ctime_ns,
                    inode=before.st_ino,
                    digest=digest,
                ),
                converted,
                started=started,
                settings_digest=shaping_digest(settings),
                extra={"source_path": str(source.absolute()), "datasets": dataset},
            )
            destination.publish(staged, receipt, claim)
        finally:
            destination.discard(staged)
    return _result(converted, store)


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
    )
