"""Datasets that our writer made of a signal: its metadata and axes come back as they were."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import h5py
import index_tables as it
import numpy as np
import pytest
from signal_files import BIAS, POINT, POSITION, TRIANGLE
from usid_files import MAIN, Side, line, write_file

from usid_tasks import __version__
from usid_tasks.rosetta import file_reader
from usid_tasks.writing.metadata import flattened
from usid_tasks.writing.structure import put_attributes

MEASUREMENT = "/Measurement_000"
METADATA: dict[str, Any] = {
    "General": {"title": "Loops", "date": "2026-01-31", "FileIO": {"0": {"operation": "save"}}},
    "Signal": {"signal_type": "EELS", "quantity": "Current [nA]"},
    "Sample": {"a-b": None, "when": date(2026, 1, 31), "sizes": [1, 2], "keys": (0.5, 1.0)},
}
ORIGINAL: dict[str, Any] = {"gain": 2, "nested": {"x/y": "µ"}, "quantity": "Voltage"}


def written(path: Path, *sides: Side, metadata: dict = METADATA, original: dict = ORIGINAL) -> Path:
    """Write a file as our writer leaves it."""
    write_file(path, *sides)
    with h5py.File(path, "r+", libver="latest") as file:
        put_attributes(file[MEASUREMENT], flattened(metadata, original))
        file[MEASUREMENT].attrs["machine_id"] = "here"
        file[MAIN].attrs["written_by"] = f"usid-flows {__version__}"
    return path


def test_metadata_come_back_as_they_were(path: Path) -> None:
    (signal,) = file_reader(written(path, POSITION, BIAS))
    metadata = signal["metadata"]
    assert metadata["General"].pop("original_filename") == str(path)
    assert metadata == METADATA
    assert type(metadata["Sample"]["keys"]) is tuple


def test_original_metadata_come_back_but_for_where_they_are_now(path: Path) -> None:
    (signal,) = file_reader(written(path, POSITION, BIAS))
    told = signal["original_metadata"]
    assert told["gain"] == 2
    assert told["nested"] == {"x/y": "µ"}
    assert told["quantity"] == "Current"
    assert told["dataset_path"] == MAIN
    assert told["parameters"] == {"machine_id": "here"}
    assert told["attributes"]["measurement"] == {"machine_id": "here"}


def test_what_was_kept_aside_before_is_kept(path: Path) -> None:
    """A force curve: the signal has an index, its metadata the Values."""
    before = {"dimensions": {"Z": {"values": [0.0, 1.0, 0.0]}}}
    (signal,) = file_reader(written(path, POINT, line("Z", np.arange(3.0)), original=before))
    assert signal["original_metadata"]["dimensions"] == before["dimensions"]


def test_values_of_the_dataset_stand_before_those_kept_aside(path: Path) -> None:
    """Someone changed the axis: what its tables say is true, the rest is history."""
    before = {"dimensions": {"Bias": {"values": [9.0] * 5}, "Z": {"values": 1.0}}}
    written(path, POSITION, TRIANGLE, original=before)
    with pytest.warns(UserWarning, match="'Bias'"):
        (signal,) = file_reader(path)
    kept = signal["original_metadata"]["dimensions"]
    assert kept["Bias"]["values"].tolist() == [0, 1, 2, 1, 0]
    assert kept["Z"] == {"values": 1.0}


def test_the_split_of_navigation_and_signal_comes_back(path: Path) -> None:
    """Positions navigate even where there is no signal axis."""
    (signal,) = file_reader(written(path, POSITION))
    assert [(axis["name"], axis["navigate"]) for axis in signal["axes"]] == [
        ("Y", True), ("X", True),
    ]  # fmt: skip
    assert signal["data"].shape == (4, 3)


@pytest.mark.parametrize("lazy", [False, True])
def test_axes_of_size_one_come_back(path: Path, lazy: bool) -> None:
    table = it.grid({"Z": 1, "Y": 4, "T": 1}, columns=["Z", "Y", "T"])
    values = np.c_[np.full(4, 7.0), table[:, 1] * 0.5, np.full(4, 2.5)]
    side = Side(table, ["Z", "Y", "T"], ["nm", "um", "K"], values)
    (signal,) = file_reader(written(path, side, line("Bias", [3.0])), lazy=lazy)
    assert [(a["name"], a["size"], a["offset"], a["navigate"]) for a in signal["axes"]] == [
        ("Z", 1, 7.0, True), ("Y", 4, 0.0, True), ("T", 1, 2.5, True), ("Bias", 1, 3.0, False),
    ]  # fmt: skip
    assert signal["data"].shape == (1, 4, 1, 1)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(np.ravel(signal["data"]), file[MAIN][:, 0])


@pytest.mark.parametrize("columns", [["X", "T", "Y"], ["Y", "T", "X"]])
def test_axes_of_size_one_come_back_in_their_place(path: Path, columns: list[str]) -> None:
    side = Side(it.grid({"Y": 4, "T": 1, "X": 3}, columns=columns), columns)
    (signal,) = file_reader(written(path, side, BIAS))
    assert [axis["name"] for axis in signal["axes"]] == ["Y", "T", "X", "Bias"]
    assert signal["data"].shape == (4, 1, 3, 5)


@pytest.mark.parametrize(("label", "is_axis"), [("arb", False), ("arb_2", False), ("arbor", True)])
def test_what_stands_for_no_dimension_is_no_axis(path: Path, label: str, is_axis: bool) -> None:
    place = Side(np.zeros((1, 1), int), [label], [""], np.zeros((1, 1)))
    (signal,) = file_reader(written(path, place, BIAS))
    assert [axis["name"] for axis in signal["axes"]] == ([label] if is_axis else []) + ["Bias"]
    assert signal["original_metadata"]["dimensions"] == {}


def test_a_title_stands_for_the_name_of_the_dataset(path: Path) -> None:
    with h5py.File(written(path, POSITION, BIAS), "r+") as file:
        file.copy(MEASUREMENT, "Measurement_001")
        for name, table in file["Measurement_001/Channel_000"].items():
            if name != "Raw_Data":
                file["Measurement_001/Channel_000/Raw_Data"].attrs[name] = table.ref
    titles = [signal["metadata"]["General"]["title"] for signal in file_reader(path)]
    assert titles == [
        "Loops (Measurement_000/Channel_000, Current)",
        "Loops (Measurement_001/Channel_000, Current)",
    ]


def test_a_signal_without_quantity_gets_none(path: Path) -> None:
    written(path, POSITION, BIAS, metadata={"General": {}}, original={})
    with h5py.File(path, "r+") as file:
        file[MAIN].attrs.update({"quantity": "Unknown Quantity", "units": "Unknown Units"})
    (signal,) = file_reader(path)
    assert signal["metadata"]["Signal"] == {"signal_type": ""}
    assert signal["metadata"]["General"]["title"] == "Raw_Data"
    assert signal["original_metadata"]["units"] == "Unknown Units"


def test_results_beside_it_are_not_taken_for_the_signal(path: Path) -> None:
    with h5py.File(written(path, POSITION, BIAS), "r+") as file:
        del file[MAIN].attrs["written_by"]
    (signal,) = file_reader(path)
    assert signal["metadata"]["General"]["title"] == "Raw_Data"
    assert "gain" not in signal["original_metadata"]


@pytest.mark.parametrize("spoiled", ["metadata_types", "Sample-a%2Db", "Sample-when"])
def test_metadata_that_another_program_changed_are_read_as_attributes(
    path: Path, spoiled: str
) -> None:
    with h5py.File(written(path, POSITION, BIAS), "r+") as file:
        assert spoiled in file[MEASUREMENT].attrs
        file[MEASUREMENT].attrs[spoiled] = "no JSON and no kind"
    if spoiled == "metadata_types":
        with h5py.File(path, "r+") as file:
            file[MEASUREMENT].attrs[spoiled] = 7
    with pytest.warns(UserWarning, match="read as plain attributes.*/Measurement_000"):
        (signal,) = file_reader(path)
    assert signal["metadata"]["General"]["title"] == "Raw_Data"
    assert signal["original_metadata"]["parameters"]["General-title"] == "Loops"
