"""Results groups whose tool is not done yet, ours or pyUSID's, and what they derive from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from usid_tasks.model import JSON
from usid_tasks.provenance.lookup import ResultsGroup, describe_group
from usid_tasks.provenance.records import stored_record
from usid_tasks.records import FileRecord
from usid_tasks.usid import open_hdf5, open_object, scan

STATUS_NAMES = ("completed_positions", "completed_guesses", "completed_fits")
"""Datasets in which pyUSID's tools, and ours, keep which positions are done: 1 each."""

_CELLS = 2**22


@dataclass(frozen=True)
class Unfinished:
    """A results group with positions still to do."""

    group: str
    n_done: int
    n_positions: int

    def __str__(self) -> str:
        return f"results group {self.group}: {self.n_done} of {self.n_positions} positions are done"


@dataclass(frozen=True)
class Derivation:
    """What the results of one file tell: which are unfinished, which come from other files."""

    unfinished: tuple[Unfinished, ...] = ()
    derived_from: tuple[Mapping[str, JSON], ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return what a receipt keeps of it."""
        return {
            "derived_from": [dict(one) for one in self.derived_from],
            "unfinished": [str(one) for one in self.unfinished],
        }


def derivation_of(path: Path) -> Derivation:
    """Return what the results groups of a file tell of themselves; nothing where there are none.

    A file without a name like ``Source-Tool_000`` in it costs a walk over its names.

    Raises
    ------
    FileBusyError, NotHDF5Error, OSError
        If the file cannot be opened.
    """
    with open_hdf5(path) as file:
        if not file.visit(_looks_like_results):
            return Derivation()
        record = scan(file, str(path))
        groups = [describe_group(record, name) for name in record.groups if name != "/"]
        told = [group for group in groups if group is not None]
        unfinished = [_unfinished(file, record, group) for group in told]
    links = [one for group in told for one in _links(record, group)]
    return Derivation(tuple(one for one in unfinished if one is not None), tuple(links))


def _looks_like_results(name: str | bytes) -> bool | None:
    text = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
    stem, _, number = text.rpartition("/")[2].rpartition("_")
    return True if "-" in stem and number.isdecimal() else None


def _unfinished(file: Any, record: FileRecord, group: ResultsGroup) -> Unfinished | None:
    """Return how far a group is, None if it is done or does not tell.

    Marks of single positions decide; ``last_pixel`` alone does where there are none.
    """
    marks = [
        record.datasets[f"{group.path}/{name}"]
        for name in STATUS_NAMES
        if f"{group.path}/{name}" in record.datasets
    ]
    for dataset in marks:
        if dataset.shape is None or len(dataset.shape) != 1:
            continue
        held = open_object(file, dataset.path)
        n_positions = dataset.shape[0]
        n_done = sum(
            int(np.count_nonzero(held[first : first + _CELLS] == 1))
            for first in range(0, n_positions, _CELLS)
        )
        if n_done < n_positions:
            return Unfinished(group.path, n_done, n_positions)
    last = record.groups[group.path].attributes.values.get("last_pixel")
    n_positions = _rows(record, group)
    if marks or not isinstance(last, (int, float)) or last >= n_positions:
        return None
    return Unfinished(group.path, int(last), n_positions)


def _rows(record: FileRecord, group: ResultsGroup) -> int:
    """Return the positions of the source where it is in the file, else of the longest result."""
    sources = () if group.source_file else group.sources
    held = [record.datasets[path] for path in sources if path in record.datasets]
    if not held:
        below = f"{group.path}/"
        held = [main.dataset for path, main in record.candidates.items() if path.startswith(below)]
    return max((dataset.shape[0] for dataset in held if dataset.shape), default=0)


def _links(record: FileRecord, group: ResultsGroup) -> list[Mapping[str, JSON]]:
    """Return what a receipt tells of the sources of a group that lie in other files."""
    try:
        told = stored_record(record.groups[group.path].attributes)
    except (KeyError, TypeError, ValueError):
        told = None
    if told is None:
        if not group.source_file:
            return []
        return [
            {
                "group": group.path,
                "tool": group.tool,
                "file": group.source_file,
                "dataset": group.sources[0],
                "fingerprint": None,
            }
        ]
    return [
        {
            "group": group.path,
            "tool": told.tool,
            "file": source.file,
            "dataset": source.dataset,
            "fingerprint": source.fingerprint.digest,
        }
        for source in told.sources
        if source.file
    ]
