"""Axes of any name, size and kind come back from a file as they were written."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from usid_files import MAIN, distinct
from written_signals import axis, signal

from usid_tasks import file_reader, file_writer
from usid_tasks.samples import write_samples

ORDERS = ["slow to fast", "specification"]
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=4) | st.sampled_from(
    ["labels", "units", "scales", "column_order", "is_binned", "arb", "arb_2", "position",
     "spectroscopic", "Position_Indices", "quantity", "incomplete_dimensions", "type",
     "a/b", ".", "%41", "-"]
)  # fmt: skip


@st.composite
def axes(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return one to four axes, those of Position dimensions first."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=lambda name: name.strip()))
    found = []
    for name in names:
        size, told = draw(st.integers(1, 3)), {"name": name.strip(), "units": draw(NAMES).strip()}
        steps = st.floats(1e-3, 9)
        if size > 1 and draw(st.booleans()):
            vector = np.cumsum(draw(st.lists(steps, min_size=size, max_size=size)))
            told |= {"axis": vector * draw(st.sampled_from([1, -1]))}
        else:
            offset = draw(st.sampled_from([0.0, -1.5, 20000.01, 1.7e9]))
            told |= {"offset": offset, "scale": draw(steps) * draw(st.sampled_from([1, -1]))}
        if draw(st.booleans()):
            told |= {"is_binned": True}
        found.append({**told, "size": size, "navigate": draw(st.booleans())})
    found.sort(key=lambda one: not one["navigate"])
    return [{**one, "index_in_array": place} for place, one in enumerate(found)]


def of_size_one(names: list[str], *, navigate: bool, wide: str = "") -> list[dict[str, Any]]:
    return [
        {
            "name": name, "units": "", "offset": 2.0, "scale": 0.25, "navigate": navigate,
            "size": 4 if name == wide else 1, "index_in_array": place,
        }
        for place, name in enumerate(names)
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(axes(), st.sampled_from(ORDERS))
@example(of_size_one(["Z", "T"], navigate=True), "specification")
@example(of_size_one(["Z", "X", "T"], navigate=False, wide="X"), "specification")
@example(of_size_one(["X", "Z", "T"], navigate=True, wide="X"), "specification")
@example(of_size_one(["arb"], navigate=False), "slow to fast")
def test_axes_come_back_as_they_were(told, order):
    shape = tuple(one["size"] for one in told)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scan.h5")
        file_writer(path, {"data": distinct(shape), "axes": told}, column_order=order)
        (found,) = file_reader(path)
    np.testing.assert_array_equal(found["data"], distinct(shape))
    for one, wanted in zip(found["axes"], told, strict=True):
        if not wanted["name"]:
            assert one["name"].startswith(("Pos_Dim_", "Spec_Dim_"))
            wanted = {**wanted, "name": one["name"]}
        assert set(one) == set(wanted)
        np.testing.assert_array_equal(one.pop("axis", None), wanted.get("axis"))
        assert one == {name: value for name, value in wanted.items() if name != "axis"}


@pytest.mark.parametrize(
    "more",
    [
        {"offset": 0.1, "scale": 0.1},
        {"offset": -3.3, "scale": -1 / 3},
        {"offset": 1.7e9, "scale": 1e-7},  # float64 rounds its steps to others
        {"axis": np.linspace(0, 1, 5)},
        {"axis": np.array([0, 0.25, 0.5000001, 0.75, 1])},
    ],
    ids=str,
)
def test_a_scale_stays_a_scale_and_a_vector_a_vector(write, more):
    told = signal({}, {"Bias": 5})
    told["axes"] = [axis("Bias", 5, **more)]
    (found,) = file_reader(write(told), ignore_non_uniform_dims="scale" not in more)
    for name in ("offset", "scale", "axis"):
        np.testing.assert_array_equal(found["axes"][0].get(name), more.get(name))


# what another program changed

SECOND = MAIN.replace("Raw_Data", "Spectroscopic_Values")


def test_changed_values_are_the_axis(write):
    path = write(signal({}, {"Bias": 3, "Time": 1}))
    with h5py.File(path, "r+") as file:
        file[SECOND][...] = np.array([[5, 7, 9], [4, 4, 4]])
    (found,) = file_reader(path)
    told = [(one["offset"], one["scale"]) for one in found["axes"]]
    assert told == [(5.0, 2.0), (4.0, 0.5)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("scales", "wide"), ("scales", np.ones(3)), ("column_order", 7), ("is_binned", 1)],
)
def test_notes_that_make_no_sense_are_passed_over(write, name, value):
    path = write(signal({}, {"Bias": 3, "Time": 2}))
    with h5py.File(path, "r+") as file:
        file[SECOND].attrs[name] = value
    (found,) = file_reader(path)
    told = [(one["name"], one["offset"], one["scale"]) for one in found["axes"]]
    assert told == [("Bias", 1.0, 0.5), ("Time", 1.0, 0.5)]
    assert not any("is_binned" in one for one in found["axes"])


def test_the_rows_stand_above_the_note_of_their_order(write):
    path = write(signal({}, {"Bias": 3, "Time": 2}))
    with h5py.File(path, "r+") as file:
        file[SECOND].attrs["column_order"] = "fast to slow"
    (found,) = file_reader(path)
    assert [one["name"] for one in found["axes"]] == ["Bias", "Time"]


# signals that were read

SAMPLES = ["force_curve", "stopped_scan", "impedance_sweep", "luminescence_points"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = write_samples(tmp_path_factory.mktemp("samples"))
    return {sample.path.stem: sample.path for sample in found}


@pytest.mark.filterwarnings("ignore::UserWarning")  # told when they are read first
@pytest.mark.parametrize("name", SAMPLES)
def test_what_was_read_and_written_is_read_alike(samples, write, name):
    """A curve that turns back, an aborted raster, a vector, points without a grid."""
    for before in file_reader(samples[name]):
        (after,) = file_reader(write(before, replace=True))
        for told in (before, after):
            del told["metadata"]["General"]["original_filename"]
            del told["original_metadata"]["dataset_path"]
            del told["original_metadata"]["pyUSID_version"]
        np.testing.assert_equal(after, before)
        assert after["data"].dtype == before["data"].dtype


def test_index_axes_are_told_once_more(write):
    """Values that turn back are in the metadata, and stay there when the signal is written."""
    told = signal({}, {"Bias": 5})
    told["axes"][0] = axis("Bias", 5, axis=np.array([0.0, 1, 2, 1, 0]))
    path = write(told)
    with pytest.warns(UserWarning, match="'Bias' .its Values turn back"):
        (first,) = file_reader(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (again,) = file_reader(write(first, replace=True))
    values = again["original_metadata"]["dimensions"]["Bias"]["values"]
    assert values.tolist() == [0, 1, 2, 1, 0]
