"""Nested metadata as a format can hold it: verbatim where it can, as JSON text where it cannot.

A value that a format has no place for becomes the text of :mod:`usid_tasks.writing.texts`. A key
that it cannot hold is percent-encoded. Both are noted, so that :func:`given_back` restores them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from usid_tasks.names import fold
from usid_tasks.writing.texts import from_text, to_text

NOTE = "usid_held"
"""Attribute, beside the metadata, that tells which values are JSON and which keys had to change."""

Keys = tuple[str, ...]

_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")
_OF_LISTS = {bool: np.bool_, int: np.int64, float: np.float64, complex: np.complex128}


@dataclass(frozen=True)
class Form:
    """What a format holds.

    Parameters
    ----------
    is_held
        Whether a value that is no dictionary of text keys can be held as it is.
    key_of
        The key under which a value can stand; told the key, and whether the value is a node
        of the format (a group or an array) rather than an attribute.
    is_node
        Whether a value that can be held is a node.
    is_case_blind
        Whether nodes that differ in case alone may be taken for one.
    """

    is_held: Callable[[Any], bool]
    key_of: Callable[[str, bool], str]
    is_node: Callable[[Any], bool]
    is_case_blind: bool = False


@dataclass
class Held:
    """Metadata in a form that a format can hold.

    ``as_json`` are the keys that lead to values which are JSON, ``renamed`` the former key of
    those that had to change; both by the keys as they are held.
    """

    tree: dict[str, Any]
    as_json: list[Keys] = field(default_factory=list)
    renamed: dict[Keys, str] = field(default_factory=dict)

    def note(self) -> str:
        """Return what :func:`given_back` needs, as JSON."""
        renamed = [[list(keys), key] for keys, key in self.renamed.items()]
        return json.dumps({"json": [list(keys) for keys in self.as_json], "renamed": renamed})


def held(tree: Mapping[str, Any], form: Form) -> Held:
    """Return metadata as a format can hold them.

    Raises
    ------
    TypeError, ValueError
        If a value is of a type that JSON has no form for either.
    """
    found = Held({})
    _hold(tree, form, (), found.tree, found)
    return found


def _hold(
    tree: Mapping[str, Any], form: Form, above: Keys, level: dict[str, Any], found: Held
) -> None:
    taken: set[tuple[bool, str]] = set()
    for key, given in tree.items():
        is_level = isinstance(given, Mapping) and all(isinstance(k, str) for k in given)
        is_json = not is_level and not form.is_held(given)
        value = to_text(given) if is_json else given
        is_node = is_level or form.is_node(value)
        name = _distinct(form.key_of(key, is_node), taken, is_blind=is_node and form.is_case_blind)
        keys = (*above, name)
        if name != key:
            found.renamed[keys] = key
        if is_json:
            found.as_json.append(keys)
        if is_level:
            level[name] = {}
            _hold(given, form, keys, level[name], found)
        else:
            level[name] = value


def _distinct(key: str, taken: set[tuple[bool, str]], *, is_blind: bool) -> str:
    """Return the key with a number behind it where it is taken, and mark it taken."""
    name, number = key, 1
    while (False, name) in taken or (is_blind and (True, fold(name)) in taken):
        number += 1
        name = f"{key} {number}"
    taken.add((False, name))
    if is_blind:
        taken.add((True, fold(name)))
    return name


def given_back(tree: Mapping[str, Any], note: str) -> dict[str, Any]:
    """Return the metadata that :func:`held` was given, from what a format held of them.

    Parameters
    ----------
    tree
        As it was read.
    note
        The attribute :data:`NOTE`.
    """
    told = json.loads(note)
    as_json = {tuple(keys) for keys in told["json"]}
    renamed = {tuple(keys): key for keys, key in told["renamed"]}

    def level(held_level: Mapping[str, Any], above: Keys) -> dict[str, Any]:
        found = {}
        for name, value in held_level.items():
            keys = (*above, name)
            if isinstance(value, dict):
                value = level(value, keys)
            elif keys in as_json:
                value = from_text(value)
            found[renamed.get(keys, name)] = value
        return found

    return level(tree, ())


def is_plain_text(value: Any) -> bool:
    r"""Return True for a text that UTF-8 can hold, without ``\0``."""
    return type(value) is str and not _NO_TEXT.search(value)


def is_plain_number(value: Any) -> bool:
    """Return True for a number or truth value of at most 8 bytes, or 16 if complex."""
    if not isinstance(value, (bool, int, float, complex, np.number, np.bool_)):
        return False
    dtype = np.asarray(value).dtype
    return dtype.kind in "biufc" and dtype.itemsize <= (16 if dtype.kind == "c" else 8)


def is_plain_array(value: Any) -> bool:
    """Return True for an array of such numbers that has dimensions and is not empty."""
    if type(value) is not np.ndarray or not value.ndim or not value.size:
        return False
    kind, itemsize = value.dtype.kind, value.dtype.itemsize
    return kind in "biufc" and itemsize <= (16 if kind == "c" else 8)


def is_plain_list(value: Any) -> bool:
    """Return True for a list or tuple of texts, or of Python's numbers of one type."""
    if type(value) not in (list, tuple) or not value:
        return False
    kind = type(value[0])
    if any(type(item) is not kind for item in value):
        return False
    if kind is str:
        return all(map(is_plain_text, value))
    return kind in _OF_LISTS and np.asarray(value).dtype == _OF_LISTS[kind]
