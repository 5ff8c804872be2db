"""``file_writer``: every signal becomes a Main dataset that holds all of it."""

from __future__ import annotations

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from agreement import assert_file_agrees
from hypothesis import given, settings
from hypothesis import strategies as st
from usid_files import MAIN, distinct
from written_signals import NAMES, assert_file_holds, axis, signal, values_of

import usid_tasks
from usid_tasks import file_reader, file_writer, validate_file
from usid_tasks.writing import cells, storing

DTYPES = [
    "f4",
    "f8",
    "f2",
    ">f4",
    "i1",
    "u2",
    ">i8",
    "?",
    "c8",
    [("Amplitude [V]", "f4"), ("P", "<i2")],
]
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"chunks": True},
    {"chunks": (2, 3), "maxshape": (None, None), "compression": "gzip", "shuffle": True},
    {"compression": "lzf", "fletcher32": True},
    {"maxshape": (None, None)},
]


@st.composite
def signals(draw):
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    names = draw(st.permutations(NAMES))
    data = distinct(tuple(sizes), draw(st.sampled_from(DTYPES)))
    axes = []
    for name, size in zip(names, sizes, strict=False):
        more: dict[str, Any] = {"offset": draw(st.sampled_from([0.0, -1.5, 20000.01]))}
        if draw(st.booleans()):
            more = {
                "axis": np.cumsum(draw(st.lists(st.floats(0.125, 9), min_size=size, max_size=size)))
            }
        axes.append(axis(name, size, draw(st.booleans()), **more))
    form = draw(st.sampled_from(["C", "F", "view", "dask"]))
    if form == "F":
        data = np.asfortranarray(data)
    elif form == "view":
        data = np.repeat(data, 2, axis=-1)[..., ::2]
    elif form == "dask":
        chunks = tuple(draw(st.integers(1, size)) for size in sizes)
        data = da.from_array(data, chunks=chunks)
    return {"data": data, "axes": axes, "metadata": {}, "original_metadata": {}}


@settings(max_examples=60, deadline=None)
@given(signals(), st.sampled_from(LAYOUTS), st.sampled_from(["slow to fast", "specification"]))
def test_every_signal_is_held_whole(told, layout, order):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scan.h5")
        file_writer(path, told, column_order=order, **layout)
        assert [item.name for item in Path(folder).iterdir()] == ["scan.h5"]
        assert_file_holds(path, told, columns=-1 if order == "specification" else 1)
        assert_file_agrees(path, ways=[None])
        assert {found.id for found in validate_file(path) if found.severity != "info"} <= {"A3"}


def first_axis(path: Path) -> dict[str, Any]:
    (found,) = file_reader(path)
    return found["axes"][0]


def stored(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return file[MAIN].parent[name][()]


# axes


@pytest.mark.parametrize(
    ("more", "dtype"),
    [
        ({"offset": -4.0, "scale": 0.25}, "f4"),
        ({"offset": 0.1, "scale": 0.1}, "f8"),
        ({"offset": 20000.0, "scale": 0.01}, "f8"),
        ({"offset": 1.7e9, "scale": 1.0}, "f8"),
        ({"offset": 3.0, "scale": 0.0}, "f4"),
        ({"offset": 5.0, "scale": -1.0}, "f4"),
        ({"offset": float("nan"), "scale": 1.0}, "f4"),
        ({"axis": np.array([1.0, 2, 4, 8, 1e300])}, "f8"),
        ({"axis": np.array([0.0, 1, 2, 1, 0])}, "f4"),
        ({"axis": np.array([9, 7, 4, 2, 0], np.uint8)}, "f4"),
        ({"axis": np.array([2**24, 2**24 + 1, 1, 2, 3])}, "f8"),
        ({"axis": np.array([2**53, 2**53 + 1, 1, 2, -3])}, "i8"),
        ({"axis": np.array([2**63, 2**63 + 1, 1, 2, 3], np.uint64)}, "u8"),
        ({"axis": np.array([False, True, True, True, True])}, "f4"),
        ({"axis": np.array([0.5, 1, 2, 3, 4], np.longdouble)}, "f4"),
        ({"axis": np.array([0.1, 1, 2, 3, 4], ">f8")}, "f8"),
    ],
)
def test_values_are_float32_only_where_that_is_exact(write, more, dtype):
    told = signal({}, {})
    told["data"], told["axes"] = distinct((5,)), [axis("Bias", 5, **more)]
    path = write(told)
    values = stored(path, "Spectroscopic_Values")
    assert values.dtype == dtype
    np.testing.assert_array_equal(values[0], values_of(told["axes"][0], 5).astype(dtype))


def test_all_dimensions_of_a_table_are_exact(write):
    told = signal({}, {"Bias": 3, "Time": 4})
    told["axes"][1] |= {"offset": 1.7e9, "scale": 1e-3}
    values = stored(write(told), "Spectroscopic_Values")
    assert values.dtype == np.float64
    assert len(np.unique(values[1])) == 4


def test_axes_come_back_as_they_were(write):
    told = signal({"Y": 3, "X": 1}, {"Frequency": 5, "Cycle": 2})
    told["axes"][2] = axis("Frequency", 5, axis=np.logspace(6, 0, 5), units="Hz")
    told["axes"][0]["units"] = " µm "
    (found,) = file_reader(write(told))
    assert [(one["name"], one["units"], one["navigate"]) for one in found["axes"]] == [
        ("Y", "µm", True), ("X", "nm", True), ("Frequency", "Hz", False), ("Cycle", "nm", False),
    ]  # fmt: skip
    np.testing.assert_array_equal(found["axes"][2]["axis"], np.logspace(6, 0, 5))
    assert (found["axes"][0]["offset"], found["axes"][0]["scale"]) == (1.0, 0.5)
    np.testing.assert_array_equal(found["data"], told["data"])


def test_axes_may_be_told_in_any_order(write):
    told = signal({"Y": 3, "X": 4}, {"Bias": 5})
    for place, one in enumerate(told["axes"]):
        one["index_in_array"] = place
    assert_file_holds(write({**told, "axes": told["axes"][::-1]}), told)


def test_signal_axes_may_lie_before_the_others(write):
    told = signal({"Y": 3}, {"Bias": 5})
    data = np.ascontiguousarray(told["data"].T)
    assert_file_holds(write({**told, "data": data, "axes": told["axes"][::-1]}), told)


def test_axes_without_a_name_get_one_that_is_free(write):
    told = signal({"Y": 2, "Pos_Dim_0": 3}, {"": 2, "Spec_Dim_0": 2})
    told["axes"][0]["name"] = None
    told["axes"][0]["units"] = None
    path = write(told)
    with h5py.File(path) as file:
        tables = [file[MAIN].parent[f"{side}_Indices"] for side in ("Position", "Spectroscopic")]
        assert [list(table.attrs["labels"]) for table in tables] == [
            [b"Pos_Dim_1", b"Pos_Dim_0"], [b"Spec_Dim_1", b"Spec_Dim_0"],
        ]  # fmt: skip
        assert list(tables[0].attrs["units"]) == [b"", b"nm"]


def test_a_side_without_axes_has_one_dimension_of_size_one(write):
    told = signal({}, {"arb": 3, "Bias": 2})
    path = write(told)
    with h5py.File(path) as file:
        table = file[MAIN].parent["Position_Values"]
        assert (table.shape, list(table.attrs["labels"])) == ((1, 1), [b"arb_2"])
    (found,) = file_reader(path)
    assert [one["name"] for one in found["axes"]] == ["arb", "Bias"]


def test_a_lone_value_is_a_signal(write):
    told = {"data": np.array([7.0]), "axes": []}
    with h5py.File(write(told)) as file:
        assert file[MAIN][()].tolist() == [[7.0]]


def test_the_array_decides_how_many_points_an_axis_has(path):
    told = signal({"Y": 3}, {"Bias": 5})
    told["axes"][1]["size"] = 1259
    with pytest.warns(UserWarning, match=r"Bias.* 1259 points; the array has 5"):
        file_writer(path, told)
    told["axes"][1]["size"] = 5
    assert_file_holds(path, told)


def test_binned_axes_are_marked(write):
    told = signal({"Y": 3}, {"Bias": 5, "Time": 2})
    told["axes"][2]["is_binned"] = True
    with h5py.File(write(told)) as file:
        group = file[MAIN].parent
        assert group["Spectroscopic_Values"].attrs["is_binned"].tolist() == [False, True]
        assert "is_binned" not in group["Position_Values"].attrs


# quantity, units, mandatory attributes, region references


@pytest.mark.parametrize(
    ("told", "original", "options", "expected"),
    [
        ({"Signal": {"quantity": "Current (nA)"}}, {}, {}, ("Current", "nA")),
        ({"Signal": {"quantity": "Charge (C/(V s))"}}, {}, {}, ("Charge", "C/(V s)")),
        ({"Signal": {"quantity": "Intensity"}}, {}, {}, ("Intensity", "")),
        ({}, {"quantity": "Height", "units": "nm [rms]"}, {}, ("Height", "nm [rms]")),
        (
            {"Signal": {"quantity": "Height [rms] (nm)"}},
            {"quantity": "Height [rms]", "units": "nm"}, {}, ("Height [rms]", "nm"),
        ),
        (
            {"Signal": {"quantity": "Phase (rad)"}},
            {"quantity": "Height", "units": "nm"}, {}, ("Phase", "rad"),
        ),
        ({}, {"quantity": "Phase", "units": ""}, {}, ("Phase", "")),
        ({}, {"quantity": "Phase"}, {}, ("Phase", "Unknown Units")),
        ({}, {}, {}, ("Unknown Quantity", "Unknown Units")),
        ({"Signal": None}, {"quantity": 7}, {"units": "V"}, ("Unknown Quantity", "V")),
        ({"Signal": {"quantity": "A (m)"}}, {}, {"quantity": "B", "units": "s"}, ("B", "s")),
    ],
)  # fmt: skip
def test_quantity_and_units(write, told, original, options, expected):
    path = write(signal(metadata=told, original_metadata=original), **options)
    with h5py.File(path) as file:
        attributes = file[MAIN].attrs
        assert (attributes["quantity"], attributes["units"]) == expected


def test_all_groups_and_the_main_dataset_have_the_mandatory_attributes(write):
    path = write(signal())
    with h5py.File(path) as file:
        main = file[MAIN]
        for holder in (file, file["Measurement_000"], main.parent, main):
            kept = dict(holder.attrs)
            for name in ("time_stamp", "timestamp"):
                assert re.fullmatch(r"\d{4}(_\d\d){2}-\d\d(_\d\d){2}", kept[name])
            assert kept["written_by"].startswith("usid-flows ")
            assert all(kept[name] for name in ("machine_id", "platform", "pyUSID_version"))
    assert "R26" not in {found.id for found in validate_file(path)}


@pytest.mark.parametrize("order", ["slow to fast", "specification"])
def test_each_dimension_has_a_reference_to_its_region(write, order):
    path = write(signal({"Y": 3, "X": 4}, {"Bias": 5, "labels": 2}), column_order=order)
    with h5py.File(path) as file:
        group = file[MAIN].parent
        for kind in ("Indices", "Values"):
            table = group[f"Position_{kind}"]
            for column, label in enumerate(table.attrs["labels"]):
                region = table.attrs[label.decode()]
                np.testing.assert_array_equal(table[region], table[:, [column]])
            table = group[f"Spectroscopic_{kind}"]
            row = list(table.attrs["labels"]).index(b"Bias")
            np.testing.assert_array_equal(table[table.attrs["Bias"]], table[[row]])
            assert b"labels" in table.attrs["labels"]  # the list, not a region
    assert_file_agrees(path, ways=[None])


# options


def test_names_are_those_asked_for(write):
    told = signal()
    with pytest.warns(UserWarning, match="my-data.*becomes 'my_data'"):
        path = write(
            told, main_data_name="my-data", aux_pos_prefix="Raster", aux_spec_prefix="Sweep_",
            main_dset_attrs={"gain": 3, "by": {"whom": None}}, verbose=True, slow_to_fast=True,
        )  # fmt: skip
    main = "/Measurement_000/Channel_000/my_data"
    assert_file_holds(path, told, main)
    with h5py.File(path) as file:
        assert set(file[main].parent) == {
            "my_data", "Raster_Indices", "Raster_Values", "Sweep_Indices", "Sweep_Values",
        }  # fmt: skip
        attributes = file[main].attrs
        assert (attributes["gain"], attributes["by-whom"]) == (3, "null")
    assert_file_agrees(path, ways=[None])


def test_options_of_h5py_are_its(write):
    told = signal({"Y": 8}, {"Bias": 32}, "i2")
    path = write(told, chunks=(4, 16), compression="gzip", compression_opts=1, fillvalue=-1)
    with h5py.File(path) as file:
        main = file[MAIN]
        assert (main.chunks, main.compression, main.compression_opts) == ((4, 16), "gzip", 1)
        assert main.fillvalue == -1
    assert_file_holds(path, told)


@pytest.mark.parametrize("layout", [{}, {"compression": "gzip"}])
def test_values_are_stored_in_the_type_asked_for(write, layout):
    told = signal(dtype="f8")
    path = write(told, dtype="f4", **layout)
    assert_file_holds(path, {**told, "data": told["data"].astype("f4")})


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let slabs be of 64 KiB, and bands of HDF5 of 128 KiB."""
    monkeypatch.setattr(cells, "SLAB_BYTES", 2**16)
    monkeypatch.setattr(storing, "BAND_BYTES", 2**17)


@pytest.mark.usefixtures("small_parts")
def test_large_arrays_are_written_in_parts_by_threads(write):
    """More than one slab, more than one band."""
    data = np.random.default_rng(1).standard_normal((17, 8, 8, 160), dtype="f4")
    axes = [
        axis(name, size, k < 2)
        for k, (name, size) in enumerate(zip(NAMES, data.shape, strict=False))
    ]
    told = {"data": data, "axes": axes, "metadata": {}, "original_metadata": {}}
    assert len(list(cells.slabs(cells.Cells(data, 2, data.dtype)))) > 10
    for layout in ({"threads": 2}, {"chunks": (10, 100)}, {"threads": 1}):
        path = write(told, replace=True, **layout)
        with h5py.File(path) as file:
            assert np.array_equal(file[MAIN][()], data.reshape(17 * 8, -1))


@pytest.mark.usefixtures("small_parts")
def test_a_long_row_is_written_in_parts(write):
    """One position of 240 kB: slabs, and bands of HDF5, cut within it."""
    data = np.random.default_rng(1).standard_normal((300, 200), dtype="f4")
    told = {"data": data, "axes": [axis("A", 300), axis("B", 200)]}
    for layout in ({}, {"chunks": (1, 1_000)}):
        with h5py.File(write(told, replace=True, **layout)) as file:
            assert np.array_equal(file[MAIN][0].reshape(data.shape), data)


def test_what_a_measurement_has_no_place_for_is_told(write):
    told = signal(learning_results={"factors": np.eye(2)}, models={})
    with pytest.warns(UserWarning, match="machine learning, left out"):
        write(told)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(signal(learning_results={"factors": None}, models={"a": {}}), replace=True)


# HyperSpy


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("lazy", [False, True])
def test_a_signal_of_hyperspy_comes_back(hs, path, lazy):
    made = hs.signals.Signal1D(distinct((3, 4, 6)))
    made.axes_manager[0].name, made.axes_manager[1].name = "X", "Y"
    made.axes_manager[0].units = "µm"
    energies = {"axis": np.geomspace(1, 3000.01, 6), "name": "Energy", "units": "eV"}
    made.axes_manager.set_axis(hs.signals.Signal1D(np.zeros(6), axes=[energies]).axes_manager[0], 2)
    made.metadata.set_item("General.title", "Edges")
    made.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.0)
    made.metadata.set_item("Signal.quantity", "Counts (1)")
    made.original_metadata.add_dictionary({"Vendor": {"a/b": [1, "x", None]}})
    made = made.as_lazy() if lazy else made
    file_writer(path, made._to_dictionary(add_models=True))
    (found,) = file_reader(path)
    back = hs.load(path, file_format=usid_tasks.rosetta)
    np.testing.assert_array_equal(found["data"], distinct((3, 4, 6)))
    assert back.axes_manager.navigation_dimension == 2
    assert [one.name for one in back.axes_manager._axes] == ["Y", "X", "Energy"]
    np.testing.assert_array_equal(back.axes_manager["Energy"].axis, energies["axis"])
    assert back.metadata.General.title == "Edges"
    assert back.metadata.Acquisition_instrument.TEM.beam_energy == 200.0
    assert back.metadata.Signal.quantity == "Counts (1)"
    assert back.original_metadata.as_dictionary()["Vendor"] == {"a/b": [1, "x", None]}
