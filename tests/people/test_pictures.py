"""Pictures: every Main dataset can be drawn, and what was not measured counts in nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from PIL import Image as Picture

from usid_tasks import panels, pictures
from usid_tasks.demo import PICTURED
from usid_tasks.errors import NoMainDatasetError
from usid_tasks.panels import Curves, Image, Points, Scale, View
from usid_tasks.pictures import Choice, open_view

RAW = "/Measurement_000/Channel_000/Raw_Data"


def panel(ingested, key: str, path: str = RAW):
    return panels.most_telling(open_view(Choice(store(ingested, key), path)))


def store(ingested, key: str):
    return ingested.demo / "stores" / f"{key}.zarr"


def test_every_main_of_every_sample_can_be_drawn(ingested, tmp_path):
    stores = sorted((ingested.demo / "stores").glob("*/*.zarr"))
    assert len(stores) == 11
    choices = [choice for one in stores for choice in pictures.find_mains(one)]
    assert len(choices) == 17
    for choice in choices:
        assert list(panels.in_full(open_view(choice)))
    assert pictures.draw(choices, tmp_path / "all.png").stat().st_size > 50e3


def test_the_picture_of_the_readme_is_small_and_as_committed(ingested, tmp_path, root):
    choices = [Choice(store(ingested, key), path) for key, path in PICTURED]
    out = pictures.draw(choices, tmp_path / "picture.png")
    assert out.stat().st_size < 300e3
    committed = root / "docs" / "picture.png"
    assert committed.stat().st_size < 300e3
    with Picture.open(out) as drawn, Picture.open(committed) as shown:
        assert drawn.size == shown.size, "run `make picture`"
        cells = [np.asarray(one.convert("L"), dtype=float) for one in (drawn, shown)]
    assert np.abs(cells[0] - cells[1]).mean() < 4, "run `make picture`"


def test_a_map_has_its_axes_and_units(ingested):
    image = panel(ingested, "afm/pfm_domains.h5")
    assert isinstance(image, Image)
    assert (image.x.label, image.y.label) == ("X (µm)", "Y (µm)")
    assert image.cells.label == "Height (nm)"
    assert image.cells.values.shape == (144, 192)


def test_what_was_not_measured_is_no_cell(ingested):
    image = panel(ingested, "afm/stopped_scan.h5")
    assert isinstance(image, Image)
    assert np.isnan(image.cells.values[-1, 29:]).all()
    assert np.isfinite(image.cells.values[-1, :29]).all()


def test_valid_is_respected_where_the_type_has_no_nan(ingested):
    place = store(ingested, "afm/stopped_scan.h5")
    with xr.open_dataset(place, engine="zarr", group=RAW.strip("/"), chunks=None) as opened:
        counts = opened.load()
    counts["Raw_Data"] = counts["Raw_Data"].fillna(0).astype("u2")
    image = panels.most_telling(View(counts, "counts"))
    assert isinstance(image, Image)
    assert int(np.isnan(image.cells.values).sum()) == 48 - 29


def test_points_without_a_grid_are_scattered(ingested):
    points = panel(ingested, "optics/luminescence_points.h5")
    assert isinstance(points, Points)
    assert points.x.values.size == points.cells.values.size == 420
    assert (points.x.label, points.cells.label) == ("X (µm)", "Photon count")


def test_a_curve_out_and_back_is_two_sweeps(ingested):
    curves = panel(ingested, "afm/force_curve.h5")
    assert isinstance(curves, Curves)
    assert curves.labels == ("sweep 1", "sweep 2")
    assert [x.size for x in curves.x] == [620, 620]
    assert np.all(np.diff(curves.x[0]) < 0)
    assert np.all(np.diff(curves.x[1]) > 0)


def test_each_cycle_has_its_own_bias(ingested):
    curves = panel(ingested, "afm/switching_loops.h5")
    assert isinstance(curves, Curves)
    assert curves.labels == ("Cycle 1", "Cycle 2", "Cycle 3", "Cycle 4")
    assert [round(float(x.max()), 3) for x in curves.x] == [3, 5, 7, 9]
    assert curves.x_label == "Bias (V)"


def test_decades_are_drawn_on_a_logarithmic_axis_without_a_prefix(ingested):
    choice = Choice(store(ingested, "electrical/impedance_sweep.h5"), RAW)
    curves = panels.spectral_panel(open_view(choice))
    assert isinstance(curves, Curves)
    assert curves.log == (True, True)
    assert (curves.x_label, curves.y_label) == ("Frequency (Hz)", "Impedance modulus (Ω)")
    assert curves.labels[0] == "300 K"


def test_spectra_are_taken_at_points_of_different_kinds(ingested):
    first = open_view(Choice(store(ingested, "optics/polymer_blend.h5"), RAW))
    mean, at_band, spectra = panels.in_full(first)
    assert isinstance(mean, Image)
    assert isinstance(at_band, Image)
    assert isinstance(spectra, Curves)
    assert at_band.title == "at 1730 cm⁻¹"
    assert spectra.is_reversed
    assert sorted(float(spectra.x[0][y.argmax()]) for y in spectra.y[:3]) == [1450, 1640, 1730]
    assert len(mean.marks.x) == 3


@pytest.mark.parametrize(
    ("values", "units", "label", "factor"),
    [
        ([0, 5e-7], "m", "Z (nm)", 1e9),
        ([0, 1e-6], "m", "Z (nm)", 1e9),
        ([0, 1.5e-6], "m", "Z (µm)", 1e6),
        ([-4e3, 2e3], "Hz", "Z (kHz)", 1e-3),
        ([0, 900], "um", "Z (µm)", 1),
        ([0, 0], "m", "Z (m)", 1),
        ([np.nan, np.nan], "V", "Z (V)", 1),
        ([1, 2], "", "Z", 1),
    ],
)
def test_a_prefix_suits_the_values(values, units, label, factor):
    scale = Scale.of(np.array(values, dtype=float), "Z", units)
    assert scale.label == label
    np.testing.assert_allclose(scale.values, np.array(values) * factor)


def test_the_command_draws_what_it_names(ingested, tmp_path):
    out = tmp_path / "out.png"
    names = [f"{store(ingested, 'afm/pfm_domains.h5')}:{RAW}"]
    done = subprocess.run(
        [sys.executable, "-m", "usid_tasks.pictures", *names, "-o", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with Picture.open(out) as drawn:
        assert drawn.format == "PNG"


def test_a_store_that_is_none_is_told(ingested, tmp_path, capsys):
    name = f"{store(ingested, 'afm/pfm_domains.h5')}:/nowhere"
    assert pictures.main([name, "-o", str(tmp_path / "x.png")]) == 2
    assert "Channel_002" in capsys.readouterr().err
    assert pictures.main([str(tmp_path / "absent.zarr"), "-o", str(tmp_path / "x.png")]) == 2
    with pytest.raises(NoMainDatasetError):
        pictures.parse_choice(name)
