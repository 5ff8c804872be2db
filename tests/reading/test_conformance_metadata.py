"""Conformance case 39: every attribute reachable, each level's own; results and provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import index_tables as it
import numpy as np
import pytest
import xarray as xr
from agreement import assert_file_agrees, open_main
from usid_files import MAIN, Side, line, write_file, write_main

POSITION = Side(it.grid({"Y": 3, "X": 4}), ["X", "Y"])
BIAS = line("Bias", np.arange(5.0))
CHANNEL, MEASUREMENT = MAIN.rsplit("/", 1)[0], MAIN.split("/Channel")[0]

ATTRIBUTES: dict[str, tuple[Any, Any]] = {
    "text": ("gain", "gain"),
    "bytes": (np.bytes_(b"10 %"), "10 %"),
    "utf8": ("µ → ∞", "µ → ∞"),
    "integer": (np.int64(-3), -3),
    "unsigned": (np.uint64(2**64 - 1), 2**64 - 1),
    "float": (np.float32(0.5), 0.5),
    "double": (0.1, 0.1),
    "bool": (np.bool_(True), True),
    "list": (np.array([1, 2, 3], "i2"), [1, 2, 3]),
    "one": (np.array([1.5]), [1.5]),
    "none": (np.array([], "f4"), []),
    "matrix": (np.arange(4.0).reshape(2, 2), [[0, 1], [2, 3]]),
    "texts": (np.array(["a", "b"], dtype=h5py.string_dtype()), ["a", "b"]),
    "byte_texts": (np.array([b"a", b"bc"]), ["a", "bc"]),
    "With Space": ("x", "x"),
    "Instrument-Type": ("AFM", "AFM"),
}


def write_attributes(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    with h5py.File(path, "r+") as file:
        for place in ("/", MEASUREMENT, CHANNEL, MAIN):
            for key, (stored, _) in ATTRIBUTES.items():
                file[place].attrs[key] = stored
            file[place].attrs["level"] = place


def same_json(got: Any, want: Any) -> bool:
    return type(got) is type(want) and got == want if isinstance(want, bool) else got == want


@pytest.mark.parametrize("chunks", [None, {}])
def test_case_39_attributes_of_every_level(path: Path, chunks: Any) -> None:
    write_attributes(path)
    with xr.open_datatree(path, engine="usid", chunks=chunks) as tree:
        for place in ("/", MEASUREMENT, CHANNEL, MAIN):
            attrs = tree[place].attrs
            for key, (_, want) in ATTRIBUTES.items():
                assert same_json(attrs[key], want), (place, key, attrs[key])
            assert attrs["level"] == place
            json.dumps(attrs)


def test_case_39_attributes_from_the_main_alone(path: Path) -> None:
    write_attributes(path)
    with open_main(path, MAIN) as ds:
        assert ds.attrs["level"] == MAIN
        assert ds.attrs["quantity"] == "Current"
        for place in (MEASUREMENT, CHANNEL):
            parent = ds.attrs["usid_parents"][place]
            assert parent["level"] == place
            for key, (_, want) in ATTRIBUTES.items():
                assert same_json(parent[key], want)
        json.dumps(ds.attrs)


def test_case_39_types_and_shapes_are_kept(path: Path) -> None:
    write_attributes(path)
    with open_main(path, MAIN) as ds:
        record = ds.attrs["usid_attrs"]
    assert set(ATTRIBUTES) | {"level", "quantity", "units", "Position_Indices"} <= set(record)
    told = {key: json.dumps(record[key], sort_keys=True) for key in ATTRIBUTES}
    assert told["text"] != told["bytes"]
    assert told["float"] != told["double"]
    assert told["integer"] != told["unsigned"]
    assert told["one"] != told["double"]
    assert told["texts"] != told["byte_texts"]
    assert told["list"] != told["one"]


def test_case_39_references_are_path_strings(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    with h5py.File(path, "r+") as file:
        main = file[MAIN]
        main.attrs["made_from"] = file[CHANNEL].ref
        main.attrs.create("several", np.array([file[CHANNEL].ref, main.ref], dtype=h5py.ref_dtype))
        main.attrs.create("nothing", h5py.Reference(), dtype=h5py.ref_dtype)
        main.attrs["empty"] = h5py.Empty("f4")
        table = file[CHANNEL]["Position_Values"]
        main.attrs["region"] = table.regionref[0:2, 0:1]
    with open_main(path, MAIN) as ds:
        assert ds.attrs["made_from"] == CHANNEL
        assert ds.attrs["several"] == [CHANNEL, MAIN]
        assert ds.attrs["Position_Indices"] == f"{CHANNEL}/Position_Indices"
        assert not ds.attrs["nothing"]
        assert not ds.attrs["empty"]
        assert {"nothing", "empty", "region"} <= set(ds.attrs["usid_attrs"])
        json.dumps(ds.attrs)


CONSUMED: dict[str, Any] = {
    "_FillValue": 3.0,
    "missing_value": 4.0,
    "scale_factor": 2.0,
    "add_offset": 1.0,
    "_Unsigned": "true",
    "dtype": "bool",
    "coordinates": "X Y",
    "_Encoding": "utf-8",
}


def test_case_39_keys_that_decoding_consumes(path: Path) -> None:
    write_file(path, POSITION, BIAS, attrs=CONSUMED)
    with h5py.File(path, "r+") as file:
        for place in (MEASUREMENT, CHANNEL):
            file[place].attrs.update(CONSUMED)
    assert_file_agrees(path)
    with open_main(path, MAIN) as ds:
        for key, want in CONSUMED.items():
            assert ds.attrs["usid_attrs"][key]["value"] == want
            assert key not in ds.attrs
            assert key not in ds["Raw_Data"].attrs
        again = xr.decode_cf(ds)
        assert again["Raw_Data"].values.tolist() == ds["Raw_Data"].values.tolist()
    with xr.open_datatree(path, engine="usid") as tree:
        for place in (MEASUREMENT, CHANNEL):
            assert tree[place].attrs["usid_attrs"]["scale_factor"]["value"] == 2.0


@pytest.mark.parametrize("dtype", ["f4", "i2", "u1", "i8"])
@pytest.mark.parametrize("units", ["seconds", "days", "milliseconds", "days since 1970-01-01"])
def test_case_39_units_that_decode_as_time(path: Path, units: str, dtype: str) -> None:
    time = line("Time", np.arange(5, dtype="f4"), units)
    once = line("Elapsed", np.array([2.0]), units)
    write_file(path, time, once, dtype=dtype, units=units)
    assert_file_agrees(path)
    with open_main(path, MAIN) as ds:
        for name in ("Raw_Data", "Time", "Elapsed"):
            assert "units" not in ds[name].attrs
            assert ds[name].attrs["usid_units"] == units
        assert ds.attrs["usid_attrs"]["units"]["value"] == units


def add_results(file: h5py.File, name: str, **attrs: Any) -> h5py.Group:
    """Write a results group beside its source, as the specification's Process does."""
    source = file[MAIN]
    group = source.parent.create_group(name)
    group.attrs["source_000"] = source.ref
    group.attrs.update(attrs)
    write_main(group, "Fit", position=POSITION, spectroscopic=line("arb", np.ones(1)))
    group.create_dataset("completed_positions", data=np.ones(12, "u1"))
    return group


def test_case_39_results_groups(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    with h5py.File(path, "r+") as file:
        add_results(
            file, "Raw_Data-Fitter_000", tool="Fitter", num_source_dsets=1, last_pixel=12, order=3
        )
        add_results(file, "Raw_Data-Old_000", algorithm="Old", num_sources=1)
        file[MAIN].parent.create_group("Raw_Data-Empty_000").attrs["tool"] = "Empty"
    assert_file_agrees(path)
    with xr.open_datatree(path, engine="usid") as tree:
        fitter = tree[f"{CHANNEL}/Raw_Data-Fitter_000"].attrs
        assert fitter["tool"] == "Fitter"
        assert fitter["num_source_dsets"] == 1
        assert fitter["source_000"] == MAIN
        assert fitter["order"] == 3
        assert tree[f"{CHANNEL}/Raw_Data-Old_000"].attrs["algorithm"] == "Old"
        assert tree[f"{CHANNEL}/Raw_Data-Empty_000"].attrs["tool"] == "Empty"
    result = f"{CHANNEL}/Raw_Data-Fitter_000/Fit"
    with open_main(path, result) as ds:
        parents = ds.attrs["usid_parents"]
        assert parents[f"{CHANNEL}/Raw_Data-Fitter_000"]["tool"] == "Fitter"
        assert MEASUREMENT in parents


def test_case_39_results_of_another_file(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    with h5py.File(path, "r+") as file:
        group = add_results(file, "Raw_Data-Fitter_000", tool="Fitter")
        del group.attrs["source_000"]
        group.attrs["source_file_path"] = "/data/other.h5"
        group.attrs["source_dataset_path"] = MAIN
    with xr.open_datatree(path, engine="usid") as tree:
        attrs = tree[f"{CHANNEL}/Raw_Data-Fitter_000"].attrs
        assert attrs["source_file_path"] == "/data/other.h5"
        assert attrs["source_dataset_path"] == MAIN


BOOKKEEPING = ["time_stamp", "timestamp", "pycroscopy_version", "Pycroscopy version",
               "pyUSID_version", "sidpy_version", "machine_id", "platform"]  # fmt: skip


@pytest.mark.parametrize("key", BOOKKEEPING)
def test_case_39_bookkeeping_in_every_spelling(path: Path, key: str) -> None:
    write_file(path, POSITION, BIAS, attrs={key: "2018_05_26-16_42_12"})
    with open_main(path, MAIN) as ds:
        assert ds.attrs[key] == "2018_05_26-16_42_12"


@pytest.mark.parametrize("key", ["usid_attrs", "usid_name", "usid_parents", "usid_layout"])
def test_attributes_with_names_of_ours_are_not_lost(path: Path, key: str) -> None:
    write_file(path, POSITION, BIAS, attrs={key: "the file's own"})
    with open_main(path, MAIN) as ds:
        assert "the file's own" in json.dumps(ds.attrs)
        assert "usid_parents" in ds.attrs
        assert isinstance(ds.attrs["usid_attrs"], dict)


def test_other_datasets_are_reachable_as_stored(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    with h5py.File(path, "r+") as file:
        add_results(file, "Raw_Data-Fitter_000", tool="Fitter")
        file[CHANNEL].create_dataset("cube", data=np.arange(24.0).reshape(2, 3, 4))
        file[CHANNEL].create_dataset("number", data=np.int16(5))
    names = ["Position_Values", "Spectroscopic_Indices", "cube", "number"]
    wanted = [f"{CHANNEL}/{name}" for name in names]
    wanted.append(f"{CHANNEL}/Raw_Data-Fitter_000/completed_positions")
    with h5py.File(path) as file:
        stored = {place: file[place][()] for place in wanted}
    with xr.open_datatree(path, engine="usid") as tree:
        for place, cells in stored.items():
            (variable,) = tree[place].data_vars.values()
            assert variable.dtype == cells.dtype
            np.testing.assert_array_equal(variable.values, cells)


def test_the_table_attributes_do_not_spoil_the_axes(path: Path) -> None:
    side = Side(POSITION.indices, ["X", "Y"], attrs={"scale_factor": 3.0, "note": "ours"})
    assert_file_agrees(write_file(path, side, BIAS))


def test_a_channel_without_measurement(path: Path) -> None:
    with h5py.File(path, "w") as file:
        write_main(file, "Raw_Data", position=POSITION, spectroscopic=BIAS)
        write_main(file.create_group("Raw_Measurement"), "Image", position=POSITION)
    assert_file_agrees(path)


def test_mains_found_twice_through_links_are_read(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    with h5py.File(path, "r+") as file:
        file["soft"] = h5py.SoftLink(MAIN)
        file["broken"] = h5py.SoftLink("/nowhere")
        file["loop"] = h5py.SoftLink("/")
        file["elsewhere"] = h5py.ExternalLink("missing.h5", "/")
    with xr.open_datatree(path, engine="usid") as tree:
        assert "Raw_Data" in tree[MAIN].data_vars


def test_open_datatree_is_exported(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    import usid_tasks

    with usid_tasks.open_datatree(path) as tree:
        assert "Raw_Data" in tree[MAIN].data_vars
