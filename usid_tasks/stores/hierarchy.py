"""The layout that HyperSpy's own files share, in HDF5 (.hspy) and in Zarr (.zspy).

A signal is a group in ``Experiments`` with the array ``data``, a group ``axis-0``, ``axis-1``...
for each axis, and the groups ``metadata`` and ``original_metadata``, in which a dictionary is a
group, an array an array, and whatever else an attribute. What that cannot hold, or what its
readers would change, is JSON (:mod:`usid_tasks.stores.held`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from usid_tasks import __version__
from usid_tasks.errors import VerificationError
from usid_tasks.names import encode
from usid_tasks.printable import printable
from usid_tasks.stores.held import (
    Form,
    Held,
    held,
    is_plain_array,
    is_plain_list,
    is_plain_number,
    is_plain_text,
)
from usid_tasks.stores.signals import Signal
from usid_tasks.stores.streaming import REMEDY

VERSION = "3.3"
"""Of the layout (``file_format_version``)."""

EXPERIMENTS = "Experiments"
NONE = "_None_"
WRITTEN_BY = f"usid-flows {__version__}"

_MEANT_OTHERWISE = re.compile(r"_(list|tuple|sig|bs|datetime|ragged_shapes|hspy)_|ragged_shapes$")
"""Keys that begin so mean something to the readers of the layout."""

_NO_LINK = re.compile(r"[/\0\ud800-\udfff]|%(?=[0-9A-Fa-f]{2})")


def is_held_in_hdf5(value: Any) -> bool:
    """Return whether RosettaSciIO writes a value to HDF5 such that it reads it again."""
    if isinstance(value, str):
        return is_plain_text(value) and value != NONE
    if type(value) in (list, tuple):
        return not value or is_plain_list(value)
    return value is None or is_plain_number(value) or is_plain_array(value)


def is_held_in_zarr(value: Any) -> bool:
    """Return whether RosettaSciIO reads a value again from the attributes of Zarr format 2."""
    is_complex = isinstance(value, (complex, np.complexfloating))
    return is_held_in_hdf5(value) and not is_complex


def is_node(value: Any) -> bool:
    """Return whether a value is an array rather than an attribute."""
    return isinstance(value, np.ndarray) or (type(value) in (list, tuple) and bool(value))


def key_in_hdf5(key: str, is_a_node: bool) -> str:  # noqa: FBT001 - the protocol of Form
    """Return the key as the name of a link or of an attribute that the layout's readers take."""
    return _unlike_ours(key_of_link(key, is_a_node))


def key_of_link(key: str, is_a_node: bool) -> str:  # noqa: FBT001 - the protocol of Form
    """Return the key as the name of a link, or of an attribute, of HDF5."""
    if not key or (is_a_node and key in (".", "..")):
        return key.replace(".", "%2E") or "%"
    return _NO_LINK.sub(lambda match: _percent(match[0]), key)


def key_in_zarr(key: str, is_a_node: bool) -> str:  # noqa: FBT001 - the protocol of Form
    """Return the key as the name of a folder, or of an attribute."""
    return _unlike_ours(encode(key) if is_a_node or not key else key)


def _unlike_ours(name: str) -> str:
    return f"%5F{name[1:]}" if _MEANT_OTHERWISE.match(name) and name[0] == "_" else _other(name)


def _other(name: str) -> str:
    return f"%72{name[1:]}" if name == "ragged_shapes" else name


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


IN_HDF5 = Form(is_held_in_hdf5, key_in_hdf5, is_node)
IN_ZARR = Form(is_held_in_zarr, key_in_zarr, is_node, is_case_blind=True)


def held_metadata(signal: Signal, form: Form) -> Held:
    """Return both trees of metadata of a signal as a format can hold them."""
    trees = {"metadata": signal.metadata, "original_metadata": signal.original_metadata}
    return held(trees, form)


def axes_of(signal: Signal) -> list[dict[str, Any]]:
    """Return the axes as HyperSpy describes them in its files."""
    return [
        {"_type": "DataAxis" if "axis" in axis else "UniformDataAxis", **axis}
        for axis in signal.axes
    ]


def group_names(
    signals: Sequence[Signal], *, is_folder: bool, taken: Iterable[str] = ()
) -> list[str]:
    """Return a name for the group of each signal: its title, as far as it can be one.

    None is one of those that are ``taken``, nor differs from another in case alone.
    """
    folded = {name.casefold() for name in taken}
    found = []
    for signal in signals:
        plain = signal.title.replace("/", "-")
        wanted = encode(plain) if is_folder else key_in_hdf5(plain, is_a_node=True)
        name, number = wanted, 1
        while name.casefold() in folded:
            number += 1
            name = f"{wanted} {number}"
        folded.add(name.casefold())
        found.append(name)
    return found


Entry = tuple[str, str, Any]
"""What a level holds: "group", "array", "list" or "attribute"; its name in the file; its value."""


def entries(level: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield what a dictionary becomes in a group of the layout."""
    for key, value in level.items():
        if isinstance(value, dict):
            yield "group", key, value
        elif isinstance(value, np.ndarray):
            yield "array", key, value
        elif isinstance(value, (list, tuple)):
            kind = "_list_" if isinstance(value, list) else "_tuple_"
            if value:
                yield "list", f"{kind}{key}", value
            else:
                yield "attribute", f"{kind}empty_{key}", NONE
        else:
            yield "attribute", key, NONE if value is None else value


def check_level(where: str, group: Any, level: Mapping[str, Any]) -> None:
    """Compare a group as it is stored, of h5py or zarr, with the dictionary that it holds.

    Raises
    ------
    VerificationError
        Naming what is missing or differs.
    """
    for kind, name, value in entries(level):
        path = f"{where}/{printable(name)}"
        if kind == "attribute":
            is_same = name in group.attrs and is_same_value(group.attrs[name], value)
        elif name not in group:
            is_same = False
        elif kind == "group":
            check_level(path, group[name], value)
            continue
        else:
            is_same = _is_same_array(group[name], value)
        if not is_same:
            raise VerificationError(path, "is not in the file as it was written", REMEDY)


def _is_same_array(stored: Any, value: Any) -> bool:
    wanted = np.asarray(value)
    if wanted.dtype.kind == "U":
        texts = stored.asstr()[()] if hasattr(stored, "asstr") else stored[...]
        return [str(text) for text in texts.tolist()] == list(value)
    found = np.asarray(stored[...])
    return (
        found.shape == wanted.shape
        and found.dtype == wanted.dtype
        and (found.tobytes() == wanted.tobytes())
    )


def is_same_value(found: Any, wanted: Any) -> bool:
    """Return True for equal texts or numbers, NaN equal to NaN."""
    if isinstance(wanted, str) or isinstance(found, str):
        return type(found) is type(wanted) and bool(found == wanted)
    return bool(np.array_equal(np.asarray(found), np.asarray(wanted), equal_nan=True))
