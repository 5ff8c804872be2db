"""sho_fit: known truth, scipy's optimum, flags, dtypes, blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from tool_cases import assert_blocks_do_not_count, scan

from usid_tasks.errors import RefusedError
from usid_tasks.tools import find_tool
from usid_tasks.tools.in_memory import compute
from usid_tasks.tools.oscillator import Status, fit_oscillators

SHO_FIT = find_tool("sho_fit")
BAND = np.linspace(300e3, 400e3, 80)


def plain_response(w, amplitude, frequency, quality, phase):
    """The model as BGlib has it, one spectrum at a time."""
    return (
        amplitude * np.exp(1j * phase) * frequency**2
        / (w**2 - 1j * w * frequency / quality - frequency**2)
    )  # fmt: skip


def truths(count, *, seed=0, quality=(30, 300)):
    random = np.random.default_rng(seed)
    return np.stack(
        [
            random.uniform(0.2, 3, count) * 1e-6,
            random.uniform(315e3, 385e3, count),
            np.exp(random.uniform(*np.log(quality), count)),
            random.uniform(-np.pi, np.pi, count),
        ],
        axis=1,
    )


def noisy(truth, level, *, band=BAND, seed=1):
    """Return spectra with complex normal noise of ``level`` times their largest magnitude."""
    random = np.random.default_rng(seed)
    clean = np.stack([plain_response(band, *each) for each in truth])
    noise = random.normal(size=clean.shape) + 1j * random.normal(size=clean.shape)
    return clean + level / np.sqrt(2) * np.abs(clean).max(axis=1, keepdims=True) * noise


def fitted(spectra, params=None, *, band=BAND, units="Hz", main_units="V"):
    header = scan(
        spectra, positions={"X": len(spectra)}, steps={"Frequency": band},
        units={"Frequency": units}, main_units=main_units,
    )  # fmt: skip
    return compute(SHO_FIT, spectra, header, params or {})


def columns(fit):
    return np.stack([fit[name].astype("f8") for name in fit.dtype.names[:4]], axis=1)


def angle(difference):
    return np.abs(np.angle(np.exp(1j * difference)))


def assert_near(found, truth, relative):
    np.testing.assert_allclose(found[:, :3], truth[:, :3], rtol=relative)
    assert angle(found[:, 3] - truth[:, 3]).max() < relative * 10


def test_spectra_without_noise_are_fitted_to_the_last_digits():
    truth = truths(400, quality=(5, 1000))
    found = fitted(noisy(truth, 0), {"precision": "float64"})
    assert not found["Status"].any()
    assert_near(columns(found["Fit"]), truth, 1e-9)
    np.testing.assert_allclose(found["Fit"]["R2 Criterion"], 1, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    amplitude=st.floats(1e-12, 1e6),
    place=st.floats(0.0, 1.0),
    quality=st.floats(3, 2000),
    phase=st.floats(-3.1, 3.1),
    size=st.integers(30, 120),
    is_descending=st.booleans(),
)
def test_any_oscillator_within_its_band_is_found(
    amplitude, place, quality, phase, size, is_descending
):
    frequency = BAND[0] + place * (BAND[-1] - BAND[0])
    band = np.linspace(BAND[0], BAND[-1], size)[:: -1 if is_descending else 1]
    truth = np.array([[amplitude, frequency, quality, phase]])
    found = fit_oscillators(noisy(truth, 0, band=band), band)
    assert found.status[0] == Status.CONVERGED
    got = np.stack([found.amplitude, found.frequency, found.quality, found.phase], axis=1)
    assert_near(got, truth, 1e-6)


def best_by_scipy(spectrum, start):
    scale = np.array([start[0], start[1] / start[2], start[2], 1.0])

    def deviation(steps):
        left = (plain_response(BAND, *(start + steps * scale)) - spectrum) / np.abs(spectrum).max()
        return np.concatenate([left.real, left.imag])

    found = least_squares(deviation, np.zeros(4), method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    return start + found.x * scale


@pytest.mark.parametrize("level", [1e-3, 0.02, 0.1, 0.2])
def test_the_optimum_is_scipys(level):
    """Both seek the least squares; scipy starts from the truth."""
    truth = truths(40, seed=3)
    spectra = noisy(truth, level)
    found = fitted(spectra, {"precision": "float64"})
    assert not found["Status"].any()
    best = np.stack(
        [best_by_scipy(each, start) for each, start in zip(spectra, truth, strict=True)]
    )
    got = columns(found["Fit"])
    width = best[:, 1] / best[:, 2]
    assert (np.abs(got[:, 1] - best[:, 1]) / width).max() < 1e-4
    assert np.abs(got[:, [0, 2]] / best[:, [0, 2]] - 1).max() < 1e-4
    assert angle(got[:, 3] - best[:, 3]).max() < 1e-4


def test_r2_is_that_of_the_residual():
    truth = truths(20)
    spectra = noisy(truth, 0.1)
    fit = fitted(spectra, {"precision": "float64"})["Fit"]
    model = np.stack([plain_response(BAND, *each) for each in columns(fit)])
    left = (np.abs(spectra - model) ** 2).sum(axis=1)
    whole = (np.abs(spectra - spectra.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    np.testing.assert_allclose(fit["R2 Criterion"], 1 - left / whole, rtol=1e-8)


@pytest.mark.parametrize("level", [0.0, 0.05, 0.6])
def test_blocks_and_neighbours_do_not_count(level):
    spectra = noisy(truths(24), level).reshape(8, 3, 80).transpose(0, 2, 1)
    header = scan(
        spectra, positions={"X": 8}, steps={"Frequency": BAND, "Bias": 3},
        units={"Frequency": "Hz"},
    )  # fmt: skip
    assert_blocks_do_not_count(SHO_FIT, spectra, header, {"precision": "float64"})


def test_many_spectra_at_once_are_those_of_few():
    """More than are fitted at once inside."""
    spectra = noisy(truths(700), 0.1)
    whole = fit_oscillators(spectra, BAND)
    for at in (0, 204, 205, 699):
        alone = fit_oscillators(spectra[at : at + 1], BAND)
        for name in ("amplitude", "frequency", "quality", "phase", "r2", "status"):
            assert getattr(whole, name)[at] == getattr(alone, name)[0], (at, name)


@pytest.mark.parametrize("dtype", ["c8", "c16", ">c8"])
def test_the_results_are_bglibs_compound(dtype):
    truth = truths(5)
    found = fitted(noisy(truth, 0).astype(dtype))
    names = ["Amplitude [V]", "Frequency [Hz]", "Quality Factor", "Phase [rad]", "R2 Criterion"]
    assert found["Fit"].dtype == np.dtype([(name, "f4") for name in names])
    assert found["Status"].dtype == np.uint8
    assert [output.sizes for output in found.job.outputs] == [(5,), (5,)]
    assert_near(columns(found["Fit"]), truth, 1e-5)


def test_units_are_those_of_the_file():
    truth = truths(5)
    spectra = noisy(truth, 0)
    kilohertz = fitted(spectra, {"precision": "float64"}, band=BAND / 1e3, units="kHz")["Fit"]
    np.testing.assert_allclose(kilohertz["Frequency [Hz]"], truth[:, 1], rtol=1e-9)
    assert fitted(spectra, main_units="nm")["Fit"].dtype.names[0] == "Amplitude [nm]"
    assert fitted(spectra, main_units="")["Fit"].dtype.names[0] == "Amplitude"


def test_what_cannot_be_fitted_is_flagged_and_spoils_no_other():
    spectra = noisy(truths(6), 0.05)
    clean = fitted(spectra, {"precision": "float64"})
    spectra[1], spectra[2], spectra[3, 7], spectra[4, 0] = 0, 2 - 1j, np.nan, np.inf
    found = fitted(spectra, {"precision": "float64"})
    np.testing.assert_array_equal(found["Status"], [0, 3, 3, 3, 3, 0])
    assert all(np.isnan(found["Fit"][name][1:5]).all() for name in found["Fit"].dtype.names)
    np.testing.assert_array_equal(found["Fit"][[0, 5]], clean["Fit"][[0, 5]])


def test_a_resonance_outside_of_the_band_is_flagged():
    truth = truths(20)
    truth[:, 1] = 480e3
    found = fitted(noisy(truth, 0))
    assert (found["Status"] == Status.LIMIT).all()


def test_a_fit_that_needs_more_iterations_is_flagged():
    spectra = noisy(truths(200), 0.2)
    few = fitted(spectra, {"iterations": 1})
    assert (few["Status"] == Status.ITERATIONS).sum() > 150
    assert np.isfinite(few["Fit"]["R2 Criterion"]).all()
    assert not fitted(spectra)["Status"].any()


def test_noise_alone_ends_without_a_warning():
    random = np.random.default_rng(9)
    spectra = random.normal(size=(300, 80)) + 1j * random.normal(size=(300, 80))
    found = fitted(spectra)
    is_told = found["Status"] != Status.NOTHING
    assert is_told.all()
    assert (found["Fit"]["R2 Criterion"] < 0.5).all()


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_any_scale_is_fitted_alike(scale):
    truth = truths(10)
    spectra = noisy(truth, 0.01)
    near, far = (fitted(each, {"precision": "float64"}) for each in (spectra, spectra * scale))
    np.testing.assert_allclose(
        far["Fit"]["Quality Factor"], near["Fit"]["Quality Factor"], rtol=1e-6
    )


@pytest.mark.parametrize("count", [0, 1])
def test_no_position_and_one(count):
    found = fitted(noisy(truths(1), 0.01)[:count])
    assert found["Fit"].shape == (count,)
    assert not found["Status"].any()


@pytest.mark.parametrize(
    ("dtype", "band", "units", "params", "told"),
    [
        ("f8", BAND, "Hz", {}, "the values are float64, complex ones are needed"),
        ("c8", BAND, "V", {}, "its units are 'V'"),
        ("c8", BAND - 300e3, "Hz", {}, "its Values run from 0 to 100000 Hz"),
        ("c8", np.full(80, 5.0), "Hz", {}, "its Values run from 5 to 5 Hz"),
        ("c8", BAND, "Hz", {"dim": "Bias"}, "dimension 'Bias'"),
        ("c8", BAND, "Hz", {"tolerance": 0}, "tolerance"),
        ("c8", 80, "Hz", {}, "it has no Values"),
        ("c8", BAND[:3], "Hz", {}, "it has 3 points, at least 4 are needed"),
    ],
)
def test_what_makes_no_sense_is_refused(dtype, band, units, params, told):
    spectra = np.ones((2, np.size(band) if np.ndim(band) else band), dtype)
    with pytest.raises(RefusedError, match=told):
        fitted(spectra, params, band=band, units=units)
