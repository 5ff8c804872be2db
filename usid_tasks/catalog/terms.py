"""What a search asks for: words, and terms such as ``quantity=Current``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from usid_tasks.errors import RefusedError
from usid_tasks.sizes import parse_size

Operator = Literal["=", "!=", "~", ">=", "<=", ">", "<"]

INSTRUMENT = ("instrument", "machine", "microscope", "platform", "model", "vendor", "manufacturer")
"""What the field ``instrument`` looks for in the names of attributes."""

SOURCE_TEXT = ("path", "root", "dest", "state", "outcome", "reason", "digest", "run", "machine")
MAIN_TEXT = ("main", "quantity", "units", "dtype", "dim")
FINDING_TEXT = ("finding", "severity")
OUTPUT_TEXT = ("kind", "codec", "store")
TIMES = ("since", "until")
SIZES = ("size", "stored")
FIELDS = (*SOURCE_TEXT, *MAIN_TEXT, *FINDING_TEXT, *OUTPUT_TEXT, *TIMES, *SIZES, "instrument")
"""Fields with a meaning of their own; any other name is that of an attribute."""

_TERM = re.compile(r"([^=~<>!]+)(>=|<=|!=|=|~|>|<)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Term:
    """One condition; a word has no field and the operator ``~``.

    ``number`` is the value where it is one: bytes of a size, or of an attribute. A time in
    ``value`` is UTC, as receipts write it.
    """

    field: str
    operator: Operator
    value: str
    number: float | None = None

    @property
    def is_attribute(self) -> bool:
        """Whether the field is the name of an attribute."""
        return bool(self.field) and self.field not in FIELDS


def parse_terms(words: Sequence[str]) -> tuple[Term, ...]:
    """Return the conditions that the words of a search mean; all of them have to hold.

    Raises
    ------
    RefusedError
        If a value is not what its field expects.
    """
    return tuple(_parse(word) for word in words if word.strip())


def _parse(word: str) -> Term:
    match = _TERM.fullmatch(word.strip())
    if match is None:
        return Term("", "~", word.strip())
    field, operator, value = match[1].strip(), match[2], match[3].strip()
    known = field.casefold()
    if known in TIMES:
        return _time(word, known, operator, value)
    if known in SIZES:
        return _size(word, known, operator, value)
    name = known if known in FIELDS else field
    is_order = operator in (">=", "<=", ">", "<")
    if is_order and known in FIELDS:
        raise _refused(word, f"{known} has no order", f"{known}=VALUE or {known}~PART")
    number = _number(value)
    if is_order and number is None:
        raise _refused(word, f"{value!r} is no number", f"{field}{operator}0.5")
    return Term(name, operator, value, number)  # type: ignore[arg-type]


def _time(word: str, field: str, operator: str, value: str) -> Term:
    """Return a term on when a receipt was finished; a date is its first moment in UTC."""
    example = f"{field}=2026-11-01 or {field}=2026-11-01T08:30:00+01:00"
    if operator != "=":
        raise _refused(word, f"{field} takes '='", example)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _refused(word, f"{value!r} is no date or time", example) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Term(field, "=", text)


def _size(word: str, field: str, operator: str, value: str) -> Term:
    example = f"'{field}>=10 MiB'"
    if operator == "~":
        raise _refused(word, f"{field} is a number of bytes", example)
    try:
        return Term(field, operator, value, parse_size(value))  # type: ignore[arg-type]
    except ValueError as error:
        raise _refused(word, f"{value!r} is not {error}", example) from None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _refused(word: str, what: str, example: str) -> RefusedError:
    return RefusedError(word, what, f"Write it as in {example}; `usid catalog search --help`.")
