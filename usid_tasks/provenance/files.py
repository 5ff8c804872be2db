"""What a walk along a chain reads of files and stores, each once."""

from __future__ import annotations

import json
from pathlib import Path

from usid_tasks.provenance.fingerprints import Fingerprint, fingerprint
from usid_tasks.provenance.lookup import describe_group
from usid_tasks.provenance.records import ATTRIBUTE, Record, ResultDataset
from usid_tasks.provenance.stored import read_receipt, results_of
from usid_tasks.records import FileRecord
from usid_tasks.usid import open_hdf5, scan


class Files:
    """What was read of files, each once."""

    def __init__(self) -> None:
        self._records: dict[Path, FileRecord] = {}
        self._fingerprints: dict[tuple[Path, str], Fingerprint] = {}
        self._receipts: dict[Path, dict[str, Record]] = {}
        self._results: dict[tuple[Path, str], tuple[ResultDataset, ...]] = {}

    def record(self, path: Path) -> FileRecord:
        """Return everything in a file but values."""
        if path not in self._records:
            with open_hdf5(path) as file:
                self._records[path] = scan(file, str(path))
        return self._records[path]

    def fingerprint(self, path: Path, dataset: str) -> Fingerprint | None:
        """Return the fingerprint of a Main dataset, None where there is none at that path."""
        if (path, dataset) not in self._fingerprints:
            candidate = self.record(path).candidates.get(dataset)
            if candidate is None:
                return None
            self._fingerprints[path, dataset] = fingerprint(candidate)
        return self._fingerprints[path, dataset]

    def receipt(self, path: Path) -> dict[str, Record]:
        """Return the records in the receipt of a file; see :func:`read_receipt` for errors."""
        if path not in self._receipts:
            self._receipts[path] = read_receipt(path)
        return self._receipts[path]

    def results(self, path: Path, group: str) -> tuple[ResultDataset, ...]:
        """Return the datasets of a results group as they are now."""
        if (path, group) not in self._results:
            self._results[path, group] = results_of(path, self.record(path), group)
        return self._results[path, group]

    def group_of(self, path: Path, name: str) -> str | None:
        """Return the innermost results group that is an object or holds it."""
        record = self.record(path)
        while name and name != "/":
            if name in record.groups and describe_group(record, name) is not None:
                return name
            name = name.rpartition("/")[0]
        return None


def records_in(store: Path) -> dict[str, Record]:
    """Return the records that the groups of a store hold, by path in the file they came from."""
    found = {}
    for document in sorted(store.rglob("zarr.json")):
        told = json.loads(document.read_text("utf-8"))
        held = told.get("attributes", {}).get("usid_attrs", {}).get(ATTRIBUTE)
        if isinstance(held, dict) and isinstance(held.get("value"), str):
            try:
                record = Record.from_text(held["value"])
            except (KeyError, TypeError, ValueError):
                continue
            found[record.group] = record
    return found
