"""Files and receipts for the catalogue, and what two catalogues hold as one comparable object."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from usid_files import channel, line, write_file, write_main

from usid_tasks.catalog.catalog import Catalog
from usid_tasks.model import LAYOUT_VERSION, Finding, Outcome
from usid_tasks.places import receipt_path
from usid_tasks.receipts import MainRecord, Receipt, SourceRecord, write_receipt

NO_LABELS = ("Position_Indices.labels", "Position_Values.labels")
X = line("X", np.linspace(0, 3e-6, 4), "m")
BIAS = line("Bias", np.array([-1.0, 0.5, 2.0]))


def lab_of_all_outcomes(lab: Path) -> Path:
    """Write a folder with a sound, a partial, a broken and a not-USID file."""
    (lab / "afm").mkdir(parents=True)
    write_file(lab / "afm" / "sound.h5", X, BIAS, quantity="Current", units="nA")
    with h5py.File(lab / "afm" / "sound.h5", "a") as file:
        file.attrs["instrument_name"] = "Cypher S"
        file["Measurement_000"].attrs["scan_rate"] = 0.75
        file["Measurement_000"].attrs["grid"] = np.array([1, 2])
    write_file(lab / "broken.h5", X, missing=NO_LABELS)
    with h5py.File(lab / "partial.h5", "w") as file:
        write_main(channel(file), position=X, quantity="Height", units="m")
        write_main(channel(file, 0, 1), position=X, missing=NO_LABELS)
    with h5py.File(lab / "log.h5", "w") as file:
        file["seconds"] = np.arange(3)
    return lab


def receipt_of(key: str, **more: Any) -> Receipt:
    """Return a receipt without a store, of a source of this key."""
    source = SourceRecord(root_name="", path=key, size=10, mtime_ns=1, ctime_ns=1)
    given: dict[str, Any] = {
        "source": source,
        "outcome": Outcome.FAILED,
        "started": "2026-11-01T10:00:00.000Z",
        "finished": "2026-11-01T10:00:01.000Z",
        "settings_digest": "blake3:00",
        "layout_version": LAYOUT_VERSION,
    }
    return Receipt(**{**given, **more})


def put(dest: Path, key: str, **more: Any) -> str:
    """Write such a receipt to its place in DEST, and return its key."""
    write_receipt(receipt_of(key, **more), receipt_path(dest, key))
    return key


def main_of(path: str = "/Raw", **more: Any) -> MainRecord:
    """Return the record of a Main dataset."""
    return MainRecord(path=path, outcome=more.pop("outcome", Outcome.DONE), **more)


def finding_of(rule: str = "R9", **more: Any) -> Finding:
    """Return a finding."""
    told = {"severity": "error", "file": "scan.h5", "path": "/", "found": "this"}
    return Finding.from_json({"id": rule, "expected": "that", "remedy": "none", **told, **more})


def exported(catalog: Catalog) -> Any:
    """Return all that a catalogue holds."""
    stream = io.StringIO()
    catalog.export(stream)
    return json.loads(stream.getvalue())


def keys(found: list[dict[str, Any]]) -> list[str]:
    """Return the keys of the sources found, in alphabetical order."""
    return sorted(one["key"] for one in found)
