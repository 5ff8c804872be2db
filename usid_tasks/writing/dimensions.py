"""The axes of a signal as Position and Spectroscopic dimensions."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usid_tasks.printable import printable
from usid_tasks.writing.refusals import UnwritableError

NO_DIMENSION = "arb"
"""Label of the dimension of size one that a side has for want of any (USID model, "Spectrum")."""

MAX_LABEL_BYTES = 1000
_MOST_POINTS = 2**32
_UNNAMED = {True: "Pos_Dim", False: "Spec_Dim"}


@dataclass(frozen=True)
class Dimension:
    """One dimension as it is to be stored; ``values`` is ``(size,)`` of real numbers.

    ``scale`` is that of a uniform axis, None where the Values were given one by one.
    ``is_none`` tells that it stands on a side for want of any.
    """

    label: str
    units: str
    values: NDArray
    scale: float | None = None
    is_binned: bool = False
    is_none: bool = False

    @property
    def size(self) -> int:
        """Number of its points."""
        return len(self.values)


@dataclass(frozen=True)
class Dimensions:
    """The dimensions of both sides, each slow to fast, and where the array has them.

    ``order`` are the array's axes, those of the Position dimensions first. ``named`` are the
    labels that the signal gave; others were made up.
    """

    position: tuple[Dimension, ...]
    spectroscopic: tuple[Dimension, ...]
    order: tuple[int, ...]
    named: frozenset[str]


def dimensions_of(axes: Sequence[Mapping[str, Any]], shape: Sequence[int]) -> Dimensions:
    """Return the dimensions that the axes of a signal become.

    Parameters
    ----------
    axes
        A dictionary for each axis of the array: ``name``, ``units``, ``navigate``, and ``offset``
        and ``scale`` or the whole vector ``axis``. They are in the array's order, or told it by
        ``index_in_array``.
    shape
        Shape of the array. It decides where a uniform axis has another ``size``.

    Raises
    ------
    UnwritableError
        If there is not one axis for each of the array's, if two have one name, or if the Values
        of one are no real numbers, or not as many as the array has points.

    Warns
    -----
    UserWarning
        For each uniform axis whose ``size`` is another than that of the array.
    """
    axes = _in_order(axes, shape)
    is_position = [bool(axis.get("navigate", False)) for axis in axes]
    names = [_text(axis.get("name"), number, "name") for number, axis in enumerate(axes)]
    units = [_text(axis.get("units"), number, "units") for number, axis in enumerate(axes)]
    _refuse_equal(names)
    taken = {name for name in names if name}
    labels = _labels(names, is_position, set(taken))
    found = [
        _dimension(axis, number, labels[number], units[number], shape[number])
        for number, axis in enumerate(axes)
    ]
    sides: list[tuple[Dimension, ...]] = []
    taken |= set(labels)
    for wanted in (True, False):
        side = [one for one, at in zip(found, is_position, strict=True) if at is wanted]
        sides.append(tuple(side) or (_no_dimension(taken),))
    order = sorted(range(len(axes)), key=lambda number: not is_position[number])
    return Dimensions(sides[0], sides[1], tuple(order), frozenset(name for name in names if name))


def _in_order(
    axes: Sequence[Mapping[str, Any]], shape: Sequence[int]
) -> Sequence[Mapping[str, Any]]:
    if len(axes) != len(shape):
        raise UnwritableError(
            "signal['axes']",
            f"{len(axes)} axes for an array of {len(shape)} dimensions, {tuple(shape)}",
            "Give one axis for each dimension of the array",
        )
    places = [axis.get("index_in_array") for axis in axes]
    if sorted(place for place in places if isinstance(place, int)) != list(range(len(axes))):
        return axes
    return sorted(axes, key=lambda axis: int(axis["index_in_array"]))


def _text(told: Any, number: int, part: str) -> str:
    """Return a name or a unit without the space around it; empty where there is none."""
    text = told.strip() if isinstance(told, str) else ""
    where = f"signal['axes'][{number}]['{part}']"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        what = f"{printable(text)!r} has control characters or half a surrogate pair"
        raise UnwritableError(where, what, "Give it a text that can be shown")
    if len(text.encode("utf-8")) > MAX_LABEL_BYTES:
        what = f"{len(text.encode('utf-8'))} bytes, expected {MAX_LABEL_BYTES} at most"
        raise UnwritableError(where, what, "Give it a shorter text")
    return text


def _refuse_equal(names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        if name and name in names[:number]:
            raise UnwritableError(
                "signal['axes']",
                f"axes {names.index(name)} and {number} are both called {printable(name)!r}: "
                "readers of USID tell dimensions apart by their label",
                "Rename one of them",
            )


def _labels(names: Sequence[str], is_position: Sequence[bool], taken: set[str]) -> list[str]:
    """Return a label for each axis; the nameless are counted from the fastest of their side."""
    found = list(names)
    counts = {True: 0, False: 0}
    for number in reversed(range(len(names))):
        side = is_position[number]
        if not names[number]:
            found[number] = _distinct(f"{_UNNAMED[side]}_{counts[side]}", taken)
        counts[side] += 1
    return found


def _distinct(label: str, taken: set[str]) -> str:
    name, number = label, 1
    while name in taken:
        number += 1
        name = f"{label}_{number}"
    taken.add(name)
    return name


def _no_dimension(taken: set[str]) -> Dimension:
    return Dimension(_distinct(NO_DIMENSION, taken), "", np.zeros(1), is_none=True)


def _dimension(
    axis: Mapping[str, Any], number: int, label: str, units: str, size: int
) -> Dimension:
    """Return an axis with its Values as they are given, or in float64 if it is uniform."""
    where, is_binned = f"signal['axes'][{number}] ({printable(label)})", axis.get("is_binned")
    if size > _MOST_POINTS:
        raise UnwritableError(
            where, f"{size} points, expected 2**32 at most (Indices are uint32)", "Split the signal"
        )
    scale = None if axis.get("axis") is not None else _number(axis, "scale", 1.0, where)
    values = _uniform(axis, scale, where, size) if scale is not None else _vector(axis, where, size)
    return Dimension(label, units, values, scale, is_binned is True)


def _vector(axis: Mapping[str, Any], where: str, size: int) -> NDArray:
    values = np.asarray(axis["axis"])
    if values.ndim != 1 or len(values) != size:
        what = f"a vector of shape {values.shape} for {size} points"
        raise UnwritableError(where, what, "Give one value for each point")
    if values.dtype.kind not in "biuf":
        what = f"its values are of type {values.dtype}, expected real numbers"
        raise UnwritableError(where, what, "Give times in seconds, or another number")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values


def _uniform(axis: Mapping[str, Any], scale: float, where: str, size: int) -> NDArray[np.float64]:
    if axis.get("expression") is not None:
        raise UnwritableError(
            where,
            "an axis that is a function tells no values",
            "Call its convert_to_non_uniform_axis() first",
        )
    told = axis.get("size", size)
    if told != size:
        text = f"{where} is told to have {told} points; the array has {size}, and these are written"
        warnings.warn(text, UserWarning, stacklevel=2)
    offset = _number(axis, "offset", 0.0, where)
    return np.asarray(offset + scale * np.arange(size), np.float64)


def _number(axis: Mapping[str, Any], part: str, default: float, where: str) -> float:
    try:
        return float(axis.get(part, default))
    except (TypeError, ValueError) as error:
        what = f"its {part} is no number ({error})"
        raise UnwritableError(where, what, "Give a number") from error


def _is_exact(values: NDArray, dtype: np.dtype) -> bool:
    """Return True where every value is held exactly by float64 and then by ``dtype``."""
    if values.dtype.kind in "iu":
        most = 2 ** (np.finfo(dtype).nmant + 1)
        return bool(np.all((values >= -most) & (values <= most)))
    with np.errstate(over="ignore"):
        return np.array_equal(values.astype(dtype).astype(values.dtype), values, equal_nan=True)


def values_dtype(dimensions: Sequence[Dimension]) -> np.dtype:
    """Return the type of a Values table: float32 where that is exact, else float64, else integers.

    The specification has float32 (h5USID, "Ancillary data"), which cannot tell 20000.01 eV from
    20000 eV, nor two times of a day.

    Raises
    ------
    UnwritableError
        If no type holds them all exactly.
    """
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        if all(_is_exact(one.values, dtype) for one in dimensions):
            return dtype
    if all(one.values.dtype.kind in "iu" for one in dimensions):
        for whole in (np.dtype(np.int64), np.dtype(np.uint64)):
            if all(_fits(one.values, whole) for one in dimensions):
                return whole
    raise UnwritableError(
        "signal['axes']",
        f"the values of {', '.join(printable(one.label) for one in dimensions)} are not held "
        "exactly by one type: they share a table",
        "Give integers beyond 2**53, or values of more than 64 bits, as differences from an offset",
    )


def _fits(values: NDArray, dtype: np.dtype) -> bool:
    limits = np.iinfo(dtype)
    return bool(np.all((values >= limits.min) & (values <= limits.max)))
