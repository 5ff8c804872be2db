"""Find the Main datasets of an h5USID file and read what they stand on.

Files are opened read-only, by path, and closed before anything is returned.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from h5py import h5o
from numpy.typing import NDArray

from usid_tasks.attributes import read_attributes, read_texts, resolve
from usid_tasks.axes import UNIFORM_TOLERANCE
from usid_tasks.checks.registry import CANDIDATE_RULES, TABLE_RULES
from usid_tasks.checks.rule import check_all, is_sound
from usid_tasks.checks.subjects import Judged, JudgedTables
from usid_tasks.errors import FileBusyError, NotHDF5Error
from usid_tasks.hdf5_types import describe, readable_dtype
from usid_tasks.labels import PTIR, read_labels, read_scalar, read_units
from usid_tasks.mains import Main, Side, build_side, components_of
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
from usid_tasks.storage import read_storage

_LOCK_ERRORS = {errno.EAGAIN, errno.EACCES}


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
    return file[path.encode("utf-8", "surrogateescape")]


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name


def _dataset(dataset: h5py.Dataset, path: str) -> Dataset:
    kind = dataset.id.get_type()
    return Dataset(
        path, dataset.shape, readable_dtype(kind), describe(kind), read_attributes(dataset),
        read_storage(dataset),
    )  # fmt: skip


class _Scan:
    """One walk over all objects of an open file, each visited once."""

    def __init__(self, file: h5py.File) -> None:
        self.file = file
        self.paths: dict[int, str] = {}
        self.groups: dict[str, Group] = {}
        self.datasets: dict[str, Dataset] = {}

    def walk(self) -> None:
        pending = ["/"]
        self.paths[self._address(self.file)] = "/"
        while pending:
            path = pending.pop(0)
            group = open_object(self.file, path)
            members, links, dangling = [], {}, []
            for raw in sorted(group.id):
                name = _text(raw)
                child = f"{path.rstrip('/')}/{name}"
                link = self._link(group, raw)
                if link is not None and not self._leads_somewhere(group, raw):
                    dangling.append(name)
                elif link is None:
                    held = group[raw]
                    address = self._address(held)
                    known = self.paths.setdefault(address, child)
                    if known != child:
                        link = {"hard": known}
                    elif isinstance(held, h5py.Datatype):
                        attributes = read_attributes(held)
                        link = {"datatype": describe(held.id)}
                        if attributes.records:
                            link["attributes"] = dict(attributes.records)
                            link["values"] = dict(attributes.values)
                if link is not None:
                    links[name] = link
                    continue
                members.append(name)
                if isinstance(held, h5py.Group):
                    pending.append(child)
                else:
                    self.datasets[child] = _dataset(held, child)
            self.groups[path] = Group(
                path, read_attributes(group), tuple(members), links, tuple(dangling)
            )

    @staticmethod
    def _address(held: h5py.HLObject) -> int:
        return int(h5o.get_info(held.id).addr)

    @staticmethod
    def _link(group: h5py.Group, raw: bytes) -> JSON:
        kind = group.id.links.get_info(raw).type
        if kind == h5py.h5l.TYPE_SOFT:
            return {"soft": _text(group.id.links.get_val(raw))}
        if kind == h5py.h5l.TYPE_EXTERNAL:
            return {"external": [_text(part) for part in group.id.links.get_val(raw)]}
        return None

    @staticmethod
    def _leads_somewhere(group: h5py.Group, raw: bytes) -> bool:
        try:
            return bool(h5o.exists_by_name(group.id, raw))
        except (OSError, RuntimeError):
            return False

    def candidates(self) -> dict[str, Candidate]:
        found = {}
        for path, dataset in self.datasets.items():
            if set(ANCILLARIES) & (
                set(dataset.attributes.records) | set(dataset.attributes.unreadable)
            ):
                found[path] = self._candidate(dataset)
        return found

    def _candidate(self, dataset: Dataset) -> Candidate:
        holder = open_object(self.file, dataset.path)
        references = {name: self._reference(holder, name) for name in ANCILLARIES}
        ancillaries = {}
        for name, reference in references.items():
            if reference.target is not None:
                table = open_object(self.file, reference.target)
                ancillaries[name] = Ancillary(
                    self.datasets[reference.target],
                    read_texts(table, "labels"),
                    read_texts(table, "units"),
                )
        return Candidate(
            str(self.file.filename), dataset, references, ancillaries,
            read_texts(holder, "quantity"), read_texts(holder, "units"),
        )  # fmt: skip

    def _reference(self, holder: h5py.Dataset, name: str) -> Reference:
        if name not in holder.attrs:
            return Reference(name, "missing", None)
        try:
            value = holder.attrs[name]
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            return Reference(name, "not a reference", None, str(error))
        spelling = "object"
        if isinstance(value, np.ndarray) and value.size == 1:
            value, spelling = value.ravel()[0], "array"
        if isinstance(value, (str, bytes)):
            return self._path_reference(holder, name, _text(value))
        if not isinstance(value, h5py.Reference) or isinstance(value, h5py.RegionReference):
            return Reference(name, "not a reference", None, type(value).__name__)
        state, path = resolve(value, self.file)
        if state != "object" or path is None:
            return Reference(name, state, None, _text(path or ""))
        known = self.paths.get(self._address(self.file[value]))
        if known is None:
            return Reference(name, "dangling", None, "the dataset has no path in this file")
        return Reference(name, spelling, known)

    def _path_reference(self, holder: h5py.Dataset, name: str, path: str) -> Reference:
        raw = path.encode("utf-8", "surrogateescape")
        try:
            target = (self.file if path.startswith("/") else holder.parent)[raw]
        except (KeyError, ValueError):
            return Reference(name, "dangling", None, f"no object at {path!r}")
        if not isinstance(target, h5py.Dataset):
            return Reference(name, "group", None, path)
        known = self.paths.get(self._address(target))
        if known is None:
            return Reference(name, "dangling", None, f"{path!r} lies outside this file")
        return Reference(name, "path", known)


def _dialect(groups: Mapping[str, Group], name: str) -> str:
    """Return the vendor's dialect, told by the root, a Measurement or the file's extension."""
    versions = [
        group.attributes.values.get("SoftwareVersion")
        for path, group in groups.items()
        if path.count("/") == 1
    ]
    is_marked = any(isinstance(told, str) and told.startswith(PTIR) for told in versions)
    return PTIR if is_marked or name.lower().endswith(".ptir") else ""


def scan(file: h5py.File, name: str) -> FileRecord:
    """Return the record of everything in an open file; ``name`` is what findings call it."""
    walk = _Scan(file)
    walk.walk()
    return FileRecord(
        name, walk.groups, walk.datasets, walk.candidates(), _dialect(walk.groups, name)
    )


class _Tables:
    """Tables and sides of one open file, read once however many Mains share them."""

    def __init__(self, file: h5py.File, record: FileRecord, tolerance: float) -> None:
        self.file = file
        self.record = record
        self.tolerance = tolerance
        self._arrays: dict[str, NDArray] = {}
        self._sides: dict[tuple[object, ...], Side] = {}

    def read(self, path: str) -> NDArray:
        if path not in self._arrays:
            self._arrays[path] = open_object(self.file, path)[()]
        return self._arrays[path]

    def side(self, candidate: Candidate, name: str) -> Side:
        indices = candidate.ancillaries[f"{name}_Indices"]
        values = candidate.ancillaries[f"{name}_Values"]
        paths = (indices.dataset.path, values.dataset.path)
        if (name, *paths) not in self._sides:
            tables = [self.read(path) for path in paths]
            if name == "Spectroscopic":
                tables = [table.T for table in tables]
            n_dims = tables[0].shape[1]
            labels = read_labels(values.labels, n_dims).values or ()
            units = read_units(values.units, n_dims, dialect=self.record.dialect).values or ()
            self._sides[(name, *paths)] = build_side(
                "position" if name == "Position" else "spectroscopic",
                tables[0], tables[1], labels, units, paths=paths, tolerance=self.tolerance,
            )  # fmt: skip
        return self._sides[(name, *paths)]

    def judged(self, candidate: Candidate) -> JudgedTables:
        """Return the candidate with its tables, or why one of them cannot be read."""
        arrays: dict[str, NDArray] = {}
        problems: dict[str, str] = {}
        for attribute, ancillary in candidate.ancillaries.items():
            try:
                arrays[attribute] = self.read(ancillary.dataset.path)
            except (OSError, RuntimeError, ValueError) as error:
                problems[attribute] = str(error)
        return JudgedTables(candidate, arrays, problems)


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
        tables = _Tables(file, record, tolerance)
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
