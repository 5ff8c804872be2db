"""Samples with a spectrum at every position: infrared, luminescence, impedance."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from usid_tasks.samples.fields import bands, gaussian, lorentzian, smooth_field, step
from usid_tasks.samples.layout import (
    Axis,
    Quantity,
    Table,
    grid,
    new_group,
    stamp,
    take,
    write_main,
    write_sides,
)

_ACRYLATE = (
    (1732, 22, 1.00), (1451, 24, 0.34), (1387, 22, 0.14), (1271, 26, 0.34), (1242, 24, 0.42),
    (1193, 24, 0.62), (1149, 26, 0.86), (988, 24, 0.22), (842, 20, 0.12),
)  # fmt: skip
_STYRENE = (
    (1601, 10, 0.34), (1583, 9, 0.10), (1493, 9, 0.74), (1452, 12, 0.86), (1372, 16, 0.12),
    (1181, 12, 0.08), (1069, 12, 0.12), (1028, 10, 0.22), (907, 14, 0.16), (842, 14, 0.10),
)  # fmt: skip
_AMIDE = (
    (1642, 30, 1.00), (1544, 34, 0.72), (1464, 24, 0.18), (1417, 18, 0.10), (1371, 18, 0.12),
    (1274, 26, 0.22), (1201, 20, 0.14), (1119, 18, 0.06), (936, 18, 0.06),
)  # fmt: skip
"""Centre (1/cm), full width (1/cm) and height (absorbance) of the bands of three polymers."""


def _droplets(rng: np.random.Generator, y: NDArray, x: NDArray) -> NDArray:
    """Return how much of each pixel lies in droplets, 0 to 1; large ones hold inclusions."""
    placed: list[tuple[float, float, float]] = []
    share = np.zeros(np.broadcast_shapes(y.shape, x.shape))
    for radius in (3.1, 2.6, 2.3, 2.0, 1.8, 1.6, 1.5, 1.3, 1.2, 1.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.6):
        for _ in range(200):
            center = rng.uniform(0.0, y.max()), rng.uniform(0.0, x.max())
            if all(
                np.hypot(center[0] - b, center[1] - a) > radius + r + 0.35 for b, a, r in placed
            ):
                placed.append((*center, radius))
                break
        else:
            continue
        bend = np.arctan2(y - center[0], x - center[1])
        edge = radius * (1 + 0.05 * np.cos(2 * bend + radius) + 0.03 * np.cos(3 * bend - radius))
        share += step(edge - np.hypot(y - center[0], x - center[1]), 0.16)
        if radius > 1.9:
            for turn in rng.uniform(0, 2 * np.pi) + np.array([0.0, 2.2, 4.1]):
                inner = np.hypot(
                    y - center[0] - 0.5 * radius * np.sin(turn),
                    x - center[1] - 0.5 * radius * np.cos(turn),
                )
                share -= 0.9 * step(radius * 0.2 - inner, 0.14)
    return np.clip(share, 0, 1)


def _blend(
    rng: np.random.Generator, shape: tuple[int, int], step_um: float
) -> tuple[NDArray, NDArray, NDArray]:
    """Return the shares of matrix, droplets and fibre, ``(n_y, n_x)`` each."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] * step_um
    middle = 0.30 * y.max() + 0.42 * x - 0.0075 * x**2 + 0.9 * np.sin(x / 3.2)
    across = np.abs(y - middle) / np.hypot(1, 0.42 - 0.015 * x + 0.28 * np.cos(x / 3.2))
    fibre = step(0.75 - across, 0.16)
    droplets = _droplets(rng, y, x) * (1 - fibre)
    return (1 - droplets) * (1 - fibre), droplets, fibre


def snake_rows(shape: tuple[int, int]) -> NDArray[np.intp]:
    """Return the rows of a full table in the order of a raster that turns at every line end."""
    rows = np.arange(shape[0] * shape[1]).reshape(shape)
    rows[1::2] = rows[1::2, ::-1]
    return np.asarray(rows.ravel())


def write_polymer_blend(path: Path) -> None:
    """Write an infrared map of a polymer blend, acquired as a snake raster.

    Droplets of a styrene polymer and a polyamide fibre in an acrylate matrix; compressed.
    """
    rng = np.random.default_rng(20260117)
    shape, step_um = (72, 96), 0.25
    wavenumber = np.arange(800.0, 1801.0, 5.0)
    shares = _blend(rng, shape, step_um)
    thickness = 0.72 * (1 + 0.07 * smooth_field(rng, shape, 14.0))
    pure = [bands(wavenumber, peaks) for peaks in (_ACRYLATE, _STYRENE, _AMIDE)]
    film = sum(share[..., None] * spectrum for share, spectrum in zip(shares, pure, strict=True))
    baseline = 0.03 + 0.02 * (wavenumber / 1800.0) ** 2
    cube = thickness[..., None] * film + baseline
    cube = cube + 0.004 * rng.standard_normal(cube.shape)
    cells = (
        np.round(cube * 2**13).reshape(shape[0] * shape[1], -1) / 2**13
    )  # as a converter of 14 bits
    rows = snake_rows(shape)
    axes = [
        Axis("Y", "um", np.arange(shape[0]) * step_um),
        Axis("X", "um", np.arange(shape[1]) * step_um),
    ]
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "IRMap", "sample_name": "polymer blend"})
        measurement = new_group(
            file,
            "Measurement_000",
            {"scan_mode": "snake", "laser_power_percent": 12.0, "co_averages": np.uint32(4)},
        )
        channel = new_group(measurement, "Channel_000")
        sides = write_sides(
            channel, take(grid(axes), rows), grid([Axis("Wavenumber", "1/cm", wavenumber)])
        )
        write_main(
            channel, "Raw_Data", cells[rows].astype("f4"), Quantity("Absorbance", "a.u."), sides,
            chunks=(shape[1], wavenumber.size), compression="gzip", shuffle=True,
        )  # fmt: skip


def write_luminescence_points(path: Path) -> None:
    """Write photoluminescence spectra at scattered points of a monolayer (sparse sampling)."""
    rng = np.random.default_rng(20260118)
    energy = np.linspace(1.70, 2.10, 81)
    points = rng.uniform((0.0, 0.0), (12.0, 16.0), size=(420, 2))
    y, x = points.T
    strain = gaussian(np.hypot(y - 6.5, x - 5.5), 0.0, 6.0) - 0.7 * gaussian(
        np.hypot(y - 3.5, x - 12.5), 0.0, 4.5
    )
    inside = step(6.6 - np.hypot(1.15 * (y - 6.0), 0.85 * (x - 8.0)), 0.5)
    peak = 1.885 - 0.045 * strain
    brightness = 900 * inside * np.clip(0.55 + 0.45 * strain, 0, None)
    counts = brightness[:, None] * (
        lorentzian(energy, peak[:, None], 0.052)
        + 0.16 * lorentzian(energy, peak[:, None] + 0.145, 0.085)
    )
    cells = rng.poisson(counts + 14.0).astype("u2")
    order = np.arange(len(points), dtype="u4")
    table = Table(
        ("X", "Y"), ("um", "um"), np.stack([order, order], axis=1), points[:, ::-1].astype("f4")
    )
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "PLMap", "sample_name": "monolayer"})
        measurement = new_group(file, "Measurement_000", {"sampling": "sparse", "dwell_s": 0.25})
        channel = new_group(measurement, "Channel_000")
        sides = write_sides(channel, table, grid([Axis("Photon energy", "eV", energy)]))
        for dataset in (sides.position_indices, sides.position_values):
            dataset.attrs["incomplete_dimensions"] = np.array(["X", "Y"], h5py.string_dtype())
        write_main(channel, "Raw_Data", cells, Quantity("Photon count", "counts"), sides)


def write_impedance_sweep(path: Path) -> None:
    """Write impedance spectra by temperature; frequencies fall from 1 MHz to 1 Hz."""
    rng = np.random.default_rng(20260119)
    frequency = np.logspace(6, 0, 61)
    temperature = np.arange(300.0, 421.0, 20.0)
    omega = 2 * np.pi * frequency
    rows = []
    for kelvin in temperature:
        grain = 1.1e3 * np.exp(0.32 / 8.617e-5 * (1 / kelvin - 1 / 360))
        boundary = 9e3 * np.exp(0.52 / 8.617e-5 * (1 / kelvin - 1 / 360))
        rows.append(
            25
            + grain / (1 + (1j * omega * grain * 2e-10) ** 0.98)
            + boundary / (1 + (1j * omega * boundary * 1.5e-8) ** 0.88)
        )
    impedance = np.array(rows) * (1 + 0.006 * rng.standard_normal((len(rows), frequency.size)))
    channels = [
        ("Impedance modulus", "Ohm", np.abs(impedance)),
        ("Impedance phase", "deg", np.degrees(np.angle(impedance))),
    ]
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "ImpedanceSpectroscopy", "sample_name": "ion conductor"})
        measurement = new_group(file, "Measurement_000", {"excitation_V": 0.05})
        sides = write_sides(
            measurement,
            grid([Axis("Temperature", "K", temperature)]),
            grid([Axis("Frequency", "Hz", frequency)], dtype="f8"),
        )
        for number, (quantity, units, cells) in enumerate(channels):
            channel = new_group(measurement, f"Channel_{number:03d}")
            write_main(channel, "Raw_Data", cells, Quantity(quantity, units), sides)
