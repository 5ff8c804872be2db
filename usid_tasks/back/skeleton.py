"""The structure of an HDF5 file made anew: groups, datasets, links, attributes, references."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5o, h5p, h5r, h5s, h5t

from usid_tasks.back.datasets import make_dataset, named_type
from usid_tasks.back.stored import (
    VALUES,
    Difference,
    StoredAttribute,
    StoredObject,
    attributes_in,
)
from usid_tasks.back.types import make_type, raw_name
from usid_tasks.back.values import array_of, reference_to
from usid_tasks.model import JSON

_OLD_FORMAT_BYTES = 60_000
"""Attributes as large as this do not fit the object headers of HDF5's earliest format."""

DANGLING = "dangling"
"""State of a reference to something that was deleted."""


def needs_new_format(objects: Iterable[StoredObject]) -> bool:
    """Return whether an attribute is larger than HDF5's earliest format can hold."""
    return any(_size(attribute) > _OLD_FORMAT_BYTES for one in objects for attribute in _all(one))


def _all(stored: StoredObject) -> Iterable[StoredAttribute]:
    yield from stored.attributes
    for link in stored.links.values():
        yield from attributes_in(link.get("attributes", {}), link.get("values", {}))


def _size(attribute: StoredAttribute) -> int:
    if attribute.record.get("shape") is None:
        return 0
    try:
        kind = make_type(attribute.record["type"])
    except ValueError:
        return 0
    return len(kind.encode()) + int(kind.get_size()) * math.prod(attribute.record["shape"])


class Skeleton:
    """Makes the objects of a file, then their links, then their attributes.

    Parameters
    ----------
    file
        Open for writing, empty.
    objects
        By path, groups before what lies in them.
    """

    def __init__(self, file: h5py.File, objects: Mapping[str, StoredObject]) -> None:
        self.file = file
        self.objects = objects
        self.made: set[str] = {"/"}
        self.differences: list[Difference] = []
        self._dangling: list[tuple[str, StoredAttribute]] = []

    def make_objects(self) -> None:
        """Make all groups and datasets, the links and the named types."""
        for path, stored in self.objects.items():
            if not stored.is_dataset and path != "/":
                above, name = self._place(path)
                h5g.create(above, name, lcpl=_naming(name))
                self.made.add(path)
        links = [
            (path, name, link)
            for path, stored in self.objects.items()
            for name, link in stored.links.items()
        ]
        for above, last, link in links:
            if "datatype" in link:
                self._make_named_type(above, last, link["datatype"])
        for path, stored in self.objects.items():
            if stored.is_dataset:
                self._make_dataset(path, stored)
        for above, last, link in links:
            self._make_link(above, raw_name(last), link)

    def make_attributes(self) -> None:
        """Make all attributes; references to what was deleted come last, as they lead nowhere."""
        for path, stored in self.objects.items():
            if path in self.made:
                self._make_attributes(path, stored.attributes)
            for name, link in stored.links.items():
                inside = f"{path.rstrip('/')}/{name}"
                if "attributes" in link and inside in self.made:
                    records, values = link["attributes"], link.get("values", {})
                    self._make_attributes(inside, attributes_in(records, values))
        if self._dangling:
            lost = self._lost_reference()
            for path, attribute in self._dangling:
                held = h5a.open(self._open(path), raw_name(attribute.name))
                array, memory = array_of("", held.get_type(), (), refer=lambda _: lost)
                held.write(array, mtype=memory)

    def tell(self, path: str, part: str, what: str) -> None:
        """Note what differs."""
        self.differences.append(Difference(path, part, what))

    def refer(self, path: str, part: str, cell: JSON) -> Any:
        """Return a reference; where it leads to nothing that is in the store, a null one."""
        try:
            return reference_to(self.file, cell)
        except (KeyError, ValueError, RuntimeError):
            target = cell if isinstance(cell, str) else cell["path"]
            self.tell(path, part, f"a reference to {target}, which is not in the store, is null")
            return h5r.Reference() if isinstance(cell, str) else h5r.RegionReference()

    def _open(self, path: str) -> Any:
        return h5o.open(self.file.id, raw_name(path))

    def _place(self, path: str) -> tuple[Any, bytes]:
        above, _, name = raw_name(path).rpartition(b"/")
        return h5o.open(self.file.id, above or b"/"), name

    def _make_dataset(self, path: str, stored: StoredObject) -> None:
        why = _why_lost(stored)
        if why:
            self.tell(path, VALUES, f"is not there: {why}")
            return
        above, name = self._place(path)
        try:
            make_dataset(
                above, name, stored, _naming(name), lambda part, what: self.tell(path, part, what)
            )
        except (ValueError, TypeError) as error:
            self.tell(path, VALUES, f"is not there: it cannot be made ({error})")
            return
        self.made.add(path)

    def _make_link(self, path: str, name: bytes, link: Mapping[str, JSON]) -> None:
        group = self._open(path)
        naming = _naming(name)
        if "soft" in link:
            group.links.create_soft(name, raw_name(link["soft"]), naming)
        elif "external" in link:
            file, target = map(raw_name, link["external"])
            group.links.create_external(name, file, target, naming)
        elif "hard" in link:
            self._make_hard(path, name, link["hard"])

    def _make_hard(self, path: str, name: bytes, target: str) -> None:
        if target not in self.made:
            inside = f"{path.rstrip('/')}/{name.decode('utf-8', 'surrogateescape')}"
            self.tell(inside, VALUES, f"is not there: {target} is not in the store")
            return
        group, root = self._open(path), self._open("/")
        group.links.create_hard(name, root, raw_name(target), _naming(name))

    def _make_named_type(self, above: str, name: str, described: JSON) -> None:
        path, raw = f"{above.rstrip('/')}/{name}", raw_name(name)
        try:
            make_type(described).commit(self._open(above), raw, _naming(raw))
        except ValueError as error:
            self.tell(path, VALUES, f"is not there: {error}")
            return
        self.made.add(path)

    def _make_attributes(self, path: str, attributes: Iterable[StoredAttribute]) -> None:
        holder = self._open(path)
        for attribute in attributes:
            try:
                self._make_attribute(path, holder, attribute)
            except (ValueError, TypeError, KeyError) as error:
                self.tell(path, attribute.name, f"is not there: {error}")

    def _make_attribute(self, path: str, holder: Any, attribute: StoredAttribute) -> None:
        record = attribute.record
        if "unreadable" in record and "raw" not in record:
            raise ValueError(f"it was not read ({record['unreadable']})")
        kind, shape = make_type(record["type"]), record["shape"]
        name = raw_name(attribute.name)
        if shape is None:
            h5a.create(holder, name, kind, h5s.create(h5s.NULL))
            return
        if "raw" in record:
            cells = np.frombuffer(bytes.fromhex(record["raw"]), f"V{kind.get_size()}")
            array, memory = cells.reshape(tuple(shape)), kind
        else:
            array, memory = array_of(
                attribute.value,
                kind,
                shape,
                refer=lambda cell: self.refer(path, attribute.name, cell),
                encodings=_encodings(record, kind),
            )
        space = h5s.create_simple(tuple(shape)) if shape else h5s.create(h5s.SCALAR)
        told = partial(self.tell, path, attribute.name)
        held = h5a.create(
            holder, name, named_type(self.file.id, record.get("named_type", ""), kind, told), space
        )
        if math.prod(shape):
            held.write(array, mtype=memory)
        if record.get("state") == DANGLING:
            self._dangling.append((path, attribute))

    def _lost_reference(self) -> h5r.Reference:
        """Return a reference to a group that is gone as soon as nobody holds it."""
        group = h5g.create(self.file.id, None)
        return h5r.create(group, b".", h5r.OBJECT)


def _why_lost(stored: StoredObject) -> str:
    """Return why a dataset has no values that were ever read, empty where it has."""
    if not stored.has_values:
        return "HDF5 could not read its values"
    parts = stored.attrs["usid_storage"].get("elsewhere", [])
    problems = [f"{part['file']} ({part['problem']})" for part in parts if part["problem"]]
    return f"its values were in {', '.join(problems)}" if problems else ""


def _encodings(record: Mapping[str, JSON], kind: h5t.TypeID) -> str | list[str]:
    """Return the encoding of the texts of an attribute, or that of each."""
    if isinstance(kind, h5t.TypeStringID) and "encodings" in record:
        return list(record["encodings"])
    return str(record.get("encoding", "utf-8"))


def _naming(name: bytes) -> h5p.PropLCID:
    """Return that a name is ASCII, or UTF-8 where it is not, as h5py tells it."""
    naming = h5p.create(h5p.LINK_CREATE)
    is_utf8 = not name.isascii() and name.decode("utf-8", "replace").encode() == name
    naming.set_char_encoding(h5t.CSET_UTF8 if is_utf8 else h5t.CSET_ASCII)
    return naming


def dataset_at(file: h5py.File, path: str) -> h5d.DatasetID:
    """Return an open dataset, whatever bytes its name is made of."""
    return h5o.open(file.id, raw_name(path))
