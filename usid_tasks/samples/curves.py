"""Samples of probe curves: force against distance, switching loops, resonances with a fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from usid_tasks.samples.fields import smooth_field
from usid_tasks.samples.layout import (
    Axis,
    Quantity,
    Sides,
    Table,
    grid,
    new_group,
    stamp,
    write_main,
    write_sides,
    write_table,
)

RESULTS = np.dtype(
    [
        ("amplitude [V]", "f4"),
        ("frequency [Hz]", "f4"),
        ("quality factor", "f4"),
        ("phase [rad]", "f4"),
    ]
)
"""What a fit of a simple harmonic oscillator (SHO) gives for each position."""


def _force(z: NDArray, *, is_retract: bool) -> NDArray:
    """Return the force in newtons on a tip at ``z`` metres above the contact point."""
    indentation = np.clip(-z, 0, None)
    contact = 4 / 3 * 2.2e6 * np.sqrt(25e-9) * indentation**1.5
    reach = 34e-9 if is_retract else 6e-9
    depth = 1.9e-9 if is_retract else 0.3e-9
    attraction = np.where(
        z < reach, -depth * np.exp(-((np.clip(z, 0, None) / (1.1 * reach)) ** 2)), 0
    )
    return np.asarray(contact + attraction)


def write_force_curve(path: Path) -> None:
    """Write one force curve: the distance runs out and back, so it is no index."""
    rng = np.random.default_rng(20260120)
    turn = np.linspace(180e-9, -130e-9, 620)
    z = np.concatenate([turn, turn[::-1]])
    approach, retract = _force(turn, is_retract=False), _force(turn[::-1], is_retract=True)
    force = np.concatenate([approach, retract]) + 2.5e-11 * rng.standard_normal(z.size)
    force += 1.5e-11 * np.sin(z / 45e-9)
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "ForceCurve", "sample_name": "soft polymer"})
        measurement = new_group(
            file,
            "Measurement_000",
            {"spring_constant": 0.12, "spring_constant_units": "N/m", "trigger_force_N": 2e-9},
        )
        channel = new_group(measurement, "Channel_000")
        sides = write_sides(
            channel,
            grid([Axis.single("X", 4.1e-6, "m")]),
            grid([Axis("Z", "m", z)]),
            regions=True,
        )
        write_main(
            channel, "Raw_Data", force.astype("f4").reshape(1, -1), Quantity("Force", "N"), sides
        )


def write_switching_loops(path: Path) -> None:
    """Write switching spectroscopy whose bias amplitude grows from cycle to cycle.

    The Values of Bias depend on Cycle: the dimension keeps its index.
    """
    rng = np.random.default_rng(20260121)
    shape, n_steps = (12, 16), 64
    triangle = np.interp(np.arange(n_steps), [0, 16, 48, 64], [0, 1, -1, 0])
    limits = np.array([3.0, 5.0, 7.0, 9.0])
    bias = limits[:, None] * triangle
    coercive = 3.4 + 0.5 * smooth_field(rng, shape, 4.0)
    imprint = 0.45 + 0.25 * smooth_field(rng, shape, 5.0)
    response = 38e-12 * (1 + 0.1 * smooth_field(rng, shape, 3.0))
    state = np.full((*shape, 400), -1.0)
    spread = np.linspace(-2.4, 2.4, state.shape[-1])
    loops = np.empty((*shape, *bias.shape))
    for cycle, steps in enumerate(bias):
        for number, volts in enumerate(steps):
            up = volts > imprint[..., None] + coercive[..., None] + spread
            down = volts < imprint[..., None] - coercive[..., None] - spread[::-1]
            state[up], state[down] = 1.0, -1.0
            loops[..., cycle, number] = state.mean(axis=-1) * response - 0.5e-12 * volts
    loops += 0.9e-12 * rng.standard_normal(loops.shape)
    cycle_index, step_index = np.indices(bias.shape).reshape(2, -1)
    spectroscopic = Table(
        ("Bias", "Cycle"),
        ("V", ""),
        np.stack([step_index, cycle_index], axis=1).astype("u4"),
        np.stack([bias.ravel(), cycle_index + 1.0], axis=1).astype("f4"),
    )
    axes = [
        Axis("Y", "m", np.linspace(0, 0.55e-6, shape[0])),
        Axis("X", "m", np.linspace(0, 0.75e-6, shape[1])),
    ]
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "SwitchingSpectroscopy", "sample_name": "ferroelectric film"})
        measurement = new_group(file, "Measurement_000", {"VS_mode": "DC modulation mode"})
        channel = new_group(measurement, "Channel_000")
        sides = write_sides(channel, grid(axes, fastest_first=False), spectroscopic)
        cells = loops.reshape(shape[0] * shape[1], -1).astype("f4")
        write_main(channel, "Raw_Data", cells, Quantity("Piezoresponse", "m"), sides)


def _oscillator(frequency: NDArray, fit: NDArray) -> NDArray:
    """Return the complex response of an SHO, ``(n_positions, n_frequencies)``, in volts."""
    amplitude, resonance, quality, phase = (fit[name][:, None] for name in RESULTS.names or ())
    top = amplitude * np.exp(1j * phase) * resonance**2 / quality
    return np.asarray(top / (resonance**2 - frequency**2 + 1j * resonance * frequency / quality))


def write_band_excitation(path: Path) -> None:
    """Write resonance spectra as complex numbers, and the results group of their fit."""
    rng = np.random.default_rng(20260122)
    shape = (24, 32)
    frequency = np.linspace(310e3, 370e3, 60)
    fit = np.zeros(shape, dtype=RESULTS)
    stiff = smooth_field(rng, shape, 5.0)
    sign = np.tanh(6 * smooth_field(rng, shape, 12.0, ring=0.4))
    fit["amplitude [V]"] = 1.8e-3 * (0.25 + np.abs(sign))
    fit["frequency [Hz]"] = 340e3 + 4.5e3 * stiff
    fit["quality factor"] = 62 + 8 * smooth_field(rng, shape, 4.0)
    fit["phase [rad]"] = 1.35 * sign
    response = _oscillator(frequency, fit.ravel())
    noise = rng.standard_normal((2, *response.shape)) * 6e-5
    axes = [
        Axis("Y", "m", np.linspace(0, 1.15e-6, shape[0])),
        Axis("X", "m", np.linspace(0, 1.55e-6, shape[1])),
    ]
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "BELineData", "sample_name": "ferroelectric film"})
        measurement = new_group(file, "Measurement_000", {"BE_center_frequency_Hz": 340e3})
        channel = new_group(measurement, "Channel_000")
        sides = write_sides(
            channel, grid(axes, fastest_first=False), grid([Axis("Frequency", "Hz", frequency)])
        )
        cells = (response + noise[0] + 1j * noise[1]).astype("c8")
        raw = write_main(channel, "Raw_Data", cells, Quantity("Cantilever response", "V"), sides)
        results = new_group(
            channel,
            "Raw_Data-SHO_Fit_000",
            {
                "tool": "SHO_Fit",
                "algorithm": "SHO_Fit",
                "num_source_dsets": np.int64(1),
                "source_000": raw.ref,
                "last_pixel": np.int64(fit.size),
                "solver": "least squares",
                "r_squared_least": 0.97,
            },
        )
        write_main(
            results, "Fit", fit.reshape(-1, 1), Quantity("SHO parameters", "compound"),
            _with_results_side(results, sides),
        )  # fmt: skip
        done = results.create_dataset("completed_positions", data=np.ones(fit.size, "u1"))
        done.attrs["source_000"] = raw.ref


def _with_results_side(results: h5py.Group, sides: Sides) -> Sides:
    """Return the positions of the source with a spectroscopic side of one step of its own."""
    indices, values = write_table(results, "Spectroscopic", grid([Axis.single("SHO_Fit")]))
    return replace(sides, spectroscopic_indices=indices, spectroscopic_values=values)
