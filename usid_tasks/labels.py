"""Labels and units of the dimensions, in every spelling that files in the wild use.

The specification wants a list of strings as long as the table has dimensions (h5USID,
"Ancillary data"). Vendors and older writers store one scalar, arrays of one, Latin-1 bytes,
trailing line breaks, or (PTIR Studio) one array element for each character. What a spelling
means is decided here and told as a note; where it cannot be decided, there is no value.
"""

from __future__ import annotations

from dataclasses import dataclass

from usid_tasks.attributes import decode_text
from usid_tasks.records import Texts

PTIR = "PTIR Studio"
"""Dialect of the Photothermal mIRage software, told by ``SoftwareVersion`` at the root."""


@dataclass(frozen=True)
class ListReading:
    """What a list attribute means: ``values`` (None if undecidable), and notes on the spelling."""

    values: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    problem: str = ""


def _join(texts: Texts) -> str:
    """Return single bytes joined to one text."""
    return decode_text(b"".join(value.encode("latin-1") for value in texts.values or ()))[0]


def read_labels(texts: Texts, n_dims: int) -> ListReading:
    """Return one label for each of ``n_dims`` dimensions, stripped."""
    if texts.values is None:
        return ListReading(None, problem=texts.stored)
    values, notes = texts.values, []
    if texts.stored == "characters" and len(values) != n_dims and n_dims == 1:
        values = (_join(texts),)
        notes.append("stored as one array element for each character")
    if texts.stored in ("scalar", "empty"):
        notes.append("stored as a scalar, not as a list")
    if len(values) != n_dims:
        return ListReading(None, tuple(notes), f"{len(values)} for {n_dims} dimensions")
    stripped = tuple(value.strip() for value in values)
    if stripped != values:
        notes.append("white space around the text")
    if texts.encoding in ("latin-1", "mixed"):
        notes.append("bytes that are not UTF-8, read as Latin-1")
    return ListReading(stripped, tuple(notes))


def read_units(texts: Texts, n_dims: int, *, dialect: str = "") -> ListReading:
    """Return one unit for each of ``n_dims`` dimensions, stripped, empty where dimensionless.

    PTIR Studio writes one unit for all dimensions, an array element for each character: ``u`` and
    ``m`` have the right count for two dimensions by luck. From any other writer, texts of one
    character are the units that they are.
    """
    if texts.values is None:
        return ListReading(None, problem=texts.stored)
    values = texts.values
    one_for_all = dialect == PTIR and len(values) == 1
    if texts.stored == "characters" and dialect == PTIR:
        joined = _join(texts).strip()
        note = "stored as one array element for each character"
        return ListReading((joined,) * n_dims, (note,))
    if one_for_all:
        return ListReading(tuple(value.strip() for value in values) * n_dims)
    return read_labels(texts, n_dims)


def read_scalar(texts: Texts) -> ListReading:
    """Return the one text of ``quantity`` or ``units`` of a Main dataset, verbatim."""
    if texts.values is None:
        return ListReading(None, problem=texts.stored)
    notes = []
    values = texts.values
    if texts.stored == "characters":
        values = (_join(texts),)
        notes.append("stored as one array element for each character")
    if len(values) != 1:
        return ListReading(None, problem=f"{len(values)} texts")
    if texts.stored == "list":
        notes.append("stored as a list of one")
    if texts.encoding in ("latin-1", "mixed"):
        notes.append("bytes that are not UTF-8, read as Latin-1")
    return ListReading(values, tuple(notes))
