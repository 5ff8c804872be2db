"""Nested metadata as the attributes of one HDF5 object, and back.

Keys of the levels are joined by ``-`` (Metadata, "flattened"), those of ``original_metadata``
begin with ``Original-``, as RosettaSciIO writes them. In a key, ``-``, control characters, and a
``%`` before two hexadecimal digits are percent-encoded; so are the first letters of keys that the
file itself needs. What HDF5 has a type for is stored in it; the rest is JSON
(:mod:`usid_tasks.writing.texts`). The attribute ``metadata_types`` has a line for each attribute
whose HDF5 type does not tell what it was: its kind, a blank, and its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from usid_tasks.printable import printable
from usid_tasks.writing.refusals import UnwritableError
from usid_tasks.writing.texts import from_text, to_text

SEPARATOR = "-"
ORIGINAL = "Original"
TYPES = "metadata_types"
MAX_NAME_BYTES = 2**15

RESERVED = frozenset(
    [
        ORIGINAL, TYPES, "time_stamp", "timestamp", "machine_id", "platform", "pyUSID_version",
        "sidpy_version", "written_by", "quantity", "units", "Position_Indices", "Position_Values",
        "Spectroscopic_Indices", "Spectroscopic_Values",
    ]
)  # fmt: skip
"""Names of attributes that are not metadata; a key of such a name is told by another."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff-]|%(?=[0-9A-Fa-f]{2})")
_OF_PYTHON = frozenset(map(np.dtype, (object, bool, np.int64, np.float64, np.complex128)))
"""Types of arrays that hold Python's own texts and numbers."""

_TO_REMOVE = "Remove it, or turn it into text or numbers"

Value = Any
"""What an attribute holds: a str, a tuple of them, or a NumPy scalar or array of numbers."""

Attributes = dict[str, Value]


def flattened(
    metadata: Mapping[str, Any],
    original_metadata: Mapping[str, Any] | None = None,
    *,
    where: str = "signal['metadata']",
) -> Attributes:
    """Return the attributes that hold all metadata, ``metadata_types`` among them.

    ``where`` is what errors call ``metadata``.

    Raises
    ------
    UnwritableError
        Naming the key, if there is a value that neither HDF5 nor JSON can hold, or if the keys
        of a value together are longer than :data:`MAX_NAME_BYTES`.
    """
    found: Attributes = {}
    kinds: list[str] = []
    trees = (
        (where, (), metadata),
        ("signal['original_metadata']", (ORIGINAL,), original_metadata or {}),
    )
    for root, above, tree in trees:
        if not isinstance(tree, Mapping):
            what = f"is a {type(tree).__name__}, expected a dictionary"
            raise UnwritableError(root, what, "Give a dictionary")
        for keys, name, value in _leaves(root, above, tree):
            stored, kind = _stored(root, keys, value)
            found[name] = stored
            if kind:
                kinds.append(f"{kind} {name}")
    return {**found, TYPES: "\n".join(kinds)}


def _leaves(
    root: str, above: tuple[str, ...], tree: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """Yield keys, attribute name and value of all that is no dictionary of text keys."""
    pending: list[tuple[tuple[str, ...], str, Any]] = [((), SEPARATOR.join(above), tree)]
    while pending:
        keys, name, value = pending.pop()
        if not _is_level(value) or (not value and keys):
            yield keys, name, value
            continue
        below = [
            ((*keys, key), _joined(name, key, root, keys), part) for key, part in value.items()
        ]
        pending += reversed(below)


def _is_level(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _joined(above: str, key: str, root: str, keys: tuple[str, ...]) -> str:
    name = f"{above}{SEPARATOR}{escaped(key)}" if above else _unreserved(escaped(key))
    if len(name.encode("utf-8")) > MAX_NAME_BYTES:
        raise UnwritableError(
            _where(root, keys),
            f"its keys together are longer than {MAX_NAME_BYTES} bytes, or it holds itself",
            "Shorten them, or nest less deeply",
        )
    return name


def _where(root: str, keys: tuple[str, ...]) -> str:
    return root + "".join(f"[{printable(key)[:60]!r}]" for key in keys[:8])


def escaped(key: str) -> str:
    """Return a key as it stands in the name of an attribute."""
    if key in ("", "%"):
        return "%" if key == "" else "%25"
    return _UNSAFE.sub(lambda match: _percent(match[0]), key)


def unescaped(part: str) -> str:
    """Return the key that :func:`escaped` was given."""
    if part == "%":
        return ""
    raw = re.sub(
        rb"%([0-9A-Fa-f]{2})",
        lambda match: bytes([int(match[1], 16)]),
        part.encode("utf-8"),
    )
    return raw.decode("utf-8", "surrogatepass")


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def _unreserved(name: str) -> str:
    return _percent(name[0]) + name[1:] if name in RESERVED else name


def _stored(root: str, keys: tuple[str, ...], value: Any) -> tuple[Value, str]:
    """Return what an attribute holds of a value, and its kind where that does not tell."""
    if hasattr(value, "__dask_graph__"):
        value = value.compute()
    native = _native(value)
    if native is not None:
        return native
    try:
        return to_text(value), "json"
    except (TypeError, ValueError) as error:
        what = f"neither HDF5 nor JSON can hold it: {error}"
        raise UnwritableError(_where(root, keys), what, _TO_REMOVE) from error


def _native(value: Any) -> tuple[Value, str] | None:
    """Return a value as HDF5 holds it, and its kind; None if HDF5 has no type for it."""
    if isinstance(value, str):
        return (str(value), "") if is_plain(value) else None
    if isinstance(value, (bool, int, float, complex)) and not isinstance(value, np.generic):
        number = np.asarray(value)
        return (number[()], "") if _is_number(number) else None
    if isinstance(value, np.generic):
        return (value, "") if _is_number(np.asarray(value)) else None
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        return _native_array(np.asarray(value))
    if type(value) in (list, tuple) and value:
        return _native_list(value)
    return None


def _native_array(array: np.ndarray) -> tuple[Value, str] | None:
    if _is_number(array) and (array.ndim or array.dtype.isnative):
        return (array, "") if array.ndim else (array[()], "array")
    if array.dtype.kind == "U" and array.ndim == 1 and all(map(is_plain, array.tolist())):
        return tuple(array.tolist()), "array"
    return None


def _native_list(items: list[Any] | tuple[Any, ...]) -> tuple[Value, str] | None:
    name, kind = type(items).__name__, type(items[0])
    if any(type(item) is not kind for item in items):
        return None
    if kind is str:
        return (tuple(items), name) if all(map(is_plain, items)) else None
    if not issubclass(kind, (bool, int, float, complex, np.number)):
        return None
    numbers = np.array(items)
    return (numbers, name) if _is_number(numbers) else None


def is_plain(text: str) -> bool:
    r"""Return True for what HDF5 can hold as UTF-8 text: no ``\0``, no half of a pair."""
    return not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text)


def _is_number(array: np.ndarray) -> bool:
    dtype = array.dtype
    return dtype.kind in "biufc" and dtype.itemsize <= (16 if dtype.kind == "c" else 8)


def restored(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``metadata`` and ``original_metadata`` from the attributes that hold them.

    Parameters
    ----------
    attributes
        Those of a Measurement as h5py reads them, ``metadata_types`` among them; what
        is not metadata is passed over.

    Raises
    ------
    KeyError
        If ``metadata_types`` is missing: the object was not written here.
    ValueError
        If an attribute is not as it was written.
    """
    kinds = dict(reversed(line.split(" ", 1)) for line in attributes[TYPES].splitlines())
    trees: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name, value in attributes.items():
        if name in RESERVED:
            continue
        parts = name.split(SEPARATOR)
        is_original = parts[0] == ORIGINAL
        level = trees[is_original]
        *above, last = [unescaped(part) for part in parts[is_original:]]
        for key in above:
            level = level.setdefault(key, {})
        level[last] = _value(value, kinds.get(name, ""))
    return trees


def _value(value: Any, kind: str) -> Any:
    if kind == "json":
        return from_text(value)
    if kind in ("list", "tuple"):
        array = np.asarray(value)
        items = array.tolist() if array.dtype in _OF_PYTHON else list(array)
        return tuple(items) if kind == "tuple" else items
    if kind == "array":
        array = np.asarray(value)
        return array.astype(str) if array.dtype.kind == "O" else array
    is_of_python = isinstance(value, np.generic) and value.dtype in _OF_PYTHON
    return value.item() if is_of_python else value
