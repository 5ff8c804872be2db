"""A sample in the dialect of a vendor, PTIR Studio, which writes h5USID in its own spelling."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from usid_tasks.samples.fields import bands, smooth_field
from usid_tasks.samples.layout import STAMP, Axis, Quantity, Sides, Table, grid

_SOFTWARE = "PTIR Studio 4.3"
_TISSUE = ((1655, 44, 1.0), (1545, 40, 0.62), (1452, 26, 0.24), (1240, 36, 0.22), (1085, 40, 0.2))
_LIPID = ((1740, 24, 0.9), (1466, 18, 0.4), (1172, 26, 0.42), (1098, 26, 0.24))


def _text(text: str) -> np.bytes_:
    """Return text as the vendor stores it: bytes of fixed length."""
    return np.bytes_(text.encode())


def _characters(text: str) -> NDArray:
    """Return text as one array element for each character."""
    return np.array([character.encode() for character in text], dtype="S1")


def _stamp(holder: h5py.HLObject, attributes: dict[str, object] | None = None) -> None:
    for name, value in {**STAMP, "pyUSID_version": "0.0.4", **(attributes or {})}.items():
        holder.attrs[name] = _text(value) if isinstance(value, str) else value


def _write_table(group: h5py.Group, side: str, table: Table, units: str) -> list[h5py.Dataset]:
    written = []
    for kind, array in (("Indices", table.indices), ("Values", table.values)):
        dataset = group.create_dataset(
            f"{side}_{kind}", data=array if side == "Position" else np.ascontiguousarray(array.T)
        )
        dataset.attrs["labels"] = np.array([label.encode() for label in table.labels], "S1")
        dataset.attrs["units"] = _characters(units)
        written.append(dataset)
    return written


def _write_main(group: h5py.Group, cells: NDArray, quantity: Quantity, sides: Sides) -> None:
    dataset = group.create_dataset("Raw_Data", data=cells)
    _stamp(dataset, {"quantity": quantity.name, "units": quantity.units})
    for attribute, reference in sides.references().items():
        dataset.attrs[attribute] = reference


def write_tissue_section(path: Path) -> None:
    """Write a background spectrum, an infrared map and an image that shares the map's positions.

    Units are arrays of single characters: of one label (``cm-1``), and of two labels that are
    both ``um`` where the array has two elements by chance.
    """
    rng = np.random.default_rng(20260124)
    shape = (18, 24)
    wavenumber = np.arange(950.0, 1801.0, 5.0)
    lipid = np.clip(smooth_field(rng, shape, 3.0), 0, None)[..., None] / 2
    spectra = bands(wavenumber, _TISSUE) * (1 - 0.6 * lipid) + bands(wavenumber, _LIPID) * lipid
    spectra = 38 * spectra + 0.4 * rng.standard_normal(spectra.shape)
    background = (
        620 + 240 * np.sin((wavenumber - 950) / 310) + 3 * rng.standard_normal(wavenumber.size)
    )
    dc = 1.9 + 0.15 * smooth_field(rng, shape, 2.0)
    spectral_axis = grid([Axis("Z", "cm-1", wavenumber)])
    one_step = grid([Axis.single("Z")])
    axes = [
        Axis("Y", "um", 5.0 * np.arange(shape[0]) - 500.0),
        Axis("X", "um", 5.0 * np.arange(shape[1]) + 800.0),
    ]
    with h5py.File(path, "w") as file:
        file.attrs["DocType"] = _text("IR")
        file.attrs["SoftwareVersion"] = _text(_SOFTWARE)
        labels = ("Background", "IR map", "Probe intensity")
        groups = []
        for number, label in enumerate(labels):
            group = file.create_group(f"Measurement_{number:03d}")
            _stamp(
                group,
                {
                    "Label": label,
                    "SoftwareVersion": _SOFTWARE,
                    "IsBackground": np.array([number == 0], "u1"),
                    "RangeWavenumberUnits": "cm\u207b\u00b9",
                    "IRPower": np.array([0.25]),
                },
            )
            channel = group.create_group("Channel_000")
            _stamp(channel, {"DataSignal": "//demodulator/0/R", "Scale": np.array([1.0])})
            groups.append((group, channel))
        (first, background_channel), (second, map_channel), (third, image_channel) = groups
        point = _write_table(first, "Position", grid([Axis.single("X")]), "m")
        spectral = _write_table(first, "Spectroscopic", spectral_axis, "cm-1")
        cells = background.astype("f4").reshape(1, -1)
        _write_main(background_channel, cells, Quantity("Raw", "mV"), Sides(*point, *spectral))
        positions = _write_table(second, "Position", grid(axes), "um")
        cells = spectra.reshape(-1, wavenumber.size).astype("f4")
        _write_main(map_channel, cells, Quantity("Raw", "mV"), Sides(*positions, *spectral))
        single = _write_table(third, "Spectroscopic", one_step, " ")
        cells = dc.reshape(-1, 1).astype("f4")
        _write_main(image_channel, cells, Quantity("Raw", "V"), Sides(*positions, *single))
