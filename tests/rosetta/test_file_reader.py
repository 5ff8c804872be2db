"""RosettaSciIO's contract of reading, kept in full: axes, titles, metadata, errors, handles."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import dask
import h5py
import index_tables as it
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signal_files import BIAS, LOG, POINT, POSITION, TRIANGLE
from signal_oracle import assert_signals_agree, read
from usid_files import MAIN, Side, channel, distinct, line, write_file, write_main

import usid_tasks
from usid_tasks.errors import NoMainDatasetError, NotHDF5Error, UnreadableDataError, UsidError
from usid_tasks.rosetta import file_reader
from usid_tasks.rosetta.metadata import distinct_keys, split_units
from usid_tasks.rosetta.titles import Named, titles_of


def names(signal: dict, *, navigate: bool | None = None) -> list[str]:
    return [a["name"] for a in signal["axes"] if navigate in (None, a["navigate"])]


def test_the_signature_is_the_documented_one() -> None:
    parameters = inspect.signature(usid_tasks.file_reader).parameters
    assert {name: one.default for name, one in parameters.items()} == {
        "filename": inspect.Parameter.empty,
        "lazy": False,
        "dataset_path": None,
        "ignore_non_uniform_dims": True,
    }
    assert all(one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters.values())
    assert {"file_reader", "file_writer", "rosetta"} <= set(dir(usid_tasks))


def test_a_signal_has_the_four_parts(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    (signal,) = file_reader(str(path))
    assert set(signal) == {"data", "axes", "metadata", "original_metadata"}
    assert type(signal["data"]) is np.ndarray
    assert signal["data"].flags.c_contiguous
    assert signal["metadata"]["General"] == {"original_filename": str(path), "title": "Raw_Data"}


def test_a_path_is_as_good_as_text(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    (by_text,), (by_path,) = file_reader(str(path)), file_reader(path)
    np.testing.assert_equal(by_text, by_path)


@pytest.mark.parametrize("wrong", [{"filename": 3}, {"dataset_path": b"/x"}, {"dataset_path": 3}])
def test_what_is_no_path_is_a_type_error(path: Path, wrong: dict) -> None:
    write_file(path, POSITION, BIAS)
    with pytest.raises(TypeError, match="not a str"):
        file_reader(**{"filename": path, **wrong})


# axes


def test_positions_navigate_and_steps_are_the_signal(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    (signal,) = file_reader(path)
    assert names(signal, navigate=True) == ["Y", "X"]
    assert names(signal, navigate=False) == ["Bias"]
    assert signal["data"].shape == (4, 3, 5)


@pytest.mark.parametrize("columns", [["X", "Y"], ["Y", "X"]])
def test_an_image_alone_is_a_signal_of_lines_whatever_the_columns(
    path: Path, columns: list[str]
) -> None:
    table = it.grid({"Y": 4, "X": 3}, columns=columns)
    write_file(path, Side(table, columns))
    (signal,) = file_reader(path)
    assert names(signal, navigate=False) == ["Y", "X"]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(signal["data"], file[MAIN][:, 0].reshape(4, 3))


def test_a_spectrum_alone_is_a_signal(path: Path) -> None:
    write_file(path, POINT, BIAS)
    (signal,) = file_reader(path)
    assert names(signal, navigate=True) == []
    assert names(signal, navigate=False) == ["Bias"]


def test_the_elements_of_a_sub_array_are_the_signal(path: Path) -> None:
    write_file(path, POSITION, dtype=[("coefficients", "f4", (2,)), ("error", "f8")])
    pair, error = file_reader(path)
    assert names(pair, navigate=True) == ["Y", "X"]
    assert names(pair, navigate=False) == ["coefficients_0"]
    assert names(error, navigate=False) == ["Y", "X"]


def test_a_uniform_axis_is_an_offset_and_a_scale(path: Path) -> None:
    write_file(path, POINT, line("Bias", np.array([3, 2, 1, 0], "u1"), units="mV"))
    (signal,) = file_reader(path)
    assert signal["axes"] == [
        {
            "name": "Bias", "units": "mV", "size": 4, "offset": 3.0, "scale": -1.0,
            "index_in_array": 0, "navigate": False,
        }
    ]  # fmt: skip


def test_the_end_of_a_long_axis_is_where_it_was(path: Path) -> None:
    values = np.linspace(1, 2, 5000, dtype="f4")
    write_file(path, POINT, line("Bias", values))
    (axis,) = file_reader(path)[0]["axes"]
    off = axis["offset"] + axis["scale"] * np.arange(5000) - values
    assert np.abs(off).max() < 0.01 * axis["scale"]


@pytest.mark.parametrize(
    "values", [[1e6, 1e4, 1e2, 1], [10, 9, 5, 0, -20], [0, 1, 4, 9, 16, 25]], ids=str
)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", ">f4"])
def test_a_monotonic_axis_is_its_vector(
    path: Path, values: list[float], dtype: str, recwarn: pytest.WarningsRecorder
) -> None:
    write_file(path, POINT, line("Bias", np.array(values, dtype)))
    (axis,) = file_reader(path)[0]["axes"]
    assert axis["axis"].tolist() == values
    assert axis["units"] == "V"
    assert not {"offset", "scale"} & set(axis)
    assert not recwarn


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([0, 1, 2, 1, 0], "turn back"),
        (np.sin(np.linspace(0, 6.28, 7)), "turn back"),
        ([7, 7, 7, 7], "all equal"),
        ([0, np.nan, 2], "NaN"),
    ],
    ids=["triangle", "sine", "constant", "NaN"],
)
def test_any_other_axis_counts_and_its_values_are_kept(
    path: Path, values: Sequence[float], why: str
) -> None:
    write_file(path, POSITION, line("Drive", values, units="mV", value_dtype="f4"))
    with pytest.warns(UserWarning, match=f"Raw_Data.*'Drive'.*{why}"):
        (signal,) = file_reader(path)
    axis = signal["axes"][2]
    assert (axis["offset"], axis["scale"], axis["size"]) == (0, 1, len(values))
    assert (axis["name"], axis["units"]) == ("Drive", "mV")
    kept = signal["original_metadata"]["dimensions"]["Drive"]
    np.testing.assert_array_equal(kept["values"], np.array(values, "f4"), strict=True)
    assert (kept["units"], kept["side"], kept["size"]) == ("mV", "spectroscopic", len(values))
    assert "Drive" in signal["original_metadata"]["dimensions"]


def test_values_that_depend_on_another_dimension_are_kept_whole(path: Path) -> None:
    table = it.grid({"Cycle": 2, "Bias": 3})
    values = np.c_[(1.0 + table[:, 1]) * table[:, 0], table[:, 1]]
    write_file(path, POSITION, Side(table, ["Bias", "Cycle"], ["V", ""], values))
    with pytest.warns(UserWarning, match=r"'Bias' \(its Values depend on Cycle, Bias\)"):
        (signal,) = file_reader(path)
    kept = signal["original_metadata"]["dimensions"]["Bias"]
    assert kept["values"].tolist() == [[0, 1, 2], [0, 2, 4]]
    assert kept["depends_on"] == ["Cycle", "Bias"]
    assert names(signal) == ["Y", "X", "Cycle", "Bias"]


def test_points_without_a_grid_are_counted_and_their_places_kept(path: Path) -> None:
    places = np.array([[3.0, 1], [0, 5], [2, 2], [9, 0]])
    write_file(path, Side(it.sparse(4, 2), ["X", "Y"], ["nm", "um"], places), BIAS)
    with pytest.warns(UserWarning, match=r"'Y'.*no grid.*'X'.*no grid"):
        (signal,) = file_reader(path)
    assert names(signal, navigate=True) == ["position"]
    kept = signal["original_metadata"]["dimensions"]
    assert kept["X"]["values"].tolist() == [3, 0, 2, 9]
    assert (kept["X"]["units"], kept["Y"]["units"]) == ("nm", "um")


def test_an_aborted_raster_tells_what_was_measured(path: Path) -> None:
    write_file(path, Side(it.grid({"Y": 4, "X": 3})[:10], ["X", "Y"]), BIAS)
    with pytest.warns(UserWarning, match=r"2 of 12 positions were not measured"):
        (signal,) = file_reader(path)
    valid = signal["original_metadata"]["valid"]
    assert valid.tolist() == [[True] * 3] * 3 + [[True, False, False]]
    assert np.isnan(signal["data"][~valid]).all()


def test_dimensions_of_size_one_are_no_axes_and_keep_their_values(path: Path) -> None:
    table = it.grid({"Z": 1, "Y": 4, "X": 3})
    values = np.c_[table[:, 0] * 2.0, table[:, 1] * 0.5, np.full(12, 7.5)]
    write_file(path, Side(table, ["X", "Y", "Z"], ["um", "um", "nm"], values), BIAS)
    (signal,) = file_reader(path)
    assert names(signal) == ["Y", "X", "Bias"]
    kept = signal["original_metadata"]["dimensions"]["Z"]
    assert (kept["values"], kept["units"], kept["size"]) == (7.5, "nm", 1)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_lone_value_has_one_axis(path: Path, lazy: bool) -> None:
    write_file(path, POINT, line("Bias", [2.5]))
    (signal,) = file_reader(path, lazy=lazy)
    assert signal["data"].shape == (1,)
    (axis,) = signal["axes"]
    assert (axis["name"], axis["units"], axis["offset"], axis["size"]) == ("Bias", "V", 2.5, 1)
    assert axis["navigate"] is False


def test_labels_that_are_the_same_are_told_apart(path: Path) -> None:
    side = Side(it.grid({"b": 4, "a": 3}), ["X", "X"])
    write_file(path, side, line("X", np.arange(5.0)))
    (signal,) = file_reader(path)
    assert len(set(names(signal))) == 3
    assert all(name.startswith("X") for name in names(signal))


# ignore_non_uniform_dims


@pytest.mark.parametrize(
    ("spectroscopic", "name"),
    [(TRIANGLE, "Bias"), (LOG, "Frequency"), (line("Time", [1.0] * 4), "Time")],
    ids=["triangle", "logarithm", "constant"],
)
def test_every_non_uniform_dimension_can_be_an_error(
    path: Path, spectroscopic: Side, name: str
) -> None:
    write_file(path, POSITION, spectroscopic)
    with pytest.raises(ValueError, match=rf"'{name}' of {MAIN}.*ignore_non_uniform_dims") as caught:
        file_reader(path, ignore_non_uniform_dims=False)
    assert isinstance(caught.value, UsidError)
    assert caught.value.where == str(path)


def test_the_error_names_all_dimensions_of_all_mains(path: Path) -> None:
    with h5py.File(path, "w") as file:
        write_main(channel(file, 0, 0), position=POSITION, spectroscopic=LOG)
        write_main(channel(file, 0, 1), position=POSITION, spectroscopic=BIAS)
        sparse = Side(it.sparse(4, 2), ["X", "Y"], values=np.eye(4)[:, :2])
        write_main(channel(file, 0, 2), position=sparse, spectroscopic=TRIANGLE)
    with pytest.raises(ValueError, match="Frequency") as caught:
        file_reader(path, ignore_non_uniform_dims=False)
    told = str(caught.value)
    assert all(f"'{name}'" in told for name in ("Frequency", "X", "Y", "Bias"))
    assert "Channel_001" not in told


def test_uniform_dimensions_are_no_error(path: Path) -> None:
    write_file(path, POSITION, BIAS)
    assert file_reader(path, ignore_non_uniform_dims=False)


def test_only_the_dataset_asked_for_is_judged(path: Path) -> None:
    with h5py.File(path, "w") as file:
        write_main(channel(file, 0, 0), position=POSITION, spectroscopic=TRIANGLE)
        write_main(channel(file, 0, 1), position=POSITION, spectroscopic=BIAS)
    wanted = "/Measurement_000/Channel_001/Raw_Data"
    (signal,) = file_reader(path, dataset_path=wanted, ignore_non_uniform_dims=False)
    assert signal["original_metadata"]["dataset_path"] == wanted


# which datasets, and what they are called


@pytest.fixture
def channels(path: Path) -> Path:
    """Three channels of one name, and a picture beside them."""
    with h5py.File(path, "w") as file:
        for k, quantity in enumerate(["Height", "Amplitude", "Phase"]):
            write_main(
                channel(file, 0, k), position=POSITION, spectroscopic=BIAS, quantity=quantity,
                units="V", data=distinct((12, 5), start=1 + 100 * k),
            )  # fmt: skip
        write_main(channel(file, 1), "Picture", position=POSITION)
    return path


def test_all_mains_are_read_in_order_of_path(channels: Path) -> None:
    signals = assert_signals_agree(channels)
    assert [s["original_metadata"]["dataset_path"] for s in signals] == [
        "/Measurement_000/Channel_000/Raw_Data",
        "/Measurement_000/Channel_001/Raw_Data",
        "/Measurement_000/Channel_002/Raw_Data",
        "/Measurement_001/Channel_000/Picture",
    ]


def test_titles_tell_channels_apart(channels: Path) -> None:
    assert [s["metadata"]["General"]["title"] for s in file_reader(channels)] == [
        "Raw_Data (Channel_000, Height)",
        "Raw_Data (Channel_001, Amplitude)",
        "Raw_Data (Channel_002, Phase)",
        "Picture",
    ]


@pytest.mark.parametrize("given_path", ["/{}", "{}", "/{}/"])
def test_one_main_by_its_path_has_the_name_of_its_dataset(channels: Path, given_path: str) -> None:
    asked = given_path.format("Measurement_000/Channel_001/Raw_Data")
    (signal,) = file_reader(channels, dataset_path=asked)
    assert signal["metadata"]["General"]["title"] == "Raw_Data"
    assert signal["original_metadata"]["quantity"] == "Amplitude"
    assert signal["data"].min() == 101


def test_titles_tell_measurements_apart(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for k in range(2):
            write_main(channel(file, k), position=POSITION)
    assert [s["metadata"]["General"]["title"] for s in file_reader(path)] == [
        "Raw_Data (Measurement_000/Channel_000, Current)",
        "Raw_Data (Measurement_001/Channel_000, Current)",
    ]


PATHS = st.lists(st.sampled_from(["a", "b", "a b", "Channel_000", "é"]), min_size=1, max_size=4)
COMPONENTS = st.sampled_from(["", "amp", "a", "a (b, c)", "[V]"])


@given(
    st.lists(
        st.builds(lambda p, c, q: Named("/" + "/".join(p), c, q), PATHS, COMPONENTS, COMPONENTS),
        max_size=12, unique_by=lambda one: (one.path, one.component),
    )
)  # fmt: skip
def test_no_two_titles_are_alike(signals: list[Named]) -> None:
    titles = titles_of(signals)
    assert len(set(titles)) == len(titles) == len(signals)
    for one, title in zip(signals, titles, strict=True):
        assert (one.component or one.path.rpartition("/")[2]) in title


def test_a_compound_is_a_signal_for_each_component(path: Path) -> None:
    dtype = [("Amplitude [V]", "f4"), ("Charge (C/(V s))", ">f8"), ("n", "i2")]
    write_file(path, POSITION, BIAS, dtype=dtype, quantity="Response", units="a.u.")
    signals = assert_signals_agree(path)
    told = [signal["original_metadata"] for signal in signals]
    assert [(one["quantity"], one["units"]) for one in told] == [
        ("Amplitude", "V"), ("Charge", "C/(V s)"), ("n", ""),
    ]  # fmt: skip
    assert [one["component"] for one in told] == [name for name, _ in dtype]
    assert all(one["attributes"]["main"]["quantity"] == "Response" for one in told)
    titles = [signal["metadata"]["General"]["title"] for signal in signals]
    assert titles == [name for name, _ in dtype]


def test_components_of_several_compounds_are_told_apart(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for k in range(2):
            write_main(
                channel(file, 0, k), "Fit", position=POSITION, dtype=[("Q", "f4"), ("R", "f4")]
            )
    assert [s["metadata"]["General"]["title"] for s in file_reader(path)] == [
        "Fit (Channel_000, Q)", "Fit (Channel_000, R)",
        "Fit (Channel_001, Q)", "Fit (Channel_001, R)",
    ]  # fmt: skip


def test_nested_compounds_are_read_to_the_bottom(path: Path) -> None:
    dtype = [("fit", [("Q", "f4"), ("pair", "i2", (2,))]), ("error [V]", "f8")]
    write_file(path, POSITION, BIAS, dtype=dtype)
    signals = read(path)
    told = [one["original_metadata"]["component"] for one in signals]
    assert told == ["fit.Q", "fit.pair", "error [V]"]
    assert signals[1]["data"].shape == (4, 3, 5, 2)
    with h5py.File(path) as file:
        raw = file[MAIN][()]["fit"]["pair"]
    np.testing.assert_array_equal(signals[1]["data"], raw.reshape(4, 3, 5, 2))


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("Amplitude [V]", ("Amplitude", "V")),
        ("Phase (rad) ", ("Phase", "rad")),
        ("Charge (C/(V s))", ("Charge", "C/(V s)")),
        ("Current (nA [rms])", ("Current", "nA [rms]")),
        ("amp", ("amp", "")),
        ("f(x) of y", ("f(x) of y", "")),
        ("[V]", ("", "V")),
        ("a)", ("a)", "")),
        ("", ("", "")),
    ],
)
def test_units_of_a_component_are_what_its_name_ends_with(
    text: str, split: tuple[str, str]
) -> None:
    assert split_units(text) == split


# quantity, units, metadata


@pytest.mark.parametrize(
    ("quantity", "units", "label"),
    [
        ("Current", "nA", "Current (nA)"),
        ("Charge", "C/(V s)", "Charge (C/(V s))"),
        ("Current", "nA [rms]", "Current (nA [rms])"),
        ("Counts", "", "Counts"),
        (" Höhe ", "µm\n", " Höhe  (µm\n)"),
    ],
)
def test_quantity_and_units_are_verbatim(path: Path, quantity: str, units: str, label: str) -> None:
    write_file(path, POSITION, BIAS, quantity=quantity, units=units)
    (signal,) = file_reader(path)
    assert signal["original_metadata"]["quantity"] == quantity
    assert signal["original_metadata"]["units"] == units
    assert signal["metadata"]["Signal"]["quantity"] == label


def test_without_quantity_and_units_there_is_no_label(path: Path) -> None:
    write_file(path, POSITION, BIAS, quantity="", units="")
    assert "quantity" not in file_reader(path)[0]["metadata"]["Signal"]


@pytest.fixture
def told(path: Path) -> dict:
    """Return the original metadata of a Main in a results group, with attributes everywhere."""
    with h5py.File(path, "w") as file:
        raw = write_main(channel(file), position=POSITION, spectroscopic=BIAS)
        file.attrs["instrument"] = "AFM"
        file["Measurement_000"].attrs.update(
            {"scan rate": 0.5, "name": "outer", "large": np.arange(3000.0)}
        )
        channel(file).attrs.update(
            {"gain": np.float32(2), "name": "inner", "pyUSID_version": "1.2"}
        )
        results = channel(file).create_group("Raw_Data-Fit_000")
        results.attrs["source_000"] = raw.ref
        fit = write_main(results, "Fit", position=POSITION)
        fit.attrs.update(
            {
                "not finite": [np.nan, np.inf, -np.inf],
                "complex": 1 + 2j,
                "several": np.array([1j, np.nan]),
                "none": h5py.Empty("f4"),
                "truth": np.bool_(True),
                "text": "µ",
            }
        )
    with h5py.File(path) as file:
        assert MAIN in file
    place = "/Measurement_000/Channel_000/Raw_Data-Fit_000/Fit"
    return file_reader(path, dataset_path=place)[0]["original_metadata"]


def test_the_attributes_of_every_level_are_there(told: dict) -> None:
    levels = told["attributes"]
    assert set(levels) == {"main", "Raw_Data-Fit_000", "channel", "measurement", "file"}
    assert levels["file"] == {"instrument": "AFM"}
    assert levels["measurement"]["large"] == list(range(3000))
    assert levels["channel"]["gain"] == 2
    assert levels["Raw_Data-Fit_000"]["source_000"] == MAIN
    assert levels["main"]["Position_Indices"].endswith("/Position_Indices")


def test_channel_and_measurement_are_the_parameters(told: dict) -> None:
    parameters = told["parameters"]
    assert parameters["scan rate"] == 0.5
    assert parameters["gain"] == 2
    assert parameters["name"] == "inner"
    assert "instrument" not in parameters


def test_attributes_are_plain_python(told: dict) -> None:
    main = told["attributes"]["main"]
    np.testing.assert_equal(main["not finite"], [np.nan, np.inf, -np.inf])
    assert main["complex"] == 1 + 2j
    assert main["several"][0] == 1j
    assert np.isnan(main["several"][1])
    assert main["none"] is None
    assert main["truth"] is True
    assert main["text"] == "µ"


def test_the_keys_of_the_contract(told: dict) -> None:
    assert told["original_file_type"] == "USID HDF5"
    assert told["pyUSID_version"] == "1.2"
    assert told["quantity"] == "Current"
    assert told["units"] == "nA"


def test_keys_that_hyperspy_would_lose_are_told_apart() -> None:
    given_keys = [
        "a b",
        "a_b",
        "a-b",
        "ab",
        "µ",
        "°",
        "_sig_x",
        "keys",
        "1",
        "Number_1",
        "__class__",
    ]
    found = distinct_keys({key: at for at, key in enumerate(given_keys)})
    assert list(found.values()) == list(range(len(given_keys)))
    assert list(found)[:2] == ["a b", "a_b 2"]
    assert {"fix__sig_x", "fix_keys", "fix___class__"} <= set(found)


def test_signals_share_no_metadata(channels: Path) -> None:
    first, second, *_ = file_reader(channels)
    first["original_metadata"]["attributes"]["measurement"]["new"] = 1
    first["axes"][0]["name"] = "other"
    assert "new" not in second["original_metadata"]["attributes"]["measurement"]
    assert second["axes"][0]["name"] == "Y"


# what cannot be read


def test_a_file_without_a_main_tells_what_is_there(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["pictures/first"] = np.zeros((3, 4))
    with pytest.raises(ValueError, match=r"no Main dataset.*1 dataset: /pictures/first \(3 × 4\)"):
        file_reader(path)


def test_a_file_of_broken_mains_tells_why(path: Path) -> None:
    write_file(path, POSITION, BIAS, missing=["Position_Values.labels"])
    with pytest.raises(NoMainDatasetError, match=rf"broken are {MAIN} \(R9: ") as caught:
        file_reader(path)
    assert isinstance(caught.value, ValueError)


def test_sound_mains_are_read_beside_broken_ones(path: Path) -> None:
    with h5py.File(path, "w") as file:
        write_main(channel(file, 0), position=POSITION)
        write_main(channel(file, 1), position=POSITION, missing=["Position_Values.labels"])
    with pytest.warns(UserWarning, match=r"Measurement_001/\S+ is no sound Main .* \(R9: "):
        (signal,) = file_reader(path)
    assert signal["original_metadata"]["dataset_path"] == MAIN


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("/nowhere", "nothing at this path"),
        ("/Measurement_000", "no Main dataset"),
        ("/Measurement_000/Channel_000/Position_Indices", "no Main dataset"),
        ("/Measurement_001/Channel_000/Raw_Data", "not sound .R9: "),
    ],
)
def test_a_wrong_dataset_path_names_the_right_ones(path: Path, asked: str, why: str) -> None:
    with h5py.File(path, "w") as file:
        write_main(channel(file, 0), position=POSITION)
        write_main(channel(file, 1), position=POSITION, missing=["Position_Values.labels"])
    with pytest.raises(ValueError, match=f"{why}.*sound are: {MAIN}"):
        file_reader(path, dataset_path=asked)


def test_no_file_no_hdf5(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_reader(tmp_path / "gone.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(NotHDF5Error):
        file_reader(tmp_path / "text.h5")


def test_values_that_cannot_be_decoded_are_told_with_their_place(path: Path) -> None:
    write_file(path, POSITION, BIAS, chunks=(4, 5), compression="gzip")
    with h5py.File(path) as file:
        place = file[MAIN].id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset)
        raw.write(b"\xff" * place.size)
    with pytest.raises(UnreadableDataError, match=f"{path}:{MAIN}: its values cannot be read"):
        file_reader(path)


# lazy arrays, open files


def open_files(path: Path) -> list[str]:
    leads_to = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    return [str(place) for place in leads_to if place == path.resolve()]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
@pytest.mark.parametrize("chunks", [None, (4, 5)])
@pytest.mark.parametrize("lazy", [False, True])
def test_no_file_stays_open(path: Path, lazy: bool, chunks: tuple[int, int] | None) -> None:
    write_file(path, POSITION, BIAS, chunks=chunks)
    signals = file_reader(path, lazy=lazy)
    assert open_files(path) == []
    np.asarray(signals[0]["data"])
    assert open_files(path) == []
    with h5py.File(path, "r+") as file:
        file.attrs["touched"] = 1


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_no_file_stays_open_after_an_error(path: Path) -> None:
    write_file(path, POSITION, TRIANGLE)
    with pytest.raises(ValueError, match="Bias") as caught:
        file_reader(path, ignore_non_uniform_dims=False)
    assert open_files(path) == []
    with h5py.File(path, "r+"):  # while the traceback lives
        assert caught.value.args


@pytest.mark.parametrize("dtype", ["f4", [("a", "f4"), ("b", "i2", (2,))]], ids=str)
def test_lazy_arrays_pickle_and_compute_elsewhere(path: Path, dtype: object) -> None:
    table = it.grid({"Y": 4, "X": 3}, snake=["X"])
    write_file(path, Side(table, ["X", "Y"]), BIAS, dtype=dtype, chunks=(4, 2))
    for eager, lazy in zip(read(path), read(path, lazy=True), strict=True):
        again = pickle.loads(pickle.dumps(lazy["data"]))
        np.testing.assert_array_equal(again.compute(), eager["data"])
        with dask.config.set(scheduler="sync"):
            part = lazy["data"][1:3, ::-1][..., [0, 1]]
            np.testing.assert_array_equal(part, eager["data"][1:3, ::-1][..., [0, 1]])


@pytest.mark.slow
def test_lazy_arrays_compute_in_other_processes(path: Path) -> None:
    write_file(path, POSITION, BIAS, chunks=(4, 2))
    (eager,), (lazy,) = file_reader(path), file_reader(path, lazy=True)
    with dask.config.set(scheduler="processes", num_workers=2):
        np.testing.assert_array_equal((lazy["data"] + 1).compute(), eager["data"] + 1)


def test_lazy_reading_reads_no_values(path: Path) -> None:
    """A Main dataset of 1 GiB of which nothing was written."""
    side = Side(it.grid({"Y": 128, "X": 128}), ["X", "Y"])
    spectra = line("Bias", np.arange(2.0**14))
    write_file(path, side, spectra, chunks=(128, 1024), allocate=False)
    (signal,) = file_reader(path, lazy=True)
    assert signal["data"].shape == (128, 128, 2**14)
    assert signal["data"].nbytes == 2**30
    assert max(signal["data"].blocks[0, 0, 0].shape) > 1
    assert len(pickle.dumps(signal["data"])) < 2**20


def test_original_metadata_is_json_but_for_arrays_and_complex_numbers(channels: Path) -> None:
    for signal in file_reader(channels):
        told = {k: v for k, v in signal["original_metadata"].items() if k != "dimensions"}
        assert json.loads(json.dumps(told)) == told
