"""What keeps a file, or one of its datasets, from becoming signals."""

from __future__ import annotations

from collections.abc import Sequence

from usid_tasks.errors import NoMainDatasetError, UsidError
from usid_tasks.model import Severity
from usid_tasks.printable import printable
from usid_tasks.records import ANCILLARIES, Dataset
from usid_tasks.usid import UsidFile

_LISTED = 8
"""How many datasets a message names."""


class NoSignalError(NoMainDatasetError, ValueError):
    """The file holds no sound Main dataset, or not the one asked for."""


class NonUniformError(UsidError, ValueError):
    """A dimension was varied non-uniformly, and the caller wants none that was."""


def reasons_of(file: UsidFile, path: str) -> str:
    """Return why the dataset at ``path`` is no sound Main dataset, in one line."""
    tables = file.record.candidates[path].ancillaries.values()
    places = {path, *(table.dataset.path for table in tables)}
    return "; ".join(
        f"{finding.id}: {printable(finding.found)}"
        for finding in file.findings
        if finding.severity is Severity.ERROR and finding.path in places
    )


def no_main(file: UsidFile) -> NoSignalError:
    """Return the error for a file without a sound Main dataset; it tells what is there."""
    record = file.record
    if file.broken:
        broken = [f"{printable(path)} ({reasons_of(file, path)})" for path in file.broken]
        what = f"no sound Main dataset; broken are {_some(broken)}"
        return NoSignalError(record.file, what, "`usid validate` tells what to do about each")
    others = [_told(dataset) for dataset in record.datasets.values()]
    found = f"{len(others)} {'dataset' if len(others) == 1 else 'datasets'}"
    what = (
        f"no Main dataset: none has references to {', '.join(ANCILLARIES)}."
        f" There are {found if others else 'no datasets'}{': ' if others else ''}{_some(others)}"
    )
    return NoSignalError(
        record.file, what, "usid_tasks.inspect.read_metadata_from_file shows any HDF5 file"
    )


def not_this_one(file: UsidFile, path: str) -> NoSignalError:
    """Return the error for a ``dataset_path`` that names no sound Main dataset."""
    where = f"{file.record.file}:{printable(path)}"
    there = _some([printable(main) for main in file.mains]) or "none"
    if path in file.record.candidates:
        what = f"this Main dataset is not sound ({reasons_of(file, path)})"
    elif path in file.record.datasets or path in file.record.groups:
        what = "this is no Main dataset"
    else:
        what = "there is nothing at this path"
    return NoSignalError(where, f"{what}; sound are: {there}", "choose one of these")


def _told(dataset: Dataset) -> str:
    shape = "empty" if dataset.shape is None else " × ".join(map(str, dataset.shape)) or "scalar"
    return f"{printable(dataset.path)} ({shape})"


def _some(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:_LISTED])
    return f"{shown} and {len(texts) - _LISTED} more" if len(texts) > _LISTED else shown
