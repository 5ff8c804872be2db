"""Receipts: what became of one source, as strict JSON beside the place of its store.

A store without its receipt is not there; a receipt without arrays has no store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Self, TypeVar

from usid_tasks import durable
from usid_tasks.errors import UsidError
from usid_tasks.model import JSON, Finding, Outcome

SCHEMA_VERSION = 1

_T = TypeVar("_T")

_DIGEST = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.-]*:[0-9a-f]{16,}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def utc_now() -> str:
    """Return the time as receipts write it: UTC, ISO 8601, ending in ``Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """The source file as it was; ``path`` is its ``/``-path below the source's root."""

    root_name: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int | None = None
    digest: str | None = None

    @property
    def key(self) -> str:
        """The ``/``-path that names the source in DEST."""
        return f"{self.root_name}/{self.path}" if self.root_name else self.path


@dataclass(frozen=True, kw_only=True)
class ArrayRecord:
    """One array of the store; ``main`` is the HDF5 path of its Main dataset, or nothing."""

    digest: str
    shape: tuple[int, ...]
    dtype: str
    main: str = ""


@dataclass(frozen=True, kw_only=True)
class MainRecord:
    """What became of one Main dataset, with what a catalogue wants to know of it."""

    path: str
    outcome: Outcome
    reason: str = ""
    quantity: str = ""
    units: str = ""
    dtype: str = ""
    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    extra: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The proof of one source's outcome; ``arrays`` maps paths in the store."""

    source: SourceRecord
    outcome: Outcome
    started: str
    finished: str
    settings_digest: str
    layout_version: int
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    arrays: Mapping[str, ArrayRecord] = field(default_factory=dict)
    mains: tuple[MainRecord, ...] = ()
    extra: Mapping[str, JSON] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name, text in (("started", self.started), ("finished", self.finished)):
            if not _TIME.fullmatch(text):
                raise ValueError(f"{name} is {text!r}, expected a UTC time ending in Z")
        digests = [self.source.digest, *(array.digest for array in self.arrays.values())]
        for digest in digests:
            if digest is not None and not _DIGEST.fullmatch(digest):
                raise ValueError(f"digest {digest!r}, expected algorithm:hex")

    @property
    def has_store(self) -> bool:
        """True where a store belongs to this receipt."""
        return bool(self.arrays)

    def to_json(self) -> dict[str, JSON]:
        """Return the receipt as a JSON object."""
        record = asdict(self)
        record["findings"] = [finding.to_json() for finding in self.findings]
        plain: dict[str, JSON] = _plain(record)
        return plain

    @classmethod
    def from_json(cls, record: Mapping[str, JSON]) -> Self:
        """Return the receipt that :meth:`to_json` wrote; unknown keys are passed over.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing or is not what it should be.
        """
        known = dict(record)
        known["source"] = _record(SourceRecord, record["source"])
        known["outcome"] = Outcome(record["outcome"])
        known["findings"] = tuple(
            Finding.from_json(_known(Finding, one)) for one in record.get("findings", ())
        )
        known["arrays"] = {
            path: _record(ArrayRecord, {**one, "shape": tuple(one["shape"])})
            for path, one in record.get("arrays", {}).items()
        }
        known["mains"] = tuple(
            _record(
                MainRecord,
                {
                    **one,
                    "outcome": Outcome(one["outcome"]),
                    "dims": tuple(one.get("dims", ())),
                    "shape": tuple(one.get("shape", ())),
                },
            )
            for one in record.get("mains", ())
        )
        return _record(cls, known)


def read_receipt(path: Path) -> Receipt | None:
    """Return the receipt at `path`, or None where there is none.

    Raises
    ------
    UsidError
        If it is damaged, or written by a newer usid-flows than this one.
    """
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsidError(
            path,
            f"the receipt cannot be read ({error.strerror})",
            "Check that the destination is mounted and that you may read it.",
        ) from error
    try:
        record = json.loads(text, parse_constant=_refuse_constant)
        version = record["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise UsidError(
                path,
                f"the receipt has schema version {version}, expected at most {SCHEMA_VERSION}",
                "It was written by a newer usid-flows: install that version here too.",
            )
        return Receipt.from_json(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsidError(
            path,
            f"the receipt is damaged ({type(error).__name__}: {error})",
            "Move it away together with the store beside it, keep both until you know more, "
            "and ingest again: the source is converted anew.",
        ) from error


def write_receipt(
    receipt: Receipt, path: Path, *, mode: int | None = None, dir_mode: int | None = None
) -> None:
    """Write a receipt whole or not at all, durably: beside, fsync, rename, fsync of the folder."""
    durable.make_folders(path.parent, mode=dir_mode)
    durable.write_file(path, receipt_bytes(receipt), mode=mode)


def receipt_bytes(receipt: Receipt) -> bytes:
    """Return a receipt as sorted, strict JSON in UTF-8; a lone surrogate becomes its escape."""
    text = json.dumps(
        receipt.to_json(), allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True
    )
    return (text + "\n").encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    """Return a value with every enumeration member, tuple and mapping as plain JSON types."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _known(kind: type, record: Mapping[str, JSON]) -> dict[str, JSON]:
    if not is_dataclass(kind):
        raise TypeError(f"{kind} is no record")
    names = {one.name for one in fields(kind)}
    return {key: value for key, value in record.items() if key in names}


_CHECKED: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "str": str,
    "int | None": (int, type(None)),
    "str | None": (str, type(None)),
    "Mapping[str, str]": dict,
    "Mapping[str, JSON]": dict,
}


def _record(kind: type[_T], record: Mapping[str, JSON]) -> _T:
    known = _known(kind, record)
    for one in fields(kind):  # type: ignore[arg-type]
        expected = _CHECKED.get(str(one.type))
        if one.name in known and expected and not isinstance(known[one.name], expected):
            raise TypeError(f"{one.name} is {known[one.name]!r}, expected {one.type}")
    return kind(**known)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
