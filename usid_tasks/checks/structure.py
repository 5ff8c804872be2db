"""Rules without which a Main dataset has no N-D meaning: an error here makes it unsound.

They judge a :class:`~usid_tasks.records.Candidate`, before any table is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from usid_tasks.checks.rule import Rule, Violation
from usid_tasks.labels import ListReading, read_labels, read_scalar, read_units
from usid_tasks.mains import components_of
from usid_tasks.model import Severity
from usid_tasks.records import ANCILLARIES, Ancillary, Candidate

MAIN = "h5USID, «Main data»"
ANCILLARY = "h5USID, «Ancillary data»"


@dataclass(frozen=True)
class Judged:
    """A candidate with the dialect of its file."""

    candidate: Candidate
    dialect: str

    @property
    def path(self) -> str:
        """HDF5 path of the candidate."""
        return self.candidate.path

    def tables(self) -> Iterator[tuple[str, Ancillary, int]]:
        """Yield each resolved table with its attribute name and its number of dimensions.

        The number is that of the table's columns (Position) or rows (Spectroscopic); tables
        that are not two-dimensional are left to R7.
        """
        for attribute, ancillary in self.candidate.ancillaries.items():
            shape = ancillary.dataset.shape
            if shape is not None and len(shape) == 2:
                yield attribute, ancillary, shape[1 if attribute.startswith("Position") else 0]


def _main_is_2d(judged: Judged) -> Iterator[Violation]:
    shape = judged.candidate.dataset.shape
    if shape is None:
        yield Violation(judged.path, "a null dataspace: no values at all")
    elif len(shape) != 2:
        yield Violation(judged.path, f"{len(shape)} dimensions, shape {shape}")


_REFERENCE_ERRORS = {
    "missing": "no such attribute",
    "null": "a null reference",
    "dangling": "a reference to an object that is gone",
    "group": "a reference to a group",
    "not a reference": "neither a reference nor a path",
}
_REFERENCE_WARNINGS = {
    "path": "a path as text instead of an object reference",
    "array": "an array of one reference instead of a single reference",
}


def _references_resolve(judged: Judged) -> Iterator[Violation]:
    for attribute in ANCILLARIES:
        reference = judged.candidate.references[attribute]
        if reference.target is None:
            detail = f" ({reference.detail})" if reference.detail else ""
            found = f"attribute {attribute}: {_REFERENCE_ERRORS[reference.state]}{detail}"
            yield Violation(judged.path, found)
        elif reference.state in _REFERENCE_WARNINGS:
            found = f"attribute {attribute}: {_REFERENCE_WARNINGS[reference.state]}"
            yield Violation(judged.path, found, severity=Severity.WARNING)


def _quantity_and_units(judged: Judged) -> Iterator[Violation]:
    candidate = judged.candidate
    for name, texts in (("quantity", candidate.quantity), ("units", candidate.units)):
        reading = read_scalar(texts)
        if reading.values is None:
            yield Violation(judged.path, f"attribute {name}: {reading.problem}")
        for note in reading.notes:
            found = f"attribute {name}: {note}"
            yield Violation(judged.path, found, severity=Severity.WARNING)


def _values_are_numbers(judged: Judged) -> Iterator[Violation]:
    dataset = judged.candidate.dataset
    if dataset.dtype is None:
        yield Violation(judged.path, f"a type that cannot be read: {dataset.type}")
        return
    try:
        components_of(dataset.dtype)
    except TypeError as error:
        yield Violation(judged.path, str(error))


def _tables_fit_the_main(judged: Judged) -> Iterator[Violation]:
    shape = judged.candidate.dataset.shape
    if shape is None or len(shape) != 2:
        return
    for attribute, ancillary in judged.candidate.ancillaries.items():
        is_position = attribute.startswith("Position")
        table = ancillary.dataset.shape
        n_points, axis = (shape[0], 0) if is_position else (shape[1], 1)
        expected = f"({n_points}, dimensions)" if is_position else f"(dimensions, {n_points})"
        if table is None or len(table) != 2:
            found = f"{attribute} of shape {table}"
        elif table[axis] != n_points:
            found = f"{attribute} of shape {table}"
            if table[1 - axis] == n_points:
                found += ", which looks transposed"
        elif table[1 - axis] == 0:
            found = f"{attribute} of shape {table}: no dimension at all"
            expected += ", at least one dimension of size one"
        else:
            continue
        yield Violation(
            judged.path,
            f"{found} for a Main dataset of shape {shape}",
            f"{attribute} of shape {expected}",
        )


def _pairs(judged: Judged) -> Iterator[tuple[str, Ancillary, Ancillary]]:
    tables = judged.candidate.ancillaries
    for side in ("Position", "Spectroscopic"):
        indices, values = tables.get(f"{side}_Indices"), tables.get(f"{side}_Values")
        if indices and values:
            yield side, indices, values


def _indices_match_values(judged: Judged) -> Iterator[Violation]:
    for side, indices, values in _pairs(judged):
        left, right = indices.dataset.shape, values.dataset.shape
        if left != right:
            yield Violation(
                judged.path, f"{side}_Indices of shape {left}, {side}_Values of shape {right}"
            )


def _labels_and_units_present(judged: Judged) -> Iterator[Violation]:
    for attribute, ancillary in judged.candidate.ancillaries.items():
        for name, texts in (("labels", ancillary.labels), ("units", ancillary.units)):
            if texts.stored == "missing":
                path = ancillary.dataset.path
                yield Violation(path, f"{attribute} has no attribute {name}")


def _readings(judged: Judged) -> Iterator[tuple[str, str, str, ListReading]]:
    for attribute, ancillary, n_dims in judged.tables():
        path = ancillary.dataset.path
        if ancillary.labels.stored != "missing":
            yield attribute, path, "labels", read_labels(ancillary.labels, n_dims)
        if ancillary.units.stored != "missing":
            units = read_units(ancillary.units, n_dims, dialect=judged.dialect)
            yield attribute, path, "units", units


def _one_label_and_unit_each(judged: Judged) -> Iterator[Violation]:
    for attribute, path, name, reading in _readings(judged):
        if reading.values is None and reading.problem != "not text":
            yield Violation(path, f"{attribute}: {name}: {reading.problem}")


def _pair_agrees(judged: Judged) -> Iterator[Violation]:
    for side, indices, values in _pairs(judged):
        shape = indices.dataset.shape
        if shape != values.dataset.shape or shape is None or len(shape) != 2:
            continue
        n_dims = shape[1 if side == "Position" else 0]
        for name in ("labels", "units"):
            pair = [getattr(table, name) for table in (indices, values)]
            if name == "labels":
                left, right = (read_labels(texts, n_dims).values for texts in pair)
            else:
                left, right = (
                    read_units(texts, n_dims, dialect=judged.dialect).values for texts in pair
                )
            if left is not None and right is not None and left != right:
                found = f"{name} {list(left)} in {side}_Indices, {list(right)} in {side}_Values"
                yield Violation(judged.path, found)


def _texts_are_lists(judged: Judged) -> Iterator[Violation]:
    for attribute, path, name, reading in _readings(judged):
        if reading.problem == "not text":
            yield Violation(path, f"{attribute}: {name} is no text", severity=Severity.ERROR)
        for note in reading.notes:
            yield Violation(path, f"{attribute}: {name} {note}")
        if name == "labels" and reading.values and "" in reading.values:
            yield Violation(path, f"{attribute}: an empty label")


def _tables_are_numbers(judged: Judged) -> Iterator[Violation]:
    for attribute, ancillary, _ in judged.tables():
        dtype = ancillary.dataset.dtype
        kinds = "biuf" if attribute.endswith("Indices") else "biufc"
        limit = 16 if dtype is not None and dtype.kind == "c" else 8
        if dtype is None or dtype.kind not in kinds or dtype.itemsize > limit:
            path = ancillary.dataset.path
            found = f"{attribute} of type {dtype if dtype is not None else ancillary.dataset.type}"
            yield Violation(path, found, severity=Severity.ERROR)


E = Severity.ERROR
W = Severity.WARNING

STRUCTURE_RULES = (
    Rule(
        "R1", E, "A Main dataset has two dimensions", "USID model, «Main Datasets»",
        "two dimensions: positions × spectroscopic steps",
        "write a 2-D dataset, or, if it is no Main dataset, leave the four references out",
        _main_is_2d,
    ),
    Rule(
        "R2", E, "The four references lead to ancillary datasets", MAIN,
        "an object reference to a dataset in the same file",
        "write the attribute anew as an object reference to the ancillary dataset",
        _references_resolve,
    ),
    Rule(
        "R3", E, "Quantity and units are given, each a single text", MAIN,
        "one text each in the attributes quantity and units (units may be empty)",
        "add the attribute to the Main dataset",
        _quantity_and_units,
    ),
    Rule(
        "R4", E, "Values are numbers or a compound of numbers", MAIN,
        "integers, floats up to 64 bit, complex up to 128 bit, booleans, or a compound of them",
        "store the values as a number type of at most 64 bit for each part",
        _values_are_numbers,
    ),
    Rule(
        "R7", E, "Tables have as many points as the Main dataset",
        "USID model, «Ancillary Datasets»",
        "Position tables (positions, dimensions), Spectroscopic tables (dimensions, steps)",
        "write the table with one row for each position, or one column for each spectroscopic step",
        _tables_fit_the_main,
    ),
    Rule(
        "R8", E, "Indices and Values have the same shape", "USID model, «Ancillary Datasets»",
        "two tables of the same shape",
        "write both tables from the same list of points",
        _indices_match_values,
    ),
    Rule(
        "R9", E, "Every table has labels and units", ANCILLARY,
        "attributes labels and units on all four tables",
        "add the attribute: a list with one text for each dimension",
        _labels_and_units_present,
    ),
    Rule(
        "R10", E, "One label and one unit for each dimension", ANCILLARY,
        "as many labels and units as the table has dimensions",
        "write one text for each dimension",
        _one_label_and_unit_each,
    ),
    Rule(
        "R11", E, "Indices and Values agree on labels and units", ANCILLARY,
        "the same labels and units on both tables, in the same order",
        "write the same labels and units on both tables",
        _pair_agrees,
    ),
    Rule(
        "R12", W, "Labels and units are lists of texts", ANCILLARY,
        "a list of UTF-8 texts without white space around them",
        "write the attribute as a list of texts, one for each dimension",
        _texts_are_lists,
    ),
    Rule(
        "R13", W, "Tables hold numbers of the types the specification names", ANCILLARY,
        "numbers (Indices: integers or floats; up to 64 bit)",
        "write Indices as uint32 and Values as float32 (or float64 where it matters)",
        _tables_are_numbers,
    ),
)  # fmt: skip
"""Rules on a candidate's structure; R13 has a second, milder part in ``checks.tables``."""
