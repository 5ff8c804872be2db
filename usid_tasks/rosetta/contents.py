"""What any HDF5 file holds, USID or not: its datasets and its metadata, as RosettaSciIO tells them.

The counterparts of ``rsciio.utils.hdf5``. Links are followed, also round in a circle; nothing
large is read as metadata; no file stays open.
"""

from __future__ import annotations

import json
import math
import os
import pprint
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import h5py
import numpy as np

from usid_tasks.attributes import encode_value
from usid_tasks.extras import is_plain_number
from usid_tasks.usid import open_hdf5

Metadata = dict[str, Any]
Filename = str | os.PathLike[str]

LARGEST = 2**20
"""Bytes of the largest value that is read as metadata."""


def list_datasets_in_file(
    filename: Filename,
    dataset_key: str | Sequence[str] | None = None,
    hardlinks_only: bool = False,  # noqa: FBT001, FBT002 - RosettaSciIO's order of arguments
    verbose: bool = True,  # noqa: FBT001, FBT002
) -> tuple[list[str], list[str]]:
    """Return the paths of the NXdata groups, and of the datasets, of an HDF5 file.

    Parameters
    ----------
    filename
        Path of the file.
    dataset_key
        Texts of which a path must contain at least one.
    hardlinks_only
        If True, soft and external links are passed over.
    verbose
        If True, both lists are printed too.

    Returns
    -------
    tuple of list of str
        NXdata groups (NeXus) that name their signal, and datasets of at least two elements other
        than text or references; each in order of path.

    Raises
    ------
    ValueError
        If ``dataset_key`` is neither None, a text nor a list of texts.
    NotHDF5Error, FileBusyError, OSError
        If the file cannot be opened.
    """
    wanted = _keys(dataset_key)
    groups, datasets = [], []
    with open_hdf5(os.fspath(filename)) as file:
        for path, held in _walk(file, "", (), hardlinks_only=hardlinks_only):
            if not _is_wanted(path, wanted):
                continue
            if isinstance(held, h5py.Group):
                groups += [path] if _is_nxdata(held) and "signal" in held.attrs else []
            elif held.size is not None and held.size >= 2 and not _is_of_objects(held):
                datasets.append((path, held.shape))
    if verbose:
        lines = [*groups, *(f"{path} {shape}" for path, shape in datasets)]
        sys.stdout.write("\n".join([*(lines or ["no datasets found"]), ""]))
    return groups, [path for path, _ in datasets]


def read_metadata_from_file(
    filename: Filename,
    lazy: bool = False,  # noqa: FBT001, FBT002 - RosettaSciIO's order of arguments
    metadata_key: str | Sequence[str] | None = None,
    verbose: bool = False,  # noqa: FBT001, FBT002
    skip_array_metadata: bool = False,  # noqa: FBT001, FBT002
    *,
    largest: int = LARGEST,
) -> Metadata:
    """Return the groups, attributes and small values of an HDF5 file as nested dictionaries.

    Parameters
    ----------
    filename
        Path of the file.
    lazy
        If True, the numbers of datasets with at least two elements are Dask arrays, which open
        the file by its path, whatever their size.
    metadata_key
        Texts of which a path must contain at least one; what lies below such a path is whole.
    verbose
        If True, the result is printed too.
    skip_array_metadata
        If True, the values of datasets that are no scalars are left out.
    largest
        Bytes of the largest value that is read.

    Returns
    -------
    dict
        A group is a dictionary of its members, and of its attributes under ``attrs``. A dataset
        is a dictionary with ``value`` and ``attrs``, or its value alone where it has no
        attributes. A value that would exceed ``largest`` is a dictionary with its ``shape``,
        ``dtype`` and ``size_bytes`` instead. NXdata groups (NeXus) are left out.

    Raises
    ------
    ValueError
        If ``metadata_key`` is neither None, a text nor a list of texts.
    NotHDF5Error, FileBusyError, OSError
        If the file cannot be opened.
    """
    wanted = _keys(metadata_key)
    with open_hdf5(os.fspath(filename)) as file:
        reader = _MetadataReader(lazy=lazy, skip_arrays=skip_array_metadata, largest=largest)
        found = reader.group(file, ())
    if wanted is not None:
        found = _search(found, "", wanted)
    if verbose:
        sys.stdout.write(f"{pprint.pformat(found)}\n")
    return found


def _keys(asked: str | Sequence[str] | None) -> list[str] | None:
    if asked is None:
        return None
    keys = [asked] if isinstance(asked, str) else asked
    if not isinstance(keys, (list, tuple)) or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"a key is None, a text or a list of texts, not {asked!r}")
    return list(keys)


def _is_wanted(path: str, keys: Sequence[str] | None) -> bool:
    return keys is None or any(key in path for key in keys)


def _search(tree: Metadata, above: str, keys: Sequence[str]) -> Metadata:
    """Return the parts of a tree whose path contains one of the keys."""
    found: Metadata = {}
    for name, value in tree.items():
        path = f"{above}/{name}"
        if _is_wanted(path, keys):
            found[name] = value
        elif isinstance(value, dict) and (inner := _search(value, path, keys)):
            found[name] = inner
    return found


def _text(name: str | bytes) -> str:
    """Return a name as text; h5py leaves one that is not UTF-8 in bytes."""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name


def _members(
    group: h5py.Group, *, hardlinks_only: bool = False
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yield what a group holds by name; links that lead nowhere hold nothing."""
    for name in group:
        if hardlinks_only and not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        try:
            held = group[name]
        except (KeyError, OSError, RuntimeError):
            continue
        if isinstance(held, (h5py.Group, h5py.Dataset)):
            yield _text(name), held


def _place(group: h5py.Group) -> tuple[int, int]:
    """Return what tells one group from all others, in this file and in those it links to."""
    info = h5py.h5o.get_info(group.id)
    return int(info.fileno), int(info.addr)


def _walk(
    group: h5py.Group, path: str, above: tuple[tuple[int, int], ...], *, hardlinks_only: bool
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yield all below a group by path, depth first; a group is not entered again within itself."""
    here = _place(group)
    if here in above:
        return
    for name, held in _members(group, hardlinks_only=hardlinks_only):
        yield f"{path}/{name}", held
        if isinstance(held, h5py.Group):
            yield from _walk(held, f"{path}/{name}", (*above, here), hardlinks_only=hardlinks_only)


def _is_nxdata(group: h5py.Group) -> bool:
    return group.attrs.get("NX_class") in ("NXdata", b"NXdata")


def _dtype(stored: h5py.Dataset | h5py.h5a.AttrID) -> np.dtype | None:
    """Return the type of the elements, None where h5py knows none."""
    try:
        dtype: np.dtype = stored.dtype
    except TypeError:
        return None
    return dtype


def _is_of_objects(dataset: h5py.Dataset) -> bool:
    """Return True for text and lists of variable length, and for references."""
    dtype = _dtype(dataset)
    return dtype is not None and dtype.kind == "O"


class _MetadataReader:
    """Reads a group and all below it, but nothing large."""

    def __init__(self, *, lazy: bool, skip_arrays: bool, largest: int) -> None:
        self._lazy = lazy
        self._skip_arrays = skip_arrays
        self._largest = largest

    def group(self, group: h5py.Group, above: tuple[tuple[int, int], ...]) -> Metadata:
        """Return the members and attributes of a group; nothing where it lies within itself."""
        here = _place(group)
        if here in above:
            return {}
        attributes = self._attributes(group)
        found: Metadata = {"attrs": attributes} if attributes else {}
        for name, held in _members(group):
            key = f"fix_{name}" if name.startswith("keys") else name
            if isinstance(held, h5py.Group):
                if not _is_nxdata(held):
                    found[key] = self.group(held, (*above, here))
            else:
                found.update(self._dataset(key, held))
        return found

    def _dataset(self, key: str, dataset: h5py.Dataset) -> Metadata:
        attributes = self._attributes(dataset)
        is_left_out = self._skip_arrays and dataset.shape not in (None, ())
        values = {} if is_left_out else {"value": self._value_of(dataset)}
        if attributes:
            return {key: {**values, "attrs": attributes}}
        return {key: values["value"]} if values else {}

    def _value_of(self, dataset: h5py.Dataset) -> Any:
        is_long = dataset.size is not None and dataset.size >= 2
        if self._lazy and is_long and is_plain_number(_dtype(dataset)):
            # NumPy arrays need neither xarray nor Dask
            from usid_tasks.rosetta.lazy import dask_array_of_dataset

            return dask_array_of_dataset(dataset)
        return self._read(dataset, dataset.file, partial(dataset.__getitem__, ()))

    def _attributes(self, holder: h5py.Group | h5py.Dataset) -> Metadata:
        found: Metadata = {}
        for name in holder.attrs:
            try:
                stored = holder.attrs.get_id(name)
            except (OSError, RuntimeError, KeyError) as error:
                found[_text(name)] = f"unreadable: {error}"
                continue
            read = partial(holder.attrs.__getitem__, name)
            found[_text(name)] = self._read(stored, holder.file, read)
        return found

    def _read(
        self, stored: h5py.Dataset | h5py.h5a.AttrID, file: h5py.File, read: Callable[[], Any]
    ) -> Any:
        """Return a value as plain Python or NumPy, or what it is where it is too large."""
        dtype, shape = _dtype(stored), stored.shape
        size = 0
        if dtype is not None and shape is not None:
            size = math.prod(shape) * dtype.itemsize
        if size <= self._largest:
            try:
                value = _plain(read(), file)
            except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
                return f"unreadable: {error}"
            # the length of a text or list of variable length is known once it has been read
            size = size if isinstance(value, np.ndarray) else len(json.dumps(value, default=str))
            if size <= self._largest:
                return value
        return {"shape": list(shape or ()), "dtype": str(dtype), "size_bytes": size}


def _plain(value: Any, file: h5py.File) -> Any:
    """Return numbers as they are, an array of one as its element, texts and others as JSON."""
    if isinstance(value, np.ndarray) and value.shape == (1,):
        value = value[0]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return value
    if isinstance(value, (np.number, np.bool_)):
        return value.item()
    return encode_value(value, file)
