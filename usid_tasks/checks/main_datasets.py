"""Rules on a Main dataset itself: R1 to R5, and F6 on what only looks like one."""

from __future__ import annotations

from collections.abc import Iterator

from usid_tasks.checks.rule import ERROR, INFO, WARNING, Rule, Violation
from usid_tasks.checks.subjects import Judged, JudgedFile
from usid_tasks.labels import read_scalar
from usid_tasks.mains import components_of
from usid_tasks.records import ANCILLARIES

MAIN_DATA = "h5USID, «Main data»"


def _is_2d(judged: Judged) -> Iterator[Violation]:
    shape = judged.candidate.dataset.shape
    if shape is None:
        yield Violation(judged.path, "a null dataspace: no values at all")
    elif len(shape) != 2:
        yield Violation(judged.path, f"{len(shape)} dimensions, shape {shape}")


_BROKEN = {
    "missing": "no such attribute",
    "null": "a null reference",
    "dangling": "a reference to an object that is gone",
    "group": "a reference to a group",
    "not a reference": "neither a reference nor a path",
}
_UNDERSTOOD = {
    "path": "a path as text instead of an object reference",
    "array": "an array of one reference instead of a single reference",
}


def _references_resolve(judged: Judged) -> Iterator[Violation]:
    by_state: dict[tuple[str, str], list[str]] = {}
    for attribute in ANCILLARIES:
        reference = judged.candidate.references[attribute]
        if reference.target is None or reference.state in _UNDERSTOOD:
            by_state.setdefault((reference.state, reference.detail), []).append(attribute)
    for (state, detail), attributes in by_state.items():
        found = f"{', '.join(attributes)}: {(_BROKEN | _UNDERSTOOD)[state]}"
        if detail and state not in _UNDERSTOOD:
            found += f" ({detail})"
        yield Violation(judged.path, found, severity=WARNING if state in _UNDERSTOOD else ERROR)


def _quantity_and_units(judged: Judged) -> Iterator[Violation]:
    candidate = judged.candidate
    for name, texts in (("quantity", candidate.quantity), ("units", candidate.units)):
        reading = read_scalar(texts)
        if reading.values is None:
            yield Violation(judged.path, f"attribute {name}: {reading.problem}")
        elif name == "quantity" and not reading.values[0].strip():
            yield Violation(judged.path, "attribute quantity: an empty text", severity=INFO)
        for note in reading.notes:
            yield Violation(judged.path, f"attribute {name}: {note}", severity=WARNING)


def _values_are_numbers(judged: Judged) -> Iterator[Violation]:
    dataset = judged.candidate.dataset
    if dataset.dtype is None:
        yield Violation(judged.path, f"a type that cannot be read: {dataset.type}")
        return
    try:
        components_of(dataset.dtype)
    except TypeError as error:
        yield Violation(judged.path, str(error))


def _name_without_dash(judged: Judged) -> Iterator[Violation]:
    name = judged.candidate.dataset.name
    if "-" in name:
        yield Violation(
            judged.path, f"a Main dataset named {name}", remedy=f"name it {name.replace('-', '_')}"
        )


def _looks_like_a_main(file: JudgedFile) -> Iterator[Violation]:
    for path, dataset in file.record.datasets.items():
        attributes = dataset.attributes
        if (
            path not in file.record.candidates
            and dataset.shape is not None
            and len(dataset.shape) == 2
            and {"quantity", "units"} <= set(attributes.records)
        ):
            yield Violation(path, f"quantity, units and shape {dataset.shape}, but no reference")


R1 = Rule(
    id="R1",
    severity=ERROR,
    title="A Main dataset has two dimensions",
    why="Positions are collapsed onto the first dimension, spectroscopic steps onto the second.",
    section="USID model, «Main Datasets»",
    expected="two dimensions: positions × spectroscopic steps",
    remedy="write the data as a 2-D dataset, or, if it is no Main dataset, without the references",
    example="3 dimensions, shape (12, 5, 2)",
    find=_is_2d,
)
R2 = Rule(
    id="R2",
    severity=ERROR,
    varies="warning for a path as text and for an array of one reference, which are understood",
    title="The four references lead to the ancillary datasets",
    why="They alone tell which tables belong to the data; names and places are free.",
    section=MAIN_DATA,
    expected="object references to datasets in the same file",
    remedy="write the attribute anew as an object reference to the ancillary dataset",
    example="Position_Values: a reference to an object that is gone",
    find=_references_resolve,
)
R3 = Rule(
    id="R3",
    severity=ERROR,
    varies="warning for spellings that are understood, information for an empty quantity",
    title="Quantity and units are given, each a single text",
    why="They say what each number in the dataset is.",
    section=MAIN_DATA,
    expected="one text each in the attributes quantity and units (units may be empty)",
    remedy="add the attribute to the Main dataset",
    example="attribute quantity: missing",
    find=_quantity_and_units,
)
R4 = Rule(
    id="R4",
    severity=ERROR,
    title="Values are numbers or a compound of numbers",
    why="Other types have no N-D form. Long doubles differ from machine to machine.",
    section=MAIN_DATA,
    expected="integers, booleans, floats up to 64 bit, complex up to 128 bit, or compounds of them",
    remedy="store the values as a number type of at most 64 bit for each part",
    example="values of type float128",
    find=_values_are_numbers,
)
R5 = Rule(
    id="R5",
    severity=WARNING,
    title="No «-» in the name of a Main dataset",
    why="A «-» separates the source from the tool in the name of a results group.",
    section="h5USID, «Tool (analysis / processing)»",
    expected="a name without «-»",
    remedy="name it with «_» instead",
    example="a Main dataset named Raw-Data",
    find=_name_without_dash,
)
F6 = Rule(
    id="F6",
    severity=INFO,
    title="What looks like a Main dataset is one",
    why="Without references it is kept as a plain dataset: no dimensions, no axes.",
    section=MAIN_DATA,
    expected="the four references to ancillary datasets",
    remedy="if it is a Main dataset, write its ancillary datasets and the four references",
    example="quantity, units and shape (12, 5), but no reference",
    find=_looks_like_a_main,
)
