"""``sho_fit``: the simple harmonic oscillator of each band-excitation spectrum."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from usid_tasks.errors import RefusedError
from usid_tasks.tools.declaration import Context, Job, Parameters, Tool, by_position
from usid_tasks.tools.dims import MainHeader, Output
from usid_tasks.tools.oscillator import CELLS, fit_oscillators
from usid_tasks.tools.refusals import coordinates_of, require_kinds

_HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
_LEAST_POINTS = 4


class SHOFitParameters(Parameters):
    """Which spectra are fitted, and how far."""

    dim: str = Field(
        "Frequency",
        title="Frequency dimension",
        description="Spectroscopic dimension along which the resonance lies; units Hz to GHz.",
        examples=["Frequency"],
    )
    iterations: int = Field(
        60,
        title="Iterations",
        description="Most steps for one spectrum; one that needs more is flagged.",
        ge=1,
        le=10000,
        examples=[60],
    )
    tolerance: float = Field(
        1e-5,
        title="Tolerance",
        description="A fit is done when its next step is below this part of the resonance's width.",
        gt=0,
        le=0.1,
        examples=[1e-5],
    )
    precision: Literal["float32", "float64"] = Field(
        "float32",
        title="Precision",
        description="Of the stored results; BGlib reads float32. Fits are always in float64.",
        examples=["float32"],
    )


def fields(header: MainHeader, precision: str) -> np.dtype:
    """Return the compound dtype of the results, by the names of pycroscopy and BGlib."""
    amplitude = f"Amplitude [{header.units}]" if header.units else "Amplitude"
    names = [amplitude, "Frequency [Hz]", "Quality Factor", "Phase [rad]", "R2 Criterion"]
    return np.dtype([(name, precision) for name in names])


def _outputs(header: MainHeader, params: SHOFitParameters) -> tuple[Output, Output]:
    without = [params.dim]
    return (
        header.output(
            "Fit", without=without, dtype=fields(header, params.precision),
            quantity="SHO Fit Parameters", units="compound",
        ),
        header.output(
            "Status", without=without, dtype=np.uint8, quantity="Fit status", units="",
        ),
    )  # fmt: skip


def _fit(block: NDArray, context: Context[SHOFitParameters]) -> tuple[NDArray, NDArray]:
    """Return parameters, ``(n,)`` compound, and status, ``(n,)`` uint8, of ``(n, frequencies)``."""
    params, (dim,) = context.params, context.core
    hertz = context.values(dim.name).astype(np.float64) * _HERTZ[dim.units.strip()]
    found = fit_oscillators(block, hertz, iterations=params.iterations, tolerance=params.tolerance)
    dtype = fields(context.header, params.precision)
    made = np.empty(len(block), dtype)
    columns = (found.amplitude, found.frequency, found.quality, found.phase, found.r2)
    for name, column in zip(dtype.names or (), columns, strict=True):
        made[name] = column
    return made, found.status


def _prepare(header: MainHeader, params: SHOFitParameters) -> Job:
    require_kinds("sho_fit", header, "c", "Fit complex spectra; the phase is part of the model.")
    dim = header.spectroscopic_dim(params.dim)
    where = f"tool 'sho_fit', dimension {dim.name!r}"
    values = coordinates_of("sho_fit", dim, _LEAST_POINTS)
    if dim.units.strip() not in _HERTZ:
        raise RefusedError(
            where, f"its units are {dim.units!r}", f"Frequencies need one of {', '.join(_HERTZ)}."
        )
    if values.min() <= 0 or values.min() == values.max():
        raise RefusedError(
            where, f"its Values run from {values.min():g} to {values.max():g} {dim.units}",
            "Frequencies are positive and differ.",
        )  # fmt: skip
    outputs = _outputs(header, params)
    row_bytes = dim.size * (header.dtype.itemsize + 3) + 9 * 8 + 2 * outputs[0].dtype.itemsize
    job = by_position("sho_fit", header, params, [dim.name], outputs, _fit, row_bytes=row_bytes)
    return Job(
        job.core, job.outputs, job.work, job.row_bytes, fixed_bytes=32 * 8 * max(CELLS, dim.size)
    )


SHO_FIT = Tool(
    name="sho_fit",
    summary="Fit a simple harmonic oscillator to each complex spectrum",
    algorithm=(
        "Least squares of the complex deviation from A exp(i p) w0^2 / (w^2 - i w w0 / Q - w0^2) "
        "by variable projection and Levenberg-Marquardt steps in w0^2 and ln(w0 / Q), in float64, "
        "started from weighted linear equations or from the peak, whichever leaves less; what does "
        "not converge is tried again from the best of 24 places and 3 widths. "
        "R2 Criterion is 1 less the squared deviation over the squared deviation from the mean. "
        "Status: 0 converged, 1 stopped after the most iterations, 2 ended at a limit (resonance "
        "half a band outside, width below a twentieth of a step or above twice the band's end), "
        "3 nothing to fit (a value is not finite, or all are the same; the parameters are NaN)."
    ),
    version="1",
    kind="positions",
    parameters=SHOFitParameters,
    prepare_job=_prepare,
)
