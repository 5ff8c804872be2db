"""The one builder of synthetic h5USID files: a keyword per defect, plain h5py, never pyUSID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

LINKS = (
    "Position_Indices",
    "Position_Values",
    "Spectroscopic_Indices",
    "Spectroscopic_Values",
)


@dataclass(frozen=True)
class Side:
    """The ancillary tables of one side, one row per point whatever the side.

    ``values`` default to ``10 * (column + 1) + index / 4``, exact in every float type.
    """

    indices: np.ndarray
    labels: Sequence[str]
    units: Sequence[str] = ()
    values: np.ndarray | None = None
    index_dtype: str = "u4"
    value_dtype: str = "f4"
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def index_table(self) -> np.ndarray:
        """Return the Indices, (n_points, n_dims)."""
        return np.asarray(self.indices).astype(self.index_dtype)

    def value_table(self) -> np.ndarray:
        """Return the Values, (n_points, n_dims)."""
        values = self.values
        if values is None:
            table = np.asarray(self.indices)
            values = 10 * (np.arange(table.shape[1]) + 1) + table / 4
        return np.asarray(values).astype(self.value_dtype)

    def unit_list(self) -> list[str]:
        """Return one unit per label."""
        return list(self.units) or ["m"] * len(self.labels)


ONE_SPECTRUM_POINT = Side(np.zeros((1, 1), int), ["arb"], ["a.u."], np.ones((1, 1)))
"""What a Main without Spectroscopic dimension carries (rule R19)."""


def line(label: str, values: Sequence[float] | np.ndarray, units: str = "V", **more: Any) -> Side:
    """Return a side of one dimension with these Values."""
    values = np.asarray(values)
    more.setdefault("value_dtype", values.dtype.str)
    return Side(np.arange(values.size)[:, None], [label], [units], values[:, None], **more)


def distinct(shape: tuple[int, ...], dtype: Any = "f4", start: int = 1) -> np.ndarray:
    """Return data in which a misplaced cell shows: distinct where the type can, never zero."""
    dtype = np.dtype(dtype)
    if dtype.subdtype is not None:
        base, inner = dtype.subdtype
        return distinct((*shape, *inner), base, start)
    if dtype.names:
        data = np.empty(shape, dtype)
        for k, name in enumerate(dtype.names):
            data[name] = distinct(shape, dtype[name], start + 7 * k)
        return data
    count = np.arange(int(np.prod(shape))).reshape(shape)
    if dtype.kind == "b":
        return np.random.default_rng(start).random(shape) < 0.5
    if dtype.kind == "c":
        return (start + count + 1j * (count.size - count)).astype(dtype)
    if dtype.kind == "f":
        most = 2 ** min(np.finfo(dtype).nmant + 1, 53)
        return (start + count % (most - start)).astype(dtype)
    most = int(np.iinfo(dtype).max)
    return (1 + (start - 1 + count) % min(most - 1, 2**62)).astype(dtype)


def encode_strings(texts: Sequence[str], kind: str) -> Any:
    """Return what h5py stores as a list of strings of this kind.

    ``S`` and ``vlen`` are arrays (UTF-8), ``latin-1`` an ``S`` array of Latin-1 bytes,
    ``scalar`` one string (only for one label), ``scalar-bytes`` one fixed-length string,
    ``characters`` PTIR Studio's array of the first text's single characters.
    """
    if kind == "vlen":
        return np.array(texts, dtype=h5py.string_dtype())
    if kind in ("scalar", "scalar-bytes"):
        (text,) = texts
        return text if kind == "scalar" else np.bytes_(text.encode())
    if kind == "characters":
        return np.array([c.encode() for c in texts[0]] or [b""], dtype="S1")
    coding = "latin-1" if kind == "latin-1" else "utf-8"
    raw = [text.encode(coding) for text in texts]
    return np.array(raw, dtype=f"S{max([1, *map(len, raw)])}")


def encode_string(text: str, kind: str) -> Any:
    """Return what h5py stores as one string (quantity, units of a Main) of this kind.

    ``vlen`` and ``S`` are scalars, ``one-element`` an array of one.
    """
    if kind == "S":
        return np.bytes_(text.encode())
    if kind == "latin-1":
        return np.bytes_(text.encode("latin-1"))
    if kind == "one-element":
        return np.array([text], dtype=h5py.string_dtype())
    return text


def write_table(
    group: h5py.Group,
    name: str,
    table: np.ndarray,
    side: Side,
    *,
    strings: str = "S",
    unit_strings: str | None = None,
    missing: Sequence[str] = (),
) -> h5py.Dataset:
    """Write one ancillary dataset as it stands, with ``labels`` and ``units``."""
    dataset = group.create_dataset(name, data=table)
    if "labels" not in missing:
        dataset.attrs["labels"] = encode_strings(side.labels, strings)
    if "units" not in missing:
        units = side.unit_list()
        dataset.attrs["units"] = encode_strings(units, unit_strings or strings)
    for key, value in side.attrs.items():
        dataset.attrs[key] = value
    return dataset


def write_tables(
    group: h5py.Group,
    position: Side,
    spectroscopic: Side,
    *,
    strings: str = "S",
    unit_strings: str | None = None,
    missing: Sequence[str] = (),
    transposed: Sequence[str] = (),
    flattened: Sequence[str] = (),
    table_attrs: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, h5py.Dataset]:
    """Write the four ancillary datasets of a group.

    Parameters
    ----------
    missing
        ``"Position_Values.units"``: attributes to leave out.
    transposed, flattened
        Names of the tables written with their axes swapped, or in one dimension.
    table_attrs
        Attributes put over the right ones, per table.
    """
    tables = {
        "Position_Indices": (position, position.index_table()),
        "Position_Values": (position, position.value_table()),
        "Spectroscopic_Indices": (spectroscopic, spectroscopic.index_table().T),
        "Spectroscopic_Values": (spectroscopic, spectroscopic.value_table().T),
    }
    written = {}
    for name, (side, table) in tables.items():
        if name in transposed:
            table = table.T
        if name in flattened:
            table = table.ravel()
        gone = [key.split(".", 1)[1] for key in missing if key.startswith(f"{name}.")]
        written[name] = write_table(
            group,
            name,
            table,
            side,
            strings=strings,
            unit_strings=unit_strings,
            missing=gone,
        )
        for key, value in (table_attrs or {}).get(name, {}).items():
            written[name].attrs[key] = value
    return written


def link(main: h5py.Dataset, attribute: str, table: h5py.Dataset, kind: str = "object") -> None:
    """Point the Main's attribute at its table, soundly (``object``, ``path``) or not.

    Unsound kinds: ``array`` (of one reference), ``null``, ``group``, ``dangling`` (the dataset
    was deleted), ``dangling-path``, ``number``, ``missing``.
    """
    if kind == "missing":
        return
    if kind == "object":
        main.attrs[attribute] = table.ref
    elif kind == "path":
        main.attrs[attribute] = table.name
    elif kind == "array":
        main.attrs.create(attribute, np.array([table.ref], dtype=h5py.ref_dtype))
    elif kind == "null":
        main.attrs.create(attribute, h5py.Reference(), dtype=h5py.ref_dtype)
    elif kind == "group":
        main.attrs[attribute] = table.parent.ref
    elif kind == "dangling":
        doomed = table.parent.create_dataset(f"doomed_{attribute}", data=table[()])
        main.attrs[attribute] = doomed.ref
        del table.parent[f"doomed_{attribute}"]
    elif kind == "dangling-path":
        main.attrs[attribute] = f"{table.name}_gone"
    elif kind == "number":
        main.attrs[attribute] = 7
    else:
        raise ValueError(f"no such kind of link: {kind}")


def write_main(
    group: h5py.Group,
    name: str = "Raw_Data",
    *,
    position: Side,
    spectroscopic: Side = ONE_SPECTRUM_POINT,
    data: np.ndarray | None = None,
    dtype: Any = "f4",
    chunks: tuple[int, int] | None = None,
    compression: str | None = None,
    filters: Mapping[str, Any] | None = None,
    quantity: str = "Current",
    units: str = "nA",
    strings: str = "S",
    unit_strings: str | None = None,
    text: str = "vlen",
    links: str | Mapping[str, str] = "object",
    missing: Sequence[str] = (),
    transposed: Sequence[str] = (),
    flattened: Sequence[str] = (),
    table_attrs: Mapping[str, Mapping[str, Any]] | None = None,
    tables: Mapping[str, h5py.Dataset] | None = None,
    table_group: h5py.Group | None = None,
    attrs: Mapping[str, Any] | None = None,
    allocate: bool = True,
) -> h5py.Dataset:
    """Write a Main dataset with its tables and return it; sound unless told otherwise.

    Parameters
    ----------
    filters
        Further options of h5py's ``create_dataset``, such as ``shuffle``.
    strings, unit_strings
        How the tables' labels and units are stored, see :func:`encode_strings`.
    text
        How the Main's quantity and units are stored, see :func:`encode_string`.
    links
        The kind of all four links, or of the named ones, see :func:`link`.
    missing
        ``"quantity"``, ``"units"`` of the Main, or as in :func:`write_tables`.
    tables
        Ancillary datasets to share instead of writing new ones.
    table_group
        Where new tables go; by default the Main's own group.
    allocate
        False leaves the dataset without written values (large ones are instant).
    """
    if tables is None:
        tables = write_tables(
            table_group or group,
            position,
            spectroscopic,
            strings=strings,
            unit_strings=unit_strings,
            missing=missing,
            transposed=transposed,
            flattened=flattened,
            table_attrs=table_attrs,
        )
    shape = (len(position.indices), len(spectroscopic.indices))
    if data is None and allocate:
        data = distinct(shape, dtype)
    main = group.create_dataset(
        name,
        shape=shape if data is None else None,
        dtype=dtype if data is None else data.dtype,
        data=data,
        chunks=chunks,
        compression=compression,
        **(filters or {}),
    )
    kinds = dict.fromkeys(LINKS, links) if isinstance(links, str) else dict(links)
    for attribute in LINKS:
        link(main, attribute, tables[attribute], kinds.get(attribute, "object"))
    if "quantity" not in missing:
        main.attrs["quantity"] = encode_string(quantity, text)
    if "units" not in missing:
        main.attrs["units"] = encode_string(units, text)
    for key, value in (attrs or {}).items():
        main.attrs[key] = value
    return main


def channel(file: h5py.File, measurement: int = 0, channel: int = 0) -> h5py.Group:
    """Return the Channel group, made where it is missing."""
    return file.require_group(f"Measurement_{measurement:03d}/Channel_{channel:03d}")


MAIN = "/Measurement_000/Channel_000/Raw_Data"
"""Where :func:`write_file` puts its Main."""


def write_file(
    path: Path, position: Side, spectroscopic: Side = ONE_SPECTRUM_POINT, **how: Any
) -> Path:
    """Write a file of one Main at :data:`MAIN` and return its path."""
    with h5py.File(path, "w") as file:
        write_main(channel(file), position=position, spectroscopic=spectroscopic, **how)
    return path
