"""The objects of an HDF5 file as a store holds them: groups, datasets, attributes, links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from usid_tasks.errors import RefusedError
from usid_tasks.model import JSON, LAYOUT_VERSION, Severity
from usid_tasks.rechunk_source import SourceStore


@dataclass(frozen=True)
class Difference:
    """Something that the file made differs in from the source, or may, and why.

    ``path`` is that of an object in HDF5; ``part`` is the name of an attribute, or one of
    :data:`STORAGE`, :data:`TYPE` and :data:`VALUES` for the object itself.
    """

    path: str
    part: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} ({self.part}): {self.what}"

    def to_json(self) -> dict[str, JSON]:
        """Return the difference as JSON."""
        return {"path": self.path, "part": self.part, "what": self.what}


STORAGE, TYPE, VALUES = "/storage", "/type", "/values"
"""Parts of a dataset; they begin as no attribute of the project's own layout does."""


@dataclass(frozen=True)
class StoredAttribute:
    """One attribute: ``record`` tells its type and shape, ``value`` is as JSON."""

    name: str
    record: Mapping[str, JSON]
    value: JSON


@dataclass(frozen=True)
class StoredObject:
    """A group or dataset of the HDF5 file.

    ``node`` is its path in the store, ``attrs`` its node's; ``arrays`` are the documents of its
    arrays by their path in the store, empty for a group.
    """

    path: str
    node: str
    attrs: Mapping[str, JSON]
    arrays: Mapping[str, Mapping[str, JSON]]

    @property
    def is_dataset(self) -> bool:
        """Whether it is a dataset."""
        return "usid_path" in self.attrs

    @property
    def is_main(self) -> bool:
        """Whether it is a Main dataset that has an N-D form."""
        return "usid_sides" in self.attrs

    @property
    def has_values(self) -> bool:
        """Whether its values are in the store: those that HDF5 could not read are not."""
        return bool(self.arrays)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of the dataset; None for a null dataspace."""
        told = self.attrs["usid_shape"]
        return None if told is None else tuple(told)

    @property
    def unwritten(self) -> tuple[tuple[int, int], ...]:
        """Rows of the dataset of which no value, or not every value, was ever written."""
        told = self.attrs["usid_storage"].get("unwritten", ())
        return tuple((int(first), int(last)) for first, last in told)

    @property
    def was_written(self) -> bool:
        """Whether a contiguous dataset was ever written; of others it is told by rows only."""
        is_contiguous = self.attrs["usid_storage"]["layout"] == "contiguous"
        return not (is_contiguous and self.unwritten)

    @property
    def links(self) -> Mapping[str, JSON]:
        """Links of a group that are no objects of their own."""
        links: Mapping[str, JSON] = self.attrs.get("usid_links", {})
        return links

    @property
    def attributes(self) -> Iterator[StoredAttribute]:
        """The attributes of the file's object."""
        return attributes_in(self.attrs.get("usid_attrs", {}), self.attrs)

    def arrays_of(self, role: str) -> dict[str, Mapping[str, JSON]]:
        """Return the documents of the arrays of one ``usid_role``, by path in the store."""
        return {
            path: document
            for path, document in self.arrays.items()
            if document["attributes"].get("usid_role") == role
        }


def attributes_in(
    records: Mapping[str, JSON], values: Mapping[str, JSON]
) -> Iterator[StoredAttribute]:
    """Yield the attributes that records tell of, with their values."""
    for name, record in records.items():
        value = record["value"] if "value" in record else values.get(name)
        yield StoredAttribute(name, record, value)


def left_out(store: SourceStore, objects: Mapping[str, StoredObject]) -> Iterator[Difference]:
    """Yield what the source had and the store never got, as far as its receipt tells."""
    unread = {
        finding.path: finding.found
        for finding in store.receipt.findings
        if finding.id == "F2" and finding.severity is Severity.ERROR
    }
    for path, found in unread.items():
        if path not in objects:
            yield Difference(path, VALUES, f"is not in the store: {found}")
    chosen = store.receipt.extra.get("datasets")
    if chosen:
        yield Difference("/", VALUES, f"the store holds only what {', '.join(chosen)} needs")


def objects_of(store: SourceStore) -> dict[str, StoredObject]:
    """Return every object of a store by its path in HDF5, groups before what lies in them.

    Raises
    ------
    RefusedError
        If the store has a layout that is not known here.
    """
    version = store.documents[""]["attributes"].get("usid_layout")
    if version != LAYOUT_VERSION:
        raise RefusedError(
            store.folder,
            f"has the layout {version}, expected {LAYOUT_VERSION}",
            "Use the usid-flows that wrote it, or convert its source again.",
        )
    arrays: dict[str, dict[str, Mapping[str, JSON]]] = {}
    groups: dict[str, Mapping[str, JSON]] = {}
    for path, document in store.documents.items():
        if document["node_type"] == "array":
            arrays.setdefault(path.rpartition("/")[0], {})[path] = document
        else:
            groups[path] = document["attributes"]
    found: dict[str, StoredObject] = {}
    paths = {"": "/"}
    for node in sorted(groups, key=lambda node: node.split("/") if node else []):
        attrs = groups[node]
        if node:
            above, _, last = node.rpartition("/")
            inside = f"{paths[above].rstrip('/')}/{attrs.get('usid_name', last)}"
            paths[node] = attrs.get("usid_path", inside)
        path = paths[node]
        found[path] = StoredObject(path, node, attrs, arrays.get(node, {}))
    return found
