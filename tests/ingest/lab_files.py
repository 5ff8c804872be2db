"""Source files, each named by the outcome that it comes to."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from index_tables import grid, values_at
from usid_files import Side, channel, line, write_file, write_main

POSITION_TABLE = grid({"Y": 4, "X": 3})
POSITION = Side(
    POSITION_TABLE, ["X", "Y"], ["um", "um"], values_at(POSITION_TABLE, np.arange(3), np.arange(4))
)
BIAS = line("Bias", np.linspace(-1, 1, 5))


def sound(path: Path, start: int = 1) -> Path:
    """Write a file with one sound Main; another ``start`` gives other values."""
    data = np.arange(start, start + 60, dtype="f4").reshape(12, 5)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_file(path, POSITION, BIAS, data=data)


def partial(path: Path) -> Path:
    """Write a file with one sound and one broken Main."""
    with h5py.File(path, "w") as file:
        write_main(channel(file), position=POSITION, spectroscopic=BIAS)
        write_main(
            channel(file, 1),
            position=POSITION,
            spectroscopic=BIAS,
            missing=["Position_Values.labels"],
        )
    return path


def broken(path: Path) -> Path:
    """Write a file whose only Main is broken."""
    return write_file(path, POSITION, BIAS, missing=["Position_Indices.labels"])


def not_usid(path: Path) -> Path:
    """Write an HDF5 file without a Main."""
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(3)
    return path


def truncated(path: Path) -> Path:
    """Write a file whose second half is missing."""
    sound(path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    return path
