"""A sample of four dimensions: a diffraction pattern at every position of a scan."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from usid_tasks.samples.fields import step
from usid_tasks.samples.layout import (
    Axis,
    Quantity,
    grid,
    new_group,
    stamp,
    write_main,
    write_sides,
)


def _spots(qy: NDArray, qx: NDArray, turn: float, spacing: float) -> list[tuple[NDArray, float]]:
    """Return distance from each Bragg spot, and its intensity, of a hexagonal lattice."""
    found = []
    for first in range(-2, 3):
        for second in range(-2, 3):
            y = spacing * (second * np.sqrt(3) / 2)
            x = spacing * (first + second / 2)
            radius = np.hypot(x, y)
            if 0 < radius < 2.1 * spacing:
                center_y = x * np.sin(turn) + y * np.cos(turn)
                center_x = x * np.cos(turn) - y * np.sin(turn)
                found.append((np.hypot(qy - center_y, qx - center_x), 0.5 * np.exp(-radius / 5.0)))
    return found


def write_diffraction_scan(path: Path) -> None:
    """Write a 4-D scanning diffraction data set, chunked and compressed.

    Two grains meet at a boundary; the columns of the tables run slow to fast, as pyUSID has
    written them since version 0.0.6.
    """
    rng = np.random.default_rng(20260123)
    scan, detector = (20, 26), (36, 36)
    q = np.linspace(-8.75, 8.75, detector[0])
    qy, qx = q[:, None], q[None, :]
    patterns = []
    for turn, spacing in ((0.18, 4.7), (0.62, 4.55)):
        pattern = step(1.35 - np.hypot(qy, qx), 0.25)
        for away, height in _spots(qy, qx, turn, spacing):
            pattern = pattern + height * step(1.1 - away, 0.25)
        patterns.append(pattern + 0.05 * np.exp(-np.hypot(qy, qx) / 3.5))
    y, x = np.mgrid[0 : scan[0], 0 : scan[1]]
    grain = step(x - 12.0 - 0.35 * y + 2.5 * np.sin(y / 3.0), 0.6)[..., None, None]
    dose = 34 * (1 - 0.25 * np.exp(-(((x - 12.0 - 0.35 * y + 2.5 * np.sin(y / 3.0)) / 1.5) ** 2)))
    counts = dose[..., None, None] * (patterns[0] * (1 - grain) + patterns[1] * grain)
    cells = rng.poisson(counts).astype("u2").reshape(scan[0] * scan[1], -1)
    position = [
        Axis("Y", "nm", np.arange(scan[0]) * 0.8),
        Axis("X", "nm", np.arange(scan[1]) * 0.8),
    ]
    spectroscopic = [Axis("Qy", "1/nm", q), Axis("Qx", "1/nm", q)]
    with h5py.File(path, "w") as file:
        stamp(file, {"data_type": "4DSTEM", "sample_name": "bicrystal"})
        measurement = new_group(
            file, "Measurement_000", {"acceleration_voltage_kV": 80.0, "dwell_ms": 1.0}
        )
        channel = new_group(measurement, "Channel_000")
        sides = write_sides(
            channel,
            grid(position, fastest_first=False),
            grid(spectroscopic, fastest_first=False),
        )
        write_main(
            channel, "Raw_Data", cells, Quantity("Electron count", "counts"), sides,
            chunks=(scan[1], cells.shape[1]), compression="gzip", shuffle=True,
        )  # fmt: skip
