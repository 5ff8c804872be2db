"""The metadata of a signal: what HyperSpy looks for, and all that the file says."""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from usid_tasks.mains import Component, Main
from usid_tasks.model import JSON
from usid_tasks.records import Attributes, FileRecord
from usid_tasks.rosetta.dimensions import Dimensions
from usid_tasks.rosetta.restored import Restored, is_bookkeeping

Metadata = dict[str, Any]

FILE_TYPE = "USID HDF5"
"""What RosettaSciIO calls the format in ``original_metadata``."""

UNKNOWN = ("Unknown Quantity", "Unknown Units")
"""What writers of signals put where a signal does not tell its quantity and units."""

_BRACKETS = {")": "(", "]": "["}
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_OF_THE_BROWSER = frozenset(
    [
        "add_dictionary", "add_node", "as_dictionary", "copy", "deepcopy", "export", "get_item",
        "has_item", "keys", "process_lazy_attributes", "set_item",
        "_db_index", "_double_lines", "_get_print_items", "_lazy_attributes", "_setattr",
    ]
)  # fmt: skip
_PREFIXES_OF_HYPERSPY = ("__", "_sig_", "_hspy_")


def quantity_and_units(main: Main, component: Component) -> tuple[str, str]:
    """Return the quantity and the units of a component.

    Those of a simple dataset are its attributes, verbatim. A component of a compound has the
    text in brackets that its name ends with, as in ``Amplitude [V]`` (USID model, "Compound
    Datasets").
    """
    if not component.field:
        return main.quantity, main.units
    return split_units(".".join(component.field))


def split_units(text: str) -> tuple[str, str]:
    """Return what stands before, and what stands in, the brackets that a text ends with."""
    text = text.strip()
    opening = _BRACKETS.get(text[-1:])
    depth = 0
    for at in range(len(text) - 1, -1, -1) if opening else ():
        depth += (text[at] == text[-1]) - (text[at] == opening)
        if depth == 0:
            return text[:at].strip(), text[at + 1 : -1].strip()
    return text, ""


def metadata_of(
    filename: str, title: str, told: tuple[str, str], restored: Restored | None = None
) -> Metadata:
    """Return ``metadata``.

    Parameters
    ----------
    filename
        The file, as the caller named it.
    title
        Title of the signal.
    told
        Quantity and units. ``Signal.quantity`` has the units in round brackets, for plots.
    restored
        What our writer stored.
    """
    found: Metadata = copy.deepcopy(dict(restored.metadata)) if restored else {}
    general, signal = (_level(found, name) for name in ("General", "Signal"))
    general.update(original_filename=filename, title=title)
    signal.setdefault("signal_type", "")
    quantity, units = told
    label = " ".join(filter(None, (quantity, f"({units})" if units else "")))
    if label and told != UNKNOWN:
        signal.setdefault("quantity", label)
    return found


def _level(tree: Metadata, name: str) -> Metadata:
    if not isinstance(tree.get(name), dict):
        tree[name] = {}
    level: Metadata = tree[name]
    return level


def original_metadata_of(
    record: FileRecord,
    dimensions: Dimensions,
    component: Component,
    path: str,
    restored: Restored | None = None,
) -> Metadata:
    """Return ``original_metadata`` of one component; ``path`` is what leads to its dataset.

    ``parameters`` are the attributes of the Channel and the Measurement in one, the Channel's
    first. ``attributes`` has those of every level by itself: ``main``, ``channel``,
    ``measurement``, ``file``, and other groups by their name. ``dimensions`` are those whose
    Values no axis tells; ``valid`` tells which positions of an aborted raster were measured.
    What our writer stored stands in the place of all that, and beside the ``dimensions``.
    """
    main = dimensions.main
    quantity, units = quantity_and_units(main, component)
    levels = distinct_keys(dict(_numbered_levels(record, main, restored)))
    place = {
        "quantity": quantity,
        "units": units,
        "dataset_path": path,
        "original_file_type": FILE_TYPE,
        "pyUSID_version": next(filter(None, map(_version_in, levels.values())), ""),
    }
    found: Metadata = {
        **place,
        "parameters": {**levels.get("measurement", {}), **levels.get("channel", {})},
        "attributes": levels,
        "dimensions": distinct_keys({one.name: one.record() for one in dimensions.kept_aside}),
    }
    if component.field:
        found["component"] = ".".join(component.field)
    valid = main.position.grid.valid
    if valid is not None:
        found["valid"] = valid.copy()
    before = copy.deepcopy(dict(restored.original_metadata)) if restored else {}
    if isinstance(before.get("dimensions"), dict):
        found["dimensions"] = {**before.pop("dimensions"), **found["dimensions"]}
    return {**found, **before, **place}


def _version_in(level: Metadata) -> str:
    """Return the version of pyUSID that wrote the object of these attributes, if they tell."""
    return str(level.get("pyUSID_version", ""))


def _numbered_levels(
    record: FileRecord, main: Main, restored: Restored | None
) -> Iterator[tuple[str, Metadata]]:
    """Yield the attributes of the dataset and of each group above it, the nearest first."""
    taken = {"main"}
    yield "main", attributes_of(main.candidate.dataset.attributes)
    path = main.path
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        role, number = _role(path), 1
        name = role
        while name in taken:
            number += 1
            name = f"{role}_{number}"
        taken.add(name)
        found = attributes_of(record.groups[path].attributes)
        if restored and path == restored.group:
            found = {key: value for key, value in found.items() if is_bookkeeping(key)}
        yield name, found


def _role(path: str) -> str:
    name = path.rpartition("/")[2]
    if not name:
        return "file"
    for kind in ("Channel", "Measurement"):
        if name.startswith(f"{kind}_") or (kind in name and "-" not in name):
            return kind.lower()
    return name


def attributes_of(attributes: Attributes) -> Metadata:
    """Return every attribute of an object: references as paths, numbers as they were stored."""
    found: Metadata = {}
    for name, record in attributes.records.items():
        if "unreadable" in record:
            found[name] = f"unreadable: {record['unreadable']}"
        else:
            value = attributes.values.get(name, record.get("value"))
            found[name] = _decoded(value, record["type"])
    return distinct_keys(found)


def _decoded(value: JSON, kind: JSON) -> Any:
    """Return a value from its JSON and its HDF5 type: NaN and complex numbers are numbers again."""
    if isinstance(value, dict):
        return distinct_keys({name: _text(item) for name, item in value.items()})
    if isinstance(kind, str) and kind[1:2] == "f":
        return _not_finite(value)
    fields = kind.get("fields", ()) if isinstance(kind, dict) else ()
    if [field["name"] for field in fields] == ["r", "i"]:
        return _complex(value)
    return _text(value)


def _text(value: JSON) -> JSON:
    r"""Return texts such that every file format holds them: bytes that are no UTF-8 as ``\udc81``.

    Paths alone may have such bytes; other texts were decoded as Latin-1.
    """
    if isinstance(value, list):
        return [_text(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _not_finite(value: JSON) -> Any:
    if isinstance(value, list):
        return [_not_finite(item) for item in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _complex(value: JSON) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], list):
        return [_complex(item) for item in value]
    real, imaginary = map(_not_finite, value) if value else (0.0, 0.0)
    return complex(real, imaginary)


def distinct_keys(items: Mapping[str, Any]) -> Metadata:
    """Return a dictionary of which HyperSpy's metadata browser loses no entry.

    The browser turns keys into names of attributes: two keys with the same name lose one entry,
    and those of its own methods break it. Such a key gets a number behind it, or ``fix_`` before
    it (as RosettaSciIO does it for NeXus). Nested dictionaries are treated alike.
    """
    found: Metadata = {}
    taken: set[str] = set()
    for original, value in items.items():
        key: str = _text(original)
        if _handle(key) in _OF_THE_BROWSER or key.startswith(_PREFIXES_OF_HYPERSPY):
            key = f"fix_{key}"
        distinct, number = key, 1
        while _handle(distinct) in taken:
            number += 1
            distinct = f"{key} {number}"
        taken.add(_handle(distinct))
        found[distinct] = distinct_keys(value) if isinstance(value, dict) else value
    return found


def _handle(key: str) -> str:
    """Return the name of the attribute by which HyperSpy's browser knows a key."""
    plain = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode("ascii")
    kept = "".join(letter for letter in plain if letter.isalnum() or letter in "_ ")
    name = kept.strip().replace(" ", "_")
    return name if name.isidentifier() else f"Number_{name}"
