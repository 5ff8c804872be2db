"""Source files and results files: as our runner leaves them, and by hand as pyUSID does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from index_tables import grid, values_at
from usid_files import LINKS, MAIN, ONE_SPECTRUM_POINT, Side, line, write_file, write_tables

from usid_tasks.file_digests import file_digest
from usid_tasks.provenance.environment import Environment
from usid_tasks.provenance.fingerprints import fingerprint
from usid_tasks.provenance.records import Record, SourceLink
from usid_tasks.provenance.stored import results_of, write_receipt, write_record
from usid_tasks.usid import read_usid
from usid_tasks.writing.opening import open_to_write

TABLE = grid({"Y": 4, "X": 3})
POSITION = Side(
    TABLE, ["X", "Y"], ["um", "um"], values_at(TABLE, np.arange(3), np.arange(4)), value_dtype="f4"
)
BIAS = line("Bias", np.linspace(-1, 1, 5))
GROUP = f"{MAIN}-reduce_000"
ENVIRONMENT = Environment(
    machine="afm1.example.org", platform="Linux", versions={"numpy": "2.4"}, code_version="0.1.0"
)


def source(path: Path, **how: Any) -> Path:
    """Write a sound file of one Main, 12 positions of 5 values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = how.pop("data", np.arange(60, dtype="f4").reshape(12, 5))
    return write_file(path, how.pop("position", POSITION), how.pop("spectroscopic", BIAS),
                      data=data, **how)  # fmt: skip


def means(
    source: Path,
    results: Path,
    *,
    main: str = MAIN,
    group: str | None = None,
    tool: str = "reduce",
    parameters: Mapping[str, Any] | None = None,
    source_digest: bool = False,
) -> Record:
    """Write the mean of every spectrum as a runner does: group, tables, record and receipt.

    ``results`` may be the source itself, or be there already.
    """
    read = read_usid(source).mains[main]
    told = fingerprint(read)
    with h5py.File(source) as file:
        cells = file[main][()].mean(axis=1, keepdims=True)
    name = group or f"{main}-{tool}_000"
    is_new = not results.exists()
    with open_to_write(results, is_new=is_new) as file:
        _write_group(file, name, cells, read.position.indices_path if source == results else None)
    relative = "" if source == results else os.path.relpath(source, results.parent)
    record = Record(
        tool=tool,
        algorithm="Mean over named dimensions.\n\nIn double precision.",
        version="1",
        parameters=parameters or {"statistic": "mean", "dims": ["Bias"]},
        sources=(
            SourceLink(
                file=relative,
                dataset=main,
                fingerprint=told,
                file_digest=file_digest(source) if source_digest else None,
            ),
        ),
        group=name,
        datasets=results_of(results, read_usid(results).record, name),
        started="2026-11-22T10:00:00.000Z",
        ended="2026-11-22T10:00:09.500Z",
        environment=ENVIRONMENT,
        configuration_digest="blake3:" + "0" * 64,
    )
    with open_to_write(results, is_new=False) as file:
        write_record(file[name], record)
    others = [] if is_new else _records(results, but=name)
    write_receipt(results, [*others, record])
    return record


def _write_group(file: h5py.File, name: str, cells: np.ndarray, linked_tables: str | None) -> None:
    group = file.create_group(name)
    tables = write_tables(group, POSITION, ONE_SPECTRUM_POINT)
    if linked_tables is not None:
        above = linked_tables.rpartition("/")[0]
        for table in LINKS[:2]:
            del group[table]
            tables[table] = file[f"{above}/{table}"]
    made = group.create_dataset("Mean", data=cells)
    for attribute in LINKS:
        made.attrs[attribute] = tables[attribute].ref
    made.attrs["quantity"], made.attrs["units"] = "Current", "nA"
    group["completed_positions"] = np.ones(len(cells), np.uint8)


def _records(results: Path, *, but: str) -> list[Record]:
    with h5py.File(results) as file:
        found: list[Record] = []

        def take(name: str, held: Any) -> None:
            if "usid_provenance" in held.attrs and f"/{name}" != but:
                found.append(Record.from_text(held.attrs["usid_provenance"]))

        file.visititems(take)
    return found


def as_pyusid(
    results: Path, source: Path, *, status: Any = None, last_pixel: int | None = 12, **attrs: Any
) -> Path:
    """Write a results group into a file of its own as pyUSID 0.0.12 does, attribute by attribute.

    ``status`` are the completed positions; none are written if it is None.
    """
    results.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(source) as file:
        cells = file[MAIN][()].mean(axis=1, keepdims=True)
    with h5py.File(results, "a") as file:
        group = file.create_group("Raw_Data-Mean_Val_000")
        is_same = source == results
        group.attrs["tool"] = "Mean_Val"
        group.attrs["num_source_dsets"] = 1
        if is_same:
            group.attrs["source_000"] = file[MAIN].ref
        else:
            group.attrs["source_file_path"] = str(source)
            group.attrs["source_dataset_path"] = MAIN
        if last_pixel is not None:
            group.attrs["last_pixel"] = last_pixel
        for key, value in attrs.items():
            group.attrs[key] = value
        tables = write_tables(group, POSITION, ONE_SPECTRUM_POINT)
        made = group.create_dataset("Mean", data=cells)
        for attribute in LINKS:
            made.attrs[attribute] = tables[attribute].ref
        made.attrs["quantity"], made.attrs["units"] = "Current", "nA"
        if status is not None:
            group["completed_positions"] = np.asarray(status, np.uint8)
    return results
