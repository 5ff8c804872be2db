"""Rules on labels and units of the dimensions: R9 to R12, R18."""

from __future__ import annotations

from collections.abc import Iterator

from usid_tasks.checks.main_datasets import MAIN_DATA
from usid_tasks.checks.rule import ERROR, INFO, WARNING, Rule, Violation, listed
from usid_tasks.checks.subjects import Judged, TablePair
from usid_tasks.labels import read_scalar

ANCILLARY_DATA = "h5USID, «Ancillary data»"

PLACEHOLDERS = frozenset(
    ["none", "unknown", "unknown units", "unitless", "dimensionless", "no units", "n/a", "-"]
)
"""What writers put, in lower case, where the specification wants an empty unit."""


def _folded(pair: TablePair, problems: dict[str, list[str]]) -> Iterator[Violation]:
    """Yield one violation for each set of tables with the same problems.

    ``problems`` is by attribute: what both tables of a side share is one defect.
    """
    tables_of: dict[tuple[str, ...], list[str]] = {}
    for attribute, told in problems.items():
        if told:
            tables_of.setdefault(tuple(told), []).append(attribute)
    for shared, attributes in tables_of.items():
        path = pair.tables[attributes[0]].dataset.path
        yield Violation(path, f"{', '.join(attributes)}: {', '.join(shared)}")


def _are_present(judged: Judged) -> Iterator[Violation]:
    for pair in judged.pairs:
        missing = {
            attribute: [
                f"no attribute {name}"
                for name, texts in (("labels", table.labels), ("units", table.units))
                if texts.stored == "missing"
            ]
            for attribute, table in pair.tables.items()
        }
        yield from _folded(pair, missing)


def _one_each(judged: Judged) -> Iterator[Violation]:
    for pair in judged.pairs:
        problems: dict[str, list[str]] = {attribute: [] for attribute in pair.tables}
        for attribute, name, reading in pair.readings:
            if reading.values is None:
                what = f"{name} are no text" if reading.problem == "not text" else ""
                problems[attribute].append(what or f"{name}: {reading.problem}")
        yield from _folded(pair, problems)


def _pair_agrees(judged: Judged) -> Iterator[Violation]:
    for pair in judged.pairs:
        differ = []
        for name in ("labels", "units"):
            read = [
                (attribute, list(reading.values))
                for attribute, what, reading in pair.readings
                if what == name and reading.values is not None
            ]
            if len(read) == 2 and read[0][1] != read[1][1]:
                (left, these), (right, those) = read
                differ.append(f"{name} {these} in {left}, {those} in {right}")
        if differ:
            yield Violation(pair.path, "; ".join(differ))


def _are_lists(judged: Judged) -> Iterator[Violation]:
    for pair in judged.pairs:
        notes: dict[str, list[str]] = {attribute: [] for attribute in pair.tables}
        for attribute, name, reading in pair.readings:
            notes[attribute] += [f"{name} {note}" for note in reading.notes]
            if name == "labels" and reading.values and "" in reading.values:
                notes[attribute].append("an empty label")
        yield from _folded(pair, notes)


def _no_placeholder(judged: Judged) -> Iterator[Violation]:
    units = read_scalar(judged.candidate.units).values
    if units and units[0].strip().lower() in PLACEHOLDERS:
        yield Violation(judged.path, f"units of the Main dataset: {units[0]!r}")
    for pair in judged.pairs:
        read: dict[str, tuple[str, ...]] = {}
        for _, name, reading in pair.readings:
            if reading.values is not None:
                read.setdefault(name, reading.values)
        odd = [
            f"{label} in {unit!r}"
            for label, unit in zip(read.get("labels", ()), read.get("units", ()), strict=False)
            if unit.lower() in PLACEHOLDERS
        ]
        if odd:
            yield Violation(pair.path, listed(odd))


R9 = Rule(
    id="R9",
    severity=ERROR,
    title="Every table has labels and units",
    why="Without them no dimension has a name.",
    section=ANCILLARY_DATA,
    expected="attributes labels and units on all four tables",
    remedy="add the attribute: a list with one text for each dimension",
    example="Position_Values: no attribute labels",
    find=_are_present,
)
R10 = Rule(
    id="R10",
    severity=ERROR,
    title="One label and one unit for each dimension",
    why="Otherwise it is a guess which of them belongs to which dimension.",
    section=ANCILLARY_DATA,
    expected="as many labels and units as the table has dimensions",
    remedy="write one text for each dimension",
    example="Position_Indices, Position_Values: labels: 3 for 2 dimensions",
    find=_one_each,
)
R11 = Rule(
    id="R11",
    severity=ERROR,
    title="Indices and Values agree on labels and units",
    why="Both tables describe the same dimensions.",
    section=ANCILLARY_DATA,
    expected="the same labels and units on both tables, in the same order",
    remedy="write the same labels and units on both tables",
    example="labels ['X', 'Y'] in Position_Indices, ['A', 'B'] in Position_Values",
    find=_pair_agrees,
)
R12 = Rule(
    id="R12",
    severity=WARNING,
    title="Labels and units are lists of texts",
    why="Other spellings are understood here, but stop other programs or hide the dataset.",
    section=ANCILLARY_DATA,
    expected="a list of UTF-8 texts, none an empty label, without white space around them",
    remedy="write the attribute as a list of texts, one for each dimension",
    example="Spectroscopic_Indices, Spectroscopic_Values: units stored as one array element "
    "for each character",
    find=_are_lists,
)
R18 = Rule(
    id="R18",
    severity=INFO,
    title="Dimensionless means an empty unit",
    why="A word in place of a unit is taken for a unit by whatever computes with units.",
    section=f"{ANCILLARY_DATA}; {MAIN_DATA}",
    expected="an empty text for dimensionless quantities, else the true unit",
    remedy="write an empty text, or the unit if there is one",
    example="Bias in 'unitless'",
    find=_no_placeholder,
)
