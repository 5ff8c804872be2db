"""What a Main dataset must become: rebuilt cell by cell from its index tables.

Written from the specification, through h5py alone, with plain loops; shares no code with the
package and uses no other reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from oracle_names import NameBook
from oracle_order import array_order

LINKS = ("Position_Indices", "Position_Values", "Spectroscopic_Indices", "Spectroscopic_Values")
TIME_UNITS = {
    "days",
    "hours",
    "minutes",
    "seconds",
    "milliseconds",
    "microseconds",
    "nanoseconds",
}


@dataclass
class Coordinate:
    """An expected coordinate; ``kinds`` are the words its ``usid_axis`` may be."""

    name: str
    label: str
    dims: tuple[str, ...]
    values: np.ndarray
    units: str
    kinds: frozenset[str] | None = None
    is_field: bool = False


@dataclass
class Half:
    """One side rebuilt: where each of its cells lies in the table (None: not measured)."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    rows: dict[tuple[int, ...], int]
    coords: list[Coordinate]
    is_flat: bool = False
    is_padded: bool = False


@dataclass
class Expected:
    """What one Main must be read as."""

    path: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    data: dict[str, np.ndarray]
    coords: dict[str, Coordinate]
    valid: np.ndarray | None
    valid_dims: tuple[str, ...]
    quantity: str
    units: str
    flat: tuple[bool, bool]
    components: dict[str, str] = field(default_factory=dict)


def text(value: Any) -> str:
    """Return one HDF5 string attribute as text, whatever its legacy spelling."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")
    return str(value)


def texts(value: Any) -> list[str]:
    """Return a list of strings attribute; a lone string is a list of one."""
    if isinstance(value, np.ndarray):
        return [text(item) for item in value.ravel()]
    return [text(value)]


def is_ptir(table: h5py.Dataset) -> bool:
    """True in a file of PTIR Studio."""
    for group in table.file.values():
        if text(group.attrs.get("SoftwareVersion", "")).startswith("PTIR Studio"):
            return True
    return False


def read_units(table: h5py.Dataset, n_labels: int) -> list[str]:
    """Return one unit per label; PTIR Studio's single characters are joined."""
    units = texts(table.attrs["units"])
    if len(units) != n_labels or (len(units) > 1 and is_ptir(table)):
        assert all(len(unit) <= 1 for unit in units), (table.name, units)
        return ["".join(units)] * n_labels
    return units


def follow(main: h5py.Dataset, attribute: str) -> h5py.Dataset:
    """Return the table a Main's attribute points at, by reference or by path."""
    value = main.attrs[attribute]
    return main.file[value if isinstance(value, h5py.Reference) else text(value)]


def native(array: np.ndarray) -> np.ndarray:
    """Return the array in the machine's byte order."""
    return array.astype(array.dtype.newbyteorder("="))


def same(a: Any, b: Any) -> bool:
    """True for equal scalars, NaN equal to NaN."""
    return bool(a == b or (a != a and b != b))


def ranks_of(column: Sequence[float]) -> list[float]:
    """Return the sorted unique indices of a column."""
    return sorted(set(column))


def kinds_of(values: np.ndarray) -> frozenset[str]:
    """Return the words that may describe an axis; two where the measure decides."""
    exact = [float(value) for value in values]
    if any(np.isnan(exact)):
        return frozenset({"undefined"})
    if any(np.isinf(exact)):
        return frozenset({"undefined", "monotonic", "non-monotonic", "constant"})
    if all(value == exact[0] for value in exact):
        return frozenset({"constant"})
    steps = [b - a for a, b in pairwise(exact)]
    slope = (exact[-1] - exact[0]) / (len(exact) - 1)
    off = max(abs(value - exact[0] - slope * k) for k, value in enumerate(exact))
    rounding = 0.0
    if values.dtype.kind == "f":
        rounding = float(np.finfo(values.dtype).eps) * max(abs(value) for value in exact)
    if slope and off <= 1e-3 * abs(slope) + rounding and rounding < 0.5 * abs(slope):
        return frozenset({"uniform"})
    near = bool(slope) and off <= 0.5 * abs(slope) + 2 * rounding
    if all(step > 0 for step in steps) or all(step < 0 for step in steps):
        return frozenset({"uniform", "monotonic"} if near else {"monotonic"})
    if all(step >= 0 for step in steps) or all(step <= 0 for step in steps):
        return frozenset({"uniform", "monotonic", "non-monotonic"})
    return frozenset({"uniform", "non-monotonic"} if near else {"non-monotonic"})


def values_by_rank(
    indices: list[float], column: Sequence[float], values: np.ndarray
) -> np.ndarray | None:
    """Return the Values by rank, or None where one index has several."""
    found: dict[float, Any] = {}
    for index, value in zip(column, values, strict=True):
        if not same(found.setdefault(index, value), value):
            return None
    return np.array([found[index] for index in indices], dtype=values.dtype)


def dependence(points: list[tuple[int, ...]], loops: list[int], values: np.ndarray) -> list[int]:
    """Return the fewest loops (positions in ``loops``) that tell the Values of every point."""
    for count in range(len(loops) + 1):
        for chosen in combinations(range(len(loops)), count):
            found: dict[tuple[int, ...], Any] = {}
            keys = [tuple(point[loops[k]] for k in chosen) for point in points]
            if all(
                same(found.setdefault(key, value), value)
                for key, value in zip(keys, values, strict=True)
            ):
                return list(chosen)
    raise AssertionError("the loops do not tell the points apart")


def padding(dtype: np.dtype[Any]) -> Any:
    """Return what fills a cell that was not measured."""
    return np.nan if dtype.kind in "fc" else np.zeros((), dtype)[()]


def rebuild_half(
    side: str,
    indices: np.ndarray,
    values: np.ndarray,
    labels: list[str],
    units: list[str],
    names: list[str],
    book: NameBook,
) -> Half:
    """Rebuild one side from its tables, ``(n_points, n_dims)``."""
    points = [tuple(row) for row in indices.tolist()]
    columns = [[point[k] for point in points] for k in range(len(labels))]
    uniques = [ranks_of(column) for column in columns]
    sizes = [len(unique) for unique in uniques]
    wide = [k for k, size in enumerate(sizes) if size != 1]
    order, grid = array_order(points, wide, sizes)
    if grid == "none" or (grid == "aborted" and side == "spectroscopic"):
        coords = [
            Coordinate(book.scalar(names[k]), labels[k], (side,), values[:, k], units[k])
            for k in range(len(labels))
        ]
        rows = {(k,): k for k in range(len(points))}
        return Half((side,), (len(points),), rows, coords, is_flat=True)

    dims = tuple(names[k] for k in order)
    shape = tuple(sizes[k] for k in order)
    rows = {}
    for row, point in enumerate(points):
        rows[tuple(uniques[k].index(point[k]) for k in order)] = row
    coords = []
    for k, label in enumerate(labels):
        axis = values_by_rank(uniques[k], columns[k], values[:, k])
        is_scalar = sizes[k] == 1
        # of float16 xarray can make no index: the Values stay beside the dimension's index
        if axis is None or (axis.dtype == np.float16 and not is_scalar):
            chosen = dependence(points, order, values[:, k])
            over = [order[c] for c in chosen] if axis is None else [k]
            field_shape = tuple(sizes[c] for c in over)
            spread = np.full(field_shape, padding(values.dtype), values.dtype)
            for point, value in zip(points, values[:, k], strict=True):
                spread[tuple(uniques[c].index(point[c]) for c in over)] = value
            own = names[k]
            coords.append(
                Coordinate(
                    book.coordinate(f"{label}_values"),
                    label,
                    tuple(names[c] for c in over),
                    spread,
                    units[k],
                    is_field=True,
                )
            )
            axis = np.array(uniques[k], dtype=indices.dtype)
            kinds = frozenset({"index"})
            unit = None
        else:
            own, kinds, unit = names[k], kinds_of(axis), units[k]
        coords.append(
            Coordinate(
                book.scalar(own) if is_scalar else own,
                label,
                () if is_scalar else (own,),
                axis[0] if is_scalar else axis,
                unit if unit is not None else "",
                None if is_scalar else kinds,
            )
        )
    return Half(dims, shape, rows, coords, is_padded=grid == "aborted")


def rebuild(path: Path | str, main_path: str) -> Expected:
    """Return what the sound Main at this HDF5 path must be read as."""
    with h5py.File(path, "r") as file:
        main = file[main_path]
        raw = main[()]
        tables = {name: follow(main, name) for name in LINKS}
        book = NameBook()
        spec: list[tuple[str, np.ndarray, np.ndarray, list[str], list[str]]] = []
        for side in ("Position", "Spectroscopic"):
            index, value = tables[f"{side}_Indices"], tables[f"{side}_Values"]
            labels = [label.strip() for label in texts(value.attrs["labels"])]
            units = [unit.strip() for unit in read_units(value, len(labels))]
            pair = native(index[()]), native(value[()])
            indices, values = (table.T if side == "Spectroscopic" else table for table in pair)
            spec.append((side.lower(), indices, values, labels, units))
        all_names = book.dimensions([label for half in spec for label in half[3]])
        halves = []
        for side, indices, values, labels, units in spec:
            own = [all_names.pop(0) for _ in labels]
            halves.append(rebuild_half(side, indices, values, labels, units, own, book))
        quantity, unit = text(main.attrs["quantity"]), text(main.attrs["units"])
        own_name = main.name.rsplit("/", 1)[1]
    position, spectroscopic = halves
    dims, shape = position.dims + spectroscopic.dims, position.shape + spectroscopic.shape
    parts = {own_name: raw}
    if raw.dtype.names:
        parts = {name: raw[name] for name in raw.dtype.names}
    data, components = {}, {}
    for original, part in parts.items():
        name = book.variable(original)
        components[name] = original
        data[name] = place(native(part), halves)
    valid = None
    if position.is_padded:
        valid = np.zeros(position.shape, dtype=bool)
        for cell in position.rows:
            valid[cell] = True
    return Expected(
        main_path,
        dims,
        shape,
        data,
        {c.name: c for half in halves for c in half.coords},
        valid,
        position.dims,
        quantity,
        unit,
        (position.is_flat, spectroscopic.is_flat),
        components,
    )


def place(part: np.ndarray, halves: list[Half]) -> np.ndarray:
    """Put every cell of the two-dimensional table where its indices say."""
    position, spectroscopic = halves
    inner = part.shape[2:]
    out = np.full(
        position.shape + spectroscopic.shape + inner, padding(part.dtype), dtype=part.dtype
    )
    for where in product(*(range(n) for n in position.shape)):
        row = position.rows.get(where)
        if row is None:
            continue
        for along in product(*(range(n) for n in spectroscopic.shape)):
            out[where + along] = part[row, spectroscopic.rows[along]]
    return out


def mains(path: Path | str) -> list[str]:
    """Return the paths of all datasets that carry the four links."""
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and all(link in item.attrs for link in LINKS):
            found.append(f"/{name}")

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found
