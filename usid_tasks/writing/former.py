"""A file and its copy: all that was there is there, byte by byte."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
from h5py import h5d

from usid_tasks.attributes import encode_value
from usid_tasks.errors import NotHDF5Error, VerificationError
from usid_tasks.printable import printable
from usid_tasks.records import Dataset, FileRecord, Group
from usid_tasks.usid import open_hdf5, open_object, scan
from usid_tasks.writing.comparing import REMEDY

_PIECE_BYTES = 4 * 2**20
_CELLS_AT_ONCE = 2**16

Extent = tuple[int, int]
"""Where bytes of a dataset lie, and how many."""


def read_former(original: Path) -> FileRecord:
    """Return the record of a file that is to be added to.

    Raises
    ------
    FileBusyError, NotHDF5Error
        If HDF5 cannot open it, or not read all of it.
    """
    with open_hdf5(original) as file, _reading(original):
        return scan(file, str(original))


def check_former(before: FileRecord, copy: Path, *, new: str) -> None:
    """Compare all that a file held with what its copy, which has a group more, holds.

    Groups, links, attributes and layouts have to be equal, and the bytes of all values.

    Parameters
    ----------
    before
        The record of the file, which is as it was.
    copy
        The other file.
    new
        Name of the group that only the copy has, in its root.

    Raises
    ------
    VerificationError
        Naming the object that differs.
    NotHDF5Error
        If HDF5 cannot read all of the original.
    """
    original = Path(before.file)
    with open_hdf5(original) as one, open_hdf5(copy) as other, _reading(original):
        _check_records(before, scan(other, before.file), new)
        with original.open("rb") as stream, copy.open("rb") as copied:
            for path, dataset in before.datasets.items():
                if dataset.storage.elsewhere:
                    continue
                where = f"{original}:{printable(path)}"
                pair = open_object(one, path), open_object(other, path)
                _check_bytes(stream.fileno(), copied.fileno(), pair, where)
                if _is_beside(dataset):
                    _check_cells(pair, where)


@contextmanager
def _reading(original: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:
        what = f"HDF5 cannot read all of it: {error}"
        raise NotHDF5Error(original, what, "Write to another file, or use replace=True") from error


def _check_records(before: FileRecord, after: FileRecord, new: str) -> None:
    for path, group in before.groups.items():
        there = after.groups.get(path)
        if there is not None and path == "/":
            kept = tuple(name for name in there.members if name != new)
            there = replace(there, members=kept)
        if there is None or _of_group(there) != _of_group(group):
            raise _differs(f"{before.file}:{printable(path)}")
    for path, dataset in before.datasets.items():
        known = after.datasets.get(path)
        if known is None or _of_dataset(known) != _of_dataset(dataset):
            raise _differs(f"{before.file}:{printable(path)}")


def _of_group(group: Group) -> Group:
    """Return a group without what depends on the folder that its file lies in."""
    return replace(group, dangling=())


def _of_dataset(dataset: Dataset) -> Dataset:
    """Return a dataset without what depends on the folder that its file lies in."""
    storage = replace(dataset.storage, elsewhere=(), unreadable="", unwritten=(), way="")
    return replace(dataset, storage=storage)


def _differs(where: str) -> VerificationError:
    return VerificationError(where, "is not in the copy as it is in the file", REMEDY)


def _check_bytes(one: int, other: int, pair: tuple[h5py.Dataset, h5py.Dataset], where: str) -> None:
    extents = sorted(_extents(pair[0]))
    if extents != sorted(_extents(pair[1])):
        raise _differs(where)
    for start, size in extents:
        for at in range(start, start + size, _PIECE_BYTES):
            n_bytes = min(_PIECE_BYTES, start + size - at)
            if os.pread(one, n_bytes, at) != os.pread(other, n_bytes, at):
                raise _differs(where)


def _extents(dataset: h5py.Dataset) -> Iterator[Extent]:
    """Yield where the values of a dataset lie in its file, encoded or not."""
    layout = dataset.id.get_create_plist().get_layout()
    if layout == h5d.CONTIGUOUS and dataset.id.get_offset() is not None:
        yield int(dataset.id.get_offset()), int(dataset.id.get_storage_size())
    elif layout == h5d.CHUNKED:
        found: list[Extent] = []
        dataset.id.chunk_iter(lambda chunk: found.append((chunk.byte_offset, chunk.size)))
        yield from found


def _is_beside(dataset: Dataset) -> bool:
    """Return True where values lie outside extents: small ones, and those of any length."""
    if dataset.dtype is None or dataset.shape is None:
        return False
    return dataset.storage.layout == "compact" or dataset.dtype.hasobject


def _check_cells(pair: tuple[h5py.Dataset, h5py.Dataset], where: str) -> None:
    one, other = pair
    if not one.shape:
        rows: Iterator[object] = iter([()])
    else:
        step = max(1, _CELLS_AT_ONCE * one.shape[0] // max(one.size, 1))
        rows = (slice(at, at + step) for at in range(0, one.shape[0], step))
    for some in rows:
        if encode_value(one[some], one.file) != encode_value(other[some], other.file):
            raise _differs(where)
