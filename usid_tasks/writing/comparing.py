"""A new Measurement read back, and held against what was to be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.errors import VerificationError
from usid_tasks.grid import GridKind
from usid_tasks.mains import Main, Side
from usid_tasks.model import Severity
from usid_tasks.printable import printable
from usid_tasks.source import MainSource
from usid_tasks.usid import open_hdf5, open_object, read_usid
from usid_tasks.writing.cells import Written, digest_of
from usid_tasks.writing.contents import Contents
from usid_tasks.writing.given import Given
from usid_tasks.writing.tables import Tables

REMEDY = "Nothing was changed. Keep the signal, and report it with this message"


def check_new(
    file: Path, path: str, contents: Contents, written: Sequence[Written], *, where: str
) -> None:
    """Compare a Main dataset, as our reader has it, with what was to be written.

    Parameters
    ----------
    file, path
        Where it is.
    contents
        What was to be written.
    written
        The blocks of its values.
    where
        What errors name.

    Raises
    ------
    VerificationError
        If it is not sound, or if a table, an attribute or a value differs.
    """
    found = read_usid(file)
    main, where = found.mains.get(path), f"{where}:{printable(path)}"
    if main is None:
        broken = [one for one in found.findings if one.severity is Severity.ERROR]
        told = "; ".join(f"{one.id} at {printable(one.path)}: {one.found}" for one in broken[:4])
        raise VerificationError(where, f"is no sound Main dataset ({told})", REMEDY)
    for side in (main.position, main.spectroscopic):
        _check_side(side, contents.sides[side.name], where)
    told_of = (main.quantity, main.units)
    _expect(told_of, (contents.quantity, contents.units), "quantity and units", where)
    _check_attributes(file, main, contents, where)
    _check_values(main, contents, written, where)


def _expect(found: object, wanted: object, what: str, where: str) -> None:
    if found != wanted:
        told = f"{what}: found {printable(found)[:200]}, expected {printable(wanted)[:200]}"
        raise VerificationError(where, told, REMEDY)


def _check_side(side: Side, wanted: Tables | Given, where: str) -> None:
    columns = side.columns
    if isinstance(wanted, Given):
        labels = [(column.label, column.units) for column in wanted.side.columns]
        values = [column.values for column in wanted.side.columns]
        order = wanted.side.axes
    else:
        labels = [(one.label, one.units) for one in wanted.stored]
        values = [one.values.astype(wanted.dtype) for one in wanted.stored]
        wide = [k for k, one in enumerate(wanted.dimensions) if one.size > 1]
        order = tuple(wanted.columns.index(dimension) for dimension in wide)
        _expect(side.grid.kind, GridKind.FULL, f"the points of the {side.name} side", where)
    found = [(column.label, column.units) for column in columns]
    _expect(found, labels, f"labels and units of the {side.name} dimensions", where)
    _expect(side.axes, order, f"the order of the {side.name} dimensions", where)
    for column, expected in zip(columns, values, strict=True):
        # those of a dimension that never changes are told once
        is_fit = column.values.shape in ((), expected.shape)
        if not is_fit or not _is_same(np.broadcast_to(column.values, expected.shape), expected):
            what = f"the Values of {printable(column.label)} are others than were written"
            raise VerificationError(where, what, REMEDY)


def _is_same(found: Any, wanted: Any) -> bool:
    """Return True for the same type, shape and bits; byte order apart."""
    one, other = np.asarray(found), np.asarray(wanted)
    native = one.dtype.newbyteorder("="), other.dtype.newbyteorder("=")
    if one.shape != other.shape or native[0] != native[1]:
        return False
    return one.astype(native[0]).tobytes() == other.astype(native[0]).tobytes()


def _check_attributes(file: Path, main: Main, contents: Contents, where: str) -> None:
    measurement = main.path.rpartition("/")[0].rpartition("/")[0]
    told = [(measurement, contents.metadata), (main.path, contents.main_attributes)]
    for side in (main.position, main.spectroscopic):
        made = contents.sides[side.name]
        if isinstance(made, Tables):
            told += [(place, made.notes) for place in (side.indices_path, side.values_path)]
    with open_hdf5(file) as opened:
        for place, wanted in told:
            _compare_attributes(open_object(opened, place).attrs, wanted, where)


def _compare_attributes(found: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    for name, value in wanted.items():
        held = found.get(name)
        if isinstance(value, str):
            is_same = isinstance(held, str) and held == value
        elif isinstance(value, tuple):
            is_same = isinstance(held, np.ndarray) and tuple(held.tolist()) == value
        else:
            is_same = held is not None and _is_same(held, value)
        if not is_same:
            what = f"the attribute {printable(name)[:60]!r} is not what was written"
            raise VerificationError(where, what, REMEDY)


def _check_values(main: Main, contents: Contents, written: Sequence[Written], where: str) -> None:
    source, components = MainSource.of(main), contents.cells.components
    _expect(source.shape, contents.cells.shape, "shape", where)
    stored = tuple((part.field, part.stored_dtype) for part in main.components)
    told = tuple((part.field, part.stored_dtype) for part in components)
    _expect(stored, told, "type", where)

    filters = ", ".join(main.candidate.dataset.storage.filters)
    remedy = f"Nothing was changed. Use a filter that keeps values, not {filters}"
    remedy = remedy if filters else REMEDY

    def look(block: Written) -> None:
        shape = tuple(part.stop - part.start for part in block.region)
        parts: list[NDArray] = [np.empty(shape + one.subshape, one.dtype) for one in components]
        source.read_into(block.region, main.components, parts)
        if digest_of(parts) != block.digest:
            starts = tuple(part.start for part in block.region)
            what = f"the {shape} cells from {starts} on are not what was written"
            raise VerificationError(where, what, remedy)

    with ThreadPoolExecutor(contents.options.threads) as pool:
        for _ in pool.map(look, written):
            pass
