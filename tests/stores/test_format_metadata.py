"""Signals and metadata of any kind: what a format holds of them is what they were."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
from format_files import (
    OF_HYPERSPY,
    OF_SIGNALS,
    Signal,
    is_noted,
    notes_of,
    read_by_rosettasciio,
    read_nsid,
    restored,
    write,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signal_oracle import read
from test_metadata import TREES, assert_same
from written_signals import NAMES, axis, signal, values_of

from usid_tasks import file_writer
from usid_tasks.stores.held import given_back, held
from usid_tasks.stores.hierarchy import IN_HDF5, IN_ZARR

FEW = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=60, deadline=None)
DTYPES = ("?", "u1", "i2", "i8", "f2", "f4", "f8", "c8", "c16")


def through(form: str, told: Signal, folder: Path) -> tuple[Path, Path]:
    """Return an h5USID file made of a signal, and what was made of that in another format."""
    source = folder / "scan.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        file_writer(source, told)
    return source, write(form, source).path


def read_back(form: str, path: Path) -> Signal:
    (found,) = read_nsid(path) if form == "nsid" else read_by_rosettasciio(path)
    return found


def loosened(value: Any) -> Any:
    """Return a value with NumPy's scalars as Python's, which HDF5 does not tell from one another.

    Zarr's JSON tells no type of a number either.
    """
    if isinstance(value, dict):
        return {key: loosened(part) for key, part in value.items()}
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize("form", OF_SIGNALS)
@FEW
@given(metadata=TREES, original=TREES)
def test_metadata_of_any_kind_come_back(form: str, metadata: Any, original: Any) -> None:
    with TemporaryDirectory() as folder:
        told = signal(metadata={"mine": metadata}, original_metadata={"theirs": original})
        source, path = through(form, told, Path(folder))
        (wanted,) = read(source)
        (note,) = notes_of(path).values()
        found = restored(read_back(form, path), note)
        for key in ("metadata", "original_metadata"):
            assert_same(loosened(found[key]), loosened(wanted[key]))


@pytest.mark.parametrize("form", [IN_HDF5, IN_ZARR], ids=OF_HYPERSPY)
@MANY
@given(tree=TREES)
def test_what_is_held_is_given_back(form: Any, tree: Any) -> None:
    found = held(tree, form)
    assert_same(given_back(found.tree, found.note()), tree)


@pytest.mark.parametrize("form", OF_SIGNALS)
def test_long_texts_and_odd_keys(form: str, tmp_path: Path) -> None:
    odd = {
        "long": "µ" * 100_000,
        "deep": {"a/b": 1.5, "": "empty", ".": {"x": 2}, "A": {"y": 1}, "a": {"y": 2}},
        "_list_of": "text",
        "none": None,
        "said none": "_None_",
        "eleven": [*range(10), "eleven"],
        "many": [[number] for number in range(12)],
    }
    _, path = through(form, signal(original_metadata=odd), tmp_path)
    (note,) = notes_of(path).values()
    found = read_back(form, path)
    assert found["original_metadata"]["long"] == odd["long"]
    assert is_noted(note)
    assert_same(loosened({k: restored(found, note)["original_metadata"][k] for k in odd}), odd)


def test_plain_metadata_are_held_as_they_are(tmp_path: Path) -> None:
    """Neither JSON nor other keys, where HyperSpy has a form for a value."""
    odd = {
        "text": "1 µm", "number": 2.5, "count": 3, "yes": True, "none": None,
        "floats": [1.5, 2.5], "texts": ["a", "µ"], "array": np.arange(6.0).reshape(2, 3),
        "empty": [], "pair": (1, 2), "below": {"a b: c": 1},
    }  # fmt: skip
    for form in OF_HYPERSPY:
        folder = tmp_path / form
        folder.mkdir()
        _, path = through(form, signal(original_metadata=odd), folder)
        found = read_back(form, path)["original_metadata"]
        np.testing.assert_equal({key: found[key] for key in odd}, odd)


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    """Draw a signal with axes of any kind."""
    names = draw(st.permutations(NAMES))
    axes, shape = [], []
    n_navigating = draw(st.integers(0, 2))
    for number in range(draw(st.integers(max(1, n_navigating), 4))):
        size = draw(st.integers(1, 5))
        more: dict[str, Any] = {"units": draw(st.sampled_from(["nm", "µV", "", "a.u."]))}
        if size > 1 and draw(st.booleans()):
            steps = draw(st.lists(st.floats(0.1, 10), min_size=size, max_size=size))
            more["axis"] = np.cumsum(steps) * draw(st.sampled_from([1.0, -1.0]))
        axes.append(axis(names[number], size, number < n_navigating, **more))
        shape.append(size)
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    bits = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 99, shape)
    return {"data": bits.astype(dtype), "axes": axes, "metadata": {}, "original_metadata": {}}


@pytest.mark.parametrize("form", OF_SIGNALS)
@FEW
@given(told=signals())
def test_signals_of_any_kind_come_back(form: str, told: Signal) -> None:
    with TemporaryDirectory() as folder:
        _, path = through(form, told, Path(folder))
        found = read_back(form, path)
        np.testing.assert_array_equal(found["data"], told["data"], strict=True)
        for one, wanted in zip(found["axes"], told["axes"], strict=True):
            assert one["name"] == wanted["name"]
            points = one["values"] if form == "nsid" else values_of(one, wanted["size"])
            np.testing.assert_allclose(points, values_of(wanted, wanted["size"]), rtol=1e-12)
            if form == "nsid":
                assert one["units"] == (wanted["units"] or "generic")
            else:
                assert (one["units"], one["navigate"]) == (wanted["units"], wanted["navigate"])


def test_titles_that_are_no_names_of_groups(tmp_path: Path) -> None:
    """Two signals of a compound whose components differ in a slash, and one named as a path."""
    from usid_files import Side, line, write_file

    side = Side(np.arange(3).reshape(3, 1), ["X"], ["nm"])
    dtype = [("a/b", "f4"), ("a-b", "f4"), (".", "i2"), ("con", "f8"), ("A-B", "f4")]
    write_file(tmp_path / "scan.h5", side, line("Bias", np.arange(4.0)), dtype=dtype)
    wanted = {
        one["original_metadata"]["component"]: one["data"] for one in read(tmp_path / "scan.h5")
    }
    assert set(wanted) == {name for name, _ in dtype}
    for form in OF_SIGNALS:
        path = write(form, tmp_path / "scan.h5").path
        found = read_nsid(path) if form == "nsid" else read_by_rosettasciio(path)
        assert len(found) == len(dtype)
        for one in found:
            component = one["original_metadata"]["component"]
            np.testing.assert_array_equal(one["data"], wanted[component], strict=True)


def test_nsid_lies_where_the_source_did(tmp_path: Path) -> None:
    _, path = through("nsid", signal(), tmp_path)
    with h5py.File(path) as file:
        main = file["Measurement_000/Channel_000/Raw_Data/Raw_Data"]
        assert main.attrs["data_type"] == "SPECTRAL_IMAGE"
        assert [dim.label for dim in main.dims] == ["Y", "X", "Bias"]
