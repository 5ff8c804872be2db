"""Rules on the ancillary tables as HDF5 datasets: R7, R8, R13, R19, R20, R23 and F2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from usid_tasks.checks.labels import ANCILLARY_DATA
from usid_tasks.checks.rule import ERROR, INFO, WARNING, Rule, Violation
from usid_tasks.checks.subjects import Judged, JudgedSide, JudgedTables, TablePair
from usid_tasks.model import JSON
from usid_tasks.records import ANCILLARIES, Ancillary

MODEL_TABLES = "USID model, «Ancillary Datasets»"


def _fit_the_main(judged: Judged) -> Iterator[Violation]:
    if judged.shape is None:
        return
    pairs = judged.pairs
    expected = "Position tables ({}, dimensions), Spectroscopic tables (dimensions, {})"
    if _is_transposed(judged, pairs):
        yield Violation(
            judged.path,
            f"a Main dataset of shape {judged.shape} that looks transposed",
            expected=f"{judged.shape[::-1]}, as its tables tell",
        )
        return
    for pair in pairs:
        misfits = pair.misfits
        if misfits:
            told = [f"{name} of shape {table.dataset.shape}" for name, table in misfits.items()]
            found = f"{' and '.join(told)} for a Main dataset of shape {judged.shape}"
            if all(_looks_transposed(pair, table) for table in misfits.values()):
                found += ", transposed as it seems"
            yield Violation(judged.path, found, expected.format(*judged.shape))


def _looks_transposed(pair: TablePair, table: Ancillary) -> bool:
    shape = table.dataset.shape
    return shape is not None and len(shape) == 2 and shape[1 - pair.axis] == pair.n_points


def _is_transposed(judged: Judged, pairs: Sequence[TablePair]) -> bool:
    """Return True if every table would fit the Main dataset with its axes swapped."""
    shape = judged.shape
    return (
        shape is not None
        and len(pairs) == 2
        and all(pair.misfits.keys() == pair.tables.keys() for pair in pairs)
        and all(not replace(pair, n_points=shape[1 - pair.axis]).misfits for pair in pairs)
    )


def _pair_has_one_shape(judged: Judged) -> Iterator[Violation]:
    for pair in judged.pairs:
        shapes = {attribute: table.dataset.shape for attribute, table in pair.tables.items()}
        if not pair.misfits and len(set(shapes.values())) > 1:
            told = [f"{attribute} of shape {shape}" for attribute, shape in shapes.items()]
            yield Violation(pair.path, ", ".join(told))


def _have_a_dimension(judged: Judged) -> Iterator[Violation]:
    for pair in judged.pairs:
        empty = [
            attribute
            for attribute, table in pair.tables.items()
            if not pair.misfits and (table.dataset.shape or ())[1 - pair.axis] == 0
        ]
        if len(empty) == len(pair.tables):
            yield Violation(pair.path, f"{', '.join(empty)}: no dimension at all")


def _is_number(attribute: str, dtype: np.dtype | None) -> bool:
    kinds = "biuf" if attribute.endswith("Indices") else "biufc"
    return (
        dtype is not None
        and dtype.kind in kinds
        and dtype.itemsize <= (16 if dtype.kind == "c" else 8)
    )


def _hold_numbers(judged: Judged) -> Iterator[Violation]:
    tables = judged.candidate.ancillaries
    held = {"": judged.candidate.dataset, **{name: one.dataset for name, one in tables.items()}}
    for name, dataset in held.items():
        if dataset.storage.unreadable:
            yield Violation(
                dataset.path,
                f"{name or 'values'} cannot be decoded: {dataset.storage.unreadable}",
                remedy="install the filter (`pip install hdf5plugin` has most), or store it anew",
            )
    for attribute, table in judged.candidate.ancillaries.items():
        dtype = table.dataset.dtype
        if not _is_number(attribute, dtype):
            kind = table.dataset.type if dtype is None or dtype.kind == "O" else dtype
            yield Violation(table.dataset.path, f"{attribute} of type {kind}")


def _can_be_read(judged: JudgedTables) -> Iterator[Violation]:
    for attribute, problem in judged.problems.items():
        path = judged.candidate.ancillaries[attribute].dataset.path
        yield Violation(path, f"{attribute}: {problem}")


def _have_the_named_types(judged: Judged) -> Iterator[Violation]:
    for attribute, table in judged.candidate.ancillaries.items():
        dtype = table.dataset.dtype
        wanted = "uint32" if attribute.endswith("Indices") else "float32"
        if (
            dtype is None
            or not _is_number(attribute, dtype)
            or dtype.newbyteorder("=") == np.dtype(wanted)
        ):
            continue
        is_coarse = dtype == np.float16
        yield Violation(
            table.dataset.path,
            f"{attribute} of type {dtype}" + (", which holds three digits" if is_coarse else ""),
            expected=wanted,
            severity=WARNING if is_coarse else None,
        )


def _regions_select_their_column(judged: JudgedSide) -> Iterator[Violation]:
    labels = [column.label for column in judged.side.columns]
    axis = 0 if judged.side.name == "position" else 1
    for table in (judged.indices, judged.values):
        shape = table.dataset.shape or (0, 0)
        odd = [
            f"{name} {problem}"
            for name, region in _regions(table).items()
            if name in labels
            and (problem := _region_problem(region, table, labels, name, shape[axis], axis))
        ]
        if odd:
            yield Violation(table.dataset.path, ", ".join(odd))


def _regions(table: Ancillary) -> Mapping[str, JSON]:
    """Return the scalar region references among a table's attributes."""
    attributes = table.dataset.attributes
    region = {"class": "reference", "to": "region"}
    return {
        name: attributes.values.get(name)
        for name, record in attributes.records.items()
        if record.get("type") == region and record.get("shape") == []
    }


def _region_problem(
    region: JSON, table: Ancillary, labels: list[str], name: str, n_points: int, axis: int
) -> str:
    if region is None:
        return "leads nowhere"
    if region["path"] != table.dataset.path:
        return f"selects a part of {region['path']}"
    columns = [column for column, label in enumerate(labels) if label == name]
    for column in columns:
        low, high = [0, column], [n_points - 1, column]
        if region["bounds"] == [low[:: 1 - 2 * axis], high[:: 1 - 2 * axis]]:
            return ""
    return f"selects {region['bounds'][0]} to {region['bounds'][1]}, not its dimension"


def _names_do_not_mislead(judged: Judged) -> Iterator[Violation]:
    for attribute, table in judged.candidate.ancillaries.items():
        name = table.dataset.name
        roles = [role for role in ANCILLARIES if role.lower() in name.lower()]
        if roles and attribute not in roles:
            yield Violation(judged.path, f"{attribute} is the dataset {table.dataset.path}")


R7 = Rule(
    id="R7",
    severity=ERROR,
    title="Tables have as many points as the Main dataset",
    why="Each row of the Main dataset is a position, each column a spectroscopic step.",
    section=MODEL_TABLES,
    expected="Position tables (positions, dimensions), Spectroscopic tables (dimensions, steps)",
    remedy="write the table with one row for each position, or one column for each step",
    example="Position_Values of shape (2, 12) for a Main dataset of shape (12, 5), "
    "transposed as it seems",
    find=_fit_the_main,
)
R8 = Rule(
    id="R8",
    severity=ERROR,
    title="Indices and Values have the same shape",
    why="Each index has its value.",
    section=MODEL_TABLES,
    expected="two tables of the same shape",
    remedy="write both tables from the same list of points",
    example="Position_Indices of shape (12, 2), Position_Values of shape (12, 3)",
    find=_pair_has_one_shape,
)
R13 = Rule(
    id="R13",
    severity=INFO,
    varies="warning for float16",
    title="Indices are uint32 and Values float32",
    why="The specification names these types. Others are read as they are; float64 is better "
    "where float32 would round.",
    section=ANCILLARY_DATA,
    expected="Indices uint32, Values float32",
    remedy="nothing needs to be done; new files: uint32, and float32 where it is precise enough",
    example="Position_Indices of type uint16",
    find=_have_the_named_types,
)
R19 = Rule(
    id="R19",
    severity=ERROR,
    title="There is at least one dimension",
    why="Data without Position or Spectroscopic dimension have an arbitrary one of size one.",
    section=MODEL_TABLES,
    expected="at least one dimension, of size one where there is none",
    remedy="write a dimension of size one, labelled «arb.»",
    example="Spectroscopic_Indices, Spectroscopic_Values: no dimension at all",
    find=_have_a_dimension,
)
R20 = Rule(
    id="R20",
    severity=INFO,
    title="Region references select the dimension they are named after",
    why="They are optional, and nothing here relies on them; a wrong one misleads others.",
    section="Advanced topics, «Region references»",
    expected="a reference to the column (Position) or row (Spectroscopic) of that label, or none",
    remedy="remove the attribute",
    example="X leads nowhere",
    find=_regions_select_their_column,
)
R23 = Rule(
    id="R23",
    severity=INFO,
    title="Names of ancillary datasets do not mislead",
    why="Any name is allowed, only the attribute counts; people read the name.",
    section="h5USID, «Tool (analysis / processing)»",
    expected="any name but that of another role",
    remedy="check that the attribute means this dataset",
    example="Position_Indices is the dataset /Measurement_000/Channel_000/Spectroscopic_Values",
    find=_names_do_not_mislead,
)
F2 = Rule(
    id="F2",
    severity=ERROR,
    title="Tables hold numbers, and HDF5 can read them",
    why="A table that cannot be read, or holds text, gives no dimension.",
    section="HDF5",
    expected="numbers of at most 64 bit that HDF5 can read and decode",
    remedy="restore the file from its source, or write the table anew",
    example="Position_Indices of type |S1",
    find=_hold_numbers,
)
F2_READ = replace(F2, find=_can_be_read)
