"""What the catalogue holds of one source, read from its receipt and its stores on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from usid_tasks.catalog.contents import (
    AttributeEntry,
    CoordinateEntry,
    StoreContents,
    size_on_disk,
)
from usid_tasks.durable import CONTROL
from usid_tasks.errors import UsidError
from usid_tasks.model import JSON, Finding, Outcome
from usid_tasks.places import RECEIPT_SUFFIX, STORE_SUFFIX, receipt_path, store_path, unusable_name
from usid_tasks.receipts import MainRecord, Receipt, read_receipt

LOG = logging.getLogger("usid_tasks")

GONE, QUARANTINED, UNREADABLE = "gone", "quarantined", "unreadable receipt"
"""States that are no outcome of a run."""

GONE_SINCE, QUARANTINED_SINCE, FORMER_PATHS = "gone_since", "quarantined_since", "former_paths"
"""Where the ``extra`` of a receipt tells: two times in UTC, and the keys that a source had."""


@dataclass(frozen=True, kw_only=True)
class MainEntry:
    """One Main dataset: what its receipt tells, and its coordinates."""

    record: MainRecord
    coordinates: tuple[CoordinateEntry, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OutputEntry:
    """One store of a source; ``size`` is in bytes on disk, None where the store is missing."""

    path: str
    kind: str
    size: int | None
    codec: str
    layout_version: int
    is_superseded: bool
    made: str
    source_digest: str | None
    metadata_digest: str | None


@dataclass(frozen=True, kw_only=True)
class SourceEntry:
    """One source: its receipt (None where that cannot be read), and all that belongs to it."""

    key: str
    receipt: Receipt | None
    state: str
    reason: str
    since: str | None = None
    former_paths: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    mains: tuple[MainEntry, ...] = ()
    attributes: tuple[AttributeEntry, ...] = ()
    outputs: tuple[OutputEntry, ...] = ()


def looks_of(dest: Path, key: str) -> str:
    """Return what tells one version of a receipt's file from another, empty where there is none."""
    try:
        status = os.stat(receipt_path(dest, key))  # noqa: PTH116 - called for every file of a run
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return f"{status.st_mtime_ns}:{status.st_ino}:{status.st_size}"


def read_entry(dest: Path, key: str) -> SourceEntry | None:
    """Return what DEST holds of a source, None where it has no receipt."""
    try:
        receipt = read_receipt(receipt_path(dest, key))
    except UsidError as error:
        return SourceEntry(
            key=key, receipt=None, state=UNREADABLE, reason=error.what,
            outputs=tuple(_superseded(dest, key)),
        )  # fmt: skip
    if receipt is None:
        return None
    store = store_path(dest, key)
    state, reason, since = _state(receipt)
    described = _described(store, receipt) if receipt.has_store else _Described()
    attempt = _attempt(receipt)
    findings = (*receipt.findings, *(attempt.findings if attempt else ()))
    former = receipt.extra.get(FORMER_PATHS)
    return SourceEntry(
        key=key,
        receipt=receipt,
        state=state,
        reason=reason,
        since=since,
        former_paths=tuple(map(str, former if isinstance(former, list) else ())),
        findings=tuple(dict.fromkeys(findings)),
        mains=tuple(
            MainEntry(record=record, coordinates=described.coordinates.get(record.path, ()))
            for record in receipt.mains
        ),
        attributes=described.attributes,
        outputs=(*described.outputs, *_superseded(dest, key)),
    )


def keys_in(dest: Path) -> Iterator[str]:
    """Yield the key of every receipt in DEST, in order, without entering stores."""
    for folder, folders, names in os.walk(dest):
        if "zarr.json" in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name != CONTROL)
        above = Path(folder).relative_to(dest)
        for name in sorted(names):
            if name.endswith(RECEIPT_SUFFIX) and name != RECEIPT_SUFFIX:
                key = (above / name.removesuffix(RECEIPT_SUFFIX)).as_posix()
                if not unusable_name(key):
                    yield key


@dataclass(frozen=True)
class _Described:
    """What a store's documents tell; ``coordinates`` by the HDF5 path of the Main dataset."""

    coordinates: Mapping[str, tuple[CoordinateEntry, ...]] = field(default_factory=dict)
    attributes: tuple[AttributeEntry, ...] = ()
    outputs: tuple[OutputEntry, ...] = ()


@dataclass(frozen=True)
class _Attempt:
    """An attempt that came to nothing after the store was made."""

    outcome: str
    reason: str
    since: str
    findings: tuple[Finding, ...]


def _state(receipt: Receipt) -> tuple[str, str, str | None]:
    """Return what came of a source last, why, and since when where the receipt tells it."""
    for state, name in ((GONE, GONE_SINCE), (QUARANTINED, QUARANTINED_SINCE)):
        since = receipt.extra.get(name)
        if since:
            return state, str(receipt.extra.get(f"{state}_reason") or receipt.reason), str(since)
    attempt = _attempt(receipt)
    if attempt is not None:
        return attempt.outcome, attempt.reason, attempt.since
    since = receipt.extra.get("deferred_since")
    return receipt.outcome.value, receipt.reason, str(since) if since else None


def _attempt(receipt: Receipt) -> _Attempt | None:
    """Return the attempt after the store was made, as long as it is the last thing known."""
    told: JSON = receipt.extra.get("last_attempt")
    try:
        finished = str(told["finished"])
        if str(receipt.extra.get("examined") or "") > finished:
            return None
        return _Attempt(
            Outcome(told["outcome"]).value,
            str(told["reason"]),
            str(told["extra"].get("deferred_since") or finished),
            tuple(Finding.from_json(one) for one in told["findings"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # none, or none that this program wrote


def _described(store: Path, receipt: Receipt) -> _Described:
    """Return what a store tells of itself; less where its documents are damaged."""
    contents = StoreContents.read(store)
    if contents is None:
        return _Described(outputs=(_output(store, receipt, ""),))
    try:
        groups = contents.mains()
        there = {main.path: groups[main.path] for main in receipt.mains if main.path in groups}
        attributes = {
            (one.path, one.name): one
            for path, group in there.items()
            for one in contents.attributes(group, path)
        }
        return _Described(
            {path: contents.coordinates(group) for path, group in there.items()},
            tuple(attributes.values()),
            (_output(store, receipt, contents.codecs()),),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        LOG.warning("%s: its metadata is damaged (%r); see `usid verify`", store, error)
        return _Described(outputs=(_output(store, receipt, ""),))


def _output(
    store: Path, receipt: Receipt, codec: str, *, is_superseded: bool = False
) -> OutputEntry:
    return OutputEntry(
        path=str(store),
        kind="zarr, rechunked" if "rechunked_from" in receipt.extra else "zarr",
        size=size_on_disk(store),
        codec=codec,
        layout_version=receipt.layout_version,
        is_superseded=is_superseded,
        made=receipt.finished,
        source_digest=receipt.source.digest,
        metadata_digest=receipt.extra.get("metadata_digest"),
    )


def _superseded(dest: Path, key: str) -> Iterator[OutputEntry]:
    """Yield the former stores of a source, by the names of their folders."""
    above = dest / CONTROL / "superseded" / key
    try:
        names = sorted(entry.name for entry in os.scandir(above))
    except (FileNotFoundError, NotADirectoryError):
        return
    name = key.rpartition("/")[2]
    for folder in (above / one for one in names):
        try:
            receipt = read_receipt(folder / (name + RECEIPT_SUFFIX))
        except UsidError:
            continue  # `usid verify` tells; there is nothing to be said of it here
        if receipt is not None and receipt.has_store:
            store = folder / (name + STORE_SUFFIX)
            contents = StoreContents.read(store)
            codec = contents.codecs() if contents is not None else ""
            yield _output(store, receipt, codec, is_superseded=True)
