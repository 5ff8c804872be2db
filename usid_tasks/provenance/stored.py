"""Records where they are kept: as attributes of the results group, and in a receipt beside.

The plain attributes are those that pyUSID writes and looks for; ``usid_provenance`` holds the
whole record as JSON. The receipt ``<file>.provenance.json`` repeats the records of all results
groups of one file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from usid_tasks import durable
from usid_tasks.errors import UsidError
from usid_tasks.model import JSON
from usid_tasks.provenance.cells import dataset_digest
from usid_tasks.provenance.fingerprints import fingerprint
from usid_tasks.provenance.records import ATTRIBUTE, Record, ResultDataset
from usid_tasks.records import FileRecord
from usid_tasks.writing.metadata import TYPES, flattened
from usid_tasks.writing.metadata import Attributes as Writable
from usid_tasks.writing.structure import bookkeeping, put_attributes

if TYPE_CHECKING:
    import h5py

RECEIPT_SUFFIX = ".provenance.json"

_SCHEMA_VERSION = 1


def results_of(path: Path | str, record: FileRecord, group: str) -> tuple[ResultDataset, ...]:
    """Return the datasets of a finished results group with their digests, by path.

    Parameters
    ----------
    path
        The file, closed; what a Main dataset refers to lies in it.
    record
        Everything in it.
    group
        HDF5 path of the group. Results groups within it have records of their own.

    Raises
    ------
    UnreadableDataError
        If HDF5 cannot read one.
    """
    below = group.rstrip("/") + "/"
    inner = [
        f"{other}/"
        for other, held in record.groups.items()
        if other.startswith(below) and ATTRIBUTE in held.attributes.records
    ]
    found = []
    for name, dataset in record.datasets.items():
        if not name.startswith(below) or name.startswith(tuple(inner)):
            continue
        told = fingerprint(record.candidates[name]) if name in record.candidates else None
        found.append(
            ResultDataset(
                path=name.removeprefix(below),
                digest=dataset_digest(path, dataset) if told is None else told.main.digest,
                shape=dataset.shape or (),
                dtype=json.loads(json.dumps(dataset.type)),
                fingerprint="" if told is None else told.digest,
            )
        )
    return tuple(found)


def attributes_of(record: Record) -> Writable:
    """Return the attributes of a results group but the references to its sources.

    Every parameter is one under its own name; one that already means something is
    ``<tool>-<name>``.

    Raises
    ------
    UnwritableError
        If neither HDF5 nor JSON can hold a parameter.
    """
    source = record.sources[0]
    told: Writable = {
        **bookkeeping(),
        "tool": record.tool,
        "algorithm": record.algorithm,
        "tool_version": record.version,
        "code_version": record.environment.code_version,
        "machine_id": record.environment.machine,
        "platform": record.environment.platform,
        "num_source_dsets": len(record.sources),
        "last_pixel": source.fingerprint.main.shape[0],
        ATTRIBUTE: record.to_text(),
    }
    if source.file:
        told |= {"source_file_path": source.file, "source_dataset_path": source.dataset}
    parameters = flattened(dict(record.parameters), where="parameters")
    for name, value in parameters.items():
        if name != TYPES:
            told[f"{record.tool}-{name}" if _is_taken(name, told) else name] = value
    return told


def _is_taken(name: str, told: Mapping[str, object]) -> bool:
    return name in told or name.startswith("source_")


def write_record(group: h5py.Group, record: Record) -> None:
    """Write a record to its results group; what is there under the same names is replaced.

    Parameters
    ----------
    group
        Of a file open for writing that no reader knows yet, made by HDF5 1.8 or newer
        (:func:`usid_tasks.writing.opening.open_to_write`), for parameters beyond 64 KiB.
    record
        Its sources that lie in the same file become ``source_000``, ... as object references.

    Raises
    ------
    UnwritableError
        If HDF5 cannot hold a parameter.
    KeyError
        If a source of the same file is not there.
    """
    put_attributes(group, attributes_of(record))
    for number, source in enumerate(record.sources):
        if not source.file:
            group.attrs[f"source_{number:03d}"] = group.file[source.dataset].ref


def receipt_of(file: Path) -> Path:
    """Return where the receipt of a file's results lies."""
    return file.with_name(file.name + RECEIPT_SUFFIX)


def write_receipt(file: Path, records: Iterable[Record]) -> None:
    """Write the receipt of all results groups of a file: whole or not at all.

    Raises
    ------
    UsidError
        If it cannot be written.
    """
    told = {
        "schema_version": _SCHEMA_VERSION,
        "file": file.name,
        "records": [record.to_json() for record in sorted(records, key=lambda one: one.group)],
    }
    text = json.dumps(told, allow_nan=False, indent=1, sort_keys=True) + "\n"
    durable.write_file(receipt_of(file), text.encode())


def read_receipt(file: Path) -> dict[str, Record]:
    """Return the records of a file's receipt by group, none where there is no receipt.

    Raises
    ------
    UsidError
        If it is damaged, or written by a newer program.
    """
    place = receipt_of(file)
    try:
        told: JSON = json.loads(place.read_bytes())
        if int(told["schema_version"]) > _SCHEMA_VERSION:
            raise ValueError(f"schema version {told['schema_version']}")
        records = [Record.from_json(one) for one in told["records"]]
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsidError(
            place,
            f"the receipt is damaged or of a newer program ({type(error).__name__}: {error})",
            "Move it away to go by what the results groups hold themselves.",
        ) from error
    return {record.group: record for record in records}
