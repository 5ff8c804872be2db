"""Files of every kind that a store must hold, each named by what it carries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from index_tables import forc, grid, preallocated, shuffled, sparse, truncated, values_at
from usid_files import Side, channel, line, write_file, write_main

XY = {"Y": 4, "X": 3}
Y, X = np.arange(4) * 0.5, np.arange(3) * 2.0
BIAS = line("Bias", np.linspace(-1, 1, 5))


def raster(table: np.ndarray | None = None) -> Side:
    """Return a raster of 3 x 4 positions, X fastest."""
    table = grid(XY) if table is None else table
    return Side(table, ["X", "Y"], ["um", "um"], values_at(table, X, Y))


def _dtype(dtype: object) -> Callable[[Path], Path]:
    return lambda path: write_file(path, raster(), BIAS, dtype=dtype)


def _side(table: np.ndarray) -> Callable[[Path], Path]:
    return lambda path: write_file(path, raster(table), BIAS)


def odd_names(path: Path) -> Path:
    """Write names that neither Zarr nor a case-insensitive share can hold."""
    with h5py.File(path, "w") as file:
        group = file.create_group("scan: 1/Ch?nnel")
        side = Side(grid(XY), ["X (µm)", "x (µM)"], ["um", "um"])
        spectroscopic = Side(grid({"b": 2, "a": 3}), ["zarr.json", "a b/c"], ["", "V"])
        write_main(group, "Raw.", position=side, spectroscopic=spectroscopic)
        group.create_dataset("raw%2E", data=np.arange(3))
        group.create_dataset("RAW%2E", data=np.arange(4))
    return path


def every_kind_of_extra(path: Path) -> Path:
    """Write other datasets of every HDF5 type, links of every kind, and empty groups."""
    with h5py.File(path, "w") as file:
        group = channel(file)
        main = write_main(group, position=raster(), spectroscopic=BIAS)
        extra = file.create_group("extra")
        extra["counter"] = np.ones(12, np.uint8)
        extra["cube"] = np.arange(2 * 3 * 4, dtype=">i4").reshape(2, 3, 4)
        extra["scalar"] = 2.5
        extra["text"] = ["a", "µ", ""]
        extra["one text"] = "note"
        extra.create_dataset("bytes", data=np.array([b"\xb5m", b"x"]))
        extra["compound"] = np.array([(1, 2.5)], dtype=[("a", "i2"), ("b", "<f8")])
        extra["long"] = np.arange(3, dtype=np.longdouble)
        extra["opaque"] = np.array([b"abcd"], dtype="V4")
        extra["none"] = h5py.Empty("f4")
        extra.create_dataset("references", data=np.array([main.ref, None]), dtype=h5py.ref_dtype)
        ragged = extra.create_dataset("ragged", (2,), dtype=h5py.vlen_dtype("f4"))
        ragged[0], ragged[1] = [1, 2], [3]
        extra.create_dataset("zero rows", shape=(0, 3), dtype="f4")
        extra["soft"] = h5py.SoftLink("/nowhere")
        extra["external"] = h5py.ExternalLink("other.h5", "/data")
        extra["again"] = main
        extra["kind"] = np.dtype("f4")
        file.create_group("empty/deeper")
    return path


def every_kind_of_attribute(path: Path) -> Path:
    """Write attributes of every type, and those that CF decoding would consume."""
    with h5py.File(path, "w") as file:
        group = channel(file)
        main = write_main(group, position=raster(), spectroscopic=BIAS, dtype="i2")
        for holder in (file, group, main):
            holder.attrs["_FillValue"] = np.int16(3)
            holder.attrs["scale_factor"] = 2.0
            holder.attrs["add_offset"] = 1.0
            holder.attrs["missing_value"] = 5
            holder.attrs["coordinates"] = "nothing here"
            holder.attrs["dtype"] = "bool"
            holder.attrs["_Unsigned"] = "true"
            holder.attrs["not finite"] = [np.nan, np.inf, -np.inf]
            holder.attrs["complex"] = 1 + 2j
            holder.attrs["big"] = np.uint64(2**64 - 1)
            holder.attrs["texts"] = ["a", "µ"]
            holder.attrs["latin"] = np.bytes_("µ".encode("latin-1"))
            holder.attrs["none"] = h5py.Empty("f4")
            holder.attrs["reference"] = main.ref
            holder.attrs["compound"] = np.array((1, 2.0), dtype=[("a", "i4"), ("b", "f4")])
            holder.attrs["usid_layout"] = "not ours"
            holder.attrs["x" * 300] = np.zeros((2, 2), ">f4")
    return path


def names_in_bytes(path: Path) -> Path:
    """Write names that are not UTF-8."""
    with h5py.File(path, "w") as file:
        write_main(file.create_group(b"\x81\xff"), position=raster(), spectroscopic=BIAS)
    return path


def times(path: Path) -> Path:
    """Write units that xarray would decode as times."""
    spectroscopic = line("Time", np.arange(5.0), units="seconds")
    return write_file(path, raster(), spectroscopic, units="days since 2000-01-01", dtype="f8")


def two_levels(path: Path) -> Path:
    """Write Mains that share tables, a results group, and one broken Main."""
    with h5py.File(path, "w") as file:
        shared = channel(file).parent
        first = write_main(channel(file), position=raster(), spectroscopic=BIAS, table_group=shared)
        tables = {name: file[first.attrs[name]] for name in first.attrs if "_" in name}
        write_main(channel(file, 0, 1), position=raster(), spectroscopic=BIAS, tables=tables)
        results = channel(file).create_group("Raw_Data-Fit_000")
        results.attrs["tool"] = "Fit"
        results.attrs["source_000"] = first.ref
        dtype = [("Amplitude [V]", "f4"), ("Q", "f8"), ("pair", "i2", (2,))]
        write_main(
            results, "Fit", position=raster(), tables={**tables, **_one_point(results)}, dtype=dtype
        )
        broken = channel(file, 1)
        write_main(
            broken, position=raster(), spectroscopic=BIAS, missing=["Position_Values.labels"]
        )
    return path


def _one_point(group: h5py.Group) -> dict[str, h5py.Dataset]:
    tables = {}
    for kind in ("Indices", "Values"):
        name = f"Spectroscopic_{kind}"
        tables[name] = group.create_dataset(
            name, data=np.zeros((1, 1), "u4" if kind == "Indices" else "f4")
        )
        tables[name].attrs["labels"] = tables[name].attrs["units"] = np.array(["arb"], "S")
    return tables


def dependent_values(path: Path) -> Path:
    """Write bias values that depend on the cycle."""
    table = grid({"Cycle": 2, "Bias": 5})
    values = np.c_[table[:, 0] * (1.0 + table[:, 1]), table[:, 1]]
    return write_file(path, raster(), Side(table, ["Bias", "Cycle"], ["V", ""], values))


def all_zero(path: Path) -> Path:
    """Write nothing but zeros, which Zarr would leave out."""
    return write_file(path, raster(), BIAS, data=np.zeros((12, 5), "f4"))


CASES: dict[str, Callable[[Path], Path]] = {
    "a raster": _side(grid(XY)),
    "a snake": _side(grid(XY, snake=["X"])),
    "random order": _side(shuffled(grid(XY))),
    "an aborted raster": _side(truncated(grid(XY), 10)),
    "a preallocated tail": _side(preallocated(grid(XY), 10)),
    "sparse positions": lambda path: write_file(
        path,
        Side(sparse(8, 2), ["X", "Y"], ["nm", "um"], np.random.default_rng(1).random((8, 2))),
        BIAS,
    ),
    "first-order reversal curves": lambda path: write_file(
        path, raster(), Side(forc(3, 4), ["Step", "Curve"], ["V", ""])
    ),
    **{
        f"values of type {np.dtype(dtype)}": _dtype(dtype)
        for dtype in ("?", "u1", ">i2", "i8", "f2", ">f4", "f8", "c8", ">c16")
    },
    "float16 axes": lambda path: write_file(
        path, raster(), line("Bias", np.linspace(0, 1, 5, dtype="f2"))
    ),
    "no rows": lambda path: write_file(path, raster(np.zeros((0, 2), int)), BIAS),
    "zeros": all_zero,
    "odd names": odd_names,
    "extras": every_kind_of_extra,
    "attributes": every_kind_of_attribute,
    "times": times,
    "names in bytes": names_in_bytes,
    "several Mains": two_levels,
    "dependent values": dependent_values,
}
