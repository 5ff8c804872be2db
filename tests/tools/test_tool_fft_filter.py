"""fft_filter: sines of known frequency pass or do not; NumPy's transform; refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_cases import assert_blocks_do_not_count, scan

from usid_tasks.errors import RefusedError
from usid_tasks.tools import find_tool
from usid_tasks.tools.in_memory import compute

FFT_FILTER = find_tool("fft_filter")
STEP = 2e-3  # s: 200 points, components each 2.5 Hz, up to 250 Hz
TIME = np.arange(200) * STEP - 0.1


def tone(hertz):
    return np.cos(2 * np.pi * hertz * TIME)


def filtered(array, params, *, time=TIME):
    header = scan(array, positions={"X": len(array)}, steps={"Time": time}, units={"Time": "s"})
    return compute(FFT_FILTER, array, header, {"dim": "Time", **params})["Filtered"]


@pytest.mark.parametrize(
    ("params", "passes"),
    [
        ({"highest": 60}, [0, 10, 50]),
        ({"lowest": 60}, [100, 200]),
        ({"lowest": 50, "highest": 100}, [50, 100]),
        ({"lowest": 0}, [0, 10, 50, 100, 200]),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_tones_pass_by_their_frequency_in_hertz(params, passes, sign):
    heights = {0: 5.0, 10: 3.0, 50: 1.0, 100: 0.5, 200: 2.0}
    array = sum(height * tone(hertz) for hertz, height in heights.items())[np.newaxis]
    expected = sum((heights[hertz] * tone(hertz) for hertz in passes), np.zeros(200))
    found = filtered(array, params, time=sign * TIME)
    np.testing.assert_allclose(found[0], expected, atol=1e-12)
    spun = filtered(array * (1 + 2j), params)
    np.testing.assert_allclose(spun[0], expected * (1 + 2j), atol=1e-12)


def test_a_noise_threshold_leaves_tones_and_the_constant():
    noise = np.random.default_rng(3).normal(scale=0.2, size=(5, 200))
    signal = 4.0 + 3 * tone(10) + 2 * tone(50)
    found = filtered(signal + noise, {"noise_threshold": 6})
    assert np.abs(found - signal).max() < 0.2 < np.abs(noise).max()
    parts = np.abs(np.fft.rfft(found, axis=1))
    assert ((parts > 1e-9).sum(axis=1) == 3).all()


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(2, 65),
    cuts=st.tuples(st.integers(0, 400), st.integers(0, 600)).map(sorted),
    is_complex=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_is_numpys_transform(size, cuts, is_complex, seed):
    random = np.random.default_rng(seed)
    array = random.normal(size=(3, size))
    if is_complex:
        array = array + 1j * random.normal(size=(3, size))
    frequencies = np.abs(np.fft.fftfreq(size, 1.0))
    lowest, highest = min(cuts[0] / 1e3, frequencies.max()), cuts[1] / 1e3
    found = filtered(array, {"lowest": lowest, "highest": highest}, time=np.arange(size) * 1.0)
    parts = np.fft.fft(array, axis=1)
    parts[:, (frequencies < lowest) | (frequencies > highest)] = 0
    expected = np.fft.ifft(parts, axis=1)
    np.testing.assert_allclose(found, expected if is_complex else expected.real, atol=1e-12)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16", "i2"])
@pytest.mark.parametrize("size", [96, 101])
def test_blocks_do_not_count(dtype, size):
    random = np.random.default_rng(4)
    array = (random.normal(scale=50, size=(9, 3, size))).astype(dtype)
    steps = {"Bias": 3, "Time": np.arange(size) * 0.5}
    header = scan(array, positions={"X": 9}, steps=steps)
    params = {"dim": "Time", "highest": 0.4, "noise_threshold": 0.7}
    assert_blocks_do_not_count(FFT_FILTER, array, header, params)


@pytest.mark.parametrize(
    ("dtype", "told"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("u2", "f8"), ("c8", "c8")]
)
def test_dtypes_follow_the_rule(dtype, told):
    assert filtered(np.ones((2, 200), dtype), {"highest": 9}).dtype == told


def test_a_row_with_what_is_not_finite_is_nan_and_no_other():
    array = np.random.default_rng(5).normal(size=(4, 200))
    clean = filtered(array, {"highest": 90})
    array[1, 7], array[2, 0] = np.nan, -np.inf
    found = filtered(array, {"highest": 90})
    assert np.isnan(found[1:3]).all()
    np.testing.assert_array_equal(found[[0, 3]], clean[[0, 3]])


@pytest.mark.parametrize("count", [0, 1])
def test_no_position_and_a_constant(count):
    found = filtered(np.full((count, 200), 2.5), {"lowest": 0, "highest": 5, "noise_threshold": 2})
    np.testing.assert_allclose(found, np.full((count, 200), 2.5))


@pytest.mark.parametrize(
    ("time", "params", "told"),
    [
        (TIME, {}, "give lowest, highest or noise_threshold"),
        (TIME, {"lowest": 9, "highest": 8}, r"lowest \(9\) is above highest \(8\)"),
        (TIME, {"lowest": 251}, "nothing is left from 251 1/s on: its highest frequency is 250"),
        (TIME, {"highest": -1}, "highest"),
        (TIME**2, {"highest": 9}, "its Values are non-monotonic"),
        (np.geomspace(1, 9, 200), {"highest": 9}, "its Values are monotonic"),
        (np.zeros(200), {"highest": 9}, "its Values are constant"),
        (200, {"highest": 9}, "it has no Values"),
    ],
)
def test_what_makes_no_sense_is_refused(time, params, told):
    with pytest.raises(RefusedError, match=told):
        filtered(np.ones((2, 200)), params, time=time)
