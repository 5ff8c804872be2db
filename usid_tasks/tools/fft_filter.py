"""``fft_filter``: low, high and band pass and a noise threshold along a uniform dimension."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import fft

from usid_tasks.errors import RefusedError
from usid_tasks.tools.declaration import Context, Job, Parameters, Tool, by_position
from usid_tasks.tools.dims import MainHeader
from usid_tasks.tools.refusals import float_like, step_of, wide_bytes

_ROUNDING = 1e-6
"""How far a component may lie beyond a limit and still be on it, in steps of frequency."""


class FFTFilterParameters(Parameters):
    """Along which dimension, and which components stay."""

    dim: str = Field(
        title="Dimension",
        description="Spectroscopic dimension with uniform Values to filter along.",
        examples=["Time"],
    )
    lowest: float | None = Field(
        None,
        title="Lowest frequency",
        description="Components of lower frequency are removed (high pass); frequencies are in "
        "1 / units of the dimension.",
        ge=0,
        examples=[1e3],
    )
    highest: float | None = Field(
        None,
        title="Highest frequency",
        description="Components of higher frequency are removed (low pass); with the lowest one a "
        "band pass.",
        ge=0,
        examples=[2e5],
    )
    noise_threshold: float | None = Field(
        None,
        title="Noise threshold",
        description="Components smaller than this multiple of the median component are removed; "
        "the constant one stays.",
        gt=0,
        examples=[5.0],
    )

    @model_validator(mode="after")
    def _filters_something(self) -> FFTFilterParameters:
        if self.lowest is None and self.highest is None and self.noise_threshold is None:
            raise ValueError("give lowest, highest or noise_threshold")
        if self.lowest is not None and self.highest is not None and self.lowest > self.highest:
            raise ValueError(f"lowest ({self.lowest:g}) is above highest ({self.highest:g})")
        return self


def frequencies_of(size: int, step: float, *, is_complex: bool) -> NDArray[np.float64]:
    """Return the magnitude of the frequency of each component, in 1 / units of ``step``."""
    found = np.fft.fftfreq(size, step) if is_complex else np.fft.rfftfreq(size, step)
    return np.asarray(np.abs(found))


def _filter(block: NDArray, context: Context[FFTFilterParameters]) -> NDArray:
    """Return ``(n, size)`` with the components that stay; rows that are not finite are NaN."""
    params = context.params
    is_complex = block.dtype.kind == "c"
    rows = block.astype(np.complex128 if is_complex else np.float64)
    is_sound = np.isfinite(rows).all(axis=1)
    size = rows.shape[1]
    step = step_of("fft_filter", context.core[0])
    found = frequencies_of(size, step, is_complex=is_complex)
    stays = np.ones(found.size, np.bool_)
    rounding = _ROUNDING / (size * step)
    if params.lowest is not None:
        stays &= found >= params.lowest - rounding
        stays &= (found > 0) | (params.lowest == 0)
    if params.highest is not None:
        stays &= found <= params.highest + rounding
    sound = rows[is_sound]
    if len(sound):
        parts = fft.fft(sound, axis=1) if is_complex else fft.rfft(sound, axis=1)
        if params.noise_threshold is not None:
            heights = np.abs(parts)
            floor = np.median(heights[:, 1:], axis=1, keepdims=True) * params.noise_threshold
            is_signal = heights >= floor
            is_signal[:, 0] = True
            parts[~is_signal] = 0
        parts[:, ~stays] = 0
        rows[is_sound] = fft.ifft(parts, axis=1) if is_complex else fft.irfft(parts, size, axis=1)
    rows[~is_sound] = np.nan
    return rows


def _prepare(header: MainHeader, params: FFTFilterParameters) -> Job:
    dim = header.spectroscopic_dim(params.dim)
    step = step_of("fft_filter", dim)
    is_complex = header.dtype.kind == "c"
    most = float(frequencies_of(dim.size, step, is_complex=is_complex).max())
    units = f"1/{dim.units}" if dim.units else "per unit"
    if params.lowest is not None and params.lowest > most:
        raise RefusedError(
            f"tool 'fft_filter', dimension {dim.name!r}",
            f"nothing is left from {params.lowest:g} {units} on: its highest frequency is {most:g}",
            "Lower the lowest frequency.",
        )
    output = header.output("Filtered", dtype=float_like(header.dtype))
    row_bytes = dim.size * (
        header.dtype.itemsize + output.dtype.itemsize + 4 * wide_bytes(header.dtype) + 4
    )
    return by_position(
        "fft_filter", header, params, [dim.name], [output], _filter, row_bytes=row_bytes
    )


FFT_FILTER = Tool(
    name="fft_filter",
    summary="Low, high or band pass and a noise threshold along a uniform dimension",
    algorithm=(
        "Discrete Fourier transform of each row in double precision; components outside of "
        "lowest to highest (magnitude of the frequency, both included) and components smaller "
        "than noise_threshold times the median component but the constant one are set to 0; "
        "transformed back. Nothing is padded: a row counts as periodic. Floats keep single or "
        "double precision, integers become float64. A row with a value that is not finite is NaN "
        "throughout."
    ),
    version="1",
    kind="positions",
    parameters=FFTFilterParameters,
    prepare_job=_prepare,
)
