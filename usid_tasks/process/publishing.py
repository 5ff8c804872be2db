"""A finished results group becomes visible: in a new file, beside former groups, or at its source.

One way for all: a verified copy of the file as it was (or an empty one), the group copied into it,
all read back and compared, renamed over the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py

from usid_tasks.errors import FileBusyError, VerificationError
from usid_tasks.mains import Main
from usid_tasks.model import Severity
from usid_tasks.printable import printable
from usid_tasks.process.group import GROUP, link_tables
from usid_tasks.process.layout import Layout
from usid_tasks.provenance.lookup import next_results_group
from usid_tasks.provenance.records import Record, ResultDataset
from usid_tasks.provenance.stored import results_of, write_record
from usid_tasks.records import FileRecord
from usid_tasks.usid import open_hdf5, read_usid, scan
from usid_tasks.writing.comparing import REMEDY
from usid_tasks.writing.former import check_former, read_former
from usid_tasks.writing.opening import open_to_write
from usid_tasks.writing.replacing import copy_file, refuse_no_room, staged
from usid_tasks.writing.structure import bookkeeping, put_attributes

_PIECE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Finished:
    """A partial file whose results are all there, and where they belong.

    ``is_in_place`` tells that ``target`` is the source itself. ``record_of`` returns what is
    recorded of the run, from the path of the group and its datasets; ``attributes`` are further
    ones of the group.
    """

    partial: Path
    layout: Layout
    main: Main
    tool: str
    target: Path
    is_in_place: bool
    record_of: Callable[[str, tuple[ResultDataset, ...]], Record]
    attributes: Mapping[str, Any]


def publish(finished: Finished, check: Callable[[], None]) -> str:
    """Publish a results group, and return its HDF5 path.

    Parameters
    ----------
    check
        Raises where the source is not what the results were computed from, or the run has to end.

    Raises
    ------
    FileBusyError
        If a program writes the results file, or changes it meanwhile.
    RefusedError
        If there is not the room, or the file may not be written to.
    VerificationError
        If what is read back is not what was written.
    UsidError
        If it cannot be written.
    """
    target = finished.target
    with staged(target) as place:
        former = read_former(target) if place.former is not None else None
        group = next_results_group(former, finished.main.path, finished.tool)
        needed = finished.partial.stat().st_size
        if former is None:
            refuse_no_room(place.folder, needed)
        else:
            copy_file(target, place.file, more_bytes=needed)
        check()
        with open_to_write(place.file, is_new=former is None) as file:
            _copy_in(file, finished, group, is_new=former is None)
        _write_record(finished, place.file, group)
        _compare(finished, place.file, group)
        if former is not None:
            check_former(_with_group(former, group), place.file, new="")
        check()
        place.publish()
    return group


def _copy_in(file: h5py.File, finished: Finished, path: str, *, is_new: bool) -> None:
    kept = bookkeeping()
    above, _, name = path.rpartition("/")
    if is_new:
        put_attributes(file, kept)
    holder: h5py.Group = file
    for part in filter(None, above.split("/")):
        is_there = part in holder
        holder = holder.require_group(part)
        if not is_there:
            put_attributes(holder, kept)
    with h5py.File(finished.partial, "r", locking=False) as partial:
        partial.copy(partial[GROUP], holder, name=name)
    group = holder[name]
    source = finished.main if finished.is_in_place else None
    link_tables(group, finished.layout, source)
    for main in finished.layout.mains:
        put_attributes(group[main.name], kept)


def _write_record(finished: Finished, file: Path, path: str) -> None:
    with open_hdf5(file) as opened:
        found = scan(opened, str(file))
    record = finished.record_of(path, results_of(file, found, path))
    with open_to_write(file, is_new=False) as opened:
        write_record(opened[path.encode("utf-8", "surrogateescape")], record)
        put_attributes(opened[path.encode("utf-8", "surrogateescape")], finished.attributes)


def _with_group(former: FileRecord, path: str) -> FileRecord:
    """Return the record that a file has to have with the group in it."""
    parts = path.strip("/").split("/")
    above = "/"
    for part in parts:
        inner = f"{above.rstrip('/')}/{part}"
        if inner not in former.groups:
            holder = former.groups[above]
            names = sorted(
                {*holder.members, part}, key=lambda each: each.encode("utf-8", "surrogateescape")
            )
            changed = replace(holder, members=tuple(names))
            return replace(former, groups={**former.groups, above: changed})
        above = inner
    raise VerificationError(former.file, f"{printable(path)} was there before", REMEDY)


def _compare(finished: Finished, file: Path, path: str) -> None:
    """Hold the published group against the partial one: bytes of values, and what we read."""
    where = f"{finished.target}:{printable(path)}"
    with (
        open_hdf5(file) as made,
        h5py.File(finished.partial, "r", locking=False) as partial,
        file.open("rb") as stream,
        finished.partial.open("rb") as other,
    ):
        one, two = made[path.encode("utf-8", "surrogateescape")], partial[GROUP]
        if sorted(one) != sorted(two):
            raise VerificationError(where, f"holds {sorted(one)}, expected {sorted(two)}", REMEDY)
        for name in two:
            if (one[name].shape, one[name].dtype) != (two[name].shape, two[name].dtype):
                raise VerificationError(f"{where}/{name}", "has another shape or type", REMEDY)
            _compare_bytes(stream.fileno(), other.fileno(), (one[name], two[name]), where)
    found = read_usid(file)
    for main in finished.layout.mains:
        inner = f"{path}/{main.name}"
        if inner not in found.mains:
            broken = [
                each
                for each in found.findings
                if each.path == inner and each.severity is Severity.ERROR
            ]
            told = "; ".join(f"{each.id}: {each.found}" for each in broken[:4])
            raise VerificationError(
                f"{finished.target}:{printable(inner)}",
                f"is no sound Main dataset ({told})",
                REMEDY,
            )


def _compare_bytes(
    one: int, other: int, pair: tuple[h5py.Dataset, h5py.Dataset], where: str
) -> None:
    starts = [dataset.id.get_offset() for dataset in pair]
    size = pair[1].id.get_storage_size()
    if pair[0].id.get_storage_size() != size:
        raise VerificationError(f"{where}/{pair[1].name}", "has another size", REMEDY)
    for at in range(0, size, _PIECE_BYTES):
        n_bytes = min(_PIECE_BYTES, size - at)
        pieces = [
            os.pread(fd, n_bytes, start + at)
            for fd, start in zip((one, other), starts, strict=True)
        ]
        if pieces[0] != pieces[1]:
            raise VerificationError(f"{where}/{pair[1].name}", "is not what was written", REMEDY)


def changed(source: Path) -> FileBusyError:
    """Return the error for a source that is not any more what was read."""
    return FileBusyError(
        source,
        "changed while it was worked on: nothing was published",
        "Run it again when its writer is done.",
    )
