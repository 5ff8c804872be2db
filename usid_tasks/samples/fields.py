"""Random fields and line shapes that the samples are made of; all reproducible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, int], scale: float, *, ring: float = 0.0
) -> NDArray:
    """Return a random field of zero mean and unit deviation.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        ``(n_y, n_x)`` in pixels.
    scale
        Correlation length in pixels.
    ring
        0 for blobs of all sizes above `scale`; otherwise the relative width of the band
        around that one period (stripes and labyrinths, such as ferroelectric domains).
    """
    spectrum = np.fft.fft2(rng.standard_normal(shape))
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :]
    radius = np.hypot(ky, kx) * scale
    if ring:
        spectrum *= np.exp(-(((radius - 1) / ring) ** 2))
    else:
        spectrum *= np.exp(-0.5 * (2 * np.pi * radius) ** 2 / 2)
    field = np.fft.ifft2(spectrum).real
    field -= field.mean()
    return np.asarray(field / field.std())


def gaussian(x: NDArray, center: float | NDArray, width: float) -> NDArray:
    """Return a Gaussian of unit height; ``width`` is its full width at half maximum."""
    return np.asarray(np.exp(-4 * np.log(2) * ((x - center) / width) ** 2))


def lorentzian(x: NDArray, center: float | NDArray, width: float) -> NDArray:
    """Return a Lorentzian of unit height; ``width`` is its full width at half maximum."""
    return np.asarray(1 / (1 + (2 * (x - center) / width) ** 2))


def bands(x: NDArray, peaks: tuple[tuple[float, float, float], ...]) -> NDArray:
    """Return a sum of Lorentzian bands: centre, full width and height of each."""
    return np.asarray(sum(height * lorentzian(x, center, width) for center, width, height in peaks))


def step(x: NDArray, width: float) -> NDArray:
    """Return a smooth step from 0 to 1 at zero."""
    return np.asarray(0.5 * (1 + np.tanh(x / width)))
