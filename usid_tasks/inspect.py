"""What is in a file, as one JSON record and as a person reads it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from usid_tasks.axes import AxisKind
from usid_tasks.checks.results import is_results_group, sources_of, tool_of
from usid_tasks.checks.storage import size_of
from usid_tasks.errors import UsidError
from usid_tasks.grid import GridKind
from usid_tasks.inspect_text import render
from usid_tasks.mains import Column, Main, Side
from usid_tasks.model import JSON, Finding, Severity
from usid_tasks.records import Attributes, Dataset, FileRecord
from usid_tasks.rosetta.contents import list_datasets_in_file, read_metadata_from_file
from usid_tasks.usid import UsidFile, read_usid
from usid_tasks.validate import Thresholds, findings_of

__all__ = ["inspect_file", "list_datasets_in_file", "read_metadata_from_file", "render"]

Entry = dict[str, JSON]


def inspect_file(path: Path | str, thresholds: Thresholds | None = None) -> Entry:
    """Return everything about a file but the values of its datasets, ready for JSON.

    Returns
    -------
    dict
        ``file``, ``size_bytes``, ``dialect``, ``mains`` (see :func:`describe_main`), ``broken``
        (candidates that are no sound Main dataset, with the reasons), ``results`` (groups with
        their tool and sources), ``datasets`` (all others, with their role), ``groups`` (with
        attributes and links) and ``findings``.

    Raises
    ------
    FileBusyError, NotHDF5Error
        If HDF5 cannot open the file.
    UsidError
        If it does not exist or may not be read.
    """
    path = Path(path)
    thresholds = thresholds or Thresholds()
    try:
        usid_file = read_usid(path, tolerance=thresholds.uniform_tolerance)
        size = path.stat().st_size
    except OSError as error:
        raise UsidError(
            path, f"cannot be read ({error.strerror or error})", "Check the path and permissions."
        ) from error
    record = usid_file.record
    findings = findings_of(usid_file, thresholds)
    return {
        "file": str(path),
        "size_bytes": size,
        "dialect": record.dialect or "h5USID",
        "mains": [describe_main(main) for main in usid_file.mains.values()],
        "broken": [_broken(usid_file, path, findings) for path in usid_file.broken],
        "results": list(_results(record)),
        "datasets": list(_others(usid_file)),
        "groups": [
            {
                "path": group.path,
                "members": list(group.members),
                "links": dict(group.links),
                "attributes": _attributes(group.attributes),
            }
            for group in record.groups.values()
        ],
        "findings": [finding.to_json() for finding in findings],
    }


def describe_main(main: Main) -> Entry:
    """Return one sound Main dataset: what it is, its N-D form, its axes and its storage.

    ``dims`` and ``shape`` are the N-D form, slow to fast; ``axes`` are all dimensions, those
    of size one too.
    """
    dataset = main.candidate.dataset
    sides = (main.position, main.spectroscopic)
    return {
        "path": main.path,
        "quantity": main.quantity,
        "units": main.units,
        "dtype": _type_name(dataset),
        "components": [
            {
                "field": list(part.field),
                "dtype": part.stored_dtype,
                "shape": list(part.subshape),
            }
            for part in main.components
        ],
        "dims": [dim for side in sides for dim in _dims(side)],
        "shape": list(main.shape),
        "stored_shape": list(dataset.shape or ()),
        "sides": [_side(side) for side in sides],
        "axes": [_axis(side, side.columns[at]) for side in sides for at in side.grid.columns],
        "storage": _storage(dataset),
        "attributes": _attributes(dataset.attributes),
    }


def _type_name(dataset: Dataset) -> str:
    dtype = dataset.dtype
    if dtype is None:
        return "unreadable"
    return "compound" if dtype.names else str(dtype)


def _dims(side: Side) -> list[str]:
    return [side.name if at is None else side.columns[at].label for at in side.axes]


def _side(side: Side) -> Entry:
    grid = side.grid
    return {
        "side": side.name,
        "form": grid.kind.value,
        "reason": grid.reason.value if grid.reason else "",
        "points": grid.placement.n_rows,
        "cells": math.prod(grid.sizes) if grid.kind is not GridKind.FLAT else None,
        "acquisition": grid.acquisition.value,
        "in_order": grid.placement.is_in_order,
        "indices": side.indices_path,
        "values": side.values_path,
    }


def _axis(side: Side, column: Column) -> Entry:
    """Return one dimension; ``step`` only where it is uniform, ``low`` and ``high`` always."""
    values = column.values.ravel()
    axis: Entry = {
        "label": column.label,
        "units": column.units,
        "side": side.name,
        "size": column.size,
        "kind": column.kind.value,
        "depends_on": [side.columns[at].label for at in column.along if at is not None],
        "is_indexed": column.keeps_index,
        "dtype": column.stored_dtype,
    }
    if values.size:
        axis["first"], axis["last"] = _number(values[0]), _number(values[-1])
    known = values[np.isfinite(values)]
    if known.size and known.dtype.kind != "c":
        axis["low"], axis["high"] = _number(known.min()), _number(known.max())
    if column.kind is AxisKind.UNIFORM:
        span = values[-1].astype(np.longdouble) - values[0].astype(np.longdouble)
        axis["step"] = float(span / (values.size - 1))
    return axis


def _number(value: np.generic) -> JSON:
    item = value.item()
    if isinstance(item, complex) or not np.isfinite(item):
        return str(item)
    # float32 0.1 is told as 0.1, not as 0.10000000149011612
    return float(str(value)) if isinstance(item, float) else item


def _storage(dataset: Dataset) -> Entry:
    storage = dataset.storage
    return {
        "layout": storage.layout,
        "chunks": list(storage.chunks) if storage.chunks else None,
        "filters": list(storage.filters),
        "allocated_bytes": storage.size_bytes,
        "size_bytes": size_of(dataset),
        "read": storage.way,
        "unwritten_rows": [list(rows) for rows in storage.unwritten],
        "elsewhere": [{"file": part.file, "problem": part.problem} for part in storage.elsewhere],
    }


def _broken(usid_file: UsidFile, path: str, findings: list[Finding]) -> Entry:
    candidate = usid_file.record.candidates[path]
    places = {path, *(table.dataset.path for table in candidate.ancillaries.values())}
    errors = [
        finding
        for finding in findings
        if finding.severity is Severity.ERROR and finding.path in places
    ]
    shape = candidate.dataset.shape
    return {
        "path": path,
        "stored_shape": None if shape is None else list(shape),
        "dtype": _type_name(candidate.dataset),
        "reasons": [f"{finding.id}: {finding.found}" for finding in errors],
    }


def _results(record: FileRecord) -> Iterator[Entry]:
    for group in record.groups.values():
        if group.path != "/" and is_results_group(group, record):
            values = group.attributes.values
            elsewhere = [
                values[name]
                for name in ("source_file_path", "source_dataset_path")
                if name in values
            ]
            yield {
                "path": group.path,
                "tool": tool_of(group),
                "sources": [path for path in sources_of(group).values() if path is not None],
                "source_elsewhere": elsewhere,
                "mains": [path for path in record.candidates if path.startswith(f"{group.path}/")],
            }


def _others(usid_file: UsidFile) -> Iterator[Entry]:
    record = usid_file.record
    tables = {
        table.dataset.path
        for candidate in record.candidates.values()
        for table in candidate.ancillaries.values()
    }
    for path, dataset in record.datasets.items():
        if path not in record.candidates:
            yield {
                "path": path,
                "role": "ancillary" if path in tables else "other",
                "stored_shape": None if dataset.shape is None else list(dataset.shape),
                "dtype": _type_name(dataset),
                "size_bytes": size_of(dataset),
                "attributes": _attributes(dataset.attributes),
            }


def _attributes(attributes: Attributes) -> Entry:
    """Return every attribute's value, those that CF decoding would consume included."""
    hidden = {
        name: record["value"] for name, record in attributes.records.items() if "value" in record
    }
    return {**attributes.values, **hidden}
