"""Samples that cannot go well: a broken Main dataset, no USID, a damaged file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from usid_tasks.samples.fields import gaussian, smooth_field
from usid_tasks.samples.layout import (
    Axis,
    Quantity,
    grid,
    new_group,
    stamp,
    write_main,
    write_sides,
)
from usid_tasks.samples.scans import SINGLE_STEP, image_axes


def write_lost_labels(path: Path) -> None:
    """Write two channels, the second of which has tables without labels."""
    rng = np.random.default_rng(20260125)
    shape = (48, 64)
    current = 2.4e-10 * np.exp(0.5 * smooth_field(rng, shape, 5.0))
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "CurrentMap", "sample_name": "organic film"})
        measurement = new_group(file, "Measurement_000", {"bias_V": 1.2})
        for number, name in enumerate(("trace", "retrace")):
            channel = new_group(measurement, f"Channel_{number:03d}", {"direction": name})
            sides = write_sides(channel, grid(image_axes(shape, (0.75e-6, 1e-6))), SINGLE_STEP)
            noisy = current + 6e-12 * rng.standard_normal(shape)
            cells = noisy.astype("f4").reshape(-1, 1)
            write_main(channel, "Raw_Data", cells, Quantity("Current", "A"), sides)
        for dataset in (sides.position_indices, sides.position_values):
            del dataset.attrs["labels"]


def write_instrument_log(path: Path) -> None:
    """Write an HDF5 file without any Main dataset: the temperature log of an instrument."""
    rng = np.random.default_rng(20260126)
    seconds = np.arange(0.0, 3600.0, 10.0)
    with h5py.File(path, "w") as file:
        file.attrs["program"] = "environment logger"
        log = file.create_group("log")
        log.create_dataset("seconds", data=seconds)
        kelvin = 295.2 + 0.3 * np.sin(seconds / 900) + 0.02 * rng.standard_normal(seconds.size)
        log.create_dataset("temperature", data=kelvin).attrs["unit"] = "K"


def write_interrupted_copy(path: Path) -> None:
    """Write a scan, then cut the file in two as a broken transfer does."""
    shape = (64, 64)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    image = 5e-9 * gaussian(np.hypot(y - 30, x - 34), 0.0, 24.0)
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "Topography", "sample_name": "nanoparticle"})
        channel = new_group(new_group(file, "Measurement_000"), "Channel_000")
        axes: list[Axis] = image_axes(shape, (3e-7, 3e-7))
        sides = write_sides(channel, grid(axes), SINGLE_STEP)
        cells = image.astype("f4").reshape(-1, 1)
        write_main(channel, "Raw_Data", cells, Quantity("Height", "m"), sides)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 5])
