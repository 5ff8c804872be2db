"""Files with what HDF5 has beyond the specification: types, storage, links, references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from h5py import h5a, h5d, h5p, h5r, h5s, h5t
from index_tables import grid, sparse, truncated
from store_cases import BIAS, raster
from usid_files import LINKS, Side, channel, distinct, write_file, write_main

Kinds = dict[str, tuple[h5t.TypeID, np.ndarray]]


def attribute(holder: Any, name: bytes, kind: h5t.TypeID, cells: np.ndarray) -> None:
    """Give an object an attribute whose bytes are those of an array."""
    space = h5s.create_simple(cells.shape) if cells.shape else h5s.create(h5s.SCALAR)
    made = h5a.create(holder.id, name, kind, space)
    made.write(np.ascontiguousarray(cells).view(f"V{kind.get_size()}"), mtype=kind)


def dataset(group: h5py.Group, name: bytes, kind: h5t.TypeID, cells: np.ndarray) -> None:
    """Make a dataset whose bytes are those of an array."""
    space = h5s.create_simple(cells.shape) if cells.shape else h5s.create(h5s.SCALAR)
    made = h5d.create(group.id, name, kind, space)
    flat = np.ascontiguousarray(cells).view(f"V{kind.get_size()}")
    made.write(h5s.ALL, h5s.ALL, flat, mtype=kind)


def _text(size: int, padding: int, cset: int = h5t.CSET_ASCII) -> h5t.TypeID:
    kind = h5t.C_S1.copy()
    kind.set_size(size)
    kind.set_strpad(padding)
    kind.set_cset(cset)
    return kind


def _integer(precision: int, order: int) -> h5t.TypeID:
    kind = (h5t.STD_I16LE if order == h5t.ORDER_LE else h5t.STD_U16BE).copy()
    kind.set_precision(precision)
    kind.set_offset(2)
    return kind


def _float24() -> h5t.TypeID:
    """Return a float of 24 bits: one for the sign, 8 for the exponent, 15 for the mantissa."""
    kind = h5t.IEEE_F32LE.copy()
    kind.set_fields(23, 15, 8, 0, 15)
    kind.set_precision(24)
    kind.set_size(3)
    return kind


def _compound() -> h5t.TypeID:
    kind = h5t.create(h5t.COMPOUND, 32)
    kind.insert(b"id", 4, h5t.STD_U16BE)
    kind.insert("größe".encode(), 8, h5t.IEEE_F64LE)
    kind.insert(b"label", 16, _text(6, h5t.STR_SPACEPAD))
    kind.insert(b"pair", 22, h5t.array_create(h5t.STD_I16LE, (2,)))
    return kind


def _record() -> np.ndarray:
    dtype = np.dtype(
        {
            "names": ["id", "size", "label", "pair"],
            "formats": [">u2", "<f8", "S6", ("<i2", (2,))],
            "offsets": [4, 8, 16, 22],
            "itemsize": 32,
        }
    )
    cells = np.zeros(2, dtype)
    cells["id"], cells["size"], cells["pair"] = [1, 2], [0.5, -0.0], [[1, 2], [-3, 4]]
    cells["label"] = [b"ab    ", b"cdefgh"]
    return cells


def _enum(base: h5t.TypeID) -> h5t.TypeID:
    kind = h5t.enum_create(base)
    for name, value in (("RÉD", 3), ("green", -1), ("a b", 7)):
        kind.enum_insert(name.encode(), value)
    return kind


def _opaque() -> h5t.TypeID:
    kind = h5t.create(h5t.OPAQUE, 3)
    kind.set_tag("µ tag".encode())
    return kind


def plain_kinds() -> Kinds:
    """Return types whose values lie where they are: type and values of each."""
    return {
        "null-terminated": (_text(4, h5t.STR_NULLTERM), np.array([b"ab", b"", b"abc"], "S4")),
        "null-padded": (_text(3, h5t.STR_NULLPAD), np.array([b"ab", b"", b"abc"], "S3")),
        "space-padded": (_text(4, h5t.STR_SPACEPAD), np.array([b"ab  ", b"    ", b"a b "], "S4")),
        "utf-8": (
            _text(5, h5t.STR_NULLPAD, h5t.CSET_UTF8), np.array(["µm".encode(), b"x"], "S5"),
        ),
        "latin-1": (_text(2, h5t.STR_NULLPAD), np.array([b"\xb5m", b"nm"], "S2")),
        "mixed": (_text(3, h5t.STR_NULLPAD), np.array([b"\xb5m", "µ".encode(), b"nm"], "S3")),
        "12 bits": (_integer(12, h5t.ORDER_LE), np.array([4 << 2, -8 << 2], "<i2") & 0x3FFC),
        "10 bits big": (_integer(10, h5t.ORDER_BE), np.array([5 << 2, 1023 << 2], ">u2")),
        "24 bits": (
            _float24(), np.frombuffer(bytes([0, 128, 63, 0, 0, 64, 0, 0, 0]), "V3"),
        ),
        "bits": (h5t.STD_B16BE.copy(), np.array([1, 513], ">u2")),
        "enum": (_enum(h5t.STD_I16BE), np.array([3, -1, 7], ">i2")),
        "compound": (_compound(), _record()),
        "array": (
            h5t.array_create(h5t.IEEE_F32BE, (2, 3)), np.arange(12, dtype=">f4").reshape(2, 6),
        ),
        "opaque": (_opaque(), np.array([b"abc", b"\0\xff\1"], "V3")),
        "long double": (h5t.NATIVE_LDOUBLE.copy(), np.array([1, np.longdouble(1) / 3], "g")),
        "half": (h5t.IEEE_F16BE.copy(), np.array([1.5, np.inf, -0.0], ">f2")),
        "complex": (h5t.COMPLEX_IEEE_F32BE.copy(), np.array([1 + 2j, -3j], ">c8")),
    }  # fmt: skip


def _cells(kind: h5t.TypeID, cells: np.ndarray) -> np.ndarray:
    """Return the values as elements of the type, whose last dimension an array type takes."""
    return cells.view(f"V{kind.get_size()}").reshape(-1)


def sound(path: Path) -> h5py.File:
    """Return a new file with one sound Main dataset."""
    file = h5py.File(path, "w")
    write_main(channel(file), position=raster(), spectroscopic=BIAS)
    return file


def types_of_attributes(path: Path) -> Path:
    """Write attributes of every type whose values lie where they are, as arrays and scalars."""
    with sound(path) as file:
        for name, (kind, cells) in plain_kinds().items():
            attribute(file, name.encode(), kind, _cells(kind, cells))
            attribute(file["Measurement_000"], name.encode(), kind, _cells(kind, cells)[:1])
            attribute(channel(file), name.encode(), kind, _cells(kind, cells)[0].reshape(()))
    return path


def types_of_datasets(path: Path) -> Path:
    """Write datasets of the same types, as arrays of one and two dimensions and scalars."""
    with sound(path) as file:
        group = file.create_group("extra")
        for name, (kind, cells) in plain_kinds().items():
            each = _cells(kind, cells)
            dataset(group, name.encode(), kind, each)
            dataset(group, f"{name} in two".encode(), kind, np.stack([each, each]))
            dataset(group, f"one {name}".encode(), kind, each[0].reshape(()))
    return path


def time_attributes(path: Path) -> Path:
    """Write attributes that h5py has no type for."""
    with sound(path) as file:
        attribute(file, b"when", h5t.UNIX_D32LE.copy(), np.array([1, 2], "<u4"))
        attribute(file, b"when once", h5t.UNIX_D64BE.copy(), np.array(3, ">u8"))
    return path


def variable_lengths(path: Path) -> Path:
    """Write texts and runs of variable length, in attributes and datasets."""
    ascii_text = h5py.string_dtype("ascii")
    runs = h5py.vlen_dtype(np.dtype(">i4"))
    record = np.dtype([("name", h5py.string_dtype()), ("run", h5py.vlen_dtype("f8")), ("n", "i2")])
    with sound(path) as file:
        for holder in (file, channel(file)):
            holder.attrs.create("ascii", "plain", dtype=ascii_text)
            holder.attrs["utf-8"] = ["µ", "", "nm\n"]
            holder.attrs.create("latin", b"\xb5", dtype=ascii_text)
            holder.attrs.create("runs", _runs(), dtype=runs)
            holder.attrs.create("no texts", np.array([], object), dtype=h5py.string_dtype())
        group = file.create_group("extra")
        group.create_dataset("ascii", data=["a", "bc"], dtype=ascii_text)
        group.create_dataset("latin", data=[b"\xb5", "µ".encode(), b"x"], dtype=h5py.string_dtype())
        group.create_dataset("one", data="µ", dtype=h5py.string_dtype())
        group.create_dataset("one latin", data=b"\xb5", dtype=ascii_text)
        group.create_dataset("cube", data=np.array([[["a"], ["µ"]]], object))
        group.create_dataset("runs", data=_runs(), dtype=runs)
        one = group.create_dataset("one run", (), dtype=runs)
        one[()] = np.array([1, 2], ">i4")
        table = group.create_dataset("records", (2,), dtype=record)
        table[0] = ("µ", np.array([1.5, np.nan]), 3)
        table[1] = ("", np.array([]), -1)
        latin = group.create_dataset("latin records", (1,), dtype=record)
        latin[0] = (b"\xb5", np.array([2.0]), 1)
        file.attrs.create("record", np.array([("x", _runs()[0].astype("f8"), 1)], record))
    return path


def _runs() -> np.ndarray:
    runs = np.empty(3, object)
    runs[:] = [np.array([1, 2, 3], ">i4"), np.array([], ">i4"), np.array([-7], ">i4")]
    return runs


def references(path: Path) -> Path:
    """Write references of every kind: to all objects, to regions, null, dangling, in compounds."""
    pair = np.dtype([("object", h5py.ref_dtype), ("region", h5py.regionref_dtype), ("n", "u1")])
    with sound(path) as file:
        group = channel(file)
        main = group["Raw_Data"]
        table = group["Position_Indices"]
        file["kind"] = np.dtype("f4")
        regions = {
            "rows": main.regionref[2:5],
            "every other": main.regionref[::2, 1:4:2],
            "whole": main.regionref[...],
            "points": _points(file, main),
            "nothing": h5py.RegionReference(),
        }
        objects = [main.ref, file.ref, group.ref, file["kind"].ref, h5py.Reference()]
        for name, region in regions.items():
            file.attrs.create(name, region, dtype=h5py.regionref_dtype)
            table.attrs.create(name, region, dtype=h5py.regionref_dtype)
        file.attrs.create("objects", np.array(objects, h5py.ref_dtype))
        record = np.zeros(2, pair)
        record["object"], record["n"] = objects[:2], [1, 2]
        record["region"] = [regions["rows"], regions["every other"]]
        file.attrs.create("pairs", record)
        file.attrs.create("one", record[0])
        group.create_dataset("objects", data=np.array(objects, h5py.ref_dtype))
        group.create_dataset("regions", data=np.array([*regions.values()], h5py.regionref_dtype))
        group.create_dataset("pairs", data=record)
        group.create_dataset("one object", data=main.ref, dtype=h5py.ref_dtype)
        group.create_dataset("one region", data=regions["rows"], dtype=h5py.regionref_dtype)
        doomed = file.create_group("doomed")
        file.attrs["dangling"] = group.attrs["dangling"] = doomed.ref
        del doomed, file["doomed"]
    return path


def _points(file: h5py.File, main: h5py.Dataset) -> Any:
    space = main.id.get_space()
    space.select_elements(np.array([[3, 1], [0, 0], [11, 4]], np.uint64))
    return h5r.create(file.id, main.name.encode(), h5r.DATASET_REGION, space)


def links(path: Path) -> Path:
    """Write links of every kind, also in circles, and named types with attributes."""
    with sound(path) as file:
        group = channel(file)
        file["here too"] = group
        file["and here"] = group["Raw_Data"]
        group["up"] = file["/"]
        group["soft"] = h5py.SoftLink("../nowhere/µ")
        group["soft up"] = h5py.SoftLink("/")
        group["external"] = h5py.ExternalLink("öther.h5", "/data µ")
        file["type"] = np.dtype([("a", ">i2"), ("b", "f8")])
        file["type again"] = file["type"]
        file["type"].attrs["told"] = "µ"
        file["type"].attrs["scale_factor"] = np.float32(0.1)
        group.create_dataset("typed", (3,), file["type"])[...] = (1, 0.5)
        group["typed"].attrs.create("typed", (2, 1.5), dtype=file["type"])
        file["enum"] = h5py.enum_dtype({"a": 0, "b": 5}, basetype="u1")
    return path


def _stored(how: dict[str, Any], shape: tuple[int, ...] = (12, 5)) -> Callable[[Path], Path]:
    """Return what writes a Main dataset, and others, in one way of storage."""

    def write(path: Path) -> Path:
        with h5py.File(path, "w") as file:
            group = channel(file)
            main = write_main(group, position=raster(), spectroscopic=BIAS)
            attrs = {name: main.attrs[name] for name in (*LINKS, "quantity", "units")}
            del group["Raw_Data"]
            dtype = np.dtype(how.get("dtype", "f4"))
            data = distinct(shape, dtype)
            options = {key: value for key, value in how.items() if key != "dtype"}
            options = {"chunks": (5, 3), **options}
            again = group.create_dataset("Raw_Data", data=data, **options)
            for name, value in attrs.items():
                again.attrs[name] = value
            extra = {**options, "chunks": (4, 2, 2)}
            if "maxshape" in extra:
                extra["maxshape"] = (None, 7, 4)
            group.create_dataset("cube", data=distinct((7, 3, 4), dtype), **extra)
        return path

    return write


def layouts(path: Path) -> Path:
    """Write datasets in every layout of HDF5's own, with unusual times and fill values."""
    with sound(path) as file:
        group = file.create_group("extra")
        for name, layout in (("compact", h5d.COMPACT), ("contiguous", h5d.CONTIGUOUS)):
            plist = h5p.create(h5p.DATASET_CREATE)
            plist.set_layout(layout)
            plist.set_fill_value(np.array(7, ">i2"))
            plist.set_fill_time(h5d.FILL_TIME_ALLOC)
            space = h5s.create_simple((3, 4))
            made = h5d.create(group.id, name.encode(), h5t.STD_I16BE, space, plist)
            made.write(h5s.ALL, h5s.ALL, distinct((3, 4), ">i2"))
        early = h5p.create(h5p.DATASET_CREATE)
        early.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        early.set_fill_time(h5d.FILL_TIME_NEVER)
        made = h5d.create(group.id, b"early", h5t.IEEE_F64LE, h5s.create_simple((6, 2)), early)
        made.write(h5s.ALL, h5s.ALL, distinct((6, 2), "f8"))
        group.create_dataset("no values", shape=(4,), dtype="f4")
        group.create_dataset("no chunks", shape=(4, 4), dtype="f4", chunks=(2, 2), fillvalue=9)
        group.create_dataset("nothing", shape=(0, 4), dtype="f4", maxshape=(None, 4))
        group.create_dataset("no text", shape=(0,), dtype=h5py.string_dtype())
        group["null"] = h5py.Empty(np.dtype([("a", "i2")]))
        group["null text"] = h5py.Empty("S3")
    return path


def half_written(path: Path) -> Path:
    """Write datasets of which a part was never written, by rows, by columns and all."""
    with sound(path) as file:
        group = file.create_group("extra")
        ways = {"gzip": {"compression": "gzip"}, "lzf": {"compression": "lzf"}, "plain": {}}
        for name, how in ways.items():
            options = {"shape": (10, 8), "dtype": ">i4", "chunks": (3, 4), "fillvalue": 7, **how}
            group.create_dataset(f"{name} rows", **options)[:4] = 1
            group.create_dataset(f"{name} columns", **options)[:, :4] = 2
            group.create_dataset(f"{name} nothing", **options)
            filled = group.create_dataset(f"{name} filled", **options)
            filled[...] = 7
            main = channel(file)["Raw_Data"]
            again = file.create_group(f"{name} Main").create_dataset(
                "Raw_Data", (12, 5), "f4", chunks=(4, 2), **how
            )
            again[:6, :2] = 3
            again.attrs.update(dict(main.attrs))
        group.create_dataset("texts", (3,), h5py.string_dtype())
        group.create_dataset("records", (3,), [("a", "i4"), ("b", "S3")])
    return path


def large_attributes(path: Path) -> Path:
    """Write attributes larger than HDF5's earliest format holds."""
    with h5py.File(path, "w", libver="latest") as file:
        write_main(channel(file), position=raster(), spectroscopic=BIAS)
        channel(file).attrs["large"] = np.arange(20_000, dtype="f8")
        file.attrs["text"] = "µ" * 50_000
        file.attrs["list"] = np.array([b"x" * 40] * 3000)
    return path


def names_not_utf8(path: Path) -> Path:
    """Write names of fields, enums and tags that are no UTF-8, and odd names of everything."""
    with sound(path) as file:
        kind = h5t.enum_create(h5t.STD_U8LE)
        kind.enum_insert(b"\xb5", 1)
        attribute(file, b"enum \xb5", kind, np.array([1], "u1"))
        group = file.create_group(b"a \xb5\xff")
        group.create_dataset(b"\xff", data=np.arange(3))
        group.attrs["µ/%2F"] = 1
        file.create_group("%").attrs["%"] = "no name"
        file.create_group("CON/zarr.json").create_dataset("A", data=1)
        file["CON"].create_dataset("a", data=2)
        file["CON"].create_dataset("A", data=3)
    return path


def cells_that_are_arrays(path: Path) -> Path:
    """Write a Main dataset of which each cell is an array, contiguous and in chunks."""
    with h5py.File(path, "w") as file:
        for number, how in enumerate([{}, {"chunks": (5, 3), "compression": "gzip"}]):
            group = channel(file, number)
            old = write_main(group, position=raster(), spectroscopic=BIAS)
            attrs = {name: old.attrs[name] for name in old.attrs}
            del group["Raw_Data"]
            new = group.create_dataset("Raw_Data", (12, 5), np.dtype(("<f4", (2, 3))), **how)
            new[...] = distinct((12, 5, 2, 3))
            for name, value in attrs.items():
                new.attrs[name] = value
    return path


def _main(table: np.ndarray, labels: list[str], **how: Any) -> Callable[[Path], Path]:
    return lambda path: write_file(path, Side(table, labels), BIAS, **how)


PADDED = np.dtype(
    {"names": ["a", "b"], "formats": ["u1", ">f8"], "offsets": [3, 8], "itemsize": 24}
)
NESTED = np.dtype(
    [("outer", [("x", "f4", (2,)), ("ok", "?")], (3,)), ("z", ">c8"), ("Amp [V]", "<i8")]
)
RASTER = grid({"Y": 4, "X": 3})
GZIP = {"compression": "gzip", "compression_opts": 9}

CASES: dict[str, Callable[[Path], Path]] = {
    "types of attributes": types_of_attributes,
    "types of datasets": types_of_datasets,
    "attributes of time": time_attributes,
    "variable lengths": variable_lengths,
    "references": references,
    "links": links,
    "cells that are arrays": cells_that_are_arrays,
    "layouts": layouts,
    "half written": half_written,
    "large attributes": large_attributes,
    "names that are no UTF-8": names_not_utf8,
    "gzip": _stored(GZIP),
    "shuffle and gzip": _stored({"compression": 1, "shuffle": True, "dtype": ">f8"}),
    "shuffle, gzip and checksum": _stored({**GZIP, "shuffle": True, "fletcher32": True}),
    "shuffle alone": _stored({"shuffle": True, "dtype": "i8"}),
    "checksum alone": _stored({"fletcher32": True, "dtype": "u1"}),
    "lzf": _stored({"compression": "lzf"}),
    "szip": _stored({"compression": "szip", "compression_opts": ("nn", 4), "chunks": (4, 4)}),
    "scale and offset": _stored({"scaleoffset": 0, "dtype": "i4"}),
    "blosc": _stored({**hdf5plugin.Blosc("zstd", clevel=3, shuffle=1)}),
    "zstd": _stored({**hdf5plugin.Zstd(5)}),
    "unlimited, with a fill value": _stored({**GZIP, "maxshape": (None, None), "fillvalue": 2.5}),
    "unlimited, not filtered": _stored({"maxshape": (None, 20), "fillvalue": -1}),
    "chunks as large as the dataset": _stored({"chunks": (12, 5)}),
    "a padded compound": _main(RASTER, ["X", "Y"], dtype=PADDED),
    "a compound in chunks": _main(
        RASTER, ["X", "Y"], dtype=PADDED, chunks=(5, 2), compression="gzip"
    ),
    "nested compounds": _main(truncated(RASTER, 10), ["X", "Y"], dtype=NESTED),
    "nested compounds, sparse": _main(sparse(6, 2), ["X", "Y"], dtype=NESTED, chunks=(4, 3)),
    "a compound of one": _main(RASTER, ["X", "Y"], dtype=[("only", ">i2")]),
}
