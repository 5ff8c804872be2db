"""Ways in which a store once told something else than its source."""

from __future__ import annotations

import ctypes
import json
import os
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from index_tables import grid
from lab_files import BIAS, POSITION, sound
from oracle import LINKS
from typer.testing import CliRunner
from usid_files import MAIN, Side, channel, distinct, write_file, write_main

from usid_tasks import discover as discovery
from usid_tasks import ingest as library
from usid_tasks.cli import app
from usid_tasks.model import Outcome


def in_place_of(path, make):
    """Write a file whose Main is what ``make(group)`` creates, with all that a Main needs."""
    with h5py.File(path, "w", libver="latest") as file:
        plain = write_main(channel(file), position=POSITION, spectroscopic=BIAS)
        attributes = dict(plain.attrs)
        del file[MAIN]
        again = make(channel(file))
        for name, value in attributes.items():
            again.attrs[name] = value
    return path


@pytest.mark.parametrize("filters", ["set_shuffle", "set_deflate"])
def test_partial_chunks_that_hdf5_left_unfiltered(lab, filters):
    libraries = list(Path(h5py.__file__).parent.parent.glob("h5py.libs/libhdf5-*.so*"))
    if not libraries:
        pytest.skip("this h5py does not carry its own HDF5")
    hdf5 = ctypes.CDLL(str(libraries[0]))
    hdf5.H5Pset_chunk_opts.argtypes = [ctypes.c_int64, ctypes.c_uint]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((5, 2))
    getattr(plist, filters)(*([4] if filters == "set_deflate" else []))
    assert hdf5.H5Pset_chunk_opts(plist.id, 2) >= 0
    values = distinct((12, 5), "f4")

    def make(group):
        space = h5py.h5s.create_simple((12, 5))
        made = h5py.h5d.create(group.id, b"Raw_Data", h5py.h5t.IEEE_F32LE, space, plist)
        dataset = h5py.Dataset(made)
        dataset[...] = values
        return dataset

    path = in_place_of(lab / "scan.h5", make)
    read = xr.open_dataset(path, engine="usid", group=MAIN)["Raw_Data"].values
    assert sorted(read.ravel()) == sorted(values.ravel())


def test_a_source_that_is_written_in_place_and_back_is_not_done(lab, dest, run, monkeypatch):
    path = sound(lab / "scan.h5")
    plain = library.convert_to

    def swap(source, folder, **options):
        before, times = source.read_bytes(), source.stat()
        sound(lab / "other", start=500)
        source.write_bytes((lab / "other").read_bytes())
        (lab / "other").unlink()
        os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
        try:
            return plain(source, folder, **options)
        finally:
            source.write_bytes(before)
            os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))

    with monkeypatch.context() as patch:
        patch.setattr(library, "convert_to", swap)
        (record,) = run().files
    assert record.outcome is Outcome.DEFERRED
    assert not (dest / "scan.h5.zarr").exists()
    assert [record.outcome for record in run().files] == [Outcome.DONE]
    assert path.exists()


@pytest.mark.parametrize("units", [["G", "V"], ["M", "V"], ["u", "m"]])
def test_units_of_one_letter_are_not_joined_but_in_the_vendors_dialect(path, units):
    side = Side(grid({"B": 3, "V": 2}), ["V", "B"], units)
    write_file(path, POSITION, side)
    ds = xr.open_dataset(path, engine="usid", group=MAIN)
    assert [ds["V"].attrs["units"], ds["B"].attrs["units"]] == units


def test_too_few_units_of_one_letter_are_an_error(path):
    from usid_tasks.validate import validate_file

    write_file(path, Side(grid({"Z": 2, "Y": 3, "X": 4}), ["X", "Y", "Z"], ["m", "m"]), BIAS)
    assert {f.id for f in validate_file(path) if f.severity == "error"} == {"R10"}


@pytest.mark.parametrize("kind", ["virtual", "external"])
def test_values_that_lie_in_another_file_are_looked_at_too(lab, dest, run, kind):
    part = lab.parent / ("part.h5" if kind == "virtual" else "raw.bin")

    def fill(value):
        values = np.full((12, 5), value, "f4")
        if kind == "external":
            values.tofile(part)
            return
        with h5py.File(part, "w") as file:
            file["data"] = values

    def make(group):
        if kind == "external":
            return group.create_dataset("Raw_Data", (12, 5), "f4", external=[(str(part), 0, 240)])
        layout = h5py.VirtualLayout((12, 5), "f4")
        layout[...] = h5py.VirtualSource(str(part), "data", (12, 5))
        return group.create_virtual_dataset("Raw_Data", layout)

    fill(1)
    in_place_of(lab / "scan.h5", make)
    assert [record.outcome for record in run().files] == [Outcome.DONE]
    assert [record.outcome for record in run().files] == [Outcome.CURRENT]
    fill(2)
    assert [record.outcome for record in run().files] == [Outcome.DONE]
    store = xr.open_datatree(dest / "scan.h5.zarr", engine="zarr")
    assert float(store[MAIN]["Raw_Data"].max()) == 2


def test_a_main_is_opened_by_its_own_path_whatever_the_others_are_mapped_to(path):
    names = ["Raw", "raw", "raw_2", "a:b", "a%3Ab"]
    with h5py.File(path, "w") as file:
        tables = None
        for value, name in enumerate(names):
            data = np.full((12, 5), value, "f4")
            main = write_main(
                channel(file), name, position=POSITION, spectroscopic=BIAS, data=data, tables=tables
            )
            tables = {link: file[main.attrs[link]] for link in LINKS}
    for value, name in enumerate(names):
        group = f"/Measurement_000/Channel_000/{name}"
        ds = xr.open_dataset(path, engine="usid", group=group)
        assert ds.attrs["usid_path"] == group
        (array,) = ds.data_vars.values()
        assert float(array.max()) == value
    tree = xr.open_datatree(path, engine="usid")
    assert tree["/Measurement_000/Channel_000/raw_2"].attrs["usid_path"].endswith("/raw_2")


def test_text_that_cannot_be_read_is_a_finding(lab, dest, run):
    sound(lab / "scan.h5")
    with h5py.File(lab / "scan.h5", "r+") as file:
        log = file.create_dataset("log", data=np.array([b"line one"]), chunks=(1,), fletcher32=True)
        chunk = log.id.get_chunk_info(0)
    with (lab / "scan.h5").open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff" * 8)
    (record,) = run().files
    assert record.outcome is Outcome.PARTIAL
    assert any(f.id == "F2" and f.path == "/log" for f in record.findings)
    assert (dest / "scan.h5.zarr/log/zarr.json").is_file()


def test_a_chunk_that_inflates_to_another_length_breaks_its_main_only(lab, run):
    sound(lab / "scan.h5")
    with h5py.File(lab / "scan.h5", "r+") as file:
        tables = {name: file[file[MAIN].attrs[name]] for name in LINKS}
        bad = write_main(
            channel(file, 1),
            position=POSITION,
            spectroscopic=BIAS,
            tables=tables,
            data=distinct((12, 5)),
            chunks=(12, 5),
            compression="gzip",
        )
        bad.id.write_direct_chunk((0, 0), zlib.compress(b"123" * 5))
    (record,) = run().files
    assert record.outcome is Outcome.PARTIAL
    assert record.mains == 1


@pytest.mark.parametrize("chunks", [None, (5, 2)])
@pytest.mark.parametrize(
    "dtype", [np.dtype(("f4", (2,))), np.dtype(([("x", "f4"), ("y", "u1")], (2,)))], ids=str
)
def test_cells_that_are_arrays(lab, dest, run, dtype, chunks):
    def make(group):
        made = group.create_dataset("Raw_Data", (12, 5), dtype, chunks=chunks)
        made[...] = distinct((12, 5, 2), dtype.base)
        return made

    path = in_place_of(lab / "scan.h5", make)
    assert [record.outcome for record in run().files] == [Outcome.DONE]
    source = xr.open_dataset(path, engine="usid", group=MAIN)
    store = xr.open_dataset(dest / "scan.h5.zarr", engine="zarr", group=MAIN)
    xr.testing.assert_identical(source, store)
    assert sum(array.size for array in source.data_vars.values()) == 120 * len(source.data_vars)


def test_what_is_passed_over_is_told(lab, dest, run):
    sound(lab / "scan.h5")
    sound(lab.parent / "outside.h5")
    (lab / "link.h5").symlink_to(lab.parent / "outside.h5")
    (lab / "zero.h5").write_bytes(bytes(1000))
    arguments = ["ingest", str(lab), "--to", str(dest), "--settle", "0", "--no-prefect"]
    told = CliRunner().invoke(app, arguments).stdout
    assert "link.h5: a symbolic link, not followed" in told
    assert "zero.h5: no HDF5, in spite of its name" in told


def test_a_file_that_may_not_be_read_has_a_receipt(lab, dest, run, monkeypatch):
    sound(lab / "closed.h5")
    sound(lab / "open.h5", start=9)
    plain = discovery.is_hdf5

    def refuse(path, **options):
        if path.name == "closed.h5":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, **options)

    monkeypatch.setattr(discovery, "is_hdf5", refuse)
    outcomes = {record.key: record.outcome for record in run().files}
    assert outcomes == {"closed.h5": Outcome.FAILED, "open.h5": Outcome.DONE}
    receipt = json.loads((dest / "closed.h5.receipt.json").read_text("utf-8"))
    assert "Permission denied" in receipt["reason"]


def test_a_large_attribute_above_many_mains_is_stored_once(path, tmp_path):
    from usid_tasks.convert import convert_file

    with h5py.File(path, "w") as file:
        file.attrs.create("large", np.arange(7000.0))
        file.attrs["small"] = 1
        tables = None
        for number in range(20):
            main = write_main(
                channel(file, 0, number), position=POSITION, spectroscopic=BIAS, tables=tables
            )
            tables = {link: file[main.attrs[link]] for link in LINKS}
    result = convert_file(path, tmp_path / "store.zarr")
    size = sum(file.stat().st_size for file in result.store.rglob("zarr.json"))
    assert size < 2_000_000
    tree = xr.open_datatree(result.store, engine="zarr")
    assert len(tree.attrs["large"]) == 7000
    parents = tree[MAIN].attrs["usid_parents"]["/"]
    assert parents["small"] == 1
    assert parents["usid_left_out"] == ["large"]
