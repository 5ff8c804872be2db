"""Find the Main datasets of an h5USID file and read what they stand on.

Files are opened read-only, by path, and closed before anything is returned. All links are
followed first. Then every object is opened once and every attribute is read once; references are
looked up by the address of what they lead to.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5s
from numpy.typing import NDArray

from usid_tasks.attributes import AttributeReader, Target, read_texts
from usid_tasks.checks.registry import CANDIDATE_RULES, TABLE_RULES
from usid_tasks.checks.rule import check_all, is_sound
from usid_tasks.checks.subjects import Judged
from usid_tasks.errors import FileBusyError, NotHDF5Error
from usid_tasks.hdf5_types import describe, stored_type
from usid_tasks.labels import PTIR, read_scalar
from usid_tasks.mains import Main, components_of
from usid_tasks.model import JSON, Finding
from usid_tasks.records import (
    ANCILLARIES,
    Ancillary,
    Candidate,
    Dataset,
    FileRecord,
    Group,
    Reference,
)
from usid_tasks.storage import storage_of
from usid_tasks.tables import Tables, read_piece
from usid_tasks.thresholds import UNIFORM_TOLERANCE

_LOCK_ERRORS = {errno.EAGAIN, errno.EACCES}

_KEPT = frozenset([*ANCILLARIES, "labels", "units", "quantity"])
"""Attributes of which more than their JSON is needed."""


@contextmanager
def open_hdf5(path: Path | str) -> Iterator[h5py.File]:
    """Open an HDF5 file read-only.

    Raises
    ------
    FileBusyError
        If another program holds the file open for writing.
    NotHDF5Error
        If HDF5 cannot open it: no HDF5 at all, truncated or damaged.
    OSError
        If it does not exist or may not be read.
    """
    with Path(path).open("rb"):
        pass
    try:
        file = h5py.File(path, "r")
    except BlockingIOError as error:
        raise _busy(path, error) from error
    except OSError as error:
        if error.errno in _LOCK_ERRORS and "lock" in str(error):
            raise _busy(path, error) from error
        raise NotHDF5Error(
            path, f"HDF5 cannot open it: {error}", "restore it from its source, or remove it"
        ) from error
    try:
        yield file
    finally:
        file.close()


def _busy(path: Path | str, error: OSError) -> FileBusyError:
    return FileBusyError(
        path, f"a program holds it open for writing ({error})", "try again when the writer is done"
    )


def open_object(file: h5py.File, path: str) -> h5py.Dataset | h5py.Group:
    """Return the object at ``path``, whatever bytes its name is made of."""
    return file[_bytes(path)]


def scan(file: h5py.File, name: str) -> FileRecord:
    """Return the record of everything in an open file; ``name`` is what findings call it.

    Raises
    ------
    OSError, RuntimeError, KeyError
        If HDF5 cannot read all of it.
    """
    links = _Links(file)
    objects = _Objects(file, links)
    candidates = {
        path: objects.candidate(dataset)
        for path, dataset in objects.datasets.items()
        if not dataset.attributes.records.keys().isdisjoint(ANCILLARIES)
    }
    dialect = _dialect(objects.groups, name)
    return FileRecord(name, objects.groups, objects.datasets, candidates, dialect)


def _dialect(groups: Mapping[str, Group], name: str) -> str:
    """Return the vendor's dialect, told by the root, a Measurement or the file's extension."""
    versions = [
        group.attributes.values.get("SoftwareVersion")
        for path, group in groups.items()
        if path.count("/") == 1
    ]
    is_marked = any(isinstance(told, str) and told.startswith(PTIR) for told in versions)
    return PTIR if is_marked or name.lower().endswith(".ptir") else ""


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


class _Link(NamedTuple):
    """One link of a group: ``path`` is its own, ``leads_to`` that of the object behind it.

    ``kind`` is that of the object, as ``h5o`` counts them; soft and external links have none, and
    lead nowhere here.
    """

    raw: bytes
    type: int
    path: str
    leads_to: str = ""
    kind: int = -1

    @property
    def name(self) -> str:
        return _text(self.raw)


class _Links:
    """All links of a file by group, parents first, each group visited once.

    ``paths`` has the first path of each object by its address, ``targets`` what a reference to an
    address leads to. Where any object has several paths, references are left to HDF5, and
    ``targets`` is empty.
    """

    def __init__(self, file: h5py.File) -> None:
        root = int(h5o.get_info(file.id).addr)
        self.by_group: dict[str, list[_Link]] = {}
        self.paths = {root: "/"}
        self._kinds = {root: h5o.TYPE_GROUP}
        has_aliases = False
        pending = deque(["/"])
        while pending:
            group = pending.popleft()
            links = list(self._follow(h5o.open(file.id, _bytes(group)), group.rstrip("/")))
            self.by_group[group] = links
            pending += [one.path for one in links if one.kind == h5o.TYPE_GROUP and _is_first(one)]
            has_aliases |= any(one.leads_to and not _is_first(one) for one in links)
        self.targets = {} if has_aliases else dict(self._targets())

    def _follow(self, group: h5g.GroupID, above: str) -> Iterator[_Link]:
        found: list[tuple[bytes, int]] = []
        group.links.iterate(lambda raw, info: found.append((raw, info.type)), info=True)
        for raw, type_ in sorted(found):
            path = f"{above}/{_text(raw)}"
            if type_ in (h5l.TYPE_SOFT, h5l.TYPE_EXTERNAL):
                yield _Link(raw, type_, path)
                continue
            info = h5o.get_info(group, raw)  # goes through all of an object's index
            address = int(info.addr)
            self._kinds[address] = info.type
            yield _Link(raw, type_, path, self.paths.setdefault(address, path), info.type)

    def _targets(self) -> Iterator[tuple[int, Target]]:
        for address, path in self.paths.items():
            is_dataset = self._kinds[address] == h5o.TYPE_DATASET
            yield address, Target("object" if is_dataset else "group", path, address)


def _is_first(link: _Link) -> bool:
    """Return True for the link by which an object is known: others are further names of it."""
    return link.leads_to == link.path


class _Objects:
    """The groups and datasets of a file by path, each read once."""

    def __init__(self, file: h5py.File, links: _Links) -> None:
        self.groups: dict[str, Group] = {}
        self.datasets: dict[str, Dataset] = {}
        self._file = file
        self._links = links
        self._kept: dict[str, dict[str, Any]] = {}
        self._user_block_bytes = int(file.userblock_size)
        self._attributes = AttributeReader(file, links.targets)
        for path in links.by_group:
            self._read_group(path)

    def _read_group(self, path: str) -> None:
        held = h5o.open(self._file.id, _bytes(path))
        members, others, dangling = [], {}, []
        for link in self._links.by_group[path]:
            if link.kind == h5o.TYPE_DATASET and _is_first(link):
                self._read_dataset(h5o.open(held, link.raw), link.path)
            if link.kind in (h5o.TYPE_DATASET, h5o.TYPE_GROUP) and _is_first(link):
                members.append(link.name)
                continue
            others[link.name] = self._describe_link(held, link)
            if not link.leads_to and not _leads_somewhere(held, link.raw):
                dangling.append(link.name)
        attributes, _ = self._attributes.read(held)
        self.groups[path] = Group(path, attributes, tuple(members), others, tuple(dangling))

    def _read_dataset(self, held: h5d.DatasetID, path: str) -> None:
        shape, stored = held.shape, stored_type(held.get_type())
        attributes, self._kept[path] = self._attributes.read(held, _KEPT)
        self.datasets[path] = Dataset(
            path, shape, stored.dtype, stored.describe(), attributes,
            storage_of(held, shape, stored, user_block_bytes=self._user_block_bytes),
        )  # fmt: skip

    def _describe_link(self, group: h5g.GroupID, link: _Link) -> JSON:
        if link.type == h5l.TYPE_SOFT:
            return {"soft": _text(group.links.get_val(link.raw))}
        if link.type == h5l.TYPE_EXTERNAL:
            return {"external": [_text(part) for part in group.links.get_val(link.raw)]}
        if not _is_first(link):
            return {"hard": link.leads_to}
        kind = h5o.open(group, link.raw)
        told: dict[str, JSON] = {"datatype": describe(kind)}
        attributes, _ = self._attributes.read(kind)
        if attributes.records:
            told["attributes"] = attributes.records
            told["values"] = attributes.values
        return told

    def candidate(self, dataset: Dataset) -> Candidate:
        """Return a dataset with its references and the tables that they lead to."""
        attributes, kept = dataset.attributes, self._kept[dataset.path]
        references = {
            attribute: self._reference(dataset, attribute, kept) for attribute in ANCILLARIES
        }
        ancillaries = {
            attribute: self._ancillary(reference.target)
            for attribute, reference in references.items()
            if reference.target is not None
        }
        return Candidate(
            str(self._file.filename), dataset, references, ancillaries,
            read_texts(attributes, kept, "quantity"), read_texts(attributes, kept, "units"),
        )  # fmt: skip

    def _ancillary(self, path: str) -> Ancillary:
        table, kept = self.datasets[path], self._kept[path]
        labels = read_texts(table.attributes, kept, "labels")
        return Ancillary(table, labels, read_texts(table.attributes, kept, "units"))

    def _reference(self, holder: Dataset, name: str, kept: Mapping[str, Any]) -> Reference:
        if name not in holder.attributes.records:
            return Reference(name, "missing", None)
        if name not in kept:
            return Reference(name, "not a reference", None, holder.attributes.unreadable[name])
        value, spelling = kept[name], "object"
        if isinstance(value, np.ndarray) and value.size == 1:
            value, spelling = value.ravel()[0], "array"
        if isinstance(value, (str, bytes)):
            return self._path_reference(holder, name, value)
        if not isinstance(value, Target):
            return Reference(name, "not a reference", None, type(value).__name__)
        if value.state != "object" or value.path is None:
            return Reference(name, value.state, None, value.path or "")
        known = self._links.paths.get(value.address)
        if known is None:
            return Reference(name, "dangling", None, "the dataset has no path in this file")
        return Reference(name, spelling, known)

    def _path_reference(self, holder: Dataset, name: str, told: str | bytes) -> Reference:
        raw = told if isinstance(told, bytes) else _bytes(told)
        path = _text(raw)
        parent = holder.path.rpartition("/")[0] or "/"
        start = "/" if path.startswith("/") else parent
        try:
            target = h5o.open(h5o.open(self._file.id, _bytes(start)), raw)
        except (KeyError, ValueError):
            return Reference(name, "dangling", None, f"no object at {path!r}")
        if not isinstance(target, h5d.DatasetID):
            return Reference(name, "group", None, path)
        info = h5o.get_info(target)
        is_here = info.fileno == h5o.get_info(self._file.id).fileno
        known = self._links.paths.get(info.addr) if is_here else None
        if known is None:
            return Reference(name, "dangling", None, f"{path!r} lies outside this file")
        return Reference(name, "path", known)


def _leads_somewhere(group: h5g.GroupID, raw: bytes) -> bool:
    try:
        return bool(h5o.exists_by_name(group, raw))
    except (OSError, RuntimeError):
        return False


@dataclass(frozen=True)
class UsidFile:
    """One file, parsed and judged.

    ``mains`` are the sound Main datasets by HDF5 path; ``findings`` what makes other
    candidates unsound, and the spellings that were understood though not as specified.
    """

    path: Path
    record: FileRecord
    mains: dict[str, Main]
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """Paths of the candidates that are no sound Main dataset."""
        return tuple(path for path in self.record.candidates if path not in self.mains)


def _read_whole(file: h5py.File, dataset: Dataset) -> NDArray:
    """Return all values of a table as stored; those that lie in one piece past HDF5."""
    values = np.empty(dataset.shape or (), dataset.dtype)
    offset = dataset.storage.offset
    is_plain = dataset.storage.layout == "contiguous" and isinstance(dataset.type, str)
    if is_plain and offset is not None and file.driver == "sec2":
        read_piece(file.id.get_vfd_handle(), values, offset)
    elif values.size:
        h5o.open(file.id, _bytes(dataset.path)).read(h5s.ALL, h5s.ALL, values)
    return values


def read_usid(path: Path | str, *, tolerance: float = UNIFORM_TOLERANCE) -> UsidFile:
    """Return everything about one file but the values of its Main datasets.

    Parameters
    ----------
    path
        An HDF5 file, whatever its extension.
    tolerance
        Deviation from a straight line that still counts as uniform, in steps.

    Raises
    ------
    FileBusyError, NotHDF5Error, OSError
        See :func:`open_hdf5`.
    """
    told = str(path)
    path = Path(os.path.abspath(path))  # noqa: PTH100 - keeps links; blocks are read later
    findings: list[Finding] = []
    mains: dict[str, Main] = {}
    with open_hdf5(path) as file:
        try:
            record = scan(file, told)
        except (OSError, RuntimeError, KeyError) as error:
            raise NotHDF5Error(
                path, f"HDF5 cannot read all of it: {error}", "restore it from its source"
            ) from error
        tables = Tables(
            lambda path: _read_whole(file, record.datasets[path]),
            dialect=record.dialect,
            tolerance=tolerance,
        )
        for candidate in record.candidates.values():
            found = check_all(CANDIDATE_RULES, record.file, Judged(candidate, record.dialect))
            if is_sound(found):
                found += check_all(TABLE_RULES, record.file, tables.judged(candidate))
            if is_sound(found):
                mains[candidate.path] = Main(
                    candidate,
                    (read_scalar(candidate.quantity).values or ("",))[0],
                    (read_scalar(candidate.units).values or ("",))[0],
                    tables.side(candidate, "Position"),
                    tables.side(candidate, "Spectroscopic"),
                    components_of(_dtype(candidate)),
                )
            findings += found
    return UsidFile(path, record, mains, tuple(dict.fromkeys(findings)))


def _dtype(candidate: Candidate) -> np.dtype:
    dtype = candidate.dataset.dtype
    assert dtype is not None, "R4 refuses a Main dataset of unreadable type"
    return dtype
