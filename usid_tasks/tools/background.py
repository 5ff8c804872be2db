"""``background``: a polynomial or a rolling mean or median subtracted along a dimension."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import ndimage

from usid_tasks.errors import RefusedError
from usid_tasks.tools.declaration import Context, Job, Parameters, Tool, by_position
from usid_tasks.tools.dims import MainHeader
from usid_tasks.tools.refusals import coordinates_of, float_like, require_kinds, wide_bytes


class BackgroundParameters(Parameters):
    """Along which dimension, and what counts as background."""

    dim: str = Field(
        title="Dimension",
        description="Spectroscopic dimension along which the background varies.",
        examples=["Frequency"],
    )
    method: Literal["polynomial", "mean", "median"] = Field(
        "polynomial",
        title="Method",
        description="A polynomial of least squares over the Values, or a rolling mean or median.",
        examples=["median"],
    )
    degree: int = Field(
        1,
        title="Degree",
        description="Of the polynomial; 0 subtracts the mean.",
        ge=0,
        le=12,
        examples=[2],
    )
    window: int = Field(
        11,
        title="Window",
        description="Points of the rolling mean or median, odd; the first and the last value stand "
        "beyond the ends.",
        ge=3,
        examples=[11],
    )

    @model_validator(mode="after")
    def _odd_window(self) -> BackgroundParameters:
        if self.window % 2 == 0:
            raise ValueError(f"the window is an odd number of points, not {self.window}")
        return self


def orthonormal_polynomials(values: NDArray, degree: int) -> NDArray[np.float64]:
    """Return polynomials that are orthonormal on ``values``, ``(degree + 1, n)``, float64."""
    middle, half = (values.max() + values.min()) / 2, (values.max() - values.min()) / 2
    scaled = (values - middle) / (half or 1.0)
    basis = np.polynomial.chebyshev.chebvander(scaled, degree)
    return np.ascontiguousarray(np.linalg.qr(basis)[0].T)


def _polynomial(rows: NDArray, basis: NDArray) -> NDArray:
    """Return the polynomial of least squares of each row; sums run along rows only."""
    background = np.zeros_like(rows)
    for function in basis:
        background += (rows * function).sum(axis=1)[:, np.newaxis] * function
    return background


def _rolling(rows: NDArray, method: str, window: int) -> NDArray:
    if method == "median":
        return np.asarray(ndimage.median_filter(rows, size=(1, window), mode="nearest"))
    if rows.dtype.kind == "c":
        return _rolling(rows.real, method, window) + 1j * _rolling(rows.imag, method, window)
    return np.asarray(ndimage.uniform_filter1d(rows, window, axis=1, mode="nearest"))


def _subtract(block: NDArray, context: Context[BackgroundParameters]) -> NDArray:
    """Return ``(n, size)`` without its background; rows that are not all finite are NaN."""
    params = context.params
    rows = block.astype(np.complex128 if block.dtype.kind == "c" else np.float64)
    is_sound = np.isfinite(rows).all(axis=1)
    sound = np.ascontiguousarray(rows[is_sound])
    if params.method == "polynomial":
        values = context.values(params.dim).astype(np.float64)
        background = _polynomial(sound, orthonormal_polynomials(values, params.degree))
    elif sound.size:
        background = _rolling(sound, params.method, params.window)
    else:
        background = sound
    rows[is_sound] = sound - background
    rows[~is_sound] = np.nan
    return rows


def _prepare(header: MainHeader, params: BackgroundParameters) -> Job:
    dim = header.spectroscopic_dim(params.dim)
    where = f"tool 'background', dimension {dim.name!r}"
    if params.method == "polynomial":
        values = coordinates_of("background", dim, params.degree + 1)
        if np.unique(values).size <= params.degree:
            raise RefusedError(
                where,
                f"{np.unique(values).size} distinct Values tell no polynomial of degree "
                f"{params.degree}",
                "Lower the degree.",
            )
    elif params.window > 2 * dim.size - 1:
        raise RefusedError(
            where, f"a window of {params.window} points for {dim.size}", "Take a smaller window."
        )
    if params.method == "median":
        require_kinds("background", header, "biuf", "Use the mean or a polynomial.")
    output = header.output("Corrected", dtype=float_like(header.dtype))
    row_bytes = dim.size * (
        header.dtype.itemsize + output.dtype.itemsize + 4 * wide_bytes(header.dtype) + 1
    )
    return by_position(
        "background", header, params, [dim.name], [output], _subtract, row_bytes=row_bytes
    )


BACKGROUND = Tool(
    name="background",
    summary="Subtract a polynomial or a rolling mean or median along a dimension",
    algorithm=(
        "Each row less its polynomial of least squares over the exact Values (orthonormal "
        "polynomials on them), or less its rolling mean or median over a window of points, the "
        "first and the last value standing beyond the ends. Computed in double precision; floats "
        "keep single or double precision, integers become float64. A row with a value that is not "
        "finite is NaN throughout."
    ),
    version="1",
    kind="positions",
    parameters=BackgroundParameters,
    prepare_job=_prepare,
)
