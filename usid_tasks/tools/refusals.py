"""What several tools refuse, in the same words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from usid_tasks.axes import AxisKind, classify
from usid_tasks.errors import RefusedError
from usid_tasks.tools.dims import Dim, MainHeader

KINDS = {"b": "boolean", "i": "integer", "u": "integer", "f": "real", "c": "complex"}


def require_kinds(tool: str, header: MainHeader, kinds: str, remedy: str) -> None:
    """Raise RefusedError if the values are of no kind (``b i u f c``) that makes sense."""
    if header.dtype.kind not in kinds:
        asked = " or ".join(dict.fromkeys(KINDS[kind] for kind in kinds))
        raise RefusedError(
            f"tool {tool!r}", f"the values are {header.dtype}, {asked} ones are needed", remedy
        )


def coordinates_of(tool: str, dim: Dim, least: int) -> NDArray[np.float64]:
    """Return the Values of a dimension as float64.

    Raises
    ------
    RefusedError
        If there are none, some are not finite real numbers, or there are fewer than ``least``.
    """
    where = f"tool {tool!r}, dimension {dim.name!r}"
    if dim.values is None:
        raise RefusedError(
            where,
            "it has no Values of its own: they depend on other dimensions or are absent",
            "Choose another dimension, or a tool that needs no coordinates.",
        )
    if dim.values.dtype.kind not in "iuf" or not np.isfinite(dim.values).all():
        raise RefusedError(
            where, f"its Values ({dim.values.dtype}) are not all finite real numbers",
            "Choose another dimension.",
        )  # fmt: skip
    if dim.size < least:
        raise RefusedError(
            where, f"it has {dim.size} points, at least {least} are needed", "Choose another one."
        )
    return dim.values.astype(np.float64)


def step_of(tool: str, dim: Dim) -> float:
    """Return the step of a uniform dimension, in its units, positive.

    Raises
    ------
    RefusedError
        If it has no Values, or they are not uniform.
    """
    values = coordinates_of(tool, dim, 2)
    assert dim.values is not None
    kind = classify(dim.values)
    if kind is not AxisKind.UNIFORM:
        raise RefusedError(
            f"tool {tool!r}, dimension {dim.name!r}",
            f"its Values are {kind.value}, a Fourier transform needs uniform ones",
            "Choose another dimension, or interpolate the data first.",
        )
    return abs(float(values[-1] - values[0])) / (dim.size - 1)


def wide_bytes(dtype: np.dtype) -> int:
    """Return how many bytes a value has while it is worked on, in double precision."""
    return 16 if dtype.kind == "c" else 8


def float_like(dtype: np.dtype) -> np.dtype:
    """Return the dtype of results: float32 or complex64 stay, integers become float64.

    Half precision becomes float32, what is longer than double stays double.
    """
    if dtype.kind == "c":
        return np.dtype(np.complex64 if dtype.itemsize <= 8 else np.complex128)
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)
    return np.dtype(np.float64)
