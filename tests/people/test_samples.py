"""The samples: always the same, small, and each comes to the outcome that it is made for."""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from agreement import assert_file_agrees

from usid_tasks.model import Outcome
from usid_tasks.samples import Sample, write_samples
from usid_tasks.samples.layout import STAMP


def sound(samples: tuple[Sample, ...]) -> list[Sample]:
    return [sample for sample in samples if sample.outcome is Outcome.DONE]


def test_they_are_small_and_quickly_made(tmp_path):
    began = time.process_time()
    samples = write_samples(tmp_path)
    assert time.process_time() - began < 3
    sizes = [sample.path.stat().st_size for sample in samples]
    assert max(sizes) < 3e6
    assert sum(sizes) < 15e6


def test_they_are_the_same_every_time(tmp_path):
    one, two = write_samples(tmp_path / "one"), write_samples(tmp_path / "two")
    for left, right in zip(one, two, strict=True):
        assert left.path.read_bytes() == right.path.read_bytes(), left.path.name


def test_a_sample_that_is_there_is_not_touched_and_a_changed_one_is_mended(tmp_path):
    samples = write_samples(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    changed, *others = (sample.path for sample in samples)
    before = [path.stat().st_mtime_ns for path in others]
    content = changed.read_bytes()
    changed.write_bytes(content[:-1])
    write_samples(tmp_path)
    assert [path.stat().st_mtime_ns for path in others] == before
    assert changed.read_bytes() == content
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not list(tmp_path.glob(".writing-*"))


def test_every_outcome_is_the_expected_one(ingested):
    assert {ingested.key(one): one.outcome for one in ingested.samples} == {
        key: record.outcome for key, record in ingested.records.items()
    }
    assert ingested.summary.exit_status == 1


def test_a_second_ingest_finds_everything_as_it_was(ingested):
    again = {record.key: record for record in ingested.ingest_again().files}
    for sample in ingested.samples:
        record = again[ingested.key(sample)]
        is_done = sample.outcome is Outcome.DONE
        assert record.outcome is (Outcome.CURRENT if is_done else sample.outcome), record
        assert record.known


def test_each_says_what_it_shows_in_a_phrase(ingested):
    told = [sample.shows for sample in ingested.samples]
    assert len(set(told)) == len(told)
    assert all(10 < len(text) <= 52 for text in told)


def test_every_sound_sample_equals_the_oracle(ingested):
    for sample in sound(ingested.samples):
        assert assert_file_agrees(sample.path), sample.path.name


def test_the_vendor_map_is_an_image_in_micrometres(ingested):
    path = ingested.demo / "sources" / "optics" / "tissue_section.ptir"
    with xr.open_datatree(path, engine="usid") as tree, h5py.File(path) as file:
        for measurement in ("Measurement_001", "Measurement_002"):
            node = tree[f"/{measurement}/Channel_000/Raw_Data"].dataset
            assert node["X"].attrs["units"] == node["Y"].attrs["units"] == "um"
            raw = file[f"/{measurement}/Channel_000/Raw_Data"][()]
            assert node["Raw_Data"].dims[:2] == ("Y", "X")
            np.testing.assert_array_equal(node["Raw_Data"].values.reshape(raw.shape), raw)
        assert node["Raw_Data"].shape == (18, 24)
        assert tree["/Measurement_001/Channel_000/Raw_Data"]["Z"].attrs["units"] == "cm-1"


def test_sound_samples_open_without_a_warning(ingested):
    for sample in sound(ingested.samples):
        with xr.open_datatree(sample.path, engine="usid", chunks={}):
            pass


def test_groups_and_mains_are_stamped_with_neutral_words(ingested):
    def check(name: str, held: h5py.Group | h5py.Dataset) -> None:
        if isinstance(held, h5py.Group) or "quantity" in held.attrs:
            for attribute, text in STAMP.items():
                stored = held.attrs[attribute]
                stored = stored.decode() if isinstance(stored, bytes) else stored
                assert attribute == "pyUSID_version" or stored == text, (name, attribute)

    for sample in sound(ingested.samples):
        with h5py.File(sample.path) as file:
            file.visititems(check)


# what each sample is there to show, in the tables themselves


@pytest.fixture
def tables(ingested):
    def read(key: str, measurement: str = "Measurement_000") -> dict[str, np.ndarray]:
        path = ingested.demo / "sources" / key
        with h5py.File(path) as file:
            main = file[f"{measurement}/Channel_000/Raw_Data"]
            names = ("Position_Indices", "Spectroscopic_Indices", "Spectroscopic_Values")
            return {name: file[main.attrs[name]][()] for name in names}

    return read


def test_the_infrared_map_is_a_snake(tables):
    x, y = tables("optics/polymer_blend.h5")["Position_Indices"].T.astype(int)
    steps = np.diff(x)[np.diff(y) == 0]
    assert set(steps.tolist()) == {1, -1}


def test_the_domains_run_x_fastest_in_the_first_column(tables):
    x, y = tables("afm/pfm_domains.h5")["Position_Indices"].T.astype(int)
    assert np.all(np.diff(x[:192]) == 1)
    assert np.all(y[:192] == 0)


def test_the_bias_depends_on_the_cycle(tables):
    spectroscopic = tables("afm/switching_loops.h5")["Spectroscopic_Values"]
    bias = spectroscopic[0].reshape(4, -1)
    assert np.all(np.diff(bias.max(axis=1)) > 0)


def test_the_frequencies_fall_by_a_constant_factor(tables):
    frequency = tables("electrical/impedance_sweep.h5")["Spectroscopic_Values"][0]
    assert frequency[0] > frequency[-1]
    assert np.ptp(frequency[1:] / frequency[:-1]) < 1e-9


def test_the_vendor_file_shares_positions_across_measurements(ingested):
    path = ingested.demo / "sources" / "optics" / "tissue_section.ptir"
    with h5py.File(path) as file:
        image = file["Measurement_002/Channel_000/Raw_Data"]
        assert file[image.attrs["Position_Indices"]].name == "/Measurement_001/Position_Indices"
        units = file["Measurement_001/Position_Values"].attrs["units"]
        assert units.dtype == np.dtype("S1")
        assert units.tolist() == [b"u", b"m"]


def test_the_fit_returns_to_its_source(ingested: object):
    path = Path(ingested.demo) / "sources" / "afm" / "band_excitation.h5"
    with h5py.File(path) as file:
        results = file["Measurement_000/Channel_000/Raw_Data-SHO_Fit_000"]
        assert file[results.attrs["source_000"]].name == "/Measurement_000/Channel_000/Raw_Data"
        raw = file["Measurement_000/Channel_000/Raw_Data"][()]
        fit = results["Fit"][:, 0]
        frequency = file["Measurement_000/Channel_000/Spectroscopic_Values"][0]
    peak = frequency[np.abs(raw).argmax(axis=1)]
    assert np.median(np.abs(peak - fit["frequency [Hz]"])) < 2000
