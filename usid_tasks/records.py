"""What a file holds, parsed but not yet judged: immutable records of HDF5 objects.

The reading layer fills them, the rules and the tree builder read them; no record keeps a file
open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from usid_tasks.model import JSON

ANCILLARIES = (
    "Position_Indices",
    "Position_Values",
    "Spectroscopic_Indices",
    "Spectroscopic_Values",
)
"""Attributes of a Main dataset that refer to its ancillary datasets (h5USID, "Main data")."""


@dataclass(frozen=True)
class Attributes:
    """The attributes of one HDF5 object, as JSON.

    ``values`` maps each name to its value; ``records`` (``usid_attrs`` in a store) holds HDF5
    type, shape and text encoding of each, enough to write it again; ``unreadable`` the names
    that HDF5 could not read, with its reason.
    """

    values: Mapping[str, JSON] = field(default_factory=dict)
    records: Mapping[str, JSON] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Elsewhere:
    """A file that holds values of a dataset for another; ``problem`` why they are not there."""

    file: str
    problem: str = ""


@dataclass(frozen=True)
class Storage:
    """How HDF5 lays a dataset out on disk.

    ``layout`` is contiguous, chunked, compact, virtual or external; ``chunks`` the shape of a
    chunk; ``filters`` their names in order; ``size_bytes`` what is allocated. ``unwritten``
    holds the rows (half-open intervals) whose values were never written in whole or in part:
    HDF5 reads fill values there. ``elsewhere`` are the other files of virtual and external
    storage; ``unreadable`` tells why nothing can be decoded, empty where it can; ``way`` how blocks
    are read: by offset, by chunk index, or by h5py with the reason. ``filter_options`` are number,
    flags and parameters of each filter, ``fill`` the bytes of a fill value that was set, in
    hexadecimal; ``times`` when it is allocated, and when filled;
    ``named_type`` the path of its type, where that is an object of its own.
    """

    layout: str
    chunks: tuple[int, ...] | None
    filters: tuple[str, ...]
    size_bytes: int
    offset: int | None = None
    unwritten: tuple[tuple[int, int], ...] = ()
    elsewhere: tuple[Elsewhere, ...] = ()
    unreadable: str = ""
    way: str = ""
    filter_options: tuple[tuple[int, int, tuple[int, ...]], ...] = ()
    maxshape: tuple[int | None, ...] | None = None
    fill: str = ""
    times: tuple[str, str] = ("", "")
    named_type: str = ""


@dataclass(frozen=True)
class Dataset:
    """One HDF5 dataset. ``shape`` is None for a null dataspace, ``dtype`` None if unreadable."""

    path: str
    shape: tuple[int, ...] | None
    dtype: np.dtype | None
    type: JSON
    attributes: Attributes
    storage: Storage

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Group:
    """One HDF5 group with the names of its own members; ``links`` are all that are no objects.

    ``links`` maps a name to ``{"soft": path}``, ``{"external": [file, path]}``,
    ``{"hard": path}`` for a second name of an object, or ``{"datatype": type}``; ``dangling``
    are the names of those that lead nowhere.
    """

    path: str
    attributes: Attributes
    members: tuple[str, ...]
    links: Mapping[str, JSON]
    dangling: tuple[str, ...] = ()


@dataclass(frozen=True)
class Texts:
    """Text from an attribute, and how it was stored.

    ``values`` is None where there is none; ``stored`` is list, scalar, characters (one element
    a character), missing, empty or not text; ``encoding`` is ascii, utf-8 or latin-1.
    """

    values: tuple[str, ...] | None
    stored: str
    encoding: str = "utf-8"

    @property
    def text(self) -> str:
        """The only text, empty if there is none."""
        return self.values[0] if self.values else ""


@dataclass(frozen=True)
class Reference:
    """One of the four links of a Main dataset to its ancillary datasets.

    ``state`` is object, path or array (both resolved, but against the specification), or, with
    no target: missing, null, dangling, group, not a reference.
    """

    attribute: str
    state: str
    target: str | None
    detail: str = ""


@dataclass(frozen=True)
class Ancillary:
    """An ancillary dataset as one Main dataset sees it."""

    dataset: Dataset
    labels: Texts
    units: Texts


@dataclass(frozen=True)
class Candidate:
    """A dataset that is meant as a Main dataset: it has at least one of the four references."""

    file: str
    dataset: Dataset
    references: Mapping[str, Reference]
    ancillaries: Mapping[str, Ancillary]
    quantity: Texts
    units: Texts

    @property
    def path(self) -> str:
        """HDF5 path of the dataset."""
        return self.dataset.path


@dataclass(frozen=True)
class FileRecord:
    """Everything in one file, in order of path."""

    file: str
    groups: Mapping[str, Group]
    datasets: Mapping[str, Dataset]
    candidates: Mapping[str, Candidate]
    dialect: str = ""
