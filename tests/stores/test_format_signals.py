"""Every format holds the signals of its source: values, axes, units and metadata.

Expected is what the brute-force rebuild from the index tables says; read is what HyperSpy,
RosettaSciIO, pyNSID and h5py find in the file.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import oracle
import pytest
from axis_cases import RULES_ON_ORDER, RULES_ON_VALUES
from cases import Case
from file_cases import RULES_ON_GROUPS, RULES_ON_STORAGE
from format_files import (
    OF_HYPERSPY,
    OF_SIGNALS,
    REAL,
    SUFFIXES,
    Signal,
    computed,
    mains_of_nsid,
    notes_of,
    quiet_peers,
    read_by_hyperspy,
    read_by_rosettasciio,
    read_nsid,
    restored,
    write,
)
from main_cases import RULES_ON_TABLES, RULES_ON_THE_MAIN
from signal_oracle import assert_signal_agrees, by_dataset, read
from store_cases import CASES

from usid_tasks.errors import NoMainDatasetError
from usid_tasks.usid import read_usid

RULE_CASES = [
    *RULES_ON_THE_MAIN, *RULES_ON_TABLES, *RULES_ON_ORDER, *RULES_ON_VALUES, *RULES_ON_STORAGE,
    *RULES_ON_GROUPS,
]  # fmt: skip
BEYOND_THE_ORACLE = ("leads nowhere", "Position_Values: an array of one reference")
"""Files that the oracle does not follow, and that differ from their twins in no value."""
WITH_VALUES = sorted({*CASES} - {"names in bytes", "no rows"})


def made(form: str, source: Path, dest: Path) -> Path:
    """Return the file that was made of a source, all Main datasets of which are in it."""
    written = write(form, source, dest / f"made{SUFFIXES[form]}")
    assert set(written.datasets) == set(read_usid(source).mains)
    assert written.size_bytes > 0
    return written.path


def assert_as_rebuilt(source: Path, signals: list[Signal]) -> None:
    """Fail unless signals of HyperSpy's contract are those of the rebuild, and all of them."""
    mains = by_dataset(signals)
    assert set(mains) == set(read_usid(source).mains)
    for path, of_main in mains.items():
        want = oracle.rebuild(source, path)
        by_component = {one["original_metadata"].get("component"): one for one in of_main}
        assert len(by_component) == len(of_main) == len(want.data)
        for name, cells in want.data.items():
            component = want.components[name]
            one = by_component.get(component) or by_component[None]
            assert_signal_agrees(one, want, component, cells)
            assert_attributes(source, path, one)


def assert_attributes(source: Path, main: str, signal: Signal) -> None:
    """Fail unless texts and numbers of the dataset and its groups are in the metadata."""
    levels = signal["original_metadata"]["attributes"]
    n_compared = 0
    with h5py.File(source) as file:
        for holder, level in ((file[main], "main"), (file, "file")):
            for name, value in holder.attrs.items():
                if (told := plain(value)) is not None:
                    found = levels[level][name]
                    is_json = isinstance(told, list) and isinstance(found, str)
                    assert (json.loads(found) if is_json else found) == told
                    n_compared += 1
    assert n_compared >= 2


def plain(value: Any) -> Any:
    """Return a text, a number, or a list of them as h5py reads it; None for anything else."""
    if isinstance(value, (str, bytes)):
        return oracle.text(value)
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "SO":
        return oracle.texts(value)
    is_real = np.asarray(value).dtype.kind in "iuf" and bool(np.isfinite(value).all())
    return value.tolist() if is_real and np.ndim(value) < 2 else None


def assert_same_metadata(source: Path, path: Path, signals: list[Signal]) -> None:
    """Fail unless all metadata come back as our reader has them."""
    notes = notes_of(path)
    wanted = {one["metadata"]["General"]["title"]: one for one in read(source)}
    assert len(notes) == len(wanted) == len(signals)
    for one in signals:
        title = one["metadata"]["General"]["title"]
        found = restored(one, notes[title])
        for key in ("metadata", "original_metadata"):
            np.testing.assert_equal(found[key], wanted[title][key])


def assert_nsid_as_rebuilt(source: Path, signals: list[Signal]) -> None:
    """Fail unless NSID's datasets have values, exact Values along axes, and units as rebuilt."""
    mains = by_dataset(signals)
    assert set(mains) == set(read_usid(source).mains)
    for path, of_main in mains.items():
        want = oracle.rebuild(source, path)
        by_component = {one["original_metadata"].get("component"): one for one in of_main}
        for name, cells in want.data.items():
            component = want.components[name]
            one = by_component.get(component) or by_component[None]
            expected = cells if cells.ndim else cells.reshape(1)
            np.testing.assert_array_equal(one["data"], expected, strict=True)
            assert len(one["axes"]) == expected.ndim
            if None in by_component:
                told = one["attributes"]
                words = (want.quantity or "generic", want.units or "generic")
                assert (told["quantity"], told["units"]) == words
            for dim, axis in zip(want.dims, one["axes"], strict=False):
                assert_scale(axis, want, dim)
            assert_attributes(source, path, one)


def assert_scale(axis: dict[str, Any], want: oracle.Expected, dim: str) -> None:
    """Fail unless a dimension scale holds the exact Values, or a count where there are none."""
    if want.flat[dim == "spectroscopic"] and dim in ("position", "spectroscopic"):
        np.testing.assert_array_equal(axis["values"], np.arange(len(axis["values"])))
        return
    own = want.coords[dim]
    fields = [one for one in want.coords.values() if one.is_field and one.label == own.label]
    told = fields[0] if fields else own
    assert axis["name"] in (own.label or "generic", f"{own.label}_2")
    assert axis["units"] == (told.units or "generic")
    assert axis["type"] == ("SPATIAL" if dim in want.valid_dims else "SPECTRAL")
    expected = told.values if told.dims == (dim,) else np.arange(len(own.values), dtype="u4")
    np.testing.assert_array_equal(axis["values"], expected, strict=True)


def check(form: str, source: Path, dest: Path, hs: Any) -> None:
    """Fail unless one format holds a source, as each of its readers finds it."""
    path = made(form, source, dest)
    if form == "nsid":
        signals = read_nsid(path)
        assert_nsid_as_rebuilt(source, signals)
        assert_same_metadata(source, path, signals)
        assert_pynsid_reads(path)
        return
    for lazy in (False, True):
        signals = computed(read_by_rosettasciio(path, lazy=lazy))
        assert_as_rebuilt(source, signals)
        assert_same_metadata(source, path, signals)
        assert_as_rebuilt(source, read_by_hyperspy(hs, path, lazy=lazy))


def assert_pynsid_reads(path: Path) -> None:
    """Fail unless pyNSID's reader, which returns float64 or complex64, finds the same."""
    from pyNSID.io.hdf_utils import read_h5py_dataset

    with h5py.File(path) as file, quiet_peers():
        for name in mains_of_nsid(path):
            if file[name].dtype == bool:
                continue  # it cannot read them as numbers
            found, cells = read_h5py_dataset(file[name]), file[name][()]
            values = np.asarray(found)
            np.testing.assert_array_equal(values, cells.astype(values.dtype))
            assert (found.quantity, found.units) == tuple(
                file[name].attrs[key] for key in ("quantity", "units")
            )
            for at, dim in enumerate(file[name].dims):
                np.testing.assert_array_equal(np.asarray(found._axes[at]), dim[0][()])
                assert found._axes[at].units == dim[0].attrs["units"]


@pytest.mark.parametrize("form", OF_SIGNALS)
@pytest.mark.parametrize("name", WITH_VALUES)
def test_files_of_every_kind(form: str, name: str, path: Path, tmp_path: Path, hs: Any) -> None:
    CASES[name](path)
    check(form, path, tmp_path, hs)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param(name, form, marks=[pytest.mark.slow] if form == "zspy" and n > 3 else [])
        for name, n in REAL.items()
        for form in OF_SIGNALS
    ],
)
def test_real_files(form: str, name: str, shared_data: Path, tmp_path: Path, hs: Any) -> None:
    if not (shared_data / name).exists():
        pytest.skip(f"{name} is not there")
    check(form, shared_data / name, tmp_path, hs)


@pytest.mark.parametrize("form", OF_HYPERSPY)
def test_a_main_without_rows(form: str, path: Path, tmp_path: Path) -> None:
    CASES["no rows"](path)
    for lazy in (False, True):
        (signal,) = read_by_rosettasciio(made(form, path, tmp_path / str(lazy)), lazy=lazy)
        assert np.asarray(signal["data"]).shape == (0, 0, 5)
        assert [axis["name"] for axis in signal["axes"]] == ["Y", "X", "Bias"]


def test_nsid_has_no_main_without_rows_and_tells(path: Path, tmp_path: Path) -> None:
    CASES["no rows"](path)
    written = write("nsid", path)
    assert "no Main dataset" in written.told[-1]
    with h5py.File(written.path) as file:
        assert file["Measurement_000/Channel_000/Raw_Data/Raw_Data"].shape == (0, 0, 5)


@pytest.mark.parametrize("form", OF_SIGNALS)
def test_names_that_are_no_text(form: str, path: Path, tmp_path: Path) -> None:
    CASES["names in bytes"](path)
    with h5py.File(path) as file:
        raw = file[b"\x81\xff/Raw_Data"][()].reshape(4, 3, 5)
    written = write(form, path)
    reader = read_nsid if form == "nsid" else read_by_rosettasciio
    (signal,) = reader(written.path)
    np.testing.assert_array_equal(signal["data"], raw, strict=True)


@pytest.mark.parametrize("form", OF_SIGNALS)
def test_what_a_format_does_not_hold_is_told(form: str, path: Path) -> None:
    CASES["extras"](path)
    *_, lost = write(form, path).told
    assert "order of acquisition" in lost
    assert "other datasets" in lost


@pytest.mark.parametrize("form", OF_SIGNALS)
def test_what_the_reader_warns_of_is_told(form: str, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CASES["dependent values"](path)
        told = write(form, path).told
    assert any("its Values depend on Cycle" in line for line in told)


@pytest.mark.slow
@pytest.mark.parametrize("form", OF_SIGNALS)
@pytest.mark.parametrize("case", RULE_CASES, ids=lambda case: f"{case.rule}: {case.found}"[:60])
def test_files_that_break_a_rule(
    form: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hs: Any
) -> None:
    """Those without a sound Main dataset make no file; others are as their twin, or rebuilt."""
    monkeypatch.chdir(tmp_path)  # where HDF5 looks for the raw files of external storage
    path, twin = tmp_path / "scan.h5", tmp_path / "twin.h5"
    case.write(path, twin)
    if not read_usid(path).mains:
        with pytest.raises(NoMainDatasetError):
            write(form, path)
        return
    if case.found != "no positions at all":
        source = twin if case.found.startswith(BEYOND_THE_ORACLE) else path
        check(form, source, tmp_path, hs)
