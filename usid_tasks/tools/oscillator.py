"""Simple harmonic oscillators fitted to many complex spectra at once.

The response at the angular or ordinary frequency ``w`` is ``A exp(i p) w0^2 / (w^2 - i w w0 / Q
- w0^2)``, the form of pycroscopy and BGlib. With ``W = w0^2``, ``g = w0 / Q`` and one complex
factor ``c = A exp(i p) W`` it is ``c h``, ``h = 1 / (w^2 - W - i g w)``. The best ``c`` for given
``W`` and ``g`` is a quotient of two sums, so that only ``W`` and ``ln g`` are sought: by
Levenberg-Marquardt steps whose 2 x 2 equations come from the derivatives ``c h^2`` and
``i c w h^2`` with ``c`` eliminated. All sums run along a spectrum, none across: a spectrum gives
the same bits whatever else is fitted with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

CELLS = 2**14
"""Values that are worked on at once: what stays in the cache of a processor."""

_MOST_DAMPED = 1e8
_ROUNDING = 1e-14
_LEAST_WIDTH = 0.05
_GRID_PLACES = 24
_GRID_WIDTHS = (1 / 3, 1 / 10, 1 / 30)


class Status(IntEnum):
    """How the fit of one spectrum ended."""

    CONVERGED = 0
    ITERATIONS = 1
    LIMIT = 2
    NOTHING = 3


@dataclass(frozen=True)
class Fits:
    """The oscillator of each spectrum: arrays of ``(n,)``, float64, but for ``status``.

    ``amplitude`` is in units of the spectra, ``frequency`` in units of the frequencies, ``phase``
    in rad within (-pi, pi]; ``r2`` is 1 less the part of the variance that is left; ``status``,
    uint8, is a :class:`Status`. Where there is nothing to fit, all are NaN.
    """

    amplitude: NDArray[np.float64]
    frequency: NDArray[np.float64]
    quality: NDArray[np.float64]
    phase: NDArray[np.float64]
    r2: NDArray[np.float64]
    status: NDArray[np.uint8]


def response(
    frequencies: NDArray, amplitude: NDArray, frequency: NDArray, quality: NDArray, phase: NDArray
) -> NDArray[np.complex128]:
    """Return the spectra of oscillators, ``(n, n_frequencies)``, from parameters of ``(n,)``."""
    w = frequencies[np.newaxis, :]
    w0, factor = frequency[:, np.newaxis], amplitude * np.exp(1j * phase)
    return np.asarray(
        factor[:, np.newaxis] * w0**2 / (w**2 - 1j * w * w0 / quality[:, np.newaxis] - w0**2)
    )


@dataclass(frozen=True)
class _Band:
    """Frequencies ``x``, in units of the middle of the band, and what the parameters may be."""

    x: NDArray[np.float64]
    lowest: float
    highest: float
    narrowest: float
    widest: float

    @classmethod
    def of(cls, frequencies: NDArray) -> _Band:
        x = frequencies.astype(np.float64) / middle_of(frequencies)
        first, last = float(x.min()), float(x.max())
        half = (last - first) / 2
        step = (last - first) / (x.size - 1)
        lowest = max(first - half, first / 10) ** 2
        return cls(x, lowest, (last + half) ** 2, _LEAST_WIDTH * step, 2 * last)


def middle_of(frequencies: NDArray) -> float:
    """Return the middle of a band, in its units."""
    return (float(frequencies.min()) + float(frequencies.max())) / 2


@dataclass(frozen=True)
class _Spectra:
    """Spectra as two arrays of float64, ``(n, n_frequencies)``, and their sums of squares."""

    real: NDArray[np.float64]
    imag: NDArray[np.float64]
    power: NDArray[np.float64]

    def of(self, chosen: NDArray) -> _Spectra:
        return _Spectra(self.real[chosen], self.imag[chosen], self.power[chosen])


def _dot(left: NDArray, right: NDArray) -> NDArray:
    """Return the sum along each row of a product; ``right`` is of the same shape or one row."""
    return np.asarray(np.einsum("ij,ij->i" if right.ndim == 2 else "ij,j->i", left, right))


def _shape(band: _Band, stiffness: NDArray, width: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return q = |h|^2 and the real and negative imaginary part of the conjugate of h."""
    x = band.x
    a = x * x - stiffness[:, np.newaxis]
    b = width[:, np.newaxis] * x
    q = a * a
    q += b * b
    np.divide(1.0, q, out=q)
    a *= q
    b *= q
    return q, a, b


def _cost(spectra: _Spectra, band: _Band, stiffness: NDArray, width: NDArray) -> NDArray:
    """Return the sum of squares that is left with the best factor, ``(n,)``."""
    q, a, b = _shape(band, stiffness, width)
    real = _dot(a, spectra.real) + _dot(b, spectra.imag)
    imag = _dot(a, spectra.imag) - _dot(b, spectra.real)
    return np.asarray(spectra.power - (real * real + imag * imag) / q.sum(axis=1))


@dataclass(frozen=True)
class _Point:
    """What there is to know at ``stiffness`` and ``width``: the factor, the cost, the equations.

    ``equations`` are rows of the symmetric 2 x 2 matrix and the gradient, in ``W`` and ``ln g``:
    ``(5, n)`` for WW, WL, LL, W, L, all divided by the squared factor.
    """

    stiffness: NDArray
    width: NDArray
    factor: NDArray
    cost: NDArray
    equations: NDArray

    def of(self, chosen: NDArray) -> _Point:
        return _Point(
            self.stiffness[chosen], self.width[chosen], self.factor[chosen], self.cost[chosen],
            self.equations[:, chosen],
        )  # fmt: skip

    def or_else(self, other: _Point, taken: NDArray) -> _Point:
        """Return this point where it is taken, the other one elsewhere."""
        return _Point(
            np.where(taken, self.stiffness, other.stiffness),
            np.where(taken, self.width, other.width),
            np.where(taken, self.factor, other.factor),
            np.where(taken, self.cost, other.cost),
            np.where(taken, self.equations, other.equations),
        )


def _evaluate(spectra: _Spectra, band: _Band, stiffness: NDArray, width: NDArray) -> _Point:
    x = band.x
    q, a, b = _shape(band, stiffness, width)
    s0 = q.sum(axis=1)
    # conj(h) y, then conj(h)^2 y
    real, imag = a * spectra.real, a * spectra.imag
    real += b * spectra.imag
    imag -= b * spectra.real
    total = real.sum(axis=1) + 1j * imag.sum(axis=1)
    squared_real, squared_imag = a * real, a * imag
    squared_real += b * imag
    squared_imag -= b * real
    second = squared_real.sum(axis=1) + 1j * squared_imag.sum(axis=1)
    third = _dot(squared_imag, x)  # its real part belongs to no derivative
    third_real = _dot(squared_real, x)
    p1_real, p1_imag = _dot(a, q), _dot(b, q)  # sum of |h|^2 h
    a *= x
    p2_real, p2_imag = _dot(a, q), _dot(b, q * x)
    q *= q
    factor = total / s0
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.where(factor == 0, 0, 1 / np.where(factor == 0, 1, factor))
    gradient_w = p1_real - (second * along).real
    gradient_g = -p2_imag - ((third_real + 1j * third) * along).imag
    matrix_ww = q.sum(axis=1) - (p1_real**2 + p1_imag**2) / s0
    matrix_gg = _dot(q, x * x) - (p2_real**2 + p2_imag**2) / s0
    matrix_wg = (p1_real * p2_imag - p1_imag * p2_real) / s0
    equations = np.stack(
        [matrix_ww, width * matrix_wg, width**2 * matrix_gg, gradient_w, width * gradient_g]
    )
    cost = spectra.power - (total.real**2 + total.imag**2) / s0
    return _Point(stiffness, width, factor, cost, equations)


def _step(equations: NDArray, damping: NDArray | float) -> tuple[NDArray, NDArray]:
    """Return the steps in W and in ln g, ``(n,)`` each."""
    ww, wl, ll, w, logarithm = equations
    ww, ll = ww * (1 + damping), ll * (1 + damping)
    determinant = ww * ll - wl * wl
    usable = determinant > 0
    safe = np.where(usable, determinant, 1.0)
    step_w = np.where(usable, (wl * logarithm - ll * w) / safe, 0.0)
    step_l = np.where(usable, (wl * w - ww * logarithm) / safe, 0.0)
    return step_w, step_l


def _from_equations(spectra: _Spectra, band: _Band) -> tuple[NDArray, NDArray]:
    """Return W and g by linear equations: ``y (x^2 - W - i g x) = c``, weighted by ``|y|^2``."""
    x, u = band.x, band.x**2 - 1.0
    p = spectra.real**2
    p += spectra.imag**2
    d = p.sum(axis=1)
    weighted_real, weighted_imag = p * spectra.real, p * spectra.imag
    m0_real, m0_imag = weighted_real.sum(axis=1), weighted_imag.sum(axis=1)
    m1_real, m1_imag = _dot(weighted_real, x), _dot(weighted_imag, x)
    m2_real, m2_imag = _dot(weighted_real, u), _dot(weighted_imag, u)
    p *= p
    a11 = p.sum(axis=1) - (m0_real**2 + m0_imag**2) / d
    a22 = _dot(p, x * x) - (m1_real**2 + m1_imag**2) / d
    a12 = (m0_real * m1_imag - m0_imag * m1_real) / d
    r1 = _dot(p, u) - (m0_real * m2_real + m0_imag * m2_imag) / d
    r2 = -(m1_real * m2_imag - m1_imag * m2_real) / d
    determinant = a11 * a22 - a12 * a12
    safe = np.where(determinant > 0, determinant, 1.0)
    return 1.0 + (r1 * a22 - r2 * a12) / safe, (r2 * a11 - r1 * a12) / safe


def _guess(spectra: _Spectra, band: _Band) -> tuple[NDArray, NDArray]:
    """Return W and g to start from: of the linear equations or of the peak, whichever is best."""
    x = band.x
    p = spectra.real**2
    p += spectra.imag**2
    at = p.argmax(axis=1)
    height = p.max(axis=1)
    peak = x[at] ** 2
    area = _dot(p, np.abs(np.gradient(x)))
    width = np.clip(2 / np.pi * area / height, band.narrowest, band.widest)
    linear_w, linear_g = _from_equations(spectra, band)
    is_sound = (linear_g > band.narrowest) & (linear_w > band.lowest) & (linear_w < band.highest)
    best_w = np.where(is_sound, linear_w, peak)
    best_g = np.where(is_sound, np.clip(linear_g, band.narrowest, band.widest), width)
    best = _cost(spectra, band, best_w, best_g)
    for tried in (width, width / 4):
        narrow = np.maximum(tried, band.narrowest)
        cost = _cost(spectra, band, peak, narrow)
        better = cost < best
        best_w, best_g = np.where(better, peak, best_w), np.where(better, narrow, best_g)
        best = np.where(better, cost, best)
    return best_w, best_g


def _best_of_grid(spectra: _Spectra, band: _Band) -> tuple[NDArray, NDArray]:
    """Return W and g of the best of some places and widths: slow, and hard to mislead."""
    first, last = float(band.x.min()), float(band.x.max())
    best_w = best_g = np.zeros(len(spectra.power))
    best = np.full(len(spectra.power), np.inf)
    for part in _GRID_WIDTHS:
        width = np.full(len(best), max(part * (last - first), band.narrowest))
        for place in np.linspace(first, last, _GRID_PLACES):
            stiffness = np.full(len(best), place**2)
            cost = _cost(spectra, band, stiffness, width)
            better = cost < best
            best_w, best_g = np.where(better, stiffness, best_w), np.where(better, width, best_g)
            best = np.where(better, cost, best)
    return best_w, best_g


def _fit_shapes(
    spectra: _Spectra, band: _Band, iterations: int, tolerance: float
) -> tuple[NDArray, NDArray, NDArray[np.uint8]]:
    """Return W, g and status; what did not converge is tried again from the grid."""
    start = _guess(spectra, band)
    stiffness, width, status = _search(spectra, band, start, iterations, tolerance)
    again = np.flatnonzero(status != Status.CONVERGED)
    if again.size:
        few = spectra.of(again)
        start = _best_of_grid(few, band)
        second = _search(few, band, start, iterations, tolerance)
        first_cost = _cost(few, band, stiffness[again], width[again])
        is_better = _cost(few, band, second[0], second[1]) < first_cost
        taken = again[is_better]
        stiffness[taken], width[taken] = second[0][is_better], second[1][is_better]
        status[taken] = second[2][is_better]
    return stiffness, width, status


def _search(
    spectra: _Spectra,
    band: _Band,
    start: tuple[NDArray, NDArray],
    iterations: int,
    tolerance: float,
) -> tuple[NDArray, NDArray, NDArray[np.uint8]]:
    """Return W, g and status of each spectrum."""
    count = len(spectra.power)
    stiffness, width = start[0].copy(), start[1].copy()
    status = np.full(count, Status.ITERATIONS, np.uint8)
    active = np.arange(count)
    here = _evaluate(spectra, band, stiffness, width)
    damping = np.full(count, 1e-3)
    for _ in range(iterations):
        free_w, free_l = _step(here.equations, 0.0)
        is_done = (np.abs(free_w) <= tolerance * here.width) & (np.abs(free_l) <= tolerance)
        is_done |= damping > _MOST_DAMPED
        if is_done.any():
            ended = active[is_done]
            ended_w = here.stiffness[is_done] + free_w[is_done]
            ended_g = here.width[is_done] * np.exp(free_l[is_done])
            settled = damping[is_done] <= _MOST_DAMPED
            stiffness[ended] = np.where(settled, ended_w, here.stiffness[is_done])
            width[ended] = np.where(settled, ended_g, here.width[is_done])
            status[ended] = Status.CONVERGED
            going = ~is_done
            active, damping = active[going], damping[going]
            here, spectra = here.of(going), spectra.of(going)
            if not active.size:
                break
        step_w, step_l = _step(here.equations, damping)
        tried_w = np.clip(here.stiffness + step_w, band.lowest, band.highest)
        tried_g = here.width * np.exp(np.clip(step_l, -1.0, 1.0))
        tried_g = np.clip(tried_g, band.narrowest, band.widest)
        there = _evaluate(spectra, band, tried_w, tried_g)
        is_better = there.cost <= here.cost + _ROUNDING * spectra.power
        damping = np.where(is_better, damping / 10, damping * 10)
        here = there.or_else(here, is_better)
    stiffness[active], width[active] = here.stiffness, here.width
    edges = (stiffness <= band.lowest) | (stiffness >= band.highest)
    edges |= (width <= band.narrowest) | (width >= band.widest)
    status[edges] = Status.LIMIT
    return stiffness, width, status


def _fit_some(values: NDArray, band: _Band, iterations: int, tolerance: float) -> NDArray:
    """Return amplitude, frequency, quality, phase, r2 and status, ``(6, n)``, of sound spectra."""
    scale = np.maximum(np.abs(values.real).max(axis=1), np.abs(values.imag).max(axis=1))
    real = np.ascontiguousarray(values.real / scale[:, np.newaxis])
    imag = np.ascontiguousarray(values.imag / scale[:, np.newaxis])
    spectra = _Spectra(real, imag, _dot(real, real) + _dot(imag, imag))
    stiffness, width, status = _fit_shapes(spectra, band, iterations, tolerance)
    q, a, b = _shape(band, stiffness, width)
    factor_real = (_dot(a, real) + _dot(b, imag)) / q.sum(axis=1)
    factor_imag = (_dot(a, imag) - _dot(b, real)) / q.sum(axis=1)
    left_real = real - factor_real[:, np.newaxis] * a + factor_imag[:, np.newaxis] * b
    left_imag = imag - factor_imag[:, np.newaxis] * a - factor_real[:, np.newaxis] * b
    left = _dot(left_real, left_real) + _dot(left_imag, left_imag)
    count = band.x.size
    real -= (real.sum(axis=1) / count)[:, np.newaxis]
    imag -= (imag.sum(axis=1) / count)[:, np.newaxis]
    r2 = 1 - left / (_dot(real, real) + _dot(imag, imag))
    root = np.sqrt(stiffness)
    amplitude = np.hypot(factor_real, factor_imag) / stiffness * scale
    return np.stack(
        [amplitude, root, root / width, np.arctan2(factor_imag, factor_real), r2, status]
    )


def fit_oscillators(
    spectra: NDArray, frequencies: NDArray, *, iterations: int = 60, tolerance: float = 1e-5
) -> Fits:
    """Return the oscillator of least squared complex deviation for each spectrum.

    Parameters
    ----------
    spectra
        ``(n, n_frequencies)``, complex.
    frequencies
        ``(n_frequencies,)``, at least 4, positive and not all the same, in any order.
    iterations
        The most steps for one spectrum.
    tolerance
        A spectrum is done when the next step is below this part of the width in frequency, and of
        the width itself.
    """
    band, middle = _Band.of(frequencies), middle_of(frequencies)
    made = np.full((6, len(spectra)), np.nan)
    made[5] = Status.NOTHING
    is_sound = np.isfinite(spectra).all(axis=1) & (spectra != spectra[:, :1]).any(axis=1)
    chosen = np.flatnonzero(is_sound)
    rows = max(1, CELLS // frequencies.size)
    for start in range(0, chosen.size, rows):
        part = chosen[start : start + rows]
        values = spectra[part].astype(np.complex128, copy=False)
        made[:, part] = _fit_some(values, band, iterations, tolerance)
    return Fits(made[0], made[1] * middle, made[2], made[3], made[4], made[5].astype(np.uint8))
