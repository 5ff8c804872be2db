"""``hs.load(path, file_format=usid_tasks.rosetta)``: signals as HyperSpy's users know them."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import index_tables as it
import numpy as np
import pytest
from hyperspy_load import load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signal_files import BIAS, LOG, POINT, POSITION, TRIANGLE
from signal_oracle import read
from store_cases import CASES
from usid_files import Side, channel, line, write_file, write_main

import usid_tasks
from usid_tasks.rosetta.metadata import distinct_keys

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.usefixtures("hs"),
]

LAZY = pytest.mark.parametrize("lazy", [False, True])


def computed(signal: Any) -> np.ndarray:
    if signal._lazy:
        signal.compute(show_progressbar=False)
    return np.asarray(signal.data)


def saved_and_loaded(signal: Any, folder: Path) -> Any:
    import hyperspy.api as hs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signal.save(folder / "saved.hspy", overwrite=True)
        return hs.load(folder / "saved.hspy")


@LAZY
def test_one_dataset_is_one_signal(path: Path, hs: ModuleType, lazy: bool) -> None:
    write_file(path, POSITION, BIAS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signal = hs.load(path, file_format=usid_tasks.rosetta, lazy=lazy)
    assert repr(signal).endswith("Signal1D, title: Raw_Data, dimensions: (3, 4|5)>")
    assert signal._lazy is lazy
    x, y, bias = signal.axes_manager["X"], signal.axes_manager["Y"], signal.axes_manager["Bias"]
    assert (x.units, y.units, bias.units) == ("nm", "um", "V")
    assert (bias.offset, bias.scale) == (-1, 0.5)
    assert [axis.navigate for axis in (x, y, bias)] == [True, True, False]
    assert signal.metadata.Signal.quantity == "Current (nA)"
    np.testing.assert_array_equal(computed(signal), read(path)[0]["data"])


@LAZY
def test_several_datasets_are_a_list(path: Path, lazy: bool) -> None:
    with h5py.File(path, "w") as file:
        write_main(channel(file, 0), position=POSITION, spectroscopic=BIAS)
        write_main(channel(file, 1), "Map", position=POSITION)
        write_main(channel(file, 2), "Fit", position=POSITION, dtype=[("Q", "f4"), ("R", "c8")])
    signals = load(path, lazy=lazy)
    assert [signal.metadata.General.title for signal in signals] == ["Raw_Data", "Map", "Q", "R"]
    kinds = [type(signal).__name__.removeprefix("Lazy") for signal in signals]
    assert kinds == ["Signal1D", "Signal2D", "Signal2D", "ComplexSignal2D"]
    assert load(path, dataset_path="/Measurement_001/Channel_000/Map")[0].data.shape == (4, 3)


def test_a_picture_has_its_lines_in_rows(path: Path) -> None:
    """X is horizontal in HyperSpy: the last axis of the array."""
    write_file(path, POSITION)
    (signal,) = load(path)
    assert repr(signal) == "<Signal2D, title: Raw_Data, dimensions: (|3, 4)>"
    assert [axis.name for axis in signal.axes_manager.signal_axes] == ["X", "Y"]


@LAZY
def test_a_non_uniform_axis_is_a_data_axis(path: Path, lazy: bool) -> None:
    write_file(path, POINT, LOG)
    (signal,) = load(path, lazy=lazy)
    axis = signal.axes_manager["Frequency"]
    assert type(axis).__name__ == "DataAxis"
    assert axis.axis.tolist() == [1e6, 1e4, 1e2, 1]
    assert signal.isig[1e4:1.0].axes_manager.signal_shape == (2,)


@LAZY
def test_values_that_turn_back_are_in_the_metadata(path: Path, lazy: bool) -> None:
    write_file(path, POINT, TRIANGLE)
    (signal,) = load(path, lazy=lazy)
    assert signal.original_metadata.dimensions.Bias["values"].tolist() == [0, 1, 2, 1, 0]
    assert signal.axes_manager["Bias"].axis.tolist() == [0, 1, 2, 3, 4]
    assert signal.axes_manager["Bias"].units == "V"


def test_an_option_of_the_reader_passes_through(path: Path) -> None:
    write_file(path, POINT, TRIANGLE)
    with pytest.raises(ValueError, match="'Bias'"):
        load(path, ignore_non_uniform_dims=False)


@LAZY
@pytest.mark.parametrize("name", sorted({*CASES} - {"no rows"}))
def test_every_case_loads_and_can_be_saved_as_hspy(
    path: Path, tmp_path: Path, name: str, lazy: bool
) -> None:
    CASES[name](path)
    for signal, expected in zip(load(path, lazy=lazy), read(path), strict=True):
        np.testing.assert_array_equal(computed(signal), expected["data"])
        assert repr(signal.original_metadata)
        again = saved_and_loaded(signal, tmp_path)
        np.testing.assert_array_equal(again.data, expected["data"])
        assert repr(again.axes_manager) == repr(signal.axes_manager)


@LAZY
def test_a_lone_value_loads_and_can_be_saved(path: Path, tmp_path: Path, lazy: bool) -> None:
    write_file(path, POINT, line("Bias", [2.5]))
    (signal,) = load(path, lazy=lazy)
    assert computed(signal).shape == (1,)
    assert saved_and_loaded(signal, tmp_path).axes_manager["Bias"].offset == 2.5


@LAZY
def test_real_files(shared_data: Path, tmp_path: Path, lazy: bool) -> None:
    for path in sorted([*shared_data.glob("*.h5"), *shared_data.glob("*.ptir")]):
        for signal, expected in zip(load(path, lazy=lazy), read(path), strict=True):
            np.testing.assert_array_equal(computed(signal), expected["data"])
            again = saved_and_loaded(signal, tmp_path)
            assert repr(again) == repr(signal).replace("Lazy", "")


def test_real_pictures_and_curves(shared_data: Path) -> None:
    shown = {
        path.name: [repr(signal) for signal in load(path)] for path in shared_data.glob("*.h5")
    }
    assert shown["simulated_STEM_Image.h5"] == [
        "<Signal2D, title: Raw_Data, dimensions: (|256, 256)>"
    ]
    assert shown["AFM_Force_Curve.h5"] == ["<Signal1D, title: Raw_Data, dimensions: (|2045)>"]
    assert shown["SingFreqPFM_0003.h5"][0] == (
        "<Signal2D, title: Raw_Data (Channel_000, HeightRetrace), dimensions: (|128, 128)>"
    )
    assert len(shown["SingFreqPFM_0003.h5"]) == 4


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.text("aé ", max_size=3),
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
)  # fmt: skip
KEYS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.sampled_from(["keys", "_sig_a", "as_dictionary", "a b", "a_b", "_lazy_attributes", "__a__"]),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, st.one_of(VALUES, st.dictionaries(KEYS, VALUES)), max_size=6))
def test_hyperspy_loses_no_key(items: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import hyperspy.api as hs

        told = distinct_keys(items)
        signal = hs.signals.BaseSignal(np.ones(2), original_metadata=told)
        assert repr(signal.original_metadata) is not None
        assert signal.original_metadata.as_dictionary() == told
    assert list(told.values()) == [
        distinct_keys(value) if isinstance(value, dict) else value for value in items.values()
    ]


def test_a_snake_is_straight_in_hyperspy(path: Path) -> None:
    table = it.grid({"Y": 4, "X": 3}, snake=["X"])
    write_file(path, Side(table, ["X", "Y"]), BIAS)
    (signal,) = load(path)
    np.testing.assert_array_equal(
        signal.inav[2, 1].data,
        read(path)[0]["data"][1, 2],
    )
