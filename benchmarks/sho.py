"""``sho_fit`` against a loop of ``scipy.optimize.least_squares`` over positions, in one run.

Both fit the same spectra of known truth on two processes of one thread each, in turn. What is
timed are the fits alone: processes are there and have imported what they need.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from usid_tasks.tools.oscillator import Status, fit_oscillators, response

LEVELS = (0.001, 0.01, 0.05, 0.1, 0.2)
"""Standard deviation of the complex noise over the largest magnitude of each clean spectrum."""

N_PROCESSES = 2

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Fitter = Callable[[NDArray, NDArray], NDArray]


@dataclass(frozen=True)
class Truth:
    """Spectra, ``(n, n_frequencies)``, complex64, and what made them.

    ``parameters`` are amplitude (V), frequency (Hz), quality factor and phase (rad), ``(n, 4)``.
    """

    spectra: NDArray
    frequencies: NDArray
    parameters: NDArray


@dataclass(frozen=True)
class Errors:
    """Medians over spectra of deviations from the truth, and how many were flagged.

    ``amplitude`` and ``quality`` are relative, ``frequency`` is in widths of the resonance,
    ``phase`` in rad.
    """

    amplitude: float
    frequency: float
    quality: float
    phase: float
    flagged: int


@dataclass(frozen=True)
class Comparison:
    """One noise level: seconds for each spectrum on both processes, best of the turns; errors."""

    level: float
    ours_s: float
    loop_s: float
    loop_method: str
    ours: Errors
    loop: Errors

    @property
    def ratio(self) -> float:
        """How many times faster ``sho_fit`` is."""
        return self.loop_s / self.ours_s


def make_truth(count: int, level: float, *, n_frequencies: int = 96, seed: int = 0) -> Truth:
    """Return spectra of a band from 300 to 400 kHz, resonances of quality 30 to 300 within."""
    random = np.random.default_rng(seed)
    frequencies = np.linspace(300e3, 400e3, n_frequencies)
    parameters = np.stack(
        [
            random.uniform(0.2e-6, 3e-6, count),
            random.uniform(315e3, 385e3, count),
            np.exp(random.uniform(np.log(30), np.log(300), count)),
            random.uniform(-np.pi, np.pi, count),
        ],
        axis=1,
    )
    clean = response(frequencies, *parameters.T)
    scale = level / np.sqrt(2) * np.abs(clean).max(axis=1, keepdims=True)
    noise = random.standard_normal(clean.shape) + 1j * random.standard_normal(clean.shape)
    return Truth((clean + scale * noise).astype(np.complex64), frequencies, parameters)


def fit_at_once(spectra: NDArray, frequencies: NDArray) -> NDArray:
    """Return amplitude, frequency, quality, phase and status, ``(n, 5)``, by our fit."""
    found = fit_oscillators(spectra, frequencies)
    columns = (found.amplitude, found.frequency, found.quality, found.phase, found.status)
    return np.stack(columns, axis=1)


def _model(steps: NDArray, start: NDArray, scale: NDArray, w: NDArray) -> NDArray:
    amplitude, w0, quality, phase = start + steps * scale
    value = amplitude * np.exp(1j * phase) * w0**2 / (w**2 - 1j * w * w0 / quality - w0**2)
    return np.asarray(value)


def _fit_one(spectrum: NDArray, w: NDArray, method: str) -> NDArray:
    """Return one spectrum's parameters; parameters and values are scaled to the order of 1."""
    power = np.abs(spectrum) ** 2
    at = int(power.argmax())
    width = 2 / np.pi * float(np.trapezoid(power, w)) / power[at]
    quality = w[at] / width
    start = np.array([np.sqrt(power[at]) / quality, w[at], quality, np.angle(spectrum[at] / 1j)])
    scale = np.array([start[0], width, quality, 1.0])
    height = np.sqrt(power[at])

    def deviation(steps: NDArray) -> NDArray:
        left = (_model(steps, start, scale, w) - spectrum) / height
        return np.concatenate([left.real, left.imag])

    found = least_squares(deviation, np.zeros(4), method=method)
    return np.append(start + found.x * scale, 0 if found.success else 1)


def _loop(spectra: NDArray, frequencies: NDArray, method: str) -> NDArray:
    wide = spectra.astype(np.complex128)
    return np.stack([_fit_one(spectrum, frequencies, method) for spectrum in wide])


def loop_lm(spectra: NDArray, frequencies: NDArray) -> NDArray:
    """Return what :func:`fit_at_once` returns, by MINPACK's Levenberg-Marquardt in a loop."""
    return _loop(spectra, frequencies, "lm")


def loop_trf(spectra: NDArray, frequencies: NDArray) -> NDArray:
    """Return what :func:`fit_at_once` returns, by SciPy's default method in a loop."""
    return _loop(spectra, frequencies, "trf")


def errors_of(found: NDArray, truth: Truth) -> Errors:
    """Return how far fits are from the truth."""
    amplitude, frequency, quality, phase = truth.parameters.T
    width = frequency / quality
    turned = np.abs(np.angle(np.exp(1j * (found[:, 3] - phase))))
    return Errors(
        float(np.median(np.abs(found[:, 0] / amplitude - 1))),
        float(np.median(np.abs(found[:, 1] - frequency) / width)),
        float(np.median(np.abs(found[:, 2] / quality - 1))),
        float(np.median(turned)),
        int((found[:, 4] != Status.CONVERGED).sum()),
    )


def _timed(pool: ProcessPoolExecutor, fitter: Fitter, truth: Truth) -> tuple[float, NDArray]:
    parts = np.array_split(truth.spectra, N_PROCESSES)
    began = time.perf_counter()
    found = list(pool.map(fitter, parts, [truth.frequencies] * N_PROCESSES))
    return (time.perf_counter() - began) / len(truth.spectra), np.concatenate(found)


def compare(
    level: float, *, n_ours: int = 16384, n_loop: int = 256, turns: int = 3, seed: int = 0
) -> Comparison:
    """Return times and errors of one noise level; the faster of two loops stands for loops.

    Parameters
    ----------
    level
        Noise, see :data:`LEVELS`.
    n_ours, n_loop
        How many spectra each side fits; the errors of both are those of the first ``n_loop``.
    turns
        How often each side is timed, one after the other; the fastest counts.
    seed
        Of truth and noise.
    """
    truth = make_truth(n_ours, level, seed=seed)
    few = Truth(truth.spectra[:n_loop], truth.frequencies, truth.parameters[:n_loop])
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with ProcessPoolExecutor(
            N_PROCESSES, mp_context=multiprocessing.get_context("spawn")
        ) as pool:
            for fitter in (fit_at_once, loop_lm, loop_trf):  # imports are not timed
                _timed(pool, fitter, Truth(few.spectra[:8], few.frequencies, few.parameters[:8]))
            ours, lm, trf = [], [], []
            for _ in range(turns):
                ours.append(_timed(pool, fit_at_once, truth))
                lm.append(_timed(pool, loop_lm, few))
                trf.append(_timed(pool, loop_trf, few))
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    method, loop = min(
        (("lm", lm), ("trf", trf)), key=lambda side: min(seconds for seconds, _ in side[1])
    )
    return Comparison(
        level,
        min(seconds for seconds, _ in ours),
        min(seconds for seconds, _ in loop),
        method,
        errors_of(ours[0][1][:n_loop], few),
        errors_of(loop[0][1], few),
    )


def table(comparisons: list[Comparison]) -> list[list[str]]:
    """Return a header and a row of text for each noise level, errors as ours / the loop's."""

    def both(ours: float, loop: float) -> str:
        return f"{ours:.2g} / {loop:.2g}"

    rows = [
        [
            "noise", "sho_fit µs", "loop µs", "faster", "amplitude", "frequency, widths",
            "quality", "phase, rad", "flagged",
        ]
    ]  # fmt: skip
    for each in comparisons:
        a, b = each.ours, each.loop
        rows.append(
            [
                f"{each.level:g}", f"{each.ours_s * 1e6:.1f}",
                f"{each.loop_s * 1e6:.0f} ({each.loop_method})", f"{each.ratio:.0f}x",
                both(a.amplitude, b.amplitude), both(a.frequency, b.frequency),
                both(a.quality, b.quality), both(a.phase, b.phase), f"{a.flagged} / {b.flagged}",
            ]
        )  # fmt: skip
    return rows


def run(levels: tuple[float, ...] = LEVELS, **sizes: int) -> list[Comparison]:
    """Return the comparison of every noise level; see :func:`compare` for the sizes."""
    return [compare(level, **sizes) for level in levels]


def median_ratio(comparisons: list[Comparison]) -> float:
    """Return the middle of the ratios over noise levels."""
    return median(each.ratio for each in comparisons)
