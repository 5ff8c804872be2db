"""Samples that are images: several channels of one scan, and a scan that was stopped."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from usid_tasks.samples.fields import gaussian, smooth_field
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

SINGLE_STEP = grid([Axis.single("Single_Step")])
"""The spectroscopic side of an image: one dimension of size one (USID, «Arbitrary»)."""


def image_axes(shape: tuple[int, int], size_m: tuple[float, float]) -> list[Axis]:
    """Return Y and X of an image in metres."""
    return [
        Axis(label, "m", np.linspace(0, size, count))
        for label, count, size in zip(("Y", "X"), shape, size_m, strict=True)
    ]


def _domains(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray:
    """Return the polarization, -1 or 1 with smooth walls, of a labyrinth of domains."""
    pattern = smooth_field(rng, shape, 30.0, ring=0.22) + 0.25
    return np.asarray(np.tanh(5.0 * pattern))


def _terraces(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray:
    """Return the height of a stepped film in metres: unit-cell terraces and some roughness."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / max(shape)
    slope = 4.2 * (0.85 * x + 0.35 * y) + 0.28 * smooth_field(rng, shape, 16.0)
    level = np.floor(slope)
    ramp = np.clip((slope - level - 0.9) / 0.1, 0, 1)
    height = 0.4e-9 * (level + ramp - slope.min())
    height += 35e-12 * smooth_field(rng, shape, 1.2)
    for _ in range(9):
        row, column = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        away = np.hypot(y * max(shape) - row, x * max(shape) - column)
        height += 1.1e-9 * gaussian(away, 0.0, rng.uniform(3.0, 6.0))
    return np.asarray(height)


def write_pfm_domains(path: Path) -> None:
    """Write three channels of a piezoresponse scan of a ferroelectric film.

    Legacy order: X fastest and in the first column; tables in the Measurement group, shared by
    all channels, with region references; contiguous storage.
    """
    rng = np.random.default_rng(20260115)
    shape = (144, 192)
    domains = _domains(rng, shape)
    height = _terraces(rng, shape)
    amplitude = 42e-12 * np.abs(domains) * (1 + 0.06 * smooth_field(rng, shape, 20.0))
    amplitude = np.abs(amplitude + 1.6e-12 * rng.standard_normal(shape))
    phase = 90.0 * np.tanh(2 * domains) + 2.2 * rng.standard_normal(shape) - 4.0
    channels = [
        ("Height", "m", height),
        ("Piezoresponse amplitude", "m", amplitude),
        ("Piezoresponse phase", "deg", phase),
    ]
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "PFMData", "sample_name": "ferroelectric film"})
        measurement = new_group(
            file,
            "Measurement_000",
            {"drive_amplitude": 1.5, "drive_amplitude_units": "V", "scan_rate_Hz": 0.8},
        )
        sides = write_sides(
            measurement, grid(image_axes(shape, (1.5e-6, 2.0e-6))), SINGLE_STEP, regions=True
        )
        for number, (quantity, units, image) in enumerate(channels):
            channel = new_group(measurement, f"Channel_{number:03d}", {"channel": quantity})
            cells = image.astype("f4").reshape(-1, 1)
            write_main(channel, "Raw_Data", cells, Quantity(quantity, units), sides)


def _flakes(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray:
    """Return the surface potential of overlapping flakes, in volts."""
    y, x = 96 / shape[0] * np.mgrid[0 : shape[0], 0 : shape[1]]
    potential = np.full(shape, -0.31)
    for center_y, center_x, size, turn, sides in (
        (30, 38, 27, 0.3, 6),
        (58, 88, 32, 1.0, 5),
        (16, 104, 17, 0.1, 3),
        (74, 30, 17, 0.7, 6),
    ):
        angle = np.arctan2(y - center_y, x - center_x) - turn
        edge = (
            size * np.cos(np.pi / sides) / np.cos(np.mod(angle, 2 * np.pi / sides) - np.pi / sides)
        )
        inside = np.hypot(y - center_y, x - center_x) - edge
        potential += 0.085 * 0.5 * (1 - np.tanh(inside / 1.5))
    potential += 0.012 * smooth_field(rng, shape, 3.5)
    return np.asarray(potential + 0.004 * rng.standard_normal(shape))


def write_stopped_scan(path: Path) -> None:
    """Write a surface potential scan that was stopped within a line."""
    rng = np.random.default_rng(20260116)
    shape = (36, 48)
    measured = 26 * shape[1] + 29
    table: Table = take(grid(image_axes(shape, (6e-6, 8e-6))), np.arange(measured))
    cells = _flakes(rng, shape).astype("f4").reshape(-1, 1)[:measured]
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "KPFMData", "sample_name": "flakes on oxide"})
        measurement = new_group(file, "Measurement_000", {"scan_rate_Hz": 0.3, "lines_asked": 36})
        channel = new_group(measurement, "Channel_000")
        sides = write_sides(channel, table, SINGLE_STEP)
        write_main(channel, "Raw_Data", cells, Quantity("Contact potential difference", "V"), sides)
