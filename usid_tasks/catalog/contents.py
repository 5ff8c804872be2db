"""What the metadata documents of a store tell of a Main dataset: coordinates and attributes."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from usid_tasks.catalog.texts import LONGEST_NAME, shortened, storable
from usid_tasks.errors import UsidError
from usid_tasks.model import JSON
from usid_tasks.shards import Scratch, open_array

LOG = logging.getLogger("usid_tasks")

Document = Mapping[str, JSON]

_LARGEST_BYTES = 16 * 1024**2
"""Coordinates whose chunks are larger are not read for their range."""

_ANCILLARIES = frozenset(
    ("Position_Indices", "Position_Values", "Spectroscopic_Indices", "Spectroscopic_Values")
)
_NUMBERS = "iuf"


@dataclass(frozen=True, kw_only=True)
class CoordinateEntry:
    """A dimension, or another coordinate; ``low`` and ``high`` are in ``units``."""

    name: str
    side: str = ""
    is_dim: bool
    size: int
    units: str = ""
    axis: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class AttributeEntry:
    """A scalar attribute of the object at ``path``, which ends in ``/``."""

    path: str
    name: str
    text: str
    value: float | None = None


@dataclass(frozen=True)
class StoreContents:
    """The metadata documents of a store by their paths in it, without a leading ``/``."""

    store: Path
    documents: Mapping[str, Document]

    @classmethod
    def read(cls, store: Path) -> StoreContents | None:
        """Return the documents of a store, None where it is not there or is damaged."""
        try:
            root = json.loads((store / "zarr.json").read_bytes())
            inside = root["consolidated_metadata"]["metadata"].items()
            documents = {"": root, **{path.strip("/"): one for path, one in inside}}
            if not all(isinstance(one, dict) for one in documents.values()):
                raise TypeError("a document is no object")
            return cls(store, documents)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            LOG.warning("%s: its metadata cannot be read (%s); see `usid verify`", store, error)
            return None

    def mains(self) -> Mapping[str, str]:
        """Return the HDF5 path of every Main dataset, and the path of its group."""
        found = {}
        for path, document in self.documents.items():
            attributes = document.get("attributes", {})
            if document.get("node_type") == "group" and "usid_sides" in attributes:
                found[str(attributes.get("usid_path"))] = path
        return found

    def coordinates(self, group: str) -> tuple[CoordinateEntry, ...]:
        """Return the dimensions of the Main dataset in a group, then its other coordinates."""
        arrays = self._arrays_of(group)
        main = next((one for one in arrays.values() if _role(one) == "main"), None)
        if main is None:
            return ()
        sizes = dict(zip(main["dimension_names"], main["shape"], strict=True))
        values_of = {
            one["attributes"]["usid_values_of"]: name
            for name, one in arrays.items()
            if "usid_values_of" in one.get("attributes", {})
        }
        others = [
            name
            for name, one in arrays.items()
            if _role(one) in ("position", "spectroscopic")
            and name not in sizes
            and name not in values_of.values()
        ]
        return tuple(
            self._coordinate(group, name, arrays, sizes, values_of)
            for name in (*sizes, *sorted(others))
        )

    def _coordinate(
        self,
        group: str,
        name: str,
        arrays: Mapping[str, Document],
        sizes: Mapping[str, int],
        values_of: Mapping[str, str],
    ) -> CoordinateEntry:
        told = values_of.get(name, name)  # where the values are those of another array
        document = arrays.get(told)
        if document is None:
            return CoordinateEntry(name=name, is_dim=True, size=sizes[name])
        attributes = document.get("attributes", {})
        low, high = self._range(f"{group}/{told}".strip("/"), document)
        return CoordinateEntry(
            name=name,
            side=_role(document),
            is_dim=name in sizes,
            size=sizes.get(name) or math.prod(document["shape"]),
            units=str(attributes.get("usid_units") or attributes.get("units") or ""),
            axis=str(attributes.get("usid_axis", "")),
            low=low,
            high=high,
        )

    def _arrays_of(self, group: str) -> Mapping[str, Document]:
        prefix = f"{group}/" if group else ""
        return {
            path[len(prefix) :]: document
            for path, document in self.documents.items()
            if document.get("node_type") == "array"
            and path.startswith(prefix)
            and "/" not in path[len(prefix) :]
        }

    def _range(self, path: str, document: Document) -> tuple[float | None, float | None]:
        """Return the least and the largest finite value of an array of numbers."""
        folder = self.store.joinpath(*path.split("/"))
        shape = tuple(document["shape"])
        try:
            dtype = np.dtype(document["data_type"])
            if dtype.kind not in _NUMBERS or not math.prod(shape) * dtype.itemsize > 0:
                return None, None
            array = open_array(folder, document)
            if max(math.prod(shape) * dtype.itemsize, array.chunk_bytes) > _LARGEST_BYTES:
                return None, None
            values = np.empty(shape, dtype)
            array.read(tuple(slice(0, n) for n in shape), values, Scratch(array.chunk_bytes))
        except (UsidError, OSError, LookupError, ValueError, TypeError) as error:
            LOG.warning("%s: no range of its values (%s); see `usid verify`", folder, error)
            return None, None
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else (None, None)

    def attributes(self, group: str, main: str) -> Iterator[AttributeEntry]:
        """Yield the scalar attributes of a Main dataset and of the groups above it.

        Parameters
        ----------
        group
            The path of its group in the store.
        main
            Its path in the HDF5 file, which has as many parts.
        """
        places = ["", *_above(group)]
        paths = ["/", *(f"/{path}/" for path in _above(main.strip("/")))]
        for place, path in zip(places, paths, strict=False):
            attributes = self.documents.get(place, {}).get("attributes", {})
            for name, value in _of_the_file(attributes):
                if name in _ANCILLARIES:
                    continue
                entry = _scalar(path, name, value)
                if entry is not None:
                    yield entry

    def codecs(self) -> str:
        """Return the codecs of the Main datasets' arrays, each once."""
        found = set()
        for path, document in self.documents.items():
            if document.get("node_type") == "array" and _role(document) == "main":
                try:
                    found.add(str(open_array(self.store / path, document).codec))
                except (UsidError, LookupError, ValueError, TypeError, AttributeError):
                    found.add("unknown")
        return ", ".join(sorted(found))


def size_on_disk(store: Path) -> int | None:
    """Return the bytes of all files of a store, None where it is not there."""
    if not store.is_dir():
        return None
    size, folders = 0, [str(store)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_size
    return size


def _role(document: Document) -> str:
    return str(document.get("attributes", {}).get("usid_role", ""))


def _above(path: str) -> Iterator[str]:
    """Yield ``a``, ``a/b`` and ``a/b/c`` of ``a/b/c``."""
    parts = path.split("/") if path else []
    for n in range(1, len(parts) + 1):
        yield "/".join(parts[:n])


def _of_the_file(attributes: Mapping[str, JSON]) -> Iterator[tuple[str, JSON]]:
    """Yield the attributes that the file has, also those that xarray would act on."""
    for name, value in attributes.items():
        if not name.startswith("usid_"):
            yield name, value
    stored = attributes.get("usid_attrs")
    for name, told in (stored if isinstance(stored, dict) else {}).items():
        if isinstance(told, dict) and "value" in told:
            yield name, told["value"]


def _scalar(path: str, name: str, value: JSON) -> AttributeEntry | None:
    """Return the entry of a scalar value, None of any other; a list of one is a scalar."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, (str, int, float)):
        return None
    if isinstance(value, bool):
        text, number = str(value).lower(), float(value)
    elif isinstance(value, str):
        text, number = value, None
    else:
        text, number = str(value), _finite(value)
    return AttributeEntry(
        path=storable(path),
        name=shortened(storable(name), LONGEST_NAME),
        text=shortened(storable(text)),
        value=number,
    )


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
