"""The terms of a search as conditions on the tables."""

from __future__ import annotations

import operator as operators
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, literal, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from usid_tasks.catalog.tables import (
    Attribute,
    Coordinate,
    FindingRow,
    MainDataset,
    Output,
    Source,
)
from usid_tasks.catalog.terms import (
    FINDING_TEXT,
    INSTRUMENT,
    MAIN_TEXT,
    OUTPUT_TEXT,
    Term,
)

Condition = ColumnElement[bool]

_COLUMNS: Mapping[str, InstrumentedAttribute[Any]] = {
    "path": Source.key,
    "root": Source.root,
    "dest": Source.dest,
    "state": Source.state,
    "outcome": Source.outcome,
    "reason": Source.reason,
    "digest": Source.digest,
    "run": Source.run,
    "machine": Source.machine,
    "main": MainDataset.path,
    "quantity": MainDataset.quantity,
    "units": MainDataset.units,
    "dtype": MainDataset.dtype,
    "dim": Coordinate.name,
    "finding": FindingRow.rule,
    "severity": FindingRow.severity,
    "kind": Output.kind,
    "codec": Output.codec,
    "store": Output.path,
}

_ORDERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operators.eq,
    "!=": operators.ne,
    ">=": operators.ge,
    "<=": operators.le,
    ">": operators.gt,
    "<": operators.lt,
}

# databases differ in what they make of other letters' case
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def conditions(terms: Sequence[Term]) -> list[Condition]:
    """Return the conditions on :class:`Source`; those on Main datasets hold for one and the same.

    Attributes count for the Main datasets at or below the object that bears them.
    """
    of_sources, of_mains, of_findings, of_outputs = [], [], [], []
    for term in terms:
        if term.field in MAIN_TEXT or term.field == "instrument" or term.is_attribute:
            of_mains.append(_of_main(term))
        elif term.field in FINDING_TEXT:
            of_findings.append(_compared(_COLUMNS[term.field], term))
        elif term.field in OUTPUT_TEXT or term.field == "stored":
            of_outputs.append(_of_output(term))
        else:
            of_sources.append(_of_source(term))
    for table, found in (
        (MainDataset, of_mains),
        (FindingRow, of_findings),
        (Output, of_outputs),
    ):
        if found:
            of_sources.append(exists().where(table.source_id == Source.id, *found))
    return of_sources


def main_conditions(terms: Sequence[Term]) -> list[Condition]:
    """Return the conditions that the terms put on a Main dataset of a source."""
    return [
        _of_main(term)
        for term in terms
        if term.field in MAIN_TEXT or term.field == "instrument" or term.is_attribute
    ]


def contains(column: ColumnElement[Any] | InstrumentedAttribute[Any], part: str) -> Condition:
    """Return whether text has a part, whatever the case of ASCII letters."""
    return func.lower(column).like(f"%{_escaped(part.translate(_LOWER))}%", escape="\\")


def _of_source(term: Term) -> Condition:
    if not term.field:
        return Source.words.like(f"%{_escaped(term.value.casefold())}%", escape="\\")
    if term.field == "since":
        return Source.finished >= term.value
    if term.field == "until":
        return Source.finished < term.value
    if term.field == "size":
        compared: Condition = _ORDERS[term.operator](Source.size, term.number)
        return compared
    return _compared(_COLUMNS[term.field], term)


def _of_output(term: Term) -> Condition:
    if term.field == "stored":
        compared: Condition = _ORDERS[term.operator](Output.size, term.number)
        return compared
    return _compared(_COLUMNS[term.field], term)


def _of_main(term: Term) -> Condition:
    if term.field == "dim":
        return _some(Coordinate, term, Coordinate.main_number == MainDataset.number)
    if term.field == "instrument":
        named = or_(*(Attribute.folded.contains(word, autoescape=True) for word in INSTRUMENT))
        return _some(Attribute, term, named, _is_above())
    if term.is_attribute:
        return _some(Attribute, term, Attribute.folded == term.field.casefold(), _is_above())
    return _compared(_COLUMNS[term.field], term)


def _some(table: type[Coordinate | Attribute], term: Term, *where: Condition) -> Condition:
    """Return whether some row is so; of ``!=``, whether none is what is not wanted."""
    is_not = term.operator == "!="
    wanted = Term(term.field, "=", term.value, term.number) if is_not else term
    compared = (
        _compared(Coordinate.name, wanted) if table is Coordinate else _attribute_compared(wanted)
    )
    found = (
        select(literal(1))
        .select_from(table)
        .where(table.source_id == MainDataset.source_id, *where, compared)
        .correlate(MainDataset)
        .exists()
    )
    return ~found if is_not else found


def _is_above() -> Condition:
    """Return whether an attribute's object is the Main dataset or a group above it."""
    prefix = func.substr(MainDataset.path + "/", 1, func.length(Attribute.path))
    return prefix == Attribute.path


def _attribute_compared(term: Term) -> Condition:
    if term.operator in ("=", "~") or term.number is None:
        compared = _compared(Attribute.text, term)
        is_number = term.operator == "=" and term.number is not None
        return or_(compared, Attribute.value == term.number) if is_number else compared
    ordered: Condition = _ORDERS[term.operator](Attribute.value, term.number)
    return and_(Attribute.value.is_not(None), ordered)


def _compared(column: InstrumentedAttribute[Any], term: Term) -> Condition:
    """Return how text compares: ``~`` has a part, ``=`` is the same, with ``*`` for any text."""
    if term.operator == "~":
        return contains(column, term.value)
    pattern = _escaped(term.value.translate(_LOWER)).replace("*", "%")
    is_same = func.lower(func.coalesce(column, "")).like(pattern, escape="\\")
    return ~is_same if term.operator == "!=" else is_same


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
